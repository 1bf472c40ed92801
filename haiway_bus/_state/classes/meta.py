# ruff: noqa: N805 - of a metaclass, whose instances are classes
"""The metaclass of State."""

from __future__ import annotations

import copyreg
import sys
from abc import ABCMeta
from inspect import Parameter, Signature
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    Protocol,
    TypeVar,
    dataclass_transform,
    overload,
)

from haiway_bus._state.annotations.default import Default
from haiway_bus._state.classes.blank import Shield
from haiway_bus._state.classes.blueprint import Blueprint
from haiway_bus._state.classes.build import build
from haiway_bus._state.classes.by_value import ByValue, Facts, Outline, is_rewritten
from haiway_bus._state.classes.class_body import OWN
from haiway_bus._state.classes.deferred import METHODS
from haiway_bus._state.classes.generic import parameterized
from haiway_bus._state.classes.maker import release
from haiway_bus._state.classes.options import UNKNOWN
from haiway_bus.errors import StateError

__all__ = ("StateMeta",)

if TYPE_CHECKING:
    from haiway_bus._state.wire.parser import Parser

    Meta = ABCMeta
else:
    # The metaclass of protocols, derived from that of abstract classes: a State may derive from both.
    Meta = type(Protocol)

Value = TypeVar("Value")

FINAL = ("__state__", "__validate__", *OWN)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(Default,))
class StateMeta(Meta):
    """The class of State classes.

    Invariants: every class has slots for its own fields alone, and a Blueprint in `__state__`.
    Fields and the names in FINAL cannot be assigned on the class either. An error in a class statement is
    a StateError that names the class and the field.

    Class options, which derived classes inherit:

    - `unknown="ignore"`: `from_mapping` and `from_json` ignore unknown keys. With `"keep"` the
      instance keeps them in `__unknown__`, and `to_mapping` and `to_json` write them back.
    - `rename="camel"`, `"kebab"` or `"pascal"`: the style of the keys. An Alias wins over it.
    - `omit_defaults=True`: `to_mapping` and `to_json` leave out fields that equal their defaults.

    With `mixin=True` the class has no instances, and its fields can be combined with those of other
    State classes. All other options go to `__init_subclass__`.
    """

    __state__: Blueprint

    def __new__(
        metaclass,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        unknown: Literal["refuse", "ignore", "keep"] | None = None,
        rename: Literal["camel", "kebab", "pascal", "off"] | None = None,
        omit_defaults: bool | None = None,
        mixin: bool = False,
        **options: Any,
    ) -> Any:
        arriving = namespace.get("__state__") or namespace.get("__dict__")
        if isinstance(arriving, (Facts, Outline)):
            return arriving.arrive(namespace)
        settings = {"unknown": unknown, "rename": rename, "omit_defaults": omit_defaults}
        return build(
            metaclass,
            name,
            bases,
            {**namespace, "__dict__": ByValue()},
            frame=sys._getframe(1),
            settings={option: value for option, value in settings.items() if value is not None},
            mixin=mixin,
            options=options,
        )

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: Any, **options: Any) -> None:
        super().__init__(name, bases, namespace)

    if not TYPE_CHECKING:
        # Hidden from type checkers, which know by themselves what `Box[int]` is.

        # isinstance looks at the bases alone, in C. So there are no virtual subclasses.
        __instancecheck__ = type.__instancecheck__
        __subclasscheck__ = type.__subclasscheck__
        # For code that asks abc for the virtual subclasses, as cloudpickle and dill do: those of an empty class.
        _abc_impl = property(lambda cls: getattr(ABCMeta("Nobody", (), {}), "_abc_impl", None))

        def register(cls, subclass: Any) -> NoReturn:
            raise TypeError(f"{cls.__name__} has no virtual subclasses: derive from it")

        def __getitem__(cls, arguments):
            return parameterized(cls, arguments)

        def __setattr__(cls, name, value):
            if isinstance(value, Facts):
                value.assign(cls)
            elif not is_rewritten(cls, name, value):
                refuse_field(cls, name, value)
                super().__setattr__(name, value)
                if name == "__new__":
                    release(cls)
                if name in METHODS:
                    cls.__state__.let_super_mean_all_fields(name)

        def __delattr__(cls, name):
            refuse_field(cls, name, None)
            super().__delattr__(name)

    @property
    def __signature__(cls) -> Signature:
        """The signature of the constructor. The default MISSING stands for a default factory."""
        return Signature(
            [
                Parameter(
                    field.name,
                    Parameter.KEYWORD_ONLY,
                    default=Parameter.empty if field.required else field.default,
                    annotation=field.annotation,
                )
                for field in cls.__state__.fields
                if field.name != UNKNOWN
            ]
        )

    @overload
    def parser(cls, annotation: type[Value], /) -> Parser[Value]: ...
    @overload
    def parser(cls, annotation: Any, /) -> Parser[Any]: ...
    def parser(cls, annotation: Any, /) -> Parser[Any]:
        """Make what reads and writes values that are not an instance of one class: `State.parser(Sequence[Order])`.

        Args:
            annotation: what a field could be annotated with, such as a sequence, or a union of classes.

        Returns:
            A Parser. Make it once, for it takes much longer to make than to use.

        Raises:
            StateError: values of the annotation cannot be checked, or plain data cannot tell the
                members of a union apart.
        """
        # Services that have no such values go without the module.
        from haiway_bus._state.wire.parser import parser_of

        return parser_of(annotation, sys._getframe(1))

    def __subclasses__(cls) -> list[Any]:
        """The classes derived from this class, without the blank of its constructor."""
        derived: list[Any] = super().__subclasses__()
        return [cls for cls in derived if Shield not in cls.__bases__]


def refuse_field(cls: StateMeta, name: str, value: object) -> None:
    blueprint = vars(cls).get("__state__")
    if blueprint is None:
        return
    if name == "__dataclass_params__":
        raise StateError(
            f"{cls.__name__} is a State, which has a constructor, == and repr of its own: "
            "remove @dataclass"
        )
    # What it has already is assigned where a class is carried by value.
    if name in blueprint.names or (name in FINAL and value is not object.__init__):
        raise AttributeError(f"{cls.__name__}.{name} belongs to a State and cannot be changed")


def reduced(cls: StateMeta) -> str | tuple[Any, ...]:
    """Pickle a class by its name, and `Box[int]` by `Box` and `int`."""
    blueprint = cls.__state__
    if blueprint.arguments:
        return parameterized, (blueprint.origin, blueprint.arguments)
    return cls.__qualname__


copyreg.pickle(StateMeta, reduced)
