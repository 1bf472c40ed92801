"""Events in the manner of Stripe: seconds since 1970, amounts in minor units, objects told apart by `object`.

The sender adds fields as it likes, so unknown keys are ignored. A reference to another object is its id, or the whole
object when the reader asked for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from annotated_types import Ge, Predicate

from haiway_bus import Epoch, JsonValue, State

ZERO_DECIMAL = {"jpy", "krw", "vnd"}


def is_currency(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isalpha() and text.islower()


Moment = Annotated[datetime, Epoch("s")]
Amount = Annotated[int, Ge(0)]
Currency = Annotated[str, Predicate(is_currency)]


class Resource(State, unknown="ignore", omit_defaults=True):
    id: str
    created: Moment
    livemode: bool
    metadata: Mapping[str, str]


class Customer(Resource):
    object: Literal["customer"]
    email: str | None
    balance: int  # negative: credit


class Charge(Resource):
    object: Literal["charge"]
    amount: Amount
    amount_captured: Amount
    currency: Currency
    customer: str | Customer | None
    failure_code: str | None
    status: Literal["succeeded", "pending", "failed"]

    def __validate__(self) -> None:
        if self.amount_captured > self.amount:
            raise ValueError(f"captured {self.amount_captured} of {self.amount}")


class PaymentIntent(Resource):
    object: Literal["payment_intent"]
    amount: Amount
    currency: Currency
    customer: str | Customer | None
    latest_charge: str | Charge | None
    status: Literal["requires_capture", "processing", "succeeded", "canceled"]

    @property
    def total(self) -> Decimal:
        return Decimal(self.amount) / (1 if self.currency in ZERO_DECIMAL else 100)


class Data(State, unknown="ignore", omit_defaults=True):
    object: Charge | Customer | PaymentIntent
    previous_attributes: Mapping[str, JsonValue] | None = None


class Request(State, unknown="ignore"):
    id: str | None
    idempotency_key: str | None


class Event(State, unknown="ignore"):
    id: str
    object: Literal["event"]
    api_version: str | None
    created: Moment
    data: Data
    livemode: bool
    pending_webhooks: Annotated[int, Ge(0)]
    request: Request | None
    type: str
