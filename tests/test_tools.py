"""Guarantee 2.15: debuggers, tracers, profilers, coverage and sys.monitoring change nothing but the speed.

What each of them is shown of a reader is compared with what it is shown of the same reader over an async generator. The
programs are in tests/tools, and run in processes of their own: what goes wrong there ends the process.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "tools"
CPYTHON = sys.implementation.name == "cpython"
MONITORING = sys.version_info >= (3, 12) and CPYTHON


@functools.cache
def run(backend: str, *command: str, said: str = "") -> str:
    """Run a program on this backend; what it printed. Neither crash nor complaint is accepted."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-X", "faulthandler", *command],
        cwd=PROGRAMS,
        env={
            **os.environ,
            "HAIWAY_BUS_PURE": "1" if backend == "pure" else "",
            "HOME": str(PROGRAMS),  # where nobody has a .pdbrc
            "PYTHONASYNCIODEBUG": "",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(PROGRAMS),
        },
        input=said,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    last = done.stdout.splitlines()[-1:]
    assert (done.returncode, done.stderr) == (0, ""), f"after {last}:\n{done.stderr}"
    return done.stdout


def told(backend: str, *command: str) -> dict[str, Any]:
    return dict(map(json.loads, run(backend, *command).splitlines()))


@functools.cache
def ends(backend: str, *command: str) -> dict[str, tuple[int, str]]:
    """How the processes ended that one program forks, by the names of their work, and what they printed."""
    lines = map(json.loads, run(backend, *command).splitlines())
    return {name: (status, said) for name, status, said in lines}


def seen(backend: str, source: str, threads: str, tool: str) -> dict[str, Any]:
    """What a tool was shown of the readers, while as many threads ran them."""
    status, said = ends(backend, "watching.py", source, threads, *TOOLS[threads])[tool]
    assert status == 0, said
    return json.loads(said)


# Readers in tests/tools/readers.py.
READERS = ["ready", "one", "batch", "first", "relayed", "parked", "handler", "ended", "leaving"]

BUILT_IN = "pure"  # what is built in has no part in either backend
STOP = re.compile(r"(?:\(Pdb\) )*> (.*)\((\d+)\)(\S+)\(\)")


def stops_of(text: str) -> tuple[list[tuple[str, ...]], Counter[str]]:
    """Where pdb stopped in the readers and what it said; and for which exceptions it stopped at a step from there.

    Who steps on where a reader has returned to the bus sees the bus's own code at work, and what is raised in it.
    """
    stops: list[tuple[str, ...]] = []
    exceptions: Counter[str] = Counter()
    said: list[str] = []
    inside = True
    for line in text.splitlines():
        if found := STOP.match(line):
            came_from, inside = inside, Path(found[1]).name == "readers.py"
            if came_from or inside:
                exceptions.update(
                    one.partition(":")[0] for one in said if re.match(r"[\w. ]+(:|$)", one)
                )
            # Where a coroutine waits pdb shows the future, and that it is left and entered.
            waits = "--Return--" in said or "--Call--" in said
            if inside and found[3] != "run" and not waits:
                stops.append((found[3], found[2], *said))
            said.clear()
        elif not line.startswith("->"):
            said.append(line.replace("(Pdb) ", ""))
    return stops, exceptions


@pytest.mark.parametrize("reader", READERS)
def test_pdb_stops_where_it_does_over_an_async_generator(hb: Any, reader: str) -> None:
    ours = told(hb.backend, "stepping.py", "bus", reader)
    theirs = told(BUILT_IN, "stepping.py", "built-in", reader)
    assert list(ours) == list(theirs)
    for script in theirs:
        (stops, exceptions), (expected, allowed) = stops_of(ours[script]), stops_of(theirs[script])
        assert stops == expected, script
        assert len(stops) >= (2 if script in ("next", "step", "until", "display") else 1)
        assert exceptions <= allowed, script


def line_of(text: str, start: str) -> int:
    """The first line, from the one with `start` on, in which `text` stands."""
    lines = (PROGRAMS / "readers.py").read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if start in line)
    return next(number for number, line in enumerate(lines, 1) if number > begin and text in line)


@pytest.mark.parametrize("reader", ["ready", "parked", "ended"])
@pytest.mark.parametrize("command", ["n", "s", "until"])
def test_breakpoint(hb: Any, reader: str, command: str) -> None:
    printed = run(hb.backend, "plain.py", reader, said=f"{command}\n" * 60 + "c\n")
    assert printed.endswith("took all\n")


