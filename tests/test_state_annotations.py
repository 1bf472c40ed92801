"""State: the annotations that need more than a class to compare with. Guarantee 7.3.

This module evaluates its annotations at once (up to Python 3.13) or at need (from 3.14 on), the
others of the suite have them as text.
"""

import copy
import json
import math
import pathlib
import pickle
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Flag, IntEnum
from types import ModuleType
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Protocol,
    Required,
    Self,
    TypedDict,
    TypeVar,
    Union,
    runtime_checkable,
)

import annotated_types
import pytest
from annotated_types import (
    Ge,
    Gt,
    Interval,
    Le,
    Len,
    Lt,
    MaxLen,
    MinLen,
    MultipleOf,
    Not,
    Predicate,
    Timezone,
)
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from haiway_bus._state import Alias, Default, Epoch, FrozenMap, JsonValue, State, StateError

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")
Number = TypeVar("Number", bound=float)
Text = TypeVar("Text", str, bytes)

UserId = NewType("UserId", str)
Admin = NewType("Admin", UserId)


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


def mute(value):
    raise Mute


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Right(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int


@runtime_checkable
class Closing(Protocol):
    def close(self) -> None: ...


class Address(TypedDict):
    street: str
    number: int
    extra: NotRequired[Sequence[str]]


class Loose(TypedDict, total=False):
    name: Required[str]
    size: float


class Tree(TypedDict):
    name: str
    children: "Sequence[Tree]"


class Closer:
    def close(self):
        pass


def define():
    """The generic classes of this module, made anew with the package under test."""
    global Box, Node, Pair, Both, Plain

    class Plain(State):
        x: int

    class Box(State, Generic[T]):
        value: T
        more: "Sequence[Box[T]]" = ()

    class Node(State, Generic[T]):
        value: T
        next: "Node[T] | None" = None

    class Pair(Box[K], Generic[K, V]):
        other: V

    class Both(Pair[K, int]):
        pass


@pytest.fixture(autouse=True)
def package(hb):
    globals().update(
        {
            name: getattr(hb, name)
            for name in (
                *("State", "Default", "StateError", "FrozenMap", "JsonValue"),
                *("Alias", "Epoch"),
            )
        }
    )
    define()


def held(annotation):
    return type(State)("Held", (State,), {"__annotations__": {"value": annotation}})


NOW = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
CLOSER = Closer()

CASES = {
    "datetime": lambda: (datetime, [NOW], [NOW.date(), "2024-05-06", 0]),
    "date": lambda: (date, [NOW.date()], [NOW, "2024-05-06"]),
    "time": lambda: (time, [NOW.time()], [NOW, "07:08"]),
    "timedelta": lambda: (timedelta, [timedelta(1)], [1, 1.5]),
    "timezone": lambda: (timezone, [UTC], [None]),
    "uuid": lambda: (uuid.UUID, [uuid.UUID(int=1)], [1, str(uuid.UUID(int=1))]),
    "decimal": lambda: (Decimal, [Decimal("1.5")], [1, 1.5, "1.5"]),
    "path": lambda: (pathlib.Path, [pathlib.Path("/a")], ["/a", pathlib.PurePosixPath("/a")]),
    "purepath": lambda: (pathlib.PurePath, [pathlib.Path("/a")], ["/a"]),
    "intenum": lambda: (Size, [Size.SMALL], [1]),
    "intenum as int": lambda: (int, [Size.SMALL], []),
    "flag": lambda: (Right, [Right.READ | Right.WRITE], [1]),
    "namedtuple": lambda: (Point, [Point(1, 2)], [(1, 2)]),
    "literal of enum": lambda: (Literal[Size.SMALL], [Size.SMALL], [Size.LARGE, 1]),
    "newtype": lambda: (UserId, ["a"], [1]),
    "newtype of newtype": lambda: (Admin, ["a"], [1]),
    "protocol": lambda: (Closing, [CLOSER], [1, None]),
    "abstract class": lambda: (Iterable, [[1], "x"], [1]),
    "typing.Optional": lambda: (Optional[int], [1, None], ["x"]),  # noqa: UP045
    "typing.Union": lambda: (Union[int, str], [1, "x"], [None]),  # noqa: UP007
    "union of unions": lambda: (Optional[int | str], [1, "x", None], [1.5]),  # noqa: UP045
    "final": lambda: (Final[int], [1], ["x"]),
    "type variable": lambda: (T, [1, "x"], []),
    "bound type variable": lambda: (Number, [1.0], ["x"]),
    "constrained type variable": lambda: (Text, ["x", b"x"], [1]),
    "type of type variable": lambda: (type[Number], [float], [str]),
    "type of Any": lambda: (type[Any], [float], [1]),
    "nested state": lambda: (
        Mapping[str, Plain | None],
        [{"a": Plain(x=1), "b": None}],
        [{"a": 1}],
    ),
    "read-only mapping": lambda: (FrozenMap[str, int], [{"a": 1}], [{"a": "b"}, 1]),
    "callable": lambda: (Callable[..., Any] | None, [len, None], [1]),
    "gt": lambda: (Annotated[int, Gt(0)], [1], [0, -1, "x", True]),
    "ge": lambda: (Annotated[int, Ge(0)], [0], [-1]),
    "lt": lambda: (Annotated[float, Lt(1)], [0.5], [1.0]),
    "le": lambda: (Annotated[float, Le(1)], [1.0], [1.5]),
    "interval": lambda: (Annotated[int, Interval(gt=0, le=5)], [1, 5], [0, 6]),
    "multiple of": lambda: (Annotated[int, MultipleOf(3)], [6], [7]),
    "len": lambda: (Annotated[str, Len(1, 2)], ["a", "ab"], ["", "abc"]),
    "min len": lambda: (Annotated[Sequence[int], MinLen(1)], [(1,)], [(), ("x",)]),
    "max len": lambda: (Annotated[Mapping[str, int], MaxLen(1)], [{"a": 1}], [{"a": 1, "b": 2}]),
    "predicate": lambda: (Annotated[str, Predicate(str.islower)], ["a"], ["A", 1]),
    "not": lambda: (Annotated[str, Predicate(Not(str.islower))], ["A"], ["a"]),
    "aware": lambda: (Annotated[datetime, Timezone(...)], [NOW], [NOW.replace(tzinfo=None)]),
    "naive": lambda: (Annotated[datetime, Timezone(None)], [NOW.replace(tzinfo=None)], [NOW]),
    "in utc": lambda: (
        Annotated[datetime, Timezone("UTC")],
        [NOW],
        [NOW.replace(tzinfo=None), NOW.astimezone(timezone(timedelta(hours=1)))],
    ),
    "several": lambda: (Annotated[int, Gt(0), MultipleOf(2)], [2], [1, 0]),
    "inner": lambda: (Sequence[Annotated[int, Gt(0)]], [(1, 2)], [(1, 0)]),
    "inner of union": lambda: (Annotated[int, Gt(0)] | None, [1, None], [0]),
    "other metadata": lambda: (Annotated[int, "note", {"a": 1}], [1], ["x"]),
    "predicate on any": lambda: (Annotated[Any, Predicate(callable)], [len], [1]),
}


class TestEveryAnnotation:
    @pytest.mark.parametrize("name", CASES)
    def test_takes_what_it_says_and_refuses_the_rest(self, name):
        """Guarantee 7.3."""
        annotation, good, bad = CASES[name]()
        made = held(annotation)
        for value in good:
            assert made(value=value).value == value
        for value in bad:
            with pytest.raises(StateError, match=r"^Held\.value.*: "):
                made(value=value)
        if good:
            with pytest.raises(StateError, match=r"^Held\.value: missing, expected "):
                made()


class TestPredicates:
    def test_the_error_says_what_is_asked(self):
        """Guarantee 7.2, 7.3."""
        with pytest.raises(
            StateError, match=r"^Held.value: expected int > 0 and <= 5, given int 9$"
        ):
            held(Annotated[int, Interval(gt=0, le=5)])(value=9)
        with pytest.raises(StateError, match=r"expected str at least 2 long, given str 'a'"):
            held(Annotated[str, MinLen(2)])(value="a")
        with pytest.raises(
            StateError, match=r"expected str that satisfies str.islower, given str 'A'"
        ):
            held(Annotated[str, Predicate(str.islower)])(value="A")

    def test_a_predicate_sees_the_value_as_it_is_kept(self):
        """Guarantee 7.4."""
        seen = []
        held(Annotated[Sequence[int], Predicate(lambda value: not seen.append(value))])(value=[1])
        assert seen == [(1,)]

    def test_a_predicate_that_fails_is_a_refusal(self):
        """Guarantee 7.2."""
        with pytest.raises(StateError, match=r"Held.value: .*but testing str 'a' failed"):
            held(Annotated[str, Gt(3)])(value="a")

    @pytest.mark.parametrize(
        ("annotation", "value", "reason"),
        [
            (Annotated[int, Predicate(lambda value: {}[value])], 1, "KeyError: 1"),
            (Annotated[datetime, Gt(NOW)], datetime(2026, 1, 1), "TypeError: can't compare"),
            (Annotated[str, Predicate(mute)], "a", "Mute: its text cannot be made"),
            (Annotated[Decimal, Len(1)], Decimal(1), "TypeError: "),
        ],
        ids=lambda one: str(one)[:50],
    )
    def test_a_predicate_lets_no_other_exception_out(self, annotation, value, reason):
        """Guarantee 7.2, 7.7: whatever a value makes of it, in the constructor and from plain data."""
        for make in (
            held(annotation),
            lambda value: held(annotation).from_mapping({"value": value}),
        ):
            with pytest.raises(StateError, match=rf"Held.value: .*but testing .* failed: {reason}"):
                make(value=value)

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (Annotated[int, MultipleOf(0)], 1),
            (Annotated[Decimal, Ge(0)], Decimal("NaN")),
            (Annotated[Decimal, Ge(0)], Decimal("sNaN")),
            (Annotated[Decimal, MultipleOf(Decimal(1))], Decimal("1E+9999")),
        ],
        ids=lambda one: str(one)[:50],
    )
    def test_a_number_without_an_answer_does_not_satisfy(self, annotation, value):
        """Guarantee 7.2: NaN is neither above a bound nor below it, and nothing is a multiple of 0."""
        with pytest.raises(StateError, match=r"^Held.value: expected (int|Decimal) .*, given "):
            held(annotation)(value=value)

    def test_an_unknown_predicate_is_refused_at_class_creation(self):
        """Guarantee 7.3: an annotation it cannot check."""

        class Odd(annotated_types.BaseMetadata):
            pass

        with pytest.raises(StateError, match=r"^Held.value: the predicate .*Odd.* is not known"):
            held(Annotated[int, Odd()])

    def test_a_default_has_to_satisfy_it(self):
        """Guarantee 7.5."""
        with pytest.raises(StateError, match=r"Bad.x: expected int > 0, given int 0"):

            class Bad(State):
                x: Annotated[int, Gt(0)] = 0


