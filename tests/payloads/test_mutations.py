"""Payloads with a few wrong places: both backends say the same, and what is read is written and read again.

Guarantee 7.7: every refusal is a StateError, and what is read comes back equal.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.payloads.test_cloud_event import ORDER_PAID, THUMBNAIL
from tests.payloads.test_github_push import DELETED, PUSH
from tests.payloads.test_otlp_logs import EXPORT
from tests.payloads.test_s3_notification import NOTIFICATION, REMOVED
from tests.payloads.test_stripe_event import CHANGED, PAID

PAYLOADS: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("cloud_event", "CloudEvent"): [ORDER_PAID, THUMBNAIL],
    ("stripe_event", "Event"): [PAID, CHANGED],
    ("github_push", "Push"): [PUSH, DELETED],
    ("s3_notification", "Notification"): [NOTIFICATION, REMOVED],
    ("otlp_logs", "Export"): [EXPORT],
}
OTHERS: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**64, 1.0, 1.5, -0.0, 1e308, "", "a", "1", "żó", "\x00"),
    *(
        "2026-01-01T00:00:00Z",
        "2026-01-01t00:00:00z",
        "2026-06-30T23:59:60Z",
        "9999-12-31T23:59:59Z",
    ),
    *("0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00.1234567+01:00", "AAAA", "AAA"),
    *([], {}, [1], {"a": 1}, {"object": "charge"}, {"stringValue": "x", "intValue": "1"}),
]


def places(plain: Any) -> Iterator[tuple[Any, Any]]:
    """Each container in the payload, with each of its keys."""
    keys = plain if isinstance(plain, dict) else range(len(plain))
    for key in keys:
        yield plain, key
        if isinstance(plain[key], dict | list):
            yield from places(plain[key])


def mutated(chance: random.Random, payload: Any) -> Any:
    """The payload with one to three changes: another value, a part of another place, a key more, a key less."""
    plain = json.loads(json.dumps(payload))
    for _ in range(chance.choice([1, 1, 2, 3])):
        if not (found := list(places(plain))):
            break
        container, key = chance.choice(found)
        change = chance.random()
        if change < 0.55:
            container[key] = copy.deepcopy(chance.choice(OTHERS))
        elif change < 0.7:
            del container[key]
        elif change < 0.85 and isinstance(container, dict):
            container[chance.choice(["x", "type", "object", "values", "Ż"])] = copy.deepcopy(
                chance.choice(OTHERS)
            )
        else:
            source, of = chance.choice(found)
            container[key] = copy.deepcopy(source[of])
    return plain


def outcome(cls: Any, plain: Any) -> str:
    """What comes of reading the payload, both as text and as a mapping."""
    said: list[str] = []
    for read, given in ((cls.from_json, json.dumps(plain)), (cls.from_mapping, plain)):
        try:
            event = read(given)
        except ValueError as refusal:
            said.append(f"{type(refusal).__name__}: {refusal}")
        else:
            written = event.to_json()
            assert cls.from_json(written) == event
            assert cls.from_json(written).to_json() == written
            said += [repr(event), written]
    assert said[: len(said) // 2] == said[len(said) // 2 :]
    assert said[0].startswith(("StateError: ", f"{cls.__name__}("))
    return said[0]


@pytest.fixture(scope="module")
def said() -> dict[tuple[str, int], str]:
    """What the backend that was tested first said of each payload."""
    return {}


@pytest.mark.parametrize(("module", "name"), PAYLOADS)
def test_backends_agree_on_payloads_that_are_wrong_in_places(
    model: Any, said: dict[tuple[str, int], str], module: str, name: str
) -> None:
    cls = getattr(model(module), name)
    chance = random.Random(16)
    read = 0
    for number in range(300):
        plain = mutated(chance, chance.choice(PAYLOADS[module, name]))
        found = outcome(cls, plain)
        assert said.setdefault((name, number), found) == found
        read += found.startswith(f"{name}(")
    assert 0 < read < 300
