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
from typing import Any, Final, Literal, Self, get_args, get_origin, get_type_hints

from pydantic import (
    GetJsonSchemaHandler,
    PydanticInvalidForJsonSchema,
    PydanticUserError,
    TypeAdapter,
)
from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    PydanticSerializationUnexpectedValue,
    ValidationError,
    core_schema,
)

from haiway_bus._common.printable import described, printable
from haiway_bus.errors import StateError

__all__ = ("core_schema_of", "json_schema_of")

LINES: Final = 100
"""The most lines of an error."""

PARTS: Final = 50
CHARACTERS: Final = 1000
"""A value of more parts or characters stands in an error as a short text."""

_PART: Final = re.compile(
    r"\.(\w+)|\[(\d+)\]|\[((?:'.*?'|\".*?\"|[^\]]*))\](?=[.\[{]|$)", re.DOTALL
)
# pydantic's own names of errors, by the beginning of our reasons.
_NAMES: Final = {"missing": "missing", "no such key": "extra_forbidden"}


def core_schema_of(cls: Any) -> CoreSchema:
    """Give pydantic the functions that load and dump a State class."""
    cls.__state__.complete(final=False)
    tags = {
        field.name: core_schema.typed_dict_field(
            core_schema.literal_schema(
                [
                    form
                    for value in get_args(bare(field.annotation))
                    for form in (value, getattr(value, "value", value))
                ]
            ),
            validation_alias=field.key,
        )
        for field in cls.__state__.fields_or_none or ()
        if get_origin(bare(field.annotation)) is Literal
    }

    def load(value: Any, inner: Any, info: Any) -> Any:
        if not isinstance(value, cls):
            if info.mode == "python":
                try:
                    # pydantic does not tell whether it is strict. If it is, a TypedDict takes no mapping but a dict.
                    inner(MappingProxyType({}))
                except ValidationError:
                    name = {"class_name": cls.__name__}
                    raise PydanticKnownError("dataclass_exact_type", name) from None
            value = loaded(cls, value)
        inner(
            {}
        )  # makes the value an exact fit, as one of a dataclass is: a union prefers it to a dict
        return value

    def dump(value: Any) -> Any:
        if type(value) is cls:
            return value.to_mapping()
        if isinstance(value, cls):
            reason = f"JSON would lose the class of {described(value)}: annotate that class"
            raise StateError(f"{cls.__name__}: {reason}")
        raise PydanticSerializationUnexpectedValue(
            f"expected {cls.__name__}, given {described(value)}"
        )

    load.__name__ = dump.__name__ = cls.__name__  # errors show it
    return core_schema.with_info_wrap_validator_function(
        load,
        core_schema.typed_dict_schema(tags, total=False),
        ref=reference_to(cls),
        serialization=core_schema.plain_serializer_function_ser_schema(dump),
    )


def loaded(cls: Any, plain: Any) -> Any:
    """Make an instance of plain data, or raise pydantic's error."""
    try:
        return cls.from_mapping(plain)
    except StateError as wrong:
        if cls.__state__.fields_or_none is None or not wrong.problems:
            raise PydanticUserError(
                str(wrong), code=None
            ) from wrong  # the class is wrong, not the data
        lines = [line(cls, *problem, plain) for problem in wrong.problems[:LINES]]
        if (more := len(wrong.problems) - LINES) > 0:
            lines.append(line(cls, "", f"and {more} more problems", None))
    raise ValidationError.from_exception_data(cls.__name__, lines)


def line(cls: Any, path: str, reason: str, value: Any) -> InitErrorDetails:
    """Make a line of pydantic's error, with the value that stands at the place."""
    kind = next((name for start, name in _NAMES.items() if reason.startswith(start)), "state_error")
    parts = place(cls, path[len(cls.__name__) :])
    for part in parts[:-1] if kind == "missing" else parts:
        if isinstance(value, Mapping):
            value = value.get(part)
        else:
            is_item = isinstance(value, Sequence) and isinstance(part, int) and part < len(value)
            value = value[part] if is_item else None
    return {
        "type": PydanticCustomError(kind, reason),
        "loc": tuple(printable(part) if isinstance(part, str) else part for part in parts),
        "input": shown(value),
    }


