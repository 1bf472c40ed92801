"""`ctx`: the face of the package. Each method is a line or two into the room that does the work."""

from __future__ import annotations

import logging
from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Literal, ParamSpec, TypeVar, overload

from haiway_bus import _bus
from haiway_bus._bus import Subscription
from haiway_bus._bus.stats import EventStats
from haiway_bus._scope.context import Updated, own_place, place
from haiway_bus._scope.disposables import Disposable
from haiway_bus._scope.handlers import ErrorPolicy, Handler, check, handle
from haiway_bus._scope.scope import Scope
from haiway_bus._scope.waiting import WaitingTask, waiting_on
from haiway_bus._values.printable import name_of_function
from haiway_bus.observability import (
    LoggingObservability,
    MetricKind,
    Observability,
    ScopeIdentity,
    check_record,
)
from haiway_bus.state import State

__all__ = ("ctx",)

Arguments = ParamSpec("Arguments")
Event = TypeVar("Event")
Result = TypeVar("Result")
StateT = TypeVar("StateT", bound=State)

_OUTSIDE = LoggingObservability()


def _observed() -> tuple[Observability, ScopeIdentity | None]:
    here = own_place()
    return (_OUTSIDE, None) if here is None else (here.scope.observability, here.scope.identity)


class ctx:  # noqa: N801 - the name that the users of Haiway know; it is a namespace and has no instances
    """What code does in the scope it runs in."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("ctx has no instances: call its methods on ctx itself")

    # The functions of the backend as they are: a method around `send` would cost more than `send` does.
    send: Final = staticmethod(_bus.send)
    subscribe: Final = staticmethod(_bus.subscribe)

    @staticmethod
    def scope(
        name: str,
        /,
        *state: State,
        isolated: bool = False,
        disposables: Iterable[Disposable | None] | None = (),
        observability: Observability | None = None,
        warn_after: float | None = 10.0,
        turn: float | None = None,
    ) -> Scope:
        """A scope, to be entered with `async with`, which gives its trace id (contract 5.1).

        Arguments:
            name: what it is called in logs and errors.
            state: the instances that `ctx.state` finds in it.
            isolated: whether it has a bus of its own although another scope is around it. A root scope always has.
            disposables: async context managers, entered in this order before the body and left in reverse order
                after the scope's tasks have ended. The State, or the iterable of State, that one gives joins the
                scope's state (contract 5.10). None, and each None among them, stands for nothing.
            observability: who is told what is logged and recorded in it; that of the scope around it, or else
                the standard `logging`, unless given.
            warn_after: how many seconds the end of the scope waits for its tasks until a WARNING names them, with
                where each stands and what it waits for; the next comes when that time has doubled, and so on. None
                turns it off. Each scope has its own: a scope inside this one does not take it over.
            turn: how many seconds all readers on its bus have together before the loop gets its turn; 0.005 unless
                given. Only for a scope that has a bus of its own.

        Raises TypeError or ValueError for what these cannot be.
        """
        return Scope(
            name,
            *state,
            isolated=isolated,
            disposables=disposables,
            observability=observability,
            warn_after=warn_after,
            turn=turn,
        )

    @staticmethod
    def on(
        event_type: type[Event],
        handler: Handler[Event],
        /,
        *,
        workers: int = 1,
        errors: ErrorPolicy = "log",
        limit: int | None = None,
        overflow: Literal["drop_oldest", "drop_newest", "raise"] | None = None,
        name: str | None = None,
    ) -> Subscription[Event]:
        """Subscribe now, and run the handler for every event from now on in tasks of the scope (contract 2.11).

        Each event is handled in a copy of the caller's context: what the handler binds, the next event does not see.

        Arguments:
            event_type: the class of the events.
            handler: called with each event; what it returns is awaited if it can be.
            workers: how many tasks share the events.
            errors: "log" logs an exception of the handler and goes on with the next event, "raise" lets it fail
                the scope.
            limit: the most events that wait at a time, as `subscribe` takes it.
            overflow: what gives way when one more comes, as `subscribe` takes it; with "raise" it fails the scope.
            name: what logs and errors call the subscription; the handler's name, unless given.

        Returns the subscription; closing it ends the workers. Raises what `subscribe` and `spawn` raise, TypeError for
        a handler that cannot be called with one event (a class is none), TypeError or ValueError for a number of
        workers or an error policy that is none.
        """
        check(event_type, handler, workers, errors)
        scope = place("on()").scope
        name = name_of_function(handler) if name is None else name
        subscription = _bus.subscribe(event_type, limit=limit, overflow=overflow, name=name)
        handle(scope, subscription, handler, workers, errors)
        return subscription

    @staticmethod
    async def flush(
        event_type: type[Any],
        /,
        *,
        timeout: float | None = None,
        without: Iterable[Subscription[Any]] = (),
    ) -> None:
        """Return when every subscription of the type has taken all that was sent before this call, and its reader
        has come back for more, or it has ended (contract 4.4).

        Back-pressure for who sends, determinism for tests. A reader must not wait for itself: called from a reader
        of the type, it never returns, unless its own subscription is one of those that it goes `without`.

        Raises TimeoutError after `timeout` seconds, which names the subscriptions that are behind and by how much;
        TypeError or ValueError for what is no class of events, no time, or no subscription of the type; ContextMissing
        outside a scope, RuntimeError in another loop or thread than the scope's.
        """
        await place("flush()").scope.bus.flush(event_type, timeout, without)

    @staticmethod
    def events() -> Mapping[type[Any], EventStats]:
        """What goes over the bus of the current scope, by type of event (contract 8.3).

        For each type that is subscribed to, an EventStats. Counting begins anew when a type was without subscriptions.

        The mapping is read-only and stays as it was. It finds a class by its identity, whatever its metaclass thinks
        of `==` and `hash()`.

        Raises ContextMissing outside a scope.
        """
        return place("events()").scope.bus.events()

    @staticmethod
    def waiting() -> tuple[WaitingTask, ...]:
        """The unfinished tasks of the current scope, and then of the other scopes on its bus: where each stands, and
        what it waits for, in words.

        It reads only, and can be called at any time: in a debugger, and in any thread that has the scope's context. Of
        a task that runs in another thread meanwhile it tells what it can.

        Raises ContextMissing outside a scope.
        """
        return waiting_on(place("waiting()").scope.tasks)

    @overload
    @staticmethod
    def spawn(coroutine: Coroutine[Any, Any, Result], /) -> Task[Result]: ...

    @overload
    @staticmethod
    def spawn(
        function: Callable[Arguments, Coroutine[Any, Any, Result]],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Task[Result]: ...

    @staticmethod
    def spawn(function: Any, /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Run an async function with these arguments, or a coroutine, in a task of the innermost scope.

        The task has the caller's context. The scope waits for it at its end (contract 5.4); when it fails, the
        scope's other tasks are cancelled and the scope raises an ExceptionGroup (contract 5.3). The task has
        not run yet when this returns, and so has not subscribed to anything (contract 5.8): an event sent before
        its first step passes it by. Subscribe first, and give it the subscription, where that matters.

        Raises ContextMissing outside a scope or when the scope's tasks have ended, TypeError for what gives no
        coroutine, ValueError for a coroutine that somebody runs already.
        """
        return place("spawn()").scope.spawn(function, args, kwargs)

    @staticmethod
    def state(state_type: type[StateT], /) -> StateT:
        """The instance of exactly this type in the innermost scope that holds one (contract 5.10).

        Where none does, one is made of the defaults, once a scope. Raises ContextStateMissing when a field has
        none, ContextMissing outside a scope.
        """
        return place("state()").states.get(state_type)

    @staticmethod
    def updated(*state: State) -> Updated:
        """A `with` block in which these instances take the place of those of their types (contract 5.10)."""
        return Updated(*state)

    @staticmethod
    def trace_id() -> str:
        """The trace id of the scope: one for a root scope and all within it. Raises ContextMissing outside."""
        return place("trace_id()").scope.identity.trace_id

    @staticmethod
    def log_error(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level ERROR, with %-style arguments and the traceback of an exception (contract 8.1)."""
        recorder, scope = _observed()
        recorder.log(scope, logging.ERROR, message, args, exception)

    @staticmethod
    def log_warning(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level WARNING (contract 8.1)."""
        recorder, scope = _observed()
        recorder.log(scope, logging.WARNING, message, args, exception)

    @staticmethod
    def log_info(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level INFO (contract 8.1)."""
        recorder, scope = _observed()
        recorder.log(scope, logging.INFO, message, args, exception)

    @staticmethod
    def log_debug(message: str, /, *args: object, exception: BaseException | None = None) -> None:
        """Log a message at level DEBUG (contract 8.1)."""
        recorder, scope = _observed()
        recorder.log(scope, logging.DEBUG, message, args, exception)

    @overload
    @staticmethod
    def record(level: int = ..., /, *, attributes: Mapping[str, Any]) -> None: ...

    @overload
    @staticmethod
    def record(
        level: int = ..., /, *, event: str, attributes: Mapping[str, Any] | None = ...
    ) -> None: ...

    @overload
    @staticmethod
    def record(
        level: int = ...,
        /,
        *,
        metric: str,
        value: float,
        unit: str | None = ...,
        kind: MetricKind = ...,
        attributes: Mapping[str, Any] | None = ...,
    ) -> None: ...

    @staticmethod
    def record(
        level: int = logging.DEBUG,
        /,
        *,
        event: str | None = None,
        metric: str | None = None,
        value: float | None = None,
        unit: str | None = None,
        kind: MetricKind = "counter",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Record an event, a metric, or attributes of the scope (contract 8.1).

        Arguments:
            level: the level of `logging` at which it is told, DEBUG unless given.
            event: the name of what happened.
            metric: the name of what was measured, `value` the number, `unit` what it is counted in, `kind` how
                values add up: "counter", "gauge" or "histogram".
            attributes: what else is known about it; alone, facts about the scope.

        Raises TypeError when it is none of these or more than one, or not what the arguments say, ValueError for an
        unknown kind.
        """
        check_record(level, event, metric, value, unit, kind, attributes)
        recorder, scope = _observed()
        given = attributes if attributes is not None else {}
        if metric is not None and value is not None:
            recorder.record_metric(scope, level, metric, value, unit, kind, given)
        elif event is not None:
            recorder.record_event(scope, level, event, given)
        else:
            recorder.record_attributes(scope, level, given)
