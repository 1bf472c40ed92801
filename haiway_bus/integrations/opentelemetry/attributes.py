"""What OpenTelemetry takes as the value of an attribute, made of what `ctx.record` is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ("Attribute", "attributes_of", "type_name")

Attribute: TypeAlias = (
    str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
)


def attributes_of(given: Mapping[str, Any]) -> dict[str, Attribute]:
    """The attributes as OpenTelemetry takes them: None is left out, and what is no plain value becomes its str."""
    return {str(name): _value(value) for name, value in given.items() if value is not None}


def type_name(event_type: type[Any]) -> str:
    """The name under which a type of events is reported."""
    return f"{event_type.__module__}.{event_type.__qualname__}"


def _value(value: Any) -> Attribute:
    # By exact type: a subclass, an IntEnum for one, may have a str that says more than its number.
    if type(value) in (str, bool, int, float):
        plain: Attribute = value
        return plain
    if isinstance(value, (list, tuple, set, frozenset)):
        kinds = {type(one) for one in value}
        if len(kinds) <= 1 and kinds <= {str, bool, int, float}:
            return tuple(value)
        return tuple(str(one) for one in value)
    return str(value)
