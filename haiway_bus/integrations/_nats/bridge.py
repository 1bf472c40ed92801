"""NatsBridge, a disposable of a scope: what starts in which order, and how it drains."""

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
from haiway_bus._common.printable import described, name_of_type
from haiway_bus.integrations._nats.bridge_errors import (
    NatsEventRefused,
    NatsPayloadTooLarge,
)
from haiway_bus.integrations._nats.bridge_stats import (
    DrainReport,
    NatsStats,
    observe,
    report_of,
    totals_of,
)
from haiway_bus.integrations._nats.bridge_tasks import BridgeTasks, end
from haiway_bus.integrations._nats.connection import Connection
from haiway_bus.integrations._nats.dead_letters import DeadLetters
from haiway_bus.integrations._nats.lane import Lane
from haiway_bus.integrations._nats.messages import WireType
from haiway_bus.integrations._nats.options import (
    LaneOptions,
    check_counts,
    check_names,
    check_seconds,
    wire_types,
)
from haiway_bus.integrations._nats.outbox import Outbox
from haiway_bus.integrations._nats.publisher import Publisher
from haiway_bus.integrations._nats.readers import Readers
from haiway_bus.integrations._nats.server_errors import LOST
from haiway_bus.integrations._nats.server_streams import ServerStreams

__all__ = ("NatsBridge",)

PUBLISH_SECONDS: Final = 5.0
# How much of the time for draining may go to messages whose local readers may be gone.
GRACE_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 3.0


