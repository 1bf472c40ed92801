"""A scope's life: what is entered in which order, and how it ends.

Entered: its place in the context, its bus (or the one around it), its tasks, its disposables, then the body.
Left: the body; the tasks, once they have settled (`tasks.py`); the disposables, last entered first; the bus.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from haiway_bus._bus import Bus
from haiway_bus._bus.reads import no_copy
from haiway_bus._bus.refusals import TURN, bus_over, check_turn
from haiway_bus._scope.context import Attached, Place, Standing, own_place
from haiway_bus._scope.disposables import Disposable, checked_disposables, enter, leave
from haiway_bus._scope.failures import Failures, raise_as_it_is
from haiway_bus._scope.group import generator_around
from haiway_bus._scope.held_state import States
from haiway_bus._scope.losses import tell_unread, teller_of_dropped, teller_of_forgotten
from haiway_bus._scope.tasks import ScopeTasks
from haiway_bus._values.arguments import coroutine_of, name_of_scope
from haiway_bus._values.by_type import ByType
from haiway_bus._values.printable import described
from haiway_bus.observability import (
    LoggingObservability,
    Observability,
    ScopeIdentity,
    checked_observability,
    identify,
)
from haiway_bus.state import State

__all__ = ("Scope",)

Result = TypeVar("Result")


class Scope:
    """A named stretch of work with a bus, tasks, state and disposables of its own (contract 5).

    Enter it with `async with`, once. Invariant: from its entry on `bus` is its own, which ends with it, when it is
    a root or isolated (`owns_bus`), and else that of the scope around it.
    """

    __slots__ = (
        "_disposables",
        "_entered",
        "_given",
        "_held",
        "_isolated",
        "_left",
        "_observability",
        "_standing",
        "_told",
        "_turn",
        "around",
        "begun",
        "bus",
        "identity",
        "observability",
        "owns_bus",
        "stranded",
        "tasks",
        "unread",
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
        disposables: Iterable[Disposable | None] | None = (),
        observability: Observability | None = None,
        warn_after: float | None = 10.0,
        turn: float | None = None,
    ) -> None:
        name = name_of_scope(name)
        self._isolated = isolated
        self._disposables = checked_disposables(disposables)
        self._observability = checked_observability(observability)
        if turn is not None:
            check_turn(turn)
        self._turn = turn
        self._entered = False
        self._left = False
        # What is to be left: the disposables that were entered, and the recorder when it was told.
        self._held: list[Disposable] = []
        self._told = False
        self.unread: list[tuple[type[Any], int]] = []  # what is to be told at the end
        # Where it was entered; and whether it was left where that could not be restored (guarantee 5.14).
        self.around: Place | None = None
        self.stranded: bool = False
        self._given = States(name, state, None)
        self._standing: Standing | None = None
        self.begun: bool = False  # the body: everything before it is entered
        self.tasks: ScopeTasks = ScopeTasks(name, warn_after)

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
            self.tasks.enter(generator_around(sys._getframe(1)))
            # After the tasks, so that they can spawn; left after them, as tasks may use them.
            for disposable in self._disposables:
                self._given.add(await enter(disposable, self._held))
        except BaseException as error:
            outcome = await self._leave(error)
            # The body cannot run, whatever a disposable says of the error.
            try:
                raise_as_it_is(error if outcome is None else outcome)
            finally:
                del outcome
        self.begun = True
        return self.identity.trace_id

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the scope (contract 5.4, 5.5).

        Raises what failed: one exception as it was, several in an ExceptionGroup, and there whatever tasks raised.
        """
        outcome = await self._leave(exception)
        if outcome is None or outcome is exception:
            return outcome is not exception
        try:
            raise_as_it_is(outcome)
        finally:
            del outcome

    async def _leave(self, raised: BaseException | None) -> BaseException | None:
        """Leave whatever was entered, the last first, each whatever became of the others; say what is to be raised."""
        failures = Failures(self.name, raised)
        if self.tasks.host is not None:
            await failures.attempt(self.tasks.leave(failures))
        while self._held:
            await leave(self._held.pop(), failures)
        failures.call(self._tell_exit)
        failures.call(self._leave_context)
        failures.call(self._close_bus)
        if self.unread:
            failures.call(self._tell_unread)
        self.tasks.group.close(failures)
        return failures.finish()

    def _open(self, around: Place | None) -> None:
        outer = None if around is None else around.scope
        inherited = None if outer is None else outer.observability
        # By identity: a recorder may be empty, and so be false.
        given = inherited if self._observability is None else self._observability
        self.observability = LoggingObservability() if given is None else given
        if outer is None or self._isolated:
            self.owns_bus = True
            self.bus = Bus(self.name, TURN if self._turn is None else self._turn)
        else:
            self.owns_bus = False
            bus = outer.bus
            while bus.ended and bus.instead is not None:
                bus = bus.instead
            if bus.ended:
                raise bus_over(f"entering the scope {described(self.name)}", outer.name, bus.lost)
            bus.check(f"entering the scope {described(self.name)}")
            if self._turn is not None:
                raise TypeError(
                    f"turn= is for a scope that has its own bus, and {described(self.name)} uses that of"
                    f" {described(outer.name)}: give it there, or isolated=True here"
                )
            self.bus = bus
        self.tasks.join(self.bus, None if outer is None or self.owns_bus else outer.tasks)
        # After all that may refuse the entry: a recorder that opens a span for it is sure to be told of its end.
        self.identity = identify(
            self.observability, self.name, None if outer is None else outer.identity, self._isolated
        )
        self.tasks.teller = self.observability, self.identity
        if self.owns_bus:
            self.bus.observer = teller_of_dropped(self.observability, self.identity)
            self.bus.forgotten = teller_of_forgotten(self.observability, self.identity)
        self.around = around
        if around is not None:
            self._given.outer = around.states
        self._standing = Standing(self, self._given)
        self.observability.scope_entered(self.identity)
        self._told = True

    def _tell_exit(self, exception: BaseException | None) -> None:
        if self._told:
            self._told = False
            self.observability.scope_exited(self.identity, exception)

    def _leave_context(self, _: object) -> None:
        self._left = True
        self.tasks.part()
        standing, self._standing = self._standing, None
        try:
            if standing is not None:
                standing.leave()
        except ValueError:
            # The context in which it was entered still has it: another task leaves it, as of a fixture, or a generator.
            self.stranded = True
            if self.owns_bus and self.around is not None:
                self.bus.instead = self.around.scope.bus

    def _close_bus(self, _: object) -> None:
        if hasattr(self, "bus") and self.owns_bus:
            self.unread += self.bus.unread() + (self.bus.parted or [])
            self.bus.close()

    def _tell_unread(self, _: object) -> None:
        unread, self.unread = self.unread, []
        tell_unread(self.observability, self.identity, unread)

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
