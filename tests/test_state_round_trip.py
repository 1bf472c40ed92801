"""State: what a class can write it can read back, equal and of the same class, or it says at once that it cannot.
Guarantee 7.7.
"""

# ruff: noqa: PT017, PYI030, PYI051, PYI061 - unions that nobody would write are what this is about

from __future__ import annotations

import copy
import json
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, Self, TypedDict, TypeVar

import annotated_types
import pytest

from haiway_bus._state import Alias, FrozenMap, State, StateError
from tests.shared import define_once

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

EXAMPLES = settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[
        # The fixture gives the package, which no example changes.
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)

T = TypeVar("T")
PUBLIC = ("Alias", "FrozenMap", "State", "StateError")
UserId = NewType("UserId", str)


class Color(Enum):
    RED = "red"
    NONE = None
    ONE = 1


class Text(str, Enum):  # noqa: UP042 - StrEnum's __str__ is not meant
    RED = "red"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Right(Flag):
    READ = 1
    WRITE = 2


class First(TypedDict):
    x: int


class Second(TypedDict):
    x: int
    y: NotRequired[int]


class Third(TypedDict):
    z: int


def define():
    global \
        A, \
        B, \
        C, \
        Loose, \
        Kept, \
        Base, \
        Derived, \
        Empty, \
        Empty2, \
        Short, \
        Long, \
        Box, \
        Card, \
        Wire, \
        Cash, \
        Camel
    global Rate, Group, Groups

    class A(State):
        x: int

    class B(State):
        x: int

    class C(State):
        y: int

    class Loose(State, unknown="ignore"):
        note: str | None = None

    class Kept(State, unknown="keep"):
        note: str | None = None

    class Base(State):
        x: int

    class Derived(Base):
        y: int

    class Empty(State):
        pass

    class Empty2(State):
        pass

    class Short(State, omit_defaults=True):
        x: int = 0

    class Long(State, omit_defaults=True):
        x: int = 0
        y: int = 0

    class Box(State, Generic[T]):
        value: T

    class Card(State):
        kind: Literal["card"] = "card"
        number: str = ""

    class Wire(State):
        kind: Literal["wire", "sepa"]
        number: str = ""

    class Cash(State, omit_defaults=True):
        kind: Literal["cash"] = "cash"
        number: str = ""

    class Camel(State, rename="camel"):
        first_name: str
        last_name: str | None = None

    class Rate(State):
        x: float

    class Group(State):
        of: Sequence[Card | Wire | Group] = ()
        kind: Literal["group"] = "group"

    class Groups(State):
        by_name: Mapping[str, Group | Cash] = FrozenMap()
        last: Group | None = None


@pytest.fixture(autouse=True)
def package(hb):
    define_once(hb, globals(), PUBLIC, define)


def held(annotation, **options):
    return type(State)("Held", (State,), {"__annotations__": {"value": annotation}}, **options)


