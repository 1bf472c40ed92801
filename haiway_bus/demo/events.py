"""What the stages of the job tell each other."""

from __future__ import annotations

from collections.abc import Sequence

from haiway_bus import State
from haiway_bus.demo.index import Place

__all__ = (
    "ClassFound",
    "FileFailed",
    "FileFound",
    "FilesListed",
    "FunctionFound",
    "ModuleIndexed",
    "WhereIs",
    "Whereabouts",
)


class FilesListed(State):
    """The walk is done; so many files follow."""

    total: int


class FileFound(State):
    """A source file, its path relative to the root."""

    path: str


class ModuleIndexed(State):
    """A file was examined; `seconds` is the time that reading, parsing and tokenizing it took."""

    path: str
    module: str
    lines: int
    tokens: int
    classes: int
    functions: int
    seconds: float


class ClassFound(State):
    """A module defines a class."""

    module: str
    name: str
    line: int


class FunctionFound(State):
    """A module defines a function or method."""

    module: str
    name: str
    line: int
    is_async: bool


class FileFailed(State):
    """A file could not be examined, and why."""

    path: str
    reason: str
    seconds: float


class WhereIs(State):
    """The question where a name is defined."""

    request_id: str
    name: str


class Whereabouts(State):
    """The answer to the WhereIs of the same id; no places when nothing of that name is known."""

    request_id: str
    places: Sequence[Place]
