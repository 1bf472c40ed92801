"""Which of the two backends serves: the compiled one where it was built, else the pure one.

`HAIWAY_BUS_PURE=1` asks for the pure one. A compiled module that is there but cannot be imported is an error:
a silent change of backend would be found as a slow service, long after.
"""

from os import environ
from typing import TYPE_CHECKING, Final, Literal

__all__ = ("Batches", "Bus", "Receive", "Subscription", "backend", "current", "send", "subscribe")

if (
    TYPE_CHECKING
):  # the twins have one surface; type checkers read the one that is written in Python
    from haiway_bus._bus._core_py import (
        Batches,
        Bus,
        Receive,
        Subscription,
        current,
        send,
        subscribe,
    )

    backend: Final[Literal["compiled", "pure"]] = "pure"
elif environ.get("HAIWAY_BUS_PURE") == "1":
    from haiway_bus._bus._core_py import (
        Batches,
        Bus,
        Receive,
        Subscription,
        current,
        send,
        subscribe,
    )

    backend = "pure"
else:
    try:
        from haiway_bus._bus._core_c import (
            Batches,
            Bus,
            Receive,
            Subscription,
            current,
            send,
            subscribe,
        )
    except ModuleNotFoundError as missing:
        if missing.name != "haiway_bus._bus._core_c":
            raise
        from haiway_bus._bus._core_py import (
            Batches,
            Bus,
            Receive,
            Subscription,
            current,
            send,
            subscribe,
        )

        backend = "pure"
    else:
        backend = "compiled"
