"""Stripe-like events: epoch times, minor units, objects told apart by a field. Guarantees 7.7, 7.9, 7.10."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.payloads.checks import REMOVE, Wrong, changed, check, refused

CUSTOMER: dict[str, Any] = {
    "id": "cus_Q1",
    "object": "customer",
    "created": 1_795_000_000,
    "livemode": False,
    "email": "zoe@example.org",
    "balance": -250,
    "metadata": {"tier": "gold"},
}
CHARGE: dict[str, Any] = {
    "id": "ch_3Nx",
    "object": "charge",
    "created": 1_795_860_001,
    "livemode": False,
    "amount": 1999,
    "amount_captured": 1999,
    "currency": "eur",
    "customer": CUSTOMER,
    "failure_code": None,
    "status": "succeeded",
    "metadata": {},
    "billing_details": {"name": "Zoë Żak", "address": {"country": "PL"}},
}
INTENT: dict[str, Any] = {
    "id": "pi_3Nx",
    "object": "payment_intent",
    "created": 1_795_860_000,
    "livemode": False,
    "amount": 1999,
    "currency": "eur",
    "customer": "cus_Q1",
    "latest_charge": CHARGE,
    "status": "succeeded",
    "metadata": {"order": "A-1001"},
    "client_secret": "pi_3Nx_secret",
}
PAID: dict[str, Any] = {
    "id": "evt_1Nx",
    "object": "event",
    "api_version": "2026-06-20",
    "created": 1_795_860_002,
    "data": {"object": INTENT, "previous_attributes": {"status": "processing", "x": [1, None]}},
    "livemode": False,
    "pending_webhooks": 1,
    "request": {"id": "req_9", "idempotency_key": None},
    "type": "payment_intent.succeeded",
    "context": "added by a later version",
}
CHANGED: dict[str, Any] = changed(PAID, ("data",), {"object": CUSTOMER}) | {
    "type": "customer.updated",
    "request": None,
}
IGNORED = (
    ("context",),
    ("data", "object", "client_secret"),
    ("data", "object", "latest_charge", "billing_details"),
)


@pytest.fixture
def stripe(model: Any) -> Any:
    return model("stripe_event")


def test_a_payload_is_read_and_written_but_for_what_is_ignored(stripe: Any) -> None:
    check(stripe.Event, PAID, ignored=IGNORED)
    check(stripe.Event, CHANGED, ignored=(("context",),))
    for payload in (CUSTOMER, INTENT | {"latest_charge": "ch_3Nx"}):
        given = changed(CHANGED, ("data", "object"), payload)
        secret = [("data", "object", "client_secret")] if "client_secret" in payload else []
        check(stripe.Event, given, ignored=(("context",), *secret))


def test_the_objects_are_of_their_classes(stripe: Any) -> None:
    event = stripe.Event.from_mapping(PAID)
    intent = event.data.object
    assert type(intent) is stripe.PaymentIntent
    assert type(intent.latest_charge) is stripe.Charge
    assert type(intent.latest_charge.customer) is stripe.Customer
    assert event.created == datetime.fromtimestamp(1_795_860_002, UTC)
    assert event.created.tzinfo is UTC
    assert intent.total == Decimal("19.99")
    assert intent.updated(currency="jpy").total == 1999
    assert event.data.previous_attributes == {"status": "processing", "x": (1, None)}
    assert type(stripe.Event.from_mapping(CHANGED).data.object) is stripe.Customer


OBJECT = ("data", "object")


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(("object",), "charge", "Event.object: "),
        Wrong(("created",), "2026-11-28T10:00:00Z", "Event.created: "),
        Wrong(("created",), True, "Event.created: "),
        Wrong(("created",), 1e18, "Event.created: "),
        Wrong(("data",), {}, "Event.data.object: missing"),
        Wrong((*OBJECT, "object"), "payout", "Event.data.object"),
        Wrong((*OBJECT, "object"), REMOVE, "Event.data.object"),
        Wrong((*OBJECT, "amount"), "1999", "Event.data.object.amount: expected "),
        Wrong((*OBJECT, "amount"), -1, "Event.data.object.amount: expected "),
        Wrong((*OBJECT, "amount"), 19.99, "Event.data.object.amount: expected "),
        Wrong((*OBJECT, "currency"), "EUR", "Event.data.object.currency: ", in_schema=False),
        Wrong((*OBJECT, "status"), "paid", "Event.data.object.status: expected "),
        Wrong((*OBJECT, "metadata", "order"), 7, "Event.data.object.metadata['order']: "),
        Wrong((*OBJECT, "latest_charge"), 7, "Event.data.object.latest_charge: expected "),
        Wrong((*OBJECT, "latest_charge", "amount"), None, "Event.data.object.latest_charge"),
        Wrong(
            (*OBJECT, "latest_charge", "amount_captured"),
            2000,
            "Event.data.object.latest_charge",
            in_schema=False,
        ),
    ],
    ids=lambda wrong: f"{'.'.join(map(str, wrong.keys))}={wrong.value!r:.20}",
)
def test_a_wrong_payload_is_refused(stripe: Any, wrong: Wrong) -> None:
    refused(stripe.Event, PAID, wrong)
