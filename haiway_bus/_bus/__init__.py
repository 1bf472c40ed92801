"""The bus: which events go to whom, and who waits for them.

`backend` chooses one of the two cores. `subscription` and `bus` have what stands once, over either.
"""

from haiway_bus._bus.backend import Receive, backend, current, send
from haiway_bus._bus.bus import Bus, subscribe
from haiway_bus._bus.subscription import Batches, Subscription

__all__ = ("Batches", "Bus", "Receive", "Subscription", "backend", "current", "send", "subscribe")