def alike(one, other):
    """Whether two values are equal, with equal types at every leaf: 1 is neither 1.0 nor True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, State):
        names = type(one).__state__.names
        return all(alike(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, Mapping):
        return len(one) == len(other) and all(
            alike(*keys) and alike(one[keys[0]], other[keys[1]])
            for keys in zip(one, other, strict=True)
        )
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, frozenset):
        return len(one) == len(other) and all(any(alike(a, b) for b in other) for a in one)
    if isinstance(one, Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, datetime | time):
        return one == other and one.utcoffset() == other.utcoffset()
    return one == other


def comes_back(made):
    cls = type(made)
    text = made.to_json()
    for again in (
        cls.from_json(text),
        cls.from_json(text.encode()),
        cls.from_json(made.to_json(indent=2)),
        cls.from_mapping(made.to_mapping()),
        cls.from_mapping(json.loads(text)),
    ):
        assert alike(again, made), (made, text, again)
        assert again.to_json() == text
    assert json.loads(text) == made.to_mapping()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [Decimal("-0"), Decimal("1.10"), Decimal("0E-7"), Decimal("1E+5")]
)
OFFSETS = st.timedeltas(-timedelta(hours=23, minutes=59), timedelta(hours=23, minutes=59))
ZONES = st.none() | OFFSETS.map(lambda offset: timezone(offset))
DATETIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)
PATHS = st.builds(pathlib.PurePosixPath, st.text("ab/.", max_size=6))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def a_few(strategy):
    return st.lists(strategy, max_size=3)


KINDS: dict[str, tuple[Any, Any]] = {
    "none": (lambda: None, st.none()),
    "bool": (lambda: bool, st.booleans()),
    "int": (lambda: int, st.integers()),
    "float": (lambda: float, FLOATS),
    "str": (lambda: str, TEXTS),
    "bytes": (lambda: bytes, st.binary(max_size=5)),
    "any": (lambda: Any, PLAIN),
    "object": (lambda: object, PLAIN),
    "datetime": (lambda: datetime, DATETIMES),
    "date": (lambda: date, st.dates()),
    "time": (lambda: time, st.times(timezones=ZONES)),
    "timedelta": (lambda: timedelta, st.timedeltas()),
    "uuid": (lambda: uuid.UUID, st.uuids()),
    "decimal": (lambda: Decimal, DECIMALS),
    "path": (lambda: pathlib.PurePosixPath, PATHS),
    "enum": (lambda: Color, st.sampled_from(Color)),
    "text enum": (lambda: Text, st.sampled_from(Text)),
    "int enum": (lambda: Size, st.sampled_from(Size)),
    "flag": (lambda: Right, st.sampled_from([Right(0), Right(1), Right(3)])),
    "literal": (lambda: Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None])),
    "literal of enum": (
        lambda: Literal[Color.RED, Size.LARGE],
        st.sampled_from([Color.RED, Size(2)]),
    ),
    "new type": (lambda: UserId, TEXTS),
    "optional": (lambda: datetime | None, st.none() | DATETIMES),
    "sequence": (lambda: Sequence[date], a_few(st.dates())),
    "nested sequence": (lambda: Sequence[Sequence[int]], a_few(a_few(st.integers()))),
    "tuple": (lambda: tuple[int, date], st.tuples(st.integers(), st.dates())),
    "long tuple": (lambda: tuple[Decimal, ...], a_few(DECIMALS).map(tuple)),
    "middle": (
        lambda: tuple[int, *tuple[date, ...], str],
        st.builds(lambda a, b, c: (a, *b, c), st.integers(), a_few(st.dates()), TEXTS),
    ),
    "empty tuple": (lambda: tuple[()], st.just(())),
    "set": (lambda: AbstractSet[uuid.UUID], a_few(st.uuids()).map(set)),
    "frozenset": (lambda: frozenset[date], a_few(st.dates()).map(frozenset)),
    "set of tuples": (
        lambda: AbstractSet[tuple[int, str]],
        a_few(st.tuples(st.integers(), TEXTS)).map(set),
    ),
    "set of numbers": (lambda: AbstractSet[int | None], a_few(st.integers() | st.none()).map(set)),
    "mapping": (lambda: Mapping[str, date], st.dictionaries(TEXTS, st.dates(), max_size=3)),
    **{
        f"mapping by {name}": (
            lambda key=key: Mapping[key, int],
            st.dictionaries(keys, st.integers(), max_size=3),
        )
        for name, key, keys in (
            ("int", int, st.integers()),
            ("uuid", uuid.UUID, st.uuids()),
            ("date", date, st.dates()),
            ("datetime", datetime, DATETIMES),
            ("decimal", Decimal, st.integers().map(Decimal)),
            ("text enum", Text, st.sampled_from(Text)),
            ("literal", Literal["a", "b"], st.sampled_from("ab")),
            ("timedelta", timedelta, st.timedeltas()),
            ("bytes", bytes, st.binary(max_size=4)),
            ("path", pathlib.PurePosixPath, PATHS),
        )
    },
    "typed dict": (
        lambda: Second,
        st.fixed_dictionaries({"x": st.integers()}, optional={"y": st.integers()}),
    ),
    "state": (lambda: A, st.builds(lambda x: A(x=x), st.integers())),
    "generic": (lambda: Box[date], st.builds(lambda x: Box[date](value=x), st.dates())),
    "generic of generic": (
        lambda: Box[Box[date]],
        st.builds(lambda x: Box[Box[date]](value=Box[date](value=x)), st.dates()),
    ),
    "camel": (
        lambda: Camel,
        st.builds(lambda a, b: Camel(first_name=a, last_name=b), TEXTS, st.none() | TEXTS),
    ),
    "omitted defaults": (
        lambda: Long,
        st.builds(lambda x, y: Long(x=x, y=y), st.integers(-1, 1), st.integers(-1, 1)),
    ),
    "ignoring": (lambda: Loose, st.builds(lambda note: Loose(note=note), st.none() | TEXTS)),
    "keeping": (
        lambda: Kept,
        st.builds(
            lambda note, more: Kept.from_mapping({**more, "note": note}),
            st.none() | TEXTS,
            st.dictionaries(TEXTS, PLAIN, max_size=2),
        ),
    ),
    "constrained": (
        lambda: Annotated[int, annotated_types.Interval(gt=0, lt=5)],
        st.integers(1, 4),
    ),
    "group": (
        lambda: Group,
        st.recursive(
            st.builds(lambda: Group()),
            lambda inner: st.builds(
                lambda of: Group(of=[*of, Card(number="1"), Wire(kind="sepa")]), a_few(inner)
            ),
            max_leaves=4,
        ),
    ),
    "groups": (
        lambda: Groups,
        st.builds(
            lambda names: Groups(
                by_name={name: Group(of=[Card()]) if name else Cash() for name in names},
                last=Group(),
            ),
            a_few(TEXTS),
        ),
    ),
}


@pytest.mark.parametrize("name", KINDS)
@EXAMPLES
@given(data=st.data())
def test_what_is_written_is_read_back_equal_and_of_the_same_class(hb, name, data):
    """Guarantee 7.7: every annotation, alone and inside of others."""
    make, values = KINDS[name]
    annotation, value = make(), data.draw(values)
    if annotation is Any or annotation is object:
        made = held(annotation)(value=value)
        assert type(made).from_json(made.to_json()) == made
        assert type(made).from_mapping(made.to_mapping()) == made
        return
    comes_back(held(annotation)(value=value))
    comes_back(held(Sequence[annotation])(value=(value, value)))
    comes_back(held(Mapping[str, annotation])(value={"k": value}))
    comes_back(held(tuple[int, annotation])(value=(1, value)))
    comes_back(held(Box[annotation])(value=Box[annotation](value=value)))
    if annotation is not None and name not in ("enum", "literal"):  # they have None already
        comes_back(held(annotation | None)(value=value))


APART: dict[str, Any] = {
    # What a text or a mapping tells apart, in the order of the annotation.
    "date | datetime": lambda: (date | datetime, st.dates() | DATETIMES),
    "int | float": lambda: (int | float, st.integers() | FLOATS),
    "float | int": lambda: (float | int, st.integers() | FLOATS),
    "bool | int": lambda: (bool | int, st.booleans() | st.integers()),
    "int | bool | float | None": lambda: (
        int | bool | float | None,
        st.booleans() | st.integers() | FLOATS | st.none(),
    ),
    "int | str": lambda: (int | str, st.integers() | TEXTS),
    "str | Sequence | Mapping": lambda: (
        str | Sequence[str] | Mapping[str, str],
        TEXTS | a_few(TEXTS).map(tuple) | st.just(FrozenMap({"a": "b"})),
    ),
    "int enum and text": lambda: (Size | str, st.sampled_from(Size) | TEXTS),
    "text enum and int": lambda: (Text | int, st.sampled_from(Text) | st.integers()),
    "literals": lambda: (Literal["a", "b"] | Literal["b", 1], st.sampled_from(["a", "b", 1])),
    "literal and text": lambda: (Literal["a"] | str, TEXTS | st.just("a")),
    "datetime | uuid": lambda: (datetime | uuid.UUID, DATETIMES | st.uuids()),
    "other keys": lambda: (A | C, st.sampled_from([A(x=1), C(y=1)])),
    "a key more": lambda: (Base | Derived, st.sampled_from([Base(x=1), Derived(x=1, y=1)])),
    "a key more, first": lambda: (Derived | Base, st.sampled_from([Base(x=1), Derived(x=1, y=1)])),
    "tags": lambda: (
        Card | Wire | Cash,
        st.sampled_from([Card(), Wire(kind="wire"), Wire(kind="sepa"), Cash()]),
    ),
    "tags in sequences": lambda: (
        Sequence[Card | Wire | None],
        a_few(st.sampled_from([Card(), Wire(kind="wire"), None])),
    ),
    "tags and text": lambda: (
        Card | Wire | str,
        st.sampled_from([Card(), Wire(kind="sepa"), "card"]),
    ),
    "typed dicts": lambda: (First | Third, st.sampled_from([{"x": 1}, {"z": 1}])),
    "tuples": lambda: (
        tuple[int, str] | tuple[str, int],
        st.sampled_from([(1, "a"), ("a", 1)]),
    ),
    "tuples of other lengths": lambda: (
        tuple[int] | tuple[int, int],
        st.sampled_from([(1,), (1, 2)]),
    ),
    "bounds": lambda: (
        Annotated[int, annotated_types.Ge(0)] | Annotated[int, annotated_types.Lt(0)],
        st.integers(),
    ),
    "sequence of other elements": lambda: (
        Sequence[int] | Sequence[str],
        a_few(st.integers()).map(tuple) | a_few(TEXTS).map(tuple),
    ),
}


@pytest.mark.parametrize("name", APART)
@EXAMPLES
@given(data=st.data())
def test_a_union_that_json_tells_apart(hb, name, data):
    """Guarantee 7.7."""
    annotation, values = APART[name]()
    value = data.draw(values)
    comes_back(held(annotation)(value=value))
    comes_back(held(annotation | None)(value=value))
    comes_back(held(Sequence[annotation])(value=[value, value]))
    type(held(annotation)(value=value)).json_schema()


TOGETHER: dict[str, Any] = {
    # What neither a mapping nor JSON tells apart: two values, of which one would come back as the other class.
    "str | datetime": lambda: (str | datetime, datetime(2026, 1, 1), "x"),
    "str | date": lambda: (str | date, date(2026, 1, 1), "x"),
    "str | UUID": lambda: (str | uuid.UUID, uuid.UUID(int=1), "x"),
    "str | Decimal": lambda: (str | Decimal, Decimal(1), "x"),
    "str | timedelta": lambda: (str | timedelta, timedelta(1), "x"),
    "str | bytes": lambda: (str | bytes, b"a", "x"),
    "str | Path": lambda: (str | pathlib.PurePosixPath, pathlib.PurePosixPath("a"), "x"),
    "bytes | str": lambda: (bytes | str, b"a", "abcd"),
    "Decimal | str": lambda: (Decimal | str, Decimal(1), "12"),
    "datetime | str": lambda: (datetime | str, datetime(2026, 1, 1), "2026-01-01T00:00:00"),
    "str | Color": lambda: (str | Text, Text.RED, "red"),
    "Color | str": lambda: (Color | str, Color.RED, "red"),
    "int | IntEnum": lambda: (int | Size, Size.LARGE, 2),
    "IntEnum | int": lambda: (Size | int, Size.LARGE, 2),
    "Flag | int": lambda: (Right | int, Right.READ, 1),
    "two enums": lambda: (Color | Text, Color.RED, Text.RED),
    "Literal | Enum": lambda: (Literal["red"] | Color, Color.RED, "red"),
    "Literal of Enum | Literal": lambda: (Literal[Color.RED] | Literal["red"], Color.RED, "red"),
    "None enum": lambda: (Color | None, Color.NONE, None),
    "same keys": lambda: (A | B, A(x=1), B(x=1)),
    "same keys, other types of one JSON type": lambda: (A | Rate, A(x=1), Rate(x=1.0)),
    "ignores keys": lambda: (Loose | B, Loose(), B(x=1)),
    "keeps keys": lambda: (Kept | B, Kept(), B(x=1)),
    "no keys": lambda: (Empty | Empty2, Empty(), Empty2()),
    "omits keys": lambda: (Short | Long, Short(), Long()),
    "sequences": lambda: (Sequence[A] | Sequence[B], (A(x=1),), (B(x=1),)),
    "empty sequence and set": lambda: (Sequence[int] | AbstractSet[int], (1,), frozenset({1})),
    "set and tuple": lambda: (AbstractSet[int] | tuple[int, ...], (1,), frozenset({1})),
    "mapping and state": lambda: (Mapping[str, int] | A, FrozenMap({"x": 1}), A(x=1)),
    "typed dict and state": lambda: (First | A, FrozenMap({"x": 1}), A(x=1)),
    "generics": lambda: (
        Box[str] | Box[datetime],
        Box[str](value="x"),
        Box[datetime](value=datetime(2026, 1, 1)),
    ),
    "text and any": lambda: (datetime | Any, datetime(2026, 1, 1), "2026-01-01T00:00:00"),
    "any and text": lambda: (Any | datetime, datetime(2026, 1, 1), "x"),
    "text and text in a tuple": lambda: (
        tuple[str] | tuple[uuid.UUID],
        ("x",),
        (uuid.UUID(int=1),),
    ),
    "values of mappings": lambda: (
        Mapping[str, A] | Mapping[str, B],
        FrozenMap({"k": A(x=1)}),
        FrozenMap({"k": B(x=1)}),
    ),
}


def wraps():
    """A union inside of other annotations."""
    return {
        "alone": (lambda union: union, lambda value: value),
        "optional": (lambda union: union | None, lambda value: value),
        "sequence": (lambda union: Sequence[union], lambda value: (value,)),
        "mapping": (lambda union: Mapping[str, union], lambda value: FrozenMap({"k": value})),
        "tuple": (lambda union: tuple[int, union], lambda value: (1, value)),
        "constrained": (
            lambda union: Annotated[union, annotated_types.Predicate(lambda value: True)],
            lambda value: value,
        ),
        "generic": (lambda union: Box[union], None),
        "alias": (lambda union: Annotated[union, Alias("key")], lambda value: value),
    }


@pytest.mark.parametrize("name", TOGETHER)
class TestUnionsThatJsonCannotTellApart:
    @pytest.mark.parametrize("wrap", wraps())
    def test_it_is_refused_at_the_first_use_of_a_mapping_json_or_schema(self, name, wrap):
        """Guarantee 7.7: whichever comes first, with the way out."""
        annotation, one, other = TOGETHER[name]()
        outer, inner = wraps()[wrap]
        for value in (one, other):
            for use in (
                lambda made: made.to_mapping(),
                lambda made: made.to_json(),
                lambda made: type(made).json_schema(),
                lambda made: type(made).from_mapping({"value": None}),
                lambda made: type(made).from_json('{"value":null}'),
            ):
                written = outer(annotation)
                kept = written(value=value) if inner is None else inner(value)
                made = held(written)(value=kept)
                for _ in range(2):
                    with pytest.raises(StateError) as caught:
                        use(made)
                    assert caught.value.problems[0][0].startswith("Held.value")
                    assert "fine in memory" in str(caught.value)

    def test_in_memory_it_is_fine(self, name):
        """Guarantee 7.7."""
        annotation, one, other = TOGETHER[name]()
        made, second = held(annotation)(value=one), None
        assert made.value == one
        assert type(made.value) is type(one)
        second = made.updated(value=other)
        assert type(second.value) is type(other)
        assert made == copy.deepcopy(made) == type(made)(value=one)
        assert hash(made) == hash(type(made)(value=one))
        assert made != second or one == other
        assert repr(second)

    def test_a_class_that_holds_it_is_refused_too(self, name):
        """Guarantee 7.7: in a field of a field."""
        annotation, one, _ = TOGETHER[name]()
        inner = held(annotation)
        outer = held(Sequence[inner] | None)
        for use in (
            outer(value=[inner(value=one)]).to_json,
            outer(value=None).to_json,
            outer.json_schema,
        ):
            with pytest.raises(StateError, match="fine in memory"):
                use()


@pytest.mark.parametrize(
    "keys",
    [str | uuid.UUID, int | str, str | date, Text | str, Literal["1"] | int, bytes | str],
    ids=str,
)
def test_keys_that_json_cannot_tell_apart(keys):
    """Guarantee 7.7: a key is always text."""
    cls = held(Mapping[keys, int])
    made = cls(value={"1": 1}) if keys != Text | str else cls(value={"red": 1})
    for use in (
        made.to_json,
        made.to_mapping,
        cls.json_schema,
        lambda: cls.from_json('{"value":{}}'),
    ):
        with pytest.raises(StateError, match="fine in memory"):
            use()


def test_keys_that_json_tells_apart():
    """Guarantee 7.7."""
    for annotation, key in (
        (Literal["a"] | Literal["b"], "a"),
        (date | datetime, date(2026, 1, 1)),
        (Text | uuid.UUID, Text.RED),
        (Annotated[int, annotated_types.Ge(0)] | Annotated[int, annotated_types.Lt(-5)], 3),
    ):
        made = held(Mapping[annotation, int])(value={key: 1})
        comes_back(made)
        names = type(made).json_schema()["$defs"]["Held"]["properties"]["value"]["propertyNames"]
        assert names["anyOf"]


def test_values_of_one_literal_that_json_cannot_tell_apart():
    """Guarantee 7.7: the first has its place in JSON, the second has none."""
    for one, other in (
        (Color.RED, "red"),
        (Color.RED, Text.RED),
        (Size.LARGE, 2),
        ("red", Color.RED),
    ):
        cls = held(Literal[one, other])
        comes_back(cls(value=one))
        assert type(cls(value=other).value) is type(other)
        with pytest.raises(StateError, match="JSON cannot carry"):
            cls(value=other).to_json()


def test_a_union_with_the_class_that_it_stands_in():
    """Guarantee 7.7: the look for such unions ends."""

    class Tagged(State):
        kind: Literal["tagged"]
        inner: Mapping[str, Self] | Self | None = None

    class Bare(State):
        inner: Sequence[Self] | Self | None = None
        colour: Color | None = None

    class Clear(State):
        kind: Literal["clear"] | Literal[1]
        inner: Sequence[Self] | Self | Text = ()

    tagged = Tagged(kind="tagged", inner={"k": Tagged(kind="tagged")})
    comes_back(tagged.updated(inner=tagged))
    with pytest.raises(StateError, match="fine in memory"):  # for the Enum of None
        Bare().to_json()
    comes_back(Clear(kind=1, inner=Clear(kind="clear", inner=[Clear(kind=1, inner=Text.RED)])))


def test_the_refusal_names_the_members_and_the_way_out():
    """Guarantee 7.7."""
    with pytest.raises(StateError) as caught:
        held(A | B)(value=A(x=1)).to_json()
    assert "A" in str(caught.value)
    assert "B" in str(caught.value)
    assert "Literal" in str(caught.value)


@pytest.mark.parametrize("microseconds", [1, -1, 999_999])
def test_an_offset_of_less_than_a_second_comes_back(hb, microseconds):
    """Guarantee 7.7. CPython's fromisoformat takes it for UTC."""

    class Held(hb.State):
        moment: datetime
        clock: time

    zone = timezone(timedelta(microseconds=microseconds))
    comes_back(Held(moment=datetime(2026, 1, 1, 1, tzinfo=zone), clock=time(1, 2, 3, tzinfo=zone)))
    unzoned = time(0, 0, 0, 1)  # "00:00:00.000001" without an offset
    comes_back(Held(moment=datetime(2026, 1, 1, microsecond=1), clock=unzoned))


