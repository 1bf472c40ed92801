"""A field of a State class, and the check of its default."""

from __future__ import annotations

from collections.abc import Callable
from types import MemberDescriptorType
from typing import Any, NamedTuple

from haiway_bus._state.annotations.default import MISSING, Factory
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.kind import Kind
from haiway_bus._state.kinds.mismatch import Mismatch, describe, mismatch
from haiway_bus._state.kinds.unions import apart
from haiway_bus.errors import StateError

__all__ = ("Field", "checked_default")


class Field(NamedTuple):
    """One field of one class.

    owner: the name of the class, for errors.
    name: the keyword argument and the attribute.
    annotation: the annotation with its names resolved. Type variables and Self stay, for derived classes.
    kind: checks values. An instance of a type in `kind.exact` is stored as it is; so is any value
        when `kind.anything`. For other values `kind.check(value)` gives the value to store, or
        raises Mismatch.
    default: the default, already checked, or MISSING.
    factory: makes the default of one instance, not checked yet, or None.
    member: the slot, to whose offset the constructor in C writes. None in a mix-in.
    alias: the key that an Alias gives, or None.
    key: the key in mappings and JSON. "" for the hidden field `__unknown__`.
    """

    owner: str
    name: str
    annotation: Any
    kind: Kind
    default: Any
    factory: Callable[[], Any] | None
    member: MemberDescriptorType | None
    alias: str | None
    key: str

    @property
    def required(self) -> bool:
        """Whether the constructor needs a value for the field."""
        return self.default is MISSING and self.factory is None

    def check(self, value: Any) -> Any:
        """Give the value to store for an argument, which may be MISSING. Raises Mismatch."""
        if value is MISSING:
            if self.factory is not None:
                return self.made(self.factory)
            if self.default is MISSING:
                raise Mismatch([("", f"missing, expected {self.kind.expected}")])
            return self.default
        return self.kind.check(value)

    def made(self, factory: Callable[[], Any]) -> Any:
        """Make the default of one instance. Raises Mismatch."""
        try:
            return self.kind.check(apart(factory))
        except RecursionError:
            pass
        except Mismatch as wrong:
            raise Mismatch(
                [(path, f"{reason}, by its default factory") for path, reason in wrong.problems]
            ) from None
        # Outside of the `except`: the stack may be too short for this call as well. Then the caller's `except` gets
        # the next RecursionError; raised inside of the first, PyPy would make a TypeError of it. No Mismatch, which
        # every instance on the way up would go over again.
        raise StateError(
            f"{self.owner}.{self.name}: a cycle of defaults, its factory comes back to it"
        )


def checked_default(kind: Kind, default: Any) -> tuple[Any, Callable[[], Any] | None]:
    """Check the default of a field (guarantee 7.5).

    Returns:
        The default to store, or MISSING, and the factory, or None.

    Raises:
        Mismatch: the default does not fit the annotation, or can change.
    """
    if isinstance(default, Factory):
        return MISSING, default.make
    if default is MISSING:
        return MISSING, None
    try:
        checked = kind.check(default)
    except Mismatch as wrong:
        if wrong.problems and wrong.problems[0][0]:
            raise Mismatch(
                [(path, f"{reason}, in the default") for path, reason in wrong.problems]
            ) from None
        raise mismatch(kind.expected, default) from None
    # A value that can change has no hash: so it is with Python's containers, and by convention with others. A list
    # given for a Sequence is none any more, but may hold another list.
    changeable = type(checked).__hash__ is None
    if checked is not default and type(checked) in (tuple, frozenset, FrozenMap):
        try:
            hash(checked)
        except TypeError:
            changeable = True
    if changeable:
        reason = (
            f"the default {describe(default)} can be changed, and all instances would share it: "
            "write Default(factory=...)"
        )
        raise Mismatch([("", reason)])
    return checked, None
