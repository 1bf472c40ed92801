"""All models by name, and whether the package under test can do what each is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .explore import Model
from .models_reading import READING

__all__ = ("MODELS", "can")

MODELS: Final[Mapping[str, Model]] = {model.__name__: model for model in READING}


def can(model: Model, hb: Any) -> bool:
    """Whether what the model needs is there."""
    return all(hasattr(hb.ctx, name) or hasattr(hb, name) for name in needs(model))


def needs(model: Model) -> tuple[str, ...]:
    return getattr(model, "needs", ())
