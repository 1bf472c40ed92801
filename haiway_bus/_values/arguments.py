"""What was given as an argument, and what it can do, found out without running any code of it.

`isinstance` with an abstract class, `asyncio.iscoroutine` and `inspect.isawaitable` hash the class that they are asked
about, which fails for one whose metaclass cannot be hashed, and believe its `__class__`, which may raise.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Coroutine
from inspect import CO_ITERABLE_COROUTINE, CORO_CREATED, getcoroutinestate
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any, Final, TypeGuard
from weakref import ref

from haiway_bus._values.printable import described, name_of_function

__all__ = (
    "can_be_awaited",
    "coroutine_of",
    "is_class",
    "is_coroutine",
    "is_number",
    "is_seconds",
    "name_of_scope",
    "offered_by",
    "offers",
)

# As `type` itself has them: no code of a metaclass runs.
_mro: Final[Any] = type.__dict__["__mro__"].__get__
_dict: Final[Any] = type.__dict__["__dict__"].__get__

_NUMBERS: Final = (int, float)

# The coroutines that were given to spawn() and have not started, or not ended, yet.
_spawned: Final[set[ref[CoroutineType[Any, Any, Any]]]] = set()


def offered_by(kind: type[Any], name: str) -> Any:
    """What a class has for its instances by this name, as it stands there; None for nothing."""
    for base in _mro(kind):
        found = _dict(base)
        if name in found:
            return found[name]
    return None


def offers(value: object, *methods: str) -> bool:
    """Whether the class of the value has these methods."""
    return all(offered_by(type(value), method) is not None for method in methods)


def is_class(value: object) -> TypeGuard[type[Any]]:
    """Whether it is a class, not what says it is one."""
    return issubclass(type(value), type)


def is_coroutine(value: Any) -> TypeGuard[Coroutine[Any, Any, Any]]:
    """Whether asyncio can run it in a task."""
    kind = type(value)
    if kind is CoroutineType:
        return True
    if kind is FunctionType:  # the usual case of what is none
        return False
    if kind is GeneratorType:
        # Those of types.coroutine, where asyncio takes them: Python 3.11.
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE) and asyncio.iscoroutine(value)
    return offers(value, "__await__", "send", "throw", "close")


def coroutine_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The coroutine that `ctx.spawn` was given, or what the function makes of the arguments.

    Raises TypeError for what gives none, ValueError for a coroutine that somebody else runs.
    """
    if is_coroutine(function):
        if args or kwargs:
            function.close()
            raise TypeError(
                "spawn() takes arguments with a function only: a coroutine already has its own"
            )
        if type(function) is CoroutineType:
            # Found again by its referent, and forgotten with it.
            once = ref(function, _spawned.discard)
            if once in _spawned or getcoroutinestate(function) != CORO_CREATED:
                raise ValueError(
                    f"spawn() takes a coroutine once, and {described(function)} runs already, or has run:"
                    " call the async function again for another task"
                )
            _spawned.add(once)
        return function
    if not callable(function):
        raise TypeError(
            f"spawn() takes an async function or a coroutine, not {described(function)}"
        )
    coroutine = function(*args, **kwargs)
    kind = type(coroutine)
    if (kind is GeneratorType or kind is AsyncGeneratorType) and not is_coroutine(coroutine):
        raise TypeError(
            "spawn() takes an async function or a coroutine:"
            f" {name_of_function(function)} has a `yield`, and a call of it runs nothing;"
            " write it without, or spawn a function that iterates over it"
        )
    if not is_coroutine(coroutine):
        raise TypeError(
            f"spawn() takes an async function or a coroutine: {described(function)} returned"
            f" {described(coroutine)}"
        )
    return coroutine


def name_of_scope(given: Any) -> str:
    """The name, of a subclass what it is and not what it says. Raises TypeError for what is none."""
    if not issubclass(type(given), str) or not str.__len__(given):
        raise TypeError(
            f"a scope needs a name, a str that is not empty, not {described(given)}:"
            ' write ctx.scope("name", ...)'
        )
    return str.__str__(given)


def can_be_awaited(value: Any) -> TypeGuard[Awaitable[Any]]:
    """Whether it can stand behind `await`."""
    kind = type(value)
    if kind is GeneratorType:
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)
    return kind is CoroutineType or offers(value, "__await__")


def is_number(value: object) -> bool:
    """Whether it is an int or a float, and not what says it is one."""
    kind = type(value)
    return issubclass(kind, _NUMBERS) and kind is not bool


def is_seconds(number: Any) -> bool:
    """Whether a loop can reckon with this number: NaN it cannot, nor an int that is larger than any float."""
    try:
        return not math.isnan(number)
    except OverflowError:
        return False
