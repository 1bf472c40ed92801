"""Waiting until subscriptions have caught up (guarantees 4.4, 4.5). A cold path: both twins use this one.

    Channel.round -> Round 3                         the calls of flush() that wait for the same events
                       ^
    Subscription.work -> Work: Round 1, Round 2, Round 3     what waits for this subscription, the nearest goal first

Goals only grow, and so does what a subscription is done with. So each read looks at the first goal alone, however many
calls wait, and each round is entered in a subscription once and taken out once, however many calls it stands for.
"""

from __future__ import annotations

import asyncio
import weakref
from asyncio import Future
from collections import OrderedDict
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Any

from haiway_bus._bus.refusals import NAMED, flush_timed_out
from haiway_bus._bus.stats import subscriptions_of
from haiway_bus._values.printable import described

__all__ = ("Round", "Work", "flush", "share_work")


class Round:
    """The calls of flush that wait for the same events: the first `sent` of one channel.

    Invariant: `left` subscriptions have the round among their goals, as long as there are `callers`, the futures of the
    calls that wait.
    """

    __slots__ = ("callers", "left", "sent")

    def __init__(self, sent: int) -> None:
        self.sent: int = sent
        self.left: int = 0
        self.callers: dict[Future[None], None] = {}

    def reached(self) -> None:
        """One more subscription is done with it."""
        self.left -= 1
        if not self.left:
            for caller in list(self.callers):
                if not caller.done() and not caller.get_loop().is_closed():
                    caller.set_result(None)


class Work:
    """What the readers of one subscription are at work on, and which rounds wait for them.

    It is there for subscriptions that are read by a pool, and for all others while a round waits.

    Invariants: `goals` has for each round the `position` by which the subscription has taken all that the round is
    about; they are in the order in which the rounds began, and so the lowest is the first. `shared` says that a pool
    reads it. `busy`, None while it is not known who is at work, has an entry for each task that took events and has not
    come back for more, with the position of the first of these; they are in the order in which they were taken, and so
    the first one says how far all are. Tasks are held weakly: one that ended, or is gone, is busy no longer. While
    there are goals, `watched` is the first busy task, whose end is heard of, and that of no other.
    """

    __slots__ = ("busy", "goals", "many", "shared", "subscription", "watched")

    def __init__(self, subscription: Any) -> None:
        self.subscription: weakref.ref[Any] = weakref.ref(subscription)
        self.goals: OrderedDict[Round, int] = OrderedDict()
        self.shared: bool = False
        self.busy: OrderedDict[weakref.ref[Any], int] | None = None
        if subscription._asked == subscription._position:
            # Nobody is at work: so each who will be is seen to begin.
            self.busy = OrderedDict()
        self.many: int = 64
        self.watched: weakref.ref[Any] | None = None

    def share(self) -> None:
        """From now on it is a pool that reads, however few call flush."""
        self.shared = True
        if self.busy is None:
            self.busy = OrderedDict()

    def took(self, position: int) -> None:
        """The current task takes the event at this position, the last of several if it reads a batch."""
        task = None if self.busy is None else asyncio.current_task()
        if self.busy is None:
            return
        if task is None:
            if not self.shared:
                # A callback took it. So it is done with it when somebody asks for the next one.
                self.busy = None
                self.watch()
            return
        if len(self.busy) >= self.many:
            at_work = [(one, at) for one, at in list(self.busy.items()) if _at_work(one)]
            self.busy = OrderedDict(at_work)
            # Not again before there are twice as many: all of them may be at work.
            self.many = max(64, 2 * len(self.busy))
        self.busy.setdefault(weakref.ref(task), position)
        if self.goals and self.watched is None:
            self.watch()

    def came_back(self) -> None:
        """The current task asks for the next event, and so is done with those before."""
        task = None if self.busy is None else asyncio.current_task()
        if self.busy is None:
            self.busy = OrderedDict()  # the one who was at work is not any more
        elif task is not None:
            self.busy.pop(weakref.ref(task), None)
        if self.goals:
            self.look()

    def look(self, _: object = None) -> None:
        """Release the rounds whose goals are reached. Called as well when the watched task has ended."""
        subscription = self.subscription()
        if subscription is None:
            return
        done = self.done(subscription)
        more = True
        while more:
            more = False
            # No call from the look at the first one until it is out: in one the collector may run, and close all this.
            for first, goal in self.goals.items():
                if goal <= done:
                    more = True
                    del self.goals[first]
                    first.reached()
                break
        self.settle()

    def done(self, subscription: Any) -> int:
        """The position up to which its readers have taken all and come back for more."""
        if self.busy is None:
            asked: int = subscription._asked
            return asked
        while self.busy:
            first = next(iter(self.busy))
            if _at_work(first):
                return self.busy[first] - 1
            self.busy.pop(first, None)
        position: int = subscription._position
        return position

    def settle(self) -> None:
        """After `goals` or `busy` changed: watch who is first now, or leave no trace."""
        self.watch()
        if not self.goals and not self.shared:
            subscription = self.subscription()
            if subscription is not None:
                subscription._set_work(None)

    def watch(self) -> None:
        """Hear of the end of the first busy task: it may end without coming back for the next event."""
        first = next(iter(self.busy), None) if self.busy and self.goals else None
        if first is self.watched:
            return
        before = None if self.watched is None else self.watched()
        if before is not None:
            before.remove_done_callback(self.look)
        task = None if first is None else first()
        if task is not None:
            task.add_done_callback(self.look)
        self.watched = first

    def leave(self, left: Round) -> None:
        """Nobody waits for this round any more."""
        if self.goals.pop(left, None) is not None:
            self.settle()

    def end(self) -> None:
        """The subscription has ended, and is waited for no longer."""
        while self.goals:
            self.goals.popitem(last=False)[0].reached()
        self.settle()


