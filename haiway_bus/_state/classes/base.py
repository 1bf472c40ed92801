"""State, the class to derive from."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn, Self

from haiway_bus._state.classes.meta import StateMeta
from haiway_bus._state.kinds.mismatch import Mismatch, describe, state_error
from haiway_bus._state.wire.json_text import read_json, write_json
from haiway_bus._state.wire.schema import schema_document

__all__ = ("State",)


class State(metaclass=StateMeta):
    """An immutable record with typed, checked fields.

        class OrderCreated(State):
            order_id: str
            items: Sequence[str] = ()

    Each annotated attribute is a keyword of the constructor, whose value is checked when the
    instance is made. Instances compare by value with those of exactly the same class, hash when
    their values do, and can be pickled, copied, weakly referenced, and matched.

    Invariants: once made, an instance does not change, and neither do the containers it holds: a
    list given for a Sequence is kept as a tuple, a dict for a Mapping as a read-only mapping, a set
    as a frozenset. What is annotated as Any, or as a class that is no State, is kept as it is.

    Contract 7.
    """

    # `updated`, `__eq__`, `__hash__` and `__repr__` here go by the instance. A method of that name that somebody wrote
    # reaches them by super(). A class without such a method gets its own, written for its fields.

    def updated(self, **changes: Any) -> Self:
        """A new instance with some fields changed and checked; this one stays as it is.

        Args:
            changes: new values by field name.

        Raises:
            StateError: a name is no field, or a value does not fit.

        Contract 7.6.
        """
        values = {name: getattr(self, name) for name in type(self).__state__.names}
        return type(self)(**(values | changes))

    def __replace__(self, /, **changes: Any) -> Self:
        """What copy.replace() calls, from Python 3.13 on."""
        return self.updated(**changes)

    def to_mapping(self) -> dict[str, Any]:
        """The instance as plain data: what json.dumps can write.

        Returns:
            A dict of the fields in order, by their aliases where they have one. Dates and times are
            ISO 8601, UUID, Decimal and paths are text, an Enum is its value, bytes are base64,
            a nested State is a dict.

        Raises:
            StateError: a value is none that JSON can carry.

        Contract 7.7.
        """
        try:
            return type(self).__state__.dump(self)
        except Mismatch as wrong:
            raise state_error(type(self).__name__, wrong.problems) from None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], /) -> Self:
        """The instance that `to_mapping` made the plain data of.

        Args:
            mapping: plain data; values that are of the annotated type already are taken too.

        Raises:
            StateError: a key is missing, unknown (unless the class says unknown="ignore"), or its
                value does not fit. Every such place is named with its path.

        Contract 7.7.
        """
        given: object = mapping
        if not isinstance(given, Mapping):
            reason = f"expected a mapping, given {describe(given)}"
            raise state_error(cls.__name__, [("", reason)])
        try:
            instance: Self = cls.__state__.load(given)
        except Mismatch as wrong:
            raise state_error(cls.__name__, wrong.problems) from None
        return instance

    def to_json(self, *, indent: int | None = None) -> str:
        """The instance as JSON text.

        Args:
            indent: spaces by which nested values are set in; None writes one line without spaces.

        Raises:
            StateError: a value is none that JSON can carry.

        Contract 7.7.
        """
        return write_json(self.to_mapping(), indent)

    @classmethod
    def from_json(cls, text: str | bytes | bytearray, /) -> Self:
        """The instance that `to_json` wrote.

        Args:
            text: one JSON object.

        Raises:
            StateError: the text is no JSON, or not of this class; every wrong place is named.

        Contract 7.7.
        """
        try:
            plain = read_json(text)
        except Mismatch as wrong:
            raise state_error(cls.__name__, wrong.problems) from None
        return cls.from_mapping(plain)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """The JSON schema (2020-12) of what `to_json` writes.

        Raises:
            StateError: a field is annotated with what JSON cannot carry.

        Contract 7.7.
        """
        try:
            return schema_document(cls.__state__.schema)
        except Mismatch as wrong:
            raise state_error(cls.__name__, wrong.problems) from None

    def __eq__(self, other: object, /) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name) for name in type(self).__state__.names
        )

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in type(self).__state__.names))

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self, name)!r}" for name in type(self).__state__.names)
        return f"{type(self).__name__}({', '.join(fields)})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        fields = type(self).__state__.fields
        if all(field.kind.immutable for field in fields):
            return self
        # Before the values, for one of them may lead back here.
        copied: Self = object.__new__(type(self))
        memo[id(self)] = copied
        changed = False
        for field in fields:
            value = getattr(self, field.name)
            new = value if field.kind.immutable else deepcopy(value, memo)
            changed = changed or new is not value
            field.store(copied, new)
        if not changed:
            memo[id(self)] = self
            return self
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in type(self).__state__.names}
        return restored, (type(self), values)

    if not TYPE_CHECKING:
        # Type checkers know that the class is frozen, and would take a __setattr__ for the leave to
        # assign anything.

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be set: a State does not change, "
                f"updated({name}=...) makes another"
            )

        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be deleted: a State does not change"
            )


def restored(cls: type[State], values: dict[str, Any]) -> State:
    """What unpickling calls. The values are checked again: the class may have changed meanwhile."""
    return cls(**values)
