"""The kill test: nothing that was acknowledged is lost, and duplicates are redeliveries.

Three publishers and three consumers in two groups, each a process, and a server that is killed (SIGKILL) and started
again on the same store in the middle of the work. A consumer is killed while it works, and so is a publisher, whose
successor goes on after the last event it wrote down as acknowledged.

    python -P tests/nats/kill_run.py                              30,000 events, 5 restarts, once
    python -P tests/nats/kill_run.py --runs 10
    python -P tests/nats/kill_run.py --events 3000 --restarts 2   what the suite runs
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parent))  # -P leaves it out

from kill_actor import CHUNK
from nats_server import NatsServer

ACTOR = Path(__file__).with_name("kill_actor.py")
PUBLISHERS = ("p1", "p2", "p3")
CONSUMERS = (("billing", "c1"), ("billing", "c2"), ("mail", "c3"))
KILLED_PUBLISHER = "p3"
KILLED_GROUP = "billing"
IN_KILLED_GROUP = [name for group, name in CONSUMERS if group == KILLED_GROUP]


class Account(NamedTuple):
    """What the records of all processes show.

    acknowledged: events that publishers were told the server has. messages: ids under which consumers received them.
    lost: events acknowledged and not handled, by group. handled: how often one was handled, by group.
    repeated: how many of those were a message id handled before, by group; redelivered: those of them that the server
    said it had delivered before. stored_twice: message ids with more than one place in the stream: a duplicate that is
    no redelivery. sent_again: events with two message ids, sent again by the killed publisher's successor, which could
    not know that they had arrived; unexplained: such events of any other publisher, or that had been acknowledged.
    """

    acknowledged: int
    messages: int
    lost: dict[str, int]
    handled: dict[str, int]
    repeated: dict[str, int]
    redelivered: dict[str, int]
    stored_twice: int
    sent_again: int
    unexplained: int
    restarts: int
    seconds: float

    @property
    def holds(self) -> bool:
        return not any(self.lost.values()) and self.stored_twice == 0 and self.unexplained == 0


class Processes:
    """The processes of a run, each with its own record. All of them end with the run."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"errors.{name}").open("ab") as errors:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-P", "-W", "error", str(ACTOR), *arguments], stderr=errors
            )

    def publish(self, name: str, first: int, end: int, log: str) -> None:
        gate, own_log = str(self.folder / "gate"), str(self.folder / log)
        self.start(log, "publish", self.url, name, str(first), str(end), own_log, gate)

    def allow(self, number: int) -> None:
        """Allow each publisher to publish up to the event with this number."""
        fresh = self.folder / "gate.new"
        fresh.write_text(str(number))
        fresh.replace(self.folder / "gate")  # at once: never seen half written

    def consume(self, group: str, name: str) -> None:
        self.start(name, "consume", self.url, group, str(self.folder / f"{group}.{name}"))

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.wait(10)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.wait(10)

    def lines(self, pattern: str) -> list[str]:
        # Each line is written with a single call. A process that is killed meanwhile may leave half a line at the end.
        found: list[str] = []
        for path in sorted(self.folder.glob(pattern)):
            found += path.read_text().rpartition("\n")[0].splitlines()
        return found

    def size(self, pattern: str) -> int:
        return sum(path.stat().st_size for path in self.folder.glob(pattern))


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)


