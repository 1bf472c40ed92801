"""Terminal 2: creates ten orders. It ends when the server has all orders. They may be billed now or later."""

import asyncio

from events import URL, OrderCreated

from haiway_bus import ctx
from haiway_bus.integrations.nats import NatsBridge


async def main() -> None:
    bridge = NatsBridge(URL, publish=[OrderCreated])
    async with ctx.scope("shop", disposables=[bridge]):
        for number in range(1, 11):
            ctx.send(OrderCreated(order_id=f"A{number}", total=9.5 * number))
            print(f"created A{number}", flush=True)
            await asyncio.sleep(0.2)
        await ctx.flush(OrderCreated)  # returns when the server has acknowledged them
    print(bridge.report)


asyncio.run(main())
