"""Log and record: what a scope tells about itself, and to whom.

`Observability` is what a recorder implements; `LoggingObservability` is the one that is used unless a scope names
another, and writes to the standard `logging` (contract 8.2).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from haiway_bus._values.arguments import is_class, is_number, offers
from haiway_bus._values.printable import described, name_of_type, written

__all__ = (
    "LoggingObservability",
    "MetricKind",
    "Observability",
    "ScopeIdentity",
    "checked_observability",
    "identify",
)

MetricKind: TypeAlias = Literal["counter", "gauge", "histogram"]
METRIC_KINDS: Final = ("counter", "gauge", "histogram")


class ScopeIdentity(NamedTuple):
    """Which scope something was told in.

    `trace_id` (32 hexadecimal digits) is one for a root scope and all scopes within it, unless a recorder identifies
    scopes by other traces. `scope_id` (16 digits) is the scope's own, `parent_id` that of the scope around it.
    `isolated` says whether it has a bus of its own although another scope is around it; a root scope always has.
    """

    name: str
    trace_id: str
    scope_id: str
    parent_id: str | None
    isolated: bool = False


@runtime_checkable
class Observability(Protocol):
    """A recorder of what scopes tell. Its methods must not block.

    They are called in the loop's thread, or in the one in which code logs or records.

    `scope` is None for what is told outside any scope. `level` is a level of `logging`.

    A recorder may define three methods more, which are looked up on its class:

    - `identify_scope(name, around, isolated)` is called before `scope_entered`, with the identity of the scope around
      it or None, for a recorder with ids of its own. The ScopeIdentity it returns is the scope's; None leaves the
      choice to the scope.
    - `type_forgotten(scope, event_type, stats)` is called when a type has lost its last subscription on the bus of the
      scope, with its last numbers, an EventStats: `ctx.events()` does not tell of it any more, and counts from zero
      when somebody subscribes again. Those that still have subscriptions when `scope_exited` is called are told by
      `ctx.events()` there. The garbage collector may close a subscription: take no lock in it.
    - `watch_handler(scope, handler, event_type)` is called by `ctx.on`, with the handler's name. What it returns is
      called after each event, with the seconds that it took and the exception or None; None measures nothing.
    """

    def scope_entered(self, scope: ScopeIdentity) -> None:
        """The scope is open: its body is about to run."""

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None:
        """The scope is over, with the exception that leaves it, if any."""

    def log(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None,
    ) -> None:
        """A message, with %-style arguments that are yet to be filled in."""

    def record_attributes(
        self, scope: ScopeIdentity | None, level: int, attributes: Mapping[str, Any]
    ) -> None:
        """Facts about the scope itself."""

    def record_event(
        self, scope: ScopeIdentity | None, level: int, event: str, attributes: Mapping[str, Any]
    ) -> None:
        """Something that happened."""

    def record_metric(
        self,
        scope: ScopeIdentity | None,
        level: int,
        metric: str,
        value: float,
        unit: str | None,
        kind: MetricKind,
        attributes: Mapping[str, Any],
    ) -> None:
        """A measured value: to be added up (counter), to replace the last (gauge) or to be distributed (histogram)."""


def identify(
    recorder: Observability, name: str, around: ScopeIdentity | None, isolated: bool
) -> ScopeIdentity:
    """The identity of a scope that is being entered: the recorder's choice, if it makes one, or else a random one."""
    propose = getattr(type(recorder), "identify_scope", None)
    if propose is not None:
        proposed: ScopeIdentity | None = propose(recorder, name, around, isolated)
        if proposed is not None:
            return proposed
    scope_id = os.urandom(8).hex()
    if around is None:
        return ScopeIdentity(name, os.urandom(16).hex(), scope_id, None)
    return ScopeIdentity(name, around.trace_id, scope_id, around.scope_id, isolated)


