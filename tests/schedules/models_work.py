"""Models of what counts as work at the end of a scope: children, answers for nested scopes, reads of other buses."""

from __future__ import annotations

import asyncio

from .ledger import Event, Other, World, all_taken
from .ways import loop_over, one, pause, produce

__all__ = ("WORK",)


async def ends_after_the_children_of_a_group(world: World) -> None:
    """Guarantee 5.4: a child in the task's own TaskGroup is at work, and its body reads what the child sends."""
    async with world.scope():
        account, other = world.subscribe(), world.subscribe(Other)

        async def stage() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(produce(world, 2, Other, 1.0))
                await loop_over(account)

        world.ctx.spawn(stage)
        reader = world.ctx.spawn(loop_over, other, turns=1)
        world.send()
        world.ending = True
    assert reader.result() == "ended"
    all_taken(account, other)
    assert len(other.received) == 2


async def ends_after_children_of_children(world: World) -> None:
    """Guarantee 5.4: at any depth, and also one that a child starts while the scope waits."""
    async with world.scope():
        account = world.subscribe()

        async def inner() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(loop_over(account))
                await pause()
                group.create_task(produce(world, 2, Event, 1.0))
                await loop_over(account)

        async def outer() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(inner())
                await loop_over(account, turns=1)

        world.ctx.spawn(outer)
        world.ending = True
    all_taken(account)
    assert len(account.received) == 2


async def answers_a_nested_scope(world: World) -> None:
    """Guarantee 5.4: `first()` in a nested scope is answered while a service of the outer one is at work."""
    got = []
    async with world.scope():
        requests = world.subscribe()

        async def serve() -> None:
            while await one(requests) is not None:
                await asyncio.sleep(1.0)
                world.send(Other)

        async def ask() -> None:
            answer = world.ctx.subscribe(Other)
            world.send()
            got.append(await answer.first())

        world.ctx.spawn(serve)
        await pause()
        async with world.scope("request"):
            world.ctx.spawn(ask)
        async with world.scope("another"):
            world.ctx.spawn(ask)
            world.ctx.spawn(ask)
        world.ending = True
    assert len(got) == 3
    all_taken(requests)


async def lets_go_of_a_question_that_nobody_answers(world: World) -> None:
    """Guarantee 5.4: `first()` is cancelled when nobody of the bus is at work any more, and no sooner."""
    async with world.scope():
        requests = world.subscribe()
        world.ctx.spawn(loop_over, requests)  # and answers nothing
        await pause()

        async def ask() -> None:
            await world.ctx.subscribe(Other).first()

        async with world.scope("request"):
            question = world.ctx.spawn(ask)
            world.send()
            working = world.ctx.spawn(produce, world, 1, Event, 1.0)
        assert question.cancelled()
        assert working.done()
        assert not working.cancelled()
        world.ending = True
    all_taken(requests)


async def reads_another_bus(world: World) -> None:
    """Guarantee 5.4: a wait on another bus is not ended while a task or a body of that bus is at work."""
    async with world.scope():
        outer = world.subscribe()
        world.ctx.spawn(produce, world, 2, Event, 1.0)

        async def part() -> None:
            async with world.scope("part", isolated=True):
                inner = world.subscribe(Other)
                world.ctx.spawn(loop_over, inner)
                world.send(Other)
                world.ctx.spawn(loop_over, outer, turns=1)

        parted = world.ctx.spawn(part)
        await asyncio.sleep(3.0)
        assert not parted.done()
        world.send()
        world.ending = True
    assert parted.done()
    all_taken(outer)
    assert len(outer.received) == 3


async def backs_off(world: World) -> None:
    """Guarantee 5.4: a loop around the loop that sleeps in between ends with its scope, at its first return."""
    async with world.scope():
        account = world.subscribe()
        rounds = 0

        async def read() -> None:
            nonlocal rounds
            while True:
                rounds += 1
                await loop_over(account)
                await asyncio.sleep(1.0)

        reader = world.ctx.spawn(read)
        world.ctx.spawn(produce, world, 1)
        world.ending = True
    assert reader.cancelled()
    assert rounds <= 9  # two, unless the callbacks of one turn change places
    all_taken(account)


async def spawns_beside_a_plan(world: World) -> None:
    """Guarantee 5.4: a reader that is spawned, and an event that is sent, between two rounds find each other."""
    async with world.scope():
        first, second, third = world.subscribe(), world.subscribe(Other), world.subscribe()
        late = []

        async def reads_and_sends() -> None:
            await loop_over(first)
            late.append(world.ctx.spawn(loop_over, third, turns=1))
            await pause()
            world.send(Other)

        sink = world.ctx.spawn(loop_over, second)
        world.ctx.spawn(reads_and_sends)
        world.ctx.spawn(produce, world, 2)
        world.ending = True
    assert sink.result() == "ended"
    assert [task.result() for task in late] == ["ended"]
    all_taken(first, second, third)
    assert len(second.received) == 1


WORK = (
    ends_after_the_children_of_a_group,
    ends_after_children_of_children,
    answers_a_nested_scope,
    lets_go_of_a_question_that_nobody_answers,
    reads_another_bus,
    backs_off,
    spawns_beside_a_plan,
)
