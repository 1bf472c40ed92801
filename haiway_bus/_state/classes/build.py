"""From a class statement to a class: its slots and its Blueprint."""

from __future__ import annotations

from types import FunctionType
from typing import Any, Generic, NoReturn, TypeVar, get_origin

from haiway_bus._state.annotations.resolve import (
    Lookup,
    annotations_of,
    free_parameters,
    is_class_variable,
    names_in,
)
from haiway_bus._state.classes.blank import blank_of
from haiway_bus._state.classes.blueprint import Blueprint, Owner
from haiway_bus._state.classes.class_body import check_namespace
from haiway_bus._state.classes.deferred import METHODS
from haiway_bus._state.classes.maker import made_in_c
from haiway_bus.errors import StateError

__all__ = ("build",)


def build(
    metaclass: type,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    *,
    frame: Any = None,
    ignore_unknown: bool | None = None,
    mixin: bool = False,
    options: dict[str, Any],
    origin: Owner | None = None,
    arguments: tuple[Any, ...] = (),
) -> Owner:
    """Make a State class, complete unless its annotations look ahead to what does not exist yet.

    Args:
        metaclass: StateMeta, or one derived from it.
        name: the name of the class.
        bases: its bases.
        namespace: the class body.
        frame: where the class statement stands; its local names are visible to annotations.
        ignore_unknown: what from_mapping does with unknown keys; None inherits it.
        mixin: whether the class only lends its fields to others.
        options: keywords of the class statement for `__init_subclass__`.
        origin: the generic class that this one is a parameterized form of.
        arguments: what its type parameters stand for.

    Raises:
        StateError: the class body breaks a rule, an annotation cannot be checked, or a default
            does not fit.
    """
    states: list[Blueprint] = [
        vars(base)["__state__"] for base in bases if "__state__" in vars(base)
    ]
    all_annotations = annotations_of(namespace)
    annotations = {k: a for k, a in all_annotations.items() if not is_class_variable(a)}
    inherited = [field for state in reversed(states) for field in state.names]
    names = tuple(dict.fromkeys([*inherited, *annotations]))
    if states:
        variables = frozenset(all_annotations.keys() - annotations.keys())
        check_namespace(name, bases, namespace, annotations, names, variables)
    slotted: frozenset[str] = frozenset().union(*(state.slotted for state in states))
    slots = () if mixin else tuple(field for field in names if field not in slotted)
    body = {key: value for key, value in namespace.items() if key not in annotations}
    body.setdefault("__match_args__", names)
    body["__slots__"] = slots if states else (*slots, "__weakref__")
    cls = make_class(metaclass, name, bases, body, options)
    local: dict[str, Any] = {}
    wanted = {found for annotation in annotations.values() for found in names_in(annotation)}
    if wanted and frame is not None and frame.f_locals is not frame.f_globals:
        # Names in the function around a class are gone when it returns; a module's are not.
        local = {key: value for key, value in frame.f_locals.items() if key in wanted}
    if wanted:
        local |= {variable.__name__: variable for variable in body.get("__type_params__", ())}
        local[name] = cls
        # As Python looks names up, but for the fields: `date: date | None` means the class.
        local |= {k: v for k, v in body.items() if k in wanted and not isinstance(v, FunctionType)}
    if ignore_unknown is None:
        ignore_unknown = any(state.ignore_unknown for state in states)
    state = Blueprint(
        cls,
        annotations=annotations,
        defaults={field: namespace[field] for field in annotations if field in namespace},
        names=names,
        slotted=slotted | frozenset(slots),
        lookup=Lookup(cls.__module__, local, getattr(frame, "f_globals", None)),
        ignore_unknown=ignore_unknown,
        mixin=mixin,
        options=options,
        origin=origin,
        arguments=arguments,
        parameters=parameters_of(cls, body, states, arguments),
    )
    type.__setattr__(cls, "__state__", state)
    if getattr(cls, "__parameters__", ()) != state.parameters:
        type.__setattr__(cls, "__parameters__", state.parameters)
    if not states:
        # State itself: it has no fields, and object's constructor will do.
        state.fields_or_none = ()
        state.written = {method: vars(cls)[method] for method in METHODS}
        return cls
    if not mixin:
        state.defer_methods()
        if names and not made_in_c(cls):
            # Before the class has a `__new__`, which the blank would inherit: this way blanks are allocated by C alone.
            state.blank = blank_of(cls)
    constructor = refuse_instance if mixin else make_when_complete
    type.__setattr__(cls, "__new__", staticmethod(constructor))
    if origin is not None:
        # Known before it is complete, because `Node[int]` may hold a `Node[int]`.
        known = origin.__state__.variants.setdefault(arguments, cls)
        if known is not cls:
            return known
    try:
        state.complete(final=False)
    except StateError:
        if origin is not None:
            origin.__state__.variants.pop(arguments, None)
        raise
    return cls


def make_class(
    metaclass: type,
    name: str,
    bases: tuple[type, ...],
    body: dict[str, Any],
    options: dict[str, Any],
) -> Owner:
    try:
        cls: Owner = type.__new__(metaclass, name, bases, body, **options)
    except TypeError as conflict:
        if "lay-out" not in str(conflict) and "layout" not in str(conflict):
            raise
        raise StateError(
            f"{name}: two of its bases have fields of their own: "
            "make one of them a mix-in, class Base(State, mixin=True)"
        ) from conflict
    if cls.__init__ is not object.__init__:
        holder = next(base for base in cls.__mro__ if "__init__" in vars(base))
        raise StateError(
            f"{name}: {holder.__name__}.__init__ has no place in a State, "
            "whose constructor sets all fields"
        )
    return cls


def parameters_of(
    cls: Owner, body: dict[str, Any], states: list[Blueprint], arguments: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The type variables of a class: of its Generic[...], else those its bases leave free."""
    found: tuple[Any, ...]
    if arguments:
        found = tuple(dict.fromkeys(p for a in arguments for p in free_parameters(a)))
    elif any(get_origin(base) is Generic for base in body.get("__orig_bases__", ())):
        found = tuple(cls.__parameters__)
    else:
        found = tuple(dict.fromkeys(p for s in states if s.arguments for p in s.parameters))
    for parameter in found:
        if not isinstance(parameter, TypeVar):
            raise StateError(f"{cls.__name__}: the type parameter {parameter} is no TypeVar")
    return found


def make_when_complete(cls: Owner, /, *positional: Any, **given: Any) -> Any:
    """The constructor of a class whose annotations looked ahead: by now they must resolve."""
    cls.__state__.complete()
    return cls(*positional, **given)


def refuse_instance(cls: Owner, /, *positional: Any, **given: Any) -> NoReturn:
    """The constructor of a mix-in."""
    raise StateError(f"{cls.__name__} is a mix-in: make an instance of a class derived from it")
