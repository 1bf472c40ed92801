"""State classes in pydantic's models, and so in FastAPI. pydantic alone imports this module, through State's two hooks.

pydantic calls one function to load and one to dump, so that a value means here what it means in `from_mapping` and
`to_mapping`. The core schema adds what pydantic cannot learn from these: the Literal fields by which it tells the
members of a union apart, and a name for each type, so that JSON schemas refer to it.
"""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

import pydantic
import pydantic_core
from pydantic_core.core_schema import CoreSchema

from haiway_bus._common.printable import described
from haiway_bus.errors import StateError

__all__ = ("core_schema_of", "json_schema_of")

LINES: Final = 100
"""The most lines of an error."""

PARTS: Final = 50
CHARACTERS: Final = 1000
"""A value of more parts or characters stands in an error as a short text."""

_make: Final = pydantic_core.core_schema
_PART: Final = re.compile(
    r"""\.\w+ | \[(\d+)\] | \[( '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | [^\]]* )\]""", re.VERBOSE
)
# pydantic's own names of errors, by the beginning of our reasons.
_NAMES: Final = {"missing": "missing", "no such key": "extra_forbidden"}


def core_schema_of(cls: Any) -> CoreSchema:
    """Give pydantic the functions that load and dump a State class."""
    state = cls.__state__
    state.complete(final=False)
    if state.fields_or_none is not None and not state.mixin:
        state.ready()  # refuses a union whose members plain data cannot tell apart
    tags = {}
    for key, entry in state.entries.items():
        if hasattr(entry.kind, "forms"):  # a Literal
            values = [one for (_, form), value in entry.kind.forms.items() for one in (form, value)]
            tag = _make.typed_dict_field(_make.literal_schema(values), validation_alias=key)
            tags[entry.path[1:]] = tag

    def load(value: Any, inner: Any, info: Any) -> Any:
        if isinstance(value, cls):
            return value
        if info.mode == "python":
            try:
                # pydantic does not tell whether it is strict. If it is, a TypedDict takes no mapping but a dict.
                inner(MappingProxyType({}))
            except pydantic.ValidationError:
                name = {"class_name": cls.__name__}
                raise pydantic_core.PydanticKnownError("dataclass_exact_type", name) from None
        return loaded(cls, value)

    def dump(value: Any) -> Any:
        if type(value) is cls:
            return value.to_mapping()
        if isinstance(value, cls):
            reason = f"JSON would lose the class of {described(value)}: annotate that class"
            raise StateError(f"{cls.__name__}: {reason}")
        wrong = f"expected {cls.__name__}, given {described(value)}"
        raise pydantic_core.PydanticSerializationUnexpectedValue(wrong)

    load.__name__ = dump.__name__ = cls.__name__  # errors show it
    return _make.with_info_wrap_validator_function(
        load,
        _make.typed_dict_schema(tags, total=False),
        ref=reference_to(cls),
        serialization=_make.plain_serializer_function_ser_schema(dump),
    )


def loaded(cls: Any, plain: Any) -> Any:
    """Make an instance of plain data, or raise pydantic's error."""
    name = cls.__name__
    try:
        cls.__state__.ready()
    except StateError as wrong:  # the class is wrong, not the data
        raise pydantic.PydanticUserError(str(wrong), code=None) from wrong
    try:
        return cls.from_mapping(plain)
    except StateError as wrong:
        problems = wrong.problems
        starts = (f"{name}.", f"{name}[")
        if not all(path.startswith(starts) or path == name for path, _ in problems or [("", "")]):
            # A class within it is wrong.
            raise pydantic.PydanticUserError(str(wrong), code=None) from wrong
    lines = [line(cls, path[len(name) :], reason, plain) for path, reason in problems[:LINES]]
    if len(problems) > LINES:
        lines.append(line(cls, "", "there are more problems", None))
    raise pydantic_core.ValidationError.from_exception_data(name, lines)


def line(cls: Any, path: str, reason: str, value: Any) -> pydantic_core.InitErrorDetails:
    """Make a line of pydantic's error, with the value that stands at the place."""
    kind = next((name for start, name in _NAMES.items() if reason.startswith(start)), "state_error")
    parts = place(cls, path)
    for part in parts[:-1] if kind == "missing" else parts:
        if isinstance(value, Mapping):
            value = value.get(part)
        else:
            is_item = isinstance(value, Sequence) and isinstance(part, int)
            value = value[part] if is_item else None
    message = reason.encode(errors="backslashreplace").decode()  # pydantic takes no lone surrogate
    error = pydantic_core.PydanticCustomError(kind, message)
    return {"type": error, "loc": tuple(parts), "input": shown(value)}


