"""Terminal 1: bills the orders that shop.py creates, until Ctrl-C. A second program of this kind shares the work."""

import asyncio

from events import URL, OrderCreated, a_server

from haiway_bus import ctx
from haiway_bus.integrations.nats import NatsBridge


def bill(order: OrderCreated) -> None:
    print(f"bill {order.order_id}: {order.total:.2f}", flush=True)


async def main() -> None:
    bridge = NatsBridge(URL, subscribe=[OrderCreated], durable="billing")
    async with ctx.scope("billing", disposables=[bridge]):
        ctx.on(OrderCreated, bill)
        print("waiting for orders, Ctrl-C ends", flush=True)
        await asyncio.Event().wait()


with a_server():
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("done")
