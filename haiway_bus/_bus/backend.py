"""Which of the two backends serves: the compiled one where it was built, else the pure one.

`HAIWAY_BUS_PURE=1` asks for the pure one. A compiled module that is there but cannot be imported is an error:
a silent change of backend would be found as a slow service, long after.
"""

from os import environ
from typing import TYPE_CHECKING, Final, Literal

__all__ = (
    "BatchesCore",
    "BusCore",
    "Receive",
    "SubscriptionCore",
    "backend",
    "current",
    "publish",
    "send",
)

if (
    TYPE_CHECKING
):  # the twins have one surface; type checkers read the one that is written in Python
    from haiway_bus._bus._core_py import (
        BatchesCore,
        BusCore,
        Receive,
        SubscriptionCore,
        current,
        publish,
        send,
    )

    backend: Final[Literal["compiled", "pure"]] = "pure"
elif environ.get("HAIWAY_BUS_PURE") == "1":
    from haiway_bus._bus._core_py import (
        BatchesCore,
        BusCore,
        Receive,
        SubscriptionCore,
        current,
        publish,
        send,
    )

    backend = "pure"
else:
    try:
        from haiway_bus._bus._core_c import (
            BatchesCore,
            BusCore,
            Receive,
            SubscriptionCore,
            current,
            publish,
            send,
        )
    except ModuleNotFoundError as missing:
        if missing.name != "haiway_bus._bus._core_c":
            raise
        from haiway_bus._bus._core_py import (
            BatchesCore,
            BusCore,
            Receive,
            SubscriptionCore,
            current,
            publish,
            send,
        )

        backend = "pure"
    else:
        backend = "compiled"