def place(cls: Any, path: str) -> list[str | int]:
    """Make keys and indexes of a path. A path names fields, which may have other keys."""
    parts: list[str | int] = []
    known = [cls.__state__.entries]
    for found in _PART.finditer(path):
        entries = [one for keys in known for one in keys.items() if one[1].path == found[0]]
        if entries:
            parts.append(entries[0][0])
            known = list(keys_in(entries[0][1].kind, set()))
        elif found[1]:
            parts.append(int(found[1]))
        else:
            try:
                parts.append(str(literal_eval(found[2])))
            except (SyntaxError, ValueError):  # a long key, which the path shows in part
                parts.append(found[2])
    return parts


def keys_in(kind: Any, seen: set[int]) -> Iterator[dict[str, Any]]:
    """Find the entries of the mappings that a kind reads, alone or in containers and unions."""
    if kind.entries:
        yield kind.entries
    elif id(kind) not in seen:
        seen.add(id(kind))
        for part in kind.parts():
            yield from keys_in(part, seen)


def shown(value: Any) -> Any:
    """Give the value for an error: itself if it is small and JSON can carry it, or else a short text.

    A server answers with these values. The answer must not fail, nor grow with the number of problems.
    """
    waiting, parts, characters = [value], 0, 0
    for one in waiting:
        fits = not isinstance(one, bytes)
        if isinstance(one, str):
            characters += len(one)
            fits = characters <= CHARACTERS and one == one.encode(errors="ignore").decode()
        elif isinstance(one, dict | list | tuple):
            parts += len(one)
            fits = parts <= PARTS
            waiting += one if fits else ()
            waiting += one.values() if fits and isinstance(one, dict) else ()
        elif isinstance(one, int | float):
            fits = one.bit_length() <= CHARACTERS if isinstance(one, int) else isfinite(one)
        if not fits:
            return described(value)
    return value


def reference_to(owner: Any) -> str:
    """Name a type in the form in which pydantic names types."""
    return f"{owner.__module__}.{getattr(owner, '__qualname__', owner.__name__)}:{id(owner)}"


def json_schema_of(cls: Any, handler: pydantic.GetJsonSchemaHandler) -> dict[str, Any]:
    """Give pydantic the JSON schema of a State class. The types within it become definitions of pydantic's document."""
    try:
        cls.json_schema()
    except StateError as wrong:
        raise pydantic.PydanticInvalidForJsonSchema(str(wrong)) from wrong
    book = Definitions(cls, handler)
    cls.__state__.schema(book)
    return book.schema


class Definitions:
    """What State's kinds take for a `SchemaBook`. The definitions are in the document that pydantic writes."""

    def __init__(self, root: Any, handler: pydantic.GetJsonSchemaHandler) -> None:
        self.root = root
        self.handler = handler
        self.known: set[int] = set()
        self.schema: dict[str, Any] = {}

    def reference(self, owner: Any) -> tuple[dict[str, Any], bool]:
        """Give the reference to a class or alias, and whether the caller has to define it now."""
        if isinstance(owner, type) and issubclass(owner, Enum):
            return self.made(pydantic.TypeAdapter(owner).core_schema), False
        new = id(owner) not in self.known
        self.known.add(id(owner))
        made = self.handler(_make.definition_reference_schema(reference_to(owner)))
        return {"$ref": made["$ref"]}, new

    def define(self, owner: Any, schema: dict[str, Any]) -> None:
        """Put the schema of a class or alias where `reference` points."""
        if owner is self.root:
            self.schema = schema
        else:
            metadata = {"pydantic_js_functions": [lambda _schema, _handler: schema]}
            self.made(_make.any_schema(ref=reference_to(owner), metadata=metadata))

    def made(self, schema: CoreSchema) -> dict[str, Any]:
        """Let pydantic write a JSON schema. Within a list: there it makes a definition of what has a name."""
        made: dict[str, Any] = self.handler(_make.list_schema(schema))["items"]
        return made
