"""From an annotation to its Kind. An annotation that no kind can check is refused (guarantee 7.3)."""

from __future__ import annotations

import collections
from collections.abc import (
    Callable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from collections.abc import Set as AbstractSet
from enum import Enum
from types import GenericAlias, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    LiteralString,
    Self,
    Union,
    Unpack,
    get_args,
    get_origin,
    is_typeddict,
)

from haiway_bus._state.annotations.alias import Alias
from haiway_bus._state.annotations.names import meaning, meaning_in
from haiway_bus._state.annotations.resolve import (
    Lookup,
    Uncheckable,
    entries_of,
    show,
    substitute,
)
from haiway_bus._state.kinds.constraints import ConstrainedKind, Unsupported, constraints
from haiway_bus._state.kinds.containers import MappingKind, SequenceKind, SetKind, TupleKind
from haiway_bus._state.kinds.epoch import with_epoch
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.json_value import JsonKind, JsonValue
from haiway_bus._state.kinds.kind import Entry, Instance, Kind
from haiway_bus._state.kinds.mismatch import part_of
from haiway_bus._state.kinds.objects import (
    CallableKind,
    EnumKind,
    LiteralKind,
    ProtocolKind,
    StateKind,
    TypeKind,
)
from haiway_bus._state.kinds.scalars import SCALARS, AnyKind
from haiway_bus._state.kinds.stdlib import standard_kind
from haiway_bus._state.kinds.typed_dicts import TypedDictKind
from haiway_bus._state.kinds.unions import RecursiveKind, UnionKind

__all__ = ("parse",)

KNOWN: dict[Any, Kind] = {**SCALARS, JsonValue: JsonKind()}

CONTAINERS: dict[Any, tuple[Callable[..., Kind], int]] = {
    Sequence: (SequenceKind, 1),
    Mapping: (MappingKind, 2),
    FrozenMap: (MappingKind, 2),
    AbstractSet: (SetKind, 1),
    frozenset: (SetKind, 1),
}
"""The kind of each container, and how many parameters it takes."""

MUTABLE: dict[Any, str] = {
    list: "Sequence",
    MutableSequence: "Sequence",
    collections.deque: "Sequence",
    bytearray: "bytes",
    dict: "Mapping",
    MutableMapping: "Mapping",
    collections.defaultdict: "Mapping",
    collections.OrderedDict: "Mapping",
    collections.Counter: "Mapping",
    collections.ChainMap: "Mapping",
    set: "Set",
    MutableSet: "Set",
}
"""Containers that can change, each with the annotation to write instead."""

BARE = ("_SpecialGenericAlias", "_TupleType", "_CallableType")
"""The classes of `typing.Sequence` and its like when written without parameters."""


