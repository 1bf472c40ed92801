"""JsonValue: any JSON value, frozen. And its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from haiway_bus._state.kinds.containers import is_array
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.kind import Kind, Plain, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import DEEP, Mismatch, mismatch, part_of
from haiway_bus._state.kinds.scalars import SCALARS, ordinary

__all__ = ("JsonKind", "JsonValue")

if TYPE_CHECKING:
    JsonValue: TypeAlias = (
        "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
    )
else:

    class JsonValue:
        """The annotation of a JSON value of any form: None, bool, int, float, str, an array or an object of these.

        A State keeps it frozen: an array as a tuple, an object as a FrozenMap, on every level. So the
        State stays hashable. To type checkers it is the alias
        `None | bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue]`.
        """

        def __new__(cls) -> NoReturn:
            raise TypeError("JsonValue is an annotation, and has no instances")


SURE = frozenset({type(None), bool, int})
"""The types of which JSON carries every value as it is."""

ATOMS = SURE | {float, str}


class JsonKind(Kind):
    """A JSON value. Arrays are kept as tuples and objects as FrozenMaps, on every level."""

    __slots__ = ()

    immutable = True
    reads = ATOMS | {list, dict}
    kept = (*ATOMS, tuple, FrozenMap)

    def __init__(self) -> None:
        super().__init__("JsonValue", ATOMS)

    def check(self, value: Any) -> Any:
        return whole(value, "check", tuple, FrozenMap, ATOMS)

    def dump(self, value: Any) -> Plain:
        return whole(value, "dump", list, dict, SURE)

    def load(self, plain: Plain) -> Any:
        return whole(plain, "load", tuple, FrozenMap, SURE)

    def schema(self, book: SchemaBook) -> Schema:
        return {}


def whole(value: Any, *form: Any) -> Any:
    """Convert a JSON value. Raises Mismatch for the first part that is none."""
    try:
        return convert(value, *form)
    except RecursionError:
        pass
    raise Mismatch([("", DEEP)])


def convert(value: Any, method: str, array: type, mapping: type, sure: frozenset[type]) -> Any:
    """Convert a JSON value. One frame for each level, for the stack limits how deep it can be nested.

    Args:
        value: the value.
        method: "check", "dump" or "load", which the kinds of its texts and numbers serve.
        array: what arrays become.
        mapping: what objects become.
        sure: the types whose values need no such call.
    """
    kind = type(value)
    if kind in sure or (kind is str and value.isascii()) or (kind is float and ordinary(value)):
        return value
    if isinstance(value, (dict, Mapping)):
        entries: dict[str, Any] = {}
        for key, item in value.items():
            try:
                if not isinstance(key, str):
                    raise mismatch("str as the key", key)
                new_key = key if type(key) in sure else convert(key, method, array, mapping, sure)
                entries[new_key] = (
                    item if type(item) in sure else convert(item, method, array, mapping, sure)
                )
            except Mismatch as wrong:
                raise Mismatch(wrong.under(part_of(key))) from None
        if kind is mapping and all(map(is_, entries.values(), value.values())):
            return value
        return entries if mapping is dict else mapping(entries)
    if kind is list or kind is tuple or is_array(value):
        items: list[Any] = []
        for item in value:
            try:
                items.append(
                    item if type(item) in sure else convert(item, method, array, mapping, sure)
                )
            except Mismatch as wrong:
                raise Mismatch(wrong.under(f"[{len(items)}]")) from None
        if kind is array and all(map(is_, items, value)):
            return value
        return items if array is list else array(items)
    for scalar in (str, int, float):
        if isinstance(value, scalar):
            return getattr(SCALARS[scalar], method)(value)
    raise mismatch("JsonValue", value)
