"""`flush`: wait until subscriptions have caught up (guarantees 4.4, 4.5). A cold path: both twins use it.

    Channel.round -> Round 3                         the calls of flush() that wait for the same events
                       ^
    Subscription.work -> Work: Round 1, Round 2, Round 3     what waits for this subscription, the nearest goal first

Goals only grow, and so does the position up to which a subscription is done. So a read looks at the first goal alone,
however many calls wait. A round is entered in a subscription once and removed once, however many calls share it.
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
from haiway_bus._common.printable import described

__all__ = ("Round", "Work", "flush", "share_work")


class Round:
    """The calls of flush that wait for the same events: the first `sent` events of a channel.

    Invariant: `callers` are the futures of the waiting calls. While there are any, `left` subscriptions have the
    round among their goals.
    """

    __slots__ = ("callers", "left", "sent")

    def __init__(self, sent: int) -> None:
        self.sent: int = sent
        self.left: int = 0
        self.callers: dict[Future[None], None] = {}

    def reached(self) -> None:
        """Another subscription has reached its goal."""
        self.left -= 1
        if not self.left:
            for caller in list(self.callers):
                if not caller.done() and not caller.get_loop().is_closed():
                    caller.set_result(None)


class Work:
    """The tasks that have events of a subscription in hand, and the rounds that wait for them.

    A subscription has it while a pool of tasks reads it, or a round waits.

    Invariants:
    - `goals` maps each round to the `position` at which the subscription has taken all events of the round. The
      rounds are in the order of their begin, so the first goal is the lowest.
    - `shared` says that a pool reads the subscription.
    - `busy` maps each task that has events in hand to the position of the first of them, in the order in which they
      were taken. So its first entry says how far all tasks are. It is None while the tasks at work are unknown. It
      holds tasks weakly: a task that has ended is not busy.
    - While there are goals, `watched` is the first busy task, the only one with a done-callback.
    """

    __slots__ = ("busy", "goals", "many", "shared", "subscription", "watched")

    def __init__(self, subscription: Any) -> None:
        self.subscription: weakref.ref[Any] = weakref.ref(subscription)
        self.goals: OrderedDict[Round, int] = OrderedDict()
        self.shared: bool = False
        self.busy: OrderedDict[weakref.ref[Any], int] | None = None
        if subscription._asked == subscription._position:
            # No task has an event in hand, so all that take one from now on will be known.
            self.busy = OrderedDict()
        self.many: int = 64
        self.watched: weakref.ref[Any] | None = None

    def share(self) -> None:
        """From now on a pool reads the subscription, even while no round waits."""
        self.shared = True
        if self.busy is None:
            self.busy = OrderedDict()

    def took(self, position: int) -> None:
        """The current task takes the event at this position: for a batch, the position of its last event."""
        task = None if self.busy is None else asyncio.current_task()
        if self.busy is None:
            return
        if task is None:
            if not self.shared:
                # A callback took it, not a task. It counts as done when the next event is asked for.
                self.busy = None
                self.watch()
            return
        if len(self.busy) >= self.many:
            at_work = [(one, at) for one, at in list(self.busy.items()) if _at_work(one)]
            self.busy = OrderedDict(at_work)
            # Clean up again at twice the number, as all of them may be at work.
            self.many = max(64, 2 * len(self.busy))
        self.busy.setdefault(weakref.ref(task), position)
        if self.goals and self.watched is None:
            self.watch()

    def came_back(self) -> None:
        """The current task asks for the next event, so it is done with the events before."""
        task = None if self.busy is None else asyncio.current_task()
        if self.busy is None:
            self.busy = OrderedDict()  # the unknown task at work is done
        elif task is not None:
            self.busy.pop(weakref.ref(task), None)
        if self.goals:
            self.look()

    def look(self, _: object = None) -> None:
        """Release the rounds whose goals are reached. The end of the watched task calls this, too."""
        subscription = self.subscription()
        if subscription is None:
            return
        done = self.done(subscription)
        more = True
        while more:
            more = False
            # Between reading the first goal and deleting it there is no call: a call may run the collector, which may
            # close this.
            for first, goal in self.goals.items():
                if goal <= done:
                    more = True
                    del self.goals[first]
                    first.reached()
                break
        self.settle()

    def done(self, subscription: Any) -> int:
        """The position up to which the readers have taken all events and are done with them."""
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
        """After a change of `goals` or `busy`: watch the first task, or remove this object if it is not needed."""
        self.watch()
        if not self.goals and not self.shared:
            subscription = self.subscription()
            if subscription is not None:
                subscription._set_work(None)

    def watch(self) -> None:
        """Put a done-callback on the first busy task: it may end without asking for the next event."""
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
        """No call waits for this round any more."""
        if self.goals.pop(left, None) is not None:
            self.settle()

    def end(self) -> None:
        """The subscription has ended: no round waits for it."""
        while self.goals:
            self.goals.popitem(last=False)[0].reached()
        self.settle()


def share_work(subscription: Any) -> None:
    """A pool of workers reads the subscription from now on: keep track of each task."""
    if subscription._work is None:
        subscription._set_work(Work(subscription))
    subscription._work.share()


def _at_work(task: weakref.ref[Any]) -> bool:
    found = task()
    return found is not None and not found.done()


async def flush(channel: Any, timeout: float | None, apart: AbstractSet[int]) -> None:
    """Wait until the subscriptions of the channel are done with all sent events, except those whose ids are in `apart`.

    Raises:
        TimeoutError: The time is over. The message names the subscriptions that are behind, and by how many events.
    """
    # While this waits, no variable holds a subscription: a subscription whose reader has dropped it must be able to go.
    found: Round | None = channel.round
    if found is None or found.sent != channel.sent or apart:
        found = _begin(channel, apart)
    # Else nothing was sent since that round began, so its goals are the goals now.
    if not found.left:
        return
    caller: Future[None] = asyncio.get_running_loop().create_future()
    found.callers[caller] = None
    try:
        async with asyncio.timeout(timeout):
            await caller
    except TimeoutError:
        if not found.left:
            return  # the last subscription was done in the same moment
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
    """The readers of a subscription, as far as they are known without a walk over all tasks of the loop."""
    busy = subscription._work.busy
    if busy:
        # The workers of a handler share a name.
        names = {described(task.get_name()) for one in list(busy) if (task := one()) is not None}
        return f", in the hands of {', '.join(sorted(names)[:3])}" if names else ""
    return "" if subscription._delivered else " and was never read"


def _timed_out(channel: Any, found: Round, timeout: float | None) -> TimeoutError:
    behind = (
        (one, max(one._work.goals[found] - one._position, 0), _whose(one))
        for one in subscriptions_of(channel)
        if one._work is not None and found in one._work.goals
    )
    # Only as many as the error names, as thousands of calls may time out at once.
    return flush_timed_out(channel.event_type, timeout, list(islice(behind, NAMED)), found.left)
