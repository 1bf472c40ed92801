"""How a check says no: the problems found, each with its path, and the text made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from haiway_bus._values.arguments import is_class
from haiway_bus._values.printable import described, name_of_type
from haiway_bus.errors import StateError

__all__ = ("LIMIT", "Mismatch", "Problem", "describe", "mismatch", "part_of", "state_error")

Problem = tuple[str, str]
"""A path relative to the value that was checked (`[3].price`, or nothing), and what is wrong."""

LIMIT = 100
"""Problems listed at most: a list of a million wrong elements must not make a gigabyte of text."""

_LONGEST: Final = 60


class Mismatch(Exception):  # noqa: N818 - a signal within the package
    """Raised inside the package when a value does not fit its annotation; never leaves it.

    Checks do not know where their value stands. Whoever holds the value puts its own part before
    the paths on the way up, so that a value that fits pays nothing for paths.
    """

    def __init__(self, problems: list[Problem] | None = None) -> None:
        super().__init__()
        self.problems: list[Problem] = [] if problems is None else problems

    def under(self, part: str) -> list[Problem]:
        """The problems as seen from the holder, where the value stands at `part`."""
        return [(part + path, reason) for path, reason in self.problems]


def describe(value: Any) -> str:
    """The offending value for an error text: its type and a short repr, whatever its repr does."""
    if value is None:
        return "None"
    if is_class(value):
        return f"the class {name_of_type(value, qualified=False)}"
    return f"{name_of_type(type(value), qualified=False)} {described(value, _LONGEST)}"


def part_of(key: object) -> str:
    """The part of a path that a mapping's key makes."""
    return f"[{described(key, _LONGEST)}]"


def mismatch(expected: str, value: Any) -> Mismatch:
    """The usual reason for a refusal."""
    return Mismatch([("", f"expected {expected}, given {describe(value)}")])


def state_error(root: str, problems: Iterable[Problem]) -> StateError:
    """The public error for problems whose paths begin at `root`, the name of a State class."""
    placed = tuple((root + path, reason) for path, reason in problems)
    lines = [f"{path}: {reason}" for path, reason in placed[:LIMIT]]
    if len(placed) > LIMIT:
        lines.append(f"and {len(placed) - LIMIT} more")
    if len(lines) == 1:
        return StateError(lines[0], placed)
    return StateError(f"{root} has {len(placed)} problems:\n  " + "\n  ".join(lines), placed)
