"""Passing over what a class does not know: fields of a newer version, at any depth.

By the class's own JSON schema, which says where its objects are and which keys they have. It runs only for data that
the class refused as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from haiway_bus import State, StateError

__all__ = ("prune",)

Schema = Mapping[str, Any]
MANY: Final = 256


def prune(event: type[State], plain: dict[str, Any]) -> dict[str, Any]:
    """The data without the keys that the class, or one nested in it, does not have."""
    schema = _schema(event)
    if schema is None:
        return plain
    pruned: dict[str, Any] = _pruned(schema, schema.get("$defs", {}), plain)
    return pruned


# By the id of the class, which stands beside it: a metaclass may compare classes in its own way.
_schemas: Final[dict[int, tuple[type[State], Schema | None]]] = {}


def _schema(event: type[State]) -> Schema | None:
    found = _schemas.get(id(event))
    if found is None:
        try:
            schema: Schema | None = event.json_schema()
        except StateError:
            schema = None  # it has a field that JSON cannot describe: nothing is known then, and nothing passed over
        if len(_schemas) >= MANY:
            _schemas.clear()
        found = _schemas[id(event)] = (event, schema)
    return found[1]


def _pruned(schema: Any, definitions: Mapping[str, Any], plain: Any) -> Any:
    if not isinstance(schema, Mapping):
        return plain
    reference = schema.get("$ref")
    if isinstance(reference, str):
        return _pruned(definitions.get(reference.rpartition("/")[2]), definitions, plain)
    for branches in ("anyOf", "oneOf"):
        if branches in schema:
            return _pruned(_branch(schema[branches], definitions, plain), definitions, plain)
    if isinstance(plain, dict):
        return _object(schema, definitions, plain)
    if isinstance(plain, list):
        head = schema.get("prefixItems", ())
        rest = schema.get("items")
        return [
            _pruned(head[index] if index < len(head) else rest, definitions, item)
            for index, item in enumerate(plain)
        ]
    return plain


def _object(
    schema: Schema, definitions: Mapping[str, Any], plain: dict[str, Any]
) -> dict[str, Any]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    return {
        key: _pruned(known.get(key, others), definitions, value)
        for key, value in plain.items()
        if key in known or others is not False
    }


def _branch(branches: Any, definitions: Mapping[str, Any], plain: Any) -> Any:
    """The first of the alternatives that data of this shape can be; None where none is."""
    for branch in branches:
        resolved = branch
        if isinstance(branch, Mapping) and isinstance(branch.get("$ref"), str):
            resolved = definitions.get(branch["$ref"].rpartition("/")[2])
        if not isinstance(resolved, Mapping):
            continue
        if isinstance(plain, dict) and resolved.get("type") == "object":
            if all(key in plain for key in resolved.get("required", ())):
                return resolved
        elif isinstance(plain, list) and resolved.get("type") == "array":
            return resolved
    return None
