"""What a scope enters before its body and leaves after its tasks (contract 5.10)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from haiway_bus.state import State

__all__ = ("Disposable", "checked_disposables")

Disposable: TypeAlias = AbstractAsyncContextManager[State | Iterable[State] | None]


def checked_disposables(given: object) -> tuple[Disposable, ...]:
    """The disposables of a scope. Raises TypeError for what `async with` does not take."""
    if not isinstance(given, Iterable):
        raise TypeError(f"disposables= takes a list of them, not {given!r}: write [{given!r}]")
    disposables = tuple(given)
    for one in disposables:
        if isinstance(one, type) or not isinstance(one, AbstractAsyncContextManager):
            raise TypeError(
                f"disposables= takes what `async with` takes, an instance with __aenter__ and __aexit__, not {one!r}"
            )
    return disposables
