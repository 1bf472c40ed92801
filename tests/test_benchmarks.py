"""The tools in `benchmarks/` run, refuse what they must, and see what they are there to see."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import haiway_bus

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(str(BENCHMARKS / "compare.py"), "--rounds", "1", "--seconds", "0.001", *arguments)


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_comparison_measures_and_writes_what_it_found(tmp_path: Path) -> None:
    done = compare("--only", "single/*/1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert found["failed"] == {}
    assert found["backends"]["haiway_bus pure"] == "pure"
    assert found["rounds"][0]["single/haiway_bus pure/1"]["min"] > 0
    assert found["rounds"][0]["single/asyncio.Future/1"]["min"] > 0
    assert found["machine"]["versions"]["haiway-bus"] != "not installed"
    assert "| haiway_bus pure |" in (tmp_path / "comparison.md").read_text()


def test_what_state_costs_on_the_wire_is_shown_beside_code_by_hand(tmp_path: Path) -> None:
    done = run(
        str(BENCHMARKS / "compare_json.py"),
        *("--rounds", "1", "--seconds", "0.001", "--only", "order/from_json/*"),
        *("--out", str(tmp_path / "wire")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "wire.json").read_text())
    assert found["failed"] == {}
    assert found["rounds"][0]["order/from_json/by hand"]["min"] > 0
    assert found["rounds"][0]["order/from_json/haiway_bus pure"]["min"] > 0
    assert "| haiway_bus pure : by hand |" in (tmp_path / "wire.md").read_text()


def test_a_contender_that_reads_or_writes_something_else_has_no_time(comparison: None) -> None:
    from wire.cells import check_work
    from wire.contenders import haiway_bus as ours
    from wire.shapes import order

    library, plain = ours("Order"), order()
    text = json.dumps(plain).encode()
    check_work(library, "Order", plain, text)
    paid_late = json.dumps(plain | {"updated_at": "2026-11-28T10:02:00.500001+00:00"}).encode()
    with pytest.raises(AssertionError, match="not those that are read by hand"):
        check_work(library, "Order", plain, paid_late)
    for change in (
        {"from_mapping": lambda plain: library.from_mapping(plain | {"tags": []})},
        {"to_mapping": lambda order: library.to_mapping(order) | {"weight": 4}},
        {"to_json": lambda order: b"{}"},
        {"to_json_bytes": library.to_json},
    ):
        with pytest.raises(AssertionError):
            check_work(library._replace(**change), "Order", plain, text)


def test_a_time_with_msgspec_is_told_from_one_without(
    comparison: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comparison.streams import Skipped
    from wire.contenders import prove_engine

    monkeypatch.delitem(sys.modules, "msgspec", raising=False)
    prove_engine("haiway_bus")
    with pytest.raises(Skipped, match="no time with msgspec"):
        prove_engine("haiway_bus[json] pure")
    monkeypatch.setitem(sys.modules, "msgspec", sys)
    prove_engine("haiway_bus[json]")
    with pytest.raises(AssertionError, match="HAIWAY_BUS_NO_MSGSPEC"):
        prove_engine("haiway_bus pure")


@pytest.mark.skipif(
    haiway_bus.backend != "compiled", reason="the suites hold both backends against each other"
)
def test_every_suite_runs_and_counts_what_it_delivers() -> None:
    done = run(
        *("-m", "pytest", str(BENCHMARKS), "-q", "--benchmark-disable"),
        *("-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout, done.stdout


def test_the_cost_of_a_scope_s_end_is_shown_as_a_ratio() -> None:
    """Guarantee 5.12: the table, of one row that takes no time."""
    command = [str(BENCHMARKS / "scope_end.py"), "--quick", "--only", "100 requests"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "| 100 requests at once, a task left to the end : awaited | 2.0 | " in done.stdout
    assert run(*command[:-1], "brust").returncode == 1


def test_limits_are_measured_against_none_and_the_collector_is_counted() -> None:
    """Guarantee 4.6: the tool counts what each reader got, and would wait for ever for a missing event."""
    done = run(
        str(BENCHMARKS / "limits.py"),
        *("--readers", "5", "--events", "20", "--alive", "10", "--bursts", "1", "--rounds", "1"),
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line[:1] == "|"]
    assert rows[2:] == ["no limits", "limits", "one stuck", "all stuck", "stuck, newest", "queues"]


class TestThePairOfServices:
    """The same service on the bus and by hand, and what counts at its clients."""

    @pytest.mark.parametrize("other", [(), ("--lean",)])
    def test_both_run_and_their_counts_are_exact(
        self, tmp_path: Path, other: tuple[str, ...]
    ) -> None:
        pytest.importorskip("resource", reason="the driver needs POSIX")
        pytest.importorskip("uvicorn", reason="needs the dependency group servers")
        pytest.importorskip("websockets", reason="needs the dependency group servers")
        found = tmp_path / "found.json"
        command = [str(BENCHMARKS / "service" / "run.py"), "--tiny", "--pairs", "1", "--out"]
        done = run(*command, str(found), *other)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "| deliveries a CPU second (more is better) | " in done.stdout
        ((pair,),) = [json.loads(found.read_text())["pairs"]]
        for side in ("bus", "hand"):
            one = pair[side]
            assert one["faults"] == []
            assert one["ticks"] > 0
            # All came to those that stayed, but for what was dropped; and a slow one lost some.
            assert one["received"] + one["dropped"] >= 8 * one["ticks"]
            assert one["dropped"] > 0
            assert one["lost"] == 0
            assert one["cpu"] > 0

    @pytest.fixture
    def client(self, comparison: None) -> Callable[[list[list[int]]], Any]:
        """A client that is told of these ticks, message by message, after a greeting with 0."""
        from service.clients import Account, Socket
        from service.wire import text_of

        async def told(messages: list[list[int]]) -> Any:
            client = Socket(Account(), True)
            client.opened = True
            for text in ["hello 0", *("\n".join(map(text_of, one)) for one in messages)]:
                data = text.encode()
                length = len(data).to_bytes(8, "big")
                frame = b"\x81\x7f" + length + data
                for piece in (frame[:7], frame[7:-3], frame[-3:]):
                    client.data_received(piece)
            assert client.greeted.done()
            return client

        return lambda messages: asyncio.run(told(messages))

    def test_a_client_counts_what_is_missing(self, client: Any) -> None:
        for messages, received, gaps in (
            ([[1, 2, 3], [4]], 4, 0),
            ([[3, 4]], 2, 2),
            ([[1, 2], [5]], 3, 2),
            ([[1, 3]], 2, 1),
        ):
            one = client(messages)
            assert (one.received, one.gaps, one.account.faults) == (received, gaps, [])
            assert (one.account.received, one.account.gaps) == (received, gaps)
            assert sum(weight for _, weight in one.account.latencies) == received

    def test_a_client_refuses_what_is_doubled_or_out_of_order(self, client: Any) -> None:
        for messages in ([[1, 2], [2]], [[1, 2, 2, 3]], [[3], [1]]):
            assert client(messages).account.faults != []

    def test_what_is_missing_and_was_not_dropped_is_a_fault(self, comparison: None) -> None:
        pytest.importorskip("resource", reason="the driver needs POSIX")
        from service.driver import Driver, spread
        from service.shape import TINY

        for gaps, received, faults in ((3, 10, 0), (4, 10, 1), (2, 10, 1), (3, 9, 1)):
            driver = Driver("bus", TINY, "auto")
            driver.account.gaps, driver.account.received = gaps, received
            driver.check({"dropped": 5, "left_dropped": 2, "delivered": 10})
            assert len(driver.account.faults) == faults
        assert spread([(0.001, 98.0), (0.002, 1.0), (0.5, 1.0)]) == {
            "p50": 1.0,
            "p99": 2.0,
            "max": 500.0,
        }

    def test_a_ratio_is_taken_within_a_pair(self, comparison: None) -> None:
        from service.pairs import ROWS, table

        def one(cpu: float) -> dict[str, Any]:
            spread = {"p50": 1.0, "p99": 1.0, "max": 1.0}
            return {
                "received": 1000,
                "cpu": cpu,
                "latencies": spread,
                "answers": spread,
                "pause": 0.001,
                "rss": 1024,
                "ended_in": 1.0,
                "lost": 0,
            }

        found = [{"bus": one(a), "hand": one(b)} for a, b in ((1, 2), (10, 30), (5, 5))]
        lines = table(found).splitlines()
        assert len(lines) == 2 + len(ROWS)
        assert lines[2].endswith("| 200 | 200 | 2.00 | 1.00 to 3.00 |")
        assert lines[-1].endswith("| 0 | 0 |  |  |")


def test_a_pattern_without_cells_is_refused() -> None:
    done = compare("--only", "brust")
    assert done.returncode == 1
    assert "--only 'brust' matches none of the" in done.stderr


def test_a_missing_contender_is_skipped(comparison: None) -> None:
    from comparison.streams import Skipped, need

    with pytest.raises(Skipped, match="no_such_contender is not installed"):
        need("no_such_contender")


def test_a_target_is_missed_by_the_median_of_the_ratios_within_rounds(comparison: None) -> None:
    from comparison.rounds import Results
    from comparison.targets import check

    results = Results()
    for drift, ours in ((1.0, 30.0), (10.0, 31.0), (1.0, 90.0)):
        results.rounds.append(
            {
                "send/empty call/0": {"min": 25.0 * drift},
                "send/haiway_bus/0": {"min": ours * drift},
            }
        )
    finding = check(results)[0]
    assert finding.value == pytest.approx(31.0 / 25.0)
    assert finding.verdict == "hit"
    results.rounds[1]["send/haiway_bus/0"]["min"] *= 2
    assert check(results)[0].verdict == "MISS"
    assert check(results)[1].verdict == "not measured"


def test_a_reader_refuses_what_is_lost_doubled_or_out_of_order(comparison: None) -> None:
    from comparison.events import Event, OutOfOrder, cycle
    from comparison.readers import counts, read_calls, start, stop

    async def read(order: list[int]) -> list[int]:
        events = cycle(Event, 4)
        queue: asyncio.Queue[Event] = asyncio.Queue()
        tasks = await start([read_calls(queue.get)])
        for number in order:
            queue.put_nowait(events[number])
        await asyncio.sleep(0)
        try:
            return counts(tasks)
        finally:
            await stop(tasks)

    assert asyncio.run(read([0, 1, 2, 3, 0])) == [5]
    for wrong in ([0, 2], [0, 0], [1]):
        with pytest.raises(OutOfOrder, match="expected number"):
            asyncio.run(read(wrong))


def test_the_guard_tells_a_path_that_weighs_twice(comparison: None) -> None:
    import guard

    limit = guard.LIMITS[0]
    most = limit.compiled[0]
    assert str(guard.Weighed("compiled", limit, most * 0.9, most)).endswith("ok")
    assert "TOO HEAVY" in str(guard.Weighed("compiled", limit, most * 1.1, most))
    assert "lower the limit" in str(guard.Weighed("compiled", limit, most * 0.4, most))


def test_every_path_of_the_guard_runs(comparison: None) -> None:
    from guarding.paths import PATHS

    for path in PATHS.values():
        asyncio.run(path.work(3))
