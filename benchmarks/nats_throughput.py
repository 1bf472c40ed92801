"""The bridge beside a bare nats-py loop, on one server of its own: throughput in both directions, and latency.

Both send the same JSON, with as many publishes in flight, to a stream on the same server; both take it with the same
fetch size and acknowledge each message. The bare loop neither checks nor decodes what it takes.

    python -P benchmarks/nats_throughput.py [--events 20000] [--rounds 5] [--in-flight 256]

A round of the one follows a round of the other; the figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "nats"))

import nats
from nats_server import NatsServer

import haiway_bus
from haiway_bus import State, ctx
from haiway_bus.integrations.nats import NatsBridge


class Order(State):
    number: int
    customer: str
    total: float
    note: str


def orders(number: int) -> list[Order]:
    note = "a line of text, of a hundred characters or so, that stands for what an event says; " * 2
    return [
        Order(number=one, customer=f"customer {one % 1000}", total=one / 7, note=note)
        for one in range(number)
    ]


async def bare_publish(url: str, stream: str, events: list[Order], in_flight: int) -> float:
    """One task for each publish in flight, each waits for its acknowledgement: js.publish as its manual has it."""
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name=stream, subjects=[f"{stream}.>"])
    source = iter(events)

    async def worker() -> None:
        for event in source:
            await js.publish(f"{stream}.Order", event.to_json().encode())

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(in_flight)))
    seconds = time.perf_counter() - began
    await client.close()
    return seconds


async def bare_publish_async(url: str, stream: str, events: list[Order], in_flight: int) -> float:
    """The faster way that nats-py has, which leaves it to the caller to repeat what a lost connection took with it."""
    client = await nats.connect(url)
    js = client.jetstream(publish_async_max_pending=in_flight)
    await js.add_stream(name=stream, subjects=[f"{stream}.>"])
    began = time.perf_counter()
    for event in events:
        await js.publish_async(f"{stream}.Order", event.to_json().encode())
    await js.publish_async_completed()
    seconds = time.perf_counter() - began
    await client.close()
    return seconds


async def bridge_publish(url: str, name: str, events: list[Order], in_flight: int) -> float:
    bridge = NatsBridge(
        url,
        publish=[Order],
        stream=name,
        subject_prefix=name,
        in_flight=in_flight,
        outbox=len(events),
    )
    async with ctx.scope("publish", disposables=[bridge]):
        began = time.perf_counter()
        for event in events:
            ctx.send(event)
        await ctx.flush(Order)
        seconds = time.perf_counter() - began
        assert bridge.stats().published == len(events)
        return seconds


async def bare_consume(url: str, stream: str, subject: str, number: int, batch: int) -> float:
    client = await nats.connect(url)
    js = client.jetstream()
    pull = await js.pull_subscribe(subject, f"bare{time.monotonic_ns()}", stream=stream)
    taken = 0
    began = time.perf_counter()
    while taken < number:
        for message in await pull.fetch(batch, timeout=5):
            taken += 1
            await message.ack()
    await client.flush()
    seconds = time.perf_counter() - began
    await client.close()
    return seconds


async def bridge_consume(url: str, name: str, number: int, batch: int) -> float:
    bridge = NatsBridge(
        url,
        subscribe=[Order],
        stream=name,
        subject_prefix=name,
        durable=f"bridge{time.monotonic_ns()}",
        capacity=batch,
    )
    async with ctx.scope("consume", disposables=[bridge]):
        done = asyncio.get_running_loop().create_future()
        taken = 0

        def handle(order: Order) -> None:
            nonlocal taken
            taken += 1
            if taken == number:
                done.set_result(None)

        began = time.perf_counter()
        ctx.on(Order, handle)
        await done
        while bridge.stats().acknowledged < number:  # noqa: ASYNC110 - it is counted, not told
            await asyncio.sleep(0)
        return time.perf_counter() - began


async def bare_latency(url: str, name: str, number: int, rate: float) -> list[float]:
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(name=name, subjects=[f"{name}.>"])
    pull = await js.pull_subscribe(f"{name}.Order", "latency", stream=name)
    sent: dict[int, float] = {}
    found: list[float] = []

    async def take() -> None:
        while len(found) < number:
            for message in await pull.fetch(1, timeout=5):
                found.append(time.perf_counter() - sent[Order.from_json(message.data).number])
                await message.ack()

    taking = asyncio.create_task(take())
    await asyncio.sleep(0.2)
    for event in orders(number):
        sent[event.number] = time.perf_counter()
        await js.publish(f"{name}.Order", event.to_json().encode())
        await asyncio.sleep(1 / rate)
    await taking
    await client.close()
    return found


async def bridge_latency(url: str, name: str, number: int, rate: float) -> list[float]:
    options: dict[str, Any] = {"stream": name, "subject_prefix": name}
    sent: dict[int, float] = {}
    found: list[float] = []

    def handle(order: Order) -> None:
        found.append(time.perf_counter() - sent[order.number])

    receiver = NatsBridge(url, subscribe=[Order], durable="latency", **options)
    sender = NatsBridge(url, publish=[Order], **options)
    async with ctx.scope("to", disposables=[receiver], isolated=True):
        ctx.on(Order, handle)
        await asyncio.sleep(0.2)
        async with ctx.scope("from", disposables=[sender], isolated=True):
            for event in orders(number):
                sent[event.number] = time.perf_counter()
                ctx.send(event)
                await asyncio.sleep(1 / rate)
        while len(found) < number:  # noqa: ASYNC110 - the measuring is over
            await asyncio.sleep(0.01)
    return found


def tell(what: str, number: int, bare: list[float], bridge: list[float]) -> None:
    slow, ours = statistics.median(bare), statistics.median(bridge)
    print(
        f"{what:8} bare {number / slow:8,.0f}/s   bridge {number / ours:8,.0f}/s   ratio {slow / ours:.2f}"
        f"   (rounds: {', '.join(f'{a / b:.2f}' for a, b in zip(bare, bridge, strict=True))})"
    )


def told(what: str, found: list[float]) -> None:
    cuts = statistics.quantiles(found, n=100)
    print(f"{what:8} median {cuts[49] * 1e3:.2f} ms   p99 {cuts[98] * 1e3:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--batch", type=int, default=512)
    options = parser.parse_args()
    events = orders(options.events)
    run: Callable[[Any], Any] = asyncio.run
    with tempfile.TemporaryDirectory() as folder, NatsServer(Path(folder) / "store") as server:
        url = server.url
        print(
            f"backend {haiway_bus.backend}, Python {sys.version.split()[0]}, nats-py {version('nats-py')},"
            f" {options.events} events of {len(events[0].to_json())} bytes, {options.in_flight} in flight,"
            f" fetch {options.batch}"
        )
        out: tuple[list[float], list[float], list[float]] = ([], [], [])
        back: tuple[list[float], list[float]] = ([], [])
        for number in range(options.rounds):
            bare, ours = f"bare{number}", f"ours{number}"
            out[0].append(run(bare_publish(url, bare, events, options.in_flight)))
            asynchronous = f"async{number}"
            out[2].append(run(bare_publish_async(url, asynchronous, events, options.in_flight)))
            out[1].append(run(bridge_publish(url, ours, events, options.in_flight)))
            # Both take the messages that the bridge published: with its headers, which are most of their size.
            subject = f"{ours}.events.Order"
            back[0].append(run(bare_consume(url, ours, subject, options.events, options.batch)))
            back[1].append(run(bridge_consume(url, ours, options.events, options.batch)))
        tell("publish", options.events, out[0], out[1])
        tell("  async", options.events, out[2], out[1])
        tell("consume", options.events, *back)
        print("latency from send to handler, one event at a time, 200 a second:")
        told("bare", run(bare_latency(url, "latebare", 1000, 200.0)))
        told("bridge", run(bridge_latency(url, "lateours", 1000, 200.0)))


if __name__ == "__main__":
    main()
