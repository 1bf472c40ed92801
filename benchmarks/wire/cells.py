"""The cells: which contender writes or reads which shape."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from timeit import Timer
from typing import Any, NamedTuple

from comparison.states import time_timer
from comparison.timing import Sample, clock

from wire.by_hand import CLASSES, READ
from wire.contenders import CONTENDERS, NO_ENGINE, Library, prove_engine
from wire.shapes import SHAPES

__all__ = ("CELLS", "DIRECTIONS", "Cell")

DIRECTIONS = Library._fields


class Cell(NamedTuple):
    """One contender that writes or reads one shape, measured in a process of its own."""

    shape: str
    direction: str
    contender: str

    @property
    def name(self) -> str:
        return f"{self.shape}/{self.direction}/{self.contender}"

    @property
    def pure(self) -> bool:
        return self.contender.endswith(" pure")

    @property
    def of_bus(self) -> bool:
        return self.contender.startswith("haiway_bus")

    @property
    def environment(self) -> Mapping[str, str]:
        return {} if "[json]" in self.contender else {NO_ENGINE: "1"}

    async def run(self, contender: str, size: int, seconds: float) -> Sample:
        """Time the one statement on one instance or text, after a check of all that the contender reads and writes."""
        shape = SHAPES[self.shape]
        library = CONTENDERS[contender](shape.root)
        plain = shape.data()
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
        instance = check_work(library, shape.root, plain, text)
        if self.of_bus:
            prove_engine(contender)
        given = {"from_json": text, "from_mapping": plain}.get(self.direction, instance)
        names = {"work": getattr(library, self.direction), "given": given}
        statement = ";".join(["work(given)"] * shape.written_out)
        timer = Timer(statement, globals=names, timer=clock)
        return await time_timer(timer, shape.written_out, seconds)

    @property
    def size(self) -> int:
        return 1


def check_work(library: Library, root: str, plain: dict[str, Any], text: bytes) -> Any:
    """Refuse a contender that reads or writes something else than the functions by hand. The instance that it read."""
    instance = library.from_json(text)
    expected = values(READ[root](plain))
    for found in (instance, library.from_mapping(plain)):
        if values(found) != expected:
            raise AssertionError(f"the values read are not those that are read by hand: {found!r}")
    written = library.to_json(instance), library.to_json_bytes(instance)
    for found in (*map(json.loads, written), library.to_mapping(instance)):
        if one_spelling(found) != one_spelling(plain):
            raise AssertionError(f"what is written is not what was read: {found!r}")
    if type(written[1]) is not bytes:
        raise AssertionError(f"to_json_bytes gave {type(written[1]).__name__}")
    return instance


def values(read: Any) -> Any:
    """The value and its type; of a record, of its fields, so that records of different libraries can be equal."""
    kind = type(read).__name__
    if kind in BY_NAME:
        return kind, [(name, values(getattr(read, name))) for name in BY_NAME[kind]]
    if isinstance(read, tuple):
        return "tuple", [values(item) for item in read]
    if isinstance(read, Mapping):
        return "mapping", dict(read)
    # Of a date and time, the zone as well: `==` looks at the moment alone.
    return kind, str(read).replace("UTC", "+00:00"), read


def one_spelling(plain: Any) -> Any:
    """The plain data with lists for tuples, and UTC written in one of its two ways, `Z` and `+00:00`."""
    if isinstance(plain, str):
        return plain.removesuffix("+00:00") + "Z" if plain.endswith("+00:00") else plain
    if isinstance(plain, Mapping):
        return [(key, one_spelling(value)) for key, value in plain.items()]
    if isinstance(plain, list | tuple):
        return [one_spelling(item) for item in plain]
    return plain


BY_NAME = {name: tuple(cls.__annotations__) for name, cls in CLASSES.items()}


def cells() -> Iterator[Cell]:
    # What is compared stands side by side, so that the machine's drift has least time between the two.
    for shape in SHAPES:
        for direction in DIRECTIONS:
            for contender in CONTENDERS:
                yield Cell(shape, direction, contender)


CELLS = {cell.name: cell for cell in cells()}
