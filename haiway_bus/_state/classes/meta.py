"""The metaclass of State."""

from __future__ import annotations

import copyreg
import sys
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Any, Literal, dataclass_transform

from haiway_bus._state.annotations.default import MISSING, Default, Factory
from haiway_bus._state.classes.blank import Shield
from haiway_bus._state.classes.blueprint import Blueprint
from haiway_bus._state.classes.build import build
from haiway_bus._state.classes.deferred import METHODS
from haiway_bus._state.classes.generic import parameterized
from haiway_bus.errors import StateError

__all__ = ("StateMeta",)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Default,))
class StateMeta(type):
    """The class of State classes.

    Invariants: every class has slots for its own fields alone, and `__state__`, its Blueprint.
    Fields and `__state__` cannot be assigned to on the class either. Errors of a class statement
    are StateErrors that name the class and the field.

    Class options: `unknown="ignore"` makes from_mapping and from_json pass over keys that are no
    field (contract 7.7), `mixin=True` makes a class without instances whose fields can be combined
    with those of other State classes. Others go to `__init_subclass__`.
    """

    __state__: Blueprint

    def __new__(
        metaclass,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        unknown: Literal["refuse", "ignore"] | None = None,
        mixin: bool = False,
        **options: Any,
    ) -> Any:
        if unknown not in (None, "refuse", "ignore"):
            raise StateError(f'{name}: unknown is "refuse" or "ignore", given {unknown!r}')
        return build(
            metaclass,
            name,
            bases,
            namespace,
            frame=sys._getframe(1),
            ignore_unknown=None if unknown is None else unknown == "ignore",
            mixin=mixin,
            options=options,
        )

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: Any, **options: Any) -> None:
        super().__init__(name, bases, namespace)

    if not TYPE_CHECKING:
        # Hidden from type checkers: they parameterize a generic class by themselves, and a
        # metaclass that answers for it would only get in their way.

        def __getitem__(cls, arguments):
            return parameterized(cls, arguments)

        def __setattr__(cls, name, value):
            refuse_field(cls, name)
            super().__setattr__(name, value)
            if name in METHODS:
                cls.__state__.let_super_mean_all_fields(name)

        def __delattr__(cls, name):
            refuse_field(cls, name)
            super().__delattr__(name)

    @property
    def __signature__(cls) -> Signature:
        """The constructor's signature, for inspect: without the marks of the generated code."""
        parameters = []
        for field in cls.__state__.fields:
            default: Any = Parameter.empty
            if field.factory is not None:
                default = Factory(field.factory)
            elif field.default is not MISSING:
                default = field.default
            parameters.append(
                Parameter(
                    field.name, Parameter.KEYWORD_ONLY, default=default, annotation=field.annotation
                )
            )
        return Signature(parameters)

    def __subclasses__(cls) -> list[Any]:
        """The classes derived from this one, without the blank that its constructor uses."""
        derived: list[Any] = super().__subclasses__()
        return [cls for cls in derived if Shield not in cls.__bases__]


def refuse_field(cls: StateMeta, name: str) -> None:
    state = vars(cls).get("__state__")
    if state is not None and (name == "__state__" or name in state.names):
        raise AttributeError(f"{cls.__name__}.{name} belongs to a State and cannot be changed")


def reduced(cls: StateMeta) -> str | tuple[Any, ...]:
    """How a class is pickled: by its name, and Box[int] by Box and int."""
    state = cls.__state__
    if state.arguments:
        return parameterized, (state.origin, state.arguments)
    return cls.__qualname__


copyreg.pickle(StateMeta, reduced)
