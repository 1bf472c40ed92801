"""The events of a scope's bus over NATS JetStream, between processes and machines: needs `haiway-bus[nats]`."""

from haiway_bus.integrations._nats.bridge import NatsBridge
from haiway_bus.integrations._nats.bridge_errors import (
    NatsBridgeError,
    NatsConnectionRefused,
    NatsEventRefused,
    NatsPayloadTooLarge,
)
from haiway_bus.integrations._nats.messages import WireType
from haiway_bus.integrations._nats.received import Received, received
from haiway_bus.integrations._nats.report import DrainReport, NatsStats

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
