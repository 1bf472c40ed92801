"""What the lanes of one bridge have in common."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("LaneSettings",)


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """See NatsBridge for what each means."""

    origin: str
    group: str
    durable: bool
    capacity: int
    ack_wait: float
    max_ack_pending: int
    max_deliveries: int
    heartbeat: float
