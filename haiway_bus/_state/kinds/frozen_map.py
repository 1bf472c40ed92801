"""FrozenMap, the read-only mapping in which a State keeps a Mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from operator import is_
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, final

__all__ = ("FrozenMap",)

Key = TypeVar("Key")
Value_co = TypeVar("Value_co", covariant=True)

if TYPE_CHECKING:
    # Type checkers need not know of the dict: they refuse what changes one, and take the values as covariant.
    Base = Mapping
else:
    Base = dict


@final
class FrozenMap(Base[Key, Value_co]):
    """A mapping that cannot be changed.

    It keeps the order of insertion. It equals any mapping with equal items. It is hashable when its
    values are. It can be pickled and copied. `FrozenMap(items)` copies a mapping, or pairs of key
    and value. `map | other` makes another one, and `dict(map)` a dict that can be changed.

    It is a dict to `isinstance`, so that `json.dumps` and other encoders write it. Every method that
    changes a dict raises TypeError. Only code that goes behind the class changes it, such as
    `dict.__setitem__(map, key, value)` or `exec(code, map)`, and such code breaks every State that
    holds the map.
    """

    __slots__ = ("__weakref__",)

    def __new__(
        cls,
        items: Mapping[Key, Value_co] | Iterable[tuple[Key, Value_co]] = (),
        /,
    ) -> FrozenMap[Key, Value_co]:
        self = super().__new__(cls)
        dict.update(self, items)  # type: ignore[arg-type]
        return self

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __or__(self, other: object) -> FrozenMap[Any, Any]:
        if isinstance(other, Mapping):
            return FrozenMap({**self, **other})
        return NotImplemented

    __ior__ = __or__

    def __repr__(self) -> str:
        return f"FrozenMap({dict(self)!r})"

    if TYPE_CHECKING:

        def __getitem__(self, key: Key, /) -> Value_co: ...
        def __iter__(self) -> Iterator[Key]: ...
        def __reversed__(self) -> Iterator[Key]: ...
        def __len__(self) -> int: ...

    else:
        # Not dict's own, which takes items.
        __init__ = object.__init__

        def refuse(self, *_: Any, **__: Any) -> NoReturn:
            raise TypeError(
                "a FrozenMap is read-only: `map | {...}` makes another, dict(map) a dict"
            )

        __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = refuse
        del refuse

    def __copy__(self) -> FrozenMap[Key, Value_co]:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenMap[Key, Value_co]:
        copied = {deepcopy(key, memo): deepcopy(value, memo) for key, value in self.items()}
        if all(map(is_, copied.values(), self.values())):
            # As with a tuple: without an item that can change, the copy is the map itself.
            return self
        return FrozenMap(copied)

    def __reduce__(self) -> tuple[Any, ...]:
        return FrozenMap, (dict(self),)
