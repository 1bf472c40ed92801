"""State: its mapping and JSON form, and the schema of it. Guarantee 7.7."""

from __future__ import annotations

import json
import pathlib
import uuid
from collections import OrderedDict, UserDict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from types import MappingProxyType
from typing import Annotated, Any, Generic, Literal, NewType, NotRequired, TypedDict, TypeVar

import annotated_types
import pytest

from haiway_bus._state import Alias, Default, FrozenMap, State, StateError

T = TypeVar("T")
UserId = NewType("UserId", str)


class Color(Enum):
    RED = "red"
    NONE = None
    ONE = 1


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Right(Flag):
    READ = 1
    WRITE = 2


class Named(str, Enum):  # noqa: UP042 - the older way, whose str() is the name
    RED = "red"


class Odd(Enum):
    PAIR = (1, 2)


class NotATime(datetime):
    """As pandas' NaT, which is an instance of datetime."""

    def isoformat(self, *_):
        return "NaT"


class Address(TypedDict):
    street: str
    extra: NotRequired[Sequence[date]]


def define():
    global Item, Order, Cat, Dog, Tree, Box

    class Item(State):
        name: str
        price: Decimal

    class Order(State):
        user_id: Annotated[UserId, Alias("userId")]
        items: Sequence[Item] = ()
        at: datetime | None = None

    class Cat(State):
        kind: Literal["cat"] = "cat"
        lives: int = 9

    class Dog(State):
        kind: Literal["dog"] = "dog"
        name: str

    class Tree(State):
        name: str
        children: Sequence[Tree] = ()

    class Box(State, Generic[T]):
        value: T


@pytest.fixture(autouse=True)
def package(hb):
    names = ("State", "Default", "StateError", "Alias", "FrozenMap")
    globals().update({name: getattr(hb, name) for name in names})
    define()


def held(annotation):
    return type(State)("Held", (State,), {"__annotations__": {"value": annotation}})


def property_of(annotation):
    return held(annotation).json_schema()["$defs"]["Held"]["properties"]["value"]


def carried(instance):
    """The instance after a way through each plain form, which its own schema must allow."""
    cls = type(instance)
    text = instance.to_json()
    mapping = instance.to_mapping()
    assert json.loads(text) == mapping
    assert cls.from_json(text) == instance
    assert cls.from_json(text.encode()) == instance
    assert cls.from_mapping(mapping) == instance
    assert json.loads(instance.to_json(indent=2)) == mapping
    try:
        from jsonschema import Draft202012Validator
    except ImportError:
        return cls.from_json(text)
    schema = cls.json_schema()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(mapping)
    return cls.from_json(text)


DECIMAL = {
    "type": "string",
    "pattern": r"^(?:[+-]?(?:[0-9]{1,1000}(?:\.[0-9]{0,1000})?|\.[0-9]{1,1000})(?:[Ee][+-]?[0-9]{1,4})?)$",
    "not": {"pattern": r"\n"},
}

NOW = datetime(2024, 5, 6, 7, 8, 9, 10, tzinfo=timezone(timedelta(hours=5, minutes=30)))

