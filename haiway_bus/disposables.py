"""What a scope enters before its body and leaves after its tasks (contract 5.10)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

from haiway_bus.arguments import is_class, offers
from haiway_bus.printable import described
from haiway_bus.state import State

__all__ = ("Disposable", "checked_disposables")

Disposable: TypeAlias = AbstractAsyncContextManager[State | Iterable[State] | None]


def checked_disposables(given: Any) -> tuple[Disposable, ...]:
    """The disposables of a scope. Raises TypeError for what `async with` does not take."""
    if not offers(given, "__iter__"):
        shown = described(given)
        raise TypeError(f"disposables= takes a list of them, not {shown}: write [{shown}]")
    disposables: tuple[Any, ...] = tuple(given)
    for one in disposables:
        if is_class(one) or not offers(one, "__aenter__", "__aexit__"):
            raise TypeError(
                "disposables= takes what `async with` takes, an instance with __aenter__ and __aexit__, not"
                f" {described(one)}"
            )
    return disposables
