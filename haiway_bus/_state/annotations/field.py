"""The table of a class's fields: what the generated constructor, and a compiled one, read."""

from __future__ import annotations

from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any

from haiway_bus._state.annotations.default import MISSING, Factory
from haiway_bus._state.kinds.kind import Kind
from haiway_bus._state.kinds.mismatch import Mismatch, describe, mismatch
from haiway_bus.errors import StateError

__all__ = ("Field", "checked_default")


class Field:
    """One field of one class, as its constructor needs it.

    owner: the name of the class, for errors.
    name: the keyword argument and the attribute.
    annotation: with names resolved; type variables and Self stay, for the classes derived.
    kind: `kind.exact` are the types of which an instance is stored as it is (all, when
        `kind.anything`); for any other value `kind.check(value)` gives the value to store, or
        raises Mismatch.
    default: checked already; MISSING when there is none.
    factory: makes the default of one instance, which is to be checked; None when there is none.
    member: the slot, whose offset a compiled constructor writes to. None in a mix-in.
    key: the name in mappings and JSON.
    """

    __slots__ = ("annotation", "default", "factory", "key", "kind", "member", "name", "owner")

    def __init__(
        self,
        owner: str,
        name: str,
        annotation: Any,
        kind: Kind,
        default: Any,
        factory: Callable[[], Any] | None,
        member: MemberDescriptorType | None,
        key: str,
    ) -> None:
        self.owner: str = owner
        self.name: str = name
        self.annotation: Any = annotation
        self.kind: Kind = kind
        self.default: Any = default
        self.factory: Callable[[], Any] | None = factory
        self.member: MemberDescriptorType | None = member
        self.key: str = key

    @property
    def required(self) -> bool:
        """Whether an instance cannot be made without it."""
        return self.default is MISSING and self.factory is None

    def store(self, instance: Any, value: Any) -> None:
        """Put a checked value into an instance that nobody else has yet."""
        self.member.__set__(instance, value)  # type: ignore[union-attr]

    def check(self, value: Any) -> Any:
        """The value to store for what was given, which may be MISSING; raises Mismatch."""
        if value is MISSING:
            if self.factory is not None:
                return self.made(self.factory)
            if self.default is MISSING:
                raise Mismatch([("", f"missing, expected {self.kind.expected}")])
            return self.default
        return self.kind.check(value)

    def made(self, factory: Callable[[], Any]) -> Any:
        """The default of one instance; raises Mismatch."""
        try:
            return self.kind.check(factory())
        except RecursionError:
            pass
        except Mismatch as wrong:
            raise Mismatch(
                [(path, f"{reason}, by its default factory") for path, reason in wrong.problems]
            ) from None
        # Here, as there may be too little of the stack left for this, too: a RecursionError is then met by the caller's
        # `except`, and PyPy makes a TypeError of one that is raised within another. And not a Mismatch, which every
        # instance on the way here would look into again.
        raise StateError(
            f"{self.owner}.{self.name}: a cycle of defaults, its factory comes back to it"
        )


def checked_default(kind: Kind, default: Any) -> tuple[Any, Callable[[], Any] | None]:
    """The default to store, or the factory of it.

    Raises:
        Mismatch: the default does not fit the annotation, or can change.

    Contract 7.5.
    """
    if isinstance(default, Factory):
        return MISSING, default.make
    if default is MISSING:
        return MISSING, None
    if type(default).__hash__ is None:
        # What can be changed has no hash, in Python's own containers and by its own convention.
        reason = (
            f"the default {describe(default)} can be changed, and all instances would share it: "
            "write Default(factory=...)"
        )
        raise Mismatch([("", reason)])
    try:
        return kind.check(default), None
    except Mismatch as wrong:
        if wrong.problems and wrong.problems[0][0]:
            raise Mismatch(
                [(path, f"{reason}, in the default") for path, reason in wrong.problems]
            ) from None
        raise mismatch(kind.expected, default) from None