CARRIED = {
    "none": lambda: (None, None, None),
    "bool": lambda: (bool, True, True),
    "int": lambda: (int, 10**30, 10**30),
    "float": lambda: (float, 1.5, 1.5),
    "str": lambda: (str, 'ä"\n', 'ä"\n'),
    "bytes": lambda: (bytes, b"\x00\xff", "AP8="),
    "any": lambda: (Any, {"a": [1, None, "x", 1.5, True]}, {"a": [1, None, "x", 1.5, True]}),
    "datetime": lambda: (datetime, NOW, "2024-05-06T07:08:09.000010+05:30"),
    "naive": lambda: (datetime, NOW.replace(tzinfo=None), "2024-05-06T07:08:09.000010"),
    "date": lambda: (date, NOW.date(), "2024-05-06"),
    "time": lambda: (time, NOW.timetz(), "07:08:09.000010+05:30"),
    "duration": lambda: (timedelta, timedelta(1, 3723, 5), "P1DT1H2M3.000005S"),
    "negative duration": lambda: (timedelta, -timedelta(1, 3723, 5), "-P1DT1H2M3.000005S"),
    "days": lambda: (timedelta, timedelta(3), "P3D"),
    "longest": lambda: (timedelta, timedelta.max, "P999999999DT23H59M59.999999S"),
    "almost most negative": lambda: (
        timedelta,
        timedelta.min + timedelta.resolution,
        "-P999999998DT23H59M59.999999S",
    ),
    "most negative": lambda: (timedelta, timedelta.min, "-P999999999D"),
    "uuid": lambda: (uuid.UUID, uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    "decimal": lambda: (Decimal, Decimal("1.50"), "1.50"),
    "path": lambda: (pathlib.Path, pathlib.Path("/a/b"), str(pathlib.Path("/a/b"))),
    "enum": lambda: (Color, Color.RED, "red"),
    "enum of none": lambda: (Color, Color.NONE, None),
    "intenum": lambda: (Size, Size.LARGE, 2),
    "flag": lambda: (Right, Right.READ | Right.WRITE, 3),
    "literal": lambda: (Literal["a", 1, True] | None, True, True),
    "literal of enum": lambda: (Literal[Color.RED, Color.ONE], Color.RED, "red"),
    "newtype": lambda: (UserId, UserId("a"), "a"),
    "optional": lambda: (int | None, None, None),
    "union of numbers": lambda: (float | int, 1, 1),
    "union with dates": lambda: (date | datetime, NOW, NOW.isoformat()),
    "union of states": lambda: (Cat | Dog, Dog(name="a"), {"kind": "dog", "name": "a"}),
    "sequence": lambda: (Sequence[date], (NOW.date(),), ["2024-05-06"]),
    "set": lambda: (AbstractSet[int], frozenset({2, 1}), [1, 2]),
    "frozenset": lambda: (frozenset[str], frozenset({"a"}), ["a"]),
    "mapping": lambda: (Mapping[str, int], FrozenMap({"a": 1}), {"a": 1}),
    "mapping by uuid": lambda: (
        Mapping[uuid.UUID, int],
        FrozenMap({uuid.UUID(int=1): 1}),
        {"00000000-0000-0000-0000-000000000001": 1},
    ),
    "mapping by int": lambda: (Mapping[int, str], FrozenMap({-1: "a"}), {"-1": "a"}),
    "mapping by literal": lambda: (Mapping[Literal["a", "b"], int], FrozenMap({"a": 1}), {"a": 1}),
    "mapping by text": lambda: (
        Mapping[Annotated[str, annotated_types.MinLen(1)], int],
        FrozenMap({"a": 1}),
        {"a": 1},
    ),
    "tuple": lambda: (tuple[int, date], (1, NOW.date()), [1, "2024-05-06"]),
    "long tuple": lambda: (tuple[int, ...], (1, 2), [1, 2]),
    "empty tuple": lambda: (tuple[()], (), []),
    "tuple with a middle": lambda: (tuple[int, *tuple[str, ...], int], (1, "a", 2), [1, "a", 2]),
    "state": lambda: (Cat, Cat(lives=3), {"kind": "cat", "lives": 3}),
    "generic": lambda: (Box[date], Box[date](value=NOW.date()), {"value": "2024-05-06"}),
    "typeddict": lambda: (
        Address,
        FrozenMap({"street": "a", "extra": (NOW.date(),)}),
        {"street": "a", "extra": ["2024-05-06"]},
    ),
    "constrained": lambda: (Annotated[int, annotated_types.Interval(gt=0, lt=5)], 3, 3),
    "constrained text": lambda: (Annotated[str, annotated_types.Len(1, 3)], "ab", "ab"),
    "nested": lambda: (
        Mapping[str, Sequence[Cat | None]],
        FrozenMap({"a": (None, Cat())}),
        {"a": [None, {"kind": "cat", "lives": 9}]},
    ),
}


class TestRoundTrip:
    @pytest.mark.parametrize("name", CARRIED)
    def test_every_annotation_comes_back_equal_and_of_the_same_type(self, name):
        """Guarantee 7.7: and its plain form is the one promised, allowed by its schema."""
        annotation, value, plain = CARRIED[name]()
        instance = held(annotation)(value=value)
        assert instance.to_mapping() == {"value": plain}
        again = carried(instance)
        assert type(again.value) is type(value)

    def test_nested_states_aliases_and_defaults(self):
        """Guarantee 7.7."""
        order = Order(user_id="u", items=[Item(name="a", price=Decimal("1.10"))], at=NOW)
        assert order.to_json() == (
            '{"userId":"u","items":[{"name":"a","price":"1.10"}],'
            '"at":"2024-05-06T07:08:09.000010+05:30"}'
        )
        assert carried(order) == order
        assert Order.from_mapping({"userId": "u"}) == Order(user_id="u")

    def test_a_tree(self):
        """Guarantee 7.7."""
        carried(
            Tree(name="a", children=[Tree(name="b"), Tree(name="c", children=[Tree(name="d")])])
        )

    def test_a_generic_state(self):
        """Guarantee 7.7."""
        assert carried(Box[Box[int]](value=Box[int](value=1))).value.value == 1

    def test_values_that_fit_already_are_taken(self):
        """Guarantee 7.7: plain data need not be JSON's."""
        item = Item(name="a", price=Decimal(1))
        made = Order.from_mapping({"userId": "u", "items": (item, {"name": "b", "price": "2"})})
        assert made.items[0] is item
        assert held(datetime).from_mapping({"value": NOW}).value is NOW
        assert held(AbstractSet[int]).from_mapping({"value": {1}}).value == {1}
        assert held(Mapping[date, int]).from_mapping({"value": {NOW.date(): 1}}).value

    def test_an_int_is_read_for_a_float(self):
        """Guarantee 7.3, 7.7."""
        assert type(held(float).from_json('{"value": 1}').value) is float

    def test_the_order_of_a_set_does_not_change_its_json(self):
        """Guarantee 7.7."""
        made = held(AbstractSet[str])
        texts = {made(value=set(order)).to_json() for order in ("abcd", "dcba", "bdac")}
        assert texts == {'{"value":["a","b","c","d"]}'}

    def test_text_that_is_a_member_of_an_enum_is_its_text(self):
        """Guarantee 7.7."""
        assert held(str)(value=Named.RED).to_mapping() == {"value": "red"}
        assert held(int)(value=Size.LARGE).to_json() == '{"value":2}'

    def test_unions_are_tried_in_the_order_written(self):
        """Guarantee 7.3: in a defined order."""
        assert held(date | datetime).from_mapping({"value": NOW.isoformat()}).value == NOW
        assert type(held(float | int).from_mapping({"value": 1}).value) is int
        assert type(held(float | str).from_mapping({"value": 1}).value) is float
        assert held(Size | None).from_mapping({"value": None}).value is None
        assert held(uuid.UUID | int).from_mapping({"value": 3}).value == 3

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("P1W", timedelta(weeks=1)),
            ("PT1H", timedelta(hours=1)),
            ("PT0.5S", timedelta(seconds=0.5)),
            ("+PT1,25S", timedelta(seconds=1.25)),
            ("P2DT3M", timedelta(days=2, minutes=3)),
        ],
    )
    def test_durations_are_read_in_other_notations(self, text, value):
        """Guarantee 7.7: ISO 8601."""
        assert held(timedelta).from_mapping({"value": text}).value == value


