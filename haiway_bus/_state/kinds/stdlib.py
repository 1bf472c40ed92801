"""Kinds of the standard library's value types: dates and times, UUID, Decimal, paths.

This module does not import theirs: code that annotates a `datetime` has imported it, and other code need not wait.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from haiway_bus._state.kinds.durations import duration_from_text, duration_to_text
from haiway_bus._state.kinds.kind import Instance, Kind, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import mismatch

__all__ = ("standard_kind",)


class TextKind(Instance):
    """A value type that JSON carries as text."""

    __slots__ = ("format", "parse", "refused", "write")

    immutable = True

    def __init__(
        self,
        owner: type,
        parse: Callable[[str], Any],
        write: Callable[[Any], str] = str,
        format: str | None = None,  # noqa: A002 - JSON schema's own word
        refused: tuple[type, ...] = (),
    ) -> None:
        super().__init__(owner)
        self.parse: Callable[[str], Any] = parse
        self.write: Callable[[Any], str] = write
        self.format: str | None = format
        self.refused: tuple[type[Any], ...] = refused

    def check(self, value: Any) -> Any:
        if isinstance(value, self.owner) and not isinstance(value, self.refused):
            return value
        raise mismatch(self.expected, value)

    def dump(self, value: Any) -> Plain:
        return self.write(value)

    def load(self, plain: Plain) -> Any:
        if type(plain) is not str:
            return self.check(plain)
        try:
            return self.parse(plain)
        except (ValueError, ArithmeticError):
            raise mismatch(self.expected, plain) from None

    def schema(self, book: SchemaBook) -> Schema:
        return (
            {"type": "string"} if self.format is None else {"type": "string", "format": self.format}
        )


def isoformat(value: Any) -> str:
    text: str = value.isoformat()
    return text


def standard_kind(annotation: Any) -> Kind | None:
    """Give the kind of a value type of the standard library, or None for any other annotation.

    A datetime is refused for a date, although Python derives datetime from date: it would come back
    from JSON as a date.
    """
    datetime = sys.modules.get("datetime")
    if datetime is not None:
        if annotation is datetime.datetime:
            return TextKind(annotation, annotation.fromisoformat, isoformat, "date-time")
        if annotation is datetime.date:
            refused = (datetime.datetime,)
            return TextKind(annotation, annotation.fromisoformat, isoformat, "date", refused)
        if annotation is datetime.time:
            return TextKind(annotation, annotation.fromisoformat, isoformat)
        if annotation is datetime.timedelta:
            return TextKind(annotation, duration_from_text, duration_to_text, "duration")
    uuid = sys.modules.get("uuid")
    if uuid is not None and annotation is uuid.UUID:
        return TextKind(annotation, annotation, format="uuid")
    decimal = sys.modules.get("decimal")
    if decimal is not None and annotation is decimal.Decimal:
        return TextKind(annotation, annotation)
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and issubclass(annotation, pathlib.PurePath):
        return TextKind(annotation, annotation)
    return None
