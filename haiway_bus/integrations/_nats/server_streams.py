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
from haiway_bus.integrations._nats.bridge_errors import NatsBridgeError
from haiway_bus.integrations._nats.settings import LaneSettings

__all__ = ("IDLE_SECONDS", "Streams")

IDLE_SECONDS: Final = 300.0
# Between the names of group and type: none of them can contain it, so no two pairs make one name.
SEPARATOR: Final = "="
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
        self, client: Client, settings: LaneSettings, name: str, after: int | None = None
    ) -> tuple[str, int]:
        """Have the group's consumer for this type there.

        Returns its name, and the number of the last message that it has behind it. Durable ones stay until somebody
        deletes them; others go when nobody has pulled for IDLE_SECONDS.

        Arguments:
            after: the number of the last message that an earlier one has brought, and that is done with. One that is
                not durable and is gone is made anew from there on.

        Raises NatsBridgeError for one that is there and brings other messages.
        """
        consumer = f"{settings.group}{SEPARATOR}{name}"
        subject = self.subject(name)
        js = self.jetstream(client)
        try:
            found = await js.consumer_info(self.stream, consumer)
        except NotFoundError:
            start: dict[str, Any] = {
                "deliver_policy": DeliverPolicy.ALL if settings.durable else DeliverPolicy.NEW
            }
            if after is not None and not settings.durable:
                start = await self._resumed(js, after)
                ctx.log_warning(
                    "the consumer %s was gone, as after %s s without a pull: it is made anew %s",
                    consumer,
                    IDLE_SECONDS,
                    f"from message {start.get('opt_start_seq', 1)} on",
                )
            found = await js.add_consumer(
                self.stream,
                ConsumerConfig(
                    name=consumer,
                    durable_name=consumer,
                    filter_subject=subject,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=settings.ack_wait,
                    max_ack_pending=settings.max_ack_pending,
                    max_deliver=-1,
                    inactive_threshold=None if settings.durable else IDLE_SECONDS,
                    **start,
                ),
            )
        brings = found.config.filter_subjects or [found.config.filter_subject]
        if brings != [subject]:
            raise NatsBridgeError(
                f"the consumer {consumer!r} of the stream {self.stream!r} brings {brings}, and not {subject!r}: another"
                " subject_prefix= has this group there. Choose another durable= or stream="
            )
        return consumer, 0 if found.delivered is None else found.delivered.stream_seq

    async def _resumed(self, js: JetStreamContext, after: int) -> dict[str, Any]:
        """Where to go on; from the beginning when the stream has fewer messages than that: it was made anew, too."""
        state = (await js.stream_info(self.stream)).state
        if state.last_seq < after:
            return {"deliver_policy": DeliverPolicy.ALL}
        return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": after + 1}


def _covers(pattern: str, subject: str) -> bool:
    """Whether every subject that `subject` stands for is one that `pattern` stands for."""
    wide, narrow = pattern.split("."), subject.split(".")
    for index, part in enumerate(wide):
        if part == ">":
            return len(narrow) > index
        if index >= len(narrow) or (part != "*" and part != narrow[index]):
            return False
    return len(wide) == len(narrow)
