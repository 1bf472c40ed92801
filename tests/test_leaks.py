"""Guarantee 3: nothing is left behind. Each script of tests/leaks runs alone, in an interpreter of its own."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import weakref
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.shared import alone, let_go

SCRIPTS = Path(__file__).with_name("leaks")
SMALL_STACK = 128 * 1024


class Sent:
    __slots__ = ("__weakref__",)


def on_a_small_stack(work: Coroutine[Any, Any, None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failures.append(error)

    before = threading.stack_size(SMALL_STACK)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert failures == []


class TestBacklog:
    @pytest.mark.parametrize("options", [(), ("--limited",)], ids=["shared", "limited"])
    def test_ten_million_events_are_freed_in_linear_time_on_a_small_stack(
        self, hb: Any, options: tuple[str, ...]
    ) -> None:
        """Guarantee 3.3: ten times the events take about ten times as long, and no more of the C stack."""
        events = 10_000_000 if FULL and not options else 1_000_000
        told = alone(
            hb,
            str(SCRIPTS / "backlog.py"),
            "--events",
            str(events),
            "--stack",
            str(SMALL_STACK),
            *options,
        )
        seconds = json.loads(told)
        assert seconds["all"] < 10 * 4 * max(seconds["tenth"], 0.001)

    def test_a_batch_of_any_length_frees_its_nodes_one_by_one(self, hb: Any) -> None:
        """Guarantee 3.3: a node held while the rest is taken leaves a chain that frees itself recursively."""

        async def main() -> None:
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.subscribe(Sent)
                for _ in range(200_000):
                    hb.ctx.send(Sent())
                await anext(subscription)
                batches = subscription.batches(10**9)
                assert len(await anext(batches)) == 199_999

        on_a_small_stack(main())

    def test_a_reader_that_waits_holds_no_node_of_what_is_sent_meanwhile(
        self, hb: Any, no_garbage: None
    ) -> None:
        """Guarantee 2.8, 3.2: its subscription is closed before it runs again, and the backlog goes at once."""

        async def main() -> None:
            async with hb.ctx.scope("test"):
                subscription = hb.ctx.subscribe(Sent)
                hb.ctx.send(Sent())
                await anext(subscription)
                reading = asyncio.create_task(_first_or_none(subscription))
                await asyncio.sleep(0)
                for _ in range(200_000):
                    hb.ctx.send(Sent())
                last = Sent()
                gone = weakref.ref(last)
                hb.ctx.send(last)
                del last
                subscription.close()
                let_go()
                assert gone() is None
                assert await reading is None

        on_a_small_stack(main())


async def _first_or_none(subscription: Any) -> Any:
    return await anext(subscription, None)


class TestScripts:
    def test_cycles_are_collected(self, hb: Any) -> None:
        """Guarantee 3.4."""
        alone(hb, str(SCRIPTS / "cycles.py"))

    def test_finalizers_of_garbage_find_its_bus_whole(self, hb: Any) -> None:
        """Guarantee 3.4."""
        alone(hb, str(SCRIPTS / "finalizers.py"))

    def test_memory_stays_flat_in_a_short_soak(self, hb: Any) -> None:
        """Guarantee 3: `nox -s debug` soaks for twenty seconds, and the script for as long as it is told."""
        if "libasan" in os.environ.get("LD_PRELOAD", ""):
            pytest.skip("AddressSanitizer keeps what is freed for a while")
        alone(hb, str(SCRIPTS / "soak.py"), "--rounds", "300", "--size", "100")


class TestCounters:
    def test_a_debug_build_counts_what_is_alive(self) -> None:
        """What the fixture that looks for left-overs relies on."""
        import haiway_bus

        if haiway_bus.backend != "compiled":
            pytest.skip("the counters are in the compiled twin")
        from haiway_bus._bus import _chain_c, _core_c

        if _core_c._live() is None:
            pytest.skip("this is no debug build (HAIWAY_BUS_DEBUG=1)")

        async def main() -> None:
            before = _numbers(_chain_c, _core_c)
            bus = haiway_bus._bus.Bus("counted")
            held: Any = [bus.subscribe(Sent), bus.subscribe(Sent, 1, "raise")]
            for _ in range(3):
                bus.send(Sent())
            held += [aiter(held[0].batches()), anext(held[0])]
            after = _numbers(_chain_c, _core_c)
            # Nodes: three events and the empty tail, which all share; what the full one keeps of them has none.
            expected = {
                "Batches": 1,
                "Bound": 1,
                "Bus": 1,
                "Channel": 1,
                "Node": 4,
                "Receive": 1,
            }
            assert {name: after[name] - before[name] for name in expected} == expected
            assert after["Subscription"] - before["Subscription"] == 2
            held.pop().close()
            held.clear()
            del bus
            await asyncio.sleep(0)  # the loop has the drops to tell
            gc.collect()
            assert _numbers(_chain_c, _core_c) == before

        asyncio.run(main())


def _numbers(*modules: Any) -> dict[str, int]:
    return {kind.__name__: number for one in modules for kind, number in one._live().items()}


FULL = os.environ.get("HAIWAY_BUS_FULL") == "1"
