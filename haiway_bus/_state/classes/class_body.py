"""The rules of a State's class body. A body that breaks a rule is refused, with the names of class and attribute."""

from __future__ import annotations

from collections.abc import Mapping
from keyword import iskeyword
from typing import Any, Protocol
from unicodedata import normalize

from haiway_bus._state.annotations.default import Factory
from haiway_bus.errors import StateError

__all__ = ("check_namespace",)

OWN = ("__init__", "__setattr__", "__delattr__")
"""What State makes itself, and what would let an instance change."""


def check_namespace(
    name: str,
    bases: tuple[type, ...],
    namespace: Mapping[str, Any],
    declared: Mapping[str, Any],
    names: tuple[str, ...],
    variables: frozenset[str],
) -> None:
    """Refuse a class body that cannot become a State (guarantees 7.1 and 7.5).

    Args:
        name: the name of the class.
        bases: its bases.
        namespace: the class body.
        declared: the annotations that make fields.
        names: all fields, with the inherited ones.
        variables: the names annotated as class variables.

    Raises:
        StateError: the body defines a method of `OWN`, a field shadows an attribute, an attribute
            hides a field, or a value has no annotation.
    """
    if Protocol in bases:
        raise StateError(f"{name}: a State is no protocol: write a protocol, and derive from both")
    for reserved in (*OWN, "__new__", "__slots__"):
        if reserved in namespace:
            raise StateError(
                f"{name}.{reserved} has no place in a State, which makes it from the fields: "
                "use a default, a property, or a classmethod"
            )
    for field in declared:
        if not is_name(field):
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


def is_name(field: Any) -> bool:
    """Tell a name that a class statement could have. Only a class that is made by a call can have another."""
    return (
        type(field) is str
        and field.isidentifier()
        and not iskeyword(field)
        # As the parser of Python reads it: the source of the constructor contains the name.
        and (field.isascii() or normalize("NFKC", field) == field)
    )


def shadowed(field: str, bases: tuple[type, ...]) -> type | None:
    """Find the class among the bases whose attribute, other than a field, a field of this name would hide.

    A field may implement an abstract attribute, or an attribute of a protocol.
    """
    for base in bases:
        for holder in base.__mro__:
            if field in vars(holder):
                abstract = getattr(vars(holder)[field], "__isabstractmethod__", False)
                if abstract or getattr(holder, "_is_protocol", False):
                    continue
                blueprint = vars(holder).get("__state__")
                if blueprint is None or field not in blueprint.names:
                    return holder
    return None


def is_behaviour(value: object) -> bool:
    """Tell a method, a property, a class or a type alias from a value that has no annotation."""
    if isinstance(value, Factory):
        return False
    return (
        hasattr(value, "__get__")
        or isinstance(value, type)
        or type(value).__name__ == "TypeAliasType"
    )
