"""A mapping from classes, told apart by identity: what a metaclass makes of `==` and `hash()` is its own business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from haiway_bus._values.printable import name_of_type

__all__ = ("ByType",)

Value = TypeVar("Value")

_ABSENT: Final = object()


class ByType(Mapping[type[Any], Value]):
    """A read-only mapping from classes to values. A key is found if it is that class, and not if it equals it.

    Invariant: `_held` has for the id of each class the class, which it thus keeps alive, and the value.
    """

    __slots__ = ("_held",)

    def __init__(self, pairs: Iterable[tuple[type[Any], Value]] = ()) -> None:
        self._held: dict[int, tuple[type[Any], Value]] = {id(pair[0]): pair for pair in pairs}

    def __getitem__(self, key: type[Any]) -> Value:
        found = self._held.get(id(key))
        if found is None:
            raise KeyError(key)
        return found[1]

    def __iter__(self) -> Iterator[type[Any]]:
        return (key for key, _ in self._held.values())

    def __len__(self) -> int:
        return len(self._held)

    def __eq__(self, other: object) -> bool:
        """Whether it has the same classes with equal values, as a dict may have them, too."""
        # Not any Mapping: that question hashes the class of what it is asked about.
        if type(other) is not ByType and not issubclass(type(other), dict):
            return NotImplemented
        given = cast("Mapping[Any, Any]", other)
        return len(self) == len(given) and all(
            self.get(key, _ABSENT) == value for key, value in given.items()
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        # An id means nothing in another process.
        return ByType, (list(self.items()),)

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{name_of_type(key)}: {value!r}' for key, value in self.items())}}}"
