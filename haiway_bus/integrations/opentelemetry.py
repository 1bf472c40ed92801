"""OpenTelemetry: scopes become spans, records become span events and metrics, and readers find the sender's span.

    async with ctx.scope("service", observability=OpenTelemetryObservability()):
        ...

Make an `OpenTelemetryObservability` for the service and give it to the root scope. Every scope in it is then a span.
Needs the extra, `pip install 'haiway-bus[opentelemetry]'`, and an SDK that is set up to export.
"""

try:
    import opentelemetry.trace  # noqa: F401 - say what is missing, instead of a long traceback
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "haiway_bus.integrations.opentelemetry needs opentelemetry-api, which is not installed:"
        " pip install 'haiway-bus[opentelemetry]'"
    ) from _missing

from haiway_bus.integrations._opentelemetry.recorder import OpenTelemetryObservability
from haiway_bus.integrations._opentelemetry.senders import (
    receive_span,
    send,
    senders_of,
    traced,
)

__all__ = ("OpenTelemetryObservability", "receive_span", "send", "senders_of", "traced")
