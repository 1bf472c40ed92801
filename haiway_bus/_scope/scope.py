"""A scope's life: what it opens in which order, and how it ends.

It opens its bus (or takes the one around it), its tasks and its disposables; then the body runs. It leaves them in
reverse order: the body; the tasks, when `ending.py` says that they are done; the disposables, last one first; the bus.
"""

from __future__ import annotations

import sys
from asyncio.events import _get_running_loop
from collections.abc import Iterable
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from haiway_bus._bus import Bus
from haiway_bus._bus.reads import no_copy
from haiway_bus._bus.refusals import TURN, bus_over, check_turn
from haiway_bus._common.arguments import name_of_scope
from haiway_bus._common.printable import described
from haiway_bus._scope.attached import Attached
from haiway_bus._scope.context import Current, Entered, OpenScope, current_or_none
from haiway_bus._scope.disposables import Disposable, checked_disposables, enter, leave
from haiway_bus._scope.failures import Failures, raise_as_it_is
from haiway_bus._scope.group import generator_around
from haiway_bus._scope.held_state import States
from haiway_bus._scope.losses import drop_callback, forgotten_callback, log_unread
from haiway_bus._scope.recorder import checked_observability, identify
from haiway_bus._state import State
from haiway_bus.errors import ContextMissing
from haiway_bus.observability import LoggingObservability, Observability

__all__ = ("Scope",)


