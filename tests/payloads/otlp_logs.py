"""Log records of OpenTelemetry, in the JSON form of OTLP.

The form is that of protocol buffers: camelCase, 64-bit numbers as text, a oneof as an object with a single key, and a
field that has its default is left out. Trace ids are hexadecimal, which is OTLP's own exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from annotated_types import Ge, Le, Predicate

from haiway_bus import State


def is_int64(text: str) -> bool:
    digits = text.removeprefix("-")
    return (
        digits.isascii() and digits.isdigit() and len(digits) < 20 and -(2**63) <= int(text) < 2**63
    )


def is_fixed64(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20 and int(text) < 2**64


def is_trace_id(text: str) -> bool:
    return is_hex(text, 32)


def is_span_id(text: str) -> bool:
    return is_hex(text, 16)


def is_hex(text: str, length: int) -> bool:
    return text == "" or (len(text) == length and set(text) <= set("0123456789abcdefABCDEF"))


Int64 = Annotated[str, Predicate(is_int64)]
Fixed64 = Annotated[str, Predicate(is_fixed64)]


class Message(State, rename="camel", unknown="ignore", omit_defaults=True):
    """What all messages have in common."""


class StringValue(Message):
    string_value: str


class BoolValue(Message):
    bool_value: bool


class IntValue(Message):
    int_value: Int64


class DoubleValue(Message):
    double_value: float


class BytesValue(Message):
    bytes_value: bytes


class ArrayOfValues(Message):
    values: Sequence[AnyValue] = ()


class ArrayValue(Message):
    array_value: ArrayOfValues


class KeyValue(Message):
    key: str
    value: AnyValue


class ListOfKeyValues(Message):
    values: Sequence[KeyValue] = ()


class KvlistValue(Message):
    kvlist_value: ListOfKeyValues


AnyValue: TypeAlias = (
    StringValue | BoolValue | IntValue | DoubleValue | BytesValue | ArrayValue | KvlistValue
)


class Resource(Message):
    attributes: Sequence[KeyValue] = ()


class Scope(Message):
    name: str = ""
    version: str = ""
    attributes: Sequence[KeyValue] = ()


class LogRecord(Message):
    time_unix_nano: Fixed64 = "0"
    observed_time_unix_nano: Fixed64 = "0"
    severity_number: Annotated[int, Ge(0), Le(24)] = 0
    severity_text: str = ""
    body: AnyValue | None = None
    attributes: Sequence[KeyValue] = ()
    dropped_attributes_count: Annotated[int, Ge(0)] = 0
    flags: Annotated[int, Ge(0)] = 0
    trace_id: Annotated[str, Predicate(is_trace_id)] = ""
    span_id: Annotated[str, Predicate(is_span_id)] = ""

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(int(self.time_unix_nano) / 1e9, UTC)


class ScopeLogs(Message):
    scope: Scope | None = None
    log_records: Sequence[LogRecord] = ()
    schema_url: str = ""


class ResourceLogs(Message):
    resource: Resource | None = None
    scope_logs: Sequence[ScopeLogs] = ()
    schema_url: str = ""


class Export(Message):
    resource_logs: Sequence[ResourceLogs] = ()
