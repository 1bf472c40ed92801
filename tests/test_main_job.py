"""The main job: `python -m haiway_bus` agrees with its own recount, whatever its root holds."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from haiway_bus import ctx
from haiway_bus.__main__ import main
from haiway_bus.demo import cli, findings, progress, sources, stages, tables
from haiway_bus.demo.index import Counts, Index, Location, ModuleSize
from haiway_bus.demo.recount import differences

READABLE: dict[str, bytes] = {
    "plain.py": b"""\
import asyncio

@decorated
class Outer(Base[int]):
    class Inner:
        async def wait(self): await asyncio.sleep(0)

    def method(self, key=lambda: None):
        def nested():
            class Local: pass
        return nested

async \\
  def spread_out(): ...

match Outer:
    case Outer():
        def in_case(): ...
try:
    def in_try(): ...
except* ValueError:
    def in_handler(): ...
else:
    def in_else(): ...
finally:
    def in_finally(): ...
if (Inner if Outer else None):
    async with x: class_ = define = 'class A: def b()'  # class C: def d()
    f"{'class'} def {define!r:>{10}}"
""",
    "empty.py": b"",
    "pkg/__init__.py": b"'''class Documented: def nothing()'''\n",
    "pkg/mod.py": b"class Outer: pass",
    "latin.py": b"# -*- coding: latin-1 -*-\nclass Caf\xe9: pass\n",
    "marked.py": b"\xef\xbb\xbfdef after_mark(): pass\n",
    "crlf.py": b"def one():\r\n    pass\r\ndef two(): pass\r\n",
    "cr.py": b"def one():\r    pass\rdef two(): pass\r",
    "ligature.py": "class ﬁx: pass\n".encode(),
    "warns.py": b"x = '\\d'\nassert (x, 'always true')\nx = 1 is 1\ny = 0x1for x in ()\n",
    "nested.py": b"".join(b" " * depth + b"def f%d():\n" % depth for depth in range(90))
    + b" " * 90
    + b"pass\n",
    "folder.py/inner.py": b"def inner(): pass\n",
}
FAILING: dict[str, bytes] = {
    "syntax.py": b"class Broken:\n    def\n",
    "indent.py": b"if 1:\n    x\n  y\n",
    "bad_bytes.py": b"x = 1\ny = 2\nz = '\xff\xfe'\n",
    "null.py": b"x = 1\0\n",
    "brackets.py": b"(" * 1_000 + b")" * 1_000 + b"\n",
    "unknown_codec.py": b"# coding: klingon\n",
    "no_text_codec.py": b"# coding: hex\n00\n",
    "open_string.py": b"'''never closed\n",
}
SKIPPED: dict[str, bytes] = {
    "site-packages/installed.py": b"class Installed: pass\n",
    "__pycache__/cached.py": b"class Cached: pass\n",
    "notes.txt": b"class Noted: pass\n",
}
EXPECTED = Counts(
    files=len(READABLE) + len(FAILING) + 1,
    modules=len(READABLE),
    failed=len(FAILING) + 1,
    classes=6,
    functions=105,
    async_functions=2,
    lines=137,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source files that are odd in every way that matters, also links and pipes."""
    root = tmp_path_factory.mktemp("tree")
    for path, content in {**READABLE, **FAILING, **SKIPPED}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (root / "dangling.py").symlink_to(root / "nowhere.py")
    os.mkfifo(root / "pipe.py")
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Three plain modules, for tests that need no odd files."""
    (tmp_path / "a.py").write_text("class A:\n    def f(self): ...\n")
    (tmp_path / "b.py").write_text("class A: ...\n\n\n\nclass B: ...\n")
    (tmp_path / "c.py").write_text("async def f(): ...\n")
    return tmp_path


@pytest.fixture(params=["compiled", "pure"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that makes a process use this backend."""
    environment = {k: v for k, v in os.environ.items() if k != "HAIWAY_BUS_PURE"}
    if request.param == "pure":
        environment["HAIWAY_BUS_PURE"] = "1"
    elif importlib.util.find_spec("haiway_bus._bus._core_c") is None:
        pytest.skip("the extension is not built here")
    return environment | {"EXPECTED_BACKEND": request.param}


