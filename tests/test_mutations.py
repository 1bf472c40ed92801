"""The mutations of mutations.py can be made: each text stands where it is looked for, exactly once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
# The clauses of the contract that the bus itself is to keep, of which at least these have a mutation.
MUTATED = "2.1 2.2 2.4 2.5 2.6 2.7 2.8 3.2 3.3 4.1 4.2 4.4 4.5 5.1 5.4 5.5 5.6 5.11 5.12 5.13 5.14 5.15 6.1 6.2"


@pytest.fixture
def mutation(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(HERE))
    spec = importlib.util.spec_from_file_location("mutation", HERE / "mutation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("mutations")
    sys.path[:] = [one for one in sys.path if one != str(HERE)]


def test_no_mutation_is_stale(mutation: Any) -> None:
    """Issue 6: a script that looks for texts which are gone would show nothing."""
    assert mutation.stale() == []


def test_each_clause_has_a_mutation_and_each_mutation_a_test_that_is_there(mutation: Any) -> None:
    """Issue 6: contract 2 to 6."""
    assert {one.clause for one in mutation.MUTATIONS} >= set(MUTATED.split())
    for one in mutation.MUTATIONS:
        file, *names = one.test.split("::")
        source = (HERE / file).read_text()
        assert all(f"class {name}" in source or f"def {name}(" in source for name in names), (
            one.test
        )
