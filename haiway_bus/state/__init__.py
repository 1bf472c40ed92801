"""State: immutable records with typed fields, checked when an instance is made."""

from __future__ import annotations

from haiway_bus.errors import StateError
from haiway_bus.state.alias import Alias
from haiway_bus.state.base import State
from haiway_bus.state.frozen import FrozenMap
from haiway_bus.state.missing import MISSING, Default

__all__ = ("MISSING", "Alias", "Default", "FrozenMap", "State", "StateError")