class TestRefusals:
    def test_every_wrong_place_is_named_with_its_path(self):
        """Guarantee 7.7."""

        class Batch(State):
            order: Order
            note: str

        items = [{"name": "a", "price": "1"}] * 3 + [{"name": 1, "price": "x", "more": 2}]
        with pytest.raises(StateError) as caught:
            Batch.from_mapping({"order": {"items": items}, "extra": 1})
        assert caught.value.problems == (
            ("Batch.order.user_id", "missing, expected str under the key 'userId'"),
            ("Batch.order.items[3].name", "expected str, given int 1"),
            ("Batch.order.items[3].price", "expected Decimal, given str 'x'"),
            ("Batch.order.items[3]['more']", "no such key, the keys are: name, price"),
            ("Batch.note", "missing, expected str"),
            ("Batch['extra']", "no such key, the keys are: order, note"),
        )

    def test_the_name_of_an_aliased_field_is_no_key(self):
        """Guarantee 7.7."""
        with pytest.raises(StateError, match=r"Order\['user_id'\]: no such key"):
            Order.from_mapping({"user_id": "u"})

    def test_unknown_keys_are_ignored_if_the_class_says_so(self):
        """Guarantee 7.7: a class option, inherited, and not for the constructor."""

        class Lenient(State, unknown="ignore"):
            x: int = 1

        class Derived(Lenient):
            pass

        class Strict(Derived, unknown="refuse"):
            pass

        assert Lenient.from_mapping({"x": 2, "y": 3}) == Lenient(x=2)
        assert Derived.from_json('{"y": 3}') == Derived()
        assert Lenient.json_schema()["$defs"]["Lenient"]["additionalProperties"] is True
        with pytest.raises(StateError, match=r"Strict\['y'\]: no such key"):
            Strict.from_mapping({"y": 3})
        with pytest.raises(StateError, match=r"Lenient.y: no such field"):
            Lenient(y=3)

    @pytest.mark.parametrize(
        ("annotation", "plain"),
        [
            (int, 1.5),
            (int, True),
            (int, "1"),
            (bool, 1),
            (str, 1),
            (float, "1"),
            (float, float("inf")),
            (bytes, "a"),
            (bytes, "ä"),
            (datetime, "yesterday"),
            (datetime, 0),
            (date, "2024-05-06T00:00:00"),
            (date, "2024-13-01"),
            (time, "25:00"),
            (timedelta, "P"),
            (timedelta, "PT"),
            (timedelta, "P1Y"),
            (timedelta, "P1DT"),
            (timedelta, "P99999999999D"),
            (timedelta, 5),
            (uuid.UUID, "x"),
            (uuid.UUID, 1),
            (Decimal, "x"),
            (Decimal, 1.5),
            (Color, "green"),
            (Color, 1.5),
            (Color, True),
            (Color, []),
            (Literal[1], True),
            (Literal[1], [1]),
            (Sequence[int], "12"),
            (Sequence[int], {"a": 1}),
            (AbstractSet[int], {"a": 1}),
            (Mapping[str, int], [1]),
            (Mapping[int, int], {"x": 1}),
            (tuple[int, int], [1]),
            (tuple[int, int], "12"),
            (int | None, "x"),
            (Annotated[int, annotated_types.Gt(0)], 0),
        ],
        ids=str,
    )
    def test_plain_data_that_does_not_fit(self, annotation, plain):
        """Guarantee 7.7."""
        with pytest.raises(StateError, match=r"^Held\.value"):
            held(annotation).from_mapping({"value": plain})

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[]",
            "1",
            "null",
            '"x"',
            '{"value": NaN}',
            '{"value": Infinity}',
            '{"value": 1e999}',
            '{"value": "x"} x',
            b"\xff\xfe\x00",
            b"\x80",
            "[" * 100_000,
            '{"value": ' + "1" * 5000 + "}",
        ],
        ids=lambda text: repr(text[:12]),
    )
    def test_text_that_is_no_json_of_the_class(self, text):
        """Guarantee 7.7: one kind of error, whatever is wrong with the text."""
        with pytest.raises(StateError, match=r"^Held"):
            held(float).from_json(text)

    @pytest.mark.parametrize("mapping", [None, 1, [], [("value", 1)], "value"])
    def test_what_is_no_mapping(self, mapping):
        """Guarantee 7.7."""
        with pytest.raises(StateError, match=r"^Held: expected a mapping, given"):
            held(int).from_mapping(mapping)

    def test_keys_that_are_no_text(self):
        """Guarantee 7.7."""
        with pytest.raises(StateError, match=r"Held\[1\]: no such key"):
            held(int).from_mapping({"value": 1, 1: 2})

    def test_two_keys_that_are_one(self):
        """Guarantee 7.7: nothing is lost without a word."""
        with pytest.raises(
            StateError, match=r"Held.value\['1.0'\]: key: Decimal Decimal\('1.0'\) stands twice"
        ):
            held(Mapping[Decimal, int]).from_mapping({"value": {"1": 1, "1.0": 2}})

    def test_values_that_json_cannot_carry_are_named(self):
        """Guarantee 7.7."""
        cases = [
            (float, float("nan")),
            (Callable[[], Any], len),
            (type[int], int),
            (complex, 1j),
            (Any, {"a": [object()]}),
            (Any, {1: 2}),
            (Any, float("inf")),
            (Decimal, Decimal("NaN")),
            (Decimal, Decimal("sNaN")),
            (Decimal, Decimal("-Infinity")),
            (Decimal, Decimal("1E+10000")),
            (Decimal, Decimal("1" * 1001)),
            (Sequence[Decimal], [Decimal("NaN")]),
            (Mapping[Decimal, int], {Decimal("NaN"): 1}),
            (datetime, NotATime(1, 1, 1)),
            (Odd, Odd.PAIR),
            (timezone, UTC),
            (Mapping[float, int], {1.5: 1}),
            (Mapping[tuple[int, int], int], {(1, 2): 1}),
        ]
        for annotation, value in cases:
            with pytest.raises(StateError, match=r"^Held\.value.*: JSON"):
                held(annotation)(value=value).to_mapping()

    def test_what_may_be_none_is_refused_in_the_words_of_the_value(self):
        """Guarantee 7.7: in the same words on both backends, within containers too."""
        for annotation, plain, reason in (
            (Sequence[Cat | None], [False], "[0]: expected Cat, given bool False"),
            (Sequence[Sequence[int] | None], [5], "[0]: expected Sequence[int], given int 5"),
            (Sequence[uuid.UUID | None], [5], "[0]: expected UUID, given int 5"),
            (Mapping[str, Cat | None], {"k": 5}, "['k']: expected Cat, given int 5"),
            (Cat | None, False, ": expected Cat, given bool False"),
        ):
            with pytest.raises(StateError) as caught:
                held(annotation).from_mapping({"value": plain})
            assert str(caught.value) == f"Held.value{reason}"

    def test_an_instance_of_a_derived_class_would_lose_its_class(self):
        """Guarantee 7.7: nothing is lost without a word."""

        class Kitten(Cat):
            pass

        with pytest.raises(StateError, match=r"Held.value: JSON would lose the class of Kitten"):
            held(Cat)(value=Kitten()).to_mapping()
        with pytest.raises(StateError, match=r"Held.value: Kitten | Cat is fine in memory, but"):
            held(Kitten | Cat)(value=Kitten()).to_mapping()

    @pytest.mark.parametrize("unknown", ["refuse", "ignore", "keep"])
    def test_members_with_a_required_key_of_their_own_are_told_apart_by_it(self, unknown):
        """Guarantee 7.7: unless a member writes back keys that it kept, which may be those of the other."""

        class Text(State, unknown=unknown):
            text: str

        class Number(State, unknown=unknown):
            number: int

        class Both(State, unknown=unknown):
            text: str = ""
            number: int

        if unknown == "keep":
            with pytest.raises(StateError, match=r"Held.value: Text | Number is fine in memory"):
                held(Text | Number).from_mapping({"value": {"text": "a"}})
            return
        for value in (Text(text="a"), Number(number=1)):
            assert (
                held(Text | Number).from_json(held(Text | Number)(value=value).to_json()).value
                == value
            )
        if unknown == "ignore":
            with pytest.raises(StateError, match=r"Held.value: Number | Both is fine in memory"):
                held(Number | Both).from_mapping({"value": {"number": 1}})
        else:
            held(Number | Both).from_mapping({"value": {"number": 1}})

    def test_the_error_is_about_the_only_member_whose_required_keys_are_there(self):
        """Guarantee 7.7: the path of a refusal leads to what is wrong."""

        class Text(State):
            text: str

        class Number(State):
            number: int

            def __validate__(self):
                if self.number < 0:
                    raise ValueError("below zero")

        class Many(State):
            many: Sequence[Text | Number | Many]

        deep = {"many": [{"text": "a"}, {"many": [{"number": "7"}]}]}
        for plain, error in (
            ({"number": "7"}, r"Held\.value\.number: expected int, given str '7'"),
            ({"number": 7, "x": 1}, r"Held\.value\['x'\]: no such key"),
            ({"number": -7}, r"Held\.value: below zero"),
            (deep, r"Held\.value\.many\[1\]\.many\[0\]\.number: expected int, given str '7'"),
            (
                {"number": 7, "text": "a"},
                r"Held\.value: expected Text \| Number \| Many, given dict",
            ),
            ({}, r"Held\.value: expected Text \| Number \| Many, given dict"),
        ):
            with pytest.raises(StateError, match=f"^{error}"):
                held(Text | Number | Many).from_mapping({"value": plain})
        with pytest.raises(StateError, match=r"^Held\.value: expected Text | Number, given dict"):
            held(Text | Number)(value={"number": "7"})

    def test_an_error_of_what_a_default_factory_calls_is_left_as_it_is(self):
        """Guarantee 7.5."""

        class Made(State):
            cat: Cat = Default(factory=lambda: Cat(lives="x"))

        with pytest.raises(StateError, match=r"^Cat.lives: expected int"):
            held(Made).from_mapping({"value": {}})

    def test_a_default_factory_that_is_wrong_shows_with_its_path(self):
        """Guarantee 7.5, 7.7."""

        class Made(State):
            x: int = Default(factory=str)

        with pytest.raises(
            StateError, match=r"Held.value.x: expected int, given str '', by its def"
        ):
            held(Made).from_mapping({"value": {}})


