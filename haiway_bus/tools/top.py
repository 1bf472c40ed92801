"""`python -m haiway_bus top` shows the bus of a running service, live in a terminal.

The service opens a socket for it, with a disposable of its scope. Only the user who runs the service can connect:

    from haiway_bus.tools.top import Monitor

    async with ctx.scope("service", disposables=(Monitor(),)):
        ...
"""

from haiway_bus.tools._top.monitor import Monitor

__all__ = ("Monitor",)
