"""Guarantee 5.9: a scope for the lifespan of an ASGI application, and one in it for each request and websocket."""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import json
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.shared import let_go, turns

pytestmark = pytest.mark.anyio


class Sent:
    def __init__(self, number: int) -> None:
        self.number = number


@pytest.fixture
def asgi(hb: Any) -> Any:
    return importlib.import_module("haiway_bus.integrations.asgi")


@pytest.fixture
def sse(hb: Any, asgi: Any) -> Any:
    return importlib.import_module("haiway_bus.integrations.sse")


class Talk:
    """One connection as a server runs it: in a task whose context is empty."""

    def __init__(self, app: Any, scope: dict[str, Any], waiting: int = 0) -> None:
        """Of what the client has not read yet, that many messages may be `waiting`, any number if 0."""
        self.to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue(waiting)
        self.task = asyncio.get_running_loop().create_task(
            app(scope, self.to_app.get, self.from_app.put), context=contextvars.Context()
        )

    async def ask(self, type_: str, **more: Any) -> dict[str, Any]:
        self.to_app.put_nowait({"type": type_, **more})
        return await self.hear()

    async def hear(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return await self.from_app.get()


def http(app: Any, path: str = "/", waiting: int = 0) -> Talk:
    scope = {"type": "http", "method": "GET", "path": path, "asgi": {"version": "3.0"}}
    return Talk(app, scope, waiting)


def lifespan_of(app: Any) -> Talk:
    return Talk(app, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}})