class TestTypedDicts:
    def test_it_is_kept_as_a_read_only_mapping_with_checked_keys(self, hb):
        """Guarantee 7.3, 7.4."""
        made = held(Address)(value={"street": "a", "number": 1, "extra": ["x"]})
        assert made.value == {"street": "a", "number": 1, "extra": ("x",)}
        assert type(made.value) is hb.FrozenMap
        assert held(Address)(value=made.value).value is made.value
        assert hash(made) == hash(copy.copy(made))

    def test_every_wrong_key_is_named(self):
        """Guarantee 7.2."""
        with pytest.raises(StateError) as caught:
            held(Address)(value={"street": 1, "other": 2, "extra": [3]})
        assert caught.value.problems == (
            ("Held.value['street']", "expected str, given int 1"),
            ("Held.value['other']", "no such key, Address has street, number, extra"),
            ("Held.value['extra'][0]", "expected str, given int 3"),
            ("Held.value['number']", "missing, expected int"),
        )
        with pytest.raises(StateError, match=r"expected Address, given int 1"):
            held(Address)(value=1)

    def test_required_keys_of_one_that_is_not_total(self):
        """Guarantee 7.3."""
        assert held(Loose)(value={"name": "a"}).value == {"name": "a"}
        assert type(held(Loose)(value={"name": "a", "size": 1}).value["size"]) is float
        with pytest.raises(StateError, match=r"Held.value\['name'\]: missing"):
            held(Loose)(value={})

    def test_one_that_contains_itself(self):
        """Guarantee 7.3."""
        leaf = {"name": "a", "children": []}
        made = held(Tree)(value={"name": "b", "children": [leaf, leaf]})
        assert made.value["children"][1]["name"] == "a"
        with pytest.raises(
            StateError, match=r"Held.value\['children'\]\[0\]\['name'\]: expected str"
        ):
            held(Tree)(value={"name": "b", "children": [{"name": 1, "children": []}]})


