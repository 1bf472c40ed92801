"""What fails while a scope ends, and what comes of it: one exception, in which all of them are (guarantee 5.13)."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, NoReturn

from haiway_bus._values.printable import described

__all__ = ("Failures", "raise_as_it_is")

_INTERRUPTS = (KeyboardInterrupt, SystemExit)
# They say that the body is over, and not what went wrong.
_SIGNALS = (CancelledError, GeneratorExit)


class Failures:
    """What has failed so far.

    Invariants: `errors` holds each once. `signal` is what else ends the body, a CancelledError or GeneratorExit: it
    comes out when there is no error. `grouped` says that tasks have failed, which are told in a group also when it is
    one. `made` is the outcome, until something else fails. `thrown_away`: whoever leaves the scope is itself being
    closed, and must not wait any more.
    """

    __slots__ = ("errors", "grouped", "made", "name", "signal", "thrown_away")

    def __init__(self, name: str, raised: BaseException | None) -> None:
        self.name: str = name
        self.errors: list[BaseException] = []
        self.signal: BaseException | None = None
        self.grouped: bool = False
        self.made: BaseException | None = None
        self.thrown_away: bool = False
        if raised is not None:
            self.add(raised)

    def add(self, error: BaseException | None, of_tasks: bool = False) -> None:
        """Tell of what was raised when the outcome was what it is."""
        shown = self.outcome
        if error is None or error is shown:
            return
        self.made = None
        if isinstance(error, _SIGNALS):
            if not isinstance(self.signal, CancelledError):
                self.signal = error
            return
        if shown is not None and any(one is shown for one in within(error)):
            # `raise Translated from error`, or a group of its own around it: it has all that there was.
            self.errors.clear()
            self.grouped = False
        if not any(one is error for one in self.errors):
            self.errors.append(error)
            self.grouped = self.grouped or of_tasks

    def add_tasks(self, errors: Iterable[BaseException]) -> None:
        """Tell of what tasks have raised, which stands before what the body did."""
        for error in reversed(list(errors)):
            self.errors = [error, *(one for one in self.errors if one is not error)]
            self.grouped = True
            self.made = None

    async def attempt(self, awaitable: Awaitable[Any], of_tasks: bool = False) -> bool:
        """Await it, and add what it raises; whether it did. No caller is to keep that in a variable: the exception's
        traceback keeps the variables of the functions that it came through, and would be kept by them."""
        try:
            await awaitable
        except BaseException as error:
            self.thrown_away = self.thrown_away or isinstance(error, GeneratorExit)
            self.add(error, of_tasks)
            return True
        return False

    def call(self, step: Callable[[BaseException | None], object]) -> None:
        """The same for a plain call, which is given the outcome."""
        try:
            step(self.outcome)
        except BaseException as error:
            self.add(error)

    def suppress(self) -> None:
        """Forget what was shown, as a disposable has said that it took care of it."""
        if self.errors:
            self.errors.clear()
            self.grouped = False
        else:
            self.signal = None
        self.made = None

    @property
    def cancelled(self) -> bool:
        """Whether a cancellation has come, which may be hidden by errors."""
        return isinstance(self.signal, CancelledError)

    @property
    def outcome(self) -> BaseException | None:
        """What comes out of the scope, if nothing else fails."""
        if self.made is None and (self.errors or self.signal is not None):
            self.made = self.make()
        return self.made

    def make(self) -> BaseException | None:
        for one in self.errors:
            if isinstance(one, _INTERRUPTS):
                return one  # it wins, as in asyncio.TaskGroup
        return self.together(self.errors) if self.errors else self.signal

    def finish(self) -> BaseException | None:
        """The outcome, when nothing else can fail. An interrupt has all others behind it then."""
        outcome = self.outcome
        if isinstance(outcome, _INTERRUPTS):
            known = {id(one) for one in within(outcome, contexts=True)}
            self.hang(outcome, [one for one in self.errors if id(one) not in known])
        # The tracebacks of what was caught keep the variables that hold this.
        self.errors, self.signal, self.made = [], None, None
        return outcome

    def together(self, errors: list[BaseException]) -> BaseException:
        if len(errors) == 1 and not self.grouped:
            return errors[0]
        return BaseExceptionGroup(f"errors in the scope {described(self.name)}", list(errors))

    def hang(self, interrupt: BaseException, others: list[BaseException]) -> None:
        if not others:
            return
        last, seen = interrupt, {id(interrupt)}
        while (behind := last.__context__) is not None and id(behind) not in seen:
            last = behind
            seen.add(id(last))
        last.__context__ = self.together(others)


def within(error: BaseException, contexts: bool = False) -> Iterator[BaseException]:
    """The exception, those that it was raised from, and those in it if it is a group; or also all that it shows."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        left.append(one.__cause__)
        if contexts:
            left.append(one.__context__)
        if isinstance(one, BaseExceptionGroup):
            left.extend(one.exceptions)


def raise_as_it_is(error: BaseException) -> NoReturn:
    """Raise it with the `__context__` that it has: not with what is being handled where the scope is left."""
    context = error.__context__
    try:
        raise error
    except BaseException:
        error.__context__ = context
        raise
    finally:
        del error, context
