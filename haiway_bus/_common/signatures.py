"""Check that a function can be called with one event, before the first event comes.

Behind a partial, a bound method or an instance with `__call__`, a call ends in a Python function or a builtin. Its
code says which arguments it takes. `__wrapped__` and `__signature__` describe what a function is for; a decorator may
add an argument, so they are not used. A callable whose arguments are unknown is accepted: a false error is worse than
a late one.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from functools import partial
from inspect import (
    CO_ASYNC_GENERATOR,
    CO_COROUTINE,
    CO_GENERATOR,
    CO_ITERABLE_COROUTINE,
    Signature,
)
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from haiway_bus._common.arguments import is_class, offered_by
from haiway_bus._common.printable import LONGEST, described, name_of_function, shortened, written

__all__ = ("Called", "called", "check_takes_event", "is_async", "is_plain")

_EVENT: Final = object()
_PLACEHOLDER: Final = getattr(functools, "Placeholder", None)  # of Python 3.14
_DEEPEST: Final = 100
_YIELDS: Final = CO_GENERATOR | CO_ASYNC_GENERATOR


def is_plain(function: Any, *, or_async: bool = False) -> bool:
    """Whether it is a plain function or method of one argument. A quick check: False means "look closer"."""
    given = 1
    if type(function) is MethodType:
        function, given = function.__func__, 2
    if type(function) is not FunctionType or vars(function):
        return False
    code = function.__code__
    least = code.co_argcount - len(function.__defaults__ or ())
    unwanted = _YIELDS if or_async else _YIELDS | CO_COROUTINE
    return (
        least <= given <= code.co_argcount
        and not code.co_kwonlyargcount
        and not code.co_flags & unwanted
    )


class Called(NamedTuple):
    """What a call with one event reaches in the end: the function, and the arguments it gets.

    `instance` says whether the first argument is the instance of a method.
    """

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    instance: bool


def called(function: Any) -> Called:
    """Look behind partials, methods and instances with `__call__`."""
    args: tuple[Any, ...] = (_EVENT,)
    kwargs: dict[str, Any] = {}
    instance = False
    for _ in range(_DEEPEST):
        kind = type(function)
        if kind is FunctionType or is_class(function):
            break
        if issubclass(kind, partial):
            left = list(args)
            # A Placeholder takes the first arguments.
            own = [left.pop(0) if left and one is _PLACEHOLDER else one for one in function.args]
            args = (*own, *left) if _PLACEHOLDER is not None else (*function.args, *args)
            kwargs = {**function.keywords, **kwargs}
            instance = False
            function = function.func
            continue
        if kind is MethodType:
            following, owner = function.__func__, function.__self__
        else:
            following, owner = offered_by(kind, "__call__"), function
            if type(following) is not FunctionType:
                break
        instance = True
        args = (owner, *args)
        function = following
    return Called(function, args, kwargs, instance)


def is_async(function: Any) -> bool:
    """Whether a call of the function makes a coroutine, as far as can be known."""
    if _flags(called(function).function) & (CO_COROUTINE | CO_ITERABLE_COROUTINE):
        return True
    with suppress(Exception):  # AsyncMock, inspect.markcoroutinefunction
        return inspect.iscoroutinefunction(function)
    return False


def check_takes_event(call: str, what: str, function: Any) -> None:
    """Raise TypeError if a call of the function with one event would fail, or would run nothing."""
    if not callable(function):
        raise TypeError(f"{call} takes {what}, not {described(function)}")
    found = called(function)
    flags = _flags(found.function)
    if flags & (CO_GENERATOR | CO_ASYNC_GENERATOR) and not flags & CO_ITERABLE_COROUTINE:
        raise TypeError(
            f"{call} takes {what}, not {name_of_function(function)}, which has a `yield`: a call of it runs nothing;"
            " write it without, or spawn a task that reads a subscription"
        )
    signature = _signature(found.function)
    if signature is None or _binds(signature, found.args, found.kwargs):
        return
    name = name_of_function(found.function)
    takes = f"{name}{shortened(written(signature, str), LONGEST)}"
    if found.instance and _without_instance(signature, found):
        wants = f"it is called as a method, and so with its instance first: write {_alone(name)}(self, event)"
    else:
        wants = (
            f"it is called with the event alone: write {_alone(name)}(event), or give what else it takes,"
            f" lambda event: {_alone(name)}(...)"
        )
    raise TypeError(f"{call} takes {what}, not {takes}: {wants}")


def _signature(function: Any) -> Signature | None:
    if type(function) is FunctionType:
        # From the code alone: attributes of the function may be wrong, and annotations would be evaluated.
        bare = FunctionType(
            function.__code__, {}, None, function.__defaults__, function.__closure__
        )
        bare.__kwdefaults__ = function.__kwdefaults__
        return inspect.signature(bare)
    if type(function) is BuiltinFunctionType:
        with suppress(Exception):  # ValueError for a builtin without a signature
            return inspect.signature(function)
    return None


def _binds(signature: Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def _without_instance(signature: Signature, found: Called) -> bool:
    """Whether `self` was forgotten: the first parameter has another name, and the call without an instance works."""
    if next(iter(signature.parameters), "") in ("self", "cls"):
        return False
    return not signature.parameters or _binds(signature, found.args[1:], found.kwargs)


def _alone(name: str) -> str:
    return name.rpartition(".")[2]


def _flags(function: Any) -> int:
    return function.__code__.co_flags if type(function) is FunctionType else 0
