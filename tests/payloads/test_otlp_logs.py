"""OTLP log records: 64-bit numbers as text, values told apart by their only key, nested values. Guarantee 7.7."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.payloads.checks import REMOVE, Wrong, changed, check, refused


def text(value: str) -> dict[str, Any]:
    return {"stringValue": value}


def pair(key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "value": value}


RECORD: dict[str, Any] = {
    "timeUnixNano": "1795858215123456789",
    "observedTimeUnixNano": "1795858215200000000",
    "severityNumber": 10,
    "severityText": "Information",
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "eee19b7ec3c1b174",
    "body": text("Example log record"),
    "attributes": [
        pair("string.attribute", text("żółty")),
        pair("boolean.attribute", {"boolValue": True}),
        pair("int.attribute", {"intValue": "-9223372036854775808"}),
        pair("double.attribute", {"doubleValue": 637.704}),
        pair("bytes.attribute", {"bytesValue": "AAEC/w=="}),
        pair("array.attribute", {"arrayValue": {"values": [text("many"), {"intValue": "7"}]}}),
        pair(
            "map.attribute",
            {"kvlistValue": {"values": [pair("inner", {"arrayValue": {"values": [text("")]}})]}},
        ),
        pair("empty.array", {"arrayValue": {}}),
    ],
}
EXPORT: dict[str, Any] = {
    "resourceLogs": [
        {
            "resource": {"attributes": [pair("service.name", text("shop"))]},
            "scopeLogs": [
                {
                    "scope": {"name": "shop.log", "version": "1.0.0"},
                    "logRecords": [RECORD, {"body": {"kvlistValue": {}}}],
                }
            ],
        }
    ]
}
RECORDS = ("resourceLogs", 0, "scopeLogs", 0, "logRecords")
FIRST = "Export.resource_logs[0].scope_logs[0].log_records[0]"


@pytest.fixture
def otlp(model: Any) -> Any:
    return model("otlp_logs")


def nested(depth: int) -> dict[str, Any]:
    value = text("deep")
    for _ in range(depth):
        value = {"arrayValue": {"values": [value]}}
    return value


def test_a_payload_is_read_and_written_as_it_was(otlp: Any) -> None:
    check(otlp.Export, EXPORT)
    check(otlp.Export, {})
    check(otlp.Export, changed(EXPORT, (*RECORDS, 0, "body"), nested(20)))
    later = changed(EXPORT, (*RECORDS, 0, "eventName"), "added in 1.5")
    check(otlp.Export, later, ignored=((*RECORDS, 0, "eventName"),))


def test_the_values_are_of_the_class_that_has_their_key(otlp: Any) -> None:
    record, bare = otlp.Export.from_mapping(EXPORT).resource_logs[0].scope_logs[0].log_records
    kinds = [type(attribute.value).__name__ for attribute in record.attributes]
    assert kinds == [
        *("StringValue", "BoolValue", "IntValue", "DoubleValue", "BytesValue"),
        *("ArrayValue", "KvlistValue", "ArrayValue"),
    ]
    assert int(record.attributes[2].value.int_value) == -(2**63)
    assert record.attributes[4].value.bytes_value == b"\x00\x01\x02\xff"
    assert record.at.replace(microsecond=0) == datetime.fromtimestamp(1_795_858_215, UTC)
    assert bare == otlp.LogRecord(body=otlp.KvlistValue(kvlist_value=otlp.ListOfKeyValues()))


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong(("resourceLogs",), {}, "Export.resource_logs: expected "),
        Wrong((*RECORDS, 0, "severityNumber"), 25, f"{FIRST}.severity_number: "),
        Wrong((*RECORDS, 0, "timeUnixNano"), 1795858215, f"{FIRST}.time_unix_nano: "),
        Wrong((*RECORDS, 0, "timeUnixNano"), "-1", f"{FIRST}.time_unix_nano: ", in_schema=False),
        Wrong((*RECORDS, 0, "timeUnixNano"), "9" * 5000, f"{FIRST}.time_unix_nano: ", False),
        Wrong((*RECORDS, 0, "traceId"), "5B8E", f"{FIRST}.trace_id: ", in_schema=False),
        Wrong((*RECORDS, 0, "body"), {}, f"{FIRST}.body"),
        Wrong((*RECORDS, 0, "body"), "text", f"{FIRST}.body: expected "),
        Wrong((*RECORDS, 0, "body"), {"stringValue": 5}, f"{FIRST}.body.string_value: "),
        Wrong((*RECORDS, 0, "attributes", 1, "key"), REMOVE, f"{FIRST}.attributes[1].key: missing"),
        Wrong((*RECORDS, 0, "attributes", 1, "value"), REMOVE, f"{FIRST}.attributes[1].value: "),
        Wrong(
            (*RECORDS, 0, "attributes", 2, "value", "intValue"),
            str(2**63),
            f"{FIRST}.attributes[2].value.int_value: expected ",
            in_schema=False,
        ),
        Wrong(
            (*RECORDS, 0, "attributes", 5, "value", "arrayValue", "values", 1, "intValue"),
            "seven",
            f"{FIRST}.attributes[5].value.array_value.values[1].int_value: ",
            in_schema=False,
        ),
    ],
    ids=lambda wrong: f"{'.'.join(map(str, wrong.keys))}={wrong.value!r:.20}",
)
def test_a_wrong_payload_is_refused(otlp: Any, wrong: Wrong) -> None:
    refused(otlp.Export, EXPORT, wrong)
