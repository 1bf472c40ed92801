"""State: immutable records with typed fields, checked when an instance is made."""

from __future__ import annotations

from haiway_bus._state.annotations.alias import Alias
from haiway_bus._state.annotations.default import MISSING, Default
from haiway_bus._state.classes.base import State
from haiway_bus._state.kinds.epoch import Epoch
from haiway_bus._state.kinds.frozen_map import FrozenMap
from haiway_bus._state.kinds.json_value import JsonValue
from haiway_bus.errors import StateError

__all__ = ("MISSING", "Alias", "Default", "Epoch", "FrozenMap", "JsonValue", "State", "StateError")
