"""The plain form of a State, which `to_mapping` gives and `from_mapping` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.annotations.field import Field
from haiway_bus._state.kinds.mismatch import Mismatch, Problem, part_of

__all__ = ("dump_fields", "load_fields")


def dump_fields(fields: Sequence[Field], instance: Any) -> dict[str, Any]:
    """Give the plain values by key, in the order of the fields. Raises Mismatch."""
    plain: dict[str, Any] = {}
    problems: list[Problem] = []
    for field in fields:
        if field.key == "":
            plain |= field.kind.dump(getattr(instance, field.name))
            continue
        try:
            plain[field.key] = field.kind.dump(getattr(instance, field.name))
        except Mismatch as wrong:
            problems += wrong.under(f".{field.name}")
    if problems:
        raise Mismatch(problems)
    return plain


def load_fields(fields: Sequence[Field], plain: Mapping[Any, Any], unknown: str) -> dict[str, Any]:
    """Make the constructor's arguments of plain values. Raises Mismatch."""
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for field in fields:
        if field.key == "":
            keys = {other.key for other in fields if other is not field}
            values[field.name] = {key: plain[key] for key in plain if key not in keys}
            continue
        found = plain.get(field.key, MISSING)
        if found is MISSING:
            if field.required:
                problems.append((f".{field.name}", f"missing, expected {expected(field)}"))
            continue
        try:
            values[field.name] = field.kind.load(found)
        except Mismatch as wrong:
            problems += wrong.under(f".{field.name}")
    if unknown == "refuse":
        keys = {field.key for field in fields}
        known = ", ".join(field.key for field in fields) or "none"
        problems += [
            (part_of(key), f"no such key, the keys are: {known}")
            for key in plain
            if key not in keys
        ]
    if problems:
        raise Mismatch(problems)
    return values


def expected(field: Field) -> str:
    if field.key == field.name:
        return field.kind.expected
    return f"{field.kind.expected} under the key {field.key!r}"
