"""Which files are indexed, in which order, and what the modules in them are called."""

from __future__ import annotations

import os
import stat
from itertools import islice
from pathlib import Path, PurePosixPath

__all__ = ("module_name", "source_files")

# Packages that were installed beside the library, and compiled leftovers, are not its source.
SKIPPED_FOLDERS = frozenset({"__pycache__", "dist-packages", "site-packages"})


def source_files(root: Path, limit: int | None = None) -> list[str]:
    """The source files below `root`, relative to it, sorted; of these the first `limit`.

    A folder that cannot be listed stands in the list itself: whoever opens it gets the reason, and
    reports it like a file that cannot be read instead of passing it over in silence.
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
    """The dotted name of the module at `path` below `root`; an __init__.py has its folder's."""
    parts = PurePosixPath(path).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or root.resolve().name


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _is_special(path: Path) -> bool:
    """Whether `path` is a pipe, a socket or a device, which to open could block for ever.

    A broken link is none: it stays in the list, and reading it says what is wrong.
    """
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
