"""The models, on both backends."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def model(hb: Any) -> Callable[[str], ModuleType]:
    """A function that gives a module with models, made on the backend under test."""

    def load(name: str) -> ModuleType:
        full = f"payload_models_{hb.backend}_{name}"
        if full not in sys.modules:
            spec = importlib.util.spec_from_file_location(
                full, Path(__file__).parent / f"{name}.py"
            )
            assert spec is not None
            assert spec.loader is not None
            sys.modules[full] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            assert module.State is hb.State
        return sys.modules[full]

    return load
