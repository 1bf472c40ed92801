"""The package as type checkers see it: mypy in strict mode, and pyright. Guarantee 7.8."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import haiway_bus

HERE = Path(__file__).parent / "typing"
PASSES = ("bus_passes.py", "state_passes.py")
FAILS = ("bus_fails.py", "state_fails.py")
FILES = (*PASSES, *FAILS)
REPLACE = ("state_replace.py",)
ROOT = Path(haiway_bus.__file__).parents[1]
INSTALLED = ROOT.name in ("site-packages", "dist-packages")


def run(directory: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # A checker looks into site-packages by itself, and for a source tree it has to be told.
    if not INSTALLED:
        environment["MYPYPATH"] = str(ROOT)
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def errors_of_mypy(
    directory: Path, files: tuple[str, ...] = FILES, version: str | None = None
) -> dict[str, set[int]]:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("needs mypy")
    done = run(
        directory,
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={directory / 'cache'}",
        "--no-error-summary",
        "--hide-error-context",
        "--follow-imports=silent",
        *([f"--python-version={version}"] if version else []),
        *files,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, set[int]] = {}
    for file, line, text in re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        assert Path(file).name in files, f"{file}:{line}: {text}"
        found.setdefault(Path(file).name, set()).add(int(line))
    return found


def pyright(directory: Path, *arguments: str) -> dict[str, Any]:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("needs pyright")
    if shutil.which("node") is None:
        pytest.skip("needs node, for pyright")
    # --verifytypes looks for the package with the first `python` of the path, whatever --pythonpath says.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = run(directory, sys.executable, "-m", "pyright", "--outputjson", *arguments, PATH=path)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        pytest.skip(f"pyright does not run here: {(done.stderr or done.stdout)[-300:]}")
    return found


def errors_of_pyright(
    directory: Path, files: tuple[str, ...] = FILES, version: str | None = None
) -> dict[str, set[int]]:
    project = directory / "pyrightconfig.json"
    settings = {
        "include": ["*.py"],
        "typeCheckingMode": "strict",
        "extraPaths": [] if INSTALLED else [str(ROOT)],
        # Not errors of ours: unused values are the point of these files.
        "reportUnusedCoroutine": "none",
        "reportUnusedExpression": "none",
        "reportUnusedCallResult": "none",
        "reportUnusedVariable": "none",
    }
    if version is not None:
        settings["pythonVersion"] = version
    project.write_text(json.dumps(settings))
    done = pyright(directory, "--pythonpath", sys.executable, "--project", str(project))
    assert done["summary"]["filesAnalyzed"] == len(files)
    found: dict[str, set[int]] = {}
    for diagnostic in done["generalDiagnostics"]:
        if diagnostic["severity"] == "error":
            line = diagnostic["range"]["start"]["line"] + 1
            found.setdefault(Path(diagnostic["file"]).name, set()).add(line)
    return found


@pytest.fixture(scope="module", params=[errors_of_mypy, errors_of_pyright], ids=["mypy", "pyright"])
def errors(request, tmp_path_factory):
    # A copy, for pyright takes no path outside of its project.
    directory = tmp_path_factory.mktemp("checker")
    for file in FILES:
        shutil.copy(HERE / file, directory)
    return request.param(directory)


@pytest.mark.parametrize("file", PASSES)
def test_what_is_right_is_accepted(errors, file):
    """Guarantee 7.8, and of the bus: a subscription gives its type, a task what its function returns."""
    assert errors.get(file, set()) == set()


@pytest.mark.parametrize("file", FAILS)
def test_what_is_wrong_is_refused_line_by_line(errors, file):
    """Guarantee 7.8."""
    lines = (HERE / file).read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert errors.get(file, set()) == marked


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_checkers_know_the_fields_of_a_changed_copy(checker, tmp_path):
    """Guarantees 7.6 and 7.8, as far as checkers can: `copy.replace` and `__replace__`, from Python 3.13 on.

    They know `__replace__` by dataclass_transform. `updated` takes anything, and gives the type that it was called on,
    in generic code, too. A descriptor that takes the parameters from `__replace__` would lose this type.
    """
    for file in REPLACE:
        shutil.copy(HERE / file, tmp_path)
    check = errors_of_mypy if checker == "mypy" else errors_of_pyright
    found = check(tmp_path, REPLACE, "3.13")
    lines = (HERE / REPLACE[0]).read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if checker in line.rpartition("#")[2]}
    assert found.get(REPLACE[0], set()) == marked


def test_every_public_name_has_a_type():
    """What a checker would have to infer in an installed package, it does not know."""
    if not INSTALLED:
        pytest.skip("pyright verifies the types of an installed package only")
    for extra in ("nats", "opentelemetry"):
        pytest.importorskip(extra, reason=f"needs {extra}")
    done = pyright(Path.cwd(), "--verifytypes", "haiway_bus", "--ignoreexternal")
    untyped = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in done["typeCompleteness"]["symbols"]
        for diagnostic in symbol["diagnostics"]
        if diagnostic["severity"] == "error"
    ]
    assert (untyped, done["typeCompleteness"]["completenessScore"]) == ([], 1)
