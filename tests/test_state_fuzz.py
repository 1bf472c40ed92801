"""A fuzzer of State: it makes up classes, and JSON that is almost theirs. Guarantee 7.7.

Whatever the text, `from_json` gives an instance that comes back from its own text, or a StateError. The backends and
the engines of JSON agree to the letter. And the JSON schema takes what `from_json` takes, and nothing else.

A few hundred texts in the suite. HAIWAY_BUS_FUZZ is another number of texts: 100000 in the nox session `fuzz`.
"""

# ruff: noqa: PT017, PYI061 - what an error says is asked where one may come

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NotRequired, Self, TypedDict

import annotated_types
import pytest

from tests.shared import COPIES, own_modules, switch_to

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
jsonschema = pytest.importorskip("jsonschema")

TEXTS = int(os.environ.get("HAIWAY_BUS_FUZZ", "250"))
TEXTS_OF_A_CLASS = 5


class Color(Enum):
    RED = "red"
    NONE = None
    ONE = 1


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


STANDARD = ", standard library"
ENGINES = [f"{name}{library}" for name in COPIES for library in ("", STANDARD)]


@contextlib.contextmanager
def using(name: str) -> Iterator[Any]:
    """A copy of the package. It reads and writes JSON by msgspec, where that is installed, or by the standard library.

    A class belongs to the library that serves when its JSON is first used.
    """
    modules = COPIES[name.removesuffix(STANDARD)]
    json_text = modules["haiway_bus._state.wire.json_text"]
    json_text.msgspec_serves()  # chooses the library
    before, library = own_modules(), json_text.LIBRARY[:]
    switch_to(modules)
    if name.endswith(STANDARD):
        json_text.LIBRARY[:] = json_text.encode_standard, json_text.read_standard
    try:
        yield modules["haiway_bus"]
    finally:
        modules.update(own_modules())
        json_text.LIBRARY[:] = library
        switch_to(before)


def test_both_libraries_serve() -> None:
    """Guarantee 7.7: what compares them compares two."""
    pytest.importorskip("msgspec")
    if "HAIWAY_BUS_NO_MSGSPEC" in os.environ:
        pytest.skip("the environment turns msgspec off")
    for name in ENGINES:
        with using(name) as package:
            made = package.State.parser(int)
            assert made.from_json("1") == 1
            modules = COPIES[name.removesuffix(STANDARD)]
            serves = modules["haiway_bus._state.wire.json_text"].msgspec_serves()
            assert serves is not name.endswith(STANDARD)


