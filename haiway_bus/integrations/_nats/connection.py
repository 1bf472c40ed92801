"""The connection of a bridge: made, watched, and made again as long as the bridge lives.

The reconnecting of nats-py is switched off, for three reasons. It buffers what is published without a connection, and
sends that before anything that the bridge repeats, which changes the order. A connection that it has closed stays
closed. It has no jitter. Here each connection is a fresh client. Publisher and lanes send again on the next connection
what was not acknowledged on the last.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import Event, Future
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import NoServersError

from haiway_bus import ctx
from haiway_bus.integrations._nats.addresses import Redaction, check_addresses, shown
from haiway_bus.integrations._nats.bridge_errors import NatsBridgeError, NatsConnectionRefused
from haiway_bus.integrations._nats.server_errors import (
    LOST,
    Denials,
    backoff,
    is_denial,
    is_refusal,
)

__all__ = ("Connection",)

# The options of nats-py's connect that the bridge sets itself.
OURS: Final = frozenset(
    {
        "allow_reconnect",
        "closed_cb",
        "disconnected_cb",
        "error_cb",
        "max_reconnect_attempts",
        "reconnect_time_wait",
        "reconnect_to_server_handler",
        "reconnected_cb",
        "servers",
    }
)
CLOSE_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.1
TELL_SECONDS: Final = 10.0


class Connection:
    """The present connection, if there is one.

    Invariant: `client` is set exactly while `_ready` is set. `lost` is the future that ends with that client's
    connection.
    """

    def __init__(
        self, servers: Sequence[str], options: Mapping[str, Any], most_seconds: float
    ) -> None:
        taken = sorted(OURS & options.keys())
        if taken:
            raise ValueError(
                f"the bridge reconnects by itself and sets the connect options {', '.join(taken)}: leave them out"
            )
        unknown = sorted(options.keys() - inspect.signature(Client.connect).parameters.keys())
        if unknown:
            raise ValueError(
                f"nats-py's connect knows no {', '.join(unknown)}: give in connect= only what it takes"
            )
        check_addresses(servers)
        self.servers: list[str] = list(servers)
        self.shown: str = ", ".join(shown(address) for address in self.servers)
        self.redacted: Redaction = Redaction(servers, options)
        self.client: Client | None = None
        self.lost: Future[None] | None = None
        self.connects: int = 0
        self.max_payload: int = 1024 * 1024
        self.discovered: set[str] = set()
        self._options = {
            "ping_interval": 5,
            "max_outstanding_pings": 2,
            "connect_timeout": 2,
        } | dict(options)
        self._most_seconds = most_seconds
        self._ready = Event()
        self._refused: Future[None] | None = None
        self._failure = ""
        self._met: Exception | None = None
        self._told_at = -TELL_SECONDS
        self._denials = Denials()

    async def start(self, seconds: float) -> None:
        """Wait for the first connection. `run` must be running.

        Raises:
            NatsConnectionRefused: A server refuses the connection.
            NatsBridgeError: The options in `connect` make no connection, or there is none after so many seconds.
        """
        self._refused = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(self._ready.wait())
        try:
            either: set[Future[Any]] = {waiting, self._refused}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._refused.done():
                self._refused.result()
            if not self._ready.is_set():
                failure = f" (last: {self._failure})" if self._failure else ""
                raise NatsBridgeError(
                    f"no NATS server at {self.shown} within {seconds:g} s{failure}: start one, or pass"
                    " require_server=False to begin without and connect when there is one"
                )
        finally:
            waiting.cancel()
            self._refused.cancel()
            self._refused = None

    async def run(self) -> None:
        """Keep up a connection, until cancelled."""
        failures = 0
        while True:
            client = Client()
            lost: Future[None] = asyncio.get_running_loop().create_future()

            async def closed(lost: Future[None] = lost) -> None:
                if not lost.done():
                    lost.set_result(None)

            self._met = None
            self._denials.forget()
            try:
                await self._connect(client, closed)
            except Exception as error:
                # An error that is not in LOST comes from the options: a malformed key, a callback that raises. Try
                # again after these as well: a callback may ask a service that is away for a moment.
                await self._shut(client)
                if isinstance(error, LOST):
                    error = client.last_error or error
                # "No servers available" says less than the error of the last server that was tried.
                if isinstance(error, NoServersError):
                    error = self._met or error
                self._tell_failure(error)
                await asyncio.sleep(backoff(failures, 0.1, self._most_seconds))
                failures += 1
                continue
            except BaseException:
                await self._shut(client)
                raise
            failures = 0
            self.connects += 1
            self.discovered.update(_discovered(client))
            self.max_payload = client.max_payload
            self.client, self.lost = client, lost
            self._ready.set()
            try:
                # When closing fails half way, nats-py calls no callback. That happens when something is left to write.
                # So ask it as well, LOOK_SECONDS apart.
                while client.is_connected and not lost.done():
                    await asyncio.wait({lost}, timeout=LOOK_SECONDS)
                ctx.log_warning("the connection to NATS at %s was lost", self.shown)
            finally:
                if not lost.done():
                    lost.set_result(None)
                self._ready.clear()
                self.client = self.lost = None
                await self._shut(client)
            await asyncio.sleep(backoff(0, 0.1, self._most_seconds))

    async def ready(self) -> Client:
        """Return the client of the present connection, or wait for the next connection."""
        while self.client is None:
            await self._ready.wait()
        return self.client

    async def until(self, done: Future[Any], client: Client, seconds: float) -> bool:
        """Wait for the future, for the end of this client's connection or for so many seconds.

        Returns:
            Whether the future is done.
        """
        if client is self.client and self.lost is not None:
            await asyncio.wait(
                {done, self.lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        return done.done()

    def drop(self, client: Client, reason: str) -> None:
        """Give this connection up: it is open, but nothing comes through."""
        if client is self.client and self.lost is not None and not self.lost.done():
            ctx.log_warning("the connection to NATS at %s is given up: %s", self.shown, reason)
            self.lost.set_result(None)

    def doubt(self, client: Client, reason: str) -> str:
        """Give this connection up because it is silent, unless a missing permission explains the silence.

        With a missing permission another connection would be silent too, and all types share this one. If it is dead,
        pings will tell.

        Returns:
            The denial that explains the silence; empty if the connection was given up.
        """
        denied = self._denials.recent() if client is self.client else ""
        if not denied:
            self.drop(client, reason)
        return denied

    async def _connect(self, client: Client, closed: Any) -> None:
        async def error_cb(error: Exception) -> None:
            # Only denials matter here. Every other trouble ends the connection, fails a call or shows as silence.
            self._met = error
            text = self.redacted(error)
            if is_denial(error):
                self._denials.add(text, self.shown)
            else:
                ctx.log_debug("nats-py: %s", text)

        await client.connect(
            servers=[*self.servers, *self.discovered.difference(self.servers)],
            error_cb=error_cb,
            closed_cb=closed,
            allow_reconnect=False,
            # Try each address twice, almost without a wait: the waits are in `run`. Without a number of attempts
            # nats-py tries for ever, and never tells of a refusal.
            max_reconnect_attempts=1,
            reconnect_time_wait=0.02,  # type: ignore[arg-type]
            **self._options,
        )

    async def _shut(self, client: Client) -> None:
        # A client without a full connection raises various errors from close().
        with suppress(Exception):
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)
        # When nats-py fails half way in closing, it counts the client as closed and does not close it again. The tasks
        # run on and the socket stays open. There is no public way to end them.
        tasks = [
            getattr(client, f"_{name}_task", None)
            for name in ("reading", "ping_interval", "flusher")
        ]
        subscriptions = list(getattr(client, "_subs", {}).values())
        tasks += [getattr(each, "_wait_for_msgs_task", None) for each in subscriptions]
        for task in tasks:
            if task is not None:
                task.cancel()
        with suppress(Exception):
            transport = getattr(client, "_transport", None)
            if transport is not None:
                transport.close()

    def _tell_failure(self, error: BaseException) -> None:
        text = self.redacted(error) or type(error).__name__
        refused = is_refusal(error)
        # A missing file is a fault of the options as well: sockets are not looked up by a file name.
        ours = not refused and (isinstance(error, FileNotFoundError) or not isinstance(error, LOST))
        if ours:
            text = f"{type(error).__name__}: {text}"
        self._failure = text
        if (refused or ours) and self._refused is not None and not self._refused.done():
            self._refused.set_exception(
                NatsConnectionRefused(
                    f"the NATS server at {self.shown} refuses the connection: {text}. Check the credentials and the"
                    " TLS settings given in connect={...}"
                )
                if refused
                else NatsBridgeError(
                    f"no connection to NATS at {self.shown} can be made of what connect={{...}} gives: {text}"
                )
            )
            return
        now = asyncio.get_running_loop().time()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            log = ctx.log_error if refused or ours else ctx.log_warning
            log("no connection to NATS at %s: %s; trying again", self.shown, text)


def _discovered(client: Client) -> Iterator[str]:
    """Yield the addresses of the other servers of the cluster, as this server told them.

    A server tells addresses without credentials. Add those of this server: they are the same in all of the cluster.
    """
    url = client.connected_url
    userinfo = "" if url is None else url.netloc.rpartition("@")[0]
    for address in client.discovered_servers:
        netloc = f"{userinfo}@{address.netloc}" if userinfo else address.netloc
        yield address._replace(netloc=netloc).geturl()
