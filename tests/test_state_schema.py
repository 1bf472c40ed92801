"""State: the schema and the parser agree. Each JSON value that one takes, the other takes. Guarantee 7.7."""

from __future__ import annotations

import json
import math
import pathlib
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Annotated
from zoneinfo import ZoneInfo

import annotated_types as at
import pytest

from haiway_bus._state import State, StateError

hypothesis = pytest.importorskip("hypothesis")
jsonschema = pytest.importorskip("jsonschema")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)

Validator = jsonschema.Draft202012Validator

AWARE = Annotated[datetime, at.Timezone(...)]
NAIVE = Annotated[datetime, at.Timezone(None)]
IN_PARIS = Annotated[datetime, at.Timezone("Europe/Paris")]
PARIS = ZoneInfo("Europe/Paris")

TEXTS = {
    datetime: (
        """2026-01-01T00:00:00 2026-01-01T00:00:00Z 2026-01-01T23:59:59.999999+23:59 2024-02-29T12:00
        2000-02-29T12:00:00.123456789Z 2026-01-01T00:00:00,5 2026-01-01T00:00:00+0130 2026-12-31T00:00:00-00:19:32
        0001-01-01T00:00:00 9999-12-31T23:59:59""".split() + ["2026-01-01 00:00:00"],
        """2026-01-01 20260101T000000 2026-02-30T00:00:00 2026-04-31T00:00:00 1900-02-29T00:00:00 2025-02-29T00:00:00
        0000-01-01T00:00:00 2026-01-01T24:00 2026-01-01T24:00:00 2026-01-01T23:59:60Z 2026-01-01T00:00:00z 2026-W01-1
        2026-01-01T00:00:00+24:00 2026-01-01T00:00:00+01 2026-01-01T 2026-01-01T00:00:00. 2026-13-01T00:00:00
        2026-01-01T00:60 12026-01-01T00:00:00 2026-1-1T00:00:00 2026-00-01T00:00 2026-01-00T00:00""".split(),
    ),
    date: (
        "2026-01-01 2024-02-29 2000-02-29 0001-01-01 9999-12-31 2026-01-31 2026-04-30 0004-02-29".split(),
        """2026-02-29 1900-02-29 2026-02-30 2026-04-31 2026-06-31 2026-09-31 2026-11-31 0000-01-01 2026-00-01 2026-01-00
        2026-01-32 2026-13-01 20260101 2026-W01-1 2026-001 0000-02-29 2026-01-01T00:00:00""".split(),
    ),
    time: (
        "12:00 12:00:00 00:00:00.5 23:59:59,999999999Z 12:00:00+01:00 12:00-0130 12:00:00+00:00:01".split(),
        "24:00 24:00:00 12:60 12:00:60 12 1200 T12:00 12:00:00z 12:00:00. 1:00 12:00+1 12:00+24:00".split(),
    ),
    timedelta: (
        """P1D P10D PT1H PT0S PT1.5S +PT1,25S -P1DT1H2M3.000005S P1W PT90M P2DT3M PT1H1S PT99999999H P999999999D
        -P999999999D P999999999DT23H59M59.999999S -P999999998DT23H59M59.999999S PT0.123456789S P01D""".split(),
        """P PT -P P1Y P1M P1DT PT1 P1 1D PD P1WT1H P1W1D -P999999999DT0H0M1S P999999999DT24H P9999999999D PT1M1H PT1.5H
        P1.5D p1d PT999999999H P1D1D PT-1S --P1D""".split(),
    ),
    uuid.UUID: (
        ["00000000-0000-0000-0000-000000000007", "ABCDEFab-cdef-ABCD-efab-cdefABCDEFab"],
        ["0" * 32, "{00000000-0000-0000-0000-000000000007}", "00000000-0000-0000-0000-00000000000",
         "urn:uuid:00000000-0000-0000-0000-000000000007", "0000000-00000-0000-0000-000000000007",
         "g0000000-0000-0000-0000-000000000007", "0" * 31],
    ),
    Decimal: (
        "0 -0 1 +1 1.50 .5 5. 1e5 1E+5 1.5e-7 007 1E+9999 -0E-10".split() + ["1" * 1000],
        """NaN sNaN -NaN NaN123 Infinity -Infinity inf 1_000 . +. e5 1e 1e+ 0x1 1,5 1.5.1 --1 1e99999
        1e999999999999999999999""".split() + ["1" * 1001, "1" * 5000, "0." + "1" * 5000],
    ),
    bytes: (
        ["", "AA==", "AAA=", "AAAA", "AB==", "+/+/AAA="],
        ["A", "AA", "AAA", "AA=", "A===", "====", "=", "AA==AA==", "AAA=A", "AAAA=", "-_-_", "AA=A", "AAAA\nAAAA",
         "AAAA====", "\u00e4AAA"],
    ),
    pathlib.PurePosixPath: (["", ".", "/a/b", "a b\n"], []),
    AWARE: (
        ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456789-23:59", "0001-01-01T00:00:00+00:00"],
        ["2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-01-01T00:00Z", "2026-01-01T00:00:00+0000",
         "2026-01-01T00:00:00,5Z", "2026-01-01T00:00:00+00:00:01", "2026-02-29T00:00:00Z"],
    ),
    NAIVE: (["2026-01-01T00:00:00", "2026-01-01 00:00"], ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00+00:00"]),
    IN_PARIS: (["2026-01-01T00:00:00+01:00", "2026-07-01T00:00:00Z"], ["2026-01-01T00:00:00"]),
}  # fmt: skip
"""By annotation: texts that it reads, and texts that it refuses."""

OTHERS = {
    int: ([0, -1, 1.0, 1e3, 10**30, 1e300], [1.5, True, "1", math.inf, math.nan]),
    float: ([0, 1.5, -1e308, 10**300], [True, "1", math.inf, math.nan]),
    Annotated[int, at.MultipleOf(3)]: ([0, -3, 6.0], [1, 2.0]),
    Annotated[int, at.MultipleOf(-3)]: ([0, -3, 6], [1]),
    Annotated[int, at.MultipleOf(0)]: ([], [0, 1]),
    Annotated[float, at.MultipleOf(2)]: ([0, 4.0, 1e300], [1, 2.5]),
    Annotated[int, at.Ge(5), at.Ge(0)]: ([5], [0, 4]),
    Annotated[int, at.Ge(0), at.Ge(5)]: ([5], [0, 4]),
    Annotated[int, at.Gt(2.5), at.Lt(4.5)]: ([3, 4], [2, 5]),
    Annotated[int, at.Gt(Decimal("-0.5")), at.Le(Decimal("1.5"))]: ([0, 1], [-1, 2]),
    Annotated[int, at.Ge(Fraction(1, 3)), at.Lt(Fraction(7, 3))]: ([1, 2], [0, 3]),
    Annotated[float, at.Ge(Decimal("0.1")), at.Le(Decimal("0.3"))]: (
        [0.1, 0.2],
        [math.nextafter(0.1, 0), 0.30000000000000004],
    ),
    Annotated[float, at.Gt(Decimal("0.3"))]: ([0.30000000000000004], [0.3]),
    Annotated[float, at.Lt(Decimal("0.1"))]: ([math.nextafter(0.1, 0)], [0.1]),
    Annotated[float, at.Gt(Fraction(1, 3)), at.Lt(math.inf)]: ([0.34], [1 / 3]),
    Annotated[float | int, at.Ge(1)]: ([1, 1.5], [0, 0.5]),
    Annotated[str, at.Len(1, 2)]: (["a", "\U0001f600b"], ["", "abc"]),
    Annotated[str, at.MinLen(1), at.MinLen(2)]: (["ab"], ["", "a"]),
    Annotated[str, at.MinLen(2), at.MinLen(1)]: (["ab"], ["", "a"]),
    Annotated[Sequence[int], at.Len(1, 2)]: ([[1], [1, 2]], [[], [1, 2, 3]]),
    Annotated[Mapping[str, int], at.Len(1, 1)]: ([{"a": 1}], [{}, {"a": 1, "b": 2}]),
    Mapping[date, int]: ([{}, {"2026-01-01": 1}], [{"2026-02-29": 1}, {"2026-01-01\n": 1}]),
    Mapping[Decimal, int]: ([{"1": 1, "2": 2}], [{"NaN": 1}, {"1_0": 1}, {"\uff11": 1}]),
}


@pytest.fixture(autouse=True)
def package(hb):
    globals().update({name: getattr(hb, name) for name in ("State", "StateError")})


def held(annotation):
    return type(State)("Held", (State,), {"__annotations__": {"value": annotation}})


def validator_of(cls):
    schema = cls.json_schema()
    Validator.check_schema(schema)
    # With the formats, and without: what a format says, the pattern says, too.
    with_formats = Validator(schema, format_checker=Validator.FORMAT_CHECKER)
    without = Validator(schema)

    def valid(value):
        assert with_formats.is_valid({"value": value}) == without.is_valid({"value": value}), value
        return without.is_valid({"value": value})

    return valid


def accepted(cls, value):
    """Whether from_json takes the value, and from_mapping as well. Their refusal is a StateError."""
    taken = []
    for read, form in (
        (cls.from_json, json.dumps({"value": value})),
        (cls.from_mapping, {"value": value}),
    ):
        try:
            read(form)
        except StateError as error:
            assert len(str(error)) < 500
            taken.append(False)
        else:
            taken.append(True)
    # JSON has no infinity. Validators take it from a test, as they take it from text such as 1e999.
    assert taken[0] == taken[1]
    return taken[0]


CASES = {**TEXTS, **OTHERS}


class TestAgreement:
    @pytest.mark.parametrize("annotation", CASES, ids=str)
    def test_what_is_read_and_what_is_refused(self, annotation):
        """Guarantee 7.7: the schema says the same."""
        cls = held(annotation)
        valid = validator_of(cls)
        good, bad = CASES[annotation]
        assert [value for value in good if not accepted(cls, value)] == []
        assert [value for value in good if not valid(value)] == []
        assert [value for value in bad if accepted(cls, value)] == []
        finite = [value for value in bad if not (type(value) is float and not math.isfinite(value))]
        assert [value for value in finite if valid(value) and "MultipleOf(0" not in str(annotation)] == []

    @pytest.mark.parametrize("annotation", TEXTS, ids=str)
    def test_every_text_in_every_place(self, annotation):
        """Guarantee 7.7: also with a line break, a space, a null character, in other digits, and long."""
        cls = held(annotation)
        valid = validator_of(cls)
        texts = {text for good, bad in TEXTS.values() for text in good + bad}
        texts |= {before + text + after for text, before, after in product(
            list(texts), ("", " ", "\n"), ("", "\n", "\r", "\u2028", " ", "\0", "Z"))}  # fmt: skip
        texts |= {text.translate({48 + n: 0xFF10 + n for n in range(10)}) for text in texts}
        texts |= {one * 100_000 for one in ("1", "A", "=", "P1D", "P", ":", "-", " ", "\n", ".1")}
        assert [text for text in texts if valid(text) != accepted(cls, text)] == []

    @pytest.mark.parametrize("annotation", TEXTS, ids=str)
    @pytest.mark.parametrize("value", [0, 1.5, True, None, [], {}, ["2026-01-01"]], ids=repr)
    def test_what_is_no_text_at_all(self, annotation, value):
        """Guarantee 7.7."""
        cls = held(annotation)
        assert not validator_of(cls)(value)
        assert not accepted(cls, value)

    @EXAMPLES
    @given(data=st.data())
    def test_texts_made_from_the_pattern_and_spoilt(self, hb, data):
        """Guarantee 7.7."""
        annotation = data.draw(st.sampled_from([kind for kind in TEXTS if kind not in (bytes, pathlib.PurePosixPath)]))
        cls = held(annotation)
        valid = validator_of(cls)
        pattern = cls.json_schema()["$defs"]["Held"]["properties"]["value"]["pattern"]
        text = data.draw(st.from_regex(re.compile(pattern, re.ASCII)))
        text = text.removesuffix("\n")
        assert valid(text)
        assert accepted(cls, text)
        place = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 2))
        added = data.draw(st.sampled_from(["", *"0123456789-+:.,TZPDHMSWeE_ \n=", "\uff11", "\u0661"]))
        spoilt = text[:place] + added + text[place + cut :]
        assert valid(spoilt) == accepted(cls, spoilt)

    @EXAMPLES
    @given(text=st.text("A/+=-_\n 9", max_size=13))
    @pytest.mark.parametrize("limits", [(0, None), (0, 0), (0, 1), (0, 2), (0, 3), (1, None), (2, None), (3, None), (2, 3), (4, 5)])
    def test_base64_of_every_length(self, hb, limits, text):
        """Guarantee 7.7: the schema's length is that of the bytes."""
        cls = held(Annotated[bytes, at.Len(*limits)])
        assert validator_of(cls)(text) == accepted(cls, text)

    @pytest.mark.parametrize("limits", [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 5), (2, 5), (3, 5), (4, 4), (5, 5)])
    def test_bytes_of_every_length(self, limits):
        """Guarantee 7.7: MaxLen(2) lets no third byte in."""
        cls = held(Annotated[bytes, at.Len(*limits)])
        valid = validator_of(cls)
        lengths = range(9)
        texts = [held(bytes)(value=b"x" * length).to_mapping()["value"] for length in lengths]
        expected = [limits[0] <= length <= limits[1] for length in lengths]
        assert [valid(text) for text in texts] == expected
        assert [accepted(cls, text) for text in texts] == expected

    @EXAMPLES
    @given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**15), 10**15), bound=st.decimals(-10, 10) | st.fractions(-10, 10) | st.floats(-10, 10) | st.integers(-10, 10),
           near=st.integers(-1, 1), predicate=st.sampled_from([at.Gt, at.Ge, at.Lt, at.Le]), annotation=st.sampled_from([int, float]))
    def test_bounds_of_every_number(self, hb, value, bound, near, predicate, annotation):
        """Guarantee 7.7: a Decimal or a Fraction as the bound, too."""
        cls = held(Annotated[annotation, predicate(bound)])
        valid = validator_of(cls)
        close = float(bound) if not near else math.nextafter(float(bound), near * math.inf)
        for one in (value, close, math.floor(bound) + near):
            assert valid(one) == accepted(cls, one), one


