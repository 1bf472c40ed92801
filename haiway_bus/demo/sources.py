"""Which files to index, in which order, and the names of their modules."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path, PurePosixPath

__all__ = ("module_name", "source_files")

# Installed packages and compiled files are not source of the library.
SKIPPED_FOLDERS = frozenset({"__pycache__", "dist-packages", "site-packages"})


def source_files(root: Path, limit: int | None = None) -> list[str]:
    """Return the first `limit` source files below `root`, sorted, with paths relative to it.

    A folder that cannot be listed is in the list itself. Opening it fails, so that it is reported like a file that
    cannot be read, and not ignored.
    """
    found: list[str] = []

    def keep_unlistable(error: OSError) -> None:
        found.append(_relative(Path(error.filename), root))

    for folder, subfolders, names in os.walk(root, onerror=keep_unlistable):
        subfolders[:] = [name for name in subfolders if name not in SKIPPED_FOLDERS]
        for name in names:
            path = Path(folder, name)
            if name.endswith(".py") and not _is_special(path):
                found.append(_relative(path, root))
    return list(islice(sorted(found), limit))


def module_name(path: str, root: Path) -> str:
    """Return the dotted name of the module at `path` below `root`. An __init__.py has the name of its folder."""
    parts = PurePosixPath(path).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or root.resolve().name


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _is_special(path: Path) -> bool:
    """Return whether `path` is a pipe, a socket or a device: opening it could block for ever.

    A broken link is not: it stays in the list, and reading it says what is wrong.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
