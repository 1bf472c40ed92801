"""A scope for the lifespan of an ASGI application, and in it a scope for each request and websocket.

It is pure ASGI and needs no extra. It wraps every ASGI application: Starlette, FastAPI, Litestar, a plain function.

A server runs the lifespan in a task, and each request in another task, which does not inherit from the first. So the
middleware keeps the scope of the lifespan. Every request attaches to it and opens a scope of its own inside. So
handlers, background tasks and websockets share a bus, and the tasks of a request end with the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from haiway_bus import Disposable, Observability, Scope, State, ctx
from haiway_bus._common.arguments import is_number, is_seconds
from haiway_bus._common.printable import described
from haiway_bus.integrations._web.lifespan import Lifespan
from haiway_bus.integrations._web.protocol import (
    SCOPE_KEY,
    ASGIApplication,
    ASGIMessage,
    ASGIReceive,
    ASGISend,
)

__all__ = ("SCOPE_KEY", "ScopeMiddleware", "ShuttingDown")


class ShuttingDown(State):
    """Sent on the bus once, when the service is about to stop. Code that waits without end should end now."""


class ScopeMiddleware:
    """Wraps an ASGI application in a scope for its lifespan, with a scope in it for each request and websocket.

        app = ScopeMiddleware(Starlette(routes=...), Settings(...), name="shop")

    The middleware opens the scope in the lifespan's task at `lifespan.startup`, so that the application's own lifespan
    can subscribe and spawn in it. It leaves the scope after the application's own shutdown, and then tells the server
    `lifespan.shutdown.complete`. A failure is told as `startup.failed` or `shutdown.failed`. If another scope is
    current around the server, the new scope is nested in it and uses its bus.

    At `lifespan.shutdown` the middleware sends `ShuttingDown`, and open requests get `grace` seconds to end. But many
    servers, uvicorn among them, wait for open connections before they say `lifespan.shutdown`, by default for ever.
    Call `announce_shutdown` to end endless responses before.

    Each process of a server has its own scope and bus: events do not cross processes.

    Attributes:
        app: The ASGI application.
    """

    def __init__(
        self,
        app: ASGIApplication,
        *state: State,
        name: str = "service",
        disposables: Iterable[Disposable] | Callable[[], Iterable[Disposable]] = (),
        observability: Observability | None = None,
        grace: float = 5.0,
    ) -> None:
        """Wrap the application.

        Args:
            app: The ASGI application.
            state: What `ctx.state` finds, in the lifespan and in every request.
            name: The name of the scope in logs and errors. The scopes of requests are called `http` and `websocket`.
            disposables: The disposables of the scope, as `ctx.scope` takes them. Or a function that makes them at each
                startup: give it when a disposable can be entered only once and the application starts more often, as
                in tests.
            observability: The observability of the scope, as `ctx.scope` takes it. Requests use it too.
            grace: How many seconds open requests get to end after `lifespan.shutdown`.

        Raises:
            ValueError: `grace` is no number of seconds from 0 up.
        """
        if not is_number(grace) or not is_seconds(grace) or grace < 0:
            raise ValueError(f"grace is a number of seconds from 0 up, not {described(grace)}")
        self.app = app
        self._state = state
        self._name = name
        self._disposables = disposables
        self._observability = observability
        self._grace = grace
        self._root: Scope | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = 0
        self._quiet = asyncio.Event()
        self._shutting_down = False

    @property
    def scope(self) -> Scope:
        """The scope of the lifespan. A task that is spawned in it outlives the request:

            with middleware.scope.attach():
                ctx.spawn(...)

        Raises:
            RuntimeError: No lifespan is running.
        """
        if self._root is None:
            raise RuntimeError(
                f"the scope {described(self._name)} is not open: lifespan.startup opens it. Switch on the lifespan"
                " support of the server (uvicorn --lifespan on); without a server that has it, use `async with"
                " middleware.lifespan():`"
            )
        return self._root

    @property
    def shutting_down(self) -> bool:
        """Whether the service is about to stop."""
        return self._shutting_down

    def announce_shutdown(self) -> None:
        """Send `ShuttingDown` once. Call this when the server begins to stop, before it waits for connections.

        Otherwise an endless response keeps its connection open, and the connection keeps the server running. (An
        `sse.EventStream` ends by itself at `ShuttingDown`.) With uvicorn, override `uvicorn.Server.shutdown` and call
        this method first. If your server has no such place, give it a time-out (`uvicorn --timeout-graceful-shutdown
        3`): it cancels the requests that are left, and their subscriptions end.

        You can call it from any thread and from a signal handler. Without a running lifespan it does nothing.
        """
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._announce)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Scope]:
        """Run the lifespan yourself when no server does: with `httpx.ASGITransport`, or in a function as a service.

        The application's own lifespan runs too. The block gets the scope, which is not current in it: requests attach
        to it. An exception of startup or shutdown is raised here. If this is cancelled during startup or shutdown, the
        lifespan ends first.

        Yields:
            The scope of the lifespan.
        """
        messages: asyncio.Queue[ASGIMessage] = asyncio.Queue()
        answers: asyncio.Queue[ASGIMessage] = asyncio.Queue()
        task = asyncio.ensure_future(
            self({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, messages.get, answers.put)
        )  # fmt: skip

        async def say(message: str) -> None:
            await messages.put({"type": message})
            answer = await answers.get()
            if answer["type"] != f"{message}.complete":
                await task
                raise RuntimeError(answer.get("message") or answer["type"])

        try:
            await say("lifespan.startup")
            try:
                yield self.scope
            finally:
                await say("lifespan.shutdown")
                await task
        finally:
            if not task.done():
                # This was cancelled during startup or shutdown, which run in a task of their own. Without this the
                # task would go on and keep its scope open.
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def __call__(self, scope: Any, receive: ASGIReceive, send: ASGISend) -> None:
        """Serve one lifespan, request or websocket (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: Any, receive: ASGIReceive, send: ASGISend) -> None:
        root = self.scope
        self._open += 1
        self._quiet.clear()
        try:
            # The name has no path in it: `logging` keeps a logger for each name for ever, and there is no limit to
            # paths.
            with root.attach():
                async with ctx.scope(scope["type"]):
                    ctx.record(
                        attributes={
                            "http.request.method": scope.get("method", "GET"),
                            "url.path": scope.get("path", ""),
                        }
                    )
                    await self.app({**scope, SCOPE_KEY: self}, receive, send)
        finally:
            self._open -= 1
            if not self._open:
                self._quiet.set()

    async def _live(self, scope: Any, receive: ASGIReceive, send: ASGISend) -> None:
        await receive()
        life = Lifespan(self._wind_up, receive, send)
        try:
            if self._root is not None:
                raise RuntimeError(
                    f"the scope {described(self._name)} is open already: a ScopeMiddleware serves one lifespan"
                    " at a time"
                )
            made = self._disposables
            root = ctx.scope(
                self._name,
                *self._state,
                disposables=made() if callable(made) else made,
                observability=self._observability,
            )
            async with root:
                self._root, self._loop = root, asyncio.get_running_loop()
                self._shutting_down = False
                self._quiet = asyncio.Event()
                self._quiet.set()
                try:
                    await life.run(self.app, scope)
                finally:
                    # From here on no request can attach.
                    self._root = self._loop = None
        except BaseException as error:
            await life.fail(error)
            raise
        await life.finish()

    def _announce(self) -> None:
        if self._root is not None and not self._shutting_down:
            self._shutting_down = True
            with self._root.attach():
                ctx.send(ShuttingDown())

    async def _wind_up(self) -> None:
        """Wait for open requests to end: their scopes should not outlive the scope around them."""
        self._announce()
        try:
            async with asyncio.timeout(self._grace):
                await self._quiet.wait()
        except TimeoutError:
            with self.scope.attach():
                ctx.log_warning(
                    "%s requests were open %s s after lifespan.shutdown: their bus ends now",
                    self._open,
                    self._grace,
                )