class Scope:
    """A named piece of work with its own tasks, state and disposables, and with a bus: its own or the one around it.

    `ctx.scope(...)` makes it. Enter it once, with `async with`, which gives its trace id.
    """

    __slots__ = (
        "_disposables",
        "_entered",
        "_held",
        "_inside",
        "_isolated",
        "_made_current",
        "_observability",
        "_told",
        "_turn",
    )

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
        # What the end has to leave: the disposables that were entered, and the recorder that was told of the entry.
        self._held: list[Disposable] = []
        self._told = False
        self._made_current: Entered | None = None
        self._inside = OpenScope(States(name, state, None), warn_after)

    @property
    def name(self) -> str:
        """The name that logs and errors call it by."""
        return self._inside.name

    @property
    def is_open(self) -> bool:
        """Whether the scope was entered and has not ended."""
        return self._inside.is_open

    @property
    def bus(self) -> Bus:
        """The bus of the scope, for code that runs outside of it, such as a signal handler.

        `bus.send(event)` and `bus.subscribe(event_type)` do what `ctx.send` and `ctx.subscribe` do in the scope.

        Raises:
            ContextMissing: The scope was not entered.
        """
        bus: Bus | None = getattr(self._inside, "bus", None)
        if bus is None:
            raise ContextMissing(
                f"the scope {described(self.name)} has no bus yet: enter it first, with `async with`"
            )
        return bus

    def attach(self) -> Attached[Scope]:
        """Make this scope the current one in a `with` block, for code that did not inherit it.

        Such code is a request of a web server, a callback, or another thread. What it sends, subscribes and spawns in
        the block, and the scopes that it opens there, belong to this scope. Any number of blocks may be open at once.

        Returns:
            The context manager of the block. `with` gives this scope.

        Raises:
            ContextMissing: The block is entered before the scope is, or after the scope's end. In another thread than
                the scope's, also before the body begins and after the readers of the scope have ended.
        """
        return Attached(self, self._inside)

    async def __aenter__(self) -> str:
        """Open the scope.

        Returns:
            The trace id of the scope.

        Raises:
            RuntimeError: The scope was entered before, or the scope around it belongs to another loop.
        """
        if self._entered:
            raise RuntimeError(
                f"the scope {described(self.name)} was entered before: a scope is entered once,"
                " make another by ctx.scope()"
            )
        self._entered = True
        inside = self._inside
        try:
            self._open(current_or_none())
            inside.tasks.enter(generator_around(sys._getframe(1)))
            # After the tasks, so that disposables can spawn; left after them, as tasks may use disposables.
            for disposable in self._disposables:
                inside.states.add(await enter(disposable, self._held))
        except BaseException as error:
            outcome = await self._leave(error)
            # The body cannot run, even if a disposable suppresses the error.
            try:
                raise_as_it_is(error if outcome is None else outcome)
            finally:
                del outcome
        inside.begun = True
        return inside.identity.trace_id

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Close the scope: wait for its tasks, leave its disposables, end its bus.

        Raises:
            BaseException: What failed. A single exception of the body comes out as it is. What a task raised, and
                several exceptions, come out in one ExceptionGroup.
        """
        outcome = await self._leave(exception)
        if outcome is None or outcome is exception:
            return outcome is not exception
        try:
            raise_as_it_is(outcome)
        finally:
            del outcome

    async def _leave(self, raised: BaseException | None) -> BaseException | None:
        """Leave whatever was entered, the last first. No failure skips a step. Returns what is to be raised."""
        inside = self._inside
        failures = Failures(inside.name, raised)
        if inside.tasks.host is not None:
            await failures.attempt(inside.tasks.leave(failures))
        while self._held:
            await leave(self._held.pop(), failures)
        failures.call(self._tell_exit)
        failures.call(self._leave_context)
        failures.call(self._close_bus)
        if inside.unread:
            failures.call(self._tell_unread)
        inside.tasks.group.close(failures)
        return failures.finish()

    def _open(self, around: Current | None) -> None:
        inside = self._inside
        outer = None if around is None else around.scope
        inherited = None if outer is None else outer.observability
        # Compared with None: an empty recorder may be false.
        given = inherited if self._observability is None else self._observability
        recorder = inside.observability = LoggingObservability() if given is None else given
        if outer is None or self._isolated:
            inside.owns_bus = True
            inside.bus = Bus(inside.name, TURN if self._turn is None else self._turn)
            inside.tasks.join_bus(inside.bus, None)
        else:
            inside.owns_bus = False
            inside.bus = self._bus_of(outer)
            inside.tasks.join_bus(inside.bus, outer.tasks)
        # After all that may refuse the entry: a recorder that opens a span for it is sure to hear of its end.
        identity = inside.identity = identify(
            recorder, inside.name, None if outer is None else outer.identity, self._isolated
        )
        inside.tasks.report_to = recorder, identity
        if inside.owns_bus:
            inside.bus.observer = drop_callback(recorder, identity)
            inside.bus.forgotten = forgotten_callback(recorder, identity)
        if around is not None:
            inside.around = around
            inside.states.outer = around.states
        self._made_current = Entered(inside)
        recorder.scope_entered(identity)
        self._told = True

    def _bus_of(self, outer: OpenScope) -> Bus:
        """The bus of the scope around this one. Raises whatever forbids the entry there."""
        bus = outer.bus
        while bus.ended and bus.instead is not None:
            bus = bus.instead
        if bus.ended:
            raise bus_over(f"entering the scope {described(self.name)}", outer.name, bus.lost)
        if _get_running_loop() is not bus.loop or get_ident() != bus.thread:
            bus.check(f"entering the scope {described(self.name)}")
        if self._turn is not None:
            raise TypeError(
                f"turn= is for a scope that has its own bus, and {described(self.name)} uses that of"
                f" {described(outer.name)}: give it there, or isolated=True here"
            )
        return bus

    def _tell_exit(self, exception: BaseException | None) -> None:
        if self._told:
            self._told = False
            self._inside.observability.scope_exited(self._inside.identity, exception)

    def _leave_context(self, _: object) -> None:
        inside = self._inside
        inside.left = True
        inside.tasks.leave_bus()
        made_current, self._made_current = self._made_current, None
        try:
            if made_current is not None:
                made_current.leave()
        except ValueError:
            # The context of the entry still names this scope: another task leaves it, as that of a fixture may, or a
            # generator.
            inside.stranded = True
            if inside.owns_bus and inside.around is not None:
                inside.bus.instead = inside.around.scope.bus

    def _close_bus(self, _: object) -> None:
        inside = self._inside
        if hasattr(inside, "bus") and inside.owns_bus:
            inside.unread += inside.bus.unread() + (inside.bus.parted or [])
            inside.bus.close()

    def _tell_unread(self, _: object) -> None:
        inside = self._inside
        unread, inside.unread = inside.unread, []
        log_unread(inside.observability, inside.identity, unread)

    if not TYPE_CHECKING:  # a type checker refuses `with` by itself

        def __enter__(self) -> None:
            raise TypeError(
                f"the scope {described(self.name)} is entered with `async with`, not with `with`"
            )

        def __exit__(self, *_: object) -> None:
            pass

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)

    def __repr__(self) -> str:
        return f"<Scope {described(self.name)}>"