def test_the_case():
    """Guarantee 7.7: no value comes back as another type."""

    class Pay(State, unknown="ignore"):
        note: str | None = None

    for annotation, value in (
        (str | datetime, datetime(2026, 1, 1)),
        (str | uuid.UUID, uuid.UUID(int=1)),
        (str | Decimal, Decimal(1)),
        (datetime | date, date(2026, 1, 1)),
        (bytes | str, "abcd"),
        (Decimal | str, "12"),
        (A | B, B(x=1)),
        (Pay | B, B(x=1)),
    ):
        made = held(annotation)(value=value)
        try:
            text = made.to_json()
        except StateError:
            continue
        assert alike(type(made).from_json(text), made)


ANNOTATIONS = st.deferred(
    lambda: st.one_of(
        st.sampled_from([*KINDS]).map(lambda name: KINDS[name]),
        st.tuples(ANNOTATIONS, ANNOTATIONS).map(
            lambda two: (lambda: two[0][0]() | two[1][0](), two[0][1] | two[1][1])
        ),
        ANNOTATIONS.map(lambda one: (lambda: Sequence[one[0]()], a_few(one[1]).map(tuple))),
        ANNOTATIONS.map(
            lambda one: (
                lambda: Mapping[str, one[0]()],
                st.dictionaries(TEXTS, one[1], max_size=2).map(FrozenMap),
            )
        ),
    )
)


@settings(EXAMPLES, max_examples=60)
@given(data=st.data())
def test_any_union_comes_back_or_is_refused(hb, data):
    """Guarantee 7.7: for every value of every union, one or the other, and always the same for a class."""
    one, other = data.draw(ANNOTATIONS), data.draw(ANNOTATIONS)
    try:
        annotation = one[0]() | other[0]()
    except TypeError:  # None | None
        return
    cls = held(annotation)
    value = data.draw(one[1] | other[1])
    made = cls(value=value)
    try:
        text = made.to_json()
    except StateError as refused:
        for use in (made.to_mapping, cls.json_schema, lambda: cls.from_json('{"value":null}')):
            with pytest.raises(StateError):
                use()
        assert "fine in memory" in str(refused) or "JSON" in str(refused)
        return
    again = cls.from_json(text)
    assert again.to_json() == text
    if "Any" not in str(annotation) and "object" not in str(annotation):
        assert alike(again, made), (made, text, again)
    assert alike(cls.from_mapping(made.to_mapping()), again)
