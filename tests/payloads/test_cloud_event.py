"""CloudEvents 1.0: attributes, extensions, data of any form. Guarantees 7.7, 7.9, 7.10."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.payloads.checks import REMOVE, Wrong, check, refused

ORDER_PAID: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.shop.order.paid",
    "source": "https://shop.example.com/orders",
    "subject": "A-1001",
    "id": "b1946ac9-2492-4d23-8c8e-1d2a0a0c3a55",
    "time": "2026-11-28T09:30:15.25Z",
    "datacontenttype": "application/json",
    "dataschema": "https://shop.example.com/schemas/order-paid",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "partitionkey": "customer-77",
    "sampledrate": 30,
    "retried": False,
    "data": {"order": "A-1001", "lines": [{"sku": "pen", "count": 2}], "total": 12.5, "note": None},
}
THUMBNAIL: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.images.thumbnail",
    "source": "/images",
    "id": "7",
    "datacontenttype": "image/png",
    "data_base64": base64.b64encode(b"\x89PNG\r\n\x1a\n\x00\xff").decode(),
}
LEAST: dict[str, Any] = {"specversion": "1.0", "type": "ping", "source": "/", "id": "1"}
TEXT: dict[str, Any] = LEAST | {"datacontenttype": "text/plain", "data": "only text"}


@pytest.fixture
def cloud_event(model: Any) -> Any:
    return model("cloud_event").CloudEvent


@pytest.mark.parametrize("payload", [ORDER_PAID, THUMBNAIL, LEAST, TEXT])
def test_a_payload_is_read_and_written_as_it_was(cloud_event: Any, payload: dict[str, Any]) -> None:
    check(cloud_event, payload)


def test_the_values_are_typed_and_extensions_can_be_read(cloud_event: Any) -> None:
    event = cloud_event.from_mapping(ORDER_PAID)
    assert event.time == datetime(2026, 11, 28, 9, 30, 15, 250_000, UTC)
    assert event.data["lines"][0]["sku"] == "pen"
    assert event.__unknown__["partitionkey"] == "customer-77"
    assert set(event.__unknown__) == {"traceparent", "partitionkey", "sampledrate", "retried"}
    assert cloud_event.from_mapping(THUMBNAIL).data_base64 == b"\x89PNG\r\n\x1a\n\x00\xff"
    retried = event.updated(__unknown__={**event.__unknown__, "retried": True})
    assert retried.to_mapping() == event.to_mapping() | {"retried": True}
    assert retried != event


def test_an_event_can_be_matched_and_made_by_hand(cloud_event: Any) -> None:
    made = cloud_event(id="1", source="/", specversion="1.0", type="ping")
    assert made == cloud_event.from_mapping(LEAST)
    assert dict(made.__unknown__) == {}
    traced = cloud_event(**LEAST, __unknown__={"traceparent": "00-01"})
    assert traced.to_mapping() == LEAST | {"traceparent": "00-01"}
    match traced:
        case cloud_event(type="ping", subject=None):
            pass
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(("id",), REMOVE, "CloudEvent.id: missing"),
        Wrong(("source",), "", "CloudEvent.source: "),
        Wrong(("specversion",), "0.3", "CloudEvent.specversion: "),
        Wrong(("subject",), 5, "CloudEvent.subject: expected "),
        Wrong(("time",), "2026-11-28T09:30:15", "CloudEvent.time: "),
        Wrong(("time",), "yesterday", "CloudEvent.time: "),
        Wrong(("data_base64",), "no base64", "CloudEvent.data_base64: "),
        Wrong(("data_base64",), "AAAA", "CloudEvent: data and data_base64", in_schema=False),
        Wrong(("traceParent",), "00", "CloudEvent: the extension 'traceParent'", in_schema=False),
        Wrong(("sampledrate",), 2**31, "CloudEvent: the extension 'sampledrate'", in_schema=False),
        Wrong(("sampledrate",), 1.5, "CloudEvent: the extension 'sampledrate'", in_schema=False),
        Wrong(("retried",), ["no"], "CloudEvent: the extension 'retried'", in_schema=False),
    ],
    ids=lambda wrong: f"{'.'.join(map(str, wrong.keys))}={wrong.value!r:.20}",
)
def test_a_wrong_payload_is_refused(cloud_event: Any, wrong: Wrong) -> None:
    refused(cloud_event, ORDER_PAID, wrong)


def test_all_that_is_wrong_is_told_at_once(cloud_event: Any) -> None:
    with pytest.raises(ValueError, match="CloudEvent has 3 problems") as caught:
        cloud_event.from_mapping(ORDER_PAID | {"id": 7, "time": 0, "type": ""})
    for field in ("id", "time", "type"):
        assert f"CloudEvent.{field}: " in str(caught.value)


def test_a_batch_is_a_sequence_of_events(cloud_event: Any, hb: Any) -> None:
    """The JSON batch format: application/cloudevents-batch+json."""
    batch = hb.State.parser(Sequence[cloud_event])
    events = batch.from_json(json.dumps([ORDER_PAID, THUMBNAIL, LEAST]))
    assert events == tuple(map(cloud_event.from_mapping, (ORDER_PAID, THUMBNAIL, LEAST)))
    assert batch.from_json(batch.to_json(events)) == events
    assert batch.from_json("[]") == ()
    with pytest.raises(ValueError, match=r"\[1\]\.id: expected str"):
        batch.from_json(json.dumps([LEAST, LEAST | {"id": 5}]))
