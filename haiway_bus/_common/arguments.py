"""Checks of arguments that run no code of the argument.

`isinstance` with an abstract class, `asyncio.iscoroutine` and `inspect.isawaitable` hash the class of the argument,
which fails when its metaclass is not hashable. They also believe its `__class__`, which may raise.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Coroutine
from inspect import CO_ITERABLE_COROUTINE, CORO_CREATED, getcoroutinestate
from types import AsyncGeneratorType, CoroutineType, FunctionType, GeneratorType
from typing import Any, Final, TypeGuard
from weakref import ref

from haiway_bus._common.printable import described, name_of_function

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

# The descriptors of `type` itself, so that no code of a metaclass runs.
_mro: Final[Any] = type.__dict__["__mro__"].__get__
_dict: Final[Any] = type.__dict__["__dict__"].__get__

_NUMBERS: Final = (int, float)

# The coroutines that spawn() was given, while they live.
_spawned: Final[set[ref[CoroutineType[Any, Any, Any]]]] = set()


def offered_by(kind: type[Any], name: str) -> Any:
    """The attribute of this name in the class or its bases, without binding it; None if there is none."""
    for base in _mro(kind):
        found = _dict(base)
        if name in found:
            return found[name]
    return None


def offers(value: object, *methods: str) -> bool:
    """Whether the class of the value has these methods."""
    return all(offered_by(type(value), method) is not None for method in methods)


def is_class(value: object) -> TypeGuard[type[Any]]:
    """Whether the value is a class, whatever its `__class__` says."""
    return issubclass(type(value), type)


def is_coroutine(value: Any) -> TypeGuard[Coroutine[Any, Any, Any]]:
    """Whether asyncio can run the value in a task."""
    kind = type(value)
    if kind is CoroutineType:
        return True
    if kind is FunctionType:  # the usual value that is not a coroutine
        return False
    if kind is GeneratorType:
        # A generator of types.coroutine, which asyncio takes up to Python 3.11.
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE) and asyncio.iscoroutine(value)
    return offers(value, "__await__", "send", "throw", "close")


def coroutine_of(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the coroutine that `ctx.spawn` was given, or call the function to get it.

    Raises:
        TypeError: The call does not return a coroutine.
        ValueError: The coroutine already runs, or has run.
    """
    if is_coroutine(function):
        if args or kwargs:
            function.close()
            raise TypeError(
                "spawn() takes arguments with a function only: a coroutine already has its own"
            )
        if type(function) is CoroutineType:
            # A weak reference equals another one to the same coroutine, and leaves the set when the coroutine dies.
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
    """Return the name as a plain str. Raise TypeError if it is no str, or empty."""
    if not issubclass(type(given), str) or not str.__len__(given):
        raise TypeError(
            f"a scope needs a name, a str that is not empty, not {described(given)}:"
            ' write ctx.scope("name", ...)'
        )
    return str.__str__(given)


def can_be_awaited(value: Any) -> TypeGuard[Awaitable[Any]]:
    """Whether `await` takes the value."""
    kind = type(value)
    if kind is GeneratorType:
        return bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)
    return kind is CoroutineType or offers(value, "__await__")


def is_number(value: object) -> bool:
    """Whether the value is an int or a float, and not a bool."""
    kind = type(value)
    return issubclass(kind, _NUMBERS) and kind is not bool


def is_seconds(number: Any) -> bool:
    """Whether a loop can compute with this number. It cannot with NaN, or with an int that is larger than any float."""
    try:
        return not math.isnan(number)
    except OverflowError:
        return False
