"""`__validate__`, by which a class checks its fields together (guarantee 7.9)."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import Any

from haiway_bus._state.kinds.mismatch import Mismatch, describe, state_error
from haiway_bus._state.kinds.unions import apart
from haiway_bus.errors import StateError

__all__ = ("check_hooks", "validate_new", "validated")

HOOKS = ("__post_init__", "__attrs_post_init__", "model_post_init")
"""What dataclasses and msgspec, attrs, and pydantic call. Here such a method would never run."""


def check_hooks(cls: Any) -> None:
    """Refuse a validator that would not run, be it the class's own or one of a plain mix-in."""
    for hook in HOOKS:
        if hasattr(cls, hook):
            raise StateError(
                f"{cls.__name__}.{hook} would never be called: write def __validate__(self), "
                "which raises ValueError when the fields do not fit together"
            )
    method = next(
        vars(base)["__validate__"] for base in cls.__mro__ if "__validate__" in vars(base)
    )
    if isinstance(method, staticmethod) or not callable(method) or iscoroutinefunction(method):
        raise StateError(
            f"{cls.__name__}.__validate__ has to be a plain method, def __validate__(self) -> None, "
            f"not {'async' if iscoroutinefunction(method) else describe(method)}"
        )


def validated(blueprint: Any, instance: Any) -> None:
    """Let the author's `__validate__` look at a complete instance. Raises Mismatch, whose path is the instance."""
    try:
        result = apart(blueprint.validate, instance)
    except ValueError as wrong:
        raise Mismatch([("", str(wrong) or type(wrong).__name__)]) from wrong
    if result is not None:
        reason = f"its __validate__ returns None, or raises ValueError; it gave {describe(result)}"
        raise Mismatch([("", reason)])


def validate_new(instance: Any) -> None:
    """Do the same for both constructors. Raises StateError."""
    owner = type(instance)
    try:
        validated(owner.__state__, instance)
    except Mismatch as wrong:
        raise state_error(owner.__name__, wrong.problems) from wrong.__cause__