# A recipe is a tuple of a word and of what belongs to it, because each copy of the package makes its own classes of it.
LEAVES: dict[str, tuple[Any, Any]] = {
    # An annotation, and JSON that is often its own.
    "none": (None, st.none()),
    "bool": (bool, st.booleans()),
    "int": (int, st.integers() | st.sampled_from([0, -1, 1.0, 10**30, 1e3, -0.0])),
    "float": (float, st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
    "str": (str, st.text(max_size=5)),
    "bytes": (bytes, st.sampled_from(["", "YQ==", "YWI=", "YWJj", "YR==", "YQ", "abcd", "Y Q="])),
    "datetime": (
        datetime,
        st.datetimes().map(str)
        | st.datetimes().map(datetime.isoformat)
        | st.sampled_from(
            [
                "2026-02-29T00:00:00",
                "2024-02-29T00:00:00Z",
                "2026-01-01T24:00:00",
                "2026-01-01",
                "2026-01-01T00:00:00.1234567891+05:30",
                "2026-01-01T00:00:00-00:00",
                "0001-01-01T00:00:00",
            ]
        ),
    ),
    "date": (date, st.dates().map(str) | st.sampled_from(["2026-02-29", "20260101", "2026-W01-1"])),
    "time": (time, st.times().map(str) | st.sampled_from(["24:00:00", "12:00", "12:00:00Z", "12"])),
    "timedelta": (
        timedelta,
        st.sampled_from(
            ["P1D", "PT1S", "-P1DT1H", "P", "PT", "P1Y", "PT0.5S", "P1W", "+P1D", "PT1.5H"]
        ),
    ),
    "uuid": (uuid.UUID, st.uuids().map(str) | st.uuids().map(lambda one: one.hex.upper())),
    "decimal": (
        Decimal,
        st.decimals().map(str)
        | st.sampled_from(["1_0", "+1", ".5", "1.", "1E+5", "NaN", " 1", "\u0661"]),
    ),
    "path": (PurePosixPath, st.text("a/.", max_size=4)),
    "color": (Color, st.sampled_from(["red", None, 1, 1.0, True, "RED"])),
    "size": (Size, st.sampled_from([1, 2, 1.0, 3, True, "1"])),
    "literal": (Literal["a", 1, True, None], st.sampled_from(["a", 1, 1.0, True, None, "b"])),
    "literals": (Literal["b", Color.RED], st.sampled_from(["b", "red", "a"])),
    "any": (Any, st.none()),
    "large": (Annotated[int, annotated_types.Ge(5)], st.integers(3, 7)),
    "small": (Annotated[float, annotated_types.Lt(0.5)], st.floats(0, 1)),
    "short": (Annotated[str, annotated_types.Len(1, 2)], st.text(max_size=3)),
    "few bytes": (
        Annotated[bytes, annotated_types.MaxLen(2)],
        st.sampled_from(["", "YQ==", "YWI=", "YWJj"]),
    ),
}
KEYS = ("str", "int", "uuid", "date", "literals", "short", "decimal", "bytes", "timedelta")
NAMES = ("a", "b", "some_name", "kind", "x")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
LEAF = st.sampled_from([*LEAVES]).map(lambda word: ("leaf", word))


def recipes(states: int) -> Any:
    """Annotations that may name the classes made before, and the class itself."""
    base = LEAF | st.sampled_from([("self",), ("selves",)])
    if states:
        base = base | st.integers(0, states - 1).map(lambda index: ("state", index))
    return st.recursive(
        base,
        lambda inner: st.one_of(
            st.tuples(st.just("sequence"), inner),
            st.tuples(st.just("items"), inner),
            st.tuples(st.just("pair"), inner, inner),
            st.tuples(st.just("set"), LEAF.filter(lambda leaf: leaf[1] != "any")),
            st.tuples(st.just("mapping"), st.sampled_from(KEYS), inner),
            st.tuples(st.just("optional"), inner),
            st.tuples(st.just("union"), inner, inner),
            st.tuples(st.just("typed"), inner, inner),
            st.tuples(st.just("json")),
        ),
        max_leaves=4,
    )


@st.composite
def schemas(draw: Any) -> Any:
    """One to three classes: the fields, each with its recipe and whether it has a default; and the options."""
    made = []
    for index in range(draw(st.integers(1, 3))):
        names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4))
        fields = {name: (draw(recipes(index)), draw(st.booleans())) for name in names}
        tag = draw(st.booleans()) and f"tag{index}"
        options = draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "unknown": st.sampled_from(["refuse", "ignore", "keep"]),
                    "rename": st.sampled_from(["camel", "kebab", "pascal"]),
                    "omit_defaults": st.booleans(),
                },
            )
        )
        made.append((fields, tag, options))
    return made


