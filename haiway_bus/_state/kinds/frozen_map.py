"""The read-only mapping that a State keeps for a field annotated as a Mapping."""

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

    It keeps the order of insertion, equals any mapping of equal items, and hashes when its values
    do. The items stand in a dict of which only a read-only proxy is kept: no attribute of an
    instance leads to something that can be written to.

    Contract 7.4.
    """

    __slots__ = ("__weakref__", "_items")

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
        """The value of the key, or the default."""
        return self._items.get(key, default)

    def keys(self) -> KeysView[Key]:
        """A view of the keys."""
        return self._items.keys()

    def values(self) -> ValuesView[Value_co]:
        """A view of the values."""
        return self._items.values()

    def items(self) -> ItemsView[Key, Value_co]:
        """A view of the items."""
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
            # As for a tuple: what holds nothing that can change needs no second copy.
            return self
        return FrozenMap(copied)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMap, (dict(self._items),)


# The slot's own setter, since the class refuses the assignment. Taken here and used in one place.
_set_items = FrozenMap.__dict__["_items"].__set__
