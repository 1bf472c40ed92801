"""Names that stand for other annotations: type aliases, NewTypes, type variables. Python may evaluate them late."""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping
from typing import Any, ForwardRef, NewType, TypeVar, Union, get_args

from haiway_bus._state.annotations.resolve import (
    Lookup,
    Uncheckable,
    Unresolved,
    evaluated,
    is_class,
    rebuild,
    resolve,
    show,
)

__all__ = ("default_of", "meaning", "meaning_in", "names_in", "refused_argument")


def default_of(variable: Any, lookup: Lookup) -> tuple[Any, ...]:
    """Give the default of a type variable, which Python has from 3.13 on, or nothing. Raises Unresolved."""
    if not getattr(variable, "has_default", bool)():
        return ()
    return (resolve(evaluated(lambda: variable.__default__, show(variable)), lookup),)


def meaning(name: Any) -> Any:
    """Give what a type alias, a NewType or a type variable stands for, not resolved. Any other annotation is its own.

    A type variable stands for its constraints, its bound, or anything.
    """
    if isinstance(name, (type, str)):
        return name
    if type(name).__name__ == "TypeAliasType":  # of typing, from 3.12 on, and of typing_extensions
        value = evaluated(lambda: name.__value__, show(name))
        if value is name:
            raise Uncheckable(f"{show(name)} stands for nothing but itself")
        return value
    if isinstance(name, NewType):
        return name.__supertype__
    if isinstance(name, TypeVar):
        constraints = evaluated(lambda: name.__constraints__, show(name))
        if constraints:
            return Union[constraints]  # noqa: UP007 - of a tuple
        bound = evaluated(lambda: name.__bound__, show(name))
        return Any if bound is None else bound
    return name


def meaning_in(name: Any, lookup: Lookup) -> Any:
    """Give the meaning of a name, resolved where the name was defined. Any other annotation is its own meaning.

    Args:
        name: the name.
        lookup: of the class in whose annotations the name stands.
    """
    found = meaning(name)
    if found is name:
        return name
    local = {each.__name__: each for each in getattr(name, "__type_params__", ())}
    names = vars(sys.modules.get(name.__module__, typing))
    # The type variables of `class Box[T]` are typing's, and do not know their module.
    if names is vars(typing) or names is lookup.names:
        local, names = {**lookup.local, **local}, lookup.names
    return resolve(found, Lookup("", local, names))


def names_in(annotation: Any, local: Mapping[str, Any]) -> set[str]:
    """Collect the names in the texts of an annotation, and in what the names and aliases in it stand for.

    Args:
        annotation: the annotation.
        local: the values of local names.
    """
    found: set[str] = set()
    seen: list[Any] = []

    def note(leaf: Any) -> Any:
        try:
            behind = meaning(leaf)
        except (Unresolved, Uncheckable):
            return leaf
        if behind is not leaf and leaf not in seen:
            seen.append(leaf)
            rebuild(behind, note)
        if isinstance(leaf, ForwardRef):
            leaf = leaf.__forward_arg__
        if isinstance(leaf, str) and leaf not in found:
            names: tuple[str, ...] = (leaf,)
            texts: tuple[Any, ...] = ()
            if not leaf.isidentifier():
                try:
                    code = compile(leaf, "<annotation>", "eval")
                except SyntaxError:
                    return leaf
                names, texts = code.co_names, code.co_consts
            for name in set(names) - found:
                found.add(name)
                rebuild(local.get(name), note)
            for text in texts:
                note(text)
        return leaf

    rebuild(annotation, note)
    return found


def refused_argument(variable: TypeVar, argument: Any, lookup: Lookup) -> str | None:
    """Say why a type argument is outside of the bound or the constraints of its variable. Raises Unresolved."""
    allowed = meaning_in(variable, lookup)
    if not is_class(argument) or allowed is Any:
        return None
    if variable.__constraints__:
        if argument in get_args(allowed):
            return None
        choice = f"one of {', '.join(map(show, get_args(allowed)))}"
    elif is_class(allowed) and not issubclass(argument, allowed):
        choice = f"at most {show(allowed)}"
    else:
        return None
    return f"{variable.__name__} is {choice}, given {show(argument)}"
