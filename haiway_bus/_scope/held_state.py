"""The state that scopes hold: an instance for each type, looked up from the innermost scope outwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, cast

from haiway_bus._common.arguments import is_class, offers
from haiway_bus._common.printable import described, name_of_type, text_of
from haiway_bus._state import State
from haiway_bus.errors import ContextStateMissing

__all__ = ("States",)

StateT = TypeVar("StateT", bound=State)


def state_refused(one: Any) -> TypeError:
    """The error for a value that is no instance of a State, with what to write instead."""
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
    """A level of state: that of a scope, or that of a `ctx.updated` block in it.

    Invariants: `held[id(T)]` is an instance of exactly T. It hides the instances of T in outer levels. `made` is the
    level of the scope, which keeps the instances that are made from defaults: once for each scope (guarantee 5.10).
    """

    __slots__ = ("held", "made", "outer", "scope_name")

    def __init__(self, scope_name: str, state: Iterable[State], outer: States | None) -> None:
        self.scope_name: str = scope_name
        self.outer: States | None = outer
        self.made: States = self
        self.held: dict[int, State] = {}
        self.add(state)

    def updated(self, state: Iterable[State]) -> States:
        """Make a level of the same scope on top of this one."""
        level = States(self.scope_name, state, self)
        level.made = self.made
        return level

    def add(self, state: Iterable[Any]) -> None:
        """Hold these instances, each in place of a former one of its type. Raise TypeError for any other value."""
        for one in state:
            # By the real type, under which it is found again.
            if not issubclass(type(one), State):
                raise state_refused(one)
            self.held[id(type(one))] = one

    def get(self, state_type: type[StateT]) -> StateT:
        """The innermost instance of exactly this type, or a new one from its defaults (guarantee 5.10).

        Raises:
            ContextStateMissing: There is no instance, and a field has no default.
            TypeError: `state_type` is not a State class.
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
