"""Every code block of the documentation is run, on both backends, and prints what the page says it prints.

The rules for a page (README.md and docs/**/*.md):

- The `python` blocks of a page are run in order in one namespace, in a fresh interpreter where warnings are errors.
- A `text` block right after a block is what that block prints; in it `…` stands for any text within a line. A block
  without one prints nothing. Nothing at all goes to stderr.
- `sh` blocks are run by bash, with the interpreter of the tests as `python`; what they print is compared where the
  page shows it.
- A block under `<!-- run with: module -->` shows another library: it is run by itself, where that is installed.
- A block that is not run says why, in a comment above it: `<!-- not run: reason -->`; those of the README, where no
  comments stand, are listed here.
- Other fences are data (toml, json, html); an unknown one fails, lest a block go unrun for a typing error.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import haiway_bus
from tests.shared import TREE

PAGES = [
    path for path in (TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))) if path.is_file()
]
BACKENDS = ("compiled", "pure") if haiway_bus.backend == "compiled" else ("pure",)
DATA = {"text", "toml", "json", "html", "yaml"}

# The README's shell blocks, by a word in them.
README_NOT_RUN = {
    "pip install": "makes an environment and builds the package: `.ci/run` and the wheel jobs do the same",
    ".venv/bin/python": "needs the environment that the block above it makes",
}

FENCE = re.compile(r"^( *)```(.*)$")
NOT_RUN = re.compile(r"<!-- not run: .+ -->")
RUN_WITH = re.compile(r"<!-- run with: (\w+) -->")


@dataclass
class Block:
    """A fenced block: where its first line stands, and what it prints, when the page says so."""

    language: str
    line: int
    code: str
    not_run: bool = False
    run_with: str | None = None
    output: str | None = None


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a page that say something runs, each with the output that follows it."""
    found: list[Block] = []
    opened: Block | None = None
    indent, body = "", []
    above = ""  # the last line that is not blank
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None and fence is None:
            above = line.strip() or above
        elif opened is None and fence is not None:
            indent, info = fence.groups()
            opened = Block(info.split()[0] if info.strip() else "", number + 1, "")
            opened.not_run = NOT_RUN.fullmatch(above) is not None
            library = RUN_WITH.fullmatch(above)
            opened.run_with = None if library is None else library[1]
            body = []
        elif opened is not None and fence is not None and fence[2] == "":
            opened.code = "\n".join(body) + "\n"
            follows = above == "```"
            above = "```"
            if opened.language == "text" and follows and found:
                found[-1].output = opened.code
            else:
                found.append(opened)
            opened = None
        else:
            body.append(line.removeprefix(indent))
    assert opened is None, f"{path.name}:{opened.line}: a block that is not closed"
    return found


# Runs in a process of its own: reads blocks from stdin, writes for each what it printed, as JSON.
RUNNER = """
import contextlib, io, json, sys, types

page, blocks = json.load(sys.stdin)
module = sys.modules["page"] = types.ModuleType("page")
printed, done = io.StringIO(), []
with contextlib.redirect_stdout(printed):
    for line, code in blocks:
        start = len(printed.getvalue())
        # As many lines above it as on the page, so that a traceback names the page's line.
        exec(compile("\\n" * (line - 1) + code, page, "exec"), vars(module))
        done.append(printed.getvalue()[start:])
json.dump(done, sys.stdout)
"""


