"""NatsBridge, the disposable of a scope: what is entered in which order, and how it drains."""

from __future__ import annotations

import asyncio
import os
from asyncio import Task
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Any, Final, Literal

from haiway_bus import State, ctx
from haiway_bus.integrations._nats.bridge_errors import (
    NatsBridgeError,
    NatsEventRefused,
    NatsPayloadTooLarge,
)
from haiway_bus.integrations._nats.bridge_stats import observe, report_of, stats_of
from haiway_bus.integrations._nats.bridge_tasks import Work, end
from haiway_bus.integrations._nats.connection import LOST, Connection
from haiway_bus.integrations._nats.dead_letters import DeadLetters
from haiway_bus.integrations._nats.lane import Lane
from haiway_bus.integrations._nats.messages import WireType
from haiway_bus.integrations._nats.options import check_counts, check_names, check_seconds, wires
from haiway_bus.integrations._nats.outbox import Outbox
from haiway_bus.integrations._nats.publisher import Publisher
from haiway_bus.integrations._nats.readers import Readers
from haiway_bus.integrations._nats.report import DrainReport, NatsStats
from haiway_bus.integrations._nats.server_streams import Streams
from haiway_bus.integrations._nats.settings import LaneSettings
from haiway_bus.printable import described, name_of_type

__all__ = ("NatsBridge",)

PUBLISH_SECONDS: Final = 5.0
# Of the time for draining, the most that is spent on messages whose local readers may be gone.
GRACE_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 3.0


