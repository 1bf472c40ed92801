"""State classes by value: how cloudpickle and dill carry a class that the other process cannot import.

Both take a class apart by its dict. cloudpickle makes a class of the name, the bases and a property `__dict__`, and
assigns everything else when the class exists, so that classes may refer to each other. dill calls the metaclass with
everything but `__dict__`. So `__dict__` carries what a class needs to exist (Outline), `__state__` the rest (Facts).
The methods that the package wrote are not assigned where the class arrives: they are written again.
"""

from __future__ import annotations

import copyreg
import sys
from operator import getitem
from os import urandom
from threading import RLock
from types import FunctionType
from typing import Annotated, Any, NamedTuple
from weakref import WeakValueDictionary

from haiway_bus._state.annotations.alias import Alias
from haiway_bus._state.classes.blueprint import Blueprint, Owner
from haiway_bus._state.classes.build import build
from haiway_bus._state.classes.deferred import METHODS, Deferred
from haiway_bus._state.classes.options import UNKNOWN

__all__ = ("ByValue", "Facts", "Outline", "is_rewritten")

_classes: WeakValueDictionary[str, Owner] = WeakValueDictionary()
"""The classes that left or arrived, by key: a class that arrives again is the same class."""

_arrival = RLock()

CARRIER = eval("lambda: (owner, annotations)").__code__  # noqa: S307 - so that cloudpickle takes these globals


class Outline(NamedTuple):
    """What a class needs to exist: a function that makes it, and its arguments."""

    key: str
    make: Any
    arguments: tuple[Any, ...]

    def arrive(self, attributes: dict[str, Any]) -> Owner:
        """Give the class that was made before, or make it, with all attributes that are there."""
        with _arrival:
            cls = _classes.get(self.key)
            if cls is None:
                _classes[self.key] = cls = self.make(*self.arguments)
                for name in sorted(attributes.keys() - {"__dict__", "__slots__"}):
                    setattr(cls, name, attributes[name])
        return cls


class Facts(NamedTuple):
    """What is known of the fields. The globals of `carrier` are filled when all classes exist, by either library."""

    outline: Outline
    carrier: Any
    defaults: dict[str, Any]
    validate: Any

    def arrive(self, attributes: dict[str, Any]) -> Owner:
        return self.outline.arrive(attributes)

    def assign(self, cls: Owner) -> None:
        """Give a class that arrives its fields. A class that is known has them."""
        with _arrival:
            if vars(cls)["__dict__"].arriving:
                vars(cls)["__dict__"].arriving = False
                cls.__state__.lookup.local = self.carrier.__globals__
                cls.__state__.defaults |= self.defaults
                if self.validate is not cls.__state__.validate:
                    type.__setattr__(cls, "__validate__", self.validate)
                    cls.__state__.validate = self.validate
                cls.__state__.complete(final=False)
                if sys.version_info >= (3, 14):  # before, a class has them in its dict
                    cls.__annotations__ = self.carrier.__globals__.get("annotations", {})


class ByValue(property):
    """The `__dict__` in a State class. Its instances have the one of another base or, mostly, none."""

    def __init__(self, key: str = "") -> None:
        super().__init__()
        self.key: str = key or urandom(16).hex()
        self.arriving: bool = bool(key)

    def __set_name__(self, owner: Owner, name: str) -> None:
        self.owner: Owner = owner

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        found = self if instance is None else getattr(super(self.owner, instance), "__dict__", None)
        if found is None:
            raise AttributeError(f"{type(instance).__name__!r} object has no attribute '__dict__'")
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        cls, blueprint = self.owner, self.owner.__state__
        _classes[self.key] = cls
        if blueprint.arguments:
            return Outline, (self.key, getitem, (blueprint.origin, blueprint.arguments))
        body = {key: vars(cls)[key] for key in ("__module__", "__orig_bases__") if key in vars(cls)}
        names = [name for name in blueprint.annotations if name != UNKNOWN]
        # Names that do not exist yet: the class is pending until it gets its Facts.
        body["__annotations__"] = {name: f"annotations[{name!r}]" for name in names}
        body["__qualname__"] = cls.__qualname__
        options = {name: getattr(blueprint, name) for name in ("settings", "mixin", "options")}
        options["abstract"] = vars(cls).get("__abstractmethods__", frozenset())
        foreign = [name for name in METHODS if not blueprint.has_own(name)]
        statement = (self.key, type(cls), cls.__name__, cls.__bases__, body, options, foreign)
        return Outline, (self.key, stated, statement)


def stated(
    key: str, meta: Any, name: str, bases: Any, body: Any, options: Any, foreign: Any
) -> Owner:
    """Make a pending class, without the methods that its author wrote or that it inherits."""
    cls = build(meta, name, bases, {**body, "__dict__": ByValue(key)}, **options)
    for method in set(foreign).intersection(vars(cls)):
        type.__delattr__(cls, method)
    return cls


def facts(blueprint: Blueprint) -> tuple[Any, ...]:
    """Reduce the Blueprint of a class to its Facts, with the names in annotations resolved."""
    blueprint.complete(final=False)
    annotations = {name: a for name, a in blueprint.annotations.items() if name != UNKNOWN}
    for field in blueprint.fields_or_none or ():
        if field.name in annotations:
            hint = field.annotation
            annotations[field.name] = Annotated[hint, Alias(field.alias)] if field.alias else hint
    names = {"__name__": __name__, "owner": blueprint.owner, "annotations": annotations}
    defaults = {name: value for name, value in blueprint.defaults.items() if name != UNKNOWN}
    outline = vars(blueprint.owner)["__dict__"]
    return Facts, (outline, FunctionType(CARRIER, names), defaults, blueprint.validate)


def is_rewritten(cls: Owner, name: str, value: Any) -> bool:
    """Whether what cloudpickle or dill assigns is a method that the package wrote, and writes again."""
    if isinstance(value, Deferred):
        return value.owner is None
    blueprint, code = cls.__state__, getattr(value, "__code__", None)
    if name == "__validate__":  # Facts have it
        known = getattr(blueprint.validate, "__code__", None)
        return vars(cls)["__dict__"].arriving or (code is not None and code == known)
    if name not in METHODS or not blueprint.has_own(name):
        return False
    general = next(iter(blueprint.bases()), blueprint).written[name]
    return value is general or (code is not None and code.co_varnames[:1] == ("__self",))


copyreg.pickle(Blueprint, facts)
copyreg.pickle(Deferred, lambda deferred: (Deferred, (None, deferred.name)))
