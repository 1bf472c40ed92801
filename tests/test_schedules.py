"""Guarantee 2, 4 and 5 in every order: each model in `tests/schedules`, on both backends, in as many schedules as the
budget allows. `python -P -m pytest tests/schedules tests/test_schedules.py --schedules=100000` is what CI runs; the
environment variable HAIWAY_BUS_SCHEDULES sets the number for any run.
"""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.schedules import toys
from tests.schedules.budget import Budget
from tests.schedules.choosers import Chooser, parse, written
from tests.schedules.explore import Failed, explore, run_schedule
from tests.schedules.models import MODELS
from tests.shared import COUNTS_REFERENCES, let_go

REPLAY = Path(__file__).parent / "schedules" / "replay.py"
ADDRESS = re.compile(r"0x[0-9a-f]+")


@pytest.fixture(scope="session")
def budget(request: pytest.FixtureRequest) -> Budget:
    tests = [
        item for item in request.session.items if item.name.startswith("test_every_schedule_of")
    ]
    dealt = Budget(request.config, len(tests))
    request.config.pluginmanager.register(dealt, "schedules-budget")
    return dealt


@pytest.mark.parametrize("name", MODELS)
def test_every_schedule_of_a_model_keeps_the_promises(
    hb: Any, name: str, budget: Budget, record_property: Any
) -> None:
    """Guarantee 2.1 to 2.12, 4.1 to 4.4, 5.3 to 5.8: the model says which."""
    share = budget.share()
    if name == "flushes_what_is_forgotten" and not COUNTS_REFERENCES:
        pytest.skip("what is forgotten ends when the collector finds it, which no schedule runs")
    model = MODELS[name]
    failure = None
    try:
        explored = explore(model, hb, share, budget.seed)
    except Failed as failed:
        failure = failed
    if failure is not None:
        choices = written(failure.choices)
        pytest.fail(
            f"{failure.problem}\n\nrun it again: python -P tests/schedules/replay.py"
            f" {name} {hb.backend} {choices}\n(seed {budget.seed})",
            pytrace=False,
        )
    budget.spend(hb.backend, explored)
    record_property("schedules", explored.schedules)
    record_property("preemptions", explored.bound)
    assert explored.schedules


@pytest.mark.skipif(not __debug__, reason="what the models find they say by `assert`")
class TestTheExplorer:
    """That it finds what is wrong, and nothing where nothing is."""

    @pytest.mark.parametrize("name", [name for name in MODELS if name in toys.MODELS])
    def test_a_right_bus_passes(self, name: str) -> None:
        """No check asks more than the guarantees do: a bus in fifty plain lines holds them all."""
        explored = explore(MODELS[name], toys.package(toys.Toy), 300)
        assert explored.complete or explored.schedules == 300

    @pytest.mark.parametrize(
        ("broken", "name", "says"),
        [
            (toys.SharedFuture, "cancelled_among_many", "cancelled_among_many"),
            (toys.HandedOver, "cancelled_among_many", "received 1, dropped 0, pending 0, sent 2"),
            (toys.HandedOver, "timed_out_alone", "received 0, dropped 0, pending 0, sent 1"),
            (toys.LostWakeup, "closed_and_cancelled", "hangs"),
            (toys.LostWakeup, "gathered", "hangs"),
            (toys.Overtaking, "closed_by_another", "overtook"),
            (toys.Doubled, "cancelled_time_out", "overtook"),
        ],
    )
    def test_a_broken_bus_is_found_out_though_asyncio_s_own_order_passes(
        self, broken: type[toys.Toy], name: str, says: str
    ) -> None:
        """Each mistake shows in few schedules, and the choices it gives show it again."""
        hb = toys.package(broken)
        assert run_schedule(MODELS[name], hb, Chooser({}), []) is None
        with pytest.raises(Failed, match=says) as found:
            explore(MODELS[name], hb, 400)
        again = parse(written(found.value.choices))
        assert again == found.value.choices
        problem = run_schedule(MODELS[name], hb, Chooser(again), [])
        assert problem is not None
        assert ADDRESS.sub("", problem) == ADDRESS.sub("", found.value.problem)

    @pytest.mark.parametrize("broken", toys.BROKEN)
    def test_every_broken_bus_is_found_out_by_several_models(self, broken: type[toys.Toy]) -> None:
        """A mistake need not meet the one model that was written for it."""
        found = 0
        for name in toys.MODELS:
            try:
                explore(MODELS[name], toys.package(broken), 100)
            except Failed:
                found += 1
        assert found >= 3

    def test_every_schedule_is_run_once(self) -> None:
        """The exhaustive part: no schedule twice, and as many as there are orders of four tasks."""
        orders = []

        async def four(world: Any) -> None:
            order: list[int] = []

            async def step(number: int) -> None:
                order.append(number)
                if len(order) == 4:
                    orders.append(tuple(order))

            for number in range(4):
                world.loop.create_task(step(number))

        explored = explore(four, toys.package(toys.Toy), 1000)
        assert explored.complete
        assert explored.schedules == len(orders) == 24
        assert len(set(orders)) == 24

    def test_a_random_part_comes_out_the_same_from_the_same_seed(self) -> None:
        """What CI found can be looked for elsewhere."""
        broken = toys.package(toys.LostWakeup)
        problems = []
        for _ in range(2):
            with pytest.raises(Failed) as found:
                explore(MODELS["cancelled_among_many"], broken, 2000, seed=3)
            problems.append(found.value.choices)
        assert problems[0] == problems[1]

    @pytest.mark.parametrize(
        ("mistake", "says"),
        [
            ("forget", "never awaited"),
            ("fail", "nobody asked: LookupError: unheard"),
            ("callback", "exception handler was called"),
            ("sleep", "left behind"),
            ("spin", "still busy"),
        ],
    )
    def test_what_a_schedule_leaves_behind_is_a_failure(self, mistake: str, says: str) -> None:
        """Warnings, failures nobody asked for, calls of the exception handler, tasks that never end."""
        if mistake == "forget" and not COUNTS_REFERENCES:
            pytest.skip("the warning comes when the collector finds what was forgotten")

        async def never() -> None: ...

        async def fail() -> None:
            raise LookupError("unheard")

        async def model(world: Any) -> None:
            loop = world.loop
            if mistake == "forget":
                never()
            elif mistake == "fail":
                loop.create_task(fail())
            elif mistake == "callback":
                loop.call_soon(lambda: 1 / 0)
            elif mistake == "sleep":
                loop.create_task(wait(loop.create_future()))
            else:
                loop.create_task(spin(loop))

        async def wait(future: Any) -> None:
            await future

        async def spin(loop: Any) -> None:
            loop.call_soon(loop.create_task, spin(loop))

        with pytest.raises(Failed, match=says):
            explore(model, toys.package(toys.Toy), 10)
        # Without reference counts, what it left is found now, and not in a test that has nothing to do with it.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            let_go()

    def test_a_schedule_is_replayed_by_one_command(self) -> None:
        """The command that a failing schedule prints; this one holds."""
        command = [sys.executable, "-P", str(REPLAY), "cancelled_worker", "pure", "0:1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "choice 0: 2 of " in done.stdout
        assert done.stdout.endswith("holds\n")
