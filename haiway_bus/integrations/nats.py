"""Carries the events of a scope's bus between processes and machines, over NATS JetStream.

Needs the extra: `pip install 'haiway-bus[nats]'`.
"""

from haiway_bus.integrations._nats.bridge import NatsBridge
from haiway_bus.integrations._nats.bridge_errors import (
    NatsBridgeError,
    NatsConnectionRefused,
    NatsEventRefused,
    NatsPayloadTooLarge,
)
from haiway_bus.integrations._nats.bridge_stats import DrainReport, NatsStats
from haiway_bus.integrations._nats.messages import Received, WireType, received

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
