"""What S3 tells a queue: camelCase, with exceptions. The key of an object is encoded as in a URL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import unquote_plus

from annotated_types import Ge, MinLen, Timezone

from haiway_bus import Alias, State

Moment = Annotated[datetime, Timezone(...)]


class Part(State, rename="camel", unknown="ignore", omit_defaults=True):
    """What all parts of the payload have in common."""


class Identity(Part):
    principal_id: str


class RequestParameters(Part):
    source_ip_address: Annotated[str, Alias("sourceIPAddress")]


class ResponseElements(Part):
    request_id: Annotated[str, Alias("x-amz-request-id")]
    id_2: Annotated[str, Alias("x-amz-id-2")]


class Bucket(Part):
    name: str
    owner_identity: Identity
    arn: str


class Object(Part):
    key: Annotated[str, MinLen(1)]
    sequencer: str
    size: Annotated[int, Ge(0)] | None = None  # a removed object has neither
    e_tag: str | None = None
    version_id: str | None = None

    @property
    def path(self) -> str:
        return unquote_plus(self.key)


class Entity(Part):
    s3_schema_version: Literal["1.0"]
    configuration_id: str
    bucket: Bucket
    object: Object


class Record(Part):
    event_version: str
    event_source: Literal["aws:s3"]
    aws_region: str
    event_time: Moment
    event_name: str
    user_identity: Identity
    request_parameters: RequestParameters
    response_elements: ResponseElements
    s3: Entity


class Notification(State, rename="pascal"):
    records: Annotated[Sequence[Record], MinLen(1)]


class TestEvent(State, rename="pascal"):
    """What S3 sends once, when notifications are set up."""

    service: Literal["Amazon S3"]
    event: Literal["s3:TestEvent"]
    time: Moment
    bucket: str
    request_id: str
    host_id: str
