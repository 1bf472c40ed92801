"""The viewer's side: find the services with a monitor, and ask a service."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Final, Self

from haiway_bus.tools._top.snapshot import Snapshot
from haiway_bus.tools._top.socket_folder import PORT_FILE, SOCKET, check_private, folder, pid_of

__all__ = ("Client", "ServiceEndedError", "ServiceNotFoundError", "connected", "find")

CONNECT_SECONDS: Final = 2.0


class ServiceNotFoundError(Exception):
    """Raised when there is no service with a monitor, or more than a single service."""


class ServiceEndedError(Exception):
    """Raised when the service closes the connection."""


class Client:
    """A connection to the monitor of a service."""

    def __init__(self, path: Path) -> None:
        """Connect to the monitor.

        Args:
            path: Its socket, or its file with port and secret.

        Raises:
            OSError: No monitor answers there.
        """
        self.path = path
        self._secret = b""
        if path.suffix == PORT_FILE:
            try:
                told = json.loads(path.read_text())
                self._secret = str(told["secret"]).encode()
                address = ("127.0.0.1", int(told["port"]))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise OSError(f"{path} is no file of a monitor") from error
            self._socket = socket.create_connection(address, CONNECT_SECONDS)
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.settimeout(CONNECT_SECONDS)
                self._socket.connect(str(path))
            except OSError:
                self._socket.close()
                raise
        self._received = b""
        self._asked = False

    def ask(self, timeout: float) -> Snapshot | None:
        """Ask for a snapshot of the bus.

        Args:
            timeout: How many seconds to wait for the answer: the service's loop may be busy.

        Returns:
            The snapshot; None if there is no answer in time. The next call then waits for the same answer.

        Raises:
            ServiceEndedError: The service has closed the connection.
            ValueError: The answer is no snapshot.
        """
        deadline = monotonic() + timeout
        try:
            if not self._asked:
                self._socket.sendall(self._secret + b"\n")
                self._asked = True
            while b"\n" not in self._received:
                self._socket.settimeout(max(0.001, deadline - monotonic()))
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ServiceEndedError
                self._received += data
        except TimeoutError:
            return None
        except OSError as error:
            raise ServiceEndedError from error
        line, _, self._received = self._received.partition(b"\n")
        self._asked = False
        return Snapshot.from_line(line)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def find(pid: int | None, path: Path | None) -> Client:
    """Connect to a service: the service at this path, or else the only service of this process or of this machine.

    Raises:
        ServiceNotFoundError: There is none, or more than a single service. The error says how to go on.
        UnsafeFolderError: Other users can write to the folder of monitors.
    """
    if path is not None:
        try:
            return Client(path)
        except OSError as error:
            raise ServiceNotFoundError(
                f"no monitor answers at {path} ({error}): is the service running?"
            ) from error
    found = list(services(pid))
    if len(found) == 1:
        return found[0]
    whose = "" if pid is None else f" in the process {pid}"
    if not found:
        raise ServiceNotFoundError(
            f"no running scope with a monitor was found{whose}: give the service's scope a monitor, "
            "`ctx.scope(..., disposables=(haiway_bus.tools.top.Monitor(),))`, and run `top` as the same user"
        )
    for client in found:
        client.close()
    listed = "".join(f"\n  --pid {pid_of(client.path)}  --socket {client.path}" for client in found)
    raise ServiceNotFoundError(
        f"{len(found)} running scopes with a monitor were found{whose}, choose one of them:{listed}"
    )


def services(pid: int | None) -> Iterator[Client]:
    """Yield connections to all monitors, or to those of this process."""
    where = folder()
    # Another user could have made a folder with this name first, and tell us anything.
    if os.path.lexists(where):
        check_private(where)
    for path in sorted(where.glob("*")):
        if path.suffix not in (SOCKET, PORT_FILE) or (pid is not None and pid_of(path) != pid):
            continue
        client = connected(path)
        if client is not None:
            yield client


def connected(path: Path) -> Client | None:
    """Return a connection to the monitor there; None if no monitor answers. Remove what a killed process has left."""
    try:
        return Client(path)
    except ConnectionRefusedError:
        # Nobody listens there, and nobody will again.
        with suppress(OSError):
            path.unlink()
    except OSError:
        pass
    return None