def share_work(subscription: Any) -> None:
    """From now on, tell apart the tasks that read it: they are a pool of workers."""
    if subscription._work is None:
        subscription._set_work(Work(subscription))
    subscription._work.share()


def _at_work(task: weakref.ref[Any]) -> bool:
    found = task()
    return found is not None and not found.done()


async def flush(channel: Any, timeout: float | None, apart: AbstractSet[int]) -> None:
    """Return when each subscription of the channel, but for those whose ids are `apart`, has taken all that was sent.

    Has taken it and come back for more, that is, or has ended. Raises TimeoutError, with the subscriptions that are
    behind, and by how much, after `timeout` seconds.
    """
    # No variable here holds a subscription while this waits: one that its reader has dropped is not to be waited for.
    found: Round | None = channel.round
    if found is None or found.sent != channel.sent or apart:
        found = _begin(channel, apart)
    # Else nothing was sent since, and who had to come back then has to now, or has come.
    if not found.left:
        return
    caller: Future[None] = asyncio.get_running_loop().create_future()
    found.callers[caller] = None
    try:
        async with asyncio.timeout(timeout):
            await caller
    except TimeoutError:
        if not found.left:
            return  # the last one came back in the same moment
        raise _timed_out(channel, found, timeout) from None
    finally:
        del found.callers[caller]
        if found.left and not found.callers:
            _abandon(channel, found)


def _begin(channel: Any, apart: AbstractSet[int]) -> Round:
    begun = Round(channel.sent)
    for subscription in subscriptions_of(channel):
        if id(subscription) in apart or subscription.closed:
            continue
        goal = subscription._position + subscription._pending
        work = subscription._work
        if goal > (subscription._asked if work is None else work.done(subscription)):
            if work is None:
                work = Work(subscription)
                subscription._set_work(work)
            begun.left += 1
            work.goals[begun] = goal
            work.watch()
    if not apart:
        channel.round = begun
    return begun


def _abandon(channel: Any, left: Round) -> None:
    if channel.round is left:
        channel.round = None
    for subscription in subscriptions_of(channel):
        if subscription._work is not None:
            subscription._work.leave(left)


def _whose(subscription: Any) -> str:
    """Who reads it, as far as that is known without looking at each task of the loop."""
    busy = subscription._work.busy
    if busy:
        # The workers of a handler have one name.
        names = {described(task.get_name()) for one in list(busy) if (task := one()) is not None}
        return f", in the hands of {', '.join(sorted(names)[:3])}" if names else ""
    return "" if subscription._delivered else " and was never read"


def _timed_out(channel: Any, found: Round, timeout: float | None) -> TimeoutError:
    behind = (
        (one, max(one._work.goals[found] - one._position, 0), _whose(one))
        for one in subscriptions_of(channel)
        if one._work is not None and found in one._work.goals
    )
    # No more than are named: as many calls may be over at once as wait.
    return flush_timed_out(channel.event_type, timeout, list(islice(behind, NAMED)), found.left)