class Maker:
    """The classes of a schema, made with one copy of the package."""

    def __init__(self, package: Any) -> None:
        self.package = package
        self.made: list[Any] = []

    def classes(self, schema: Any) -> Any:
        for index, (fields, tag, options) in enumerate(schema):
            name = f"Made{index}"
            namespace: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
            if tag:
                namespace["__annotations__"]["kind"] = Literal[tag]
            for field, (recipe, default) in fields.items():
                if field == "kind" and tag:
                    continue
                annotation = self.annotation(recipe, index)
                if default:
                    annotation = annotation | None if annotation is not None else None
                    namespace[field] = None
                namespace["__annotations__"][field] = annotation
            state = self.package.State
            self.made.append(type(state)(name, (state,), namespace, **options))
        return self.made[-1]

    def annotation(self, recipe: Any, index: int) -> Any:
        word, *parts = recipe
        if word == "leaf":
            return LEAVES[parts[0]][0]
        if word == "self":
            return Self | None
        if word == "selves":
            return Sequence[Self]
        if word == "state":
            return self.made[parts[0]]
        if word == "json":
            return self.package.JsonValue
        inner = [self.annotation(part, index) for part in parts if isinstance(part, tuple)]
        if word == "sequence":
            return Sequence[inner[0]]
        if word == "items":
            return tuple[inner[0], ...]
        if word == "pair":
            return tuple[inner[0], inner[1]]
        if word == "set":
            return AbstractSet[inner[0]]
        if word == "mapping":
            return Mapping[LEAVES[parts[0]][0], inner[0]]
        if word == "optional":
            return None if inner[0] is None else inner[0] | None
        if word == "union":
            return inner[0] if inner[0] is inner[1] else annotated_union(*inner)
        return TypedDict("Typed", {"a": inner[0], "b": NotRequired[inner[1]]})


def annotated_union(one: Any, other: Any) -> Any:
    return None if one is other is None else one | other


def near(recipe: Any, schema: Any, index: int, depth: int = 0) -> Any:
    """JSON that is often what the recipe means."""
    word, *parts = recipe
    if depth > 4:
        return st.none()
    inner = [near(part, schema, index, depth + 1) for part in parts if isinstance(part, tuple)]
    if word == "leaf":
        return LEAVES[parts[0]][1] if parts[0] != "any" else ANYTHING
    if word in ("self", "selves"):
        own = st.deferred(lambda: instance(schema, index, depth + 1))
        return st.none() | own if word == "self" else st.lists(own, max_size=2)
    if word == "state":
        return instance(schema, parts[0], depth + 1)
    if word == "json":
        return ANYTHING
    if word in ("sequence", "items", "set"):
        return st.lists(inner[0], max_size=3)
    if word == "pair":
        return st.tuples(*inner).map(list)
    if word == "mapping":
        keys = LEAVES[parts[0]][1].map(lambda key: key if isinstance(key, str) else str(key))
        return st.dictionaries(keys, inner[0], max_size=3)
    if word in ("optional", "union"):
        return st.one_of(st.none(), *inner)
    return st.fixed_dictionaries({"a": inner[0]}, optional={"b": inner[1]})


def instance(schema: Any, index: int, depth: int = 0) -> Any:
    fields, tag, options = schema[index]

    def key(name: str) -> str:
        words = name.split("_")
        if options.get("rename") == "camel":
            return words[0] + "".join(word.capitalize() for word in words[1:])
        if options.get("rename") == "pascal":
            return "".join(word.capitalize() for word in words)
        return "-".join(words) if options.get("rename") == "kebab" else name

    needed = {key("kind"): st.sampled_from([*[tag] * 9, "other"])} if tag else {}
    optional = {}
    for name, (recipe, default) in fields.items():
        if not (name == "kind" and tag):
            values = near(recipe, schema, index, depth)
            (optional if default else needed)[key(name)] = values
    return st.fixed_dictionaries(needed, optional=optional)


