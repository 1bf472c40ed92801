"""The span in which an event was sent, for readers that ask.

An event is the user's own immutable object, often with slots, so nothing can be written on it. An envelope around it
would be another type, which readers of the event do not see. So the sender's span stands in a table beside the event.
The table holds the event weakly and forgets it when it is freed, after its last reader.

Only `send` of this module writes to the table, so `ctx.send` costs nothing more. A reader of an event
that `ctx.send` sent gets a span without a link.
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
from haiway_bus._common.arguments import can_be_awaited
from haiway_bus._common.printable import module_of_type, name_of_type
from haiway_bus._common.signatures import check_takes_event
from haiway_bus.integrations._opentelemetry.attributes import type_name

__all__ = ("receive_span", "send", "senders_of", "traced")

Event = TypeVar("Event")

# By id, so that neither the event's __eq__ nor its __hash__ is called. While the event lives, its id is its own.
_senders: Final[dict[int, tuple[ref[Any], tuple[SpanContext, ...]]]] = {}


def send(event: object, /) -> None:
    """Send an event as `ctx.send` does, and remember the current span as its sender's span.

    If the same instance is sent again from another span, it has both.

    Args:
        event: The event.

    Raises:
        TypeError: The event cannot be weakly referenced. It is a NamedTuple, or its class has `__slots__` without
            `__weakref__`. Also what `ctx.send` raises.
    """
    context = trace.get_current_span().get_span_context()
    if module_of_type(type(event)) != "builtins":  # ctx.send refuses those, with its own message
        identity = id(event)
        try:
            weak = ref(event, lambda _: _senders.pop(identity, None))
        except TypeError:
            raise TypeError(
                f"send() with a trace needs events that can be weakly referenced, and {name_of_type(type(event))} "
                "cannot: make it a State, a dataclass with weakref_slot=True, or send it by ctx.send()"
            ) from None
        if context.is_valid:
            earlier = senders_of(event)
            if context not in earlier:
                _senders[identity] = (weak, (*earlier, context))
    ctx.send(event)


def senders_of(event: object, /) -> tuple[SpanContext, ...]:
    """Return the spans in which `send` of this module sent this event: usually a single span, or none."""
    found = _senders.get(id(event))
    return () if found is None else found[1]


def receive_span(
    event: object, /, name: str | None = None, *, tracer_provider: TracerProvider | None = None
) -> AbstractContextManager[Span]:
    """Open a span for handling an event. It links to the sender's span and is current in the block.

        async for order in ctx.subscribe(OrderCreated):
            with receive_span(order):
                ...

    Args:
        event: The event that was received.
        name: The name of the span, by default "receive" and the event's type.
        tracer_provider: Where the span goes, by default the global provider.

    Returns:
        A context manager that gives the span.
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
    """Return a handler for `ctx.on` that runs this handler in a span, as `receive_span` opens it.

    Args:
        handler: A function of a single event, plain or async. The span has its name.
        tracer_provider: Where the spans go, by default the global provider.

    Raises:
        TypeError: The function cannot be called with a single event.
    """
    check_takes_event("traced()", "a function of one event, plain or async", handler)

    @wraps(handler)
    async def handle(event: Event) -> None:
        name = getattr(handler, "__qualname__", None)
        with receive_span(event, name, tracer_provider=tracer_provider):
            result = handler(event)
            if result is not None and can_be_awaited(result):
                await result

    return handle
