"""`URL GROUP LOG POISON`: a process that records each order it handles, and dies of the poisoned order."""

from __future__ import annotations

import asyncio
import os
import sys

from haiway_bus import State, ctx
from haiway_bus.integrations.nats import NatsBridge


class Order(State):
    number: int


async def main(url: str, group: str, path: str, poison: int) -> None:
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def handle(order: Order) -> None:
        os.write(log, f"{order.number}\n".encode())
        if order.number == poison:
            os._exit(9)

    bridge = NatsBridge(
        url, subscribe=[Order], durable=group, heartbeat=0.3, ack_wait=0.5, max_deliveries=6
    )
    async with ctx.scope("process", disposables=[bridge]):
        ctx.on(Order, handle)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
