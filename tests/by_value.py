"""Classes that another process cannot import: it runs this script as `__main__`, which writes instances of them.

`by_value.py cloudpickle` or `by_value.py dill`: the library that writes. test_state_tools.py reads what is written.
"""

from __future__ import annotations

import enum
import importlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence, Sized
from datetime import datetime, timezone
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import annotated_types as at

from haiway_bus import Alias, Default, JsonValue, State

library = importlib.import_module(sys.argv[1])
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Item(State):
    """A thing to sell."""

    sku: str
    price: Annotated[float, at.Ge(0)] = 1.5
    kind: Literal["item"] = "item"

    CURRENCY: ClassVar[str] = "EUR"

    @property
    def doubled(self) -> float:
        return self.price * 2

    @classmethod
    def made(cls) -> Self:
        return cls(sku="made")

    @staticmethod
    def plain() -> str:
        return "plain"

    def shown(self) -> str:
        return f"{__class__.__name__} {super().__repr__()}"  # type: ignore[name-defined]


class Node(State):
    name: str
    item: Item | None = None
    next: Node | None = None
    nodes: Sequence[Node] = ()
    by_name: Mapping[str, Node] = Default(factory=dict)
    tags: Sequence[int] = Default(factory=lambda: [1])
    user: Annotated[str, Alias("userId")] = "u"
    same: Self | None = None
    at: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)  # noqa: UP017 - dill does not know UTC's other name

    def __validate__(self) -> None:
        if self.name == "bad":
            raise ValueError("a bad name")


class Parent(State):
    child: Child | None = None

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __hash__(self) -> int:
        return 7


class Child(Parent):
    parent: Parent | None = None


class Traced(State, mixin=True):
    trace: str = ""


class Kept(Item, Traced, unknown="keep", rename="camel", omit_defaults=True):
    long_name: int = 1


class Registered(State):
    def __init_subclass__(cls, tag: int, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.tag = tag


class Tagged(Registered, tag=5):
    x: int = 1


class Mutable:
    """Its instances have a `__dict__`, also those of the State below."""


class Cached(State, Mutable):
    x: int = 1


class Priced(State, ABC):
    x: int = 1

    @abstractmethod
    def price(self) -> float: ...


class Greeting(Protocol):
    x: int

    def greet(self) -> str:
        return f"hello {self.x}"


class Concrete(Priced, Greeting, Sized):
    def price(self) -> float:
        return 2.0

    def __len__(self) -> int:
        return self.x


class Box(State, Generic[T]):
    value: T


class SubBox(Box[int]):
    more: str = "more"


class Painted(State):
    colour: Colour = Colour.RED
    payload: JsonValue = None
    NONE: ClassVar[Painted]


def local() -> State:
    class Inner(State):
        x: int
        other: Inner | None = None

    class Outer(Inner):
        item: Item

    return Outer(x=1, item=Item(sku="a"), other=Inner(x=2))


Painted.NONE = Painted()
instances = [
    Item(sku="x"),
    Node(name="a", item=Item(sku="b"), next=Node(name="c"), nodes=[Node(name="d")]),
    Parent(child=Child(parent=Parent())),
    Kept(sku="s", trace="t", __unknown__={"z": [1]}),  # type: ignore[call-arg]
    Tagged(),
    Cached(),
    Concrete(),
    local(),
]
if library.__name__ != "dill":
    # dill finds enumerations, type variables and classes that hold an instance of their own by name alone.
    instances += [Box[int](value=1), Box[Item](value=Item(sku="q")), SubBox(value=3), Painted()]


def looks(instance: Any) -> dict[str, Any]:
    """What has to be the same on both sides."""
    import inspect

    cls = type(instance)
    said = {
        "repr": repr(instance),
        "json": instance.to_json(),
        "schema": cls.json_schema(),
        "fields": [(p.name, repr(p.default)) for p in inspect.signature(cls).parameters.values()],
        "names": (cls.__name__, cls.__qualname__, cls.__module__, cls.__doc__, cls.__match_args__),
        "bases": [base.__qualname__ for base in cls.__mro__],
        "hash": hash(instance) == hash(instance.updated()),
        "dict": hasattr(instance, "__dict__"),
        "abstract": [inspect.isabstract(base) for base in cls.__mro__],
    }
    for call in (
        lambda: cls(no=1),
        lambda: cls(name="bad"),
        lambda: instance.updated(price=-1, x="x"),
    ):
        try:
            call()
        except Exception as error:
            said[f"error {len(said)}"] = str(error)
    if cls.__name__ == "Item":
        said["methods"] = (
            instance.shown(),
            instance.doubled,
            repr(cls.made()),
            cls.plain(),
            cls.CURRENCY,
        )
    if cls.__name__ == "Painted":
        said["itself"] = (cls() == cls.NONE, type(cls.NONE) is cls, repr(cls.NONE.updated()))
    return said | {"tag": getattr(cls, "tag", None)}


fresh = library.dumps((looks, instances))
looked = [looks(instance) for instance in instances]  # from here on, the classes have their methods
for instance in instances:
    type(instance).__new__, type(instance).updated
used = library.dumps((looks, instances))
for data in (fresh, used):  # what comes back is the same class
    _, back = library.loads(data)
    assert back == instances
    assert [type(one) for one in back] == [type(one) for one in instances]
    assert [looks(one) for one in back] == looked
sys.stdout.buffer.write(library.dumps((fresh, used, looked)))
