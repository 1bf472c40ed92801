"""What every payload has to pass: reading, the round trip, the schema, and refusals that name the place."""

from __future__ import annotations

import copy
import json
import pickle
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

import jsonschema
import pytest

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
REMOVE: Any = object()


class Wrong(NamedTuple):
    """A change that makes a payload wrong, and how the refusal, or a line of it, begins."""

    keys: tuple[str | int, ...]
    value: Any
    error: str
    in_schema: bool = True  # False: a predicate or `__validate__` says it, which no schema can


def check(cls: Any, payload: Any, *, ignored: tuple[tuple[str | int, ...], ...] = ()) -> Any:
    """Read the payload, and write it again: the same JSON but for what the model ignores, and the spelling of moments.

    Returns:
        The instance.
    """
    validate = validator(cls)
    event = cls.from_json(json.dumps(payload))
    assert cls.from_json(json.dumps(payload, ensure_ascii=False).encode()) == event
    assert cls.from_mapping(payload) == event
    expected = payload
    for keys in ignored:
        expected = changed(expected, keys, REMOVE)
    written = json.loads(event.to_json())
    assert spelled_alike(written) == spelled_alike(expected)
    assert json.loads(json.dumps(event.to_mapping())) == written
    assert cls.from_json(event.to_json()) == event
    assert pickle.loads(pickle.dumps(event)) == event
    assert copy.deepcopy(event) is event
    assert hash(cls.from_mapping(payload)) == hash(event)
    validate(payload)
    validate(written)
    return event


def refused(cls: Any, payload: Any, wrong: Wrong) -> None:
    given = changed(payload, wrong.keys, wrong.value)
    for read in (lambda: cls.from_json(json.dumps(given)), lambda: cls.from_mapping(given)):
        with pytest.raises(ValueError, match=rf"(?m)^(  )?{re.escape(wrong.error)}") as caught:
            read()
        assert type(caught.value).__name__ == "StateError"
    if wrong.in_schema:
        with pytest.raises(jsonschema.ValidationError):
            validator(cls)(given)


def validator(cls: Any) -> Callable[[Any], None]:
    schema = json.loads(json.dumps(cls.json_schema()))
    kind = jsonschema.Draft202012Validator
    kind.check_schema(schema)
    validate: Callable[[Any], None] = kind(schema).validate
    return validate


def changed(payload: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """The payload with another value at one place, or without it."""
    given = place = json.loads(
        json.dumps(payload)
    )  # no copy: that keeps a part twice in place the same part
    for key in keys[:-1]:
        place = place[key]
    if value is REMOVE:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return given


def spelled_alike(plain: Any) -> str:
    """The JSON with each moment in one spelling: a State writes UTC as +00:00, and six digits of a second or none."""

    def alike(value: Any) -> Any:
        if isinstance(value, str) and MOMENT.fullmatch(value):
            return datetime.fromisoformat(value).isoformat()
        if isinstance(value, dict):
            return {key: alike(item) for key, item in value.items()}
        return [alike(item) for item in value] if isinstance(value, list) else value

    return json.dumps(alike(plain), sort_keys=True)
