"""The names of the metrics and of their attributes. Dashboards and alerts use them."""

from typing import Final

__all__ = ("COUNTERS", "EVENT", "GAUGES", "HANDLER", "OF_BUSES", "OF_HANDLERS", "SCOPE", "SUMS")

SCOPE: Final = "haiway_bus.scope"
EVENT: Final = "haiway_bus.event"
HANDLER: Final = "haiway_bus.handler"

# Each metric has a name, a unit and a description. The first three groups are by event type, then by bus, by handler.
COUNTERS: Final = {
    "sent": ("haiway_bus.events.sent", "{event}", "Events sent"),
    "delivered": ("haiway_bus.events.delivered", "{event}", "Events that a reader took"),
    "dropped": (
        "haiway_bus.events.dropped",
        "{event}",
        "Events that a subscription with a limit lost",
    ),
}
SUMS: Final = {
    "pending": (
        "haiway_bus.events.pending",
        "{event}",
        "Waiting events, over all subscriptions",
    ),
    "subscriptions": ("haiway_bus.subscriptions", "{subscription}", "Subscriptions"),
}
GAUGES: Final = {
    "lag": (
        "haiway_bus.events.lag",
        "{event}",
        "Waiting events in the slowest subscription",
    ),
    "peak": ("haiway_bus.events.peak", "{event}", "The highest lag since the last collection"),
    "age": (
        "haiway_bus.events.age",
        "s",
        "How long the oldest waiting event has waited, at least",
    ),
    "at_limit": (
        "haiway_bus.subscriptions.at_limit",
        "{subscription}",
        "Subscriptions that were at their limit since the last collection",
    ),
}
OF_BUSES: Final = {
    "scopes": ("haiway_bus.scopes", "{scope}", "Open scopes"),
    "from_threads": (
        "haiway_bus.events.from_threads",
        "{event}",
        "Events from other threads that wait for the loop",
    ),
    "lateness": (
        "haiway_bus.loop.lateness",
        "s",
        "The longest delay of a timer since the last collection",
    ),
}
OF_HANDLERS: Final = {
    "workers": ("haiway_bus.handler.workers", "{worker}", "Workers of a handler"),
    "busy": ("haiway_bus.handler.busy", "{worker}", "Workers that have an event in hand"),
}