class NatsBridge:
    """Carries events between this scope's bus and the buses of other processes, over NATS JetStream.

        async with ctx.scope("shop", disposables=[NatsBridge("nats://127.0.0.1", publish=[OrderCreated])]):
            ctx.send(OrderCreated(order_id="A1", total=9.5))

    Args:
        servers: The address of a server, or a list of addresses of a cluster.
        publish: The classes of State to send to the server, or a WireType for each (name, version, upcasters).
        subscribe: The classes to receive: what other bridges publish is sent on the scope's bus.
        durable: The consumer group. Processes with the same name share the events. A new group begins with the oldest
            event in the stream, and gets what is published while none of its processes runs. None: this process gets
            what is published from its start on.
        stream: The stream that keeps the events. Dead letters go to the stream `<stream>-dead`.
        subject_prefix: The beginning of subjects: `<subject_prefix>.events.<type>`, `<subject_prefix>.dead.<type>`.
        stream_options: Options of nats-py's StreamConfig, for a stream that does not exist yet: num_replicas, max_age
            in seconds, duplicate_window in seconds, ...
        connect: Options of nats-py's `connect`: tls, user, password, token, user_credentials, nkeys_seed, name, ...
        domain: The JetStream domain.
        outbox: How many events of a type may wait to be published. Further events are lost, counted and logged.
        in_flight: How many events of a type may be published and not acknowledged. Only 1 keeps their order always.
        capacity: How many messages of a type may be here and not acknowledged.
        ack_wait: After how many seconds the server delivers an unacknowledged message again. While local readers are
            slow, the bridge asks the server to wait.
        max_ack_pending: How many messages of a type the whole group may hold unacknowledged.
        max_deliveries: How often a message is handed to the group's readers before it becomes a dead letter.
        heartbeat: Seconds between signs of life of the server. When 2.5 of them are missing, the bridge pulls again; if
            that happens twice in a row, it connects again.
        require_server: Whether entering the scope waits for a server and fails without it. If False, the bridge
            connects in the background as soon as there is a server.
        start_timeout: How many seconds entering the scope waits for a server.
        drain_timeout: How many seconds leaving the scope may take.
        reconnect_timeout: The longest time between two attempts to connect, in seconds, before jitter.
        errors: What to do when an event cannot be published. "log" logs it, "raise" makes the scope fail. Both send a
            NatsEventRefused on the bus.
        traceparent: Returns the W3C trace context for an event; by default it is made of the scope's trace id.

    Attributes:
        origin: The id of this bridge, as `Received.origin` and `Received.hops` show it.
        report: What was left undone at the end; None before the end.

    Raises:
        TypeError: A type is no class of State.
        ValueError: An argument has a value that is not allowed.
        StateError: A type has a union whose members JSON cannot tell apart.
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
        check_counts(outbox=outbox, in_flight=in_flight, capacity=capacity)
        check_counts(max_ack_pending=max_ack_pending, max_deliveries=max_deliveries)
        check_seconds(ack_wait=ack_wait, heartbeat=heartbeat, start_timeout=start_timeout)
        check_seconds(reconnect_timeout=reconnect_timeout)
        check_seconds(least=0.0, drain_timeout=drain_timeout)
        check_names(durable=durable, stream=stream, subject_prefix=subject_prefix)
        if errors not in ("log", "raise"):
            raise ValueError(f"errors= is 'log' or 'raise', not {described(errors)}")
        self.origin: str = os.urandom(8).hex()
        self.report: DrainReport | None = None
        self._publish = wire_types("publish", publish)
        self._subscribe = wire_types("subscribe", subscribe)
        self._outbox_limit = outbox
        self._in_flight = in_flight
        self._lane_options = LaneOptions(
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
        self._streams = ServerStreams(stream, subject_prefix, domain, stream_options or {})
        self._publisher = Publisher(self._connection, self._streams, PUBLISH_SECONDS)
        self._dead = DeadLetters(self._publisher, self._streams)
        self._outboxes: list[Outbox] = []
        self._lanes: list[Lane] = []
        self._receiving: list[Task[None]] = []
        self._tasks = BridgeTasks()
        self._entered = False

    async def __aenter__(self) -> None:
        """Connect, and begin to publish and to receive.

        Raises:
            RuntimeError: The bridge was entered before.
            NatsBridgeError: There is no server in time, or a stream does not fit.
            NatsConnectionRefused: The server refuses the connection.
        """
        if self._entered:
            raise RuntimeError("a NatsBridge is entered once: make another for another scope")
        self._entered = True
        self._tasks.begin("connection", self._connection.run())
        try:
            if self._require_server:
                await self._connection.start(self._start_timeout)
                await self._streams.check(self._connection, self._start_timeout)
        except BaseException:
            await self._tasks.end()
            raise
        self._open()
        # Let each outbox begin to read before the body can send: flush() waits for readers that have begun.
        await asyncio.sleep(0)

    def _open(self) -> None:
        trace_id, ids = ctx.trace_id(), count(1)
        traceparent = self._traceparent or (lambda: f"00-{trace_id}-{os.urandom(8).hex()}-01")
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
                    traceparent=traceparent,
                    refused=self._on_refused,
                )
            )
            self._tasks.begin(f"outbox of {wire.name}", self._outboxes[-1].run())
        for wire in self._subscribe.values():
            own = [box.subscription for box in self._outboxes if box.wire.event is wire.event]
            readers = Readers(wire.event, own, self._tasks)
            self._lanes.append(
                Lane(wire, self._lane_options, self._connection, self._streams, self._dead, readers)
            )
            self._receiving.append(
                self._tasks.begin(f"lane of {wire.name}", self._lanes[-1].run(), may_end=True)
            )
        self._tasks.begin("observer", observe(self._outboxes, self._lanes))
        self._tasks.watch()

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain within `drain_timeout` seconds, and tell in `report` and in the log what was left undone."""
        self._tasks.leaving = True
        loop = asyncio.get_running_loop()
        began, seconds = loop.time(), self._drain_timeout
        try:
            # The scope's readers have ended. Acknowledge what they handled, and give the rest back.
            await self.stop_receiving(min(GRACE_SECONDS, seconds / 2) if exception is None else 0.0)
            for outbox in self._outboxes:
                await outbox.drained(max(began + seconds - loop.time(), 0.0))
            client = self._connection.client
            if client is not None:
                # Let the acknowledgements reach the server before the connection ends.
                with suppress(*LOST):
                    await asyncio.wait_for(client.flush(), max(began + seconds - loop.time(), 0.1))
        finally:
            await self._tasks.end()
            self.report = report_of(loop.time() - began, self._outboxes, self._lanes)
            for lane in self._lanes:
                lane.readers.close()
            log = ctx.log_info if self.report.complete else ctx.log_warning
            log("the NATS bridge %s", self.report)

    async def stop_receiving(self, timeout: float | None = None) -> None:
        """Stop receiving. Return when all messages here are acknowledged or have gone back to the server.

        Call it in the body of the scope, while its readers can still handle what is here. Publishing goes on.

        Args:
            timeout: How many seconds to wait for the readers. What they have not handled then goes back.
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
        """Return the numbers of this bridge: what it has done so far, and what waits."""
        return totals_of(self._connection, self._publisher, self._dead, self._outboxes, self._lanes)

    def check(self, event: State) -> None:
        """Check before sending whether the server takes this event.

        The limit is that of the last server. Before the first connection it is 1 MiB.

        Raises:
            NatsPayloadTooLarge: The message is too large.
            TypeError: The bridge does not publish this type.
            StateError: JSON cannot hold a value of the event.
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
            f" subscribe=[{', '.join(self._subscribe)}] group={self._lane_options.group}>"
        )

    def _on_refused(self, refused: NatsEventRefused) -> None:
        ctx.send(refused)
        if self._errors == "raise":
            self._tasks.fail(refused.error)
