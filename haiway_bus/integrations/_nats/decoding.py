"""Making an event of a message's body, also when the sender has another version of the class.

The type that a message names is looked up among the registered types. Nothing is imported or evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from haiway_bus import State, StateError
from haiway_bus._common.printable import described, name_of_type, text_of
from haiway_bus.integrations._nats.messages import TYPE, VERSION, WireType

__all__ = ("Undecodable", "decode", "prune", "reason_of")

Schema = Mapping[str, Any]
MOST_SCHEMAS: Final = 256


class Undecodable(Exception):  # noqa: N818 - a signal within the package
    """Raised inside the package for a message that makes no event. Its text is the reason in the dead letter."""


def reason_of(error: Exception) -> str:
    """Return what a dead letter says about an error, in characters that a header can carry."""
    # The error can be the user's own, from a check of the class or an upcaster.
    text = text_of(error)
    if not isinstance(error, Undecodable):
        text = f"{name_of_type(type(error))}: {text}"
    return text.encode("utf-8", "backslashreplace").decode()


def decode(wire: WireType, headers: Mapping[str, str], body: bytes) -> State:
    """Return the event that a message carries.

    Raises:
        Undecodable: The message makes no event of this type.
    """
    name = headers.get(TYPE)
    if name != wire.name:
        raise Undecodable(
            f"the header {TYPE} is {name!r}, on this subject {wire.name!r} is expected"
        )
    text = headers.get(VERSION, "1")
    if not (text.isascii() and text.isdigit()):
        raise Undecodable(f"the header {VERSION} is {text!r}, which is no number")
    # The usual case: the version is ours, and so are the fields.
    version = int(text[:9])
    if version == wire.version:
        try:
            return wire.event.from_json(body)
        except StateError as wrong:
            first: StateError = wrong
    else:
        first = StateError("")
    plain = _upcast(wire, version, _plain(body))
    try:
        return wire.event.from_mapping(prune(wire.event, plain))
    except RecursionError:
        raise Undecodable("not JSON of this type: it is nested too deeply") from None
    except StateError as wrong:
        raise Undecodable(str(wrong)) from (first if version == wire.version else None)


def _upcast(wire: WireType, version: int, plain: dict[str, Any]) -> dict[str, Any]:
    while version < wire.version:
        upcaster = wire.upcasters.get(version)
        if upcaster is not None:
            try:
                made: object = upcaster(plain)
            except Exception as error:
                raise Undecodable(
                    f"the upcaster of {wire.name} from version {version} raised {described(error)}"
                ) from error
            if not isinstance(made, dict):
                raise Undecodable(
                    f"the upcaster of {wire.name} from version {version} gave"
                    f" {name_of_type(type(made), qualified=False)}, not a dict"
                )
            plain = made
        version += 1
    return plain


def _plain(body: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as wrong:
        raise Undecodable(f"not JSON: {wrong}") from None
    if not isinstance(plain, dict):
        raise Undecodable(
            f"a JSON object is expected, given {name_of_type(type(plain), qualified=False)}"
        )
    return plain


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def prune(event: type[State], plain: dict[str, Any]) -> dict[str, Any]:
    """Return the data without the keys that the class, or a class nested in it, does not have.

    The class's own JSON schema says where its objects are and which keys they have. This runs only for data that the
    class has refused as it was.
    """
    schema = _schema(event)
    if schema is None:
        return plain
    pruned: dict[str, Any] = _pruned(schema, schema.get("$defs", {}), plain)
    return pruned


# By the id of the class, with the class itself beside it: a metaclass may compare classes in its own way.
_schemas: Final[dict[int, tuple[type[State], Schema | None]]] = {}


def _schema(event: type[State]) -> Schema | None:
    found = _schemas.get(id(event))
    if found is None:
        try:
            schema: Schema | None = event.json_schema()
        except StateError:
            schema = None  # a field has no JSON schema, so nobody can say which keys are unknown
        if len(_schemas) >= MOST_SCHEMAS:
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
    """Return the alternative that this data means; None if no alternative allows data of this shape.

    The values of an object's tag have to agree. Of several alternatives the one that knows most of the keys is taken: a
    key that another alternative knows is not a new one, and must not be lost.
    """
    found, most = None, -1
    for branch in branches:
        schema = _resolved(branch, definitions)
        if isinstance(plain, list) and schema.get("type") == "array":
            return schema
        if not isinstance(plain, dict) or schema.get("type") != "object":
            continue
        known = schema.get("properties", {})
        mine = [key for key in plain if key in known]
        if (
            len(mine) > most
            and all(key in plain for key in schema.get("required", ()))
            and all(_allows(_resolved(known[key], definitions), plain[key]) for key in mine)
        ):
            found, most = schema, len(mine)
    return found


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Schema:
    if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
        schema = definitions.get(schema["$ref"].rpartition("/")[2])
    return schema if isinstance(schema, Mapping) else {}


def _allows(schema: Schema, plain: Any) -> bool:
    """Whether a schema that lists its values lists this one. Other schemas allow anything here."""
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return values is None or any(type(one) is type(plain) and one == plain for one in values)
