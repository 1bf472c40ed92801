"""State, by properties that hold for every annotation and value. Guarantee 7.2, 7.4, 7.7."""

from __future__ import annotations

import copy
import json
import pickle
import string
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import annotated_types
import pytest

from haiway_bus._state import FrozenMap, State, StateError

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

EXAMPLES = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[
        # The fixture gives the package, which no example changes.
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@pytest.fixture(autouse=True)
def package(hb):
    globals().update({name: getattr(hb, name) for name in ("State", "StateError", "FrozenMap")})


@dataclass
class Spec:
    """An annotation, what it takes (and how that is kept), and what it refuses (and where)."""

    annotation: Any
    good: st.SearchStrategy[tuple[Any, Any]]
    bad: st.SearchStrategy[tuple[Any, str]]

    def __repr__(self):
        return f"Spec({self.annotation})"


def same(strategy):
    return strategy.map(lambda value: (value, value))


def plain(annotation, good, *bad):
    return Spec(annotation, same(good), st.sampled_from(bad).map(lambda value: (value, "")))


def hashable_specs():
    texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    return st.sampled_from(
        [
            plain(int, st.integers(), "1", 1.5, True, None),
            plain(str, texts, 1, b"x", None),
            plain(bool, st.booleans(), 1, "true", None),
            plain(bytes, st.binary(max_size=5), "x", bytearray(b"x")),
            plain(uuid.UUID, st.uuids(), 1, "00000000-0000-0000-0000-000000000000"),
            plain(date, st.dates(), datetime(2020, 1, 1), "2020-01-01"),
            plain(datetime, st.datetimes(timezones=st.none() | st.timezones()), date(2020, 1, 1)),
            plain(time, st.times(), "10:00"),
            plain(timedelta, st.timedeltas(), 1),
            plain(Decimal, st.decimals(allow_nan=False, allow_infinity=False), 1, 1.5),
            plain(Color, st.sampled_from(Color), "red", 1),
            plain(Literal["a", 1], st.sampled_from(["a", 1]), "b", True, 1.0),
            plain(Annotated[int, annotated_types.Ge(0)], st.integers(min_value=0), -1, "x"),
            plain(int | str, st.integers() | texts, 1.5, None, True),
            Spec(
                float,
                st.one_of(
                    same(st.floats(allow_nan=False, allow_infinity=False)),
                    st.integers(-(10**15), 10**15).map(lambda value: (value, float(value))),
                ),
                st.sampled_from([("1", ""), (True, ""), (None, "")]),
            ),
        ]
    )


def sequence_of(spec):
    @st.composite
    def bad(draw):
        values = draw(st.lists(spec.good, max_size=3))
        wrong, path = draw(spec.bad)
        index = draw(st.integers(0, len(values)))
        items = [value for value, _ in values]
        return [*items[:index], wrong, *items[index:]], f"[{index}]{path}"

    good = st.lists(spec.good, max_size=3).map(
        lambda pairs: ([a for a, _ in pairs], tuple(b for _, b in pairs))
    )
    return Spec(Sequence[spec.annotation], good, bad() | st.just((5, "")))


def mapping_of(spec):
    keys = st.text(string.ascii_letters, max_size=3)

    @st.composite
    def bad(draw):
        values = {k: v for k, (v, _) in draw(st.dictionaries(keys, spec.good, max_size=2)).items()}
        key = draw(keys)
        values[key], path = draw(spec.bad)
        return values, f"[{key!r}]{path}"

    good = st.dictionaries(keys, spec.good, max_size=3).map(
        lambda pairs: (
            {k: a for k, (a, _) in pairs.items()},
            FrozenMap({k: b for k, (_, b) in pairs.items()}),
        )
    )
    return Spec(Mapping[str, spec.annotation], good, bad() | st.just(([], "")))


def set_of(spec):
    good = st.lists(spec.good, max_size=3).map(
        lambda pairs: ({a for a, _ in pairs}, frozenset(b for _, b in pairs))
    )
    return Spec(AbstractSet[spec.annotation], good, st.just(({}, "")))


def pair_of(spec):
    good = st.tuples(spec.good, spec.good).map(
        lambda pairs: (tuple(a for a, _ in pairs), tuple(b for _, b in pairs))
    )
    bad = st.tuples(spec.good, spec.bad).map(
        lambda two: ((two[0][0], two[1][0]), f"[1]{two[1][1]}")
    )
    return Spec(tuple[spec.annotation, spec.annotation], good, bad | st.just(((), "")))


def optional(spec):
    bad = spec.bad.filter(lambda wrong: wrong[0] is not None)
    return Spec(spec.annotation | None, spec.good | st.just((None, None)), bad)


def state_of(spec):
    cls = type(State)("Inner", (State,), {"__annotations__": {"field": spec.annotation}})
    good = spec.good.map(lambda pair: (cls(field=pair[0]), cls(field=pair[1])))
    return Spec(cls, good, st.sampled_from([({}, ""), (None, ""), (cls, "")]))


def specs():
    return st.recursive(
        hashable_specs(),
        lambda inner: st.one_of(
            inner.map(sequence_of),
            inner.map(mapping_of),
            hashable_specs().map(set_of),
            inner.map(pair_of),
            inner.map(optional),
            inner.map(state_of),
        ),
        max_leaves=4,
    )


def declare(*annotations):
    names = {f"f{index}": annotation for index, annotation in enumerate(annotations)}
    return type(State)("Made", (State,), {"__annotations__": names})


@EXAMPLES
@given(data=st.data())
def test_a_value_accepted_is_kept_equal_and_frozen(hb, data):
    """Guarantee 7.2, 7.4: and checking it again changes nothing."""
    spec = data.draw(specs())
    value, kept = data.draw(spec.good)
    made = declare(spec.annotation)(f0=value)
    assert made.f0 == kept
    assert type(made.f0) is type(kept)
    assert type(made)(f0=made.f0).f0 is made.f0
    assert hash(made) == hash(type(made)(f0=kept))
    assert made.updated(f0=value) == made
    assert copy.deepcopy(made) == made


@EXAMPLES
@given(data=st.data())
def test_a_wrong_value_is_refused_naming_its_path(hb, data):
    """Guarantee 7.2: every wrong field, and none that is right."""
    chosen = data.draw(st.lists(specs(), min_size=1, max_size=3))
    wrong = data.draw(st.sets(st.integers(0, len(chosen) - 1), min_size=1))
    values, paths = {}, []
    for index, spec in enumerate(chosen):
        if index in wrong:
            values[f"f{index}"], path = data.draw(spec.bad)
            paths.append(f"Made.f{index}{path}")
        else:
            values[f"f{index}"] = data.draw(spec.good)[0]
    cls = declare(*(spec.annotation for spec in chosen))
    with pytest.raises(StateError) as caught:
        cls(**values)
    assert [path for path, _ in caught.value.problems] == paths


@EXAMPLES
@given(data=st.data())
def test_the_backends_agree_on_every_case_errors_included(hb, copies, data):
    """The constructor in C and the written one do the same with right and wrong arguments, and in `updated`."""
    chosen = data.draw(st.lists(hashable_specs(), min_size=1, max_size=3))
    names = [f"f{index}" for index in range(len(chosen))]
    arguments = {}
    for name, spec in zip(names, chosen, strict=True):
        kind = data.draw(st.sampled_from(["good", "good", "bad", "missing"]))
        if kind != "missing":
            arguments[name] = data.draw(spec.good if kind == "good" else spec.bad)[0]
    if data.draw(st.booleans()):
        arguments["unknown"] = 1
    arguments = dict(data.draw(st.permutations(list(arguments.items()))))
    changes = data.draw(
        st.dictionaries(st.sampled_from([*names, "other"]), st.just(None), max_size=2)
    )
    for name in changes:
        if name in names:
            changes[name] = data.draw(chosen[names.index(name)].good)[0]
    positional = data.draw(st.sampled_from([(), (), (1,)]))

    def outcome(package):
        annotations = dict(zip(names, (spec.annotation for spec in chosen), strict=True))
        cls = type(package.State)("Made", (package.State,), {"__annotations__": annotations})

        def tried(call):
            try:
                made = call()
            except package.StateError as error:
                return None, (str(error), error.problems)
            return made, (repr(made), hash(made))

        made, first = tried(lambda: cls(*positional, **arguments))
        return first, None if made is None else tried(lambda: made.updated(**changes))[1]

    outcomes = {name: outcome(package) for name, package in copies.items()}
    assert len({repr(one) for one in outcomes.values()}) == 1, outcomes


@EXAMPLES
@given(data=st.data())
def test_json_brings_back_an_equal_value(hb, data):
    """Guarantee 7.7: through text, and as the schema says."""
    spec = data.draw(specs())
    made = declare(spec.annotation)(f0=data.draw(spec.good)[0])
    text = made.to_json()
    again = type(made).from_json(text)
    assert again == made
    assert type(again.f0) is type(made.f0)
    assert json.loads(text) == made.to_mapping()
    assert type(made).from_mapping(made.to_mapping()) == made
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return
    schema = type(made).json_schema()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(made.to_mapping())


@EXAMPLES
@given(data=st.data(), protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_pickle_brings_back_an_equal_value(hb, data, protocol):
    """Guarantee 7.1."""
    global Made
    spec = data.draw(specs().filter(lambda spec: "Inner" not in str(spec.annotation)))
    Made = declare(spec.annotation)
    Made.__module__ = __name__
    made = Made(f0=data.draw(spec.good)[0])
    again = pickle.loads(pickle.dumps(made, protocol))
    assert again == made
    assert type(again) is Made


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@EXAMPLES
@given(data=st.data(), plain=JSON | st.fixed_dictionaries({"f0": JSON}))
def test_any_plain_data_gives_an_instance_or_a_state_error(hb, data, plain):
    """Guarantee 7.7: whatever comes from outside, there is one kind of error."""
    cls = declare(data.draw(specs()).annotation)
    try:
        made = cls.from_mapping(plain)
    except StateError:
        return
    assert cls.from_mapping(made.to_mapping()) == made


@EXAMPLES
@given(text=st.text(max_size=30) | st.binary(max_size=30))
def test_any_text_gives_an_instance_or_a_state_error(hb, text):
    """Guarantee 7.7."""
    with pytest.raises(StateError):
        declare(int).from_json(text)
