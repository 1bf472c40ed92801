"""The other side: finding the services that can be seen, and asking one of them."""

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
    """Raised when no service, or no single one, is there to be seen."""


class ServiceEndedError(Exception):
    """Raised when the service closes the connection."""


class Client:
    """A connection to the monitor of one service."""

    def __init__(self, place: Path) -> None:
        """Raises OSError when nobody answers there."""
        self.place = place
        self._secret = b""
        if place.suffix == PORT_FILE:
            try:
                told = json.loads(place.read_text())
                self._secret = str(told["secret"]).encode()
                address = ("127.0.0.1", int(told["port"]))
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise OSError(f"{place} is no file of a monitor") from error
            self._socket = socket.create_connection(address, CONNECT_SECONDS)
        else:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.settimeout(CONNECT_SECONDS)
                self._socket.connect(str(place))
            except OSError:
                self._socket.close()
                raise
        self._received = b""
        self._asked = False

    def ask(self, timeout: float) -> Snapshot | None:
        """The bus as it is now; None when the service, whose loop may be busy, does not answer in this many seconds.

        The next call then waits for the same answer. Raises ServiceEndedError when the service has closed the
        connection, ValueError when it answers something else than a snapshot.
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


def find(pid: int | None, place: Path | None) -> Client:
    """The one service of this process, at this place, or else the only one there is.

    Raises ServiceNotFoundError when there is none or more than one, and says how to go on; UnsafeFolderError when
    it would have to be looked for where others than the user could have put something.
    """
    if place is not None:
        try:
            return Client(place)
        except OSError as error:
            raise ServiceNotFoundError(
                f"no monitor answers at {place} ({error}): is the service running?"
            ) from error
    found = list(services(pid))
    if len(found) == 1:
        return found[0]
    whose = "" if pid is None else f" in the process {pid}"
    if not found:
        raise ServiceNotFoundError(
            f"no running scope with a monitor was found{whose}: give the service's scope one, "
            "`ctx.scope(..., disposables=(haiway_bus.tools.top.Monitor(),))`, and run `top` as the same user"
        )
    for client in found:
        client.close()
    listed = "".join(f"\n  --pid {pid_of(one.place)}  --socket {one.place}" for one in found)
    raise ServiceNotFoundError(
        f"{len(found)} running scopes with a monitor were found{whose}, name one:{listed}"
    )


def services(pid: int | None) -> Iterator[Client]:
    """Connections to all monitors, of this process if given."""
    where = folder()
    # Or another user's folder, made first under this name, would tell what they like.
    if os.path.lexists(where):
        check_private(where)
    for place in sorted(where.glob("*")):
        if place.suffix not in (SOCKET, PORT_FILE) or (pid is not None and pid_of(place) != pid):
            continue
        client = connected(place)
        if client is not None:
            yield client


def connected(place: Path) -> Client | None:
    """A connection to the monitor there; None if none answers. What a process that was killed has left is removed."""
    try:
        return Client(place)
    except ConnectionRefusedError:
        # Nobody listens there, and nobody will again.
        with suppress(OSError):
            place.unlink()
    except OSError:
        pass
    return None
