"""The rules of a State's class body. What breaks one is refused with class and name."""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from typing import Any

from haiway_bus._state.annotations.default import Factory
from haiway_bus.errors import StateError

__all__ = ("check_namespace",)

OWN = ("__init__", "__new__", "__setattr__", "__delattr__", "__slots__")
"""What State makes of the fields, and what would let an instance change."""


def check_namespace(
    name: str,
    bases: tuple[type, ...],
    namespace: Mapping[str, Any],
    declared: Mapping[str, Any],
    names: tuple[str, ...],
    variables: frozenset[str],
) -> None:
    """Refuse a class body that does not make a State.

    Args:
        name: the name of the class.
        bases: its bases.
        namespace: the class body.
        declared: the annotations that make fields.
        names: all fields, inherited ones too.
        variables: the names annotated as class variables.

    Raises:
        StateError: a name the constructor needs is defined, a field shadows an attribute, a field
            is hidden by an attribute, or a value stands there without an annotation.

    Contract 7.1, 7.5.
    """
    for reserved in OWN:
        if reserved in namespace:
            raise StateError(
                f"{name}.{reserved} has no place in a State, which makes it of the fields: "
                "use a default, a property, or a classmethod"
            )
    for field in declared:
        if not field.isidentifier() or iskeyword(field):
            # Only a class made by a call can say so. The name stands in the constructor's source.
            raise StateError(f"{name}: {field!r} is no name for a field")
        if field.startswith("__"):
            raise StateError(
                f"{name}.{field}: a field cannot begin with two underscores, rename it"
            )
        holder = shadowed(field, bases)
        if holder is not None:
            raise StateError(
                f"{name}.{field}: the field shadows {holder.__name__}.{field}, rename it "
                '(and keep the key with Annotated[..., Alias("...")])'
            )
    for key, value in namespace.items():
        if key in declared or key in variables or (key.startswith("__") and key.endswith("__")):
            continue
        if key in names:
            raise StateError(
                f"{name}.{key} would hide the inherited field {key}: annotate it, or rename it"
            )
        if not is_behaviour(value):
            raise StateError(
                f"{name}.{key} has a value and no annotation: write {key}: {type(value).__name__} "
                f"= ... for a field, {key}: ClassVar[...] = ... for the class's own"
            )


def shadowed(field: str, bases: tuple[type, ...]) -> type | None:
    """The class whose attribute, other than a field, the name would hide."""
    for base in bases:
        for holder in base.__mro__:
            if field in vars(holder):
                state = vars(holder).get("__state__")
                if state is None or field not in state.names:
                    return holder
    return None


def is_behaviour(value: object) -> bool:
    """Whether a class attribute is a method, a property, a class or an alias, and no default."""
    if isinstance(value, Factory):
        return False
    return (
        hasattr(value, "__get__")
        or isinstance(value, type)
        or type(value).__name__ == "TypeAliasType"
    )
