"""The run of a loop in which code is called, and the loops that their own callbacks can run again (guarantee 2.16)."""

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


# A cheap call, whose result identifies the running loop or its current run: each read of `async for` makes it. In 3.11,
# _get_running_loop makes a system call, but each run of a loop has its own hooks for async generators.
here: Final[Callable[[], object]] = (
    get_asyncgen_hooks if version_info < (3, 12) else _get_running_loop
)

# The instruction by which `async for` gets its iterator, which no other code can reach. Other callers may pass it on.
GET_AITER: Final = opmap.get("GET_AITER")