def app_with(
    handle: Callable[..., Any] | None = None,
    start: Callable[[], Any] = lambda: None,
    stop: Callable[[], Any] = lambda: None,
) -> Any:
    """An application with a lifespan, written by hand."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            assert handle is not None
            await handle(scope, receive, send)
            return
        assert (await receive())["type"] == "lifespan.startup"
        start()
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        stop()
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def answer(send: Any, body: bytes = b"") -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class TestLifespan:
    async def test_requests_share_the_bus_and_the_state_of_the_lifespan(
        self, hb: Any, asgi: Any
    ) -> None:
        """Guarantee 5.9: although a request inherits nothing; and trace id and nesting are those of the scope."""

        class Settings(hb.State):
            level: int = 0

        got, traces = [], []

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            traces.append(hb.ctx.trace_id())
            hb.ctx.send(Sent(hb.ctx.state(Settings).level))
            assert scope["haiway_bus"].scope._inside.identity.trace_id == hb.ctx.trace_id()
            await answer(send)

        app = asgi.ScopeMiddleware(
            app_with(handle, start=lambda: hb.ctx.on(Sent, lambda event: got.append(event.number))),
            Settings(level=7),
            name="shop",
        )
        life = lifespan_of(app)
        assert await life.ask("lifespan.startup") == {"type": "lifespan.startup.complete"}
        requests = [http(app) for _ in range(3)]
        await asyncio.gather(*[request.task for request in requests])
        assert await life.ask("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
        await life.task
        assert got == [7, 7, 7]
        assert len(set(traces)) == 1

    async def test_the_scope_ends_after_the_applications_shutdown_and_before_the_server_hears(
        self, hb: Any, asgi: Any
    ) -> None:
        """Guarantee 5.4, 5.10: what the shutdown sends is handled, then the disposables are left."""
        order = []

        @asynccontextmanager
        async def database() -> AsyncIterator[None]:
            order.append("opened")
            yield
            order.append("closed")

        app = asgi.ScopeMiddleware(
            app_with(
                start=lambda: hb.ctx.on(Sent, lambda _: order.append("handled")),
                stop=lambda: hb.ctx.send(Sent(1)),
            ),
            disposables=lambda: [database()],
        )
        for _ in range(2):  # a function makes new ones for each lifespan
            life = lifespan_of(app)
            await life.ask("lifespan.startup")
            assert order == ["opened"]
            assert await life.ask("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
            assert order == ["opened", "handled", "closed"]
            await life.task
            order.clear()

    async def test_a_failure_at_startup_is_told_and_the_scope_is_left(
        self, hb: Any, asgi: Any
    ) -> None:
        """Guarantee 5.5: of a disposable, and of the application."""
        left = []

        @asynccontextmanager
        async def broken() -> AsyncIterator[None]:
            raise OSError("no database")
            yield

        @asynccontextmanager
        async def fine() -> AsyncIterator[None]:
            try:
                yield
            finally:
                left.append("left")

        def start() -> None:
            raise ValueError("bad settings")

        for app, error, text in (
            (asgi.ScopeMiddleware(app_with(), disposables=[broken()]), OSError, "no database"),
            (
                asgi.ScopeMiddleware(app_with(start=start), disposables=[fine()]),
                ValueError,
                "bad settings",
            ),
        ):
            life = lifespan_of(app)
            said = await life.ask("lifespan.startup")
            assert said["type"] == "lifespan.startup.failed"
            assert text in said["message"]
            with pytest.raises(error):
                await life.task
        assert left == ["left"]

    async def test_a_task_of_the_lifespan_that_fails_is_told_at_once(
        self, hb: Any, asgi: Any
    ) -> None:
        """Guarantee 5.3: the scope fails, and later requests are refused."""

        async def fail() -> None:
            raise ValueError("the consumer broke")

        app = asgi.ScopeMiddleware(app_with(start=lambda: hb.ctx.spawn(fail)), name="shop")
        life = lifespan_of(app)
        assert await life.ask("lifespan.startup") == {"type": "lifespan.startup.complete"}
        said = await life.hear()
        assert said["type"] == "lifespan.shutdown.failed"
        assert "the consumer broke" in said["message"]
        with pytest.raises(ExceptionGroup, match="'shop'"):
            await life.task
        with pytest.raises(RuntimeError, match="'shop' is not open"):
            await http(app).task

    @pytest.mark.parametrize("way", ["raises", "returns"])
    async def test_an_application_without_a_lifespan_gets_a_scope_all_the_same(
        self, hb: Any, asgi: Any, way: str
    ) -> None:
        async def plain(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                if way == "raises":
                    raise RuntimeError("http only")
                return
            hb.ctx.send(Sent(1))
            await answer(send)

        app = asgi.ScopeMiddleware(plain)
        life = lifespan_of(app)
        assert await life.ask("lifespan.startup") == {"type": "lifespan.startup.complete"}
        await http(app).task
        assert await life.ask("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
        await life.task

    async def test_where_the_server_runs_no_lifespan_it_is_said_and_can_be_run(
        self, hb: Any, asgi: Any
    ) -> None:
        got = []

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            hb.ctx.send(Sent(1))
            await answer(send)

        app = asgi.ScopeMiddleware(
            app_with(handle, start=lambda: hb.ctx.on(Sent, lambda event: got.append(event.number)))
        )
        with pytest.raises(RuntimeError, match=r"'service' is not open.*middleware\.lifespan\(\)"):
            await http(app).task
        async with app.lifespan() as scope:
            assert scope.name == "service"
            await http(app).task
        assert got == [1]

        def fail() -> None:
            raise ValueError("bad settings")

        with pytest.raises(ValueError, match="bad settings"):
            async with asgi.ScopeMiddleware(app_with(start=fail)).lifespan():
                pass

    @pytest.mark.parametrize("phase", ["startup", "shutdown"])
    async def test_a_lifespan_that_is_cancelled_is_over_and_another_can_follow(
        self, hb: Any, asgi: Any, phase: str
    ) -> None:
        """Guarantee 5.5: as by the time-out of a test, in either phase; what the scope was given is left."""
        left, hangs = [], [phase]

        @asynccontextmanager
        async def database() -> AsyncIterator[None]:
            try:
                yield
            finally:
                left.append("database")

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            for now in ("startup", "shutdown"):
                await receive()
                if now in hangs:
                    await asyncio.Event().wait()
                await send({"type": f"lifespan.{now}.complete"})

        app = asgi.ScopeMiddleware(slow, disposables=lambda: [database()])
        before = asyncio.all_tasks()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), app.lifespan():
                pass
        assert asyncio.all_tasks() == before
        assert left == ["database"]
        hangs.clear()
        async with app.lifespan() as scope:
            assert scope.is_open

    async def test_one_lifespan_at_a_time(self, hb: Any, asgi: Any) -> None:
        app = asgi.ScopeMiddleware(app_with())
        async with app.lifespan():
            with pytest.raises(RuntimeError, match="one lifespan at a time"):
                async with app.lifespan():
                    pass
            assert app.scope.is_open


class TestRequests:
    async def test_a_request_waits_for_what_it_spawned_and_ends_its_readers(
        self, hb: Any, asgi: Any
    ) -> None:
        """Guarantee 5.4: the client has its answer meanwhile."""
        go, done = asyncio.Event(), []

        async def work() -> None:
            await go.wait()
            done.append("work")

        async def read() -> None:
            async for _ in hb.ctx.subscribe(Sent):
                pass
            done.append("read")

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            hb.ctx.spawn(read)
            hb.ctx.spawn(work)
            await answer(send, b"at once")

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan():
            request = http(app)
            await request.hear()
            assert (await request.hear())["body"] == b"at once"
            assert not request.task.done()
            go.set()
            await request.task
        assert done == ["work", "read"]

    async def test_an_error_comes_out_as_it_was_and_harms_no_other_request(
        self, hb: Any, asgi: Any
    ) -> None:
        """Guarantee 5.5."""

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/broken":
                raise KeyError("broken")
            await receive()
            await answer(send)

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan():
            request = http(app)
            with pytest.raises(KeyError):
                await http(app, "/broken").task
            await request.ask("http.request")
            await request.task

    async def test_a_cancelled_request_ends_with_its_tasks(self, hb: Any, asgi: Any) -> None:
        """Guarantee 5.5: servers cancel what is left after their time-out."""
        ended, started = [], asyncio.Event()

        async def read() -> None:
            try:
                async with hb.ctx.subscribe(Sent) as subscription:
                    started.set()
                    await anext(subscription)
            finally:
                ended.append("reader")

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            task = hb.ctx.spawn(read)
            await task

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan() as scope:
            request = http(app)
            await started.wait()
            request.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request.task
            assert ended == ["reader"]
            with scope.attach():
                assert hb.ctx.events() == {}

    async def test_work_that_outlives_its_request_belongs_to_the_lifespan(
        self, hb: Any, asgi: Any
    ) -> None:
        go, done = asyncio.Event(), []

        async def work() -> None:
            await go.wait()
            done.append("work")

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            with scope["haiway_bus"].scope.attach():
                hb.ctx.spawn(work)
            await answer(send)

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan():
            await http(app).task
            go.set()
        assert done == ["work"]

    async def test_shutdown_lets_open_requests_end_and_waits_no_longer_than_its_grace(
        self, hb: Any, asgi: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        ended = []

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/deaf":
                await receive()
            await hb.ctx.subscribe(asgi.ShuttingDown).first()
            ended.append(scope["path"])

        app = asgi.ScopeMiddleware(
            app_with(handle, stop=lambda: ended.append("app")), grace=0.02, name="shop"
        )
        async with app.lifespan():
            polite = http(app, "/polite")
            deaf = http(app, "/deaf")
            await turns(5)
        await polite.task
        assert ended == ["/polite", "app"]
        assert "1 requests were open 0.02 s after" in caplog.text
        deaf.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deaf.task

    def test_a_grace_below_zero_is_refused(self, asgi: Any) -> None:
        with pytest.raises(ValueError, match="-1"):
            asgi.ScopeMiddleware(app_with(), grace=-1)


async def test_a_websocket_has_the_bus_both_ways(hb: Any, asgi: Any) -> None:
    """Guarantee 5.9, 5.4: the task that forwards events ends when the connection does."""
    got = []

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        subscription = hb.ctx.subscribe(Sent)
        await send({"type": "websocket.accept"})

        async def forward() -> None:
            async for event in subscription:
                await send({"type": "websocket.send", "text": str(event.number)})
            got.append("forwarding ended")

        hb.ctx.spawn(forward)
        while (message := await receive())["type"] == "websocket.receive":
            hb.ctx.send(Sent(int(message["text"])))

    app = asgi.ScopeMiddleware(app_with(handle))
    async with app.lifespan():
        one, other = [Talk(app, {"type": "websocket", "path": "/"}) for _ in range(2)]
        for socket in (one, other):
            assert (await socket.ask("websocket.connect"))["type"] == "websocket.accept"
        assert (await one.ask("websocket.receive", text="5"))["text"] == "5"
        assert (await other.hear())["text"] == "5"
        for socket in (one, other):
            socket.to_app.put_nowait({"type": "websocket.disconnect"})
            await socket.task
        assert got == ["forwarding ended"] * 2


class TestEventStream:
    @pytest.fixture
    def app(self, hb: Any, asgi: Any, sse: Any) -> Any:
        async def handle(scope: Any, receive: Any, send: Any) -> None:
            stream = sse.EventStream(
                hb.ctx.subscribe(Sent, limit=3), lambda event: str(event.number), greeting="hello"
            )
            await stream(scope, receive, send)

        return asgi.ScopeMiddleware(app_with(handle))

    async def test_it_sends_events_and_a_burst_in_one_piece(self, app: Any, hb: Any) -> None:
        async with app.lifespan() as scope:
            request = http(app)
            assert (await request.hear())["status"] == 200
            assert (await request.hear())["body"] == b"data: hello\n\n"
            with scope.attach():
                for number in range(5):  # two more than its limit
                    hb.ctx.send(Sent(number))
            assert (await request.hear())["body"] == b"data: 2\n\ndata: 3\n\ndata: 4\n\n"
            request.to_app.put_nowait({"type": "http.disconnect"})
            await request.task

    async def test_it_ends_when_the_client_goes_also_while_nothing_is_sent(
        self, app: Any, hb: Any
    ) -> None:
        async with app.lifespan() as scope:
            request = http(app)
            await request.hear()
            await request.hear()
            request.to_app.put_nowait({"type": "http.request"})
            request.to_app.put_nowait({"type": "http.disconnect"})
            await request.task
            assert request.from_app.empty()
            with scope.attach():
                assert hb.ctx.events() == {}

    async def test_it_ends_when_shutdown_is_announced_after_what_was_waiting(
        self, app: Any, hb: Any
    ) -> None:
        """From another thread, as from a signal handler; twice is once."""
        async with app.lifespan() as scope:
            request = http(app)
            await request.hear()
            await request.hear()
            with scope.attach():
                app._announce()
                hb.ctx.send(Sent(1))  # in the same turn: the stream has not heard of it yet
            await asyncio.to_thread(app.announce_shutdown)
            assert (await request.hear())["body"] == b"data: 1\n\n"
            assert (await request.hear()) == {
                "type": "http.response.body",
                "body": b"",
                "more_body": False,
            }
            await request.task
            late = http(app)
            assert [(await late.hear())["type"] for _ in range(3)][-1] == "http.response.body"
            await late.task
        app.announce_shutdown()  # outside a lifespan: nothing

    async def test_it_ends_when_shutdown_is_announced_though_ever_more_is_sent(
        self, app: Any, hb: Any
    ) -> None:
        """To a client that reads slowly, from a feed that does not stop: as many as were waiting, then the end."""
        async with app.lifespan() as scope:
            slow = http(app, waiting=1)

            async def feed() -> None:
                while True:
                    with scope.attach():
                        hb.ctx.send(Sent(1))
                    await asyncio.sleep(0)

            feeding = asyncio.create_task(feed())
            for _ in range(5):
                await slow.hear()
                await turns(10)
            app.announce_shutdown()
            await turns(10)
            # At most what the client has not read yet, its limit of three events, and the end.
            bodies = []
            for _ in range(6):
                bodies.append(await slow.hear())
                if not bodies[-1]["more_body"]:
                    break
                await turns(10)
            assert bodies[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
            await slow.task
            feeding.cancel()

    async def test_a_send_that_fails_because_the_client_went_is_an_end(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """ASGI 2.4."""
        sent = []

        async def send(message: Any) -> None:
            if sent:
                raise OSError("client went")
            sent.append(message)

        async def never() -> Any:
            return await asyncio.Event().wait()

        async with hb.ctx.scope("test"):
            subscription = hb.ctx.subscribe(Sent)
            await sse.EventStream(subscription)({}, never, send)
            assert subscription.closed

    async def test_it_pings_while_nothing_is_sent(self, hb: Any, asgi: Any, sse: Any) -> None:
        async def handle(scope: Any, receive: Any, send: Any) -> None:
            await sse.EventStream(hb.ctx.subscribe(Sent), ping=0.001)(scope, receive, send)

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan():
            request = http(app)
            bodies = [(await request.hear()).get("body") for _ in range(4)]
            assert bodies[2:] == [b": still here\n\n"] * 2
            request.to_app.put_nowait({"type": "http.disconnect"})
            await request.task

    async def test_states_are_json_by_themselves_and_others_need_an_encode(
        self, hb: Any, sse: Any
    ) -> None:
        class Price(hb.State):
            amount: float

        class Note(hb.State):
            text: str

        assert sse.as_json(Price(amount=2)).encode() == b'data: {"amount":2.0}\n\n'
        # Half of a pair of surrogates: the stream is UTF-8, which has no bytes for it, and JSON an escape.
        note = Note(text="a\ud800\\\u20ac")
        data = sse.as_json(note).encode().decode().removeprefix("data: ")
        assert data == '{"text":"a\\ud800\\\\\\u20ac"}\n\n'
        assert json.loads(data) == {"text": note.text}
        assert sse.ServerSentEvent("a\ud800", id="\udfff").encode() == b"id: ?\ndata: a?\n\n"
        with pytest.raises(TypeError, match="for Sent give it encode="):
            sse.as_json(Sent(1))
        with pytest.raises(ValueError, match="above 0"):
            sse.EventStream(None, ping=0)

    async def test_events_that_json_cannot_tell_apart_are_refused_when_the_response_is_made(
        self, hb: Any, sse: Any
    ) -> None:
        """Guarantee 7.7: not at the first event."""

        class Unclear(hb.State):
            value: str | datetime

        async with hb.ctx.scope("service"):
            with pytest.raises(hb.StateError, match="fine in memory"):
                sse.EventStream(hb.ctx.subscribe(Unclear))
            sse.EventStream(hb.ctx.subscribe(Unclear), lambda event: repr(event))

    async def test_a_message_keeps_its_fields_on_their_lines(self, hb: Any, sse: Any) -> None:
        message = sse.ServerSentEvent("a\r\nb\rc\u2028d", event="price", id="7", retry=100)
        assert message.encode().decode() == (
            "event: price\nid: 7\nretry: 100\ndata: a\ndata: b\ndata: c\u2028d\n\n"
        )
        for field in ("event", "id"):
            with pytest.raises(ValueError, match=f"the {field} of a server-sent event"):
                sse.ServerSentEvent("", **{field: "x\ndata: forged"}).encode()


class Tick:
    """An event without a dict, so that nothing can be kept on it."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number = number


