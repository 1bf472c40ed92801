"""`ctx`: the face of the package. Each method hands over to the module that does the work."""

from __future__ import annotations

from asyncio import Task
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Literal, ParamSpec, TypeVar, overload

from haiway_bus import _bus
from haiway_bus._bus import Subscription
from haiway_bus._bus.stats import EventStats
from haiway_bus._common.printable import name_of_function
from haiway_bus._scope.context import Updated, current
from haiway_bus._scope.disposables import Disposable
from haiway_bus._scope.handlers import ErrorPolicy, Handler, check, handle
from haiway_bus._scope.records import Records
from haiway_bus._scope.scope import Scope
from haiway_bus._scope.waiting import WaitingTask, waiting_tasks
from haiway_bus._state import State
from haiway_bus.observability import Observability

__all__ = ("ctx",)

Arguments = ParamSpec("Arguments")
Event = TypeVar("Event")
Result = TypeVar("Result")
StateT = TypeVar("StateT", bound=State)


class ctx(Records):  # noqa: N801 - the name that the users of Haiway know; it is a namespace and has no instances
    """The functions that code calls in the scope it runs in."""

    __slots__ = ()

    def __init__(self) -> None:
        raise TypeError("ctx has no instances: call its functions on ctx itself")

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
        """Make a scope. Enter it with `async with`, which gives its trace id.

        Args:
            name: The name that logs and errors call it by.
            state: The instances that `ctx.state` finds in the scope.
            isolated: Whether the scope has its own bus inside another scope. A root scope always has its own.
            disposables: Async context managers. The scope enters them in this order before the body, and leaves them in
                reverse order after its tasks have ended. If `__aenter__` returns a State, or an iterable of State, it
                joins the state of the scope. None stands for no disposable, as the argument and in the list.
            observability: The recorder of logs, events and metrics. Without it, the scope uses that of the scope around
                it, or else the standard `logging`.
            warn_after: Seconds that the end of the scope waits for its tasks before it logs a WARNING, which names the
                tasks, where each stands, and what it waits for. The next warning comes when that time has doubled, and
                so on. None turns the warnings off. A nested scope does not inherit this setting.
            turn: Seconds that all readers of its bus may run before the event loop gets its turn; 0.005 by default.
                Only a scope with its own bus takes it.

        Returns:
            The scope, not yet entered.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: A number is out of its range.
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
        """Subscribe now, and call the handler for each event from now on, in tasks of the current scope.

        Each event is handled in its own copy of the caller's context: the next event does not see a context variable
        that the handler sets.

        Args:
            event_type: The class of the events.
            handler: A function of one event, plain or async. If it returns an awaitable, the awaitable is awaited.
            workers: The number of tasks that share the events.
            errors: "log" logs an exception of the handler and goes on with the next event. "raise" fails the scope.
            limit: The maximal number of waiting events, as in `subscribe`.
            overflow: What happens at the limit, as in `subscribe`. "raise" treats the overflow as an exception of the
                handler.
            name: The name of the subscription in logs and errors. By default, the name of the handler.

        Returns:
            The subscription. Its `close()` ends the workers.

        Raises:
            TypeError: The handler cannot be called with one event (a class is no handler), or another argument has the
                wrong type.
            ValueError: The number of workers or the error policy is not among those allowed.
            ContextMissing: There is no current scope, or its tasks have ended.
            RuntimeError: The caller runs in another loop or thread than the scope.
        """
        check(event_type, handler, workers, errors)
        scope = current("on()").scope
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
        """Wait until every subscription of the type has handled all events that were sent before this call.

        A subscription has handled an event when its reader has taken the event and has come back for the next one, or
        has ended. Use it for back-pressure in a sender, and for determinism in a test. A reader must not wait for
        itself: a call from a reader of the type never returns, unless `without` names the reader's own subscription.

        Args:
            event_type: The class of the events.
            timeout: Seconds to wait at most. None waits without limit.
            without: Subscriptions of the type that it does not wait for.

        Raises:
            TimeoutError: The time is over. The message names the subscriptions that are behind, and by how many events.
            TypeError: An argument has the wrong type, or `without` names a subscription of another type.
            ValueError: The time-out is not a number of seconds.
            ContextMissing: There is no current scope.
            RuntimeError: The caller runs in another loop or thread than the scope.
        """
        await current("flush()").scope.bus.flush(event_type, timeout, without)

    @staticmethod
    def events() -> Mapping[type[Any], EventStats]:
        """Return statistics of the bus of the current scope, by event type.

        Returns:
            A read-only snapshot with an EventStats for each type that has subscriptions. Its counts begin anew after a
            type had no subscription. The mapping finds a class by its identity, even if its metaclass redefines `==` or
            `hash()`.

        Raises:
            ContextMissing: There is no current scope.
        """
        return current("events()").scope.bus.events()

    @staticmethod
    def waiting() -> tuple[WaitingTask, ...]:
        """Return the unfinished tasks on the bus of the current scope: where each stands, and what it waits for.

        The call changes nothing, so it is safe at any time: in a debugger, and in any thread that has the context of
        the scope. A task that runs in another thread during the call may be described incompletely.

        Returns:
            The tasks of the current scope, then those of the other scopes on its bus.

        Raises:
            ContextMissing: There is no current scope.
        """
        return waiting_tasks(current("waiting()").scope.tasks)

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
        """Run an async function with these arguments, or a coroutine, in a task of the current scope.

        The task has the caller's context. The scope waits for the task at its end. If the task fails, the scope cancels
        its other tasks and raises an ExceptionGroup.

        The task has not started when this call returns, so it has not subscribed to anything yet: an event that is sent
        before its first step does not reach it. If that matters, subscribe first and pass the subscription to the task.

        Args:
            function: An async function, or a coroutine.
            args: Positional arguments for the function.
            kwargs: Keyword arguments for the function.

        Returns:
            The task.

        Raises:
            ContextMissing: There is no current scope, or its tasks have ended or are being cancelled.
            TypeError: The call of `function` does not return a coroutine.
            ValueError: The coroutine already runs in another task.
            RuntimeError: The caller runs in another loop or thread than the scope.
        """
        return current("spawn()").scope.spawn(function, *args, **kwargs)

    @staticmethod
    def state(state_type: type[StateT], /) -> StateT:
        """Return the state of exactly this type from the innermost scope that holds one.

        If no scope holds one, `state` makes an instance from the defaults of the class, once for each scope.

        Args:
            state_type: A State class.

        Raises:
            ContextStateMissing: No scope holds an instance, and a field of the class has no default.
            ContextMissing: There is no current scope.
            TypeError: `state_type` is not a State class.
        """
        return current("state()").states.get(state_type)

    @staticmethod
    def updated(*state: State) -> Updated:
        """Make these instances the state of their types in a `with` block.

        Args:
            state: Instances of State classes. Each hides the instance of its type around the block.

        Raises:
            TypeError: On entry, for an argument that is not an instance of a State class.
            ContextMissing: On entry, when there is no current scope.
        """
        return Updated(*state)

    @staticmethod
    def trace_id() -> str:
        """Return the trace id of the current scope, which all scopes inside the same root scope share.

        Raises:
            ContextMissing: There is no current scope.
        """
        return current("trace_id()").scope.identity.trace_id
