"""How large the load is, and how the two services are set up: the same for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ("FULL", "QUICK", "TINY", "Shape")


@dataclass(frozen=True)
class Shape:
    """Per run. All of the clients receive every tick: `burst` of them at a time, and single ones between.

    `limit`: the ticks that wait for a client. Above `burst`, so that only a client that does not read loses any.
    `slow` of the websockets and of the streams each stop reading in the middle of the run, for `stall` seconds.
    `churning` of each leave and come back all the time. The buffers of the kernel are small, those of the service for
    all its clients and those of the slow clients, so that one that does not read is soon felt by the service.
    """

    sockets: int
    streams: int
    seconds: float
    slow: int
    churning: int
    stall: float
    burst: int = 250
    burst_every: float = 0.5
    singles: int = 2  # between two bursts
    asks_a_second: float = 400.0
    limit: int = 600
    send_buffer: int = 16 * 1024
    slow_buffer: int = 8 * 1024
    before_the_end: float = 1.0  # how long ticks flow again before SIGTERM
    drain: float = 3.0  # how long the service lets its clients have what waits, at SIGTERM


FULL: Final = Shape(sockets=800, streams=200, seconds=20.0, slow=10, churning=10, stall=12.0)
QUICK: Final = Shape(sockets=200, streams=50, seconds=6.0, slow=4, churning=4, stall=4.5)
# A client has to be stuck for more than the buffers hold, and for no longer than a second: so more ticks.
TINY: Final = Shape(
    sockets=7,
    streams=3,
    seconds=1.5,
    slow=1,
    churning=1,
    stall=1.0,
    burst=500,
    burst_every=0.1,
    asks_a_second=50.0,
    limit=1000,
    before_the_end=0.3,
)
