"""Each module of the package can be imported by itself, and says nothing."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import haiway_bus


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter in which every warning is an error."""
    return subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code, *arguments],
        env={name: value for name, value in os.environ.items() if name != "HAIWAY_BUS_PURE"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def modules() -> list[str]:
    root = Path(str(haiway_bus.__file__)).parent
    found = []
    for path in sorted(root.rglob("*.py")):
        parts = ["haiway_bus", *path.relative_to(root).with_suffix("").parts]
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in found if not name.endswith("__main__")]


# Each module is imported by a child of one interpreter, which knows asyncio and nothing of the package.
IMPORTS = """
import asyncio, gc, os, sys
gc.disable()
gc.freeze()
for name in sys.argv[1:]:
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writes, 1)
        os.dup2(writes, 2)
        os.close(reads)
        os.close(writes)
        __import__(name)
        break
    os.close(writes)
    with open(reads) as pipe:
        said = pipe.read()
    print([name, os.waitpid(child, 0)[1], said], flush=True)
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, tuple[int, str]]:
    """How the import of each module ended, and what it printed."""
    if not hasattr(os, "fork"):
        ended = {name: run(f"import {name}") for name in modules()}
        return {name: (done.returncode, done.stdout + done.stderr) for name, done in ended.items()}
    done = run(IMPORTS, *modules())
    assert (done.returncode, done.stderr) == (0, "")
    return {
        name: (status, said)
        for name, status, said in map(ast.literal_eval, done.stdout.splitlines())
    }


@pytest.mark.parametrize("name", modules())
def test_each_module_imports_alone_and_silently(
    name: str, imported: dict[str, tuple[int, str]]
) -> None:
    status, said = imported[name]
    missing = re.search(r"ModuleNotFoundError: No module named '([^.']+)", said)
    if missing and re.search(r"\.integrations\.|\._bridges\.|rich", name):
        pytest.skip(f"needs {'nats-py' if missing[1] == 'nats' else missing[1]}")
    assert (status, said) == (0, "")
