"""Who decides the order: a list of choices, or chance. Both leave a trail that can be replayed.

A schedule is written as the steps at which something else than the first option was chosen: "3:1,7:2" takes option 1
at the loop's choice number 3, option 2 at number 7, and the first everywhere else. "-" is asyncio's own order.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TypeAlias

__all__ = ("Chance", "Choices", "Chooser", "parse", "written")

Choices: TypeAlias = Mapping[int, int]


class Chooser:
    """Replays given choices, and takes the first option where none is given.

    `options` is the trail: how many options there were at each choice. `taken` has those that were not the first,
    each of them a preemption.
    """

    __slots__ = ("given", "options", "taken")

    def __init__(self, given: Choices) -> None:
        self.given = given
        self.options: list[int] = []
        self.taken: dict[int, int] = {}

    def choose(self, options: int) -> int:
        step = len(self.options)
        self.options.append(options)
        # A shortened list of choices can lead elsewhere, to where there is less to choose from.
        chosen = min(self.given.get(step, 0), options - 1)
        if chosen:
            self.taken[step] = chosen
        return chosen


class Chance(Chooser):
    """Chooses at random; `calm` is how often it keeps to asyncio's own order.

    Few deviations find what depends on one unlucky moment, many find what depends on several.
    """

    __slots__ = ("calm", "random")

    def __init__(self, random: Random, calm: float) -> None:
        super().__init__({})
        self.random = random.random
        self.calm = calm

    def choose(self, options: int) -> int:
        step = len(self.options)
        self.options.append(options)
        if self.random() < self.calm:
            return 0
        chosen = int(self.random() * options)
        if chosen:
            self.taken[step] = chosen
        return chosen


def written(choices: Choices) -> str:
    """The choices as one word for a command line."""
    return ",".join(f"{step}:{chosen}" for step, chosen in sorted(choices.items())) or "-"


def parse(text: str) -> dict[int, int]:
    """What `written` wrote."""
    pairs = [] if text == "-" else [pair.split(":") for pair in text.split(",")]
    return {int(step): int(chosen) for step, chosen in pairs}
