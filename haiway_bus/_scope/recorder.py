"""The recorder of a scope: whether it has all methods, and which ids it gives the scope."""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from haiway_bus._common.arguments import is_class, offers
from haiway_bus._common.printable import described
from haiway_bus.observability import Observability, ScopeIdentity

__all__ = ("checked_observability", "identify")

_METHODS: Final = (
    "scope_entered",
    "scope_exited",
    "log",
    "record_attributes",
    "record_event",
    "record_metric",
)


def identify(
    recorder: Observability, name: str, around: ScopeIdentity | None, isolated: bool
) -> ScopeIdentity:
    """The identity of a scope that is being entered: the one that the recorder chooses, or else a random one."""
    propose = getattr(type(recorder), "identify_scope", None)
    if propose is not None:
        proposed: ScopeIdentity | None = propose(recorder, name, around, isolated)
        if proposed is not None:
            return proposed
    scope_id = os.urandom(8).hex()
    if around is None:
        return ScopeIdentity(name, os.urandom(16).hex(), scope_id, None)
    return ScopeIdentity(name, around.trace_id, scope_id, around.scope_id, isolated)


def checked_observability(given: Any) -> Observability | None:
    """Return the recorder that a scope was given. Raise TypeError if a method is missing."""
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
    # A mock answers for methods that its class does not have.
    missing = [name for name in _METHODS if not callable(getattr(given, name, None))]
    if missing:
        raise TypeError(
            f"observability= takes a recorder, an instance of Observability, not {described(given)}, which has no"
            f" {', '.join(missing)}: inherit from LoggingObservability, and override what you need"
        )
    return given  # type: ignore[no-any-return]
