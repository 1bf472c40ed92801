"""State among other tools: those that carry classes to other processes, show instances, or make examples of them."""

import enum
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Generic, Literal, NewType, Required, Self, TypedDict, TypeVar
from uuid import UUID

import annotated_types as at
import hypothesis
import pytest
from hypothesis import strategies as st

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
    module = pytest.importorskip(library)
    try:
        module.dumps(lambda: None)
    except AttributeError:  # dill asks a code object for what 3.15 has dropped
        pytest.skip(f"this {library} pickles no function on this Python")
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


def is_even(number: int) -> bool:
    return number % 2 == 0


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Entry(TypedDict, total=False):
    key: Required[int]
    note: str


UserId = NewType("UserId", int)
T = TypeVar("T")


def classes_of(hb):
    """Classes with each kind of annotation. JSON can carry the instances of all of them."""
    utc = at.Timezone(...)

    class Item(hb.State):
        sku: Annotated[str, at.Len(1, 5)]
        price: Annotated[float, at.Ge(0)]
        number: Annotated[int, at.Gt(0), at.Lt(3)] = 1

    class Scalars(hb.State, rename="camel", omit_defaults=True):
        whole: int
        text: str
        data: bytes
        flag: bool
        none: None
        real: float
        exact: Decimal
        bounded: Annotated[Decimal, at.Gt(0), at.Le(5)]
        steps: Annotated[int, at.MultipleOf(7)]
        path: Path
        key: UUID
        user: UserId
        colour: Colour
        literal: Literal["x", 1]
        payload: hb.JsonValue
        named: Annotated[str, hb.Alias("other")]
        default: int = 5

    class Times(hb.State):
        moment: datetime
        zoned: Annotated[datetime, utc]
        naive: Annotated[datetime, at.Timezone(None)]
        day: date
        clock: time
        length: timedelta
        seconds: Annotated[datetime, hb.Epoch("s")]
        nanoseconds: Annotated[datetime, hb.Epoch("ns")]
        lasted: Annotated[timedelta, hb.Epoch("ms")]

    class Containers(hb.State):
        items: Annotated[Sequence[Item], at.MinLen(1)]
        by_name: Mapping[str, Item]
        numbers: AbstractSet[int]
        names: frozenset[str]
        pair: tuple[int, str]
        many: tuple[int, ...]
        entry: Entry
        even: Sequence[Annotated[int, at.Predicate(is_even)]]
        made: Sequence[int] = hb.Default(factory=list)

    class Box(hb.State, Generic[T]):
        value: T

    class Tree(hb.State):
        same: Self | None = None
        trees: "Sequence[Tree]" = ()

    class Ordered(hb.State):
        low: int
        high: int

        def __validate__(self):
            if self.low > self.high:
                raise ValueError("low is above high")

    class Kept(hb.State, unknown="keep"):
        x: int | None

    class Leaf(hb.State):
        op: Literal["leaf"]

    class Not(hb.State):
        inner: "Not | Leaf"
        op: Literal["not"]

    class And(hb.State):
        left: "And | Not | Leaf"
        right: "And | Not | Leaf"
        op: Literal["and"]

    return Item, Scalars, Times, Containers, Box[int], Box[Item], Tree, And, Ordered, Kept


EXAMPLES = hypothesis.settings(max_examples=20, database=None, deadline=None)


@pytest.mark.parametrize("index", range(10))
def test_hypothesis_makes_instances_of_every_class(hb, index):
    """Guarantees 7.3 and 7.7: from_type makes values that fit, and that JSON brings back."""
    cls = classes_of(hb)[index]
    made = []

    @EXAMPLES
    @hypothesis.given(st.from_type(cls))
    def look(instance):
        made.append(instance)
        assert type(instance) is cls
        assert cls.from_json(instance.to_json()) == instance

    look()
    assert len({repr(instance) for instance in made}) > 3


