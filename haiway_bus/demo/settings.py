"""What the job is asked to do, as the state of its scope: each stage looks it up there."""

from __future__ import annotations

from pathlib import Path

from haiway_bus import State

__all__ = ("Job",)


class Job(State):
    """Index the source below `root`, the first `files` files of it or all, with so many workers."""

    root: Path
    files: int | None = None
    workers: int = 4
