"""Parser: plain data and JSON of an annotation that is no State class, such as `Sequence[Order]` or `Card | Wire`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from haiway_bus._state.annotations.parse import parse
from haiway_bus._state.annotations.resolve import Lookup, Uncheckable, Unresolved, resolve, show
from haiway_bus._state.kinds.kind import Kind
from haiway_bus._state.wire.json_text import read_json, tried, write_json
from haiway_bus._state.wire.schema import schema_document
from haiway_bus._state.wire.unclear import unclear
from haiway_bus.errors import StateError

__all__ = ("Parser", "parser_of")

Value = TypeVar("Value")
Result = TypeVar("Result")


class Parser(Generic[Value]):
    """Checks, reads and writes the values of an annotation, by the rules for a field of a State.

    `State.parser(annotation)` makes it. Make it once, and use it for every text.

    Each method raises StateError for a value that does not fit. The error lists every wrong place
    with its path, which begins with the annotation.
    """

    __slots__ = ("_kind", "_name")

    def __init__(self, name: str, kind: Kind) -> None:
        self._name: str = name
        self._kind: Kind = kind

    def check(self, value: Any, /) -> Value:
        """Give the value as a field of a State keeps it: a list given for a Sequence as a tuple."""
        checked: Value = self._tried(self._kind.check, value)
        return checked

    def from_plain(self, plain: Any, /) -> Value:
        """Make a value of plain data, such as `to_plain` gives."""
        loaded: Value = self._tried(self._loaded, plain)
        return loaded

    def to_plain(self, value: Value, /) -> Any:
        """Give a value as plain data, which `json.dumps` can write."""
        return self._tried(self._dumped, value)

    def from_json(self, text: str | bytes | bytearray | memoryview, /) -> Value:
        """Make a value of a JSON text, such as `to_json` writes."""
        loaded: Value = self._tried(lambda text: self._loaded(read_json(text)), text)
        return loaded

    def to_json(self, value: Value, /, *, indent: int | None = None) -> str:
        """Give a value as JSON text, in a single line without spaces when `indent` is None."""
        return self.to_json_bytes(value, indent=indent).decode()

    def to_json_bytes(self, value: Value, /, *, indent: int | None = None) -> bytes:
        """Give a value as JSON text in UTF-8."""
        return self._tried(lambda value: write_json(self._dumped, value, indent), value)

    def json_schema(self) -> dict[str, Any]:
        """Give the JSON schema (2020-12) of the text that `to_json` writes."""
        return self._tried(schema_document, self._kind.schema)

    def _loaded(self, plain: Any) -> Value:
        loaded: Value = self._kind.wire.load(plain)
        return loaded

    def _dumped(self, value: Any) -> Any:
        return self._kind.wire.dump(self._kind.check(value))

    def _tried(self, convert: Callable[[Any], Result], value: Any) -> Result:
        return tried(self._name, convert, value)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<Parser of {self._name}>"


def parser_of(annotation: Any, frame: Any) -> Parser[Any]:
    """Make the Parser of an annotation, whose names are looked up in the frame."""
    try:
        lookup = Lookup(frame.f_globals.get("__name__", ""), dict(frame.f_locals), frame.f_globals)
        annotation = resolve(annotation, lookup)
        kind = parse(annotation)
        problems = unclear(kind)
    except Unresolved as missing:
        problems = [("", f"names {missing.name}, which does not exist")]
    except Uncheckable as wrong:
        problems = [("", str(wrong))]
    if problems:
        raise StateError(f"State.parser({show(annotation)}): {problems[0][1]}")
    return Parser(show(annotation), kind)