def check_record(
    level: Any, event: Any, metric: Any, value: Any, unit: Any, kind: Any, attributes: Any
) -> None:
    """Raise TypeError or ValueError for what `ctx.record` cannot record."""
    if not issubclass(type(level), int):
        raise TypeError(
            f"record() takes the level first, a number as logging has it, not {described(level)}:"
            " name all else, record(event=...)"
        )
    check_text("event", event)
    check_text("metric", metric)
    check_text("unit", unit)
    if attributes is not None and type(attributes) is not dict and not offers(attributes, "items"):
        raise TypeError(
            f"record() takes a mapping of names and values for attributes=, not {described(attributes)}"
        )
    if metric is not None:
        if event is not None:
            raise TypeError(
                "record() takes an event or a metric, not both:"
                f" {described(event)}, {described(metric)}"
            )
        if value is None:
            raise TypeError(f"record() needs a value for the metric {described(metric)}")
        if not is_number(value) and not offers(value, "__float__"):
            raise TypeError(f"record() takes a number for value=, not {described(value)}")
        if not issubclass(type(kind), str) or str.__str__(kind) not in METRIC_KINDS:
            raise ValueError(
                f"record() knows the kinds {', '.join(METRIC_KINDS)}, not {described(kind)}"
            )
    elif value is not None or unit is not None:
        raise TypeError("record() takes a value and a unit with a metric only: name the metric")
    elif event is None and attributes is None:
        raise TypeError("record() needs an event, a metric or attributes")


def check_text(name: str, text: Any) -> None:
    if text is not None and not issubclass(type(text), str):
        raise TypeError(f"record() takes a str for {name}=, not {described(text)}")


_METHODS: Final = (
    "scope_entered",
    "scope_exited",
    "log",
    "record_attributes",
    "record_event",
    "record_metric",
)


def checked_observability(given: Any) -> Observability | None:
    """The recorder that a scope was given. Raises TypeError for what has not all that one needs."""
    if given is None or offers(given, *_METHODS):
        recorder: Observability | None = given
        return recorder
    if is_class(given):
        raise TypeError(f"observability= takes an instance, not the class: {described(given)}")
    if issubclass(type(given), logging.Logger | logging.LoggerAdapter):
        raise TypeError(
            f"observability= takes a recorder, an instance of Observability, not the logger {described(given)}:"
            " leave it out, the scope writes to logging.getLogger(name) with its own name"
        )
    # One that answers for what its class does not have, as a mock.
    missing = [name for name in _METHODS if not callable(getattr(given, name, None))]
    if missing:
        raise TypeError(
            f"observability= takes a recorder, an instance of Observability, not {described(given)}, which has no"
            f" {', '.join(missing)}: inherit from LoggingObservability, and override what you need"
        )
    return given  # type: ignore[no-any-return]


class LoggingObservability:
    """Writes to `logging`: a logger named after the scope, `trace_id` and `scope_id` on each record.

    What is told outside any scope goes to the logger "haiway_bus", with empty ids, so that one format serves both.
    """

    __slots__ = ()

    def scope_entered(self, scope: ScopeIdentity) -> None:
        self.write(scope, logging.DEBUG, "scope entered", ())

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None:
        if exception is None:
            self.write(scope, logging.DEBUG, "scope exited", ())
        else:
            self.write(
                scope, logging.DEBUG, "scope exited with %s", (name_of_type(type(exception)),)
            )

    def log(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None,
    ) -> None:
        self.write(scope, level, message, args, exception)

    def record_attributes(
        self, scope: ScopeIdentity | None, level: int, attributes: Mapping[str, Any]
    ) -> None:
        self.write(scope, level, "attributes%s", (_listed(attributes),))

    def record_event(
        self, scope: ScopeIdentity | None, level: int, event: str, attributes: Mapping[str, Any]
    ) -> None:
        self.write(scope, level, "event %s%s", (event, _listed(attributes)))

    def record_metric(
        self,
        scope: ScopeIdentity | None,
        level: int,
        metric: str,
        value: float,
        unit: str | None,
        kind: MetricKind,
        attributes: Mapping[str, Any],
    ) -> None:
        unit = "" if unit is None else f" {unit}"
        self.write(
            scope,
            level,
            "%s %s = %s%s%s",
            (kind, metric, Number(value), unit, _listed(attributes)),
        )

    def write(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None = None,
    ) -> None:
        logger = logging.getLogger("haiway_bus" if scope is None else scope.name)
        if logger.isEnabledFor(level):
            logger.log(
                level,
                message,
                *args,
                exc_info=exception,
                # From here over the method of the recorder and that of ctx to the line that told it.
                stacklevel=4,
                extra=self.identifiers(scope),
            )

    def identifiers(self, scope: ScopeIdentity | None) -> dict[str, object]:
        """What each record carries to tell where it comes from."""
        return {
            "trace_id": "" if scope is None else scope.trace_id,
            "scope_id": "" if scope is None else scope.scope_id,
        }


class Number:
    """What was measured, written when it is: most often nobody wants to read it."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value: object = value

    def __str__(self) -> str:
        return written(self.value, str)


def _listed(attributes: Mapping[str, Any]) -> str:
    return "".join(f" {name}={written(value)}" for name, value in attributes.items())
