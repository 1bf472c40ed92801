"""Kinds of the standard library's value types: dates and times, UUID, Decimal, paths.

This module does not import theirs: code that annotates a `datetime` has imported it, and other code need not wait.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from operator import methodcaller
from typing import Any, Final

from haiway_bus._state.kinds.durations import DURATION, duration_from_text, duration_to_text
from haiway_bus._state.kinds.kind import Instance, Kind, Plain, Schema, SchemaBook, not_json
from haiway_bus._state.kinds.mismatch import describe, mismatch
from haiway_bus._state.kinds.scalars import text_schema

__all__ = ("standard_kind", "zoned")

DATE: Final = (
    r"(?:(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)-(?:"
    r"(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)|"
    r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
)
MINUTE: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
SECOND: Final = r":[0-5][0-9]"
TIME: Final = rf"{MINUTE}(?:{SECOND}(?:[.,][0-9]+)?)?"
OFFSET: Final = (
    rf"(?:Z|[+-](?:{MINUTE}(?:{SECOND}(?:\.[0-9]{{6}})?)?|(?:[01][0-9]|2[0-3])[0-5][0-9]))"
)
RFC_3339: Final = rf"{DATE}T{MINUTE}{SECOND}(?:\.[0-9]+)?(?:Z|[+-]{MINUTE})"
HEX: Final = "[0-9A-Fa-f]"
UUID: Final = rf"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"
# Bounded, so that no text makes a number that takes seconds to calculate with.
DIGITS: Final = "[0-9]{1,1000}"
DECIMAL: Final = rf"[+-]?(?:{DIGITS}(?:\.[0-9]{{0,1000}})?|\.{DIGITS})(?:[Ee][+-]?[0-9]{{1,4}})?"
NO_UUID: Final = f"{0:08}-0000-0000-0000-{0:012}"


class TextKind(Instance):
    """A value type that JSON carries as text.

    pattern: the texts that it reads, as a regular expression, which the schema says, too. None: any text.
    trusted: the class whose texts fit the pattern. Texts of other instances are tested: pandas' NaT is a datetime.
    samples: texts that it writes. They tell whether a member of a union can read what another wrote: where two
        kinds have a text in common, one of their samples is such a text.
    """

    __slots__ = ("format", "matches", "parse", "pattern", "refused", "samples", "trusted", "write")

    immutable = True
    reads = frozenset({str})

    def __init__(
        self,
        owner: type,
        parse: Callable[[str], Any],
        pattern: str | None,
        samples: tuple[str, ...],
        write: Callable[[Any], str] = str,
        format: str | None = None,  # noqa: A002 - JSON schema's own word
        refused: tuple[type, ...] = (),
    ) -> None:
        super().__init__(owner)
        self.parse: Callable[[str], Any] = parse
        self.pattern: str | None = pattern
        self.matches: Callable[[str], object] = re.compile(pattern or r"[\s\S]*").fullmatch
        self.samples: tuple[str, ...] = samples
        self.write: Callable[[Any], str] = write
        self.format: str | None = format
        self.refused: tuple[type[Any], ...] = refused
        # Decimal has values that are no numbers, and numbers that are too long.
        self.trusted: type | None = None if pattern == DECIMAL else owner

    def check(self, value: Any) -> Any:
        if isinstance(value, self.owner) and not isinstance(value, self.refused):
            return value
        raise mismatch(self.expected, value)

    def dump(self, value: Any) -> Plain:
        text = self.write(value)
        if type(value) is not self.trusted and not self.matches(text):
            raise not_json(describe(value))
        return text

    def load(self, plain: Plain) -> Any:
        if type(plain) is not str:
            return self.check(plain)
        if not self.matches(plain):
            raise mismatch(self.expected, plain)
        try:
            return self.parse(plain)
        except Exception:  # a path may be of a user's own class
            raise mismatch(self.expected, plain) from None

    def schema(self, book: SchemaBook) -> Schema:
        schema = {"type": "string"} if self.pattern is None else text_schema(self.pattern)
        return schema if self.format is None else {**schema, "format": self.format}


isoformat = methodcaller("isoformat")


def from_isoformat(owner: Any) -> Callable[[str], Any]:
    """Give what reads a datetime or a time. CPython's own takes an offset of less than a second for UTC."""
    read = owner.fromisoformat

    def parse(text: str) -> Any:
        value = read(text)
        if text[-15:-6] == "00:00:00." and text[-16:-15] in ("+", "-"):
            datetime = sys.modules["datetime"]
            offset = datetime.timedelta(microseconds=int(text[-16] + text[-6:]))
            return value.replace(tzinfo=datetime.timezone(offset))
        return value

    return parse


