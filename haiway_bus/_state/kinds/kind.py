"""Kind: checks, dumps, loads and describes the values of one annotation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from haiway_bus._state.kinds.mismatch import Mismatch, mismatch

__all__ = ("Entry", "Kind", "Outer", "Plain", "Schema", "SchemaBook", "Wire", "not_json")

Plain = Any
"""Plain data, which json.dumps can write: dict with str keys, list, str, int, float, bool, None."""

Schema = dict[str, Any]


class Wire(Protocol):
    """Dumps and loads values: a Kind, or the Blueprint of a State class."""

    def dump(self, value: Any, /) -> Plain:
        """Give the plain form of a checked value. Raises Mismatch."""

    def load(self, plain: Plain, /) -> Any:
        """Give the value of a plain form. Raises Mismatch."""


class Entry(NamedTuple):
    """One key of a plain form.

    kind: the kind of its value.
    required: whether a plain form without the key is refused.
    written: whether each plain form that is written has the key.
    path: the part of the path for it, in errors.
    """

    kind: Kind
    required: bool
    written: bool
    path: str


class SchemaBook:
    """The named schemas of one document. `$ref` points to them, so that types may recur."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def reference(self, owner: Any) -> tuple[Schema, bool]:
        """Give the reference to a class or alias, and whether the caller has to define it now."""
        name = self._names.get(owner)
        known = name is not None
        if name is None:
            name = owner.__name__
            number = 2
            while name in self._names.values():
                name = f"{owner.__name__}_{number}"
                number += 1
            self._names[owner] = name
        # A JSON pointer in a URI fragment: the brackets of Box[int] are percent-encoded.
        pointer = "".join(c if c.isalnum() or c in "_-." else f"%{ord(c):02X}" for c in name)
        return {"$ref": f"#/$defs/{pointer}"}, not known

    def define(self, owner: Any, schema: Schema) -> None:
        """Put the schema of a class or alias where `reference` points."""
        self.definitions[self._names[owner]] = schema


class Kind:
    """The meaning of one annotation. `check`, `dump` and `load` raise Mismatch.

    Invariants: `check` returns a value unchanged that it has returned before, so that a value can
    be checked any number of times. An instance whose exact type is in `exact` is accepted as it is:
    constructors test that alone and call `check` for other values.

    anything: every value is accepted as it is.
    closed: MISSING is refused like any other wrong value.
    immutable: no accepted value can change, so that copies may share it.
    plain: JSON carries a value of an exact type as it is, and `load` accepts what `check` accepts.
    closed_keys: where plain forms are mappings, whether those with other keys than `entries` are refused.
    choose, writer: where what loads depends on the plain form, or what dumps on the value, as in a union: give it.
    reads: the types of plain data that `load` accepts, for a kind that JSON can carry.
    kept: the exact types of the values that `check` returns, as far as they are known.
    samples: texts that `dump` writes, chosen so that other kinds that read text may read one of them.
    """

    __slots__ = ("exact", "exact_set", "expected")

    anything: bool = False
    closed: bool = True
    immutable: bool = False
    plain: bool = False
    closed_keys: bool = True
    choose: Callable[[Plain], Wire] | None = None
    writer: Callable[[Any], Wire] | None = None
    reads: frozenset[type[Any]] = frozenset()
    kept: Any = property(attrgetter("exact"))
    samples: tuple[str, ...] = ()

    def __init__(self, expected: str, exact: Iterable[type] = ()) -> None:
        self.expected: str = expected
        self.exact: tuple[type[Any], ...] = tuple(dict.fromkeys(exact))
        self.exact_set: frozenset[type[Any]] = frozenset(self.exact)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.expected}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # Written methods name kinds. cloudpickle takes them along and they are written again, with kinds of their own.
        return object, ()

    @property
    def entries(self) -> dict[str, Entry]:
        """The keys of the plain form, for a kind whose plain forms are mappings with these keys."""
        return {}

    @property
    def wire(self) -> Wire:
        """What dumps and loads the values: the kind itself, or what it stands for."""
        return self

    def check(self, value: Any) -> Any:
        """Give the value that the State keeps for this value."""
        raise NotImplementedError

    def dump(self, value: Any) -> Plain:
        """Give the plain form of a checked value (guarantee 7.7)."""
        raise not_json(self.expected)

    def load(self, plain: Plain) -> Any:
        """Give the value of a plain form. A value of the annotated type is accepted, too."""
        return self.check(plain)

    def dump_key(self, value: Any) -> str:
        """Give the plain form of a key in a mapping, which is a string in JSON."""
        plain = self.dump(value)
        if type(plain) is not str:
            raise Mismatch([("", f"JSON keys are strings, {self.expected} is none")])
        return plain

    def load_key(self, plain: str) -> Any:
        """Give the key of a plain form."""
        return self.load(plain)

    def schema(self, book: SchemaBook) -> Schema:
        """Give the JSON schema of the plain form."""
        raise not_json(self.expected)

    def parts(self) -> Iterable[Kind]:
        """Give the kinds of the values within a value."""
        return ()

    def requires(self) -> Iterable[type]:
        """Give the State classes of which every value holds an instance."""
        return ()


class Instance(Kind):
    """The kind of a class: accepts its instances as they are."""

    __slots__ = ("owner",)

    def __init__(self, owner: type, expected: str | None = None) -> None:
        super().__init__(expected or owner.__name__, (owner,))
        self.owner: type[Any] = owner

    def check(self, value: Any) -> Any:
        if isinstance(value, self.owner):
            return value
        raise mismatch(self.expected, value)


class Outer(Kind):
    """A kind around another one, which reads and keeps what that one does. It may become known later."""

    __slots__ = ("inner",)

    inner: Kind
    reads = property(attrgetter("inner.reads"))
    kept = property(attrgetter("inner.kept"))
    entries = property(attrgetter("inner.entries"))
    closed_keys = property(attrgetter("inner.closed_keys"))

    def check(self, value: Any) -> Any:
        return self.inner.check(value)

    def dump(self, value: Any) -> Plain:
        return self.inner.dump(value)

    def load(self, plain: Plain) -> Any:
        return self.inner.load(plain)

    def dump_key(self, value: Any) -> str:
        return self.inner.dump_key(value)

    def load_key(self, plain: str) -> Any:
        return self.inner.load_key(plain)

    def parts(self) -> Iterable[Kind]:
        return (self.inner,)


def not_json(expected: str) -> Mismatch:
    """Make the refusal of a value that JSON cannot carry."""
    return Mismatch([("", f"JSON cannot carry {expected}")])