def nested(levels, wrap):
    value = 1
    for _ in range(levels):
        value = wrap(value)
    return value


def below(frames, call):
    return call() if frames == 0 else below(frames - 1, call)


WRAPS = {
    "arrays": lambda value: [value],
    "objects": lambda value: {"a": value},
    "both": lambda value: {"a": [value]},
}


class TestJsonValue:
    VALUE = {"a": [1, 2.5, {"b": None, "ü": [[], {}, True, "é"]}], "c": "text"}

    def test_every_level_is_frozen(self):
        """Guarantee 7.3, 7.4."""
        made = held(JsonValue)(value=self.VALUE)
        assert made.value == {
            "a": (1, 2.5, {"b": None, "ü": ((), {}, True, "é")}),
            "c": "text",
        }
        assert type(made.value) is FrozenMap
        assert type(made.value["a"][2]) is FrozenMap
        assert hash(made) == hash(made.updated(value=self.VALUE))
        assert held(JsonValue)(value=made.value).value is made.value
        assert copy.deepcopy(made) is made

    @pytest.mark.parametrize("value", [None, True, 0, 1.5, "é", [], {}, VALUE, [[VALUE]]])
    def test_it_reads_back_what_it_writes(self, value):
        """Guarantee 7.7."""
        made = held(JsonValue)(value=value)
        assert made.to_mapping() == {"value": value}
        assert type(made).from_mapping({"value": value}) == made
        assert type(made).from_json(made.to_json()) == made
        assert type(made).json_schema()["$defs"]["Held"]["properties"] == {"value": {}}

    def test_other_values_are_refused_with_the_path(self):
        """Guarantee 7.2."""
        for value, path, reason in (
            (b"x", "", "expected JsonValue, given bytes b'x'"),
            ({"a": [1, {2}]}, "['a'][1]", "expected JsonValue, given set {2}"),
            ([{"a": {1: 2}}], "[0]['a'][1]", "expected str as the key, given int 1"),
            ([Plain(x=1)], "[0]", "expected JsonValue, given Plain Plain(x=1)"),
        ):
            for make in (held(JsonValue), lambda value: held(JsonValue).from_mapping(value)):
                argument = {"value": value}
                with pytest.raises(StateError) as refused:
                    make(**argument) if isinstance(make, type) else make(argument)
                assert refused.value.problems == ((f"Held.value{path}", reason),)

    def test_nan_and_infinity_stay_in_memory(self):
        """Guarantee 7.7."""
        made = held(JsonValue)(value=[float("inf")])
        with pytest.raises(StateError, match=r"^Held.value\[0\]: JSON cannot carry inf$"):
            made.to_json()
        with pytest.raises(StateError, match=r"Held.value\['a'\]: JSON cannot carry inf"):
            type(made).from_json('{"value": {"a": 1e999}}')

    def test_types_derived_from_those_of_json(self):
        """Guarantee 7.3, 7.7: they are kept, and JSON carries their plain form."""
        made = held(JsonValue)(value=[Size.SMALL, Point(1, 2)])
        assert made.value[0] is Size.SMALL
        assert type(made.value[1]) is tuple
        plain = made.to_mapping()["value"]
        assert (plain, type(plain[0])) == ([1, [1, 2]], int)

    @pytest.mark.parametrize("wrap", WRAPS)
    def test_nine_hundred_levels(self, wrap):
        """Guarantee 7.7: a level costs one frame of the stack."""
        cls = held(JsonValue)
        source = nested(450 if wrap == "both" else 900, WRAPS[wrap])

        def there_and_back():
            made = cls(value=source)
            again = cls.from_mapping(made.to_mapping())
            assert made == again == cls.from_json(made.to_json())

        with ThreadPoolExecutor(1) as thread:  # whose stack is empty, unlike that of a test
            thread.submit(below, 60, there_and_back).result()

    def test_deeper_than_the_stack_is_a_refusal(self):
        """Guarantee 7.2, 7.7."""
        circle = []
        circle.append({"a": circle})
        for value in (circle, nested(100_000, WRAPS["arrays"])):
            with pytest.raises(StateError, match=r"^Held.value: nested too deeply, or in a circle"):
                held(JsonValue)(value=value)
            with pytest.raises(StateError, match=r"^Held.value: nested too deeply, or in a circle"):
                held(JsonValue).from_mapping({"value": value})

    def test_it_stands_in_other_annotations(self):
        """Guarantee 7.3."""
        for annotation in (
            JsonValue | None,
            None | JsonValue,
            Optional[JsonValue],  # noqa: UP045
            Annotated[JsonValue, "note"],
        ):
            assert held(annotation)(value=[1]).value == (1,)
        made = held(Mapping[str, JsonValue])(value={"a": [1]})
        assert type(made).from_json(made.to_json()) == made
        assert Box[JsonValue](value={"a": []}).value == {"a": ()}
        assert Box[JsonValue].__name__ == "Box[JsonValue]"

    def test_in_a_union(self):
        """Guarantee 7.7: what JSON carries belongs to it, also where another member is kept in the same type."""
        made = held(JsonValue | Sequence[Plain])
        assert made(value=[Plain(x=1)]).value == (Plain(x=1),)
        with pytest.raises(StateError, match=r"Held.value: .* is fine in memory"):
            made(value=[Plain(x=1)]).to_json()
        made = held(None | int | JsonValue)(value=[1])
        assert type(made).from_json(made.to_json()) == made

    def test_it_has_no_instances(self):
        with pytest.raises(TypeError, match=r"JsonValue is an annotation"):
            JsonValue()


