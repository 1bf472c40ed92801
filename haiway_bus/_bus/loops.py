"""Which loops a callback can run again (guarantee 2.16). A cold path: both twins use it."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from typing import Final

__all__ = ("runs_again",)

# The modules whose `run_forever` refuses to be called while the loop runs.
_STRICT: Final = ("asyncio.base_events", "asyncio.windows_events", "uvloop.loop")


def runs_again(loop: AbstractEventLoop) -> bool:
    """Whether a callback may run the loop again. nest_asyncio allows that, and so do the loops of Qt applications."""
    return getattr(type(loop).run_forever, "__module__", None) not in _STRICT
