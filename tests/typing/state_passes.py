"""What type checkers have to accept. Read by the checkers, and run by nobody."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar, assert_type

from haiway_bus._state import Alias, Default, FrozenMap, JsonValue, State, StateError

T = TypeVar("T")


class Item(State):
    name: str
    price: float = 0


class Received(State):
    payload: JsonValue
    extras: Mapping[str, JsonValue] = Default(factory=dict[str, JsonValue])


class Order(State):
    currency: ClassVar[str] = "EUR"
    user_id: Annotated[str, Alias("userId")]
    items: Sequence[Item] = ()
    tags: AbstractSet[str] = Default(factory=frozenset[str])
    labels: Mapping[str, int] = Default(factory=lambda: {"a": 1})
    kind: Literal["new", "old"] = Default(default="new")
    callback: Callable[[int], str] | None = None
    parent: Self | None = None

    @classmethod
    def empty(cls) -> Self:
        return cls(user_id="")

    @property
    def total(self) -> float:
        return sum(item.price for item in self.items)


class Special(Order, unknown="ignore"):
    extra: int


class Box(State, Generic[T]):
    value: T


class Stamped(State, mixin=True):
    at: float


class Event(Stamped):
    name: str


order = Order(user_id="a", items=[Item(name="x", price=1)], tags={"t"}, labels={"b": 2})
assert_type(order.items, Sequence[Item])
assert_type(order.items[0].price, float)
assert_type(order.total, float)
assert_type(order.updated(user_id="b"), Order)
assert_type(Order.empty(), Order)
assert_type(Special(user_id="a", extra=1).updated(extra=2), Special)
assert_type(Special.from_json("{}"), Special)
assert_type(Special.from_mapping({"extra": 1}), Special)
assert_type(order.to_mapping(), dict[str, Any])
assert_type(order.to_json(indent=2), str)
assert_type(Order.json_schema(), dict[str, Any])
assert_type(Box(value=1).value, int)
assert_type(Box[str](value="a").value, str)
assert_type(Event(at=1.5, name="a").at, float)
assert_type(FrozenMap({"a": 1})["a"], int)
assert_type(Order.currency, str)

rows: dict[str, list[dict[str, int | None]]] = {"a": [{"b": None}]}
payload = Received(payload=rows, extras={"a": [1, "b", {"c": (1.5, True)}]}).payload
if isinstance(payload, Mapping):
    inner: JsonValue = payload["a"]

boxes: Sequence[Box[int]] = [Box(value=1), Box[int](value=2)]
handler: Callable[..., Order] = Order


class Open(State, unknown="keep"):
    payload: JsonValue = None

    def __validate__(self) -> None:
        assert_type(self.__unknown__, Mapping[str, JsonValue])


assert_type(Open.from_json("{}").__unknown__["a"], JsonValue)

match order:
    case Order(user_id=user_id, items=[Item(price=price), *_]):
        assert_type(user_id, str)
        assert_type(price, float)
    case _:
        pass

try:
    order.updated(user_id=1)
except StateError as error:
    assert_type(error.problems, tuple[tuple[str, str], ...])


class Named(Protocol):
    name: str


class Priced(State, ABC):
    amount: int = 0

    @abstractmethod
    def price(self) -> float: ...


class Sale(Priced, Named, Sized, rename="camel", omit_defaults=True):
    name: str
    tags: Sequence[str] = []

    def __validate__(self) -> None:
        super().__validate__()
        if not self.name:
            raise ValueError("no name")

    def price(self) -> float:
        return float(self.amount)

    def __len__(self) -> int:
        return self.amount


sale = Sale(name="a", amount=1)
assert_type(sale.updated(amount=2), Sale)
named: Named = sale
