"""The msgspec.Struct beside a State class, through which msgspec reads and writes the instances.

Without it, a dict stands between the text and the instance. A Struct saves the look-up of each key, and the garbage
collector does not track it. Its fields take any plain data, but for nested classes and sequences of them, which are
Structs again. So it holds what the dict would hold, and the class converts and checks it in the same way. A text that
does not fit the Struct is read by way of a dict, which tells what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.kinds.containers import SequenceKind
from haiway_bus._state.kinds.kind import Kind
from haiway_bus._state.kinds.objects import StateKind
from haiway_bus._state.kinds.unions import UnionKind
from haiway_bus._state.wire.json_text import msgspec_serves

__all__ = ("decoder_of", "struct_of")


def struct_of(blueprint: Any) -> Any:
    """Give the Struct of a class, whose fields stand in the order of the class's.

    Returns:
        The Struct, or None where msgspec does not serve, or where the keys differ from instance to instance.
    """
    if not msgspec_serves() or blueprint.unknown == "keep" or blueprint.omit_defaults:
        return None
    if blueprint.struct is None:
        from msgspec import defstruct

        names = [f"f{index}" for index in range(len(blueprint.plain_fields))]
        keys = [field.key for field in blueprint.plain_fields]
        blueprint.struct = Any  # a class within itself is read as a dict
        try:
            blueprint.struct = defstruct(
                "Struct",
                [
                    (name, structure(field.kind), MISSING)
                    for name, field in zip(names, blueprint.plain_fields, strict=True)
                ],
                rename=dict(zip(names, keys, strict=True)),
                forbid_unknown_fields=blueprint.unknown == "refuse",
                gc=False,
            )
        except (TypeError, ValueError):  # msgspec does not write such a key as it is
            return None
    return None if blueprint.struct is Any else blueprint.struct


def structure(kind: Kind) -> Any:
    """Give the type of a field of a Struct."""
    if isinstance(kind, UnionKind) and kind.sole is not None and type(None) in kind.exact_set:
        found = structure(kind.sole)
        return Any if found is Any else found | None
    if isinstance(kind, SequenceKind):
        item: Any = structure(kind.item)
        return Any if item is Any else list[item]
    return (struct_of(kind.owner.__state__) or Any) if isinstance(kind, StateKind) else Any


def decoder_of(struct: Any) -> Callable[[Any], Any]:
    """Give what reads a text as an instance of a Struct, or raises any exception."""
    from msgspec.json import Decoder

    return Decoder(struct).decode
