"""One connection after the other: made, watched, and made anew for as long as the bridge lives.

nats-py's own reconnecting is switched off. It buffers what is published while there is no connection and sends that
before anything the bridge could repeat, which would change the order; a connection that it has given up as closed
stays so; and it has no jitter. Here each connection is a fresh client, and what was not acknowledged on the last one
is sent again on the next by who owns it.
"""

from __future__ import annotations

import asyncio
import inspect
import random
import ssl
from asyncio import Event, Future
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from nats.aio.client import Client
from nats.errors import AuthorizationError, NoServersError
from nats.errors import Error as NatsError

from haiway_bus import ctx
from haiway_bus.integrations._nats.addresses import Redaction, check_addresses, shown
from haiway_bus.integrations._nats.bridge_errors import NatsBridgeError, NatsConnectionRefused
from haiway_bus.integrations._nats.server_errors import Denials, is_denial

__all__ = ("LOST", "Connection", "backoff")

LOST: Final = (NatsError, OSError, TimeoutError, asyncio.TimeoutError)
"""What calls of a client raise when its connection, or the server behind it, is in trouble."""

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


def backoff(attempt: int, first: float, most: float) -> float:
    """How many seconds to wait after this many failures: doubling, with jitter, so that a thousand processes which
    lost one server do not come back in one moment."""
    return float(min(most, first * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1.0))  # noqa: S311


class Connection:
    """The connection that there is just now, if any.

    Invariant: `client` is set exactly while `ready` is, and `lost` is the future that ends with that client's
    connection.
    """

    def __init__(
        self, servers: Sequence[str], options: Mapping[str, Any], most_seconds: float
    ) -> None:
        taken = sorted(OURS & options.keys())
        if taken:
            raise ValueError(
                f"the bridge reconnects by itself, the connect options {', '.join(taken)} are not open: leave them out"
            )
        unknown = sorted(options.keys() - inspect.signature(Client.connect).parameters.keys())
        if unknown:
            raise ValueError(
                f"nats-py's connect knows no {', '.join(unknown)}: see connect= for what goes there"
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
        """Return when there is a connection; `run` must be running.

        Raises NatsConnectionRefused when a server refuses us, NatsBridgeError when what was given in `connect` makes
        no connection, or after this many seconds.
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
        """Keep a connection, until cancelled."""
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
                # What is not in LOST comes from what was given: a key that is none, a callback for a signature that
                # raises. A callback may ask a service that is away for a moment, so that it is called again, too.
                await self._shut(client)
                if isinstance(error, LOST):
                    error = client.last_error or error
                # "No servers available" says less than what the last of them was tried in vain for.
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
                # nats-py calls neither closed_cb nor anything else when its closing fails half way, as it does when
                # there is something left to write: so it is asked, too.
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
        """The client of the present connection, or of the next one."""
        while self.client is None:
            await self._ready.wait()
        return self.client

    async def until(self, done: Future[Any], client: Client, seconds: float) -> bool:
        """Wait for the future, for the end of this client's connection or for so many seconds; whether it is done."""
        if client is self.client and self.lost is not None:
            await asyncio.wait(
                {done, self.lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        return done.done()

    def drop(self, client: Client, reason: str) -> None:
        """Give this connection up: it is open, and nothing comes through."""
        if client is self.client and self.lost is not None and not self.lost.done():
            ctx.log_warning("the connection to NATS at %s is given up: %s", self.shown, reason)
            self.lost.set_result(None)

    def doubt(self, client: Client, reason: str) -> str:
        """Give this connection up for this silence, unless a permission that is missing explains it, and then say so.

        Another connection would not have it either, and all types share this one. If it is dead, pings will tell.
        """
        denied = self._denials.recent() if client is self.client else ""
        if not denied:
            self.drop(client, reason)
        return denied

    async def _connect(self, client: Client, closed: Any) -> None:
        async def error_cb(error: Exception) -> None:
            # What else matters ends the connection, fails a call or is missed by the watchdog: all told elsewhere.
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
            # Each address twice a round, with no wait to speak of: the waits are in `run`. No number of attempts
            # here means for ever, with no way to tell a refusal.
            max_reconnect_attempts=1,
            reconnect_time_wait=0.02,  # type: ignore[arg-type]
            **self._options,
        )

    async def _shut(self, client: Client) -> None:
        # A client that never got a connection, or half of one, raises this and that from close().
        with suppress(Exception):
            await asyncio.wait_for(client.close(), CLOSE_SECONDS)
        # A closing of nats-py's own that failed half way cannot be repeated: the client counts as closed, its tasks
        # run on and its socket stays open. There is no public way to them.
        tasks = [
            getattr(client, f"_{name}_task", None)
            for name in ("reading", "ping_interval", "flusher")
        ]
        subscriptions = list(getattr(client, "_subs", {}).values())
        tasks += [getattr(one, "_wait_for_msgs_task", None) for one in subscriptions]
        for task in tasks:
            if task is not None:
                task.cancel()
        with suppress(Exception):
            transport = getattr(client, "_transport", None)
            if transport is not None:
                transport.close()

    def _tell_failure(self, error: BaseException) -> None:
        text = self.redacted(error) or type(error).__name__
        refused = _is_refusal(error)
        # A file that is not there is one of those given, too: no socket is looked for by a name.
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
            log("no connection to NATS at %s: %s; trying on", self.shown, text)


def _discovered(client: Client) -> Iterator[str]:
    """The addresses of the other servers that this one told of, with the user and password, or token, of its own: a
    server tells none, and they are one cluster."""
    url = client.connected_url
    userinfo = "" if url is None else url.netloc.rpartition("@")[0]
    for address in client.discovered_servers:
        netloc = f"{userinfo}@{address.netloc}" if userinfo else address.netloc
        yield address._replace(netloc=netloc).geturl()


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, AuthorizationError | ssl.SSLError) or (
        isinstance(error, NatsError) and "authorization" in str(error).lower()
    )
