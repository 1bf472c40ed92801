"""The backend that serves: the compiled one where it was built, else the pure one."""

from typing import TYPE_CHECKING, Final, Literal

from haiway_bus._values.switches import compiled_module

__all__ = ("Batches", "Bus", "Receive", "Subscription", "backend", "current", "send", "subscribe")

if TYPE_CHECKING:  # type checkers read the twin that is written in Python: both have one surface
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
elif compiled_module("haiway_bus._bus._core_c") is None:
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
    from haiway_bus._bus._core_c import (
        Batches,
        Bus,
        Receive,
        Subscription,
        current,
        send,
        subscribe,
    )

    backend = "compiled"
