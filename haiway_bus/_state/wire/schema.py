"""The JSON schema of a State class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from haiway_bus._state.annotations.default import MISSING
from haiway_bus._state.annotations.field import Field
from haiway_bus._state.kinds.kind import Schema, SchemaBook
from haiway_bus._state.kinds.mismatch import Mismatch, Problem

__all__ = ("schema_document", "schema_of_fields")

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_document(schema: Callable[[SchemaBook], Schema]) -> dict[str, Any]:
    """Make a whole document of a schema and the definitions that it refers to. Raises Mismatch.

    Args:
        schema: makes the schema, and puts the definitions into the book.
    """
    book = SchemaBook()
    reference = schema(book)
    return {"$schema": DIALECT, **reference, "$defs": book.definitions}


def schema_of_fields(
    title: str, fields: Sequence[Field], book: SchemaBook, ignore_unknown: bool
) -> Schema:
    """Make the JSON schema of the plain form. Raises Mismatch when JSON cannot carry a field."""
    properties: dict[str, Schema] = {}
    problems: list[Problem] = []
    for field in fields:
        if field.key == "":
            continue
        try:
            schema = field.kind.schema(book)
            if field.default is not MISSING:
                schema = {**schema, "default": field.kind.dump(field.default)}
        except Mismatch as wrong:
            problems += wrong.under(f".{field.name}")
        else:
            properties[field.key] = schema
    if problems:
        raise Mismatch(problems)
    return {
        "title": title,
        "type": "object",
        "properties": properties,
        "required": [field.key for field in fields if field.required],
        "additionalProperties": ignore_unknown,
    }