def rfc_3339(value: Any) -> str:
    """Write a datetime with its offset; with a UTC time in place of an offset of less than a minute."""
    offset = value.utcoffset()
    if offset is not None and (offset.seconds % 60 or offset.microseconds):
        try:
            value = value.astimezone(sys.modules["datetime"].timezone.utc)
        except OverflowError:
            raise not_json(describe(value)) from None
    return value.isoformat()  # type: ignore[no-any-return]


def zoned(kind: Kind, zone: Any, fits: Callable[[Any], bool]) -> Kind:
    """Narrow the kind of datetimes or times to those of a time zone, any for ..., none for None.

    The text of a datetime has an offset and not the name of a zone. Where it is another zone's, the datetime is
    moved to this zone, so that what was written can be read.
    """
    if not isinstance(kind, TextKind) or kind.expected not in ("datetime", "time"):
        return kind
    if zone is None or kind.expected == "time":
        day = f"{DATE}[T ]" if kind.expected == "datetime" else ""
        pattern = f"{day}{TIME}{'' if zone is None else OFFSET}"
        samples = kind.samples if zone is None else ("12:00:00+00:00",)
        return TextKind(kind.owner, kind.parse, pattern, samples, isoformat)

    def parse(text: str) -> Any:
        value = kind.parse(text)
        if fits(value):
            return value
        try:
            from zoneinfo import ZoneInfo

            return value.astimezone(ZoneInfo(zone) if isinstance(zone, str) else zone)
        except Exception:  # no such zone, no such time in it, or a zone that fails
            return value  # which does not fit

    samples = ("2026-01-01T00:00:00+00:00",)
    return TextKind(kind.owner, parse, RFC_3339, samples, rfc_3339, "date-time")


def standard_kind(annotation: Any) -> Kind | None:
    """Give the kind of a value type of the standard library, or None for any other annotation.

    A datetime is refused for a date, although Python derives datetime from date: it would come back
    from JSON as a date.
    """
    kind = annotation
    datetime = sys.modules.get("datetime")
    if datetime is not None:
        if kind is datetime.datetime:
            pattern = f"{DATE}[T ]{TIME}{OFFSET}?"
            samples = ("2026-01-01T00:00:00",)
            return TextKind(kind, from_isoformat(kind), pattern, samples, isoformat)
        if kind is datetime.date:
            refused = (datetime.datetime,)
            parse = kind.fromisoformat
            return TextKind(kind, parse, DATE, ("2026-01-01",), isoformat, "date", refused)
        if kind is datetime.time:
            pattern = f"{TIME}{OFFSET}?"
            return TextKind(kind, from_isoformat(kind), pattern, ("12:00:00",), isoformat)
        if kind is datetime.timedelta:
            return TextKind(kind, duration_from_text, DURATION, ("P10D",), duration_to_text)
    uuid = sys.modules.get("uuid")
    if uuid is not None and kind is uuid.UUID:
        return TextKind(kind, kind, UUID, (NO_UUID,), format="uuid")
    decimal = sys.modules.get("decimal")
    if decimal is not None and kind is decimal.Decimal:
        return TextKind(kind, kind, DECIMAL, ("12", "1200", "20260101", "1" * 32))
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and issubclass(kind, pathlib.PurePath):
        texts = ("2026-01-01T00:00:00", "2026-01-01", "12:00:00", "P10D", "1200", "1" * 32)
        return TextKind(kind, kind, None, (".", NO_UUID, *texts))
    return None
