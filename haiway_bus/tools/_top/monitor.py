"""The service's side: a socket that answers with a snapshot of the bus, and does nothing else."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Final, cast

from haiway_bus._bus.stats import Observer
from haiway_bus._scope.context import current
from haiway_bus._scope.vitals import Pulse
from haiway_bus._scope.waiting import waiting_ends
from haiway_bus.tools._top.client import connected
from haiway_bus.tools._top.snapshot import Snapshot
from haiway_bus.tools._top.socket_folder import PORT_FILE, SOCKET, private_folder

__all__ = ("Monitor",)

LONGEST_REQUEST: Final = 256
LARGEST_BACKLOG: Final = 1 << 20

_numbers = count()


class Answering(asyncio.Protocol):
    """A connection: it answers each line that is the secret with a line that has the snapshot.

    On a Unix socket the secret is an empty line. This is a protocol and not a task, so that the end of the scope does
    not wait for it.
    """

    def __init__(
        self,
        secret: bytes,
        snapshot: Callable[[Observer], bytes],
        connections: set[Answering],
        pulse: Pulse,
    ) -> None:
        self.secret = secret
        self.snapshot = snapshot
        self.connections = connections
        self.pulse = pulse
        self.observer: Observer = Observer()
        self.asked: bytes = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        if not self.connections:
            self.pulse.stop()

    def data_received(self, data: bytes) -> None:
        transport = self.transport
        if transport is None:
            return
        *lines, self.asked = (self.asked + data).split(b"\n")
        for line in lines:
            # A client that asks and does not read the answers would fill the service's memory with them.
            if (
                not hmac.compare_digest(line, self.secret)
                or transport.get_write_buffer_size() > LARGEST_BACKLOG
            ):
                transport.abort()
                return
            transport.write(self.snapshot(self.observer))
        if len(self.asked) > LONGEST_REQUEST:
            transport.abort()


class Monitor:
    """A disposable of a scope that shows its bus to `python -m haiway_bus top`. Enter it once.

        async with ctx.scope("service", disposables=(Monitor(),)):
            ...

    It opens a Unix socket that only its user can connect to (0600), in a folder that only this user can enter, and
    removes the socket at the end of the scope. If a killed service has left a socket there, it is replaced.

    It answers with the numbers of `ctx.events()`, the names of scope, program, event types, subscriptions and handlers,
    and the tasks that scopes wait for at their end. It takes no commands and shows no event. While somebody is
    connected it looks at the bus once a second. Otherwise it costs nothing.

    Args:
        socket_path: Where to make the socket. By default it is in the folder where `top` looks.
        tcp: Whether to use a TCP port on the loopback interface, with a secret in a file that only this user can read.
            That is the default on Windows, where asyncio has no Unix sockets.

    Raises:
        TypeError: Both arguments are given.
    """

    def __init__(
        self, *, socket_path: str | Path | None = None, tcp: bool = sys.platform == "win32"
    ) -> None:
        if tcp and socket_path is not None:
            raise TypeError("Monitor() takes a socket_path or tcp=True, not both: TCP has no path")
        self._given = None if socket_path is None else Path(socket_path)
        self._tcp = tcp
        self._path: Path | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Answering] = set()
        self._pulse: Pulse | None = None

    @property
    def path(self) -> Path | None:
        """The socket, or the file with port and secret, for `top --socket`; None while it is not open."""
        return self._path

    async def __aenter__(self) -> None:
        """Open the socket.

        Raises:
            ContextMissing: No scope is current.
            OSError: The socket cannot be made there.
            UnsafeFolderError: Other users can enter the folder.
        """
        if self._server is not None:
            raise RuntimeError("a Monitor is entered once: make another by Monitor()")
        scope = current("Monitor()").scope
        since = monotonic()

        # It runs while somebody is connected.
        pulse = self._pulse = Pulse(scope.bus)

        def snapshot(observer: Observer) -> bytes:
            waiting = waiting_ends(scope.tasks.bus_scopes)
            late = pulse.lateness()
            return Snapshot.of(scope.name, scope.bus, since, waiting, observer, late).to_line()

        secret = secrets.token_hex(16).encode() if self._tcp else b""

        def answering() -> Answering:
            return Answering(secret, snapshot, self._connections, pulse)

        loop = asyncio.get_running_loop()
        try:
            if self._tcp:
                path = free_path(PORT_FILE)
                self._server = await loop.create_server(
                    answering, "127.0.0.1", 0, start_serving=False
                )
                port = self._server.sockets[0].getsockname()[1]
                write_private(path, json.dumps({"port": port, "secret": secret.decode()}))
                self._path = path
            else:
                path = self._given or free_path(SOCKET)
                listening = bound(path)
                self._path = path
                self._server = await loop.create_unix_server(
                    answering, sock=listening, start_serving=False
                )
            # Serve only now, when there is a server to close: this may be cancelled.
            await self._server.start_serving()
        except BaseException:
            self._close()  # __aexit__ is not called if __aenter__ raises
            raise

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._pulse is not None:
            self._pulse.stop()
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            if connection.transport is not None:
                connection.transport.close()
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()
            self._path = None


def free_path(suffix: str) -> Path:
    """Return a path in the folder of monitors that no service uses.

    An earlier service may have used the name: in a container, a restarted service has the same process id.
    """
    where = private_folder()
    while True:
        path = where / f"{os.getpid()}-{next(_numbers)}{suffix}"
        if not taken(path):
            return path


def taken(path: Path) -> bool:
    """Return whether something is there. Remove a socket, or the file of a port, where nobody listens."""
    if path.is_socket() or (path.suffix == PORT_FILE and path.is_file()):
        client = connected(path)
        if client is not None:
            client.close()
            return True
    return os.path.lexists(path)


def bound(path: Path) -> socket.socket:
    """Return a Unix socket at this path that only the user may connect to."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        taken(path)
        made.bind(str(path))
    except OSError as error:  # also if the path is longer than the system allows
        made.close()
        raise OSError(
            error.errno,
            f"Monitor() cannot make its socket there ({error.args[-1]}): give another socket_path,"
            " short and not in use",
            str(path),
        ) from error
    # Set the rights before it listens, so that there is no moment at which others could connect.
    path.chmod(0o600)
    made.setblocking(False)
    return made


def write_private(path: Path, text: str) -> None:
    """Write a new file that only the user may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