def in_units(datetime_or_timedelta, unit):
    return held(Annotated[datetime_or_timedelta, Epoch(unit)])


class TestEpoch:
    START = datetime(1970, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("unit", "text", "kind"),
        [
            ("s", "1714979289.00001", "number"),
            ("ms", "1714979289000.01", "number"),
            ("us", "1714979289000010", "integer"),
            ("ns", "1714979289000010000", "integer"),
        ],
    )
    def test_json_has_a_number(self, unit, text, kind):
        """Guarantee 7.7."""
        made = in_units(datetime, unit)(value=NOW)
        assert made.to_json() == f'{{"value":{text}}}'
        assert type(made).from_json(made.to_json()) == made
        assert type(made).from_mapping({"value": NOW}) == made
        schema = type(made).json_schema()["$defs"]["Held"]["properties"]["value"]
        assert schema["type"] == kind

    def test_a_whole_number_is_an_integer(self):
        """Guarantee 7.7."""
        cls = in_units(datetime, "s")
        made = cls.from_json('{"value": 1.7e9}')
        assert made.value == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert made.to_json() == '{"value":1700000000}'

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_it_reads_back_what_it_writes(self, unit):
        """Guarantee 7.7: to the microsecond, from 1965 to 2112."""
        classes = {owner: in_units(owner, unit) for owner in (datetime, timedelta)}

        @given(st.integers(-(2**47), 2**52))
        def there_and_back(microseconds):
            span = timedelta(microseconds=microseconds)
            for value in (span, self.START + span):
                made = classes[type(value)](value=value)
                again = type(made).from_json(made.to_json())
                assert again.value == value
                assert getattr(again.value, "tzinfo", UTC) is UTC

        there_and_back()

    def test_near_the_beginning_the_text_is_pythons(self):
        """Guarantee 7.7: with any encoder."""
        made = in_units(timedelta, "s")(value=timedelta(microseconds=-1))
        assert made.to_json() == json.dumps(made.to_mapping(), separators=(",", ":"))

    def test_the_edges_of_time(self):
        """Guarantee 7.7: what no float can tell apart is refused when written."""
        for unit in ("us", "ns"):
            for value in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
                made = in_units(datetime, unit)(value=value)
                assert type(made).from_json(made.to_json()) == made
            for value in (timedelta.min, timedelta.max):
                made = in_units(timedelta, unit)(value=value)
                assert type(made).from_json(made.to_json()) == made
        with pytest.raises(StateError, match=r"Held.value: no float is exactly datetime .*'us'"):
            in_units(datetime, "s")(value=datetime.max.replace(tzinfo=UTC)).to_json()

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    @pytest.mark.parametrize("owner", [datetime, timedelta])
    def test_the_schema_takes_what_it_reads(self, owner, unit):
        """Guarantee 7.7."""
        cls = in_units(owner, unit)
        (schema,) = cls.json_schema()["$defs"]["Held"]["properties"].values()
        least, above = schema["minimum"], schema["exclusiveMaximum"]
        for number, fits in (
            (least, True),
            (least - 1, False),
            (math.nextafter(least, -math.inf), False),
            (above - 1, True),
            (above, False),
            (float(above), False),
            (math.nextafter(above, 0), True),
            (1.5, unit in ("s", "ms")),
            (2.0, True),
            (True, False),
            ("1", False),
            (None, False),
        ):
            assert Draft202012Validator(schema).is_valid(number) is fits, number
            if fits:
                cls.from_mapping({"value": number})
            else:
                with pytest.raises(StateError, match=r"^Held.value: expected .*seconds.* a number"):
                    cls.from_mapping({"value": number})
        for text in ("1e999", "NaN", "1" + "0" * 4000):
            with pytest.raises(StateError):
                cls.from_json(f'{{"value": {text}}}')

    def test_nanoseconds_are_cut_off(self):
        """Guarantee 7.7: Python has none."""
        made = in_units(datetime, "ns").from_json('{"value": 1544712660300000999}')
        assert made.value == datetime(2018, 12, 13, 14, 51, 0, 300000, tzinfo=UTC)

    def test_an_instance_holds_utc(self):
        """Guarantee 7.4: the value that JSON gives back."""
        east = timezone(timedelta(hours=2))
        made = in_units(datetime, "s")(value=NOW.astimezone(east))
        assert (made.value, made.value.tzinfo) == (NOW, UTC)
        for wrong, reason in (
            (NOW.replace(tzinfo=None), "expected datetime with a time zone, given datetime"),
            (datetime.min.replace(tzinfo=east), "expected datetime that UTC has, too, given"),
            (1714979289, "expected datetime, given int 1714979289"),
        ):
            with pytest.raises(StateError, match=f"^Held.value: {reason}"):
                in_units(datetime, "s")(value=wrong)

    def test_with_predicates_and_an_alias(self):
        """Guarantee 7.3."""

        class Event(State):
            at: Annotated[datetime, Epoch("ms"), Ge(NOW), Timezone("UTC"), Alias("timeMs")] = NOW
            ended: Annotated[datetime, Epoch("s")] | None = None

        made = Event.from_json('{"timeMs": 1800000000001}')
        assert made.to_mapping() == {"timeMs": 1800000000001, "ended": None}
        with pytest.raises(StateError, match=r"^Event.at: expected datetime >= "):
            Event.from_json('{"timeMs": 1}')

    def test_in_a_union(self):
        """Guarantee 7.7: JSON tells a number from a text, and not from another number."""
        for annotation, value, plain in (
            (Annotated[datetime, Epoch("us")] | datetime, NOW, 1714979289000010),
            (datetime | Annotated[datetime, Epoch("us")], NOW, "2024-05-06T07:08:09.000010+00:00"),
            (str | Annotated[timedelta, Epoch("us")], timedelta(seconds=1), 1_000_000),
        ):
            made = held(annotation)(value=value)
            assert made.to_mapping() == {"value": plain}
            assert type(made).from_mapping({"value": plain}) == made
        with pytest.raises(StateError, match=r"Held.value: .* is fine in memory"):
            held(Annotated[datetime, Epoch("us")] | int)(value=1).to_json()

    def test_as_a_key(self):
        """Guarantee 7.7: integers are keys in JSON, floats are none."""
        made = held(Mapping[Annotated[datetime, Epoch("us")], int])(value={NOW: 1})
        assert made.to_json() == '{"value":{"1714979289000010":1}}'
        assert type(made).from_json(made.to_json()) == made
        assert type(made).json_schema()
        made = held(Mapping[Annotated[datetime, Epoch("s")], int])(value={NOW: 1})
        for use in (made.to_json, made.json_schema):
            with pytest.raises(StateError, match=r"JSON keys are strings, datetime is none"):
                use()

    def test_it_marks_a_time_itself(self):
        """Guarantee 7.3."""
        for annotation in (str, date, datetime | None, Sequence[datetime]):
            with pytest.raises(StateError, match=r"Held.value: Epoch marks a datetime or a time"):
                in_units(annotation, "s")
        with pytest.raises(TypeError, match=r"takes the unit 's', 'ms', 'us', 'ns', given 'min'"):
            Epoch("min")
        assert Epoch("s") == Epoch("s") != Epoch("ms")
        assert len({Epoch("s"), Epoch("s")}) == 1
        assert repr(Epoch("s")) == "Epoch('s')"


