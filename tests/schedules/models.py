"""All models by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .explore import Model
from .models_bounded import BOUNDED
from .models_breaking import BREAKING
from .models_cancelling import CANCELLING
from .models_failing import FAILING
from .models_flush import FLUSH
from .models_handlers import FIRST, HANDLERS
from .models_idle import IDLE
from .models_owners import OWNERS
from .models_reading import READING
from .models_scopes import SCOPES
from .models_turns import TURNS
from .models_work import WORK

__all__ = ("MODELS",)

MODELS: Final[Mapping[str, Model]] = {
    model.__name__: model
    for model in (
        *READING,
        *TURNS,
        *OWNERS,
        *CANCELLING,
        *SCOPES,
        *IDLE,
        *WORK,
        *BREAKING,
        *FAILING,
        *BOUNDED,
        *FLUSH,
        *HANDLERS,
        *FIRST,
    )
}
