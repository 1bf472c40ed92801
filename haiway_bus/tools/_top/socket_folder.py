"""Where services and `top` meet: a folder that only its user can enter, with one socket for each scope to be seen.

Where there are no Unix sockets (Windows), a file with the port of a loopback server and a secret stands in the place
of the socket: who can read the file may connect.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import Final

__all__ = (
    "PORT_FILE",
    "SOCKET",
    "UnsafeFolderError",
    "check_private",
    "folder",
    "pid_of",
    "private_folder",
)

SOCKET: Final = ".sock"
PORT_FILE: Final = ".port"


class UnsafeFolderError(RuntimeError):
    """Raised when others than the user could put something into the folder, or take something out."""


def folder() -> Path:
    """The folder: HAIWAY_BUS_RUNTIME_DIR, or else one of this user's own below XDG_RUNTIME_DIR or that for temporary
    files. It need not exist."""
    given = os.environ.get("HAIWAY_BUS_RUNTIME_DIR")
    if given:
        return Path(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "haiway_bus"
    user = (
        os.getuid() if sys.platform != "win32" else "user"
    )  # there, temporary files are the user's own
    return Path(tempfile.gettempdir()) / f"haiway_bus-{user}"


def private_folder() -> Path:
    """The folder, made if need be. Raises UnsafeFolderError when it is not this user's alone."""
    found = folder()
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(found)
    return found


def check_private(found: Path) -> None:
    """Raise UnsafeFolderError when this is not a folder of this user alone."""
    if sys.platform == "win32":
        return
    status = found.lstat()
    if (
        not stat.S_ISDIR(status.st_mode)
        or status.st_uid != os.getuid()
        or stat.S_IMODE(status.st_mode) & 0o077
    ):
        raise UnsafeFolderError(
            f"the folder for monitors must be a folder of this user that no other may enter, and {found} is not: "
            "`chmod 700` it if it is yours, or name another in HAIWAY_BUS_RUNTIME_DIR"
        )


def pid_of(place: Path) -> int | None:
    """The process that a place in the folder belongs to; None if its name does not say."""
    pid = place.name.partition("-")[0]
    return int(pid) if pid.isdecimal() else None
