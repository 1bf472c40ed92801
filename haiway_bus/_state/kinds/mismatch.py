"""The refusal of a value: the problems in it, each with its path, and the error made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from haiway_bus._common.arguments import is_class
from haiway_bus._common.printable import described, name_of_type
from haiway_bus.errors import StateError

__all__ = (
    "DEEP",
    "LIMIT",
    "Mismatch",
    "Problem",
    "describe",
    "listed",
    "mismatch",
    "part_of",
    "state_error",
)

Problem = tuple[str, str]
"""The path from the checked value to the wrong place (`[3].price`, or ""), and the reason."""

LIMIT = 100
"""The most problems that an error lists: a million wrong elements must not make a gigabyte of text."""

DEEP: Final = "nested too deeply, or in a circle"
"""The reason for a RecursionError: Python's limit of 1,000 frames is that of the nesting, too."""

MANY: Final = 20
"""An error lists so many allowed names at most: it may list LIMIT wrong names as well."""

_LONGEST: Final = 60


class Mismatch(Exception):  # noqa: N818 - a signal within the package
    """Raised inside of the package for a value that does not fit its annotation. Users get a StateError.

    A check does not know the path to its value. Each container and each State on the way up puts its
    own part before the paths. So a value that fits costs nothing for paths.
    """

    def __init__(self, problems: list[Problem] | None = None) -> None:
        super().__init__()
        self.problems: list[Problem] = [] if problems is None else problems

    def under(self, part: str) -> list[Problem]:
        """Give the problems with `part` before each path."""
        return [(part + path, reason) for path, reason in self.problems]


def describe(value: Any) -> str:
    """Describe a value for an error text: its type and a short repr. A repr that fails is no obstacle."""
    if value is None:
        return "None"
    if is_class(value):
        return f"the class {name_of_type(value, qualified=False)}"
    return f"{name_of_type(type(value), qualified=False)} {described(value, _LONGEST)}"


def listed(names: Iterable[str]) -> str:
    """List the names that are allowed, the first of them when there are many."""
    known = list(names)
    if len(known) > MANY:
        return f"{', '.join(known[:MANY])} and {len(known) - MANY} more"
    return ", ".join(known) or "none"


def part_of(key: object) -> str:
    """Give the part of a path for a key of a mapping."""
    return f"[{described(key, _LONGEST)}]"


def mismatch(expected: str, value: Any) -> Mismatch:
    """Make the usual refusal."""
    return Mismatch([("", f"expected {expected}, given {describe(value)}")])


def state_error(root: str, problems: Iterable[Problem]) -> StateError:
    """Make the public error of problems whose paths begin at `root`, the name of a State class."""
    placed = tuple((root + path, reason) for path, reason in problems)
    lines = [f"{path}: {reason}" for path, reason in placed[:LIMIT]]
    if len(placed) > LIMIT:
        lines.append(f"and {len(placed) - LIMIT} more")
    if len(lines) == 1:
        return StateError(lines[0], placed)
    return StateError(f"{root} has {len(placed)} problems:\n  " + "\n  ".join(lines), placed)
