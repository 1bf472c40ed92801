"""Where code stands, in a context variable: in which scope, and which state it sees; and the blocks that change it.

A scope puts itself there when it is entered. `Attached` does so for code that did not inherit it, `Updated` changes the
state alone.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from haiway_bus._bus import Bus
from haiway_bus._bus import current as current_bus
from haiway_bus._bus.reads import no_copy
from haiway_bus._bus.refusals import FORKED, bus_over, no_scope, readers_ended
from haiway_bus._bus.watch import inherited
from haiway_bus._scope.held_state import States
from haiway_bus._values.printable import described
from haiway_bus.errors import ContextMissing
from haiway_bus.state import State

if TYPE_CHECKING:
    # A name for type checkers: the scope stands above, and is only handed on here.
    from haiway_bus._scope.scope import Scope

__all__ = ("Attached", "Place", "Standing", "Updated", "current_place", "own_place", "place")


class Place(NamedTuple):
    """Where code stands: in which scope, and which state it sees there."""

    scope: Scope
    states: States


current_place: Final[ContextVar[Place | None]] = ContextVar("haiway_bus.place", default=None)


def place(call: str) -> Place:
    """Where the caller stands. Raises ContextMissing outside any scope of this process (contract 5.2, 6.3)."""
    here = current_place.get()
    if here is None:
        raise no_scope(call)
    if inherited and here.scope.bus.lost == FORKED:
        raise bus_over(call, here.scope.name, FORKED)
    return here if not here.scope.stranded else outwards(here) or here


def own_place() -> Place | None:
    """Where the caller stands; None outside any scope, and in one of the process from which this one was forked."""
    here = current_place.get()
    if inherited and here is not None and here.scope.bus.lost == FORKED:
        return None
    return outwards(here) if here is not None and here.scope.stranded else here


def outwards(here: Place) -> Place | None:
    """Where code stands that has in its context a scope which was left in another one (guarantee 5.14).

    That is where the scope was entered; None for a root scope.
    """
    there: Place | None = here
    while there is not None and there.scope.stranded:
        there = there.scope.around
    return there


class Standing:
    """Makes a scope the current one, until it is left."""

    __slots__ = ("_bus_token", "_place_token")

    def __init__(self, scope: Scope, states: States) -> None:
        self._bus_token: Token[Bus | None] = current_bus.set(scope.bus)
        self._place_token: Token[Place | None] = current_place.set(Place(scope, states))

    def leave(self) -> None:
        """Restore what was current before. Raises ValueError in another context, where there is nothing to restore."""
        current_place.reset(self._place_token)
        current_bus.reset(self._bus_token)


class Attached:
    """A block in which a scope is current that was not inherited (contract 5.9). Enter it once, with `with`."""

    __slots__ = ("_scope", "_standing")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._standing: Standing | None = None

    def __enter__(self) -> Scope:
        scope = self._scope
        if self._standing is not None:
            raise RuntimeError(f"a block of {scope!r}.attach() is entered once: make another")
        if scope.begun and scope.bus.lost:
            raise bus_over("attach()", scope.name, scope.bus.lost)
        # The loop's own code may attach for as long as the bus lives; other threads from the beginning of the body, who
        # can subscribe, until its readers are ended: what they send has somebody to read it (guarantee 6.2).
        at_home = scope.is_open and get_ident() == scope.bus.inbox.thread
        if not at_home and not (scope.is_open and scope.begun):
            raise ContextMissing(
                f"the scope {described(scope.name)} is not open: attach to it within its `async with` block"
            )
        if not at_home and scope.bus.inbox.closed:
            raise readers_ended("attach()", scope.name)
        self._standing = Standing(scope, scope.states)
        return scope

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._standing is not None:
            self._standing.leave()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)


class Updated:
    """A block in which `ctx.state` gives other instances (contract 5.10). Enter it once, with `with`."""

    __slots__ = ("_state", "_token")

    def __init__(self, *state: State) -> None:
        self._state = state
        self._token: Token[Place | None] | None = None

    def __enter__(self) -> None:
        if self._token is not None:
            raise RuntimeError("a ctx.updated() block is entered once: make another")
        here = place("updated()")
        self._token = current_place.set(Place(here.scope, here.states.updated(self._state)))

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            current_place.reset(self._token)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)
