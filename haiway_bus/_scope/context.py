"""Where code stands: which scope is the current one, and which state code sees there. A context variable holds both.

A scope makes itself current when it is entered. `Attached` does so for code that did not inherit the scope. `Updated`
changes the state alone.
"""

from __future__ import annotations

import asyncio
from asyncio import Task
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from haiway_bus._bus import Bus
from haiway_bus._bus import current as current_bus
from haiway_bus._bus.reads import no_copy
from haiway_bus._bus.refusals import FORKED, bus_over, no_scope
from haiway_bus._bus.watch import inherited
from haiway_bus._common.arguments import coroutine_of
from haiway_bus._common.by_type import ByType
from haiway_bus._scope.held_state import States
from haiway_bus._scope.tasks import ScopeTasks
from haiway_bus._state import State
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("Current", "Entered", "OpenScope", "Updated", "current", "current_or_none")

Result = TypeVar("Result")


class OpenScope:
    """What a scope offers to the code that runs in it. `Scope` is the handle that users hold; it opens and ends this.

    Invariants: `bus` is there from the entry on. A root scope and an isolated one have a bus of their own (`owns_bus`),
    which ends with them. Any other uses the bus of the scope around it.
    """

    __slots__ = (
        "around",
        "begun",
        "bus",
        "identity",
        "left",
        "name",
        "observability",
        "owns_bus",
        "states",
        "stranded",
        "tasks",
        "unread",
    )

    bus: Bus
    identity: ScopeIdentity
    observability: Observability
    owns_bus: bool

    def __init__(self, states: States, warn_after: float | None) -> None:
        self.name: str = states.scope_name
        self.states: States = states
        self.tasks: ScopeTasks = ScopeTasks(self.name, warn_after)
        self.around: Current | None = None
        # Whether everything before the body is entered, and whether the scope is left.
        self.begun: bool = False
        self.left: bool = False
        # Whether it was left in another context than it was entered in, which still names it (guarantee 5.14).
        self.stranded: bool = False
        # The events that nobody read, to be reported at the end: type and number.
        self.unread: list[tuple[type[Any], int]] = []

    @property
    def is_open(self) -> bool:
        return hasattr(self, "bus") and not self.bus.ended and not self.left

    async def settled(self) -> None:
        """Return when nothing is in flight on the bus: `testing.settle` is the public name of this wait.

        Every task of the scopes on the bus, except the caller's, is then finished or waits for an event that is not
        there (guarantee 5.4). Every waiting reader was given what waited for it, and nothing that another thread sent
        is on its way. Readers go on waiting. A task that no scope spawned may still work on its event: only `ctx.flush`
        knows that.

        Raises:
            RuntimeError: The caller runs in another loop or thread than the scope (guarantee 6.1).
        """
        self.bus.check("settled()")
        while True:
            await self.tasks.wait_until_idle()
            # Events that nobody reads may wait for ever, and are in nobody's hands.
            unread = ByType(self.bus.unread())
            if all(
                stats.pending == unread.get(event_type, 0)
                for event_type, stats in self.bus.events().items()
            ):
                return
            await asyncio.sleep(0)

    def spawn(
        self,
        function: Callable[..., Coroutine[Any, Any, Result]] | Coroutine[Any, Any, Result],
        /,
        *args: Any,
        **kwargs: Any,
    ) -> Task[Result]:
        """Run a coroutine, or the one that the function makes of the arguments, in a task of this scope."""
        self.bus.check("spawn()")
        return self.tasks.spawn(coroutine_of(function, args, kwargs))


class Current(NamedTuple):
    """Where code stands: the scope, and the level of state that it sees there."""

    scope: OpenScope
    states: States


_current: Final[ContextVar[Current | None]] = ContextVar("haiway_bus.place", default=None)


def current(call: str) -> Current:
    """Where the caller stands. Raises ContextMissing outside any scope of this process (guarantees 5.2, 6.3)."""
    here = _current.get()
    if here is None:
        raise no_scope(call)
    if inherited and here.scope.bus.lost == FORKED:
        raise bus_over(call, here.scope.name, FORKED)
    return here if not here.scope.stranded else outwards(here) or here


def current_or_none() -> Current | None:
    """Where the caller stands: None outside any scope, and in a scope of the process from which this one was forked."""
    here = _current.get()
    if inherited and here is not None and here.scope.bus.lost == FORKED:
        return None
    return outwards(here) if here is not None and here.scope.stranded else here


def outwards(here: Current) -> Current | None:
    """The nearest place around that is not stranded: where the stranded scope was entered (guarantee 5.14).

    None when no scope was around it.
    """
    there: Current | None = here
    while there is not None and there.scope.stranded:
        there = there.scope.around
    return there


class Entered:
    """Makes a scope the current one, until `leave`."""

    __slots__ = ("_bus_token", "_token")

    def __init__(self, scope: OpenScope) -> None:
        self._bus_token: Token[Bus | None] = current_bus.set(scope.bus)
        self._token: Token[Current | None] = _current.set(Current(scope, scope.states))

    def leave(self) -> None:
        """Restore what was current before. Raises ValueError in another context, where there is nothing to restore."""
        _current.reset(self._token)
        current_bus.reset(self._bus_token)


class Updated:
    """A block in which `ctx.state` gives other instances (guarantee 5.10). Enter it once, with `with`."""

    __slots__ = ("_state", "_token")

    def __init__(self, *state: State) -> None:
        self._state = state
        self._token: Token[Current | None] | None = None

    def __enter__(self) -> None:
        if self._token is not None:
            raise RuntimeError("a ctx.updated() block is entered once: make another")
        here = current("updated()")
        self._token = _current.set(Current(here.scope, here.states.updated(self._state)))

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)
