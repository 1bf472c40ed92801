"""Guarantee 1.2, 2.11, 5.3 as a drawing: who sends and who reads what, exactly, and at no price when nobody asks."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.shared import let_go

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Asked:
    number: int


@dataclass(frozen=True)
class Answered:
    number: int


@dataclass(frozen=True)
class Logged:
    number: int


@pytest.fixture
def collect(hb: Any) -> Any:
    return importlib.import_module("haiway_bus.tools.picture").collect


MERMAID = """\
flowchart LR
    f0["answer"]
    f1["ask"]
    f2["count"]
    f3["test_the_picture_of_a_small_program_is_exact"]
    e0(["Answered"])
    e1(["Asked"])
    e2(["Logged"])
    f0 -->|3| e0
    f1 -->|3| e1
    f2 -->|3| e2
    e0 --> f2
    e1 --> f0
    e2 --> f3
"""

DOT = """\
digraph events {
    rankdir=LR
    node [shape=box]
    f0 [label="answer"]
    f1 [label="ask"]
    f2 [label="count"]
    f3 [label="test_the_picture_of_a_small_program_is_exact"]
    e0 [label="Answered", style=rounded]
    e1 [label="Asked", style=rounded]
    e2 [label="Logged", style=rounded]
    f0 -> e0 [label=3]
    f1 -> e1 [label=3]
    f2 -> e2 [label=3]
    e0 -> f2
    e1 -> f0
    e2 -> f3
}
"""


async def answer(ctx: Any, asked: Any) -> None:
    async for question in asked:
        help_to_answer(ctx, question)


def help_to_answer(ctx: Any, question: Asked) -> None:
    ctx.send(Answered(question.number))


async def test_the_picture_of_a_small_program_is_exact(hb: Any, collect: Any) -> None:
    """Spawned functions, also when helpers send for them; handlers; and functions that read what they subscribe to."""
    ctx = hb.ctx

    def count(answered: Answered) -> None:
        ctx.send(Logged(answered.number))

    async def ask(number: int) -> None:
        await asyncio.to_thread(ctx.send, Asked(number))

    with collect() as picture:
        async with ctx.scope("demo"):
            logged = ctx.subscribe(Logged)
            ctx.on(Answered, count)
            ctx.spawn(answer, ctx, ctx.subscribe(Asked))
            for number in range(3):
                ctx.spawn(ask(number))
            assert [await anext(logged) for _ in range(3)]
    assert picture.mermaid(counts=True) == MERMAID
    assert picture.dot(counts=True) == DOT
    assert picture.mermaid() == MERMAID.replace("-->|3|", "-->")
    assert picture.dot() == DOT.replace(" [label=3]", "")
    assert picture.sent == {("answer", "Answered"): 3, ("ask", "Asked"): 3, ("count", "Logged"): 3}


async def test_a_subscription_is_read_by_those_it_is_handed_to(hb: Any, collect: Any) -> None:
    """Every worker of a pool is a reader, also through a coroutine's argument. Its maker reads what it keeps."""
    ctx = hb.ctx

    async def left(asked: Any) -> None:
        async for _ in asked:
            pass

    async def right(*, asked: Any) -> None:
        async for _ in asked:
            pass

    with collect() as picture:
        async with ctx.scope("demo"):
            handed, answered = ctx.subscribe(Asked), ctx.subscribe(Answered)
            ctx.spawn(left, handed)
            ctx.spawn(right, asked=handed)
            ctx.spawn(left(answered))
            ctx.spawn(partial(left, ctx.subscribe(Logged)))
            kept = ctx.subscribe(Asked)
    assert kept.closed
    own = "test_a_subscription_is_read_by_those_it_is_handed_to"
    assert picture.read == [
        ("Answered", "left"),
        ("Asked", "left"),
        ("Asked", "right"),
        ("Asked", own),
        ("Logged", "left"),
    ]


async def test_nothing_is_left_of_it_when_the_block_is_over(hb: Any, collect: Any) -> None:
    """The hot path pays nothing: ctx has its own methods again. Pictures can nest and overlap."""
    ctx = hb.ctx
    before = dict(vars(ctx))
    send = ctx.send
    async with ctx.scope("demo"):
        with collect() as outer:
            assert ctx.send is not send
            ctx.send(Asked(1))
            with pytest.raises(RuntimeError), collect() as inner:
                ctx.send(Asked(2))
                raise RuntimeError
            ctx.send(Answered(3))
        ctx.send(Asked(4))
    assert dict(vars(ctx)) == before
    assert ctx.send is send
    assert list(outer.sent.values()) == [1, 2]
    assert list(inner.sent.values()) == [1]


