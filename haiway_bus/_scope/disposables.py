"""Disposables: context managers that a scope enters before its body and leaves after its tasks (guarantee 5.10)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from types import AsyncGeneratorType, CoroutineType
from typing import Any, Final, TypeAlias, cast

from haiway_bus._common.arguments import is_class, offers
from haiway_bus._common.printable import described, name_of_type
from haiway_bus._scope.failures import Failures
from haiway_bus._state import State

__all__ = ("Disposable", "checked_disposables", "enter", "leave")

Disposable: TypeAlias = AbstractAsyncContextManager[State | Iterable[State] | None]

_NONE: Final = ()
_TEXTS: Final = (str, bytes, bytearray)


def checked_disposables(given: Any) -> tuple[Disposable, ...]:
    """Return the disposables, without None. Raise TypeError for a value that `async with` does not take."""
    if given is None or given is _NONE:
        return ()
    if not offers(given, "__iter__") or issubclass(type(given), _TEXTS) or can_be_left(given):
        shown = described(given)
        raise TypeError(f"disposables= takes a list of them, not {shown}: write [{shown}]")
    disposables = tuple(one for one in given if one is not None)
    for one in disposables:
        if not can_be_left(one):
            raise TypeError(
                "disposables= takes what `async with` takes, an instance with __aenter__ and __aexit__, not"
                f" {described(one)}{way_out(one)}"
            )
    return disposables


def can_be_left(one: Any) -> bool:
    return not is_class(one) and offers(one, "__aenter__", "__aexit__")


def way_out(one: Any) -> str:
    """The end of the error: what to write instead, if that is known."""
    kind = type(one)
    if is_class(one):
        return f": call it, {name_of_type(one)}(...)" if offers_itself(one) else ""
    if issubclass(kind, State):
        return ": State stands after the name of the scope, ctx.scope(name, state)"
    if kind is CoroutineType:
        one.close()
        return ": await it first, and give what comes of it"
    if kind is AsyncGeneratorType:
        return ": write @asynccontextmanager above its function"
    if offers(one, "__enter__", "__exit__"):
        return (
            ", a plain context manager: enter it by `with` around the scope,"
            " or in a function with @asynccontextmanager"
        )
    if callable(one):
        return ": call it"
    return ""


def offers_itself(kind: type[Any]) -> bool:
    return any("__aenter__" in vars(base) for base in kind.__mro__)


async def enter(disposable: Disposable, held: list[Disposable]) -> Iterable[State]:
    """Enter the disposable, add it to `held`, and return the state that it gives."""
    given = await type(disposable).__aenter__(disposable)
    held.append(disposable)
    if given is None:
        return ()
    one = issubclass(type(given), State)
    return cast("Iterable[State]", (given,) if one else given)


async def leave(disposable: Disposable, failures: Failures) -> None:
    """Leave the disposable with the exception that is about to leave the scope. It may suppress it, or add its own."""
    shown = failures.outcome
    leave = type(disposable).__aexit__
    try:
        if shown is None:
            await leave(disposable, None, None, None)
        elif await leave(disposable, type(shown), shown, shown.__traceback__):
            failures.suppress()
    except BaseException as error:
        failures.add(error)
    finally:
        del shown  # its traceback keeps the variables of this function alive
