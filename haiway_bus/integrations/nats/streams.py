"""What has to be there on the server: the stream, the stream of dead letters, a consumer for each type and group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from haiway_bus import ctx
from haiway_bus.integrations.nats.errors import NatsBridgeError

__all__ = ("IDLE_SECONDS", "Streams")

IDLE_SECONDS: Final = 300.0
API_SECONDS: Final = 5.0


class Streams:
    """The names on the server, and the making of what they name.

    A stream that exists is taken as it is, if it covers the subjects: whoever runs the server decides on replicas,
    age and size. One that does not is made, of `options`.
    """

    def __init__(
        self, stream: str, prefix: str, domain: str | None, options: Mapping[str, Any]
    ) -> None:
        self.stream = stream
        self.dead_stream: str = f"{stream}-dead"
        self.prefix = prefix
        self.api: str = "$JS.API" if domain is None else f"$JS.{domain}.API"
        self._domain = domain
        self._options = dict(options)
        self._checked: Client | None = None
        self._lock = asyncio.Lock()

    def subject(self, name: str) -> str:
        """Where events of the type with this name are published."""
        return f"{self.prefix}.events.{name}"

    def dead_subject(self, name: str) -> str:
        """Where what cannot be taken as an event of that type goes."""
        return f"{self.prefix}.dead.{name}"

    def jetstream(self, client: Client) -> JetStreamContext:
        return client.jetstream(prefix=self.api, timeout=API_SECONDS)

    async def ensure(self, client: Client) -> None:
        """Have both streams there, once a connection.

        Raises NatsBridgeError for a stream that is there and does not cover the subjects.
        """
        async with self._lock:
            if self._checked is client:
                return
            js = self.jetstream(client)
            await self._ensure(js, self.stream, f"{self.prefix}.events.>", self._options)
            await self._ensure(js, self.dead_stream, f"{self.prefix}.dead.>", {})
            self._checked = client

    def forget(self) -> None:
        """Have the streams looked for again: one of them did not answer, and may be gone."""
        self._checked = None

    async def _ensure(
        self, js: JetStreamContext, name: str, subject: str, options: Mapping[str, Any]
    ) -> None:
        config = StreamConfig(**{"name": name, "subjects": [subject], **options})
        try:
            found = await js.stream_info(name)
        except NotFoundError:
            try:
                await js.add_stream(config)
                ctx.log_info("the stream %s for %s was not there, and was made", name, subject)
                return
            except BadRequestError:
                # Another process was faster, or its subjects belong to another stream: this tells which.
                try:
                    found = await js.stream_info(name)
                except NotFoundError:
                    raise NatsBridgeError(
                        f"the stream {name!r} cannot be made for {subject!r}: another stream has these subjects, or"
                        " its options are refused. Name that one with stream=, or choose another subject_prefix="
                    ) from None
        subjects = found.config.subjects or []
        if not any(_covers(one, subject) for one in subjects):
            raise NatsBridgeError(
                f"the stream {name!r} has the subjects {subjects}, and not {subject!r}: add it there, or choose"
                " another stream= or subject_prefix="
            )

    async def consumer(
        self,
        client: Client,
        group: str,
        name: str,
        *,
        durable: bool,
        from_start: bool,
        ack_wait: float,
        max_ack_pending: int,
    ) -> str:
        """Have the group's consumer for this type there, and return its name.

        Durable ones stay until somebody deletes them; others go when nobody has pulled for IDLE_SECONDS.
        """
        consumer = f"{group}-{name}"
        js = self.jetstream(client)
        try:
            await js.consumer_info(self.stream, consumer)
        except NotFoundError:
            await js.add_consumer(
                self.stream,
                ConsumerConfig(
                    name=consumer,
                    durable_name=consumer,
                    filter_subject=self.subject(name),
                    deliver_policy=DeliverPolicy.ALL if from_start else DeliverPolicy.NEW,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=ack_wait,
                    max_ack_pending=max_ack_pending,
                    max_deliver=-1,
                    inactive_threshold=None if durable else IDLE_SECONDS,
                ),
            )
        return consumer


def _covers(pattern: str, subject: str) -> bool:
    """Whether every subject that `subject` stands for is one that `pattern` stands for."""
    wide, narrow = pattern.split("."), subject.split(".")
    for index, part in enumerate(wide):
        if part == ">":
            return len(narrow) > index
        if index >= len(narrow) or (part != "*" and part != narrow[index]):
            return False
    return len(wide) == len(narrow)