class TestSchema:
    def test_it_says_what_the_class_says(self):
        """Guarantee 7.3."""
        assert Order.json_schema() == {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": "#/$defs/Order",
            "$defs": {
                "Item": {
                    "title": "Item",
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "price": DECIMAL},
                    "required": ["name", "price"],
                    "additionalProperties": False,
                },
                "Order": {
                    "title": "Order",
                    "type": "object",
                    "properties": {
                        "userId": {"type": "string"},
                        "items": {
                            "type": "array",
                            "items": {"$ref": "#/$defs/Item"},
                            "default": [],
                        },
                        "at": {
                            "anyOf": [property_of(datetime), {"type": "null"}],
                            "default": None,
                        },
                    },
                    "required": ["userId"],
                    "additionalProperties": False,
                },
            },
        }

    def test_predicates_become_keywords(self):
        """Guarantee 7.3."""
        t = annotated_types
        cases = [
            (Annotated[int, t.Gt(0), t.Le(9)], {"exclusiveMinimum": 0, "maximum": 9}),
            (Annotated[float, t.Ge(0.5), t.Lt(9)], {"minimum": 0.5, "exclusiveMaximum": 9}),
            (Annotated[str, t.Len(1, 9)], {"minLength": 1, "maxLength": 9}),
            (Annotated[Sequence[int], t.MinLen(1)], {"minItems": 1}),
            (Annotated[Mapping[str, int], t.MaxLen(2)], {"maxProperties": 2}),
        ]
        for annotation, keywords in cases:
            assert property_of(annotation).items() >= keywords.items()

    def test_classes_of_one_name_are_told_apart(self):
        """Guarantee 7.3."""
        first = held(int)
        second = held(str)
        schema = held(tuple[first, second]).json_schema()
        assert sorted(schema["$defs"]) == ["Held", "Held_2", "Held_3"]
        carried(held(tuple[first, second])(value=(first(value=1), second(value="a"))))

    def test_what_json_cannot_carry_is_refused(self):
        """Guarantee 7.3."""
        for annotation in (Callable[[], Any], complex, type[int], Mapping[float, int]):
            with pytest.raises(StateError, match=r"^Held\.value: JSON"):
                held(annotation).json_schema()

    @pytest.mark.parametrize("plain", [{}, {"userId": 1}, {"userId": "a", "x": 1}, []])
    def test_it_refuses_what_from_mapping_refuses(self, plain):
        """Guarantee 7.3."""
        validator = pytest.importorskip("jsonschema").Draft202012Validator(Order.json_schema())
        assert not validator.is_valid(plain)
        with pytest.raises(StateError):
            Order.from_mapping(plain)


