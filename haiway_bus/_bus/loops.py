"""Which run of a loop code stands in, and which loops can be run again by what they call (guarantee 2.16)."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from asyncio.events import _get_running_loop
from collections.abc import Callable
from opcode import opmap
from sys import get_asyncgen_hooks, version_info
from typing import Final

__all__ = ("GET_AITER", "here", "runs_again")

# The modules whose `run_forever` refuses to be called while the loop runs.
_STRICT: Final = ("asyncio.base_events", "asyncio.windows_events", "uvloop.loop")


def runs_again(loop: AbstractEventLoop) -> bool:
    """Whether a callback may run the loop again. nest_asyncio allows that, and so do the loops of Qt applications."""
    return getattr(type(loop).run_forever, "__module__", None) not in _STRICT


# In which run of which loop code stands, in one cheap call: a read of `async for` asks this each time. 3.11 asks the
# kernel before it tells the loop; but each run of a loop has hooks for async generators of its own.
here: Final[Callable[[], object]] = (
    get_asyncgen_hooks if version_info < (3, 12) else _get_running_loop
)

# The instruction by which an `async for` asks for its iterator, which it shows to nobody. Another caller may.
GET_AITER: Final = opmap.get("GET_AITER")
