"""State, the class that users derive from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn, Self

from haiway_bus._state.classes.maker import made_in_c, quick_methods
from haiway_bus._state.classes.meta import StateMeta
from haiway_bus._state.kinds.json_value import JsonValue
from haiway_bus._state.kinds.mismatch import DEEP, Mismatch, describe, state_error
from haiway_bus._state.wire.json_text import read_json, tried, write_json
from haiway_bus._state.wire.schema import schema_document

__all__ = ("State",)


class State(metaclass=StateMeta):
    """An immutable record with typed, checked fields.

        class OrderCreated(State):
            order_id: str
            items: Sequence[str] = ()

    Each annotated attribute is a field and a keyword of the constructor. The constructor checks
    every value. Two instances are equal when they are of exactly the same class and their values
    are equal. An instance is hashable when its values are. It can be pickled, copied, weakly
    referenced and matched.

    Invariants: an instance never changes, and neither do the containers in it. A list given for a
    Sequence is kept as a tuple, a dict for a Mapping as a read-only mapping, a set for a Set as a
    frozenset. A value annotated as Any, or as a class that is no State, is kept as it is given.
    """

    # `updated`, `__eq__`, `__hash__` and `__repr__` here read the fields of the instance's class. They are for super():
    # a class in which nobody wrote such a method gets its own, written for its fields.

    def updated(self, /, **changes: Any) -> Self:
        """Make a new instance with some fields changed and checked. This instance stays as it is.

        Args:
            **changes: new values by field name.

        Returns:
            An instance of the same class.

        Raises:
            StateError: a name is no field, or a value does not fit.
        """
        values = {name: getattr(self, name) for name in type(self).__state__.names}
        return type(self)(**(values | changes))

    def __validate__(self) -> None:
        """Check the fields together. Override it, and raise ValueError when they do not fit.

        It runs after the fields are checked, for every new instance: by the constructor, `updated`,
        JSON, unpickling. The ValueError becomes a StateError. In a class with several bases, call
        `super().__validate__()`.
        """

    def __replace__(self, /, **changes: Any) -> Self:
        """Serve `copy.replace`, which Python has from 3.13 on."""
        return self.updated(**changes)

    def to_mapping(self) -> dict[str, Any]:
        """Give the instance as plain data, which `json.dumps` can write.

        Returns:
            A dict of the fields in order. The key of a field is its alias, or else its name. Dates
            and times are ISO 8601; UUID, Decimal and paths are text; an Enum is its value; bytes
            are base64; a nested State is a dict.

        Raises:
            StateError: JSON cannot carry a value.
        """
        try:
            return type(self).__state__.dump(self)
        except Mismatch as wrong:
            problems = wrong.problems
        except RecursionError:
            problems = [("", DEEP)]
        raise state_error(type(self).__name__, problems)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], /) -> Self:
        """Make an instance of plain data, such as `to_mapping` gives.

        Args:
            mapping: plain data. A value that has the annotated type already is accepted too.

        Returns:
            An instance of this class.

        Raises:
            StateError: a key is missing, a value does not fit, or a key is unknown and the class
                does not say `unknown="ignore"`. The error lists every wrong place with its path.
        """
        given: object = mapping
        if not isinstance(given, Mapping):
            reason = f"expected a mapping, given {describe(given)}"
            raise state_error(cls.__name__, [("", reason)])
        try:
            return cls.__state__.load(given)  # type: ignore[no-any-return]
        except Mismatch as wrong:
            problems = wrong.problems
        except RecursionError:
            problems = [("", DEEP)]
        raise state_error(cls.__name__, problems)

    def to_json(self, *, indent: int | None = None) -> str:
        """Give the instance as JSON text.

        Args:
            indent: spaces of indentation for each level. None writes a single line without spaces.

        Returns:
            One JSON object.

        Raises:
            StateError: JSON cannot carry a value.
        """
        return self.to_json_bytes(indent=indent).decode()

    def to_json_bytes(self, *, indent: int | None = None) -> bytes:
        """Give the instance as JSON text in UTF-8.

        Args:
            indent: spaces of indentation for each level. None writes a single line without spaces.

        Returns:
            One JSON object.

        Raises:
            StateError: JSON cannot carry a value.
        """
        root = type(self).__name__
        return tried(root, write_json, type(self).__state__.dump, self, indent)  # type: ignore[no-any-return]

    @classmethod
    def from_json(cls, text: str | bytes | bytearray | memoryview, /) -> Self:
        """Make an instance of JSON text, such as `to_json` writes.

        Args:
            text: one JSON object.

        Returns:
            An instance of this class.

        Raises:
            StateError: the text is no JSON, or does not fit this class. The error lists every wrong
                place with its path.
        """
        plain = tried(cls.__name__, read_json, text)
        if type(plain) is dict:
            return tried(cls.__name__, cls.__state__.load, plain)  # type: ignore[no-any-return]
        problem = ("", f"expected a JSON object, given {describe(plain)}")
        raise state_error(cls.__name__, [problem])

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Give the JSON schema (2020-12) of the text that `to_json` writes.

        Returns:
            The schema as plain data.

        Raises:
            StateError: JSON cannot carry the annotated type of a field, or tell the members of a union apart.
        """
        cls.__state__.ready()
        return tried(cls.__name__, schema_document, cls.__state__.schema)  # type: ignore[no-any-return]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object) -> Any:
        from haiway_bus._bridges.pydantic import core_schema_of

        return core_schema_of(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: object, handler: Any) -> dict[str, Any]:
        from haiway_bus._bridges.pydantic import json_schema_of

        return json_schema_of(cls, handler)

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

    def __rich_repr__(self) -> Iterable[tuple[str, Any]]:
        """Let rich break a long instance into lines."""
        return [(name, getattr(self, name)) for name in type(self).__state__.names]

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        blueprint = type(self).__state__
        fields = blueprint.fields
        if blueprint.immutable:
            return self
        # Before the values are copied, for a value may contain this instance.
        copied: Self = object.__new__(type(self))
        memo[id(self)] = copied
        changed = False
        for field in fields:
            value = getattr(self, field.name)
            if not field.kind.immutable:
                new = deepcopy(value, memo)
                if new is not value:
                    value, changed = new, True
            field.member.__set__(copied, value)  # type: ignore[union-attr] # None in a mix-in alone
        if not changed:
            memo[id(self)] = self
            return self
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        values = {name: getattr(self, name) for name in type(self).__state__.names}
        return restored, (type(self), values)

    if TYPE_CHECKING:

        @property
        def __unknown__(self) -> Mapping[str, JsonValue]:
            """The unknown keys that an instance keeps. A class has it with `unknown="keep"`."""

    else:
        # Hidden from type checkers. They know that the class is frozen; a __setattr__ would tell them
        # that any attribute can be assigned.

        def __setattr__(self, name: str, value: object) -> NoReturn:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be set: a State does not change, "
                f"updated({name}=...) makes another"
            )

        def __delattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be deleted: a State does not change"
            )


if made_in_c(State):
    quick_methods(State)


def restored(cls: type[State], values: dict[str, Any]) -> State:
    """Make an instance of pickled values. They are checked again: the class may have changed meanwhile."""
    if vars(cls)["__dict__"].arriving:
        # cloudpickle is on the way to the Facts of the class: the instance is an attribute of it.
        instance = object.__new__(cls)
        for name, value in values.items():
            getattr(cls, name).__set__(instance, value)
        return instance
    return cls(**values)
