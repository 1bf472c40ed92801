"""A scope's life: what is entered in which order, and how it ends.

Entered: its place in the context, its bus (or the one around it), its tasks, its disposables, then the body.
Left: the body; the tasks, once they have settled (`tasks.py`); the disposables, last entered first; the bus.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, suppress
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from haiway_bus.arguments import coroutine_of, is_class
from haiway_bus.bus import Bus
from haiway_bus.bus import current as current_bus
from haiway_bus.bus._losses import Dropped
from haiway_bus.bus._reads import no_copy
from haiway_bus.bus._rules import TURN, bus_over, check_turn
from haiway_bus.by_type import ByType
from haiway_bus.disposables import Disposable, checked_disposables
from haiway_bus.observability import (
    LoggingObservability,
    Observability,
    ScopeIdentity,
    identify,
    teller_of_forgotten,
)
from haiway_bus.places import Attached, Place, current_place, own_place
from haiway_bus.printable import described, name_of_type
from haiway_bus.state import State
from haiway_bus.states import States
from haiway_bus.tasks import ScopeTasks

__all__ = ("Scope",)

Result = TypeVar("Result")


class Scope:
    """A named stretch of work with a bus, tasks, state and disposables of its own (contract 5).

    Enter it with `async with`, once. Invariant: from its entry on `bus` is its own, which ends with it, when it is
    a root or isolated (`owns_bus`), and else that of the scope around it.
    """

    __slots__ = (
        "_bus_token",
        "_disposables",
        "_entered",
        "_given",
        "_isolated",
        "_left",
        "_observability",
        "_place_token",
        "_stack",
        "_turn",
        "begun",
        "bus",
        "identity",
        "observability",
        "owns_bus",
        "tasks",
    )

    bus: Bus
    identity: ScopeIdentity
    observability: Observability
    owns_bus: bool

    def __init__(
        self,
        name: str,
        *state: State,
        isolated: bool = False,
        disposables: Iterable[Disposable] = (),
        observability: Observability | None = None,
        turn: float | None = None,
    ) -> None:
        if not issubclass(type(name), str) or not str.__len__(name):
            raise TypeError(
                f"a scope needs a name, a str that is not empty, not {described(name)}:"
                ' write ctx.scope("name", ...)'
            )
        name = str.__str__(name)  # of a subclass, what it is and not what it says
        self._isolated = isolated
        if is_class(observability):
            raise TypeError(
                f"observability= takes an instance, not the class: {described(observability)}"
            )
        self._disposables = checked_disposables(disposables)
        self._observability = observability
        if turn is not None:
            check_turn(turn)
        self._turn = turn
        self._entered = False
        self._left = False
        self._stack = AsyncExitStack()
        self._given = States(name, state, None)
        self._place_token: Token[Place | None] | None = None
        self._bus_token: Token[Bus | None] | None = None
        # Whether the body has begun: everything before it is entered.
        self.begun: bool = False
        self.tasks: ScopeTasks = ScopeTasks(name)

    @property
    def name(self) -> str:
        """What it is called in logs and errors."""
        return self._given.scope_name

    @property
    def states(self) -> States:
        """The state that it holds."""
        return self._given

    @property
    def is_open(self) -> bool:
        """Whether it was entered and its bus has not ended."""
        return self._entered and hasattr(self, "bus") and not self.bus.ended and not self._left

    if not TYPE_CHECKING:  # a type checker knows without it

        def __enter__(self) -> None:
            raise TypeError(
                f"the scope {described(self.name)} is entered with `async with`, not with `with`"
            )

        def __exit__(self, *_: object) -> None:
            pass

    async def __aenter__(self) -> str:
        """Open the scope and return its trace id.

        Raises RuntimeError when it was entered before, or in another loop than the scope around it.
        """
        if self._entered:
            raise RuntimeError(
                f"the scope {described(self.name)} was entered before: a scope is entered once,"
                " make another by ctx.scope()"
            )
        self._entered = True
        try:
            self._open(own_place())
            await self.tasks.__aenter__()
        except BaseException as error:
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise
        try:
            for disposable in self._disposables:
                given = await self._stack.enter_async_context(disposable)
                if given is not None:
                    one = issubclass(type(given), State)
                    self._given.add((given,) if one else cast("Iterable[State]", given))
        except BaseException as error:
            self._stack.push_async_exit(self.tasks)
            await self._stack.__aexit__(type(error), error, error.__traceback__)
            raise
        # Entered before the disposables, so that they can spawn; left before them, as tasks may use them.
        self._stack.push_async_exit(self.tasks)
        self.begun = True
        return self.identity.trace_id

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the scope (contract 5.4, 5.5).

        Raises an ExceptionGroup when a task failed, with the body's own exception in it if there is one.
        """
        return bool(await self._stack.__aexit__(exception_type, exception, traceback))

    def _open(self, around: Place | None) -> None:
        outer = None if around is None else around.scope
        inherited = None if outer is None else outer.observability
        # By identity: a recorder may be empty, and so be false.
        given = inherited if self._observability is None else self._observability
        self.observability = LoggingObservability() if given is None else given
        self.owns_bus = outer is None or self._isolated
        if outer is None or self._isolated:
            self.bus = Bus(self.name, TURN if self._turn is None else self._turn)
            self.bus.observer = self._tell_dropped
            self._stack.push(self._close_bus)
        else:
            if outer.bus.ended:
                raise bus_over(
                    f"entering the scope {described(self.name)}", outer.name, outer.bus.lost
                )
            outer.bus.check(f"entering the scope {described(self.name)}")
            if self._turn is not None:
                raise TypeError(
                    f"turn= is for a scope that has its own bus, and {described(self.name)} uses that of"
                    f" {described(outer.name)}: give it there, or isolated=True here"
                )
            self.bus = outer.bus
            self.tasks.family = outer.tasks.family
        self.tasks.bus, self.tasks.owns_bus = self.bus, self.owns_bus
        self.tasks.family[self.tasks] = None
        self._stack.callback(self._leave_context)
        # After all that may refuse the entry: a recorder that opens a span for it is sure to be told of its end.
        self.identity = identify(
            self.observability, self.name, None if outer is None else outer.identity, self._isolated
        )
        if self.owns_bus:
            self.bus.forgotten = teller_of_forgotten(self.observability, self.identity)
        if around is not None:
            self._given.outer = around.states
        self._bus_token = current_bus.set(self.bus)
        self._place_token = current_place.set(Place(self, self._given))
        self.observability.scope_entered(self.identity)
        self._stack.push(self._tell_exit)

    def _tell_exit(self, _: object, exception: BaseException | None, __: object) -> None:
        self.observability.scope_exited(self.identity, exception)

    def _close_bus(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unread = self.bus.unread()
        self.bus.close()
        if exception is not None:
            return  # its work was broken off, and that is told
        for event_type, number in unread:
            self.observability.log(
                self.identity,
                logging.WARNING,
                "events of %s left unread at the end of the scope: %s",
                (name_of_type(event_type), number),
                None,
            )

    def _tell_dropped(self, dropped: Dropped) -> None:
        event_type, *numbers = dropped
        self.observability.log(
            self.identity,
            logging.WARNING,
            "events of %s dropped: %s, in %s of %s subscriptions; the most, %s, in one with limit=%s, overflow=%r",
            (name_of_type(event_type), *numbers),
            None,
        )

    def attach(self) -> Attached:
        """A `with` block in which this scope is the current one, for code that did not inherit it (contract 5.9).

        A request of a web server, a callback, another thread: what is sent, subscribed and spawned there, and the
        scopes that are opened there, belong to this scope. The block can stand in as many places at once as needed.

        Raises ContextMissing when it is entered before the scope or after its end; in another thread than the scope's
        also before its body begins, and when its readers have ended.
        """
        return Attached(self)

    async def settled(self) -> None:
        """Return when nothing is in flight on the bus: for tests, which need no sleep then.

        Every task of the scopes on the bus, but for the caller's own, is finished or waits for an event that is not
        there (contract 5.4), every reader in line was given what waited for it, and nothing that another thread
        sent is on its way. Readers go on waiting. Whether a task that no scope spawned has done its work with what
        it was given is not known here: `ctx.flush` knows.

        Raises RuntimeError in another loop or thread than the scope's (contract 6.1).
        """
        self.bus.check("settled()")
        while True:
            await self.tasks.idle()
            # What nobody reads may wait for ever, and is in nobody's hands.
            unread = ByType(self.bus.unread())
            if all(
                stats.pending == unread.get(event_type, 0)
                for event_type, stats in self.bus.events().items()
            ):
                return
            await asyncio.sleep(0)

    def _leave_context(self) -> None:
        # A scope may be left by another task than the one that entered it (a test's fixture, a generator that is
        # closed by the loop): the context to restore is not here then, and there is nothing to restore.
        self._left = True
        self.tasks.family.pop(self.tasks, None)
        with suppress(ValueError):
            if self._place_token is not None:
                current_place.reset(self._place_token)
            if self._bus_token is not None:
                current_bus.reset(self._bus_token)

    def spawn(
        self,
        function: Callable[..., Coroutine[Any, Any, Result]] | Coroutine[Any, Any, Result],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Task[Result]:
        """Run a coroutine, or what the function makes of the arguments, in a task of this scope (contract 5.3)."""
        self.bus.check("spawn()")
        return self.tasks.spawn(coroutine_of(function, args, kwargs))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def __repr__(self) -> str:
        return f"<Scope {described(self.name)}>"