class TestSelf:
    def test_self_is_the_very_class(self):
        """Guarantee 7.3."""

        class Linked(State):
            next: Self | None = None
            others: Sequence[Self] = ()

        class Special(Linked):
            pass

        first = Linked()
        assert Linked(next=first, others=[first]).next is first
        assert Special(next=Special()).next == Special()
        with pytest.raises(StateError, match=r"Special.next: expected Special"):
            Special(next=first)
        with pytest.raises(StateError, match=r"Special.others\[0\]: expected Special"):
            Special(others=[first])


class TestGenerics:
    def test_a_parameterized_class_is_a_class_of_its_own_and_always_the_same(self):
        """Guarantee 1.2, 7.3: events route by exact type."""
        assert Box[int] is Box[int]
        assert isinstance(Box[int], type)
        assert Box[int] is not Box[str]
        assert issubclass(Box[int], Box)
        assert type(Box[int](value=1)) is Box[int]
        assert repr(Box[int](value=1)) == "Box[int](value=1, more=())"
        assert Box[int](value=1) != Box(value=1)
        assert Box[int].__slots__ == ()

    def test_its_fields_are_checked_with_its_arguments(self):
        """Guarantee 7.3."""
        assert Box[float](value=1).value == 1.0
        assert Box[Sequence[int]](value=[1]).value == (1,)
        assert Box[int | None](value=None).value is None
        with pytest.raises(StateError, match=r"^Box\[int\]\.value: expected int, given str 'x'$"):
            Box[int](value="x")
        with pytest.raises(StateError, match=r"^Box\[Sequence\[int\]\]\.value\[0\]: expected int"):
            Box[Sequence[int]](value=["x"])

    def test_it_may_contain_itself(self):
        """Guarantee 7.3."""
        inner = Box[int](value=2)
        assert Box[int](value=1, more=[inner]).more == (inner,)
        assert Node[int](value=1, next=Node[int](value=2)).next.value == 2
        with pytest.raises(
            StateError, match=r"Box\[int\].more\[0\]: expected Box\[int\], given Box\[s"
        ):
            Box[int](value=1, more=[Box[str](value="x")])

    def test_without_arguments_the_bound_is_all_that_is_known(self):
        """Guarantee 7.3."""

        class Bounded(State, Generic[Number]):
            value: Number

        assert Box(value="x", more=[Box[int](value=1)]).value == "x"
        assert Bounded(value=1).value == 1.0
        with pytest.raises(StateError, match=r"Bounded.value: expected float, given str"):
            Bounded(value="x")
        assert Box[Any] is Box

    def test_arguments_outside_of_a_bound_are_refused(self):
        """Guarantee 7.3: class-level errors at class creation."""

        class Bounded(State, Generic[Number, Text]):
            value: Number
            text: Text

        assert Bounded[float, str](value=1, text="a").text == "a"
        with pytest.raises(
            StateError, match=r"^Bounded\[str, str\]: Number is at most float, given str"
        ):
            Bounded[str, str]
        with pytest.raises(
            StateError, match=r"^Bounded\[float, int\]: Text is one of str, bytes, given"
        ):
            Bounded[float, int]

    @pytest.mark.parametrize("arguments", [(int, str), ()])
    def test_a_wrong_number_of_arguments_is_refused(self, arguments):
        """Guarantee 7.3."""
        with pytest.raises(StateError, match=r"Box takes the type arguments T, given"):
            Box[arguments]

    def test_arguments_that_cannot_be_checked_are_refused(self):
        """Guarantee 7.3."""
        for _ in range(2):
            with pytest.raises(
                StateError, match=r"^Box\[list\[int\]\].value: list\[int\] can be chan"
            ):
                Box[list[int]]
        with pytest.raises(StateError, match=r"^Plain has no type parameters, given int"):
            Plain[int]
        with pytest.raises(StateError, match=r"have to be hashable"):
            Box[Annotated[int, []]]

    def test_generic_bases_become_what_the_class_is_given(self):
        """Guarantee 7.3: inheritance."""
        pair = Pair[int, str](value=1, other="x")
        assert isinstance(pair, Box[int])
        assert isinstance(pair, Pair)
        assert repr(pair) == "Pair[int, str](value=1, more=(), other='x')"
        with pytest.raises(StateError) as caught:
            Pair[int, str](value="x", other=1)
        assert len(caught.value.problems) == 2
        assert Both[str](value="a", other=1).other == 1
        with pytest.raises(StateError, match=r"Both\[str\].other: expected int"):
            Both[str](value="a", other="b")
        assert isinstance(Both[str](value="a", other=1), Pair[str, int])

    def test_a_class_may_derive_from_a_parameterized_one(self):
        """Guarantee 7.3."""

        class Named(Box[int]):
            name: str

        with pytest.raises(StateError, match=r"Named.value: expected int"):
            Named(value="x", name="a")
        assert isinstance(Named(value=1, name="a"), Box[int])

    def test_partial_arguments_are_completed_later(self):
        """Guarantee 7.3."""
        partial = Pair[int, V]
        assert partial[str] is Pair[int, str]
        with pytest.raises(StateError, match=r"Pair\[int, V\].value: expected int"):
            partial(value="x", other=1)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_instances_and_classes_pickle(self, protocol):
        """Guarantee 7.1: Box[int] has no name to be found by."""
        value = Pair[int, Sequence[str]](value=1, other=["x"])
        again = pickle.loads(pickle.dumps(value, protocol))
        assert again == value
        assert type(again) is Pair[int, Sequence[str]]
        assert pickle.loads(pickle.dumps(Box[int | None], protocol)) is Box[int | None]
        assert pickle.loads(pickle.dumps(Plain, protocol)) is Plain

    def test_a_generic_annotation_is_checked_by_its_class(self):
        """Guarantee 7.3."""

        class Holder(State):
            box: Box[int]
            any: Box[Any] | None = None

        assert Holder(box=Box[int](value=1), any=Box[str](value="x")).any.value == "x"
        with pytest.raises(StateError, match=r"Holder.box: expected Box\[int\], given Box Box"):
            Holder(box=Box(value=1))

    def test_defaults_that_do_not_fit_the_arguments_are_refused(self):
        """Guarantee 7.5."""

        class Counted(State, Generic[T]):
            value: T = 0

        assert Counted[int]().value == 0
        with pytest.raises(StateError, match=r"Counted\[str\].value: expected str, given int 0"):
            Counted[str]

    def test_copies_keep_the_class(self):
        """Guarantee 7.1."""
        value = Box[Any](value=[1])
        assert type(copy.deepcopy(value)) is Box
        assert type(Box[int](value=1).updated(value=2)) is Box[int]