def test_pdb_started_with_a_program(hb: Any) -> None:
    body = line_of("# body", "def parked")
    commands = f"b readers.py:{body}, event.number == 3\nc\nc\np event\nn\nn\nn\nn\np event\nc\nq\n"
    printed = run(hb.backend, "-m", "pdb", "plain.py", "parked", said=commands)
    assert re.findall(r"<event \d>", printed) == ["<event 3>", "<event 3>"]
    assert "took all\n" in printed


WATCHING = ["settrace", "settrace that changes", "setprofile and settrace"]
if MONITORING:
    WATCHING += ["monitoring", "monitoring what is rare", "monitoring that disables"]
    WATCHING += ["monitoring that works"]


def check(tool: str, shown: dict[str, Any]) -> None:
    assert shown["wrong"] == [], tool
    assert not [name for name in shown["types"] if name.startswith("haiway_bus")], tool


@pytest.mark.parametrize("tool", WATCHING)
def test_a_tool_is_shown_no_more_than_of_an_async_generator(hb: Any, tool: str) -> None:
    ours = seen(hb.backend, "bus", "1", tool)
    theirs = seen(BUILT_IN, "built-in", "1", tool)
    check(tool, ours)
    assert theirs["at readers"]
    more = [one for one in ours["at readers"] if one not in theirs["at readers"]]
    if hb.backend == "pure" and sys.version_info >= (3, 15):
        # The reads are coroutines there, and 3.15 shows the plain StopIteration with which the await of one ends.
        more = [one for one in more if one[1] != "StopIteration"]
    assert more == []


@pytest.mark.skipif(not MONITORING, reason="sys.monitoring came with 3.12")
def test_each_event_of_monitoring_by_itself(hb: Any) -> None:
    names = [name for name in dir(sys.monitoring.events) if name.isupper() and name != "NO_EVENTS"]
    tools = [f"monitoring {name}" for name in names]
    for tool, (status, said) in ends(hb.backend, "watching.py", "bus", "1", *tools).items():
        assert status == 0, said
        check(tool, json.loads(said))


HARMLESS = ["settrace that keeps nothing", "setprofile", "profile", "cProfile", "faulthandler"]
HARMLESS += ["tracemalloc"] if CPYTHON else []
HARMLESS += ["collector", "collector that saves"]


@pytest.mark.parametrize("tool", HARMLESS)
def test_readers_take_their_events_under(hb: Any, tool: str) -> None:
    check(tool, seen(hb.backend, "bus", "1", tool))


COVERAGE = ["coverage ctrace"] if CPYTHON else []
COVERAGE += ["coverage pytrace", *(["coverage sysmon"] if MONITORING else [])]


@pytest.mark.parametrize("tool", COVERAGE)
def test_coverage_measures_what_it_does_over_an_async_generator(hb: Any, tool: str) -> None:
    pytest.importorskip("coverage")
    ours = seen(hb.backend, "bus", "1", tool)
    theirs = seen(BUILT_IN, "built-in", "1", tool)
    check(tool, ours)
    assert ours["measured"] == theirs["measured"]
    assert line_of("# body", "def ready") in ours["measured"]["lines"]


IN_THREADS = [
    *(tool for tool in WATCHING if tool != "monitoring"),
    "cProfile",
    "profile",
    "faulthandler",
    "collector",
]
IN_THREADS += ["tracemalloc"] if CPYTHON else []
IN_THREADS += COVERAGE
TOOLS = {"1": [*WATCHING, *HARMLESS, *COVERAGE], "2": IN_THREADS}


@pytest.mark.parametrize("tool", IN_THREADS)
def test_loops_in_two_threads_under(hb: Any, tool: str) -> None:
    if tool.startswith("coverage"):
        pytest.importorskip("coverage")
    check(tool, seen(hb.backend, "bus", "2", tool))


def cases() -> list[tuple[str, str]]:
    return [
        (program, node.name)
        for program in ("by_hand.py", "written.py", "leftovers.py")
        for node in ast.parse((PROGRAMS / program).read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list
    ]


@pytest.mark.skipif(not CPYTHON, reason="counts references")
@pytest.mark.parametrize(("program", "case"), cases(), ids=[case for _, case in cases()])
def test_nothing_stays_of_a_read(hb: Any, program: str, case: str) -> None:
    named = [name for of, name in cases() if of == program]
    assert ends(hb.backend, program, *named)[case] == (0, "")
