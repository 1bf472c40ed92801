"""The events of a scope's bus over NATS JetStream, between processes and machines: needs `haiway-bus[nats]`."""

from haiway_bus.integrations.nats.bridge import NatsBridge
from haiway_bus.integrations.nats.errors import (
    NatsBridgeError,
    NatsConnectionRefused,
    NatsEventRefused,
    NatsPayloadTooLarge,
)
from haiway_bus.integrations.nats.received import Received, received
from haiway_bus.integrations.nats.report import DrainReport, NatsStats
from haiway_bus.integrations.nats.wire import WireType

__all__ = (
    "DrainReport",
    "NatsBridge",
    "NatsBridgeError",
    "NatsConnectionRefused",
    "NatsEventRefused",
    "NatsPayloadTooLarge",
    "NatsStats",
    "Received",
    "WireType",
    "received",
)
