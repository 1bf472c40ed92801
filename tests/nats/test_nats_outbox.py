"""The sending side: a refused event stops no other event, and every lost or unpublished event is reported."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

nats = pytest.importorskip("nats", reason="needs nats-py")

from haiway_bus import State, StateError, ctx
from haiway_bus.integrations._nats import bridge_stats as stats_module
from haiway_bus.integrations.nats import NatsBridge, NatsBridgeError, NatsEventRefused
from tests.shared import run, until


class Note(State):
    text: str


class Tree(State):
    child: Tree | None = None


def deep(levels: int) -> Tree:
    tree = Tree()
    for _ in range(levels):
        tree = Tree(child=tree)
    return tree


# A web request can contain it: json.loads turns it into half a surrogate pair.
HALF = json.loads('{"text": "\\ud800"}')["text"]


@pytest.mark.parametrize("event", [Note(text=HALF), deep(20_000)], ids=["surrogate", "deep"])
def test_an_event_that_json_cannot_carry_is_refused_and_the_others_go_on(
    server: Any, event: State
) -> None:
    kind = type(event)
    good = Note(text="good") if kind is Note else Tree()

    async def main() -> None:
        bridge = NatsBridge(server.url, publish=[kind])
        refused: list[NatsEventRefused] = []
        async with ctx.scope("web", disposables=[bridge], isolated=True):
            ctx.on(NatsEventRefused, refused.append)
            for one in (good, event, good):
                ctx.send(one)
            await ctx.flush(kind, timeout=10)
            stats = bridge.stats()
            assert (stats.published, stats.refused) == (2, 1)
            with pytest.raises(StateError, match="surrogate|nested too deep"):
                bridge.check(event)
        assert len(refused) == 1
        assert refused[0].event is event
        assert isinstance(refused[0].error, StateError)

    run(main())


def test_a_traceparent_that_raises_refuses_that_event_and_not_the_scope(server: Any) -> None:
    async def main() -> None:
        answers = iter(["", None, ""])

        def traceparent() -> str:
            answer = next(answers)
            if answer is None:
                raise LookupError("no span")
            return answer

        bridge = NatsBridge(server.url, publish=[Note], traceparent=traceparent)
        async with ctx.scope("web", disposables=[bridge], isolated=True):
            for _ in range(3):
                ctx.send(Note(text="x"))
            await ctx.flush(Note, timeout=10)
            assert (bridge.stats().published, bridge.stats().refused) == (2, 1)

    run(main())


def test_leaving_waits_for_no_outbox_whose_task_has_failed(server: Any) -> None:
    async def main() -> None:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="haiway", subjects=["other.>"])
        await client.close()
        bridge = NatsBridge(server.url, publish=[Note], require_server=False, drain_timeout=10)
        began = time.monotonic()
        with pytest.raises(ExceptionGroup) as caught:
            async with ctx.scope("web", disposables=[bridge], isolated=True):
                ctx.send(Note(text="x"))
                await asyncio.sleep(20)
        assert caught.group_contains(NatsBridgeError, match="has the subjects")
        assert time.monotonic() - began < 5
        assert bridge.report is not None
        assert bridge.report.unpublished == {"Note": (Note(text="x"),)}

    run(main())


def test_what_overflows_while_the_server_is_away_is_counted_logged_and_reported(
    servers: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_module, "OBSERVE_SECONDS", 0.2)
    absent = servers(start=False)

    async def main() -> None:
        bridge = NatsBridge(
            absent.url,
            publish=[Note],
            require_server=False,
            outbox=100,
            in_flight=10,
            drain_timeout=0.3,
        )
        async with ctx.scope("shop", disposables=[bridge], isolated=True):
            for _ in range(50):
                ctx.send(Note(text="x"))
            await until(lambda: bridge._outboxes[0].on_the_way)
            for _ in range(1000):
                ctx.send(Note(text="x"))
            waiting, limit = bridge.stats().outbox["Note"]
            assert bridge.stats().lost == 1050 - waiting
            assert waiting <= limit + 10
            await until(lambda: f"{1050 - waiting} events of Note were lost" in caplog.text)
        report = bridge.report
        assert report is not None
        assert not report.complete
        assert report.lost == {"Note": 1050 - waiting}
        assert len(report.unpublished["Note"]) == waiting
        assert bridge.stats().lost == 1050 - waiting
        assert f"the outbox was full: {1050 - waiting} Note" in str(report)
        # Logged once, although the observer, the reader and the end all look for it.
        assert caplog.text.count("were lost") == 1

    run(main())


def test_the_report_of_a_bridge_that_lost_or_refused_something_is_not_complete(server: Any) -> None:
    async def main() -> None:
        bridge = NatsBridge(server.url, publish=[Note], outbox=10)
        async with ctx.scope("shop", disposables=[bridge], isolated=True):
            ctx.send(Note(text=HALF))
            for _ in range(19):
                ctx.send(Note(text="x"))
        report = bridge.report
        assert report is not None
        assert not report.complete
        assert (report.lost, report.refused) == ({"Note": 10}, {"Note": 1})
        assert (report.unpublished, report.returned) == ({}, {})
        assert "nothing is left" not in str(report)
        good = NatsBridge(server.url, publish=[Note])
        async with ctx.scope("shop", disposables=[good], isolated=True):
            ctx.send(Note(text="x"))
        assert good.report is not None
        assert good.report.complete
        assert "nothing is left" in str(good.report)

    run(main())


@pytest.mark.parametrize("subscribe", [[], [Tree]], ids=["publishing", "pulling"])
def test_the_end_keeps_to_its_time_when_the_server_answers_no_more(
    server: Any, subscribe: list[type[State]]
) -> None:
    async def main() -> None:
        bridge = NatsBridge(
            server.url,
            publish=[Note],
            subscribe=subscribe,
            durable="g",
            heartbeat=0.5,
            drain_timeout=0.5,
        )
        async with ctx.scope("shop", disposables=[bridge], isolated=True):
            ctx.on(Tree, print)
            await asyncio.sleep(0.5)
            server.pause()
            for _ in range(100):
                ctx.send(Note(text="x"))
            await asyncio.sleep(0.2)
            began = time.monotonic()
        took = time.monotonic() - began
        server.resume()
        assert took < (0.5 + 3 if subscribe else 0.5) + 0.7
        assert bridge.report is not None
        assert len(bridge.report.unpublished["Note"]) == 100

    run(main())
