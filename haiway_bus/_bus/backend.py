"""Select the core: the compiled core where it was built, else the pure core."""

from typing import TYPE_CHECKING, Final, Literal

from haiway_bus._common.switches import compiled_module

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

if TYPE_CHECKING or compiled_module("haiway_bus._bus._core_c") is None:
    # Type checkers read the pure twin, too: both have the same names.
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
else:
    from haiway_bus._bus._core_c import (
        BatchesCore,
        BusCore,
        Receive,
        SubscriptionCore,
        current,
        publish,
        send,
    )

    backend = "compiled"
