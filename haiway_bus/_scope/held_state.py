"""The state that scopes hold: one instance a type, looked up from the innermost level outwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from haiway_bus._values.arguments import is_class, offers
from haiway_bus._values.printable import described, name_of_type, text_of
from haiway_bus.errors import ContextStateMissing
from haiway_bus.state import State

__all__ = ("States",)

StateT = TypeVar("StateT", bound=State)


def state_refused(one: Any) -> TypeError:
    """The error for what is no instance of a State, and what to write in its place."""
    given = name_of_type(one if is_class(one) else type(one))
    what = f"an instance of {given}"
    way_out = "pass an instance of a State class"
    if one is None:
        what, way_out = "None", "leave out what is not there"
    elif is_class(one):
        what = f"the class {given}"
        way_out = (
            "pass an instance of a State class"
            if not issubclass(one, State)
            else f"write {given}(...)"
        )
    elif issubclass(type(one), list | tuple):
        way_out = "unpack it with *, each instance is an argument"
    elif offers(one, "__aenter__", "__aexit__"):
        way_out = "write disposables=[...] for what is to be entered"
    return TypeError(f"a scope holds instances of State, not {what}: {way_out}")


class States:
    """One level of state: that of a scope, or that of a `ctx.updated` block inside it.

    Invariant: `held[id(T)]` is an instance of exactly T, which hides every other one further out. `made` is the level
    that keeps what is made on demand: that of the scope around, so that it is made once a scope (contract 5.10).
    """

    __slots__ = ("held", "made", "outer", "scope_name")

    def __init__(self, scope_name: str, state: Iterable[State], outer: States | None) -> None:
        self.scope_name: str = scope_name
        self.outer: States | None = outer
        self.made: States = self
        self.held: dict[int, State] = {}
        self.add(state)

    def updated(self, state: Iterable[State]) -> States:
        """A level of the same scope on top of this one."""
        level = States(self.scope_name, state, self)
        level.made = self.made
        return level

    def add(self, state: Iterable[Any]) -> None:
        """Hold these, each in place of one of its type. Raises TypeError for what is no instance of a State."""
        for one in state:
            # By its real type, as it is found again by that.
            if not issubclass(type(one), State):
                raise state_refused(one)
            self.held[id(type(one))] = one

    def get(self, state_type: type[StateT]) -> StateT:
        """The innermost instance of exactly this type, or else one made of its defaults (contract 5.10).

        Raises ContextStateMissing when there is none and a field has no default.
        """
        for level in self.levels():
            held = level.held.get(id(state_type))
            if held is not None:
                return cast("StateT", held)
        if not is_class(state_type) or not issubclass(state_type, State):
            raise TypeError(f"state() takes a class of State, not {described(state_type)}")
        try:
            made = state_type()
        except Exception as error:
            searched = ", ".join(
                dict.fromkeys(described(level.scope_name) for level in self.levels())
            )
            raise ContextStateMissing(
                f"no {name_of_type(state_type)} in scope (searched, innermost first: {searched}), and it cannot be"
                f" made of defaults ({text_of(error)}): pass one to ctx.scope(...) or ctx.updated(...)"
            ) from error
        return cast("StateT", self.made.held.setdefault(id(state_type), made))

    def levels(self) -> Iterator[States]:
        level: States | None = self
        while level is not None:
            yield level
            level = level.outer
