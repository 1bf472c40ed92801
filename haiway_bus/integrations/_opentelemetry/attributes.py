"""Attributes: from what `ctx.record` takes to what OpenTelemetry takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from haiway_bus._common.printable import described, full_name_of_type, written

__all__ = ("Attribute", "attributes_of", "type_name")

Attribute: TypeAlias = (
    str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
)


def attributes_of(given: Mapping[str, Any]) -> dict[str, Attribute]:
    """Return the attributes as OpenTelemetry takes them: without None, and with the str of every value not plain."""
    return {written(name, str): _value(value) for name, value in given.items() if value is not None}


def type_name(event_type: type[Any]) -> str:
    """Return the name under which a type of events is reported."""
    return full_name_of_type(event_type)


# Exporters write numbers below this.
_LARGEST: Final = 2**63

_PLAIN: Final = (str, bool, int, float)


def _value(value: Any) -> Attribute:
    # Plain means the exact type: the str of a subclass, such as an IntEnum, can say more than its number.
    if _is_plain(value):
        plain: Attribute = value
        return plain
    if issubclass(type(value), list | tuple | set | frozenset):
        values = list(value)
        kinds = {id(type(item)) for item in values}
        if len(kinds) <= 1 and all(map(_is_plain, values)):
            return tuple(values)
        return tuple(_text(item) for item in values)
    return _text(value)


def _is_plain(value: Any) -> bool:
    kind = type(value)
    return any(kind is plain for plain in _PLAIN) and not (
        kind is int and not -_LARGEST <= value < _LARGEST
    )


def _text(value: object) -> str:
    return described(value) if type(value) is int else written(value, str)
