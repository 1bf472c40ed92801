"""The events of the job: what its stages tell each other."""

from __future__ import annotations

from collections.abc import Sequence

from haiway_bus import State
from haiway_bus.demo.index import Location

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
    """The walk is done, and so many files follow."""

    total: int


class FileFound(State):
    """The walk found a source file. The path is relative to the root."""

    path: str


class ModuleIndexed(State):
    """A file was examined. `seconds` is how long reading, parsing and tokenizing it took."""

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
    """A file could not be examined. `reason` says why."""

    path: str
    reason: str
    seconds: float


class WhereIs(State):
    """The question: where is this name defined?"""

    request_id: str
    name: str


class Whereabouts(State):
    """The answer to the WhereIs with the same id. It has no locations if nobody defines the name."""

    request_id: str
    locations: Sequence[Location]
