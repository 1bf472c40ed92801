"""What the job is asked to do. It is state of the job's scope, where each stage looks it up."""

from __future__ import annotations

from pathlib import Path

from haiway_bus import State

__all__ = ("Job",)


class Job(State):
    """Index the first `files` source files below `root`, or all of them, with so many workers."""

    root: Path
    files: int | None = None
    workers: int = 4
