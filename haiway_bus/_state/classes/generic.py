"""`Box[int]`: a class of its own, the same at each call, that can be sent, subscribed to, and pickled."""

from __future__ import annotations

from typing import Any

from haiway_bus._state.annotations.names import default_of
from haiway_bus._state.annotations.resolve import Unresolved, show, substitute
from haiway_bus._state.classes.blueprint import Owner
from haiway_bus._state.classes.build import build
from haiway_bus.errors import StateError

__all__ = ("parameterized",)


def parameterized(cls: Owner, arguments: Any) -> Owner:
    """Give the class for type arguments (guarantee 7.3).

    Args:
        cls: a generic State class.
        arguments: one type, or a tuple of them.

    Returns:
        A class derived from `cls`, made at the first call and kept as long as `cls`. When every
        argument is Any, it is `cls` itself, which checks the same.

    Raises:
        StateError: the class is not generic, the number of arguments is wrong, one is outside the
            bound of its type variable, or a field cannot be checked with it.
    """
    given = arguments if isinstance(arguments, tuple) else (arguments,)
    given = tuple(type(None) if argument is None else argument for argument in given)
    blueprint = cls.__state__
    if not blueprint.parameters:
        raise StateError(f"{cls.__name__} has no type parameters, given {listed(given)}")
    given = filled(cls, given)
    if blueprint.arguments:
        # `Pair[int, V][str]` is `Pair[int, str]`.
        meanings = dict(zip(blueprint.parameters, given, strict=True))
        return blueprint.origin[
            tuple(substitute(argument, meanings) for argument in blueprint.arguments)
        ]
    if all(argument is Any for argument in given):
        return cls
    try:
        known = blueprint.variants.get(given)
    except TypeError:
        raise StateError(
            f"{cls.__name__}[{listed(given)}]: the arguments of a generic State have to be hashable"
        ) from None
    if known is not None:
        return known
    name = f"{cls.__name__}[{listed(given)}]"
    body = {
        "__module__": cls.__module__,
        "__qualname__": f"{cls.__qualname__}[{listed(given)}]",
        "__doc__": cls.__doc__,
        "__dict__": type(vars(cls)["__dict__"])(),
    }
    bases = (cls, *bound_bases(cls, given))
    return build(
        type(cls),
        name,
        bases,
        body,
        settings={},
        mixin=blueprint.mixin,
        options=blueprint.options,
        origin=cls,
        arguments=given,
    )


def filled(cls: Owner, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Complete the arguments by the defaults of type variables."""
    parameters = cls.__state__.parameters
    for parameter in parameters[len(given) :]:
        try:
            default = default_of(parameter, cls.__state__.lookup)
        except Unresolved as missing:
            raise StateError(
                f"{cls.__name__}[{listed(given)}]: the default of {parameter.__name__} names "
                f"{missing.name}, which does not exist"
            ) from None
        # A default may name a parameter before it: `class Pair[A, B = A]`.
        meanings = dict(zip(parameters, given, strict=False))
        given = (*given, *(substitute(argument, meanings) for argument in default))
    if len(given) != len(parameters):
        wanted = ", ".join(parameter.__name__ for parameter in parameters)
        raise StateError(f"{cls.__name__} takes the type arguments {wanted}, given {listed(given)}")
    return given


def bound_bases(cls: Owner, given: tuple[Any, ...]) -> tuple[Owner, ...]:
    """The generic bases with the arguments put in: with `class Pair(Box[K], ...)`, `Pair[int, str]` is a `Box[int]`."""
    meanings = dict(zip(cls.__state__.parameters, given, strict=True))
    found = []
    for base in cls.__bases__:
        blueprint = vars(base).get("__state__")
        if blueprint is not None and blueprint.arguments and blueprint.parameters:
            found.append(substitute(base, meanings))
    return tuple(found)


def listed(arguments: tuple[Any, ...]) -> str:
    return ", ".join(map(show, arguments))
