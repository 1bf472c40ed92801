"""Events that know the span they were sent in, for those who ask.

An event is the user's own immutable object, often with slots, so nothing can be written on it, and an envelope around
it would be another type, which readers of the event never see. So the sender's span stands beside it: in a table that
holds the event weakly and forgets it when it is freed, which is when its last reader has let it go.

Only `send` of this module writes to the table, and `ctx.send` is what it always was: what is not asked for costs
nothing. An event sent by `ctx.send` is received like any other, in a span without a link.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Final, TypeVar
from weakref import ref

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, TracerProvider

from haiway_bus import ctx
from haiway_bus._values.arguments import can_be_awaited
from haiway_bus._values.printable import module_of_type, name_of_type
from haiway_bus._values.signatures import check_takes_event
from haiway_bus.integrations._opentelemetry.attributes import type_name

__all__ = ("received", "send", "senders_of", "traced")

Event = TypeVar("Event")

# By id, so that neither an event's __eq__ nor its __hash__ is used. While the reference stands, the id is its own.
_senders: Final[dict[int, tuple[ref[Any], tuple[SpanContext, ...]]]] = {}


def send(event: object, /) -> None:
    """Send an event as `ctx.send` does, and remember the current span as its sender's (contract 8.2).

    An instance that is sent again, from another span, has both for senders.

    Raises what `ctx.send` raises, and TypeError for an event that cannot be weakly referenced: a NamedTuple, or a
    class with `__slots__` that do not name `__weakref__`.
    """
    context = trace.get_current_span().get_span_context()
    if module_of_type(type(event)) != "builtins":  # else ctx.send has its own words to refuse it
        identity = id(event)
        try:
            weak = ref(event, lambda _: _senders.pop(identity, None))
        except TypeError:
            raise TypeError(
                f"send() with a trace takes events that can be weakly referenced, and {name_of_type(type(event))} "
                "cannot: make it a State, a dataclass with weakref_slot=True, or send it by ctx.send()"
            ) from None
        if context.is_valid:
            earlier = senders_of(event)
            if context not in earlier:
                _senders[identity] = (weak, (*earlier, context))
    ctx.send(event)


def senders_of(event: object, /) -> tuple[SpanContext, ...]:
    """The spans in which this very event was sent, by `send` of this module; usually one, none if unknown."""
    found = _senders.get(id(event))
    return () if found is None else found[1]


def received(
    event: object, /, name: str | None = None, *, tracer_provider: TracerProvider | None = None
) -> AbstractContextManager[Span]:
    """A `with` block in which an event is dealt with: a current span that links to its sender's (contract 8.2).

        async for order in ctx.subscribe(OrderCreated):
            with received(order):
                ...

    Arguments:
        event: what was received.
        name: what the span is called; "receive" and the event's type, unless given.
        tracer_provider: whose span it is; the global one's, unless given.
    """
    tracer = trace.get_tracer("haiway_bus", tracer_provider=tracer_provider)
    return tracer.start_as_current_span(
        name or f"receive {name_of_type(type(event))}",
        kind=SpanKind.CONSUMER,
        links=[Link(context) for context in senders_of(event)],
        attributes={"haiway_bus.event": type_name(type(event))},
    )


def traced(
    handler: Callable[[Event], Any], /, *, tracer_provider: TracerProvider | None = None
) -> Callable[[Event], Coroutine[Any, Any, None]]:
    """A handler for `ctx.on` that runs this one in a span of its own, as `received` opens it, with its name.

    Raises TypeError for a function that cannot be called with one event.
    """
    check_takes_event("traced()", "a function of one event, plain or async", handler)

    @wraps(handler)
    async def handle(event: Event) -> None:
        name = getattr(handler, "__qualname__", None)
        with received(event, name, tracer_provider=tracer_provider):
            result = handler(event)
            if result is not None and can_be_awaited(result):
                await result

    return handle