def place(cls: Any, path: str) -> list[str | int]:
    """Make keys and indexes of a path. A path has the names of fields, which may have other keys."""
    parts: list[str | int] = []
    annotation: Any = cls
    for name, index, key in _PART.findall(path):
        if name:
            found = [
                (field.key, owner if field.annotation is Self else field.annotation)
                for owner in states_in(annotation)
                for field in owner.__state__.fields
                if field.name == name
            ]
            key, annotation = found[0] if found else (name, None)
            parts.append(key)
        elif index:
            parts.append(int(index))
        else:
            try:
                parts.append(str(literal_eval(key)))
            except (SyntaxError, ValueError):  # a long key, which was cut
                parts.append(key)
    return parts


def bare(annotation: Any) -> Any:
    """Take `Annotated[...]` and the names of aliases off an annotation."""
    while hasattr(annotation, "__metadata__") or hasattr(annotation, "__value__"):
        annotation = getattr(annotation, "__origin__", None) or annotation.__value__
    return annotation


def states_in(annotation: Any, seen: frozenset[Any] = frozenset()) -> Iterator[Any]:
    """Find the State classes in an annotation."""
    annotation = bare(annotation)
    if hasattr(annotation, "__state__"):
        yield annotation
    elif id(annotation) not in seen:
        inner = get_args(annotation)
        if hasattr(annotation, "__total__"):  # a TypedDict
            inner = tuple(get_type_hints(annotation, include_extras=True).values())
        for part in inner:
            yield from states_in(part, seen | {id(annotation)})


def shown(value: Any) -> Any:
    """Give the value for an error: itself if it is small and JSON can carry it, or else a short text.

    A server answers with these values. The answer must not fail, nor grow with the number of problems.
    """
    waiting, parts, characters = [value], 0, 0
    for one in waiting:
        if isinstance(one, str):
            characters += len(one)
            fits = characters <= CHARACTERS and one == one.encode(errors="ignore").decode()
        elif isinstance(one, dict | list | tuple):
            parts += len(one)
            fits = parts <= PARTS
            if fits:
                waiting += [*one, *one.values()] if isinstance(one, dict) else one
        elif isinstance(one, int):
            fits = one.bit_length() <= CHARACTERS
        else:
            fits = isfinite(one) if isinstance(one, float) else not isinstance(one, bytes)
        if not fits:
            return described(value)
    return value


def reference_to(owner: Any) -> str:
    """Name a type in the form in which pydantic names types."""
    return f"{owner.__module__}.{getattr(owner, '__qualname__', owner.__name__)}:{id(owner)}"


def json_schema_of(cls: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
    """Give pydantic the JSON schema of a State class. The types within it become definitions of pydantic's document."""
    try:
        cls.json_schema()
    except StateError as wrong:
        raise PydanticInvalidForJsonSchema(str(wrong)) from wrong
    book = Definitions(cls, handler)
    cls.__state__.schema(book)
    return book.schema


class Definitions:
    """What State's kinds take for a `SchemaBook`. The definitions are in the document that pydantic writes."""

    def __init__(self, root: Any, handler: GetJsonSchemaHandler) -> None:
        self.root = root
        self.handler = handler
        self.known: set[int] = set()
        self.schema: dict[str, Any] = {}

    def reference(self, owner: Any) -> tuple[dict[str, Any], bool]:
        """Give the reference to a class or alias, and whether the caller has to define it now."""
        if isinstance(owner, type) and issubclass(owner, Enum):
            return self.made(TypeAdapter(owner).core_schema), False
        new = id(owner) not in self.known
        self.known.add(id(owner))
        made = self.handler(core_schema.definition_reference_schema(reference_to(owner)))
        return {"$ref": made["$ref"]}, new

    def define(self, owner: Any, schema: dict[str, Any]) -> None:
        """Put the schema of a class or alias where `reference` points."""
        if owner is self.root:
            self.schema = schema
        else:
            metadata = {"pydantic_js_functions": [lambda _schema, _handler: schema]}
            self.made(core_schema.any_schema(ref=reference_to(owner), metadata=metadata))

    def made(self, schema: CoreSchema) -> dict[str, Any]:
        """Let pydantic write a JSON schema. Within a list: there it makes a definition of what has a name."""
        made: dict[str, Any] = self.handler(core_schema.list_schema(schema))["items"]
        return made
