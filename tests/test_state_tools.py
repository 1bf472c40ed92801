"""State among other tools: those that carry classes to other processes, show instances, or make examples of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import COPIES

HERE = Path(__file__).parent

RECEIVER = """
import pickle, sys
import {library} as library
data = library.loads(sys.stdin.buffer.read())
fresh, used, looked = data
order = [fresh, used] if {fresh_first} else [used, fresh]
known = None
for text in order * 2:
    looks, instances = library.loads(text)
    assert instances, "nothing arrived"
    for instance, wanted in zip(instances, looked, strict=True):
        found = looks(instance)
        assert found == wanted, (found, wanted)
    # A class that arrives again is the same class, and so is one that went on from here.
    again = library.loads(library.dumps(instances))
    assert again == instances
    assert [type(one) for one in again] == [type(one) for one in instances]
    if known is not None:
        assert instances == known
    known = instances
print(len(known))
"""


def python(*arguments: str, backend: str, data: bytes = b"", **options: str) -> bytes:
    environment = {**os.environ, **options, "HAIWAY_BUS_PURE": "1" if backend == "pure" else "0"}
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        input=data,
        capture_output=True,
        env=environment,
        cwd=HERE,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("backend", sorted(COPIES))
@pytest.mark.parametrize("library", ["cloudpickle", "dill"])
def test_a_class_that_cannot_be_imported_is_carried_by_value(library, backend):
    """Guarantee 7.1: instances can be pickled, also those of classes of a script, a notebook or a function."""
    pytest.importorskip(library)
    data = python("by_value.py", library, backend=backend)
    for fresh_first in (True, False):
        receiver = RECEIVER.format(library=library, fresh_first=fresh_first)
        number = int(python("-c", receiver, backend=backend, data=data))
        assert number == (12 if library == "cloudpickle" else 8)


WORKERS = """
from collections.abc import Sequence
from haiway_bus import Default, State, backend
{imports}
class Line(State):
    n: int
    def twice(self):
        return Line(n=self.n * 2)

class Order(State):
    lines: Sequence[Line]
    before: "Order | None" = None
    tags: Sequence[int] = Default(factory=lambda: [1])

def work(order):
    assert isinstance(order, Order)
    return Order(lines=[line.twice() for line in order.lines], before=order)

orders = [Order(lines=[Line(n=n)]) for n in range(4)]
{run}
assert [type(one) for one in done] == [Order] * 4, done
assert [one.before for one in done] == orders
assert [one.lines[0].n for one in done] == [0, 2, 4, 6]
print(backend)
"""


@pytest.mark.parametrize("backend", sorted(COPIES))
def test_joblib_carries_the_classes_of_a_script(backend, tmp_path):
    """Guarantee 7.1. Its workers are processes in which the script does not run."""
    pytest.importorskip("joblib")
    script = WORKERS.format(
        imports="from joblib import Parallel, delayed",
        run="done = Parallel(n_jobs=2)(delayed(work)(order) for order in orders)",
    )
    said = python("-W", "ignore", "-c", script, backend=backend, JOBLIB_TEMP_FOLDER=str(tmp_path))
    assert said.decode().split() == [backend]


@pytest.mark.parametrize("backend", sorted(COPIES))
def test_ray_carries_the_classes_of_a_script(backend):
    """Guarantee 7.1: to tasks, to actors, and through its store."""
    pytest.importorskip("ray", reason="needs ray")
    script = WORKERS.format(
        imports="import ray",
        run="""
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", object_store_memory=80 << 20)

@ray.remote
class Keeper:
    def __init__(self):
        self.kept = []

    def keep(self, order):
        self.kept.append(order)
        return [type(one) is type(order) for one in self.kept]

keeper = Keeper.remote()
assert ray.get([keeper.keep.remote(orders[0]) for _ in range(2)])[-1] == [True, True]
done = ray.get([ray.remote(work).remote(ray.put(order)) for order in orders])
""",
    )
    assert python("-W", "ignore", "-c", script, backend=backend).decode().split() == [backend]
