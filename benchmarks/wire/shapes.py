"""The three shapes on the wire, as plain data, and as classes in each library's own words."""

# No postponed annotations here: each library then reads them at its best.
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

__all__ = ("SHAPES", "Words", "classes")

READINGS = 5_000  # about one megabyte


class Status(Enum):
    DRAFT = "draft"
    PAID = "paid"
    SHIPPED = "shipped"


class Unit(Enum):
    CELSIUS = "celsius"
    PERCENT = "percent"
    HECTOPASCAL = "hPa"


class Words(NamedTuple):
    """How a library says record, tuple and mapping."""

    base: type
    options: dict[str, Any]
    decorate: Callable[[type], Any] = lambda cls: cls
    many: Callable[[Any], Any] = lambda item: tuple[item, ...]
    texts: Any = dict[str, str]


def classes(words: Words) -> dict[str, Any]:
    """The class of each shape, with the same fields and the same types in every library."""
    many, texts = words.many, words.texts

    @words.decorate
    class Quote(words.base, **words.options):
        symbol: str
        size: int
        price: float

    @words.decorate
    class Address(words.base, **words.options):
        street: str
        city: str
        postcode: str
        country: str
        region: str | None = None

    @words.decorate
    class Customer(words.base, **words.options):
        id: UUID
        name: str
        email: str
        address: Address
        phone: str | None = None

    @words.decorate
    class Line(words.base, **words.options):
        sku: str
        title: str
        quantity: int
        price: Decimal
        discount: Decimal | None = None

    @words.decorate
    class Order(words.base, **words.options):
        id: UUID
        number: int
        status: Status
        created_at: datetime
        customer: Customer
        shipping: Address
        lines: many(Line)
        currency: str
        subtotal: Decimal
        tax: Decimal
        total: Decimal
        paid: bool
        weight: float
        deliver_on: date
        attributes: texts
        tags: many(str)
        updated_at: datetime | None = None
        billing: Address | None = None
        note: str | None = None
        coupon: str | None = None

    @words.decorate
    class Position(words.base, **words.options):
        latitude: float
        longitude: float

    @words.decorate
    class Reading(words.base, **words.options):
        number: int
        device: UUID
        at: datetime
        unit: Unit
        value: float
        position: Position
        flagged: bool
        remark: str | None = None

    @words.decorate
    class Batch(words.base, **words.options):
        source: str
        readings: many(Reading)

    made = (Quote, Address, Customer, Line, Order, Position, Reading, Batch)
    return {cls.__name__: cls for cls in made}


def quote() -> dict[str, Any]:
    return {"symbol": "HWY", "size": 250, "price": 101.25}


def address(street: str, region: str | None = None) -> dict[str, Any]:
    return {
        "street": street,
        "city": "Kraków",
        "postcode": "31-044",
        "country": "PL",
        "region": region,
    }


def order() -> dict[str, Any]:
    lines = [
        {
            "sku": f"SKU-{number:05}",
            "title": f"Filter paper, box of {number * 50}",
            "quantity": number,
            "price": f"{number * 4}.90",
            "discount": "0.50" if number % 2 else None,
        }
        for number in range(1, 6)
    ]
    return {
        "id": "8f14e45f-ceea-467f-ab1c-9d2f1b6c7e01",
        "number": 1_048_577,
        "status": "paid",
        "created_at": datetime(2026, 11, 28, 9, 30, 15, 123456, UTC).isoformat(),
        "customer": {
            "id": "c4ca4238-a0b9-4382-8dcc-509a6f75849b",
            "name": "Zoë Żak",
            "email": "zoe@example.org",
            "address": address("Grodzka 12/3"),
            "phone": None,
        },
        "shipping": address("Floriańska 7", "Małopolska"),
        "lines": lines,
        "currency": "EUR",
        "subtotal": "268.00",
        "tax": "61.64",
        "total": "329.64",
        "paid": True,
        "weight": 3.75,
        "deliver_on": "2026-12-01",
        "attributes": {"channel": "web", "campaign": "autumn", "locale": "pl-PL"},
        "tags": ["new", "gift", "priority"],
        "updated_at": datetime(
            2026, 11, 28, 11, 2, 0, 500001, timezone(timedelta(hours=1))
        ).isoformat(),
        "billing": None,
        "note": 'Ring twice; say "hello".',
        "coupon": None,
    }


def batch() -> dict[str, Any]:
    random = Random(11)
    begin = datetime(2026, 11, 28, tzinfo=UTC)
    units = [unit.value for unit in Unit]
    devices = [str(UUID(int=random.getrandbits(128), version=4)) for _ in range(50)]
    readings = [
        {
            "number": number,
            "device": random.choice(devices),
            "at": (begin + timedelta(milliseconds=number * 250, microseconds=7)).isoformat(),
            "unit": random.choice(units),
            "value": round(random.uniform(-40, 1100), 2),
            "position": {
                "latitude": round(random.uniform(-90, 90), 5),
                "longitude": round(random.uniform(-180, 180), 5),
            },
            "flagged": random.random() < 0.1,
            "remark": "checked by hand" if random.random() < 0.1 else None,
        }
        for number in range(READINGS)
    ]
    return {"source": "field/north", "readings": readings}


class Shape(NamedTuple):
    """One shape: the class of its root, its data, and how often a statement is written out in a loop that is timed."""

    root: str
    data: Callable[[], dict[str, Any]]
    written_out: int


SHAPES = {
    "three scalars": Shape("Quote", quote, 10),
    "order": Shape("Order", order, 1),
    "1 MB": Shape("Batch", batch, 1),
}
