"""The folder where services and `top` meet. Only its user can enter it. It has a socket for each scope with a monitor.

On Windows asyncio has no Unix sockets. There a file with a port and a secret takes the place of the socket: whoever can
read the file may connect.
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
    """Raised when other users can write to the folder."""


def folder() -> Path:
    """Return the path of the folder, which need not exist.

    It is HAIWAY_BUS_RUNTIME_DIR if that is set. Otherwise it is a folder of this user in XDG_RUNTIME_DIR, or in the
    folder for temporary files.
    """
    given = os.environ.get("HAIWAY_BUS_RUNTIME_DIR")
    if given:
        return Path(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "haiway_bus"
    # On Windows the folder for temporary files is the user's own.
    user = os.getuid() if sys.platform != "win32" else "user"
    return Path(tempfile.gettempdir()) / f"haiway_bus-{user}"


def private_folder() -> Path:
    """Return the folder, and make it if it is missing. Raise UnsafeFolderError if it is not this user's alone."""
    found = folder()
    found.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(found)
    return found


def check_private(found: Path) -> None:
    """Raise UnsafeFolderError if this is not a folder of this user alone."""
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
            "`chmod 700` it if it is yours, or name another folder in HAIWAY_BUS_RUNTIME_DIR"
        )


def pid_of(path: Path) -> int | None:
    """Return the process that a path in the folder belongs to; None if its name does not say."""
    pid = path.name.partition("-")[0]
    return int(pid) if pid.isdecimal() else None