class Service:
    """Streams of Tick: by the path of a request its limit, and what encodes for it."""

    def __init__(self, hb: Any, asgi: Any, sse: Any, **ways: Callable[[Any], Any]) -> None:
        self.hb = hb
        self.ways = ways

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            _, way, limit = scope["path"].split("/")
            subscription = hb.ctx.subscribe(Tick, limit=int(limit))
            await sse.EventStream(subscription, self.ways[way], ping=60)(scope, receive, send)

        self.app = asgi.ScopeMiddleware(app_with(handle))

    async def connect(self, *paths: str, waiting: int = 0) -> list[Talk]:
        talks = [http(self.app, path, waiting) for path in paths]
        for talk in talks:
            await talk.hear()
            await talk.hear()
        return talks

    def send(self, *events: Any) -> None:
        with self.app.scope.attach():
            for event in events:
                self.hb.ctx.send(event)

    async def leave(self, *talks: Talk) -> None:
        for talk in talks:
            talk.to_app.put_nowait({"type": "http.disconnect"})
            await talk.task


async def said(talk: Talk, messages: int) -> list[str]:
    """The data of so many messages, in however many pieces they come."""
    got: list[str] = []
    while len(got) < messages:
        body = (await talk.hear())["body"].decode()
        got += [part.removeprefix("data: ") for part in body.split("\n\n")[:-1]]
    return got


