"""State as type checkers see it: mypy in strict mode, and pyright. Contract 7.8."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import haiway_bus

FILES = ("state_passes.py", "state_fails.py")
HERE = Path(__file__).parent / "typing"
ROOT = Path(haiway_bus.__file__).parents[1]
INSTALLED = ROOT.name in ("site-packages", "dist-packages")


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # A checker looks into site-packages by itself, and for a source tree it has to be told.
    environment = dict(os.environ) if INSTALLED else {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=directory,
        env=environment,
        timeout=300,
        check=False,
    )


def errors_of_mypy(directory: Path) -> dict[str, set[int]]:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
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
        *FILES,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found: dict[str, set[int]] = {}
    for file, line, text in re.findall(r"^(.+?):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        assert Path(file).name in FILES, f"{file}:{line}: {text}"
        found.setdefault(Path(file).name, set()).add(int(line))
    return found


def errors_of_pyright(directory: Path) -> dict[str, set[int]]:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node, which is not on this machine")
    project = directory / "pyrightconfig.json"
    settings = {
        "include": ["*.py"],
        "typeCheckingMode": "strict",
        "extraPaths": [] if INSTALLED else [str(ROOT)],
        # Not errors of State: unused values are the point of these files.
        "reportUnusedExpression": "none",
        "reportUnusedCallResult": "none",
    }
    project.write_text(json.dumps(settings))
    done = run(
        directory,
        sys.executable,
        "-m",
        "pyright",
        "--pythonpath",
        sys.executable,
        "--outputjson",
        "--project",
        str(project),
    )
    try:
        diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    except ValueError:
        pytest.skip(f"pyright does not run here: {(done.stderr or done.stdout)[-300:]}")
    found: dict[str, set[int]] = {}
    assert json.loads(done.stdout)["summary"]["filesAnalyzed"] == len(FILES)
    for diagnostic in diagnostics:
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


def test_what_is_right_is_accepted(errors):
    """Contract 7.8: constructor arguments, `updated` returns Self, generics."""
    assert errors.get("state_passes.py", set()) == set()


def test_what_is_wrong_is_refused_line_by_line(errors):
    """Contract 7.8."""
    lines = (HERE / "state_fails.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}
    assert errors.get("state_fails.py", set()) == marked