async def test_collecting_changes_neither_errors_nor_lives(
    hb: Any, collect: Any, no_garbage: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Guarantee 1.4, 2.8, 2.11, 5.2: what is refused is refused, and not drawn; a subscription dies as ever."""
    ctx = hb.ctx

    async def fail(event: Any) -> None:
        raise LookupError("gone")

    with collect() as picture:
        with pytest.raises(hb.ContextMissing):
            ctx.send(Asked(1))
        async with ctx.scope("demo"):
            for call in (
                lambda: ctx.send(Asked),
                lambda: ctx.subscribe(5),
                lambda: ctx.on(Asked, None),
                lambda: ctx.spawn(5),
            ):
                with pytest.raises(TypeError):
                    call()
            assert picture.mermaid() == "flowchart LR\n"
            ctx.subscribe(Asked, limit=2)
            let_go()
            assert ctx.events() == {}
            failing = ctx.on(Asked, fail, errors="log")
            ctx.send(Asked(1))
            await ctx.flush(Asked)
            failing.close()
    assert "fail failed to handle an event of Asked" in caplog.text


def test_names_are_as_short_as_they_can_be_and_do_no_harm(hb: Any, collect: Any) -> None:
    """Two things with the same name are shown with their modules. Names are no markup."""
    drawing = importlib.import_module("haiway_bus.tools._picture.drawing")
    name, picture = drawing.Name, drawing.Picture()
    for sender in (
        name("m", "A.run"),
        name("m", "B.run"),
        name("m", "f.<locals>.one"),
        name("m", "f.<locals>.<lambda>"),
        name("m", "same"),
        name("n", "same"),
    ):
        picture._add_sent(sender, name("m", 'E"<b>&'))
    assert [sender for sender, _ in picture.sent] == [
        "<lambda>",
        "A.run",
        "B.run",
        "one",
        "m.same",
        "n.same",
    ]
    assert 'e0(["E#quot;#lt;b#gt;#amp;"])' in picture.mermaid()
    assert 'e0 [label="E\\"<b>&amp;", style=rounded]' in picture.dot()


def test_a_name_stays_in_its_line_and_in_its_quotes(hb: Any, collect: Any) -> None:
    """A class can be made from data. Its name is no line break, directive, entity or Markdown in Mermaid."""
    drawing = importlib.import_module("haiway_bus.tools._picture.drawing")
    name, picture = drawing.Name, drawing.Picture()
    for number, event in enumerate(
        (
            'A\nB"]\n    click f0 "javascript:1"',
            "C\r\u2028\x1b\\",
            "%%{init: {}}%%",
            "#quot;",
            "`md`",
            "Box[ü]",
        )
    ):
        picture._add_sent(name("m", f"f{number}"), name("m", event))
    mermaid, dot = picture.mermaid().splitlines(), picture.dot().splitlines()
    assert len(mermaid) == 1 + 6 + 6 + 6
    assert len(dot) == 3 + 6 + 6 + 6 + 1
    assert [line.strip() for line in mermaid[7:13]] == [
        'e0(["#35;quot#59;"])',
        'e1(["#37;#37;#123;init#58; #123;#125;#125;#37;#37;"])',
        'e2(["A#92;nB#quot;]#92;n    click f0 #quot;javascript#58;1#quot;"])',
        'e3(["Box[ü]"])',
        'e4(["C#92;r#92;u2028#92;x1b#92;"])',
        'e5(["#96;md#96;"])',
    ]
    assert [line.strip() for line in dot[9:15]] == [
        'e0 [label="#quot;", style=rounded]',
        'e1 [label="%%{init: {}}%%", style=rounded]',
        'e2 [label="A\\\\nB\\"]\\\\n    click f0 \\"javascript:1\\"", style=rounded]',
        'e3 [label="Box[ü]", style=rounded]',
        'e4 [label="C\\\\r\\\\u2028\\\\x1b\\\\", style=rounded]',
        'e5 [label="`md`", style=rounded]',
    ]


@pytest.mark.parametrize("backend", ["compiled", "pure"])
@pytest.mark.parametrize("suffix", ["mmd", "dot"])
def test_the_main_job_draws_itself(tmp_path: Path, backend: str, suffix: str) -> None:
    """`python -m haiway_bus --picture FILE`. If FILE cannot be written, the exit code is 2."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "one.py").write_text("class A: pass\ndef f(): pass\n")
    command = [sys.executable, "-P", "-m", "haiway_bus", "--root", str(tmp_path / "tree")]
    env = {"HAIWAY_BUS_PURE": "1" if backend == "pure" else "0"}
    file = tmp_path / f"job.{suffix}"
    subprocess.run([*command, "--picture", str(file)], env=env, capture_output=True, check=True)
    drawn = file.read_text()
    assert drawn.startswith("flowchart LR" if suffix == "mmd" else "digraph events {")
    for name in (
        "walk",
        "examine_files",
        "FileFound",
        "ClassFound",
        "catalogue_classes",
        "look_up",
    ):
        assert name in drawn
    assert "_examine" not in drawn
    done = subprocess.run(
        [*command, "--picture", str(tmp_path)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "error: --picture must be a file that can be written" in done.stderr