class TestFrozenMap:
    def test_it_reads_like_the_dict_it_was_made_of(self):
        """Guarantee 7.4."""
        made = FrozenMap({"b": 1, "a": 2})
        assert list(made) == ["b", "a"]
        assert list(reversed(made)) == ["a", "b"]
        assert (len(made), made["a"], made.get("x"), made.get("x", 5)) == (2, 2, None, 5)
        assert "a" in made
        assert list(made.keys()) == ["b", "a"]
        assert list(made.values()) == [1, 2]
        assert list(made.items()) == [("b", 1), ("a", 2)]
        assert made == {"a": 2, "b": 1}
        assert made != {"a": 2}
        assert made != 1
        assert isinstance(made, Mapping)
        with pytest.raises(KeyError, match=r"x"):
            made["x"]

    def test_it_shows_itself_as_what_it_is(self):
        """Guarantee 7.1."""
        assert repr(FrozenMap({"a": 1})) == "FrozenMap({'a': 1})"
        assert eval(repr(FrozenMap({"a": 1}))) == FrozenMap({"a": 1})

    def test_it_hashes_when_its_values_do_whatever_the_order(self):
        """Guarantee 7.1."""
        assert hash(FrozenMap({"a": 1, "b": 2})) == hash(FrozenMap({"b": 2, "a": 1}))
        with pytest.raises(TypeError, match=r"unhashable"):
            hash(FrozenMap({"a": []}))

    def test_nothing_changes_it(self):
        """Guarantee 7.4."""
        source = {"a": 1}
        made = FrozenMap(source)
        source["a"] = 2
        made.__init__({"a": 3})
        for change in (
            lambda: made.__setitem__("a", 2),
            lambda: made.__delitem__("a"),
            lambda: made.clear(),
            lambda: made.pop("a"),
            lambda: made.popitem(),
            lambda: made.setdefault("b", 2),
            lambda: made.update(a=2),
            lambda: FrozenMap.fromkeys("a"),
        ):
            with pytest.raises(TypeError, match=r"^a FrozenMap is read-only: `map . {...}` makes"):
                change()
        with pytest.raises(AttributeError):
            made.note = 1
        assert made == {"a": 1}

    def test_other_maps_are_made_of_it(self):
        """Guarantee 7.4."""
        made = again = FrozenMap({"a": 1})
        again |= {"b": 2}
        for union in (made | {"b": 2}, again, made | UserDict(b=2)):
            assert (type(union), union) == (FrozenMap, {"a": 1, "b": 2})
        for plain in ({"b": 2} | made, made.copy() | {"b": 2}, {**made, "b": 2}):
            assert (type(plain), plain) == (dict, {"a": 1, "b": 2})
        assert made == {"a": 1}
        with pytest.raises(TypeError, match=r"unsupported operand"):
            made | [("b", 2)]

    def test_it_equals_mappings_of_all_kinds(self):
        """Guarantee 7.1."""
        made = FrozenMap({"a": 1, "b": 2})
        for other in (MappingProxyType(dict(made)), UserDict(made), OrderedDict(b=2, a=1)):
            assert made == other
            assert other == made
            assert made | {"c": 3} != other

    def test_encoders_take_it_for_a_dict(self):
        """Guarantee 7.7: `json.dumps(event.some_mapping)` works."""

        class Event(State):
            labels: Mapping[str, Mapping[str, Sequence[int]]]

        labels = Event(labels={"a": {"b": [1]}}).labels
        assert json.dumps(labels) == '{"a": {"b": [1]}}'
        assert json.dumps([labels], indent=0) == '[\n{\n"a": {\n"b": [\n1\n]\n}\n}\n]'

    def test_it_pickles_and_copies(self):
        """Guarantee 7.1."""
        import copy
        import pickle

        made = FrozenMap({"a": (1, 2)})
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(made, protocol))
            assert again == made
            assert type(again) is FrozenMap
        assert copy.copy(made) is made
        assert copy.deepcopy(made) is made
        changing = FrozenMap({"a": [1]})
        assert copy.deepcopy(changing)["a"] is not changing["a"]
