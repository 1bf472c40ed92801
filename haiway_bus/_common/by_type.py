"""A mapping whose keys are classes, compared by identity, as a metaclass may redefine `==` and `hash()`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

from haiway_bus._common.printable import name_of_type

__all__ = ("ByType",)

Value = TypeVar("Value")

_ABSENT: Final = object()


class ByType(Mapping[type[Any], Value]):
    """A read-only mapping from classes to values. A lookup compares classes by identity.

    Invariant: `_held` maps the id of each class to the class and its value. It keeps the class alive, so the id is
        unique.
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
        """Whether the other mapping, a ByType or a dict, has the same classes with equal values."""
        # isinstance(other, Mapping) would hash the class of `other`.
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
