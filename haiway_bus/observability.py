"""Logs and records: what a scope reports about itself, and to which recorder.

A recorder implements `Observability`. A scope uses `LoggingObservability`, which writes to the standard `logging`,
unless it is given another recorder.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

from haiway_bus._common.printable import name_of_type, written

__all__ = ("LoggingObservability", "MetricKind", "Observability", "ScopeIdentity")

MetricKind: TypeAlias = Literal["counter", "gauge", "histogram"]


class ScopeIdentity(NamedTuple):
    """The identity of a scope, by which a recorder tells scopes apart.

    Attributes:
        name: The name of the scope.
        trace_id: 32 hexadecimal digits, shared by a root scope and all scopes within it, unless a recorder chooses
            other traces.
        scope_id: 16 hexadecimal digits, unique to the scope.
        parent_id: The `scope_id` of the scope around it; None for a root scope.
        isolated: Whether the scope has its own bus inside another scope. A root scope always has its own.
    """

    name: str
    trace_id: str
    scope_id: str
    parent_id: str | None
    isolated: bool = False


@runtime_checkable
class Observability(Protocol):
    """A recorder of logs, events and metrics. Its methods must not block.

    The scope calls them in the thread of its loop. Logs and records come in the thread of the code that makes them.

    `scope` is None when the call comes from outside any scope. `level` is a level of `logging`.

    A recorder may define three more methods on its class:

    - `identify_scope(name, around, isolated)`, for a recorder with its own ids. The scope calls it before
      `scope_entered`, with the identity of the scope around it, or None. The method returns the ScopeIdentity for the
      scope, or None to leave the choice to the scope.
    - `type_forgotten(scope, event_type, stats)`. The bus of the scope calls it when an event type has lost its last
      subscription, with the last EventStats of the type. From then on `ctx.events()` leaves the type out, and counts
      from zero when somebody subscribes again. For types that still have subscriptions when the scope ends, call
      `ctx.events()` in `scope_exited`. The garbage collector may be what closes a subscription: take no lock in this
      method.
    - `watch_handler(scope, handler, event_type)`. `ctx.on` calls it with the name of the handler. The method returns a
      function, which is called after each event with the seconds that the handler took and with its exception or None;
      or it returns None to measure nothing.
    """

    def scope_entered(self, scope: ScopeIdentity) -> None:
        """The scope is open. Its body is about to run."""

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None:
        """The scope has ended. `exception` is the one that leaves it, or None."""

    def log(
        self,
        scope: ScopeIdentity | None,
        level: int,
        message: str,
        args: tuple[object, ...],
        exception: BaseException | None,
    ) -> None:
        """Log a message. `args` are its %-style arguments, not yet filled in."""

    def record_attributes(
        self, scope: ScopeIdentity | None, level: int, attributes: Mapping[str, Any]
    ) -> None:
        """Record attributes of the scope."""

    def record_event(
        self, scope: ScopeIdentity | None, level: int, event: str, attributes: Mapping[str, Any]
    ) -> None:
        """Record an event by its name."""

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
        """Record a value: for a counter to add, for a gauge to replace the last, for a histogram to distribute."""


class LoggingObservability:
    """Writes to `logging`, to a logger with the name of the scope. Each record has a `trace_id` and a `scope_id`.

    Messages from outside any scope go to the logger "haiway_bus". Their ids are empty, so that the same format works.
    """

    __slots__ = ()

    def scope_entered(self, scope: ScopeIdentity) -> None:
        self._write(scope, logging.DEBUG, "scope entered", ())

    def scope_exited(self, scope: ScopeIdentity, exception: BaseException | None) -> None:
        if exception is None:
            self._write(scope, logging.DEBUG, "scope exited", ())
        else:
            self._write(
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
        self._write(scope, level, message, args, exception)

    def record_attributes(
        self, scope: ScopeIdentity | None, level: int, attributes: Mapping[str, Any]
    ) -> None:
        self._write(scope, level, "attributes%s", (_listed(attributes),))

    def record_event(
        self, scope: ScopeIdentity | None, level: int, event: str, attributes: Mapping[str, Any]
    ) -> None:
        self._write(scope, level, "event %s%s", (event, _listed(attributes)))

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
        self._write(
            scope,
            level,
            "%s %s = %s%s%s",
            (kind, metric, _Number(value), unit, _listed(attributes)),
        )

    def _write(
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
                # From here: the method of the recorder, the method of ctx, the line that logs.
                stacklevel=4,
                extra=self._identifiers(scope),
            )

    def _identifiers(self, scope: ScopeIdentity | None) -> dict[str, object]:
        """The ids that each record carries."""
        return {
            "trace_id": "" if scope is None else scope.trace_id,
            "scope_id": "" if scope is None else scope.scope_id,
        }


class _Number:
    """A measured value. Its text is made when a handler writes the record: most are never written."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value: object = value

    def __str__(self) -> str:
        return written(self.value, str)


def _listed(attributes: Mapping[str, Any]) -> str:
    return "".join(f" {name}={written(value)}" for name, value in attributes.items())
