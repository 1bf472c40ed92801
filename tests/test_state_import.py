"""What importing State costs a service that does not use all of it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import haiway_bus._state

ROOT = Path(haiway_bus._state.__file__).parents[2]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(haiway_bus._state.__path__, "haiway_bus._state.")
]


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


@pytest.mark.parametrize("module", MODULES)
def test_each_module_can_be_imported_alone(module):
    """No import depends on another one having been made before."""
    assert python(f"import {module}") == ""


def test_modules_of_value_types_are_not_imported():
    """Issue 3.2: who annotates with a Decimal has imported it, and who does not need not wait."""
    heavy = {"json", "decimal", "uuid", "pathlib", "datetime", "annotated_types"}
    text = (
        "import asyncio; before = set(sys.modules);"
        "import haiway_bus._state; print(*sorted(set(sys.modules) - before))"
    )
    assert not heavy & set(python(text).split())