class NatsBridge:
    """Carries events between this scope's bus and those of other processes, over NATS JetStream.

        async with ctx.scope("shop", disposables=[NatsBridge("nats://127.0.0.1", publish=[OrderCreated])]):
            ctx.send(OrderCreated(order_id="A1", total=9.5))

    Arguments:
        servers: the address of a server, or several of one cluster.
        publish: classes of State (or WireType, for a name, a version, upcasters) whose events on the scope's bus go
            to the server.
        subscribe: those whose events, published by others, are sent on the scope's bus.
        durable: the consumer group. Processes that give the same name share the events; each name gets them all, from
            the beginning of the stream when it is new, and those published while no process of it ran. None: every
            process gets what is published from its start on.
        stream: where the events are kept; dead letters in `<stream>-dead`.
        subject_prefix: what subjects begin with: `<subject_prefix>.events.<type>`, `<subject_prefix>.dead.<type>`.
        stream_options: what nats-py's StreamConfig takes (num_replicas, max_age in seconds, duplicate_window in
            seconds, ...), for a stream that is not there and is made.
        connect: what nats-py's `connect` takes: tls, user, password, token, user_credentials, nkeys_seed, name, ...
        domain: the JetStream domain.
        outbox: the most events of a type that wait to be published; more are lost, counted and logged as errors.
        in_flight: the most events of a type that are published and not acknowledged. 1 keeps their order also
            when publishes have to be repeated.
        capacity: the most messages of a type that are here and not acknowledged.
        ack_wait: seconds after which the server delivers a message again that is not acknowledged; slow readers do
            not count, the bridge has the server wait for them.
        max_ack_pending: the most messages of a type that a whole group may hold unacknowledged.
        max_deliveries: a message handed to readers of the group this often, and never acknowledged, is a dead letter.
        heartbeat: seconds between the signs of life of the server on an idle stream; silence of 2.5 of them has
            the pull begun anew, twice in a row the connection.
        require_server: whether entering the scope waits for a server, `start_timeout` seconds at most, and fails
            without one; else it connects in the background whenever there is one.
        reconnect_timeout: the most seconds, jitter apart, between two attempts to connect.
        drain_timeout: seconds that leaving the scope may take.
        errors: "raise" fails the scope with the first event that cannot be published; "log" logs it, and either way a
            NatsEventRefused is sent on the bus.
        traceparent: gives the W3C trace context for each event that is published; that of the scope unless given.

    Raises TypeError and ValueError for what cannot be.
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        publish: Iterable[type[State] | WireType] = (),
        subscribe: Iterable[type[State] | WireType] = (),
        durable: str | None = None,
        stream: str = "haiway",
        subject_prefix: str = "haiway",
        stream_options: Mapping[str, Any] | None = None,
        connect: Mapping[str, Any] | None = None,
        domain: str | None = None,
        outbox: int = 10_000,
        in_flight: int = 256,
        capacity: int = 512,
        ack_wait: float = 30.0,
        max_ack_pending: int = 10_000,
        max_deliveries: int = 20,
        heartbeat: float = 2.0,
        require_server: bool = True,
        start_timeout: float = 10.0,
        drain_timeout: float = 10.0,
        reconnect_timeout: float = 5.0,
        errors: Literal["log", "raise"] = "log",
        traceparent: Callable[[], str] | None = None,
    ) -> None:
        check_counts(
            outbox=outbox,
            in_flight=in_flight,
            capacity=capacity,
            max_ack_pending=max_ack_pending,
            max_deliveries=max_deliveries,
        )
        check_seconds(
            ack_wait=ack_wait,
            heartbeat=heartbeat,
            start_timeout=start_timeout,
            reconnect_timeout=reconnect_timeout,
        )
        check_seconds(least=0.0, drain_timeout=drain_timeout)
        check_names(durable=durable, stream=stream, subject_prefix=subject_prefix)
        if errors not in ("log", "raise"):
            raise ValueError(f"errors= is 'log' or 'raise', not {described(errors)}")
        self.origin: str = os.urandom(8).hex()
        self.report: DrainReport | None = None
        self._publish = wires("publish", publish)
        self._subscribe = wires("subscribe", subscribe)
        self._outbox_limit = outbox
        self._in_flight = in_flight
        self._settings = LaneSettings(
            origin=self.origin,
            group=durable if durable is not None else self.origin,
            durable=durable is not None,
            capacity=capacity,
            ack_wait=ack_wait,
            max_ack_pending=max_ack_pending,
            max_deliveries=max_deliveries,
            heartbeat=heartbeat,
        )
        self._require_server = require_server
        self._start_timeout = start_timeout
        self._drain_timeout = drain_timeout
        self._errors = errors
        self._traceparent = traceparent
        addresses = [servers] if isinstance(servers, str) else list(servers)
        self._connection = Connection(addresses, dict(connect or {}), reconnect_timeout)
        self._streams = Streams(stream, subject_prefix, domain, stream_options or {})
        self._publisher = Publisher(self._connection, self._streams, PUBLISH_SECONDS)
        self._dead = DeadLetters(self._publisher, self._streams)
        self._outboxes: list[Outbox] = []
        self._lanes: list[Lane] = []
        self._receiving: list[Task[None]] = []
        self._work = Work()
        self._entered = False

    async def __aenter__(self) -> None:
        """Connect, and begin to publish and to receive. Raises RuntimeError when it was entered before, NatsBridgeError
        without a server in time or for a stream that does not fit, NatsConnectionRefused when the server refuses us.
        """
        if self._entered:
            raise RuntimeError("a NatsBridge is entered once: make another for another scope")
        self._entered = True
        self._work.begin("connection", self._connection.run())
        try:
            if self._require_server:
                await self._connection.start(self._start_timeout)
                await self._check_streams()
        except BaseException:
            await self._work.end()
            raise
        self._open()
        # Each outbox reads before the body can send: it has to stand in line for flush() to wait for it.
        await asyncio.sleep(0)

    def _open(self) -> None:
        trace_id = ctx.trace_id()
        ids = count(1)
        for wire in self._publish.values():
            self._outboxes.append(
                Outbox(
                    wire,
                    self._publisher,
                    self._streams,
                    origin=self.origin,
                    ids=ids,
                    limit=self._outbox_limit,
                    in_flight=self._in_flight,
                    traceparent=self._traceparent
                    or (lambda: f"00-{trace_id}-{os.urandom(8).hex()}-01"),
                    refused=self._on_refused,
                )
            )
            self._work.begin(f"outbox of {wire.name}", self._outboxes[-1].run())
        for wire in self._subscribe.values():
            own = [one.subscription for one in self._outboxes if one.wire.event is wire.event]
            readers = Readers(wire.event, own, self._work)
            self._lanes.append(
                Lane(wire, self._settings, self._connection, self._streams, self._dead, readers)
            )
            self._receiving.append(
                self._work.begin(f"lane of {wire.name}", self._lanes[-1].run(), may_end=True)
            )
        self._work.begin("observer", observe(self._outboxes, self._lanes))
        self._work.watch()

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain, within `drain_timeout` seconds, and say in `report` and the log what could not be."""
        self._work.leaving = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        seconds = max(self._drain_timeout, 0.0)
        try:
            # The scope's readers have ended. What they took is acknowledged; what they did not goes back.
            await self.stop_receiving(min(GRACE_SECONDS, seconds / 2) if exception is None else 0.0)
            for outbox in self._outboxes:
                await outbox.drained(max(began + seconds - loop.time(), 0.0))
            client = self._connection.client
            if client is not None:
                # So that the acknowledgements reach the server before the connection ends.
                with suppress(*LOST):
                    await asyncio.wait_for(client.flush(), max(began + seconds - loop.time(), 0.1))
        finally:
            await self._work.end()
            self.report = report_of(loop.time() - began, self._outboxes, self._lanes)
            for lane in self._lanes:
                lane.readers.close()
            log = ctx.log_info if self.report.complete else ctx.log_warning
            log("the NATS bridge %s", self.report)

    async def stop_receiving(self, timeout: float | None = None) -> None:
        """Pull nothing more, and return when what is here was taken and acknowledged, or given back to the server.

        Called in the body, before it ends, the local readers are still there to take it. Publishing goes on.

        Arguments:
            timeout: seconds to wait for the local readers; what they have not taken then goes back.
        """
        for lane in self._lanes:
            lane.stop()
        if self._receiving:
            await asyncio.wait(self._receiving, timeout=timeout)
        for lane, task in zip(self._lanes, self._receiving, strict=True):
            if not task.done():
                if not lane.closing:
                    task.cancel()
                await asyncio.wait({task}, timeout=CLOSE_SECONDS)
                await end(task)

    def stats(self) -> NatsStats:
        """What it has done so far, and what waits."""
        return stats_of(self._connection, self._publisher, self._dead, self._outboxes, self._lanes)

    def check(self, event: State) -> None:
        """Raise NatsPayloadTooLarge when the server would not take this event, before it is sent.

        The limit is that of the server last connected to, 1 MiB before the first. Raises TypeError for
        an event of a type that is not published, StateError for one that JSON cannot carry.
        """
        for outbox in self._outboxes:
            if type(event) is outbox.wire.event:
                letter = outbox.letter(event)
                limit = self._connection.max_payload
                if letter is not None and letter.size > limit:
                    raise NatsPayloadTooLarge(type(event), letter.size, limit)
                return
        names = ", ".join(self._publish) or "none"
        raise TypeError(
            f"the bridge publishes {names}, not {name_of_type(type(event))}: name it in publish="
        )

    def __repr__(self) -> str:
        return (
            f"<NatsBridge {self._connection.shown} publish=[{', '.join(self._publish)}]"
            f" subscribe=[{', '.join(self._subscribe)}] group={self._settings.group}>"
        )

    async def _check_streams(self) -> None:
        client = await self._connection.ready()
        try:
            async with asyncio.timeout(self._start_timeout):
                await self._streams.ensure(client)
        except LOST as error:
            text = self._connection.redacted(error) or type(error).__name__
            raise NatsBridgeError(
                f"JetStream at {self._connection.shown} does not answer: {text}. Is it on (nats-server -js), and may"
                " this user use it?"
            ) from None

    def _on_refused(self, refused: NatsEventRefused) -> None:
        ctx.send(refused)
        if self._errors == "raise":
            self._work.fail(refused.error)