def test_hypothesis_uses_the_strategies_that_users_register(hb):
    class Item(hb.State):
        sku: str

    class Order(hb.State):
        item: Item
        items: Sequence[Item]

    st.register_type_strategy(Item, st.builds(Item, sku=st.just("registered")))

    @EXAMPLES
    @hypothesis.given(st.from_type(Order))
    def look(order):
        assert {item.sku for item in (order.item, *order.items)} == {"registered"}

    look()


def test_hypothesis_takes_defaults_and_leaves_fields_out(hb):
    """Guarantee 7.5: what the constructor fills in is a value like any other."""
    made = [object()]

    def default():
        made.append(object())
        return made[-1]

    class Holder(hb.State):
        held: object = hb.Default(factory=default)
        number: int = 5

    assert hypothesis.find(st.from_type(Holder), lambda one: one.number == 5 and one.held in made)
    assert hypothesis.find(st.from_type(Holder), lambda one: one.number > 100).number == 101


def test_what_has_no_instances_has_no_strategy(hb):
    class Traced(hb.State, mixin=True):
        trace: str

    with pytest.raises(hypothesis.errors.ResolutionFailed, match="Traced is a mix-in"):
        hypothesis.find(st.from_type(Traced), bool)


@pytest.mark.parametrize("backend", sorted(COPIES))
def test_hypothesis_does_not_import_the_package(backend):
    code = "import hypothesis, sys; print(*[name for name in sys.modules if name == 'haiway_bus'])"
    assert python("-c", code, backend=backend) == b"\n"


def test_rich_breaks_a_long_instance_into_lines(hb):
    pretty = pytest.importorskip("rich.pretty")

    class Item(hb.State):
        sku: str
        numbers: Sequence[int]

    item = Item(sku="x" * 30, numbers=[1, 2])
    shown = pretty.pretty_repr(item, max_width=40)
    assert shown.splitlines() == ["Item(", f"    sku='{'x' * 30}',", "    numbers=(1, 2)", ")"]
    assert pretty.pretty_repr(item, max_width=200) == repr(item)


def test_a_script_shows_and_stores_instances_as_it_does_others(tmp_path):
    """Guarantee 7.1: with every protocol of pickle, in shelves, and in processes that are started anew."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    for backend in sorted(COPIES):
        said = python("-W", "error", str(script), str(tmp_path / backend), backend=backend)
        assert said.decode().split() == ["done"]


SCRIPT = '''
import copy, dataclasses, doctest, functools, inspect, multiprocessing, pickle, shelve, sys, typing, weakref
from collections.abc import Hashable, Sequence
from haiway_bus import State

class Item(State):
    """An item.

    >>> Item(sku="a")
    Item(sku='a', price=1.0)
    """

    sku: str
    price: float = 1.0

class Order(State):
    items: Sequence[Item] = ()

@functools.singledispatch
def kind(value): return "other"

@kind.register
def _(value: Item): return "item"

def changed(order): return order.updated(items=())

def main():
    item = Item(sku="a")
    order = Order(items=[item])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps((order, Order), protocol)) == (order, Order)
    with shelve.open(sys.argv[1]) as shelf:
        shelf["order"] = order
    with shelve.open(sys.argv[1]) as shelf:
        assert shelf["order"] == order
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(changed, [order]) == [Order()]
    assert (kind(item), kind(order)) == ("item", "other")
    assert doctest.testmod(sys.modules["__main__"]) == (0, 1)
    assert not dataclasses.is_dataclass(order) and not dataclasses.is_dataclass(Order)
    assert weakref.WeakKeyDictionary({order: 1})[order] == 1
    assert inspect.getsource(Item).startswith("class Item(State):")
    assert typing.get_type_hints(Order) == {"items": Sequence[Item]}
    assert dict(inspect.getmembers(order))["items"] == (item,)
    assert isinstance(order, Hashable) and copy.copy(order) is order
    if sys.version_info >= (3, 13):
        assert copy.replace(order, items=()) == Order()
    print("done")

if __name__ == "__main__":
    main()
'''
