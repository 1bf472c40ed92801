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
    """A value type that JSON carries as text.

    samples: texts that it writes. They tell whether a member of a union can read what another wrote: where two
        kinds have a text in common, one of their samples is such a text.
    """

    __slots__ = ("format", "parse", "refused", "samples", "write")

    immutable = True
    reads = frozenset({str})

    def __init__(
        self,
        owner: type,
        parse: Callable[[str], Any],
        write: Callable[[Any], str] = str,
        format: str | None = None,  # noqa: A002 - JSON schema's own word
        refused: tuple[type, ...] = (),
        samples: tuple[str, ...] = (),
    ) -> None:
        super().__init__(owner)
        self.samples: tuple[str, ...] = samples
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
    kind = annotation
    datetime = sys.modules.get("datetime")
    if datetime is not None:
        if kind is datetime.datetime:
            samples = ("2026-01-01T00:00:00",)
            return TextKind(kind, kind.fromisoformat, isoformat, "date-time", samples=samples)
        if kind is datetime.date:
            refused = (datetime.datetime,)
            return TextKind(kind, kind.fromisoformat, isoformat, "date", refused, ("2026-01-01",))
        if kind is datetime.time:
            return TextKind(kind, kind.fromisoformat, isoformat, samples=("12:00:00",))
        if kind is datetime.timedelta:
            samples = ("P10D",)
            return TextKind(kind, duration_from_text, duration_to_text, "duration", samples=samples)
    uuid = sys.modules.get("uuid")
    if uuid is not None and kind is uuid.UUID:
        return TextKind(kind, kind, format="uuid", samples=(f"{0:08}-0000-0000-0000-{0:012}",))
    decimal = sys.modules.get("decimal")
    if decimal is not None and kind is decimal.Decimal:
        return TextKind(kind, kind, samples=("12", "1200", "20260101", "1" * 32))
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and issubclass(kind, pathlib.PurePath):
        texts = ("2026-01-01T00:00:00", "2026-01-01", "12:00:00", "P10D", "1200", "1" * 32)
        return TextKind(kind, kind, samples=(".", f"{0:08}-0000-0000-0000-{0:012}", *texts))
    return None
