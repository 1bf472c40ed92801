"""FrozenMap, the read-only mapping in which a State keeps a Mapping."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from copy import deepcopy
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar, final

__all__ = ("FrozenMap",)

Key = TypeVar("Key")
Value_co = TypeVar("Value_co", covariant=True)


@final
class FrozenMap(Mapping[Key, Value_co]):
    """A mapping that cannot be changed.

    It keeps the order of insertion. It equals any mapping with equal items. It is hashable when its
    values are. It can be pickled and copied.

    Args:
        items: a mapping, or pairs of key and value. They are copied.
    """

    __slots__ = ("__weakref__", "_items")

    # A read-only proxy of a dict that nothing else refers to: no attribute of an instance leads to a dict that can
    # be changed.
    _items: MappingProxyType[Key, Value_co]

    def __new__(
        cls,
        items: Mapping[Key, Value_co] | Iterable[tuple[Key, Value_co]] = (),
        /,
    ) -> FrozenMap[Key, Value_co]:
        self = super().__new__(cls)
        _set_items(self, MappingProxyType(dict(items)))
        return self

    def __getitem__(self, key: Key) -> Value_co:
        return self._items[key]

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[Key]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[Key]:
        return reversed(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Key, default: Any = None, /) -> Any:
        """Give the value of the key, or the default."""
        return self._items.get(key, default)

    def keys(self) -> KeysView[Key]:
        """Give a view of the keys."""
        return self._items.keys()

    def values(self) -> ValuesView[Value_co]:
        """Give a view of the values."""
        return self._items.values()

    def items(self) -> ItemsView[Key, Value_co]:
        """Give a view of the items."""
        return self._items.items()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenMap):
            return self._items == other._items
        if isinstance(other, Mapping):
            return self._items == dict(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __or__(self, other: object) -> FrozenMap[Any, Any]:
        if isinstance(other, Mapping):
            return FrozenMap({**self, **other})
        return NotImplemented

    def __repr__(self) -> str:
        return f"FrozenMap({dict(self._items)!r})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"FrozenMap is read-only: {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"FrozenMap is read-only: {name!r} cannot be deleted")

    def __copy__(self) -> FrozenMap[Key, Value_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenMap[Key, Value_co]:
        copied = {deepcopy(key, memo): deepcopy(value, memo) for key, value in self.items()}
        if all(new is old for new, old in zip(copied.values(), self.values(), strict=True)):
            # As with a tuple: without an item that can change, the copy is the map itself.
            return self
        return FrozenMap(copied)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMap, (dict(self._items),)


# The setter of the slot, for the class refuses assignments. Only `__new__` uses it.
_set_items = FrozenMap.__dict__["_items"].__set__