since_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are of 3.12")


@since_312
class TestTypeParameters:
    def run(self, text):
        names = {"State": State, "Sequence": Sequence, "Mapping": Mapping, "__name__": __name__}
        exec(text, names)
        return names

    def test_generic_classes(self):
        """Guarantee 7.3: `class Box[T](State)`."""
        names = self.run(
            "class Cell[T](State):\n    value: T\n    more: Sequence['Cell[T]'] = ()\n"
            "class Row[K, V](Cell[K]):\n    other: V\n"
        )
        cell, row = names["Cell"], names["Row"]
        assert cell[int] is cell[int]
        assert cell[int](value=1, more=[cell[int](value=2)]).more[0].value == 2
        with pytest.raises(StateError, match=r"Row\[int, str\].value: expected int"):
            row[int, str](value="x", other="y")
        assert isinstance(row[int, str](value=1, other="y"), cell[int])

    def test_with_annotations_as_text(self):
        """Guarantee 7.3."""
        names = self.run(
            "from __future__ import annotations\n"
            "class Cell[T](State):\n    value: T\n    more: Sequence[Cell[T]] = ()\n"
        )
        cell = names["Cell"]
        with pytest.raises(StateError, match=r"Cell\[int\].value: expected int"):
            cell[int](value="x")

    def test_type_aliases(self):
        """Guarantee 7.3: also one that contains itself."""
        names = self.run(
            "type Names = Sequence[str]\n"
            "type Json = None | bool | float | str | Sequence[Json] | Mapping[str, Json]\n"
            "type Many[T] = Sequence[T]\n"
            "class Held(State):\n    names: Names\n    json: Json = None\n"
            "    many: Many[int] = ()\n"
        )
        made = names["Held"](names=["a"], json={"a": [1, None, {"b": "c"}]}, many=[1])
        assert made.names == ("a",)
        assert made.json["a"][2] == {"b": "c"}
        with pytest.raises(StateError, match=r"Held.json"):
            names["Held"](names=[], json={"a": [object()]})
        with pytest.raises(StateError, match=r"Held.many\[0\]: expected int"):
            names["Held"](names=[], many=["x"])
        assert names["Held"].from_json(made.to_json()) == made
        assert names["Held"].json_schema()["$defs"]["Json"]["anyOf"]
        with pytest.raises(StateError, match=r"Bad.x: Itself stands for nothing but itself"):
            self.run("type Itself = Itself\nclass Bad(State):\n    x: Itself\n")

    def test_generic_type_aliases(self):
        """Guarantee 7.3."""
        names = self.run(
            "type Same[T] = T\ntype Maybe[T] = T | None\n"
            "class Held(State):\n    same: Same[int]\n    maybe: Maybe[Same[str]] = None\n"
        )
        assert names["Held"](same=1, maybe="x").maybe == "x"
        with pytest.raises(StateError) as caught:
            names["Held"](same="x", maybe=1)
        assert len(caught.value.problems) == 2


