"""What every annotation becomes: a Kind, which checks, dumps, loads and describes its values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from haiway_bus._state.kinds.mismatch import Mismatch, mismatch

__all__ = ("Kind", "Plain", "Schema", "SchemaBook", "not_json")

Plain = Any
"""What json.dumps writes by itself: dict with str keys, list, str, int, float, bool, None."""

Schema = dict[str, Any]


class SchemaBook:
    """The named schemas of one document; `$ref` points into them, so that types may recur."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def reference(self, owner: Any) -> tuple[Schema, bool]:
        """The reference to a class or alias, and whether the caller has to define it now."""
        name = self._names.get(owner)
        known = name is not None
        if name is None:
            name = owner.__name__
            number = 2
            while name in self._names.values():
                name = f"{owner.__name__}_{number}"
                number += 1
            self._names[owner] = name
        # A JSON pointer within a URI fragment: brackets of Box[int] are percent-encoded.
        pointer = "".join(c if c.isalnum() or c in "_-." else f"%{ord(c):02X}" for c in name)
        return {"$ref": f"#/$defs/{pointer}"}, not known

    def define(self, owner: Any, schema: Schema) -> None:
        """Put the schema where `reference` points."""
        self.definitions[self._names[owner]] = schema


class Kind:
    """One annotation, understood.

    Invariants: `check` gives back a value it accepted before unchanged, so that a value may be
    checked any number of times. An instance whose exact type is in `exact` is accepted as it is:
    the generated constructor, and a compiled one, test that alone and call `check` for the rest.
    `anything` means that every value is accepted as it is, `closed` that
    MISSING is refused like any other wrong value. `immutable` means that no accepted
    value can change, so that a copy may share it. `check`, `dump` and `load` raise Mismatch.
    """

    __slots__ = ("exact", "exact_set", "expected")

    anything: bool = False
    closed: bool = True
    immutable: bool = False

    def __init__(self, expected: str, exact: Iterable[type] = ()) -> None:
        self.expected: str = expected
        self.exact: tuple[type[Any], ...] = tuple(dict.fromkeys(exact))
        self.exact_set: frozenset[type[Any]] = frozenset(self.exact)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.expected}>"

    def check(self, value: Any) -> Any:
        """The value as the State keeps it."""
        raise NotImplementedError

    def dump(self, value: Any) -> Plain:
        """The plain form of a checked value (contract 7.7)."""
        raise not_json(self.expected)

    def load(self, plain: Plain) -> Any:
        """The value of a plain form. A value that fits already is taken as it is."""
        return self.check(plain)

    def dump_key(self, value: Any) -> str:
        """The plain form of a mapping's key, which JSON wants to be a string."""
        plain = self.dump(value)
        if type(plain) is not str:
            raise Mismatch([("", f"JSON keys are strings, {self.expected} is none")])
        return plain

    def load_key(self, plain: str) -> Any:
        """The key of its plain form."""
        return self.load(plain)

    def schema(self, book: SchemaBook) -> Schema:
        """The JSON schema of the plain form."""
        raise not_json(self.expected)

    def requires(self) -> Iterable[type]:
        """The State classes of which every value holds an instance, and so cannot do without."""
        return ()


class Instance(Kind):
    """A kind whose values are the instances of one class, taken as they are."""

    __slots__ = ("owner",)

    def __init__(self, owner: type, expected: str | None = None) -> None:
        super().__init__(expected or owner.__name__, (owner,))
        self.owner: type[Any] = owner

    def check(self, value: Any) -> Any:
        if isinstance(value, self.owner):
            return value
        raise mismatch(self.expected, value)


def not_json(expected: str) -> Mismatch:
    """The refusal of what JSON cannot carry."""
    return Mismatch([("", f"JSON cannot carry {expected}")])