ZONES = st.none() | st.timezones()

WRITTEN = [
    (datetime, st.datetimes(timezones=ZONES)),
    (AWARE, st.datetimes(timezones=st.timezones())),
    (NAIVE, st.datetimes()),
    (IN_PARIS, st.datetimes(timezones=st.just(PARIS))),
    (date, st.dates()),
    (time, st.times(timezones=st.none() | st.builds(timezone, st.timedeltas(timedelta(seconds=-86399), timedelta(seconds=86399)).map(lambda one: timedelta(seconds=one // timedelta(seconds=1)))))),
    (timedelta, st.timedeltas() | st.sampled_from([timedelta.min, timedelta.max, timedelta.min + timedelta.resolution])),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary()),
    (pathlib.PurePosixPath, st.text(st.characters(exclude_categories=["Cs"])).map(pathlib.PurePosixPath)),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
]


class TestWritten:
    @EXAMPLES
    @given(data=st.data())
    @pytest.mark.parametrize(("annotation", "values"), WRITTEN, ids=lambda one: str(one)[:60])
    def test_what_is_written_is_valid_and_comes_back_equal(self, hb, annotation, values, data):
        """Guarantee 7.7."""
        value = data.draw(values)
        cls = held(annotation)
        made = cls(value=value)
        text = made.to_json()
        assert validator_of(cls)(json.loads(text)["value"])
        again = cls.from_json(text)
        if isinstance(value, datetime) and value.tzinfo is not None:
            # Python calls times of another zone unequal in an hour that the clock's change repeats or skips.
            assert again.value.astimezone(UTC) == value.astimezone(UTC)
        else:
            assert again == made
