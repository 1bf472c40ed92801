"""What type checkers have to accept. Read by the checkers, and run by nobody."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, assert_type

import haiway_bus
from haiway_bus import (
    ContextMissing,
    ContextStateMissing,
    Disposable,
    EventStats,
    LoggingObservability,
    Observability,
    Scope,
    ScopeIdentity,
    State,
    Subscription,
    SubscriptionClosed,
    SubscriptionOverflow,
    WaitingTask,
    ctx,
)


class OrderCreated(State):
    order_id: str
    total: float = 0


@dataclass(frozen=True)
class Paid:
    order_id: str


class Moved(NamedTuple):
    x: int


class Settings(State):
    url: str = ""


class Recorder:
    """A recorder of the user's own."""

    def scope_entered(self, scope: ScopeIdentity) -> None: ...

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None: ...

    def log(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None,
    ) -> None: ...

    def record_attributes(
        self, scope: ScopeIdentity | None, level: int, attributes: Mapping[str, Any]
    ) -> None: ...

    def record_event(
        self, scope: ScopeIdentity | None, level: int, event: str, attributes: Mapping[str, Any]
    ) -> None: ...

    def record_metric(
        self,
        scope: ScopeIdentity | None,
        level: int,
        metric: str,
        value: float,
        unit: str | None,
        kind: Literal["counter", "gauge", "histogram"],
        attributes: Mapping[str, Any],
    ) -> None: ...


recorder: Observability = Recorder()


@asynccontextmanager
async def connection() -> AsyncGenerator[Settings, None]:
    yield Settings(url="db")


@asynccontextmanager
async def several() -> AsyncGenerator[Iterable[State], None]:
    yield [Settings(), OrderCreated(order_id="a")]


@asynccontextmanager
async def nothing() -> AsyncGenerator[None, None]:
    yield None


resource: Disposable = connection()


async def read(orders: Subscription[OrderCreated], prefix: str, *, limit: int = 1) -> list[str]:
    names = [prefix][:limit]
    async for order in orders:
        assert_type(order, OrderCreated)
        names.append(order.order_id)
    return names


async def silent() -> None: ...


def plain(order: OrderCreated) -> None: ...


def giving(order: OrderCreated) -> int:
    return 1


async def handle(order: OrderCreated) -> str:
    return order.order_id


def any_event(event: object) -> None: ...


class Service:
    async def bill(self, order: OrderCreated) -> None: ...


async def main() -> None:
    assert_type(haiway_bus.backend, Literal["compiled", "pure"])
    scope = ctx.scope(
        "shop",
        Settings(),
        OrderCreated(order_id="a"),
        isolated=True,
        disposables=(connection(), several(), nothing()),
        observability=LoggingObservability(),
    )
    assert_type(scope, Scope)
    ctx.scope("shop", disposables=None)
    ctx.scope("shop", disposables=[connection(), None])
    async with scope as trace_id:
        assert_type(trace_id, str)
        assert_type(ctx.trace_id(), str)
        with scope.attach():
            ctx.send(Paid("a"))

    async with ctx.scope("events", observability=Recorder()):
        orders = ctx.subscribe(OrderCreated)
        assert_type(orders, Subscription[OrderCreated])
        assert_type(ctx.subscribe(Paid), Subscription[Paid])
        assert_type(ctx.subscribe(Moved, limit=5), Subscription[Moved])
        assert_type(ctx.subscribe(Moved, name="moves").name, str | None)
        assert_type(ctx.subscribe(Paid, limit=5, overflow="drop_oldest"), Subscription[Paid])
        assert_type(ctx.subscribe(Paid, limit=5, overflow="drop_newest"), Subscription[Paid])
        assert_type(ctx.subscribe(Paid, limit=5, overflow="raise"), Subscription[Paid])
        assert_type(orders.event_type, type[OrderCreated])
        assert_type(orders.pending, int)
        assert_type(orders.dropped, int)
        assert_type(orders.limit, int | None)
        assert_type(orders.closed, bool)

        ctx.send(OrderCreated(order_id="a"))
        ctx.send(Paid("a"))
        ctx.send(Moved(1))

        async for order in orders:
            assert_type(order, OrderCreated)
            break
        async for batch in orders.batches():
            assert_type(batch, list[OrderCreated])
            break
        async for batch in orders.batches(limit=10):
            assert_type(batch[0].total, float)
        async with orders as entered:
            assert_type(entered, Subscription[OrderCreated])
        assert_type(await anext(orders), OrderCreated)
        assert_type(await asyncio.wait_for(anext(orders), 1), OrderCreated)
        assert_type(orders.receive_nowait(), OrderCreated)
        assert_type(await orders.first(), OrderCreated)
        assert_type(await orders.first(lambda order: order.total > 1, timeout=1), OrderCreated)
        assert_type(await orders.first(where=giving), OrderCreated)
        orders.close()

        assert_type(ctx.on(OrderCreated, plain), Subscription[OrderCreated])
        assert_type(ctx.on(OrderCreated, giving, workers=2), Subscription[OrderCreated])
        assert_type(ctx.on(OrderCreated, handle, errors="raise"), Subscription[OrderCreated])
        assert_type(ctx.on(OrderCreated, any_event, errors="log"), Subscription[OrderCreated])
        assert_type(
            ctx.on(OrderCreated, Service().bill, limit=3, overflow="raise"),
            Subscription[OrderCreated],
        )
        ctx.on(OrderCreated, lambda order: print(order.order_id))

        assert_type(ctx.spawn(read, orders, "a"), asyncio.Task[list[str]])
        assert_type(ctx.spawn(read, orders, prefix="a", limit=2), asyncio.Task[list[str]])
        assert_type(ctx.spawn(read(orders, "a")), asyncio.Task[list[str]])
        assert_type(ctx.spawn(silent), asyncio.Task[None])
        assert_type(await ctx.spawn(handle, OrderCreated(order_id="a")), str)

        await ctx.flush(OrderCreated)
        await ctx.flush(Paid, timeout=1.5)
        assert_type(ctx.events(), Mapping[type[Any], EventStats])
        assert_type(ctx.events()[Paid].lag, int)
        assert_type(ctx.waiting(), tuple[WaitingTask, ...])
        assert_type(ctx.waiting()[0].line, int | None)

        assert_type(ctx.state(Settings), Settings)
        assert_type(ctx.state(Settings).updated(url="x"), Settings)
        with ctx.updated(Settings(url="y"), OrderCreated(order_id="b")):
            assert_type(ctx.state(OrderCreated).order_id, str)

        ctx.log_info("%s of %d", "a", 1)
        ctx.log_error("failed", exception=ValueError())
        ctx.record(attributes={"a": 1})
        ctx.record(logging.INFO, event="paid", attributes={"a": 1})
        ctx.record(metric="orders", value=1, unit="1", kind="gauge")
        ctx.record(logging.INFO, metric="seconds", value=1.5, kind="histogram")


async def errors(orders: Subscription[OrderCreated]) -> None:
    try:
        await anext(orders)
    except SubscriptionOverflow as overflow:
        assert_type(overflow.lost, int)
    except (ContextMissing, ContextStateMissing, SubscriptionClosed, StopAsyncIteration):
        pass