class TestEncodedOnce:
    """Streams that are given one `encode` share what it gives (guarantee 3.2, 4.3)."""

    async def test_an_event_is_encoded_once_for_all_streams(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """Also for one that reads slowly, and so is behind."""
        calls: list[int] = []

        def encode(event: Tick) -> str:
            calls.append(event.number)
            return str(event.number)

        service = Service(hb, asgi, sse, own=encode)
        async with service.app.lifespan():
            talks = await service.connect(*["/own/1000"] * 20)
            (slow,) = await service.connect("/own/1000", waiting=1)
            every = [str(number) for number in range(700)]
            service.send(*[Tick(number) for number in range(500)])
            for talk in talks:
                assert await said(talk, 500) == every[:500]
            service.send(*[Tick(number) for number in range(500, 700)])
            for talk in talks:
                assert await said(talk, 200) == every[500:]
            assert await said(slow, 700) == every
            assert calls == list(range(700))
            await service.leave(slow, *talks)

    async def test_what_a_limit_costs_a_stream_is_not_encoded_for_it(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        calls: list[int] = []
        service = Service(hb, asgi, sse, own=lambda event: calls.append(event.number) or "x")
        async with service.app.lifespan():
            talks = await service.connect(*["/own/10"] * 5)
            service.send(*[Tick(number) for number in range(100)])
            for talk in talks:
                assert await said(talk, 10) == ["x"] * 10
            assert calls == list(range(90, 100))
            await service.leave(*talks)

    async def test_streams_share_what_one_function_gives_and_nothing_else(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """A method is one function, though it is made anew for each use; two lambdas are two."""

        class Encoding:
            def __init__(self) -> None:
                self.calls = 0

            def encode(self, event: Tick) -> str:
                self.calls += 1
                return f"{self.calls}"

        one, other = Encoding(), Encoding()
        service = Service(hb, asgi, sse)
        async with service.app.lifespan():
            talks = []
            for name in "abc":
                for way in (one.encode, other.encode, lambda event, name=name: name):
                    service.ways["now"] = way
                    talks += await service.connect("/now/10")
            service.send(Tick(1))
            heard = [(await said(talk, 1))[0] for talk in talks]
            assert heard == ["1", "1", "a", "1", "1", "b", "1", "1", "c"]
            assert (one.calls, other.calls) == (1, 1)
            await service.leave(*talks)

    async def test_a_function_that_is_written_in_the_handler_is_shared_where_it_takes_nothing_from_it(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        calls: list[str] = []

        class Ways:
            """Makes a function anew for each stream."""

            def __getitem__(self, way: str) -> Callable[[Any], Any]:
                own = [way]
                plain = lambda event: calls.append("plain") or "x"  # noqa: E731
                if way == "plain":
                    return plain
                if way == "marked":
                    plain.name = own  # type: ignore[attr-defined]
                    return plain
                return {
                    "closure": lambda event: calls.append(own[0]) or "x",
                    "default": lambda event, own=own: calls.append(own[0]) or "x",
                    "keyword": lambda event, *, own=own: calls.append(own[0]) or "x",
                }[way]

        service = Service(hb, asgi, sse)
        service.ways = Ways()  # type: ignore[assignment]
        async with service.app.lifespan():
            for way, times in (
                *(("plain", 1), ("marked", 3), ("closure", 3), ("default", 3)),
                ("keyword", 3),
            ):
                talks = await service.connect(*[f"/{way}/10"] * 3)
                service.send(Tick(1))
                for talk in talks:
                    await said(talk, 1)
                assert len(calls) == times, way
                calls.clear()
                await service.leave(*talks)

    async def test_an_event_that_has_changed_and_is_sent_again_is_encoded_again(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        service = Service(hb, asgi, sse, own=lambda event: str(event.number))
        async with service.app.lifespan():
            talks = await service.connect("/own/10", "/own/10")
            (slow,) = await service.connect("/own/10", waiting=1)
            event = Tick(0)
            for number in range(5):
                event.number = number
                service.send(event)
                for talk in talks:
                    assert await said(talk, 1) == [str(number)]
            await service.leave(*talks)
            assert (await said(slow, 5))[-1] == "4"
            await service.leave(slow)

    async def test_it_runs_in_the_scope_of_the_service(self, hb: Any, asgi: Any, sse: Any) -> None:
        """What one client's request holds does not reach the others; nor does what `encode` sets."""

        class Tenant(hb.State):
            name: str

        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")

        def encode(event: Tick) -> str:
            before = variable.get()
            variable.set(f"that of {event.number}")
            return f"{hb.ctx.state(Tenant).name} {before}"

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            variable.set(scope["path"])
            async with hb.ctx.scope("request", Tenant(name=scope["path"])):
                await sse.EventStream(hb.ctx.subscribe(Tick), encode)(scope, receive, send)

        service = Service(hb, asgi, sse)
        service.app = asgi.ScopeMiddleware(app_with(handle), Tenant(name="everybody"))
        async with service.app.lifespan():
            talks = await service.connect("/a", "/b")
            service.send(Tick(1), Tick(2))
            for talk in talks:
                assert await said(talk, 2) == ["everybody none"] * 2
            await service.leave(*talks)

    async def test_what_it_raises_breaks_off_its_streams_after_the_events_before(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """Once a stream; an OSError is no client that has gone; streams of another function go on."""

        def encode(event: Tick) -> str:
            if event.number == 2:
                raise OSError("cannot be encoded")
            return str(event.number)

        service = Service(hb, asgi, sse, broken=encode, fine=lambda event: str(event.number))
        async with service.app.lifespan():
            broken = await service.connect("/broken/10", "/broken/10")
            fine = await service.connect("/fine/10")
            service.send(*[Tick(number) for number in range(4)])
            for talk in broken:
                assert await said(talk, 2) == ["0", "1"]
                with pytest.raises(OSError, match="cannot be encoded"):
                    await talk.task
                assert talk.from_app.empty()
            assert await said(*fine, 4) == ["0", "1", "2", "3"]
            await service.leave(*fine)

    async def test_bytes_are_sent_as_they_are(self, hb: Any, asgi: Any, sse: Any) -> None:
        wire = {0: b"id: 0\ndata: a\n\n", 1: b"", 2: b"data: b\r\n\r\ndata: c\r\r"}
        service = Service(hb, asgi, sse, own=lambda event: wire[event.number])
        async with service.app.lifespan():
            (talk,) = await service.connect("/own/10")
            service.send(*map(Tick, wire))
            assert (await talk.hear())["body"] == b"".join(wire.values())
            service.send(Tick(1))
            await turns(5)
            assert talk.from_app.empty()
            await service.leave(talk)

    async def test_what_is_no_message_is_refused(self, hb: Any, asgi: Any, sse: Any) -> None:
        async def later(event: Tick) -> str:
            return ""

        with pytest.raises(TypeError, match="a plain function for encode, not an async function"):
            async with hb.ctx.scope("test"):
                sse.EventStream(hb.ctx.subscribe(Tick), later)
        for given, error, text in (
            (b'{"a": 1}', ValueError, "must end with a blank line, which b'{\"a\": 1}' does not"),
            (None, TypeError, "a ServerSentEvent, a str or bytes for EventStream, not None"),
            (lambda: later(Tick(0)), TypeError, "not an async function"),
        ):
            service = Service(
                hb, asgi, sse, own=lambda _, given=given: given() if callable(given) else given
            )
            async with service.app.lifespan():
                (talk,) = await service.connect("/own/10")
                service.send(Tick(1))
                with pytest.raises(error) as refused:
                    await talk.task
                assert text in str(refused.value)

    async def test_an_event_is_freed_once_all_streams_took_it(
        self, hb: Any, asgi: Any, sse: Any, no_garbage: None
    ) -> None:
        """Guarantee 3.2."""
        service = Service(hb, asgi, sse, own=lambda event: str(event.number))
        async with service.app.lifespan():
            talks = await service.connect(*["/own/1000"] * 5)
            gone = _sent_and_forgotten(service, 300)
            for talk in talks:
                await said(talk, 300)
            let_go()
            assert [one() for one in gone] == [None] * 300
            await service.leave(*talks)

    async def test_a_stream_that_is_stuck_keeps_no_more_than_its_limit(
        self, hb: Any, asgi: Any, sse: Any, no_garbage: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Guarantee 4.3; nor does one that has left."""
        streams = importlib.import_module("haiway_bus.integrations._web.open_streams")
        monkeypatch.setattr(streams, "LOOK_SECONDS", 0)
        service = Service(hb, asgi, sse, own=lambda event: str(event.number))
        async with service.app.lifespan():
            talks = await service.connect(*["/own/1000"] * 3)
            (stuck,) = await service.connect("/own/3", waiting=1)
            gone = []
            for _ in range(10):
                gone += _sent_and_forgotten(service, 20)
                for talk in talks:
                    await said(talk, 20)
            await turns(5)
            let_go()
            # Waiting for it, or being sent; not the first, which it took at once.
            assert [one() is not None for one in gone] == [False] * 197 + [True] * 3
            gone = _sent_and_forgotten(service, 20)
            stuck.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stuck.task
            await service.leave(*talks)
            let_go()
            assert [one() for one in gone] == [None] * 20

    async def test_what_is_kept_is_bounded(
        self, hb: Any, asgi: Any, sse: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By bytes, for a stream that is far behind; which gets everything all the same."""
        streams = importlib.import_module("haiway_bus.integrations._web.open_streams")
        monkeypatch.setattr(streams, "MOST_BYTES", 10_000)
        encoders: list[Any] = []
        before = streams.Encoder.__init__

        def noted(self: Any, *given: Any) -> None:
            encoders.append(self)
            before(self, *given)

        monkeypatch.setattr(streams.Encoder, "__init__", noted)
        service = Service(hb, asgi, sse, own=lambda event: "x" * event.number)
        async with service.app.lifespan():
            talks = await service.connect("/own/1000")
            (slow,) = await service.connect("/own/1000", waiting=1)
            for _ in range(20):
                service.send(*[Tick(number) for number in range(1, 50)])
                await said(*talks, 49)
                (encoder,) = encoders
                assert encoder.size <= 10_000
                assert encoder.size == sum(len(one.data) + 256 for one in encoder.made.values())
            service.send(Tick(20_000))
            await said(*talks, 1)
            assert len(encoder.made) == 1
            heard = await said(slow, 20 * 49 + 1)
            assert [len(one) for one in heard] == [*range(1, 50)] * 20 + [20_000]
            encoder.look()
            assert (encoder.made, encoder.size) == ({}, 0)
            service.send(Tick(1))
            await said(*talks, 1)
            await service.leave(slow, *talks)
            assert (encoder.made, encoder.size, encoder.timer) == ({}, 0, None)


class TestOneEarForTheShutdown:
    async def test_all_streams_share_a_subscription_and_a_task(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """And the last one to leave ends both; the next begins anew."""
        service = Service(hb, asgi, sse, own=lambda event: str(event.number))
        async with service.app.lifespan() as scope:
            for _ in range(2):
                before = len(asyncio.all_tasks())
                talks = await service.connect(*["/own/10"] * 30)
                with scope.attach():
                    assert hb.ctx.events()[asgi.ShuttingDown].subscriptions == 1
                # The request, what hears of the client's leaving, and one for all.
                assert len(asyncio.all_tasks()) - before <= 2 * 30 + 1
                await service.leave(*talks)
                await turns(3)
                assert len(asyncio.all_tasks()) == before
                with scope.attach():
                    assert hb.ctx.events() == {}

    async def test_they_end_together_and_with_the_scopes_around_theirs(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """A middleware within another's application hears what the outer one announces."""
        inner = Service(hb, asgi, sse, own=lambda event: str(event.number))

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            await inner.app(scope, receive, send)

        outer = asgi.ScopeMiddleware(app_with(handle))
        async with outer.lifespan() as scope:
            with scope.attach():
                life = inner.app.lifespan()
                await life.__aenter__()
            talks = [http(outer, "/own/10") for _ in range(3)]
            for talk in talks:
                await talk.hear()
                await talk.hear()
            outer.announce_shutdown()
            for talk in talks:
                assert (await talk.hear())["more_body"] is False
                await talk.task
            await life.__aexit__(None, None, None)

    async def test_a_stream_that_begins_as_the_service_fails_ends(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """Nobody can listen for it any more then."""
        begun, go = asyncio.Event(), asyncio.Event()

        async def fail() -> None:
            await go.wait()
            raise ValueError("the consumer broke")

        async def linger() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                begun.set()
                await asyncio.sleep(0.05)

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            await begun.wait()
            await sse.EventStream(hb.ctx.subscribe(Sent))(scope, receive, send)

        def start() -> None:
            hb.ctx.spawn(fail)
            hb.ctx.spawn(linger)

        app = asgi.ScopeMiddleware(app_with(handle, start=start))
        life = lifespan_of(app)
        await life.ask("lifespan.startup")
        request = http(app)
        await turns(3)
        go.set()
        assert [(await request.hear())["type"] for _ in range(3)][-1] == "http.response.body"
        await request.task
        with pytest.raises(ExceptionGroup):
            await life.task


class TestPings:
    async def test_a_cancellation_is_no_ping_though_one_is_due(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        patience = importlib.import_module("haiway_bus.integrations._web.patience")
        patiences: list[Any] = []
        before = patience.Patience.look

        def look(self: Any) -> None:
            before(self)
            patiences.append(self)
            if self.broken and len(patiences) > 3:
                self.task.cancel("in the same turn")

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            patience.Patience.look = look
            try:
                await sse.EventStream(hb.ctx.subscribe(Sent), ping=0.001)(scope, receive, send)
            finally:
                patience.Patience.look = before

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan():
            request = http(app)
            with pytest.raises(asyncio.CancelledError):
                await request.task

    async def test_what_was_sent_as_a_ping_became_due_is_not_lost(
        self, hb: Any, asgi: Any, sse: Any
    ) -> None:
        """Guarantee 2.5; and a client that is slow to read is not pinged meanwhile."""

        async def handle(scope: Any, receive: Any, send: Any) -> None:
            stream = sse.EventStream(
                hb.ctx.subscribe(Sent), lambda event: str(event.number), ping=0.0005
            )
            await stream(scope, receive, send)

        app = asgi.ScopeMiddleware(app_with(handle))
        async with app.lifespan() as scope:
            request = http(app, waiting=1)
            await request.hear()
            await request.hear()
            got: list[str] = []
            for number in range(200):
                with scope.attach():
                    hb.ctx.send(Sent(number))
                await asyncio.sleep(0.0005 if number % 2 else 0)
                while not request.from_app.empty():
                    got.append((await request.hear())["body"].decode())
            while "data: 199\n\n" not in "".join(got):
                got.append((await request.hear())["body"].decode())
            text = "".join(got).replace(": still here\n\n", "")
            assert text == "".join(f"data: {number}\n\n" for number in range(200))
            request.to_app.put_nowait({"type": "http.disconnect"})
            while not request.task.done():
                await asyncio.sleep(0)
                while not request.from_app.empty():
                    request.from_app.get_nowait()


def _sent_and_forgotten(service: Service, number: int) -> list[weakref.ref[Any]]:
    events = [Tick(one) for one in range(number)]
    service.send(*events)
    return [weakref.ref(event) for event in events]


async def test_starlette_as_middleware_and_as_wrapper(hb: Any, asgi: Any) -> None:
    """Guarantee 5.9: handlers, background tasks, and its own lifespan."""
    starlette = pytest.importorskip("starlette.applications", reason="needs starlette")
    httpx = pytest.importorskip("httpx", reason="needs httpx")
    from starlette.background import BackgroundTask
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    logging.getLogger("httpx").setLevel(logging.WARNING)
    got: list[int] = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        hb.ctx.on(Sent, lambda event: got.append(event.number))
        yield
        hb.ctx.send(Sent(3))

    async def later() -> None:
        hb.ctx.send(Sent(2))

    async def home(_: Any) -> Any:
        hb.ctx.send(Sent(1))
        return PlainTextResponse("ok", background=BackgroundTask(later))

    routes = [Route("/", home)]
    wrapped = asgi.ScopeMiddleware(starlette.Starlette(routes=routes, lifespan=lifespan))
    inside: list[Any] = []

    class Kept(asgi.ScopeMiddleware):
        def __init__(self, app: Any) -> None:
            super().__init__(app)
            inside.append(self)

    app = starlette.Starlette(routes=routes, lifespan=lifespan, middleware=[Middleware(Kept)])
    for served in (wrapped, app):
        got.clear()
        async with AsyncLifespan(served):
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app=served), base_url="http://test"
            ) as client:
                assert (await client.get("/")).text == "ok"
        assert got == [1, 2, 3]
    assert len(inside) == 1


class AsyncLifespan:
    """Runs the lifespan of any application."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __aenter__(self) -> None:
        self.talk = lifespan_of(self.app)
        assert await self.talk.ask("lifespan.startup") == {"type": "lifespan.startup.complete"}

    async def __aexit__(self, *_: object) -> None:
        assert await self.talk.ask("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
        await self.talk.task