@st.composite
def texts(draw: Any, schema: Any) -> str:
    """JSON near the last class of a schema: its own, with another value in it, or with other characters."""
    plain = draw(instance(schema, len(schema) - 1))
    for _ in range(draw(st.integers(0, 2))):
        plain = mutated(draw, plain)
    text = json.dumps(plain, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        end = draw(st.integers(at, min(len(text), at + 3)))
        text = (
            text[:at]
            + draw(st.sampled_from(["", "NaN", "\\ud800", "[[", "{", ",", "1e999", "\x00"]))
            + text[end:]
        )
    return text


def mutated(draw: Any, plain: Any) -> Any:
    if isinstance(plain, dict) and plain and draw(st.booleans()):
        key = draw(st.sampled_from([*plain]))
        choice = draw(st.integers(0, 3))
        if choice == 0:
            return {name: value for name, value in plain.items() if name != key}
        if choice == 1:
            return {**plain, draw(st.sampled_from(NAMES) | st.text(max_size=3)): draw(ANYTHING)}
        return {**plain, key: mutated(draw, plain[key])}
    if isinstance(plain, list) and plain and draw(st.booleans()):
        index = draw(st.integers(0, len(plain) - 1))
        return [*plain[:index], mutated(draw, plain[index]), *plain[index + 1 :]]
    return draw(ANYTHING)


def fine(plain: Any) -> bool:
    """Whether it is JSON that a JSON schema can speak of: finite, and with an encoding."""
    if isinstance(plain, float):
        return math.isfinite(plain)
    if isinstance(plain, str):
        return not any("\ud800" <= letter <= "\udfff" for letter in plain)
    if isinstance(plain, dict):
        return all(map(fine, plain)) and all(map(fine, plain.values()))
    return not isinstance(plain, list) or all(map(fine, plain))


def shown(value: Any) -> str:
    """A text that is equal for equal values alone, and for all copies of the package."""
    if hasattr(type(value), "__state__"):
        names = type(value).__state__.names
        return f"{type(value).__name__}({', '.join(shown(getattr(value, name)) for name in names)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{shown(key)}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, frozenset):
        return f"set({sorted(map(shown, value))})"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(shown, value))})"
    return repr(value)


def read(name: str, schema: Any, given_: Sequence[str]) -> list[tuple[str, str, str]]:
    """What a copy of the package makes of the texts: what came of it, what it writes, its error."""
    outcomes = []
    with using(name) as package:
        try:
            cls = Maker(package).classes(schema)
        except package.StateError as refused:
            return [("", "", f"class: {refused}")]
        for text in given_:
            try:
                made = cls.from_json(text)
            except package.StateError as refused:
                assert refused.problems
                assert all(path.startswith(cls.__name__) for path, _ in refused.problems)
                outcomes.append(("", "", str(refused)))
                continue
            written = made.to_json()
            again = cls.from_json(written.encode())
            assert shown(again) == shown(made), (text, written)
            assert again == made
            assert again.to_json() == written
            assert shown(cls.from_mapping(made.to_mapping())) == shown(made)
            assert shown(cls.from_json(text.encode())) == shown(made)
            assert made.to_mapping() == json.loads(written)
            outcomes.append((shown(made), written, ""))
    return outcomes


@settings(
    max_examples=TEXTS // TEXTS_OF_A_CLASS,
    deadline=None,
    suppress_health_check=[*hypothesis.HealthCheck],
    print_blob=True,
)
@given(data=st.data())
def test_any_text_of_any_class(data: Any) -> None:
    """Guarantee 7.7."""
    schema = data.draw(schemas())
    given_ = [data.draw(texts(schema)) for _ in range(TEXTS_OF_A_CLASS)]
    outcomes = {name: read(name, schema, given_) for name in ENGINES}
    first = outcomes["pure"]
    for name, other in outcomes.items():
        assert other == first, name
    if first[0][2].startswith("class: "):
        return
    with using("pure") as package:
        cls = Maker(package).classes(schema)
        try:
            document = cls.json_schema()
        except package.StateError:
            assert all(error for _, _, error in first)  # it has no mapping and no JSON, either
            return
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(
        document, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    for text, (_, written, error) in zip(given_, first, strict=True):
        try:
            plain = json.loads(text)
        except ValueError:
            assert error
            continue
        # Two texts of one value, as keys or in a Set: "YQ==" and "YR==". A schema cannot say that.
        if fine(plain) and "twice" not in error:
            assert validator.is_valid(plain) == (not error), (text, error, document)
        if written:
            assert validator.is_valid(json.loads(written)), (written, document)