class Parser:
    """Finds the kind of one annotation. It keeps the names that it is inside of, which may recur."""

    def __init__(self, lookup: Lookup) -> None:
        self.lookup: Lookup = lookup
        self.standing: dict[Any, RecursiveKind] = {}

    def kind(self, annotation: Any) -> Kind:
        """The kind of any annotation. The order matters: from the exact to the general."""
        if annotation is None or isinstance(annotation, type):
            scalar = KNOWN.get(annotation)
            if scalar is not None:
                return scalar
        if annotation is Any:
            return AnyKind()
        if annotation is Self:
            raise Uncheckable("Self is used outside of a class")
        if annotation is LiteralString:
            return SCALARS[str]
        if meaning(annotation) is not annotation:
            return self.recurring(annotation, lambda: self.named(annotation, {}))
        origin = get_origin(annotation)
        if origin is not None:
            return self.parameterized(annotation, origin, get_args(annotation))
        if isinstance(annotation, type):
            return self.plain_class(annotation)
        raise Uncheckable(f"{show(annotation)} cannot be checked")

    def recurring(self, annotation: Any, find: Callable[[], Kind]) -> Kind:
        """The kind of a name, in whose meaning the name itself may occur: `type Json = ...`."""
        known = self.standing.get(annotation)
        if known is not None:
            return known
        standing = self.standing[annotation] = RecursiveKind(annotation)
        kind = find()
        if kind is standing:
            raise Uncheckable(f"{show(annotation)} stands for nothing but itself")
        standing.inner = kind
        del self.standing[annotation]
        return kind

    def named(self, name: Any, meanings: Mapping[Any, Any]) -> Kind:
        return self.kind(substitute(meaning_in(name, self.lookup), meanings))

    def parameterized(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Kind:
        if not arguments and type(annotation).__name__ in BARE:
            return self.plain_class(origin)
        if origin is Union or origin is UnionType:
            return self.union(annotation, arguments)
        if origin is Literal:
            return LiteralKind(show(annotation), arguments)
        if origin is Annotated:
            return self.annotated(annotation)
        if origin is Final:
            return self.kind(arguments[0])
        if origin is tuple:
            return self.tuple_of(annotation, arguments)
        if origin is type:
            return self.type_of(annotation, arguments[0])
        if origin in CONTAINERS:
            make, count = CONTAINERS[origin]
            return make(show(annotation), *map(self.kind, arguments[:count]))
        if origin is Callable:
            return CallableKind("a callable")
        if meaning(origin) is not origin:
            meanings = dict(zip(origin.__type_params__, arguments, strict=False))
            return self.recurring(annotation, lambda: self.named(origin, meanings))
        self.refuse_mutable(annotation, origin)
        if isinstance(origin, type) and all(argument is Any for argument in arguments):
            return self.kind(origin)
        name = getattr(origin, "__name__", show(origin))
        raise Uncheckable(
            f"the parameters of {show(annotation)} cannot be checked: write {name}, or {name}[Any]"
        )

    def union(self, annotation: Any, arguments: tuple[Any, ...]) -> Kind:
        members: list[Kind] = []
        for argument in arguments:
            kind = self.kind(argument)
            members += kind.members if isinstance(kind, UnionKind) else (kind,)
        return UnionKind(show(annotation), tuple(members))

    def annotated(self, annotation: Any) -> Kind:
        if any(isinstance(item, Alias) for item in annotation.__metadata__):
            raise Uncheckable("an Alias names a field: it has to be outermost in the annotation")
        inner = self.kind(annotation.__origin__)
        try:
            inner = with_epoch(inner, annotation.__metadata__)
            tests = constraints(annotation.__metadata__)
        except Unsupported as unknown:
            raise Uncheckable(str(unknown)) from None
        return ConstrainedKind(inner, tests) if tests else inner

    def tuple_of(self, annotation: Any, arguments: tuple[Any, ...]) -> Kind:
        head: list[Kind] = []
        middle: Kind | None = None
        tail: list[Kind] = []
        if len(arguments) == 2 and arguments[1] is ...:
            return TupleKind(show(annotation), [], self.kind(arguments[0]), [])
        for argument in arguments:
            inner = unpacked(argument)
            if inner is None:
                (head if middle is None else tail).append(self.kind(argument))
                continue
            inside = self.kind(inner)
            if not isinstance(inside, TupleKind) or (
                inside.middle is not None and middle is not None
            ):
                raise Uncheckable(f"{show(argument)} in a tuple cannot be checked")
            (head if middle is None else tail).extend(inside.head)
            middle = middle or inside.middle
            (head if middle is None else tail).extend(inside.tail)
        return TupleKind(show(annotation), head, middle, tail)

    def type_of(self, annotation: Any, argument: Any) -> Kind:
        return TypeKind(show(annotation), tuple(self.classes(annotation, argument)))

    def classes(self, annotation: Any, argument: Any) -> Iterator[type]:
        """The classes in the argument of type[...]."""
        argument = meaning_in(argument, self.lookup)
        if get_origin(argument) in (Union, UnionType) or meaning(argument) is not argument:
            for part in get_args(argument) or (argument,):
                yield from self.classes(annotation, part)
            return
        found = object if argument is Any else get_origin(argument) or argument
        if not isinstance(found, type):
            raise Uncheckable(f"{show(annotation)} cannot be checked")
        yield found

    def plain_class(self, annotation: Any) -> Kind:
        self.refuse_mutable(annotation, annotation)
        blueprint = getattr(annotation, "__state__", None)
        if blueprint is not None:
            # Box[T] accepts the same as Box as long as T is unbound.
            return StateKind(
                blueprint.origin if blueprint.arguments and blueprint.parameters else annotation
            )
        if is_typeddict(annotation) or hasattr(annotation, "__required_keys__"):
            return self.recurring(annotation, lambda: self.typed_dict(annotation))
        if issubclass(annotation, Enum):
            return EnumKind(annotation)
        if annotation in CONTAINERS or annotation is Callable:
            return self.parameterized(annotation, annotation, (Any, Any))
        if annotation is tuple:
            return TupleKind("tuple", [], AnyKind(), [])
        if annotation is type:
            return TypeKind("a class", (object,))
        if getattr(annotation, "_is_protocol", False):
            if not getattr(annotation, "_is_runtime_protocol", False):
                raise Uncheckable(
                    f"the protocol {annotation.__name__} cannot be checked: "
                    "decorate it with @runtime_checkable"
                )
            return ProtocolKind(annotation)
        standard = standard_kind(annotation)
        if standard is not None:
            return standard
        if is_abstract(annotation):
            return ProtocolKind(annotation)
        return Instance(annotation)

    def typed_dict(self, annotation: Any) -> Kind:
        entries = {
            key: Entry(self.kind(value), required, required, part_of(key))
            for key, (value, required) in entries_of(annotation).items()
        }
        return TypedDictKind(annotation.__name__, entries)

    def refuse_mutable(self, annotation: Any, origin: Any) -> None:
        instead = MUTABLE.get(origin)
        if instead is not None:
            parameters = show(annotation).partition("[")[2]
            written = f"{instead}[{parameters}" if parameters else instead
            source = "" if instead == "bytes" else " of collections.abc"
            raise Uncheckable(f"{show(annotation)} can be changed: write {written}{source}")


def unpacked(argument: Any) -> Any:
    """The tuple in `*tuple[...]` or `Unpack[tuple[...]]`, or None for any other argument."""
    if isinstance(argument, GenericAlias) and getattr(argument, "__unpacked__", False):
        return GenericAlias(tuple, argument.__args__)
    return get_args(argument)[0] if get_origin(argument) is Unpack else None


def is_abstract(annotation: type) -> bool:
    """Whether isinstance may accept objects whose class does not derive from this class."""
    return type(annotation).__instancecheck__ is not type.__instancecheck__


def parse(annotation: Any, lookup: Lookup | None = None) -> Kind:
    """Find the kind of an annotation in which names are resolved and type variables bound.

    `lookup` is that of the class with the annotation.

    Raises:
        Uncheckable: values of the annotation cannot be checked.
        Unresolved: an alias or a type variable names something that does not exist.
    """
    try:
        return Parser(lookup or Lookup("", {})).kind(annotation)
    except RecursionError:
        pass
    raise Uncheckable(f"{show(annotation)} cannot be checked: its names never end")
