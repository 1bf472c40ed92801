"""From a class statement to a class: its slots and its Blueprint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from types import FunctionType
from types import GetSetDescriptorType as DictOf
from typing import Any, Generic, NoReturn, TypeVar, get_origin

from haiway_bus._state.annotations.names import names_in
from haiway_bus._state.annotations.resolve import (
    Lookup,
    annotations_of,
    free_parameters,
    is_class_variable,
)
from haiway_bus._state.classes.blank import blank_of
from haiway_bus._state.classes.blueprint import Blueprint, Owner
from haiway_bus._state.classes.class_body import check_namespace
from haiway_bus._state.classes.deferred import METHODS, Constructor
from haiway_bus._state.classes.maker import made_in_c
from haiway_bus._state.classes.options import UNKNOWN, check_options
from haiway_bus._state.classes.validate import check_hooks
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.json_value import JsonValue
from haiway_bus.errors import StateError

__all__ = ("build",)


def build(
    metaclass: type,
    name: str,
    bases: tuple[type, ...],
    namespace: dict[str, Any],
    *,
    frame: Any = None,
    settings: dict[str, Any],
    mixin: bool = False,
    options: dict[str, Any],
    abstract: frozenset[str] | None = None,
    origin: Owner | None = None,
    arguments: tuple[Any, ...] = (),
) -> Owner:
    """Make a State class. It is complete unless its annotations name something that does not exist yet.

    Args:
        metaclass: StateMeta, or one derived from it.
        name: the name of the class.
        bases: its bases.
        namespace: the class body.
        frame: the frame of the class statement. Annotations see its local names.
        settings: the class options in the statement: unknown, rename, omit_defaults.
        mixin: whether the class is a mix-in, which has fields and no instances.
        options: keywords of the class statement for `__init_subclass__`.
        abstract: the methods that the class lacks. None finds them in the class body.
        origin: the generic class, when this class is a parameterized form of it.
        arguments: the type arguments of that form.

    Returns:
        The class. For a parameterized form that another thread made first: that class.

    Raises:
        StateError: the class body breaks a rule, an annotation cannot be checked, or a default
            does not fit.
    """
    blueprints: list[Blueprint] = [
        vars(base)["__state__"] for base in bases if "__state__" in vars(base)
    ]
    all_annotations = annotations_of(namespace)
    annotations = {k: a for k, a in all_annotations.items() if not is_class_variable(a)}
    inherited = [field for blueprint in reversed(blueprints) for field in blueprint.names]
    hidden = UNKNOWN in inherited
    names = tuple(n for n in dict.fromkeys([*inherited, *annotations]) if n != UNKNOWN)
    for blueprint in blueprints:
        settings = blueprint.settings | settings
    check_options(name, settings, hidden)
    if blueprints:
        variables = frozenset(all_annotations.keys() - annotations.keys())
        check_namespace(name, bases, namespace, annotations, names, variables)
    shown = names
    defaults = {field: namespace[field] for field in annotations if field in namespace}
    if settings.get("unknown") == "keep":
        names = (*names, UNKNOWN)
        if not hidden:
            annotations[UNKNOWN] = Mapping[str, JsonValue]
            defaults[UNKNOWN] = FrozenMap()
    slotted: frozenset[str] = frozenset().union(*(blueprint.slotted for blueprint in blueprints))
    slots = () if mixin else tuple(field for field in names if field not in slotted)
    body = {key: value for key, value in namespace.items() if key not in annotations}
    body.setdefault("__match_args__", shown)
    body["__slots__"] = slots if blueprints else (*slots, "__weakref__")
    caches = any(isinstance(value, cached_property) for value in body.values())
    if caches and not any(
        isinstance(vars(c).get("__dict__"), DictOf) for b in bases for c in b.__mro__
    ):
        bases = (*bases, HasDict)
    cls = make_class(metaclass, name, bases, body, options)
    if abstract is None:
        abstract = abstract_names(cls, body)
    if abstract:
        type.__setattr__(cls, "__abstractmethods__", abstract)
    around: Mapping[str, Any] = {}
    if frame is not None and frame.f_locals is not frame.f_globals:
        # The local names of a function are gone when it returns. A module keeps its names.
        around = frame.f_locals
    wanted = {found for each in annotations.values() for found in names_in(each, around)}
    local = {key: around[key] for key in wanted if key in around}
    if wanted:
        local |= {variable.__name__: variable for variable in body.get("__type_params__", ())}
        local[name] = cls
        # In the order in which Python looks names up, without the fields: `date: date | None` means the class.
        local |= {k: v for k, v in body.items() if k in wanted and not isinstance(v, FunctionType)}
    lookup = Lookup(cls.__module__, local, getattr(frame, "f_globals", None))
    blueprint = Blueprint(
        cls,
        annotations=annotations,
        defaults=defaults,
        names=names,
        slotted=slotted | frozenset(slots),
        lookup=origin.__state__.lookup if origin else lookup,
        settings=settings,
        mixin=mixin,
        options=options,
        origin=origin,
        arguments=arguments,
        parameters=parameters_of(cls, body, blueprints, arguments),
    )
    type.__setattr__(cls, "__state__", blueprint)
    if getattr(cls, "__parameters__", ()) != blueprint.parameters:
        type.__setattr__(cls, "__parameters__", blueprint.parameters)
    if not blueprints:
        # State itself: it has no fields, and object's constructor will do.
        blueprint.fields_or_none = ()
        blueprint.written = {method: vars(cls)[method] for method in METHODS}
        return cls
    if not mixin:
        blueprint.defer_methods()
        if blueprint.makes and names and not made_in_c(cls):
            # Now, before the class has a `__new__`: the blank would inherit that, and its allocation would pass by it.
            blueprint.blank = blank_of(cls)
    constructor = make_when_complete if blueprint.makes else refuse_instance
    type.__setattr__(cls, "__new__", Constructor(constructor))
    if origin is not None:
        # Before the class is complete, because `Node[int]` may hold a `Node[int]`.
        known = origin.__state__.variants.setdefault(arguments, cls)
        if known is not cls:
            return known
    try:
        blueprint.complete(final=False)
    except StateError:
        if origin is not None:
            origin.__state__.variants.pop(arguments, None)
        raise
    return cls


class HasDict:
    """The base by which instances have a `__dict__`, where a cached_property keeps its value."""

    __slots__ = ("__dict__",)


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
    if cls.__init__.__name__ == "_no_init_or_replace_init":
        # A protocol has it, against instances of its own. A class derived from it is to have none.
        type.__setattr__(cls, "__init__", object.__init__)
    if cls.__init__ is not object.__init__:
        holder = next(base for base in cls.__mro__ if "__init__" in vars(base))
        raise StateError(
            f"{name}: {holder.__name__}.__init__ has no place in a State, "
            "whose constructor sets all fields"
        )
    check_hooks(cls)
    return cls


def abstract_names(cls: Owner, body: dict[str, Any]) -> frozenset[str]:
    """The methods that a class lacks, as ABCMeta finds them, with and without ABC among the bases."""
    names = set(body).union(*(getattr(base, "__abstractmethods__", ()) for base in cls.__bases__))
    found = ((name, getattr(cls, name, None)) for name in names)
    return frozenset(name for name, value in found if getattr(value, "__isabstractmethod__", False))


def parameters_of(
    cls: Owner, body: dict[str, Any], blueprints: list[Blueprint], arguments: tuple[Any, ...]
) -> tuple[Any, ...]:
    """The type variables of a class: those of its `Generic[...]`, or else those that its bases leave free."""
    found: tuple[Any, ...]
    if arguments:
        found = tuple(dict.fromkeys(p for a in arguments for p in free_parameters(a)))
    elif any(get_origin(base) is Generic for base in body.get("__orig_bases__", ())):
        found = tuple(cls.__parameters__)
    else:
        found = tuple(dict.fromkeys(p for s in blueprints if s.arguments for p in s.parameters))
    for parameter in found:
        if not isinstance(parameter, TypeVar):
            raise StateError(f"{cls.__name__}: the type parameter {parameter} is no TypeVar")
    return found


def make_when_complete(cls: Owner, /, *positional: Any, **given: Any) -> Any:
    """The constructor of a class that is not complete. By now the names in its annotations must exist."""
    cls.__state__.complete()
    return cls(*positional, **given)


def refuse_instance(cls: Owner, /, *positional: Any, **given: Any) -> NoReturn:
    """The constructor of a mix-in, and of an abstract class."""
    what = "is a mix-in"
    if not cls.__state__.mixin:
        what = f"is abstract, it lacks {', '.join(sorted(cls.__abstractmethods__))}"
    raise StateError(f"{cls.__name__} {what}: make an instance of a class derived from it")
