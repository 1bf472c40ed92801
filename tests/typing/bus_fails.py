"""What type checkers have to refuse: every line marked `# wrong`, and no other.

Read by the checkers, and run by nobody.
"""

# ruff: noqa: B007, B018, F841

import asyncio

from haiway_bus import Scope, State, Subscription, ctx


class OrderCreated(State):
    order_id: str


class Paid(State):
    order_id: str


class NoState:
    pass


async def read(orders: Subscription[OrderCreated], prefix: str) -> None: ...


async def about_payments(event: Paid) -> None: ...


async def two_arguments(event: OrderCreated, other: int) -> None: ...


def no_coroutine(event: OrderCreated) -> None: ...


async def main(orders: Subscription[OrderCreated]) -> None:
    ctx.send()  # wrong
    ctx.send(OrderCreated(order_id="a"), OrderCreated(order_id="b"))  # wrong
    ctx.subscribe()  # wrong
    ctx.subscribe(OrderCreated(order_id="a"))  # wrong
    ctx.subscribe("OrderCreated")  # wrong
    ctx.subscribe(OrderCreated, 5)  # wrong
    ctx.subscribe(OrderCreated, limit="5")  # wrong
    ctx.subscribe(OrderCreated, name=5)  # wrong
    ctx.subscribe(OrderCreated, limit=5, overflow="drop")  # wrong
    payments: Subscription[Paid] = ctx.subscribe(OrderCreated)  # wrong
    async for order in orders:
        paid: Paid = order  # wrong
        order.total  # wrong
    async for batch in orders.batches():
        wrong: list[Paid] = batch  # wrong
    for order in orders:  # wrong
        pass
    orders.batches(limit="5")  # wrong
    other: Paid = await orders.first()  # wrong
    await orders.first(about_payments)  # wrong
    await orders.first(timeout="1")  # wrong
    third: Paid = orders.receive_nowait()  # wrong
    orders.pending = 1  # wrong

    ctx.on(OrderCreated)  # wrong
    ctx.on(OrderCreated, about_payments)  # wrong
    ctx.on(OrderCreated, two_arguments)  # wrong
    ctx.on(OrderCreated, no_coroutine, errors="ignore")  # wrong
    ctx.on(OrderCreated, no_coroutine, overflow="drop")  # wrong
    ctx.on(OrderCreated, no_coroutine, workers="2")  # wrong

    ctx.spawn(read, orders)  # wrong
    ctx.spawn(read, orders, 1)  # wrong
    ctx.spawn(read, orders, "a", "b")  # wrong
    ctx.spawn(read, orders, prefix="a", other=1)  # wrong
    ctx.spawn(no_coroutine, OrderCreated(order_id="a"))  # wrong
    ctx.spawn(1)  # wrong
    task: asyncio.Task[str] = ctx.spawn(read, orders, "a")  # wrong

    state: Paid = ctx.state(OrderCreated)  # wrong
    ctx.state(NoState)  # wrong
    ctx.updated(NoState())  # wrong
    await ctx.flush(OrderCreated(order_id="a"))  # wrong
    await ctx.flush(OrderCreated, 1)  # wrong
    ctx.events()[OrderCreated].speed  # wrong

    scope: str = ctx.scope("a")  # wrong
    ctx.scope()  # wrong
    ctx.scope("a", NoState())  # wrong
    ctx.scope("a", disposables=(1,))  # wrong
    ctx.scope("a", observability=1)  # wrong
    ctx.scope("a", warn_after="10")  # wrong
    with ctx.scope("a"):  # wrong
        pass
    inner: Scope = ctx.scope("a")
    async with inner as trace_id:
        number: int = trace_id  # wrong

    ctx.record()  # wrong
    ctx.record(event="a", metric="b")  # wrong
    ctx.record(metric="a")  # wrong
    ctx.record(metric="a", value=1, kind="sum")  # wrong
