"""What mutation.py breaks: for each clause a small change of each twin, and the test that has to catch it."""

from __future__ import annotations

from typing import NamedTuple

PURE = "haiway_bus/bus/_bus_py.py"
COMPILED = "haiway_bus/bus/_bus_c.pyx"
TASKS = "haiway_bus/tasks.py"
ACTIVITY = "haiway_bus/activity.py"
SCOPE = "haiway_bus/scope.py"
HANDLERS = "haiway_bus/handlers.py"
INBOX = "haiway_bus/bus/_inbox.py"
FLUSH = "haiway_bus/bus/_flush.py"


class Mutation(NamedTuple):
    clause: str
    file: str
    says: str
    old: str
    new: str
    test: str


MUTATIONS = [
    Mutation(
        "2.1",
        PURE,
        "a subscription begins one event late",
        "self.node = channel.tail if bound is None else bound.tail",
        "self.node = (channel.tail if bound is None else bound.tail).next",
        "test_bus.py::TestStream::test_everything_after_subscribe_arrives_once_and_in_order",
    ),
    Mutation(
        "2.1",
        COMPILED,
        "`pending` counts what was sent before",
        "self.position = self.start = self.asked = channel.sent if bound is None else 0",
        "self.position = self.start = self.asked = 0",
        "test_bus.py::TestStream::test_everything_after_subscribe_arrives_once_and_in_order",
    ),
    Mutation(
        "2.4",
        PURE,
        "the last of the waiting workers is served first",
        "first = next(iter(self.line))",
        "first = next(reversed(self.line))",
        "test_bus.py::TestWorkers::test_waiting_workers_are_served_first_come_first_served",
    ),
    Mutation(
        "2.4",
        COMPILED,
        "the last of the waiting workers is served first",
        "cdef Receive first = next(iter(self.line))",
        "cdef Receive first = next(reversed(self.line))",
        "test_bus.py::TestWorkers::test_waiting_workers_are_served_first_come_first_served",
    ),
    Mutation(
        "2.5",
        PURE,
        "a cancelled reader keeps its place in the line",
        """        self.subscription.channel.bus.wake(self)
        self.leave()
        self.state = CANCELLED""",
        """        self.subscription.channel.bus.wake(self)
        self.state = CANCELLED""",
        "test_bus.py::TestCancelling",
    ),
    Mutation(
        "2.5",
        COMPILED,
        "a cancelled reader keeps its place in the line",
        """        self.subscription.channel.bus.wake(self)
        self.leave()
        self.state = CANCELLED""",
        """        self.subscription.channel.bus.wake(self)
        self.state = CANCELLED""",
        "test_bus.py::TestCancelling",
    ),
    Mutation(
        "2.6",
        PURE,
        "a backlog never gives the loop a turn",
        "                if subscription.budget:\n                    return self.take()",
        "                if True:\n                    return self.take()",
        "test_bus.py::TestWaking::test_a_backlog_gives_the_loop_a_turn_every_1024_events",
    ),
    Mutation(
        "2.6",
        COMPILED,
        "a backlog never gives the loop a turn",
        "                    if subscription.budget:\n                        self.state = DONE",
        "                    if True:\n                        self.state = DONE",
        "test_bus.py::TestWaking::test_a_backlog_gives_the_loop_a_turn_every_1024_events",
    ),
    Mutation(
        "2.7",
        PURE,
        "what an interrupt left of a batch is not resumed",
        "            if count < len(batch):\n                woken,",
        "            if False:\n                woken,",
        "test_bus.py::TestInterrupts",
    ),
    Mutation(
        "2.7",
        COMPILED,
        "what an interrupt left of a batch is not resumed",
        "            if count < len(batch):\n                woken,",
        "            if False:\n                woken,",
        "test_bus.py::TestInterrupts",
    ),
    Mutation(
        "2.8",
        PURE,
        "closing ends none of its readers",
        "            while self.head is not None and self.head.state == PARKED:\n                self.head.end()",
        "            pass",
        "test_bus.py::TestClosing::test_close_frees_the_backlog_ends_the_readers_and_forgets_the_type",
    ),
    Mutation(
        "2.8",
        COMPILED,
        "a type without subscriptions is remembered",
        "        del self.bus.table[id(self.event_type)]\n        return True",
        "        return True",
        "test_bus.py::TestClosing::test_close_frees_the_backlog_ends_the_readers_and_forgets_the_type",
    ),
    Mutation(
        "3.2",
        PURE,
        "a reader that waits holds on to a node",
        "            node = None  # it will hold an event while this waits\n",
        "",
        "test_leaks.py::TestBacklog::test_a_reader_that_waits_holds_no_node_of_what_is_sent_meanwhile",
    ),
    Mutation(
        "2.2",
        PURE,
        "closing one subscription takes apart what others still wait for",
        "while node is not None and getrefcount(node) <= _UNSHARED:",
        "while node is not None:",
        "test_memory.py::test_a_close_frees_only_what_no_other_subscription_waits_for",
    ),
    Mutation(
        "2.2",
        COMPILED,
        "closing one subscription takes apart what others still wait for",
        "while node is not None and Py_REFCNT(<PyObject *>node) == 1:",
        "while node is not None:",
        "test_memory.py::test_a_close_frees_only_what_no_other_subscription_waits_for",
    ),
    Mutation(
        "3.3",
        COMPILED,
        "a backlog is let go at its head, and frees itself recursively",
        "            node.next = None\n            node = following\n            following = None",
        "            following = None\n            node = None",
        "test_memory.py::test_a_dropped_backlog_neither_crashes_nor_leaves_an_object_behind",
    ),
    Mutation(
        "3.3",
        COMPILED,
        "a read of a batch holds on to its first node",
        "        cdef PyObject *event\n        cdef int64_t position",
        "        cdef PyObject *event\n        cdef Node held = self.node\n        cdef int64_t position",
        "test_leaks.py::TestBacklog::test_a_batch_of_any_length_frees_its_nodes_one_by_one",
    ),
    Mutation(
        "4.1",
        PURE,
        "a limit admits one too many",
        "if bound.accepted - subscription.position >= bound.limit:",
        "if bound.accepted - subscription.position > bound.limit:",
        "test_bounded.py::TestLimit::test_it_never_holds_more_than_its_limit",
    ),
    Mutation(
        "4.1",
        COMPILED,
        "a limit admits one too many",
        "if bound.accepted - subscription.position >= bound.limit:",
        "if bound.accepted - subscription.position > bound.limit:",
        "test_bounded.py::TestLimit::test_it_never_holds_more_than_its_limit",
    ),
    Mutation(
        "4.2",
        PURE,
        "every drop is told",
        "if bound.dropped > bound.told and now - bound.told_at >= TELL_SECONDS:",
        "if True:",
        "test_bounded.py::TestReports::test_the_first_drop_is_told_and_then_at_most_one_report_a_second",
    ),
    Mutation(
        "4.2",
        COMPILED,
        "drops are not told",
        "if bound.dropped > bound.told and now - bound.told_at >= TELL_SECONDS:",
        "if False:",
        "test_bounded.py::TestReports::test_the_first_drop_is_told_and_then_at_most_one_report_a_second",
    ),
    Mutation(
        "4.1",
        PURE,
        "what the limits need is made after the first change",
        "            self.make_room()\n            self.offer(event, node)\n",
        "            self.offer(event, node)\n            self.make_room()\n",
        "test_send_whole.py::test_near_the_recursion_limit_it_reaches_all_or_none",
    ),
    Mutation(
        "4.2",
        COMPILED,
        "a report that fails fails the send",
        "            except Exception:\n                pass",
        "            except Exception:\n                raise",
        "test_send_whole.py::test_near_the_recursion_limit_it_reaches_all_or_none",
    ),
    Mutation(
        "4.4",
        PURE,
        "flush returns before the readers came back",
        "        self.asked = self.position\n        if self.work is not None:",
        "        self.asked = self.position + 1\n        if self.work is not None:",
        "test_bounded.py::TestFlush",
    ),
    Mutation(
        "4.4",
        COMPILED,
        "flush returns before the readers came back",
        "        self.asked = self.position\n        if self.work is not None:",
        "        self.asked = self.position + 1\n        if self.work is not None:",
        "test_bounded.py::TestFlush",
    ),
    Mutation(
        "4.4",
        FLUSH,
        "flush waits for no worker of a pool",
        "return self.busy[first] - 1",
        "break",
        "test_bounded.py::TestFlush::test_every_worker_of_a_pool_has_to_come_back",
    ),
    Mutation(
        "4.4",
        FLUSH,
        "a worker that ends holds up flush for ever",
        "task.add_done_callback(self.look)",
        "pass",
        "test_bounded.py::TestFlush::test_a_worker_that_dies_is_waited_for_no_longer",
    ),
    Mutation(
        "4.4",
        FLUSH,
        "a batch counts as its last event",
        "self.busy.setdefault(weakref.ref(task), position)",
        "self.busy[weakref.ref(task)] = position",
        "test_flush.py::TestWhoIsWaitedFor::test_a_worker_is_at_work_on_each_event_of_its_batch",
    ),
    Mutation(
        "4.5",
        FLUSH,
        "calls that wait for the same events do not share a round",
        "if found is None or found.sent != channel.sent or apart:",
        "if True:",
        "test_flush.py::TestTheCost",
    ),
    Mutation(
        "4.5",
        FLUSH,
        "what a call leaves behind is looked at by each read",
        "if found.left and not found.callers:",
        "if False:",
        "test_flush.py::TestTheCost",
    ),
    Mutation(
        "5.1",
        SCOPE,
        "an isolated scope shares the bus around it",
        "if outer is None or self._isolated:",
        "if outer is None:",
        "test_scope.py::TestBuses::test_a_nested_scope_uses_the_bus_around_and_an_isolated_one_its_own",
    ),
    Mutation(
        "5.4",
        TASKS,
        "all waits end at once, whatever the readers still send each other",
        "share = max(1, len(waits) // _ROUNDS)",
        "share = len(waits)",
        "test_scope.py::TestEnd::test_chains_of_consumers_pass_everything_on",
    ),
    Mutation(
        "5.4",
        ACTIVITY,
        "a task that waits for something else counts as idle",
        "            self.found = one\n            return None",
        "            return ()",
        "test_scope.py::TestEnd",
    ),
    Mutation(
        "5.4",
        ACTIVITY,
        "a nested scope ends what tasks of the scope around it wait for",
        "if group_of(one) not in (None, group):",
        "if False:",
        "test_scope.py::TestEnd::test_a_nested_scope_leaves_alone_what_its_tasks_wait_for_in_another",
    ),
    Mutation(
        "5.5",
        TASKS,
        "tasks that read while they are cancelled hang the scope",
        "watch = None if raised is None else Watch(self)",
        "watch = None",
        "test_scope.py::TestEnd::test_a_task_that_reads_while_it_is_cancelled_does_not_hang_the_scope",
    ),
    Mutation(
        "2.11",
        HANDLERS,
        "a worker dies with what its handler awaited",
        "if scope.tasks.is_ending(asyncio.current_task()):",
        "if True:",
        "test_handlers.py::TestOn::test_a_handler_that_awaits_what_somebody_else_cancelled_has_failed_like_any_other",
    ),
    Mutation(
        "5.6",
        PURE,
        "a bus that has ended takes subscriptions",
        'raise bus_ended("subscribe()", self.name)',
        "pass",
        "test_scope.py::TestBuses::test_a_bus_whose_scope_has_ended_refuses_and_what_is_left_can_be_read",
    ),
    Mutation(
        "5.6",
        COMPILED,
        "a bus that has ended takes events",
        'raise bus_ended("send()", self.name)',
        "pass",
        "test_scope.py::TestBuses::test_a_bus_whose_scope_has_ended_refuses_and_what_is_left_can_be_read",
    ),
    Mutation(
        "6.1",
        PURE,
        "another loop may read",
        "if running is not self.loop or get_ident() != self.thread:",
        "if get_ident() != self.thread:",
        "test_scope.py::TestHome",
    ),
    Mutation(
        "6.1",
        COMPILED,
        "another thread may read",
        "if running is not self.loop or PyThread_get_thread_ident() != self.thread:",
        "if running is None:",
        "test_scope.py::TestHome",
    ),
    Mutation(
        "6.2",
        INBOX,
        "what threads sent is lost to who asks for it at once",
        "            some = list(self.events)\n            self.events.clear()",
        "            some = []\n            self.events.clear()",
        "test_threads.py::TestThreads::test_flush_sees_what_threads_sent_before",
    ),
    Mutation(
        "6.2",
        COMPILED,
        "a thread appends to the chain itself",
        "if PyThread_get_thread_ident() != self.thread:\n                self.inbox.put(event)",
        "if False:\n                self.inbox.put(event)",
        "test_threads.py::TestThreads::test_a_burst_wakes_the_loop_once",
    ),
    Mutation(
        "6.2",
        INBOX,
        "what a thread sent comes in the reverse order",
        "[self.events.popleft() for _",
        "[self.events.pop() for _",
        "test_threads.py::TestThreads::test_events_of_each_thread_arrive_in_order_and_none_is_lost_before_the_end",
    ),
]
