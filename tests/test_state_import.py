"""What importing State costs a service that does not use all of it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import haiway_bus._state

ROOT = Path(haiway_bus._state.__file__).parents[2]


def python(text: str) -> str:
    """The output of a fresh interpreter in which every warning is an error."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r});"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", start + text],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


FOLDERS = ("kinds", "annotations", "wire", "classes")
"""From the ground up: a module imports from its own folder and from those before it."""


def test_imports_within_state_point_down():
    """Not under TYPE_CHECKING and not in a function either."""
    upwards = []
    for path in Path(haiway_bus._state.__file__).parent.glob("*/*.py"):
        floor = FOLDERS.index(path.parent.name)
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name.name}" for name in node.names]
            elif isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            for name in names:
                own, _, inner = name.partition("haiway_bus._state.")
                if not own and inner and FOLDERS.index(inner.partition(".")[0]) > floor:
                    upwards.append(f"{path.parent.name}/{path.name} imports {name}")
    assert upwards == []


def test_modules_of_value_types_are_not_imported():
    """Code that annotates a Decimal has imported it, and other code need not wait for it."""
    heavy = {"json", "decimal", "uuid", "pathlib", "datetime", "annotated_types"}
    text = (
        "import asyncio; before = set(sys.modules);"
        "import haiway_bus._state; print(*sorted(set(sys.modules) - before))"
    )
    assert not heavy & set(python(text).split())