class TestLateNames:
    def test_a_class_may_name_itself(self):
        """Guarantee 7.3."""

        class Leaf(State):
            parent: "Leaf | None" = None
            children: Sequence["Leaf"] = ()
            table: Mapping[str, "AbstractSet[Leaf]"] = Default(factory=dict)

        leaf = Leaf()
        assert Leaf(parent=leaf, children=[leaf], table={"a": {leaf}}).table["a"] == {leaf}

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated at once")
    def test_without_quotes_where_python_evaluates_late(self):
        """Guarantee 7.3: also names of an enclosing function, defined after the class."""

        class Early(State):
            late: Late | None = None  # noqa: F821
            lates: Sequence[Late] = ()  # noqa: F821
            own: Early | None = None  # noqa: F821

        with pytest.raises(StateError, match=r"Early.late: its annotation names Late"):
            Early(late=3)

        class Late(State):
            x: int

        assert Early(late=Late(x=1), lates=[Late(x=2)], own=Early()).lates[0].x == 2
        with pytest.raises(StateError, match=r"Early.late: expected Late \| None, given int 3"):
            Early(late=3)


LATE = "class Late(State):\n    x: int\n"

EARLY = {
    "an alias": ("type A = Sequence[Late]", "A", "[late]", "[1]"),
    "a name in the place of a class": ("type A = Late", "A | None", "late", "1"),
    "an alias of an alias": (
        "type A = B | None\ntype B = Sequence[Late]",
        "Mapping[str, Annotated[A, 'note']]",
        "{'a': [late], 'b': None}",
        "{'a': [1]}",
    ),
    "an alias with a parameter": (
        "type A[T] = tuple[T, Late]",
        "A[int]",
        "(1, late)",
        "('', late)",
    ),
    "one as text": ("type A[T] = 'tuple[T, Late]'", "A[int]", "(1, late)", "('', late)"),
    "one that contains itself": (
        "type A[T] = T | Sequence[A[T]] | Late",
        "A[int]",
        "[1, [late]]",
        "['']",
    ),
    "the class of an alias": ("type A = Late | int", "type[A]", "Late", "str"),
    "a NewType": ("A = NewType('B', NewType('A', 'Late'))", "A", "late", "1"),
    "a bound as text": ("A = TypeVar('A', bound='Late')", "A", "late", "1"),
    "constraints as text": ("A = TypeVar('A', 'Late', int)", "type[A]", "Late", "str"),
    "an entry of a TypedDict": (
        "class A(TypedDict):\n    late: 'Sequence[B]'\ntype B = Late",
        "A",
        "{'late': [late]}",
        "{'late': [1]}",
    ),
}


