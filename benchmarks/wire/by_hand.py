"""The same records by hand: frozen dataclasses, and the functions that a careful engineer writes for their JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from wire.shapes import Status, Unit, Words, classes

__all__ = ("READ", "WRITE", "dataclasses_by_name")


def dataclasses_by_name() -> dict[str, Any]:
    return classes(Words(object, {}, dataclass(frozen=True, slots=True)))


CLASSES = dataclasses_by_name()
Quote, Address, Customer, Line, Order, Position, Reading, Batch = CLASSES.values()


def write_quote(quote: Any) -> dict[str, Any]:
    return {"symbol": quote.symbol, "size": quote.size, "price": quote.price}


def read_quote(data: dict[str, Any]) -> Any:
    return Quote(symbol=data["symbol"], size=data["size"], price=data["price"])


def write_address(address: Any) -> dict[str, Any]:
    return {
        "street": address.street,
        "city": address.city,
        "postcode": address.postcode,
        "country": address.country,
        "region": address.region,
    }


def read_address(data: dict[str, Any]) -> Any:
    return Address(
        street=data["street"],
        city=data["city"],
        postcode=data["postcode"],
        country=data["country"],
        region=data.get("region"),
    )


def write_customer(customer: Any) -> dict[str, Any]:
    return {
        "id": str(customer.id),
        "name": customer.name,
        "email": customer.email,
        "address": write_address(customer.address),
        "phone": customer.phone,
    }


def read_customer(data: dict[str, Any]) -> Any:
    return Customer(
        id=UUID(data["id"]),
        name=data["name"],
        email=data["email"],
        address=read_address(data["address"]),
        phone=data.get("phone"),
    )


def write_line(line: Any) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "title": line.title,
        "quantity": line.quantity,
        "price": str(line.price),
        "discount": None if line.discount is None else str(line.discount),
    }


def read_line(data: dict[str, Any]) -> Any:
    discount = data.get("discount")
    return Line(
        sku=data["sku"],
        title=data["title"],
        quantity=data["quantity"],
        price=Decimal(data["price"]),
        discount=None if discount is None else Decimal(discount),
    )


def write_order(order: Any) -> dict[str, Any]:
    return {
        "id": str(order.id),
        "number": order.number,
        "status": order.status.value,
        "created_at": order.created_at.isoformat(),
        "customer": write_customer(order.customer),
        "shipping": write_address(order.shipping),
        "lines": [write_line(line) for line in order.lines],
        "currency": order.currency,
        "subtotal": str(order.subtotal),
        "tax": str(order.tax),
        "total": str(order.total),
        "paid": order.paid,
        "weight": order.weight,
        "deliver_on": order.deliver_on.isoformat(),
        "attributes": order.attributes,
        "tags": order.tags,
        "updated_at": None if order.updated_at is None else order.updated_at.isoformat(),
        "billing": None if order.billing is None else write_address(order.billing),
        "note": order.note,
        "coupon": order.coupon,
    }


def read_order(data: dict[str, Any]) -> Any:
    updated_at, billing = data.get("updated_at"), data.get("billing")
    return Order(
        id=UUID(data["id"]),
        number=data["number"],
        status=Status(data["status"]),
        created_at=datetime.fromisoformat(data["created_at"]),
        customer=read_customer(data["customer"]),
        shipping=read_address(data["shipping"]),
        lines=tuple([read_line(line) for line in data["lines"]]),
        currency=data["currency"],
        subtotal=Decimal(data["subtotal"]),
        tax=Decimal(data["tax"]),
        total=Decimal(data["total"]),
        paid=data["paid"],
        weight=data["weight"],
        deliver_on=date.fromisoformat(data["deliver_on"]),
        attributes=data["attributes"],
        tags=tuple(data["tags"]),
        updated_at=None if updated_at is None else datetime.fromisoformat(updated_at),
        billing=None if billing is None else read_address(billing),
        note=data.get("note"),
        coupon=data.get("coupon"),
    )


def write_reading(reading: Any) -> dict[str, Any]:
    position = reading.position
    return {
        "number": reading.number,
        "device": str(reading.device),
        "at": reading.at.isoformat(),
        "unit": reading.unit.value,
        "value": reading.value,
        "position": {"latitude": position.latitude, "longitude": position.longitude},
        "flagged": reading.flagged,
        "remark": reading.remark,
    }


def read_reading(data: dict[str, Any]) -> Any:
    position = data["position"]
    return Reading(
        number=data["number"],
        device=UUID(data["device"]),
        at=datetime.fromisoformat(data["at"]),
        unit=Unit(data["unit"]),
        value=data["value"],
        position=Position(latitude=position["latitude"], longitude=position["longitude"]),
        flagged=data["flagged"],
        remark=data.get("remark"),
    )


def write_batch(batch: Any) -> dict[str, Any]:
    return {
        "source": batch.source,
        "readings": [write_reading(reading) for reading in batch.readings],
    }


def read_batch(data: dict[str, Any]) -> Any:
    return Batch(
        source=data["source"],
        readings=tuple([read_reading(reading) for reading in data["readings"]]),
    )


WRITE = {"Quote": write_quote, "Order": write_order, "Batch": write_batch}
READ = {"Quote": read_quote, "Order": read_order, "Batch": read_batch}
