"""OpenTelemetry: scopes as spans, records as span events and metrics, events that know who sent them (contract 8.2).

    async with ctx.scope("service", observability=OpenTelemetryObservability()):
        ...

Make one `OpenTelemetryObservability` for a service, give it to the root scope, and every scope within it is a span.
Needs the extra: `pip install 'haiway-bus[opentelemetry]'`, and an SDK that is set up to export anything.
"""

try:
    import opentelemetry.trace  # noqa: F401 - to say what is missing before a longer traceback does
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "opentelemetry":
        raise
    raise ImportError(
        "haiway_bus.integrations.opentelemetry needs opentelemetry-api, which is not installed:"
        " pip install 'haiway-bus[opentelemetry]'"
    ) from _missing

from haiway_bus.integrations._opentelemetry.recorder import OpenTelemetryObservability
from haiway_bus.integrations._opentelemetry.senders import received, send, senders_of, traced

__all__ = ("OpenTelemetryObservability", "received", "send", "senders_of", "traced")
