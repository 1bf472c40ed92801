"""What type checkers have to refuse: every line marked `# wrong`, and no other.

Read by the checkers, and run by nobody.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from haiway_bus._state import Default, JsonValue, State

T = TypeVar("T")


class Item(State):
    name: str
    price: float = 0


class Box(State, Generic[T]):
    value: T


class Derived(Item):
    more: int


class Received(State):
    payload: JsonValue


Received(payload=[{"a": {1}}])  # wrong
Received(payload={1: 2})  # wrong


class WrongDefault(State):
    count: int = "x"  # wrong
    names: Sequence[str] = Default(factory=int)  # wrong
    number: int = Default(default="x")  # wrong


item = Item(name="a")
Item()  # wrong
Item("a", 1.0)  # wrong
Item(name=1)  # wrong
Item(name="a", price="x")  # wrong
Item(name="a", prize=1)  # wrong
Derived(name="a")  # wrong
Box[int](value="x")  # wrong
item.name = "b"  # wrong
item.other = 1  # wrong
item.__unknown__ = {}  # wrong
other = item.other  # wrong
wrong: int = item.updated(name="b")  # wrong
text: str = Box(value=1).value  # wrong
Item.from_json(3)  # wrong
Default(default=1, factory=int)  # wrong
