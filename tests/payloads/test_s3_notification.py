"""An S3 notification: camelCase by an option, the odd keys by an Alias. Guarantees 7.7, 7.10."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.payloads.checks import REMOVE, Wrong, changed, check, refused

RECORD: dict[str, Any] = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "awsRegion": "eu-west-1",
    "eventTime": "2026-11-28T09:30:15.123Z",
    "eventName": "ObjectCreated:Put",
    "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
    "requestParameters": {"sourceIPAddress": "203.0.113.7"},
    "responseElements": {
        "x-amz-request-id": "C3D13FE58DE4C810",
        "x-amz-id-2": "FMyUVURIY8/IgAtTv8x",
    },
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "thumbnails",
        "bucket": {
            "name": "shop-images",
            "ownerIdentity": {"principalId": "A3NL1KOZZKEXAMPLE"},
            "arn": "arn:aws:s3:::shop-images",
        },
        "object": {
            "key": "2026/red+flower%2C+%C5%BC%C3%B3%C5%82ty.jpg",
            "size": 1024,
            "eTag": "d41d8cd98f00b204e9800998ecf8427e",
            "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
            "sequencer": "0055AED6DCD90281E5",
        },
    },
}
NOTIFICATION: dict[str, Any] = {"Records": [RECORD]}
REMOVED: dict[str, Any] = {
    "Records": [
        changed(RECORD, ("s3", "object"), {"key": "a", "sequencer": "0055AED6DCD90281E6"})
        | {"eventName": "ObjectRemoved:Delete", "eventTime": "2026-11-28T09:30:15.000Z"},
        RECORD,
    ]
}
LATER: dict[str, Any] = changed(NOTIFICATION, ("Records", 0, "glacierEventData"), {"days": 3})
TEST: dict[str, Any] = {
    "Service": "Amazon S3",
    "Event": "s3:TestEvent",
    "Time": "2026-11-28T09:00:00.000Z",
    "Bucket": "shop-images",
    "RequestId": "5582815E1AEA5ADF",
    "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
}


@pytest.fixture
def s3(model: Any) -> Any:
    return model("s3_notification")


def test_a_payload_is_read_and_written_as_it_was(s3: Any) -> None:
    check(s3.Notification, NOTIFICATION)
    check(s3.Notification, REMOVED)
    check(s3.Notification, LATER, ignored=(("Records", 0, "glacierEventData"),))
    check(s3.TestEvent, TEST)


def test_the_values_are_typed_and_the_key_is_decoded(s3: Any) -> None:
    (record,) = s3.Notification.from_mapping(NOTIFICATION).records
    assert record.event_time == datetime(2026, 11, 28, 9, 30, 15, 123_000, UTC)
    assert record.s3.object.path == "2026/red flower, żółty.jpg"
    assert record.s3.object.e_tag == "d41d8cd98f00b204e9800998ecf8427e"
    assert record.request_parameters.source_ip_address == "203.0.113.7"
    assert record.response_elements.id_2 == "FMyUVURIY8/IgAtTv8x"
    removed, made = s3.Notification.from_mapping(REMOVED).records
    assert (removed.s3.object.size, removed.s3.object.version_id) == (None, None)
    assert made == record


def test_the_keys_are_those_of_the_payload_and_the_schema(s3: Any) -> None:
    schemas = s3.Notification.json_schema()["$defs"]
    assert set(schemas["Record"]["properties"]) == set(RECORD)
    assert set(schemas["Object"]["properties"]) == set(RECORD["s3"]["object"])
    assert schemas["Record"]["required"] == list(RECORD)
    assert set(schemas["Object"]["required"]) == {"key", "sequencer"}


FIRST = ("Records", 0)
OBJECT = (*FIRST, "s3", "object")


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(("Records",), [], "Notification.records: "),
        Wrong(("Records",), REMOVE, "Notification.records: missing"),
        Wrong(("records",), [], "Notification['records']: no such key"),
        Wrong((*FIRST, "awsRegion"), REMOVE, "Notification.records[0].aws_region: missing"),
        Wrong((*FIRST, "eventSource"), "aws:sqs", "Notification.records[0].event_source: "),
        Wrong((*FIRST, "eventTime"), "2026-11-28", "Notification.records[0].event_time: "),
        Wrong(
            (*FIRST, "requestParameters"),
            {"sourceIpAddress": "203.0.113.7"},
            "Notification.records[0].request_parameters.source_ip_address: missing",
        ),
        Wrong((*OBJECT, "size"), "1024", "Notification.records[0].s3.object.size: "),
        Wrong((*OBJECT, "size"), -1, "Notification.records[0].s3.object.size: "),
        Wrong((*OBJECT, "key"), "", "Notification.records[0].s3.object.key: "),
        Wrong((*OBJECT, "eTag"), 5, "Notification.records[0].s3.object.e_tag: "),
    ],
    ids=lambda wrong: f"{'.'.join(map(str, wrong.keys))}={wrong.value!r:.20}",
)
def test_a_wrong_payload_is_refused(s3: Any, wrong: Wrong) -> None:
    refused(s3.Notification, NOTIFICATION, wrong)


def test_the_queue_also_brings_the_test_event(s3: Any) -> None:
    """Neither has a tag: they are told apart by their keys."""
    message = s3.State.parser(s3.Notification | s3.TestEvent)
    for payload, kind in ((NOTIFICATION, s3.Notification), (TEST, s3.TestEvent)):
        read = message.from_json(json.dumps(payload))
        assert type(read) is kind
        assert read == kind.from_mapping(payload)
        assert message.to_json(read) == read.to_json()
    with pytest.raises(ValueError, match=r"\.bucket: expected str, given int 5$"):
        message.from_plain(TEST | {"Bucket": 5})
