"""A scope for an ASGI application's lifespan, and one within it for each request and websocket (contract 5.9).

Pure ASGI: it needs no extra, and wraps whatever speaks ASGI, Starlette, FastAPI, Litestar, a plain function.

A server runs the lifespan in one task and each request in another, which does not inherit from the first. So the
scope of the lifespan is kept here, and every request attaches to it and opens a scope of its own inside: handlers,
background tasks and websockets find one bus, and what a request spawned ends with the request (contract 5.4).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

from haiway_bus import Disposable, Observability, Scope, State, ctx
from haiway_bus._values.arguments import is_number, is_seconds
from haiway_bus._values.printable import described

__all__ = ("SCOPE_KEY", "ScopeMiddleware", "ShuttingDown")

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

# Where a request's ASGI scope, the dict, holds the middleware that serves it.
SCOPE_KEY: Final = "haiway_bus"


class ShuttingDown(State):
    """Sent over the bus once, when the service is about to stop: what would wait for ever should end now."""


class ScopeMiddleware:
    """Wraps an ASGI application in a scope for its lifespan; each request and websocket gets one inside that.

        app = ScopeMiddleware(Starlette(routes=...), Settings(...), name="shop")

    The scope is opened in the lifespan's task when the server says `lifespan.startup`, so that the application's own
    lifespan can subscribe and spawn in it. It is left after the application's own shutdown, and only then does the
    server hear `lifespan.shutdown.complete`. What fails in between is told as `startup.failed` or `shutdown.failed`.
    Where another scope is current around the server, it is nested in that and uses its bus (contract 5.1).

    At `lifespan.shutdown`, `ShuttingDown` is sent and requests that are still open get `grace` seconds. But many
    servers, uvicorn among them, first wait for open connections, for ever unless told otherwise, and say
    `lifespan.shutdown` after that. See `announce_shutdown` for what ends endless responses then.

    Each process of a server has its own: events do not cross processes.
    """

    def __init__(
        self,
        app: Application,
        *state: State,
        name: str = "service",
        disposables: Iterable[Disposable] | Callable[[], Iterable[Disposable]] = (),
        observability: Observability | None = None,
        grace: float = 5.0,
    ) -> None:
        """
        Arguments:
            app: the ASGI application.
            state: what `ctx.state` finds, in the lifespan and in every request.
            name: what the scope is called in logs and errors. Those of requests are called `http` and `websocket`.
            disposables: as `ctx.scope` takes them; or a function that makes them, called at each startup, for
                disposables that can be entered only once while the application is started more often (in tests).
            observability: as `ctx.scope` takes it; requests use it, too.
            grace: how many seconds requests that are open at `lifespan.shutdown` may take to end.

        Raises ValueError for a grace below zero.
        """
        if not is_number(grace) or not is_seconds(grace) or grace < 0:
            raise ValueError(f"grace is a number of seconds from 0 on, not {described(grace)}")
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
        """The scope of the lifespan: `with middleware.scope.attach(): ctx.spawn(...)` outlives a request.

        Raises RuntimeError outside a lifespan.
        """
        if self._root is None:
            raise RuntimeError(
                f"the scope {described(self._name)} is not open: it is opened by lifespan.startup. Switch the"
                " server's lifespan support on (uvicorn --lifespan on); where there is none, `async with"
                " middleware.lifespan():`"
            )
        return self._root

    @property
    def shutting_down(self) -> bool:
        """Whether the service is about to stop."""
        return self._shutting_down

    def announce_shutdown(self) -> None:
        """Send `ShuttingDown`, once: to be called when the server begins to stop, before it waits for connections.

        An endless response (`sse.EventStream` hears of it by itself) would otherwise keep its connection, and that
        the server, for ever. With uvicorn, override `uvicorn.Server.shutdown` and call this first; where there is
        no such place, give the server a time-out (`uvicorn --timeout-graceful-shutdown 3`): it cancels the requests
        that are left then, and their subscriptions end (contract 5.5).

        Can be called from any thread and from a signal handler. Does nothing outside a lifespan.
        """
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._announce)

    @asynccontextmanager
    async def lifespan(self) -> AsyncIterator[Scope]:
        """Run the lifespan, the application's own included, where no server does: `httpx.ASGITransport`, functions
        as a service. Gives its scope, which is not current in the block: requests attach to it.

        Raises what startup or shutdown raised. Cancelled in either, it ends the lifespan before it raises.
        """
        messages: asyncio.Queue[Message] = asyncio.Queue()
        answers: asyncio.Queue[Message] = asyncio.Queue()
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
                # Cancelled in startup or shutdown, which run in a task of their own: it would go on, and keep its
                # scope open, with nobody to end it.
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one lifespan, request or websocket (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await self._serve(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _serve(self, scope: Any, receive: Receive, send: Send) -> None:
        root = self.scope
        self._open += 1
        self._quiet.clear()
        try:
            # The name says no path: a logger is kept for each name for ever, and paths are without number.
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

    async def _live(self, scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        life = _Lifespan(self, receive, send)
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
                    # From here on no request can attach any more.
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
        """Let open requests end: a scope should not outlive the one around it."""
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


class _Lifespan:
    """The conversation of one lifespan, between the server and the application.

    `asked`: the application takes part, as it asked for a message. `started`: the server was told of the startup.
    `answer`: the application's last word, held back until the scope has ended, so that the server does not stop the
    loop under it.
    """

    def __init__(self, middleware: ScopeMiddleware, receive: Receive, send: Send) -> None:
        self.middleware = middleware
        self.server_receive = receive
        self.server_send = send
        self.asked = False
        self.started = False
        self.stopping = False
        self.answer: Message = {"type": "lifespan.shutdown.complete"}

    async def run(self, app: Application, scope: Any) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            # By the ASGI specification an application without a lifespan raises at its very mention. One that has
            # asked what it is about has a lifespan, and this is an error in it.
            if self.asked:
                raise
        if self.answer["type"] == "lifespan.startup.failed":
            return
        if not self.started:
            await self.send({"type": "lifespan.startup.complete"})
        if not self.stopping:
            self.asked = True
            await self.receive()

    async def receive(self) -> Message:
        if not self.asked:
            self.asked = True
            return {"type": "lifespan.startup"}
        message = await self.server_receive()
        if message["type"] == "lifespan.shutdown":
            self.stopping = True
            await self.middleware._wind_up()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            self.started = True
            await self.server_send(message)
        else:
            self.answer = message

    async def fail(self, error: BaseException) -> None:
        phase = "shutdown" if self.started else "startup"
        text = "".join(traceback.format_exception(error))
        await self.server_send({"type": f"lifespan.{phase}.failed", "message": text})

    async def finish(self) -> None:
        await self.server_send(self.answer)
