"""What checkers know of a changed copy, from Python 3.13 on. Each says so of a line with its name."""

import copy
from typing import Self, TypeVar

from haiway_bus import State


class Order(State):
    number: int
    name: str = ""

    def renamed(self, name: str) -> Self:
        return self.updated(name=name)


S = TypeVar("S", bound=State)


def numbered(state: S, number: int) -> S:
    return state.updated(number=number)


order = Order(number=1)
same: Order = numbered(order, 2).renamed("b")
changed: Order = copy.replace(order, number=2)
again: Order = order.__replace__(number=2)
copy.replace(order, number="no")  # mypy
copy.replace(order, nobody=1)  # mypy
order.__replace__(number="no")  # mypy, pyright
order.__replace__(nobody=1)  # mypy, pyright
order.updated(number="no")
order.updated(nobody=1)