def job(
    *arguments: object, env: dict[str, str] | None = None, flags: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the job in a process of its own, where every warning is an error."""
    command = [sys.executable, "-P", "-W", "error", *flags, "-m", "haiway_bus"]
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def result_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON that the job prints when it is called directly."""
    main([*map(str, arguments), "--json"])
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


class TestCounting:
    def test_counts_agree_on_odd_files_with_both_backends(
        self, tree: Path, environment: dict[str, str]
    ) -> None:
        done = job("--root", tree, "--json", env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        result = json.loads(done.stdout)
        assert result["agrees"]
        assert result["differences"] == []
        assert result["backend"] == environment["EXPECTED_BACKEND"]
        counts = result["counts"]
        assert counts.pop("tokens") > 500
        expected = {name: getattr(EXPECTED, name) for name in counts}
        assert counts == expected
        assert {failure["path"] for failure in result["failures"]} == {*FAILING, "dangling.py"}

    def test_the_reason_of_a_failure_is_told(
        self, tree: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        failures = result_of(capsys, "--root", tree)["failures"]
        reasons = {failure["path"]: failure["reason"] for failure in failures}
        assert reasons["dangling.py"] == "FileNotFoundError: No such file or directory"
        assert reasons["syntax.py"].startswith("SyntaxError: ")
        assert reasons["syntax.py"].endswith("(line 2)")
        assert reasons["bad_bytes.py"].startswith("UnicodeDecodeError: ")
        assert "null bytes" in reasons["null.py"]
        assert "klingon" in reasons["unknown_codec.py"]

    def test_what_is_too_deep_for_the_parser_breaks_nothing(
        self, tmp_path: Path, environment: dict[str, str]
    ) -> None:
        # Whether these can be parsed, and what they raise if not, differs between versions of Python.
        (tmp_path / "unary.py").write_text("-" * 100_000 + "1\n")
        (tmp_path / "attributes.py").write_text("x" + ".y" * 100_000 + "\n")
        (tmp_path / "else_ifs.py").write_text("if x: pass\n" + "elif x: pass\n" * 20_000)
        done = job("--root", tmp_path, env=environment)
        assert (done.returncode, done.stderr) == (0, "")

    def test_modules_are_ranked_by_lines_and_then_by_path(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in range(12):
            (tmp_path / f"m{number:02}.py").write_text("\n" * (number // 2))
        largest = result_of(capsys, "--root", tmp_path)["largest"]
        assert [entry["module"] for entry in largest] == [
            *("m10", "m11", "m08", "m09", "m06", "m07", "m04", "m05", "m02", "m03")
        ]

    def test_files_takes_the_first_ones_in_sorted_order(
        self, small: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = result_of(capsys, "--root", small, "--files", 2)
        assert [entry["module"] for entry in result["largest"]] == ["b", "a"]
        assert result["counts"]["files"] == 2

    def test_the_standard_library_is_the_default_root(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = result_of(capsys, "--files", 3)
        assert Path(result["root"]) == Path(os.__file__).parent
        assert result["counts"]["modules"] == 3

    def test_what_is_told_of_the_run(self, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = result_of(capsys, "--root", small)
        assert result["python"] == ".".join(map(str, sys.version_info[:3]))
        # Three files found, three indexed, three classes, two functions.
        assert result["events"] == 11
        assert result["events_per_second"] > 0
        assert result["seconds"]["bus"] > result["seconds"]["source"] > 0


class TestLookup:
    def test_a_name_is_found_in_every_place(
        self, small: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert result_of(capsys, "--root", small, "--find", "f")["lookup"] == {
            "name": "f",
            "places": [
                {"module": "a", "line": 2, "kind": "function"},
                {"module": "c", "line": 1, "kind": "async function"},
            ],
        }

    def test_without_a_name_one_of_the_largest_module_is_asked_for(
        self, small: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lookup = result_of(capsys, "--root", small)["lookup"]
        assert lookup["name"] == "A"
        assert [place["module"] for place in lookup["places"]] == ["a", "b"]

    @pytest.mark.parametrize("name", ["fix", "Café", "spread_out"])
    def test_names_are_found_as_python_spells_them(
        self, tree: Path, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        assert len(result_of(capsys, "--root", tree, "--find", name)["lookup"]["places"]) == 1

    def test_a_name_that_is_nowhere_is_no_failure(
        self, small: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["--root", str(small), "--find", "Unheard"]) == 0
        assert "Unheard is defined nowhere." in capsys.readouterr().out

    def test_modules_without_definitions_leave_nothing_to_find(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "bare.py").write_text("x = 1\n")
        assert main(["--root", str(tmp_path)]) == 0
        assert "is defined nowhere." in capsys.readouterr().out


class TestVerdict:
    def test_an_event_lost_to_a_counter_is_exit_code_1(
        self, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        count = stages.count_classes

        async def count_but_one(found: Any, counts: Counts) -> None:
            await anext(found)
            await count(found, counts)

        monkeypatch.setattr(stages, "count_classes", count_but_one)
        assert main(["--root", str(small)]) == 1
        out = capsys.readouterr().out
        assert "DIFFERENT from a direct pass over the same files:" in out
        assert "classes: 2 over the bus, 3 counted directly" in out

    def test_json_lists_the_differences(
        self, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def lines_and_one(text: str) -> int:
            return text.count("\n") + 1

        monkeypatch.setattr(findings, "line_count", lines_and_one)
        result = result_of(capsys, "--root", small)
        assert not result["agrees"]
        assert result["differences"][0] == "lines: 11 over the bus, 8 counted directly"
        assert result["differences"][1].startswith("rank 1: ")

    def test_a_misread_file_is_a_difference(
        self, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def misread(name: str) -> str:
            raise RuntimeError("a fault of our own")

        monkeypatch.setattr(findings, "_identifier", misread)
        found = result_of(capsys, "--root", small)["differences"]
        assert "failure of a.py: 'RuntimeError: a fault of our own' over the bus" in str(found)

    def test_every_part_of_an_index_is_compared(self) -> None:
        one, other = Index(), Index()
        assert differences(one, other) == []
        one.counts.tokens = 1
        one.largest.append(ModuleSize("a", "a.py", 1, 0, 0))
        one.failures["b.py"] = "why"
        other.locations["f"] += [Location("a", 1, "function")]
        assert [line.split(" ")[0] for line in differences(one, other)] == [
            *("tokens:", "rank", "failure", "places")
        ]

    def test_the_order_of_places_is_none(self) -> None:
        one, other = Index(), Index()
        places = [Location("a", 1, "class"), Location("b", 1, "class")]
        one.locations["A"] += places
        other.locations["A"] += reversed(places)
        assert differences(one, other) == []


class TestUnusableRoots:
    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            (lambda path: path / "missing", "No such file or directory"),
            (lambda path: path / "file.txt", "Not a directory"),
            (lambda path: path, "has none: name another folder"),
        ],
        ids=["missing", "a file", "without source"],
    )
    def test_a_root_without_source_is_exit_code_2(
        self, tmp_path: Path, make: Callable[[Path], Path], complaint: str
    ) -> None:
        (tmp_path / "file.txt").write_text("class A: ...\n")
        done = job("--root", make(tmp_path))
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("error: --root must ")
        assert complaint in done.stderr
        assert str(tmp_path) in done.stderr

    @pytest.mark.parametrize("arguments", [["--files", "0"], ["--files", "x"], ["--unknown"]])
    def test_bad_arguments_are_exit_code_2(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == 2
        assert "error: " in capsys.readouterr().err

    def test_a_folder_that_cannot_be_listed_is_reported_as_failed(
        self, small: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (small / "closed").mkdir()
        scandir = os.scandir

        def refuse(path: Any) -> Any:
            if Path(path).name == "closed":
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return scandir(path)

        # Replace scandir, because the tests may run as root, who may list every folder.
        monkeypatch.setattr(os, "scandir", refuse)
        assert sources.source_files(small) == ["a.py", "b.py", "c.py", "closed"]
        with pytest.raises(findings.SourceError, match="IsADirectoryError"):
            findings.examine(small / "closed")


class TestOutput:
    def test_the_table_tells_counts_ranking_rate_and_backend(
        self, small: Path, environment: dict[str, str]
    ) -> None:
        done = job("--root", small, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        words = [line.split() for line in done.stdout.splitlines()]
        assert ["backend", environment["EXPECTED_BACKEND"]] in words
        assert ["classes", "3"] in words
        assert ["b", "5", "2", "0"] in words
        assert any(line[:3] == ["events", "per", "second"] for line in words)
        assert done.stdout.splitlines()[-1].startswith("Every count and the ranking agree")

    def test_a_long_run_is_no_reason_for_a_warning(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its scope waits for its stages as long as they work (guarantee 5.11)."""
        scope = ctx.scope

        def impatient(*args: Any, warn_after: float | None = 1e-6, **options: Any) -> Any:
            return scope(*args, warn_after=warn_after, **options)

        monkeypatch.setattr(ctx, "scope", impatient)
        assert main(["--root", str(tree), "--quiet"]) == 0
        assert [record.getMessage() for record in caplog.records if record.name == "indexing"] == []

    def test_index_names_the_same_job(self, small: Path) -> None:
        assert main(["index", "--root", str(small), "--quiet"]) == 0

    def test_long_lists_are_cut_for_people(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number in range(15):
            (tmp_path / f"m{number:02}.py").write_text("def\n")
        assert main(["--root", str(tmp_path)]) == 0
        assert "and 5 more: --json lists them all" in capsys.readouterr().out

    def test_without_rich_it_is_plain_text(self, small: Path, tmp_path: Path) -> None:
        blocked = tmp_path / "blocked" / "rich"
        blocked.mkdir(parents=True)
        (blocked / "__init__.py").write_text("raise ImportError('blocked by the test')\n")
        path = os.pathsep.join(filter(None, [str(blocked.parent), os.environ.get("PYTHONPATH")]))
        done = job("--root", small, "--files", 3, env={**os.environ, "PYTHONPATH": path})
        assert (done.returncode, done.stderr) == (0, "")
        assert "Every count" in done.stdout

    def test_names_that_the_output_cannot_encode_are_escaped(self, tree: Path) -> None:
        env = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = job("--root", tree, "--find", "Café", env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Caf\\xe9 is defined in:" in done.stdout

    def test_a_reader_that_leaves_early_is_no_failure(self, small: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        command = [sys.executable, "-P", "-m", "haiway_bus", "--root", str(small)]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=["rich", "plain"])
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the job on a terminal, with rich or without, and return all that it showed."""
    if request.param == "rich":
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr(progress, "RICH", False)
        monkeypatch.setattr(tables, "RICH", False)
    monkeypatch.setenv("TERM", "xterm")

    def shown(*arguments: object) -> str:
        terminal = Terminal()
        with redirect_stdout(terminal), redirect_stderr(terminal):
            assert main(list(map(str, arguments))) == 0
        return terminal.getvalue()

    return shown


class TestTerminal:
    def test_progress_is_shown_on_a_terminal(self, shown: Callable[..., str], small: Path) -> None:
        text = shown("--root", small)
        assert "indexing over the bus" in text
        assert "counting again without it" in text
        assert "Index of" in text

    def test_quiet_shows_none(self, shown: Callable[..., str], small: Path) -> None:
        text = shown("--root", small, "--quiet")
        assert "indexing over the bus" not in text
        assert "Index of" in text

    def test_square_brackets_are_no_markup(self, shown: Callable[..., str], tmp_path: Path) -> None:
        (tmp_path / "[red]m.py").write_text("x = 1\n")
        assert "[red]m" in shown("--root", tmp_path)


def test_an_unknown_command_is_told_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tpo"]) == 2
    assert (
        capsys.readouterr().err == "error: unknown command 'tpo': index or top, or none for index\n"
    )


class TestInterrupt:
    def test_ctrl_c_is_exit_code_130_without_traceback(self, environment: dict[str, str]) -> None:
        code = (
            "import signal, sys; from haiway_bus.__main__ import main;"
            # If a shell runs the tests in the background, they ignore SIGINT, and so would this process.
            "signal.signal(signal.SIGINT, signal.default_int_handler); print('ready', flush=True);"
            "sys.exit(main(['--json']))"
        )
        with subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            # asyncio's debug mode would log slow callbacks.
            env={**environment, "PYTHONASYNCIODEBUG": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        *lost, last = err.splitlines()
        assert (process.returncode, out, last) == (130, "", "interrupted")
        # The cancelled scope tells which events it dropped (guarantee 5.5).
        assert all(line.startswith("events of ") and " left unread " in line for line in lost), err

    def test_ctrl_c_during_the_recount_too(
        self, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupted(*arguments: object) -> Index:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "recount", interrupted)
        assert main(["--root", str(small)]) == 130
        assert capsys.readouterr().out == ""
