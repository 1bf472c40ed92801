"""Models of several things that fail at once, and of scopes that somebody else leaves (guarantee 5.5, 5.13 to 5.15)."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .ledger import Event, World
from .ways import loop_over, one, pause, produce

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ("FAILING",)


class Inner(Exception):
    pass


class Outer(Exception):
    pass


async def fail(error: Exception) -> None:
    await pause(2)
    raise error


async def two_scopes_fail(world: World) -> None:
    """Guarantee 5.15: whichever fails first, the body of the outer one is cancelled, and nothing of it is left."""
    world.ending = True
    task: Any = asyncio.current_task()
    with pytest.raises(ExceptionGroup) as failed:
        async with world.scope("outer"):
            world.ctx.spawn(fail, Outer())
            try:
                async with world.scope("inner"):
                    world.ctx.spawn(loop_over, world.subscribe())
                    world.ctx.spawn(fail, Inner())
                    await world.loop.create_future()
            except* Inner:
                pass
            await world.loop.create_future()
    assert [type(one) for one in failed.value.exceptions] == [Outer]
    assert task.cancelling() == 0


async def two_scopes_fail_at_their_ends(world: World) -> None:
    """Guarantee 5.15: the body of the inner one is over, and its end is waited for."""
    world.ending = True
    task: Any = asyncio.current_task()
    with pytest.raises(ExceptionGroup) as failed:
        async with world.scope("outer"):
            around = contextvars.copy_context()
            try:
                async with world.scope("inner"):
                    world.ctx.spawn(fail, Inner())
                    around.run(world.ctx.spawn, fail, Outer())
            except* Inner:
                pass
            await world.loop.create_future()
    assert [type(one) for one in failed.value.exceptions] == [Outer]
    assert task.cancelling() == 0


async def times_out_as_it_fails(world: World) -> None:
    """Guarantee 5.15: a time-out is not swallowed, and does not come a second time."""
    world.ending = True
    task: Any = asyncio.current_task()
    try:
        async with asyncio.timeout(1.0):
            try:
                async with world.scope():
                    world.ctx.spawn(loop_over, world.subscribe())

                    async def fail_in_time() -> None:
                        await asyncio.sleep(1.0)
                        raise Inner

                    world.ctx.spawn(fail_in_time)
                    await world.loop.create_future()
            except* Inner:
                pass
            await world.loop.create_future()
    except TimeoutError:
        pass
    assert task.cancelling() == 0
    await pause(2)


async def all_is_told(world: World) -> None:
    """Guarantee 5.13: each exception that was raised is in the group, once."""
    world.ending = True
    raised: list[BaseException] = []

    def note(error: Exception) -> Exception:
        raised.append(error)
        return error

    @asynccontextmanager
    async def failing() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await pause()
            raise note(OSError())

    async def crash() -> None:
        await pause()
        raise note(LookupError())

    with pytest.raises(ExceptionGroup) as failed:
        async with world.scope(disposables=[failing(), failing()]):
            world.ctx.spawn(crash)
            world.ctx.spawn(crash)
            await pause()
            raise note(ValueError())
    assert sorted(map(id, failed.value.exceptions)) == sorted(map(id, raised))


async def left_by_another_task(world: World) -> None:
    """Guarantee 5.14: who leaves waits, and hears of it; the task that entered goes on with its own work."""
    world.ending = True
    scope = world.scope()
    steps: list[str] = []

    async def set_up() -> None:
        await scope.__aenter__()
        account = world.subscribe()
        world.ctx.spawn(loop_over, account)
        world.ctx.spawn(fail_when, leaving)

    async def fail_when(start: asyncio.Future[None]) -> None:
        await start
        raise Inner

    async def tear_down() -> None:
        world.loop.call_soon(leaving.set_result, None)
        with pytest.raises(ExceptionGroup):
            await scope.__aexit__(None, None, None)
        steps.append("left")

    leaving: asyncio.Future[None] = world.loop.create_future()
    await world.loop.create_task(set_up())
    await world.loop.create_task(tear_down())
    assert steps == ["left"]


async def generator_left_by_another_task(world: World) -> None:
    """Guarantee 5.14: nobody who iterates is cancelled, and the failure comes out where the generator goes on."""
    world.ending = True

    async def items() -> AsyncIterator[int]:
        async with world.scope():
            world.ctx.spawn(fail, Inner())
            world.ctx.spawn(loop_over, world.subscribe())
            yield 1

    async def step() -> Any:
        return await anext(generator, "over")

    generator = items()
    assert await world.loop.create_task(step()) == 1
    await pause(3)
    with pytest.raises(ExceptionGroup):
        await world.loop.create_task(step())
    task: Any = asyncio.current_task()
    assert task.cancelling() == 0


async def what_is_lost_is_told(world: World) -> None:
    """Guarantee 5.5: all that was sent was taken, or is told."""
    world.ending = True
    taken: list[Any] = []
    lost: list[tuple[object, ...]] = []
    log = world.observability.log

    def note(scope: Any, level: Any, message: str, args: Any, exception: Any) -> None:
        if "left unread" in message:
            lost.append(args)
        else:
            log(scope, level, message, args, exception)

    world.observability.log = note  # type: ignore[method-assign]

    async def handle(event: Event) -> None:
        taken.append(event)
        await pause()

    with pytest.raises(Inner):
        async with world.scope():
            world.ctx.on(Event, handle, workers=2)
            account = world.subscribe()
            world.ctx.spawn(one, account)
            await produce(world, 3)
            raise Inner
    unread = account.subscription.pending
    assert unread + len(account.received) == 3
    assert sum(number for _, number in lost) == unread + 3 - len(taken)  # type: ignore[misc]
    assert len(lost) <= 1


FAILING = (
    two_scopes_fail,
    two_scopes_fail_at_their_ends,
    times_out_as_it_fails,
    all_is_told,
    left_by_another_task,
    generator_left_by_another_task,
    what_is_lost_is_told,
)
