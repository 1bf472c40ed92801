"""The steps from plain data to the values of a class's fields, and back.

Loading and dumping are written twice: in Python source for each class (`wire_source.py`), and in C (`_wire_c.pyx`).
Both take the same steps, one for each field, and call the functions here for what is unusual. A step names what is
common and quick: text that stays text, a number, a nested State, a sequence of them. For anything else it calls the
kind. Each value is converted once, whether it fits or not, and each problem is found on the way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from haiway_bus._state.annotations.field import Field
from haiway_bus._state.kinds.constraints import ConstrainedKind
from haiway_bus._state.kinds.containers import MappingKind, SequenceKind
from haiway_bus._state.kinds.kind import Kind
from haiway_bus._state.kinds.mismatch import (
    LIMIT,
    Mismatch,
    Problem,
    describe,
    listed,
    mismatch,
    part_of,
)
from haiway_bus._state.kinds.objects import EnumKind, LiteralKind, StateKind
from haiway_bus._state.kinds.scalars import FloatKind, StrKind
from haiway_bus._state.kinds.unions import UnionKind

__all__ = (
    "CALL",
    "FLOAT",
    "MAPPING",
    "SAME",
    "SEQUENCE",
    "STATE",
    "TABLE",
    "UNION",
    "Step",
    "absent",
    "dump_step",
    "gathered",
    "load_step",
    "lost",
    "not_a_dict",
    "unknown_keys",
    "with_unknown",
)

SAME: Final = 0
"""A value of an exact type stays as it is."""
FLOAT: Final = 1
"""A finite float stays as it is."""
TABLE: Final = 2
"""A text is looked up in `texts`."""
STATE: Final = 3
"""The Blueprint of the nested class converts."""
SEQUENCE: Final = 4
"""A list becomes a tuple, or the other way round, by the step of the items."""
MAPPING: Final = 5
"""A dict with str keys becomes a FrozenMap, or the other way round, by the step of the values."""
UNION: Final = 6
"""`kind.choose`, or `kind.writer`, gives what converts."""
CALL: Final = 7
"""The kind converts."""


class Step:
    """How the values of one kind are converted in one direction.

    code: one of the constants above.
    kind: the kind. It converts each value that the code does not provide for, or refuses it.
    exact: the types of SAME. None means any type.
    texts: the table of TABLE.
    none: whether None stays None.
    item: the step of the items, for SEQUENCE, and of the values, for MAPPING.
    tests: the ConstrainedKind whose predicates what is loaded has to satisfy, or None.
    """

    __slots__ = ("code", "exact", "item", "kind", "none", "tests", "texts")

    def __init__(
        self,
        code: int,
        kind: Any,
        *,
        exact: tuple[type[Any], ...] | None = (),
        item: Step | None = None,
    ) -> None:
        self.code: int = code
        self.kind: Any = kind
        self.exact: tuple[type[Any], ...] | None = exact
        self.none: bool = False
        self.tests: ConstrainedKind | None = None
        self.texts: dict[str, Any] = getattr(kind, "texts", {})
        self.item: Step | None = item


def load_step(kind: Kind) -> Step:
    if kind.anything and not isinstance(kind, UnionKind):
        return Step(SAME, kind, exact=None)
    if getattr(kind, "texts", None):
        return Step(TABLE, kind)
    return common_step(kind, load_step)


def dump_step(kind: Kind) -> Step:
    if isinstance(kind, EnumKind | LiteralKind):
        return Step(TABLE, kind)
    return common_step(kind, dump_step)


def common_step(kind: Kind, step_of: Any) -> Step:
    step: Step
    if isinstance(kind, FloatKind):
        return Step(FLOAT, kind)
    if kind.plain:
        return Step(SAME, kind, exact=kind.exact)
    if isinstance(kind, StateKind):
        return Step(STATE, kind.wire)
    if type(kind) is MappingKind and type(kind.key) is StrKind:
        return Step(MAPPING, kind, item=step_of(kind.value))
    if isinstance(kind, ConstrainedKind) and not isinstance(kind.inner, ConstrainedKind):
        step = step_of(kind.inner)
        step.tests = kind if step_of is load_step else None
        return Step(CALL, kind) if step.none else step
    if isinstance(kind, SequenceKind):
        return Step(SEQUENCE, kind, item=step_of(kind.item))
    if isinstance(kind, UnionKind):
        if all(member.plain and not isinstance(member, FloatKind) for member in kind.members):
            return Step(SAME, kind, exact=kind.exact)
        if kind.sole is not None and type(None) in kind.exact_set and not kind.anything:
            step = step_of(kind.sole)
            step.none = True
            return step
        return Step(UNION, kind)
    return Step(CALL, kind)


def gathered(problems: list[Problem] | None, field: Field, wrong: Mismatch) -> list[Problem]:
    """Add what is wrong with a field. An error lists LIMIT problems, and so more are not kept."""
    found = [] if problems is None else problems
    if len(found) <= LIMIT:
        found += wrong.under(f".{field.name}")
    return found


def absent(problems: list[Problem] | None, field: Field) -> list[Problem]:
    """Add that a required key is missing."""
    expected = field.kind.expected
    if field.key != field.name:
        expected = f"{expected} under the key {field.key!r}"
    return gathered(problems, field, Mismatch([("", f"missing, expected {expected}")]))


def unknown_keys(
    problems: list[Problem] | None, blueprint: Any, plain: Mapping[Any, Any]
) -> tuple[list[Problem] | None, Any]:
    """Refuse, ignore or keep the keys that belong to no field.

    Returns:
        The problems, and the value of the field `__unknown__` if the class has it.
    """
    keys = blueprint.entries
    if blueprint.unknown == "ignore":
        return problems, None
    if blueprint.unknown == "keep":
        hidden = blueprint.fields[-1]
        kept = {key: value for key, value in plain.items() if key not in keys}
        try:
            return problems, hidden.kind.load(kept)
        except Mismatch as wrong:
            found = [] if problems is None else problems
            return found + wrong.problems, None
    found = [] if problems is None else problems
    reason = f"no such key, the keys are: {listed(keys)}"
    for key in plain:
        if key not in keys:
            found.append((part_of(key), reason))
            if len(found) > LIMIT:
                break
    return found or None, None


def with_unknown(plain: dict[str, Any], kept: Any, hidden: Field) -> dict[str, Any]:
    """Write the unknown keys that were kept behind the fields. Raises Mismatch."""
    plain.update(hidden.kind.dump(kept))
    return plain


def not_a_dict(blueprint: Any, plain: Any) -> Any:
    """Load what is no dict: an instance of the class stays, and other mappings are read."""
    if isinstance(plain, blueprint.owner):
        return plain
    if not isinstance(plain, Mapping):
        raise mismatch(blueprint.owner.__name__, plain)
    return blueprint.load(dict(plain))


def lost(value: Any) -> Mismatch:
    """Make the refusal to dump an instance of a derived class, which would come back as its base."""
    return Mismatch([("", f"JSON would lose the class of {describe(value)}: annotate that class")])
