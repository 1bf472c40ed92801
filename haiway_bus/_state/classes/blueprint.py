"""The facts of one State class, and how the class is completed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import RLock
from types import MemberDescriptorType
from typing import Any, Self

from haiway_bus._state.annotations.alias import split_alias
from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.annotations.field import Field, checked_default
from haiway_bus._state.annotations.names import default_of, refused_argument
from haiway_bus._state.annotations.parse import parse
from haiway_bus._state.annotations.resolve import (
    Lookup,
    Uncheckable,
    Unresolved,
    resolve,
    substitute,
)
from haiway_bus._state.classes.blank import blank_of
from haiway_bus._state.classes.clashes import clashes
from haiway_bus._state.classes.deferred import METHODS, Constructor, Deferred
from haiway_bus._state.classes.maker import equip, made_in_c, updated_of
from haiway_bus._state.classes.options import UNKNOWN, UnknownKeys, renamed
from haiway_bus._state.classes.source import write_method
from haiway_bus._state.kinds.kind import Entry, Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import Mismatch, Problem, describe, state_error
from haiway_bus._state.kinds.objects import LiteralKind
from haiway_bus._state.wire.json_text import tried
from haiway_bus._state.wire.schema import schema_of_fields
from haiway_bus.errors import StateError

__all__ = ("Blueprint", "Owner")

Owner = Any
"""A State class. State itself is defined above this module, so that its name cannot stand here."""

_completion = RLock()
"""One class is completed, or gets its `load` and `dump`, at a time: several threads may be the first."""


class Blueprint:
    """One State class: `cls.__state__`.

    Invariants: `names` has all fields, inherited ones first, from the class statement on. `fields`
    has one Field for each name, in the same order. `complete` fills it, once, before the first
    instance is made. Until then the class is pending: an annotation names something that does not
    exist yet. Each call of the constructor tries to complete a pending class.

    origin, arguments: `Box` and `(int,)` for `Box[int]`; None and () for any other class.
    parameters: the type variables that are still free.
    variants: the parameterized forms of this class, by their arguments.
    immutable: whether no value of any field can change, so that copies may be the instance itself.
    blank: makes a blank for the written constructor (`blank.py`); None until it is needed.
    makes: whether the class has instances of its own. A mix-in has none, nor has an abstract class.
    maker: what makes instances in C; None where the written constructor does.
    settings: the options of the class statement, with the inherited ones. unknown, rename, omit_defaults: from these.
    plain_fields: the fields without `__unknown__`; `entries`: what is in a mapping for them, by key.
    load, dump: convert plain data (see `steps.py`). The first use of one of them makes both.
    struct: the msgspec.Struct of the class (see `twins.py`), or None.
    wired: what converts the instances in C; None before the first use, and where written source does.
    validate: the author's `__validate__`, or None. The function `validated` calls it.
    written: by name, the methods that the package put into the class: deferred, or written for its fields.
    """

    def __init__(
        self,
        owner: Owner,
        *,
        annotations: dict[str, Any],
        defaults: dict[str, Any],
        names: tuple[str, ...],
        slotted: frozenset[str],
        lookup: Lookup,
        settings: dict[str, Any],
        mixin: bool,
        options: dict[str, Any],
        origin: Owner | None,
        arguments: tuple[Any, ...],
        parameters: tuple[Any, ...],
    ) -> None:
        self.owner: Owner = owner
        self.annotations: dict[str, Any] = annotations
        self.defaults: dict[str, Any] = defaults
        self.names: tuple[str, ...] = names
        self.slotted: frozenset[str] = slotted
        self.lookup: Lookup = lookup
        self.settings: dict[str, Any] = settings
        self.unknown: str = settings.get("unknown", "refuse")
        self.rename: str = settings.get("rename", "off")
        self.omit_defaults: bool = settings.get("omit_defaults", False)
        self.mixin: bool = mixin
        self.makes: bool = not (mixin or getattr(owner, "__abstractmethods__", False))
        self.options: dict[str, Any] = options
        self.origin: Any = origin
        self.arguments: tuple[Any, ...] = arguments
        self.parameters: tuple[Any, ...] = parameters
        root = next(iter(self.bases()), self).owner
        method = owner.__validate__
        self.validate: Callable[[Any], None] | None = (
            None if method is root.__validate__ else method
        )
        self.variants: dict[tuple[Any, ...], Owner] = {}
        self.written: dict[str, Any] = {}
        self.blank: Callable[[], Any] | None = None
        self.fields_or_none: tuple[Field, ...] | None = None
        self.immutable: bool = False
        self.wired: Any = None
        self.struct: Any = None
        self.plain_fields: tuple[Field, ...] = ()
        self.entries: dict[str, Entry] = {}
        self.load: Callable[[Any], Any] = self.first_load
        self.dump: Callable[[Any], dict[str, Any]] = self.first_dump
        self.completing: bool = False
        self.maker: object = None

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields in order. Completes the class first if it is pending.

        Raises:
            StateError: an annotation names something that does not exist.
        """
        if self.fields_or_none is None:
            self.complete()
        if self.fields_or_none is None:
            raise StateError(f"{self.owner.__name__} is used while its own fields are being read")
        return self.fields_or_none

    def complete(self, final: bool = True) -> None:
        """Read the annotations, check the defaults, and let the class have instances.

        Args:
            final: whether a name that does not exist is an error. With False, as at the class
                statement, the class stays pending.

        Raises:
            StateError: an annotation cannot be checked, names something that does not exist, or a
                default does not fit.
        """
        with _completion:
            if self.fields_or_none is None and not self.completing:
                self.completing = True
                try:
                    self.try_to_complete(final)
                finally:
                    self.completing = False

    def try_to_complete(self, final: bool) -> None:
        for base in self.bases():
            base.complete(final)
            if base.fields_or_none is None:
                return
        problems: list[Problem] = []
        fields: list[Field] = []
        inherited = {field.name: field for base in self.bases() for field in base.fields}
        variables = () if self.origin is None else self.origin.__state__.parameters
        bindings = dict(zip(variables, self.arguments, strict=True))
        for variable in bindings or self.parameters:
            try:
                given = (bindings[variable],) if bindings else default_of(variable, self.lookup)
                refused = given and refused_argument(variable, given[0], self.lookup)
            except Unresolved as missing:
                if not final:
                    return
                refused = f"{variable.__name__} names {missing.name}, which does not exist"
            if refused:
                raise StateError(f"{self.owner.__name__}: {refused}")
        pending = False
        for name in self.names:
            try:
                fields.append(self.field(name, inherited.get(name), bindings))
            except Unresolved as missing:
                pending = not final
                if final:
                    reason = f"its annotation names {missing.name}, which does not exist"
                    problems.append((f".{name}", reason))
            except Uncheckable as wrong:
                problems.append((f".{name}", str(wrong)))
            except Mismatch as wrong:
                problems += wrong.under(f".{name}")
        if pending and not problems:
            return
        problems = problems or clashes(self.owner, fields)
        if problems:
            raise state_error(self.owner.__name__, problems)
        self.install(tuple(fields))

    def bases(self) -> Iterable[Blueprint]:
        """The blueprints of the State classes that this class derives from, State's own first."""
        for base in reversed(self.owner.__mro__[1:]):
            if "__state__" in vars(base):
                yield vars(base)["__state__"]

    def field(self, name: str, inherited: Field | None, bindings: dict[Any, Any]) -> Field:
        """Make one field of this class, whether it is declared here or inherited."""
        if name in self.annotations:
            annotation, alias = split_alias(resolve(self.annotations[name], self.lookup))
            default = self.defaults.get(name, MISSING)
            kind = parse(substitute(annotation, {Self: self.owner}), self.lookup)
            default, factory = checked_default(kind, default)
        else:
            assert inherited is not None  # noqa: S101 - names come from here or from a base
            annotation = substitute(inherited.annotation, bindings)
            alias = inherited.alias
            default, factory, kind = inherited.default, inherited.factory, inherited.kind
            read = substitute(annotation, {Self: self.owner})
            if annotation is not inherited.annotation or read is not annotation:
                kind = parse(read, self.lookup)
                default, _ = checked_default(kind, default)
        member = None if self.mixin else getattr(self.owner, name)
        if member is not None and not isinstance(member, MemberDescriptorType):
            reason = f"is hidden by {describe(member)} of a base that comes before, reorder them"
            raise Mismatch([("", reason)])
        key = "" if name == UNKNOWN else alias or renamed(name, self.rename)
        return Field(
            self.owner.__name__, name, annotation, kind, default, factory, member, alias, key
        )

    def install(self, fields: tuple[Field, ...]) -> None:
        """Set the fields and the constructor: from now on the class has instances."""
        if self.unknown == "keep":
            *others, hidden = fields
            kind: Any = hidden.kind
            known = UnknownKeys(kind, frozenset(field.key for field in others))
            fields = (*others, hidden._replace(kind=known))
        self.immutable = all(field.kind.immutable for field in fields)
        self.plain_fields = tuple(field for field in fields if field.name != UNKNOWN)
        self.entries = {
            field.key: Entry(field.kind, field.required, not self.omitted(field), f".{field.name}")
            for field in self.plain_fields
        }
        self.fields_or_none = fields
        if self.makes:
            self.defer("__new__")
            if made_in_c(self.owner):
                self.maker = equip(self.owner, fields)

    def defer_methods(self) -> None:
        """Let the class have methods for its own fields, but for those that the author of a class wrote."""
        for name in METHODS:
            # The search ends at State, which has each of them.
            holder = next(base for base in self.owner.__mro__ if name in vars(base))
            blueprint = vars(holder).get("__state__")
            if blueprint is not None and blueprint.has_own(name):
                self.defer(name)
            else:
                self.let_super_mean_all_fields(name)

    def let_super_mean_all_fields(self, name: str) -> None:
        """Put State's method, which reads the fields of the instance's class, where bases have one for their own."""
        bases = list(self.bases())  # State's own first
        for base in bases[1:]:
            # The `updated` in C reads the instance's class, too.
            if base.has_own(name) and not (name == "updated" and base.maker is not None):
                base.put(name, bases[0].written[name])

    def has_own(self, name: str) -> bool:
        """Whether the class has a method of this name that the package put there."""
        return name in self.written and self.written[name] is vars(self.owner).get(name)

    def defer(self, name: str) -> None:
        self.put(name, Deferred(self.owner, name))

    def write(self, name: str) -> Any:
        """Write a method for the fields of the class, and put it into the class."""
        if name == "updated" and self.maker is not None:
            return self.put(name, updated_of(next(iter(self.bases())).owner))
        function = write_method(self.owner, self.fields, name)
        return self.put(name, Constructor(function) if name == "__new__" else function)

    def made_blank(self) -> Callable[[], Any]:
        if self.blank is None:
            self.blank = blank_of(self.owner)
        return self.blank

    def put(self, name: str, method: Any) -> Any:
        type.__setattr__(self.owner, name, method)
        self.written[name] = method
        return method

    def omitted(self, field: Field) -> bool:
        """Whether the plain form leaves the field out when it has its default: no tag, by which a reader goes."""
        return (
            self.omit_defaults
            and field.default is not MISSING
            and not isinstance(field.kind, LiteralKind)
        )

    def ready(self) -> None:
        """Let the class convert plain data, now and not at its first use. Raises StateError."""
        tried(self.owner.__name__, wire, self)

    def first_load(self, plain: Any, /) -> Any:
        """Give the instance of a plain form. Raises Mismatch."""
        wire(self)
        return self.load(plain)

    def first_dump(self, instance: Any, /) -> dict[str, Any]:
        """Give the plain form of an instance. Raises Mismatch."""
        wire(self)
        return self.dump(instance)

    def schema(self, book: SchemaBook) -> Schema:
        """Put the schema of this class into the book, and give the reference to it. Raises Mismatch."""
        if not self.mixin:
            self.ready()  # a schema of a union that plain data cannot tell apart would say what is not true
        reference, new = book.reference(self.owner)
        if new:
            book.define(
                self.owner,
                schema_of_fields(self.owner.__name__, self.fields, book, self.unknown != "refuse"),
            )
        return reference


def wire(blueprint: Blueprint) -> None:
    """Let a class convert plain data. Services that never do go without the modules. Raises Mismatch."""
    from haiway_bus._state.classes.wiring import wire

    # One thread at a time: msgspec crashes when two threads first use a Struct at once.
    with _completion:
        if blueprint.load == blueprint.first_load:
            wire(blueprint)
