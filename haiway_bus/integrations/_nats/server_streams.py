"""What the server must have: the stream, the stream of dead letters, and a consumer for each type and group."""

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
from haiway_bus.integrations._nats.connection import Connection
from haiway_bus.integrations._nats.options import LaneOptions
from haiway_bus.integrations._nats.server_errors import LOST

__all__ = ("ServerStreams",)

IDLE_SECONDS: Final = 300.0
# Stands between the names of group and type. Neither can contain it, so no two pairs make the same name.
SEPARATOR: Final = "="
API_SECONDS: Final = 5.0


class ServerStreams:
    """The names on the server, and the making of streams and consumers.

    A stream that exists is used as it is if it covers the subjects: whoever runs the server decides on replicas, age
    and size. A missing stream is made, with `options`.
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
        """Return the subject for events of the type with this name."""
        return f"{self.prefix}.events.{name}"

    def dead_subject(self, name: str) -> str:
        """Return the subject for dead letters of the type with this name."""
        return f"{self.prefix}.dead.{name}"

    def jetstream(self, client: Client) -> JetStreamContext:
        """Return nats-py's interface to JetStream."""
        return client.jetstream(prefix=self.api, timeout=API_SECONDS)

    async def ensure(self, client: Client) -> None:
        """Check both streams once for each connection, and make them if they are missing.

        Raises:
            NatsBridgeError: A stream exists and does not cover the subjects.
        """
        async with self._lock:
            if self._checked is client:
                return
            js = self.jetstream(client)
            await self._ensure(js, self.stream, f"{self.prefix}.events.>", self._options)
            await self._ensure(js, self.dead_stream, f"{self.prefix}.dead.>", {})
            self._checked = client

    async def check(self, connection: Connection, seconds: float) -> None:
        """Ensure both streams at the start, when a failure means that something is not set up.

        Raises:
            NatsBridgeError: JetStream does not answer in so many seconds, or a stream does not cover the subjects.
        """
        client = await connection.ready()
        try:
            async with asyncio.timeout(seconds):
                await self.ensure(client)
        except LOST as error:
            text = connection.redacted(error) or type(error).__name__
            raise NatsBridgeError(
                f"JetStream at {connection.shown} does not answer: {text}. Is it on (nats-server -js), and may this"
                " user use it?"
            ) from None

    def forget(self) -> None:
        """Check the streams again next time: a stream did not answer, and may be gone."""
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
                ctx.log_info("the stream %s for %s was missing and has been made", name, subject)
                return
            except BadRequestError:
                # Another process was faster, or the subjects belong to another stream. Look which it is.
                try:
                    found = await js.stream_info(name)
                except NotFoundError:
                    raise NatsBridgeError(
                        f"the stream {name!r} cannot be made for {subject!r}: another stream has these subjects, or"
                        " the server refuses the stream_options. Name that stream in stream=, or choose another"
                        " subject_prefix="
                    ) from None
        subjects = found.config.subjects or []
        if not any(_covers(pattern, subject) for pattern in subjects):
            raise NatsBridgeError(
                f"the stream {name!r} has the subjects {subjects}, and not {subject!r}: add it there, or choose"
                " another stream= or subject_prefix="
            )

    async def consumer(
        self, client: Client, options: LaneOptions, name: str, after: int | None = None
    ) -> tuple[str, int]:
        """Find the group's consumer for this type, or make it.

        A durable consumer stays until somebody deletes it. Others are gone when nobody has pulled for IDLE_SECONDS.

        Args:
            client: The present connection.
            options: The options of the lane.
            name: The type's name on the wire.
            after: The sequence up to which an earlier consumer has brought all messages, and they are done. A consumer
                that is gone and not durable is made again to go on after it.

        Returns:
            The consumer's name, and the sequence of the last message that it has delivered.

        Raises:
            NatsBridgeError: The consumer exists and brings other messages.
        """
        consumer = f"{options.group}{SEPARATOR}{name}"
        subject = self.subject(name)
        js = self.jetstream(client)
        try:
            found = await js.consumer_info(self.stream, consumer)
        except NotFoundError:
            start: dict[str, Any] = {
                "deliver_policy": DeliverPolicy.ALL if options.durable else DeliverPolicy.NEW
            }
            if after is not None and not options.durable:
                start = await self._resumed(js, after)
                ctx.log_warning(
                    "the consumer %s was gone, as the server forgets it after %s s without a pull: another begins %s",
                    consumer,
                    IDLE_SECONDS,
                    f"at message {start.get('opt_start_seq', 1)}",
                )
            found = await js.add_consumer(
                self.stream,
                ConsumerConfig(
                    name=consumer,
                    durable_name=consumer,
                    filter_subject=subject,
                    ack_policy=AckPolicy.EXPLICIT,
                    ack_wait=options.ack_wait,
                    max_ack_pending=options.max_ack_pending,
                    max_deliver=-1,
                    inactive_threshold=None if options.durable else IDLE_SECONDS,
                    **start,
                ),
            )
        brings = found.config.filter_subjects or [found.config.filter_subject]
        if brings != [subject]:
            raise NatsBridgeError(
                f"the consumer {consumer!r} of the stream {self.stream!r} brings {brings}, and not {subject!r}: a"
                " bridge with another subject_prefix= uses this group. Choose another durable= or stream="
            )
        return consumer, 0 if found.delivered is None else found.delivered.stream_seq

    async def _resumed(self, js: JetStreamContext, after: int) -> dict[str, Any]:
        """Return where to go on: after that message, or at the beginning if the stream is new and shorter."""
        state = (await js.stream_info(self.stream)).state
        if state.last_seq < after:
            return {"deliver_policy": DeliverPolicy.ALL}
        return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": after + 1}


def _covers(pattern: str, subject: str) -> bool:
    """Return whether `pattern` matches every subject that `subject` matches."""
    wide, narrow = pattern.split("."), subject.split(".")
    for index, part in enumerate(wide):
        if part == ">":
            return len(narrow) > index
        if index >= len(narrow) or (part != "*" and part != narrow[index]):
            return False
    return len(wide) == len(narrow)
