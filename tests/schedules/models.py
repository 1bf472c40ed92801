"""All models by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .explore import Model
from .models_bounded import BOUNDED
from .models_flush import FLUSH
from .models_handlers import FIRST, HANDLERS
from .models_reading import READING
from .models_scopes import SCOPES

__all__ = ("MODELS",)

MODELS: Final[Mapping[str, Model]] = {
    model.__name__: model for model in (*READING, *SCOPES, *BOUNDED, *FLUSH, *HANDLERS, *FIRST)
}
