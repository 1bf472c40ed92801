"""The classes that a State is compared with: the same three fields, and the same ten, in each library's own words."""

# No postponed annotations here: each library then reads them at its best.
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from comparison.streams import haiway_bus_module, need

__all__ = ("RECORDS", "Record", "dataclass_order", "ten_fields", "three_fields")


class Record(NamedTuple):
    """A contender: how it makes its classes, and what it calls a changed copy."""

    order: Callable[[], Any]  # a class with the fields name: str, price: float, number: int
    ten_fields: Callable[[], Any]
    changed: str  # an expression with `changed`, `order`
    changed_with: Callable[[], Any]  # what `changed` is there


def dataclass_order() -> Any:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Order:
        name: str
        price: float
        number: int

    return Order


def dataclass_ten() -> Any:
    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Ten:
        a: str
        b: float
        c: int
        d: bool
        e: str | None
        f: str
        g: float
        h: int
        i: bool
        j: str | None

    return Ten


def attrs_order() -> Any:
    attrs = need("attrs")

    @attrs.frozen(kw_only=True)
    class Order:
        name: str
        price: float
        number: int

    return Order


def attrs_ten() -> Any:
    attrs = need("attrs")

    @attrs.frozen(kw_only=True)
    class Ten:
        a: str
        b: float
        c: int
        d: bool
        e: str | None
        f: str
        g: float
        h: int
        i: bool
        j: str | None

    return Ten


def three_fields(base: Any, **options: Any) -> Any:
    class Order(base, **options):  # type: ignore[misc]
        name: str
        price: float
        number: int

    return Order


def ten_fields(base: Any, **options: Any) -> Any:
    class Ten(base, **options):  # type: ignore[misc]
        a: str
        b: float
        c: int
        d: bool
        e: str | None
        f: str
        g: float
        h: int
        i: bool
        j: str | None

    return Ten


def msgspec_struct() -> Any:
    return need("msgspec").Struct


def pydantic_model() -> Any:
    return need("pydantic").BaseModel


def state() -> Any:
    return haiway_bus_module().State


STATE = Record(
    lambda: three_fields(state()),
    lambda: ten_fields(state()),
    "order.updated(price=2.5)",
    lambda: None,
)

RECORDS = {
    "dataclass": Record(
        dataclass_order, dataclass_ten, "changed(order, price=2.5)", lambda: dataclasses.replace
    ),
    "haiway_bus": STATE,
    "haiway_bus pure": STATE,
    "msgspec": Record(
        lambda: three_fields(msgspec_struct(), frozen=True, kw_only=True),
        lambda: ten_fields(msgspec_struct(), frozen=True, kw_only=True),
        "changed(order, price=2.5)",
        lambda: need("msgspec").structs.replace,
    ),
    "attrs": Record(
        attrs_order, attrs_ten, "changed(order, price=2.5)", lambda: need("attrs").evolve
    ),
    "pydantic": Record(
        lambda: three_fields(pydantic_model(), frozen=True),
        lambda: ten_fields(pydantic_model(), frozen=True),
        "order.model_copy(update={'price': 2.5})",
        lambda: None,
    ),
}