def environment(backend: str) -> dict[str, str]:
    names = ("HAIWAY_BUS", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return {
        **kept,
        "PATH": path,
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "utf-8",
        **({"HAIWAY_BUS_PURE": "1"} if backend == "pure" else {}),
    }


def run(
    command: list[str], backend: str, where: Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=given,
        env=environment(backend),
        cwd=where,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def assert_prints(path: Path, block: Block, printed: str) -> None:
    expected = "" if block.output is None else block.output
    pattern = re.escape(expected.strip("\n")).replace("…", "[^\n]*")
    assert re.fullmatch(pattern, printed.strip("\n")), (
        f"{path.relative_to(TREE)}:{block.line} prints\n\n{printed}\nand the page says\n\n{expected}"
    )


def name_of(path: Path) -> str:
    return path.relative_to(TREE).as_posix()


def python_blocks(path: Path) -> list[Block]:
    found = [one for one in blocks_of(path) if one.language == "python"]
    return [one for one in found if not one.not_run and one.run_with is None]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("path", [one for one in PAGES if python_blocks(one)], ids=name_of)
def test_the_blocks_of_a_page_run_and_print_what_it_says(
    path: Path, backend: str, tmp_path: Path
) -> None:
    blocks = python_blocks(path)
    given = json.dumps([name_of(path), [(one.line, one.code) for one in blocks]])
    done = run([sys.executable, "-c", RUNNER], backend, tmp_path, given)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    for block, printed in zip(blocks, json.loads(done.stdout), strict=True):
        assert_prints(path, block, printed)


WITH_LIBRARY = [(path, block) for path in PAGES for block in blocks_of(path) if block.run_with]


@pytest.mark.parametrize(
    ("path", "block"), WITH_LIBRARY, ids=[one.run_with for _, one in WITH_LIBRARY]
)
def test_a_block_with_another_library_runs(path: Path, block: Block, tmp_path: Path) -> None:
    assert block.run_with is not None
    pytest.importorskip(block.run_with)
    given = json.dumps([name_of(path), [(block.line, block.code)]])
    done = run([sys.executable, "-c", RUNNER], BACKENDS[0], tmp_path, given)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert_prints(path, block, json.loads(done.stdout)[0])


@pytest.mark.skipif(sys.platform == "win32", reason="the shell blocks are for a POSIX shell")
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_shell_blocks_run_and_print_what_the_page_says(backend: str, tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    for path in PAGES:
        for block in blocks_of(path):
            listed = path.name == "README.md" and any(word in block.code for word in README_NOT_RUN)
            if block.language != "sh" or block.not_run or listed:
                continue
            done = run([bash, "-euo", "pipefail", "-c", block.code], backend, tmp_path)
            assert (done.returncode, done.stderr) == (0, ""), (name_of(path), block, done.stderr)
            if block.output is not None:
                assert_prints(path, block, done.stdout)


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_says_what_it_is(path: Path) -> None:
    for block in blocks_of(path):
        assert block.language in DATA | {"python", "sh"}, (
            f"{name_of(path)}:{block.line}: a block of {block.language!r} would not be run"
        )
        if block.language == "python":
            compile(block.code, f"{name_of(path)}:{block.line}", "exec")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_the_pages_link_to_pages_and_places_that_are_there(path: Path) -> None:
    """As `mkdocs build --strict` would say, which not everyone runs."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://", "#")):
            continue
        file, _, _ = target.partition("#")
        assert (path.parent / file).resolve().exists(), f"{name_of(path)} links to {target}"


def test_the_clauses_that_are_cited_are_there() -> None:
    """By links on the pages, in parentheses, and after "guarantee" or "contract" in the package."""
    guarantees = TREE / "docs" / "guarantees.md"
    if not guarantees.is_file():
        pytest.skip("the documentation is not here")
    known = set(re.findall(r"\*\*(\d\.\d+)\*\*", guarantees.read_text(encoding="utf-8")))
    texts = {name_of(path): path.read_text(encoding="utf-8") for path in PAGES}
    cited = {
        (name, clause)
        for name, text in texts.items()
        for clause in re.findall(r"\(\S*#c([\d.]+)\)", text)
    } | {
        (name, clause)
        for name, text in texts.items()
        for group in re.findall(r"\(([1-9]\.\d+(?:, \d\.\d+)*)\)", text)
        for clause in group.split(", ")
    }
    assert cited
    cited |= {
        (name_of(path), clause)
        for path in sorted((TREE / "haiway_bus").rglob("*.py"))
        for group in re.findall(
            r"(?:[Cc]ontract|[Gg]uarantees?) (\d\.\d+(?:,\s+\d\.\d+)*)",
            path.read_text(encoding="utf-8"),
        )
        for clause in re.split(r",\s+", group)
    }
    assert {one for one in cited if one[1] not in known} == set()


def test_a_link_to_a_clause_names_it_and_its_anchor_is_there() -> None:
    anchors = set()
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if path.name == "guarantees.md":
            found = re.findall(r'<span id="c([\d.]+)"></span>\*\*([\d.]+)\*\*', text)
            assert [anchor for anchor, _ in found] == [number for _, number in found]
            anchors = {anchor for anchor, _ in found}
        for shown, file, target in re.findall(r"\[([^]]*)\]\(([^)\s]*)#c(\d\.\d+)\)", text):
            if re.fullmatch(r"(guarantee )?\d\.\d+", shown):
                assert shown.removeprefix("guarantee ") == target, (name_of(path), shown, target)
            if file:
                assert (path.parent / file).resolve() == TREE / "docs" / "guarantees.md"
    assert anchors