def run(folder: Path, events: int = 30_000, restarts: int = 5, seconds: float = 180.0) -> Account:
    """Do a run. Raise TimeoutError if it does not end in time."""
    began = time.monotonic()
    deadline = began + seconds
    each = events // len(PUBLISHERS)
    if each < 2 * CHUNK * (restarts + 2):
        raise ValueError(f"{events} events are too few for {restarts} restarts in their middle")
    with ExitStack() as stack:
        server = stack.enter_context(NatsServer(folder / "server"))
        actors = Processes(folder, server.url)
        stack.callback(actors.end)
        actors.allow(0)
        for group, name in CONSUMERS:
            actors.consume(group, name)
        for name in PUBLISHERS:
            actors.publish(name, 0, each, f"acked.{name}")

        def acknowledged() -> int:
            return len(actors.lines("acked.*"))

        killed_server = 0
        killed_consumer = killed_publisher = False
        earlier: dict[str, int] = {}
        while acknowledged() < each * len(PUBLISHERS):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{acknowledged()} of {events} acknowledged in {seconds:g} s")
            # How far the publishers may go before the kills in the middle of their work are done.
            gates = [1.0]
            gates += [(killed_server + 2) / (restarts + 2)] * (killed_server < restarts)
            gates += [0.9] * (not killed_consumer) + [0.8] * (not killed_publisher)
            actors.allow(int(min(gates) * each))
            done = acknowledged() / events
            if killed_server < restarts and done > (killed_server + 1) / (restarts + 2):
                server.kill()
                time.sleep(0.2)
                server.start()
                killed_server += 1
            if not killed_consumer and done > 0.3:
                sizes = {name: actors.size(f"{KILLED_GROUP}.{name}") for name in IN_KILLED_GROUP}
                earlier = earlier or sizes
                # A consumer that is at work. The other may be between two connections just now.
                for name in [name for name in sizes if sizes[name] > earlier[name]][:1]:
                    killed_consumer = True
                    actors.kill(name)
                    actors.consume(KILLED_GROUP, "again")
            own = len(actors.lines(f"acked.{KILLED_PUBLISHER}"))
            if not killed_publisher and own > each * 0.4:
                killed_publisher = True
                actors.kill(f"acked.{KILLED_PUBLISHER}")
                own = len(actors.lines(f"acked.{KILLED_PUBLISHER}"))
                actors.publish(KILLED_PUBLISHER, own, each, f"acked.{KILLED_PUBLISHER}.again")
            time.sleep(0.01)
        expected = set(actors.lines("acked.*"))
        for group in {group for group, _ in CONSUMERS}:

            def all_handled(group: str = group) -> bool:
                return expected <= {line.split()[0] for line in actors.lines(f"{group}.*")}

            try:
                until(all_handled, max(deadline - time.monotonic(), 1), f"{group} handles all")
            except TimeoutError as late:
                print(late, file=sys.stderr)  # the account below tells what is missing
        # A consumer makes its record when it is ready to end on request.
        until(lambda: (folder / f"{KILLED_GROUP}.again").exists(), 20, "the new consumer starts")
        for name, process in actors.running.items():
            if not name.startswith("acked"):
                process.terminate()
        for process in actors.running.values():
            assert process.wait(20) == 0, process.args
        return account(actors, expected, killed_server, time.monotonic() - began)


def account(actors: Processes, expected: set[str], restarts: int, seconds: float) -> Account:
    lost, handled, repeated, redelivered = {}, {}, {}, {}
    places: dict[str, set[str]] = defaultdict(set)
    ids: dict[str, set[str]] = defaultdict(set)
    for group in sorted({group for group, _ in CONSUMERS}):
        rows = [line.split() for line in actors.lines(f"{group}.*")]
        times = Counter(message for _, message, _, _ in rows)
        for event, message, sequence, _ in rows:
            places[message].add(sequence)
            ids[event].add(message)
        lost[group] = len(expected - {event for event, *_ in rows})
        handled[group] = len(rows)
        repeated[group] = sum(number - 1 for number in times.values())
        redelivered[group] = sum(
            times[message] > 1 and int(delivered) > 1 for _, message, _, delivered in rows
        )
    twice = [event for event, messages in ids.items() if len(messages) > 1]
    before_kill = set(actors.lines(f"acked.{KILLED_PUBLISHER}"))
    return Account(
        acknowledged=len(expected),
        messages=len(places),
        lost=lost,
        handled=handled,
        repeated=repeated,
        redelivered=redelivered,
        stored_twice=sum(len(found) > 1 for found in places.values()),
        sent_again=len(twice),
        unexplained=sum(
            not event.startswith(f"{KILLED_PUBLISHER}:") or event in before_kill for event in twice
        ),
        restarts=restarts,
        seconds=seconds,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="The kill test of the NATS bridge.")
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    for number in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            found = run(Path(folder), options.events, options.restarts)
        print(number + 1, "holds" if found.holds else "FAILS", found, flush=True)
        if not found.holds:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