@since_312
class TestLateAliases:
    @pytest.fixture(autouse=True)
    def _module(self, monkeypatch):
        self.module = ModuleType("late_names")
        monkeypatch.setitem(sys.modules, "late_names", self.module)

    def run(self, text):
        names = vars(self.module)
        names.update(globals() | {"__name__": "late_names"})
        exec(text, names)
        return names

    @pytest.mark.parametrize("name", EARLY)
    def test_a_class_is_pending_until_the_name_exists(self, name):
        """Guarantee 7.3: names that are defined later, behind any other name."""
        statement, annotation, good, bad = EARLY[name]
        early = f"{statement}\nclass Early(State):\n    field: {annotation}\n"
        names = self.run(early)
        for use in (names["Early"], names["Early"].json_schema):
            with pytest.raises(
                StateError, match=r"^Early.field: its annotation names .*Late.*, wh"
            ):
                use()
        names = self.run(early + LATE)
        names["late"] = names["Late"](x=1)
        assert names["Early"](field=eval(good, names)) == names["Early"](field=eval(good, names))
        with pytest.raises(StateError, match=r"^Early.field"):
            names["Early"](field=eval(bad, names))

    def test_two_classes_name_each_other(self):
        """Guarantee 7.3, 7.7."""
        names = self.run(
            "type ToA = A | None\ntype ToB = Sequence[B]\n"
            "class A(State):\n    b: ToB = ()\n"
            "class B(State):\n    a: ToA = None\n"
        )
        made = names["A"](b=[names["B"](a=names["A"]())])
        assert names["A"].from_json(made.to_json()) == made

    def test_a_module_that_is_still_being_imported(self):
        """Guarantee 7.3: a circular import."""
        module = vars(self.module)["module"] = ModuleType("half_imported")
        names = self.run(
            "type Far = Sequence[module.Late]\nclass Early(State):\n    far: Far = ()\n",
        )
        with pytest.raises(
            StateError, match=r"Early.far: its annotation names Late \(module 'half"
        ):
            names["Early"]()
        module.Late = Plain
        assert names["Early"](far=[Plain(x=1)]).far[0].x == 1

    def test_bounds_and_constraints(self):
        """Guarantee 7.3: the arguments are tested as soon as they can be."""
        early = (
            "class Bound[T: Late](State):\n    field: T\n"
            "class Text[T: 'Late'](State):\n    field: T | None = None\n"
            "class Choice[T: (Late, int)](State):\n    field: type[T]\n"
            "class Uses(State):\n    bound: Bound[int] | None = None\n"
        )
        names = self.run(early)
        for use in (names["Bound"], names["Bound"][int], names["Text"], names["Choice"][int]):
            with pytest.raises(StateError, match=r"names Late, which does not exist"):
                use(field=None)
        names = self.run(early + LATE)
        late, bound, text, choice = (names[n] for n in ("Late", "Bound", "Text", "Choice"))
        assert bound[late](field=late(x=1)).field == bound(field=late(x=1)).field
        assert text[late]().field is None
        assert choice[int](field=int).field is choice(field=int).field
        for refused, reason in (
            (lambda: bound(field=1), r"Bound.field: expected Late, given int 1"),
            (lambda: text(field=1), r"Text.field: expected T . None, given int 1"),
            (lambda: choice(field=str), r"Choice.field: expected type\[T\], given the class str"),
            (lambda: bound[int](field=1), r"^Bound\[int\]: T is at most Late, given int$"),
            (lambda: text[int], r"^Text\[int\]: T is at most Late, given int$"),
            (lambda: choice[str], r"^Choice\[str\]: T is one of Late, int, given str$"),
        ):
            with pytest.raises(StateError, match=reason):
                refused()

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="defaults of type variables are of 3.13")
    def test_defaults_of_type_variables(self):
        """Guarantee 7.3."""
        early = "class Box[K, T: int = Late](State):\n    key: K\n    value: T\n"
        names = self.run(early)
        with pytest.raises(
            StateError, match=r"^Box\[str\]: the default of T names Late, which does not exist"
        ):
            names["Box"][str]
        names = self.run(early + "class Late(int):\n    pass\n")
        assert names["Box"][str] is names["Box"][str, names["Late"]]
        del names["Late"]  # of the module, whose names the next class sees at its statement
        with pytest.raises(StateError, match=r"^Box: T is at most int, given Late"):
            self.run(early + LATE)["Box"][str]

    def test_names_that_never_end(self):
        """Guarantee 7.3: an annotation that cannot be checked."""
        for statement, annotation in (
            ("type A[T] = T | Sequence[A[Sequence[T]]]", "A[int]"),
            ("type A = B\ntype B = A", "type[A]"),
        ):
            with pytest.raises(
                StateError, match=r"^Early.x: .* cannot be checked: its names never"
            ):
                self.run(f"{statement}\nclass Early(State):\n    x: {annotation}\n")


def test_a_local_name_behind_a_local_name():
    """Guarantee 7.3: in a function the class sees what was there before it."""

    class Inner(State):
        x: int

    kept = NewType("kept", "Sequence[Inner]")  # read by name alone, below

    class Early(State):
        many: "kept | None" = None

    assert Early(many=[Inner(x=1)]).many[0].x == 1


def test_an_alias_of_typing_extensions():
    """Guarantee 7.3: on any Python, also in a function, whose names are in no module."""
    extensions = pytest.importorskip("typing_extensions")
    alias = extensions.TypeAliasType("alias", "Sequence[Early] | Sequence[Plain]")
    pair = extensions.TypeAliasType("pair", "tuple[T, Early]", type_params=(T,))

    class Early(State):
        many: alias = ()
        two: pair[int] | None = None

    made = Early(many=[Early(), Early()], two=(1, Early()))
    assert made.two[1] == made.many[0]
    with pytest.raises(StateError, match=r"Early.two\[0\]: expected int, given str"):
        Early(two=("", Early()))
