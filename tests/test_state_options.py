"""State: the options of a class statement, and `__validate__`. Guarantee 7.9, 7.10."""

from __future__ import annotations

import copy
from typing import Annotated, Generic, TypeVar

import pytest

from haiway_bus._state import Alias, State, StateError

T = TypeVar("T")


@pytest.fixture(autouse=True)
def package(hb):
    globals().update(
        {name: getattr(hb, name) for name in ("State", "Default", "StateError", "Alias")}
    )


def keys(cls):
    return [field.key for field in cls.__state__.fields]


class TestWrongOptions:
    @pytest.mark.parametrize(
        ("option", "value", "allowed"),
        [
            ("unknown", "drop", "'refuse', 'ignore', 'keep'"),
            ("unknown", ["keep"], "'refuse', 'ignore', 'keep'"),
            ("rename", "snake", "'camel', 'kebab', 'pascal', 'off'"),
            ("rename", str.upper, "'camel', 'kebab', 'pascal', 'off'"),
            ("omit_defaults", 1, "True, False"),
            ("omit_defaults", "yes", "True, False"),
        ],
    )
    def test_a_wrong_value_is_refused_and_the_allowed_ones_are_named(self, option, value, allowed):
        """Guarantee 7.10."""
        with pytest.raises(StateError) as caught:
            type(State)("Bad", (State,), {}, **{option: value})
        text = f"Bad: the option {option} is one of {allowed}, given {value!r}"
        assert str(caught.value) == text

    def test_a_class_option_of_the_user_goes_to_init_subclass(self):
        """Guarantee 7.10."""
        seen = []

        class Base(State, mixin=True):
            def __init_subclass__(cls, topic=None, **options):
                super().__init_subclass__(**options)
                seen.append(topic)

        class Order(Base, rename="camel", topic="orders"):
            order_id: int

        assert (seen, keys(Order)) == (["orders"], ["orderId"])


class TestInherited:
    def test_by_derived_and_parameterized_classes_and_from_mix_ins(self):
        """Guarantee 7.10."""

        class Wire(State, mixin=True, rename="camel", omit_defaults=True, unknown="keep"):
            pass

        class Box(Wire, Generic[T]):
            item_id: T
            page_no: int = 1

        class Order(Box[int]):
            order_no: str

        for cls in (Box, Box[int], Box[str], Order):
            options = cls.__state__
            assert (options.rename, options.omit_defaults, options.unknown) == (
                "camel",
                True,
                "keep",
            )
            assert keys(cls)[:2] == ["itemId", "pageNo"]
        assert keys(Order) == ["itemId", "pageNo", "orderNo", ""]

    def test_a_derived_class_may_say_otherwise(self):
        """Guarantee 7.10."""

        class Base(State, rename="kebab", omit_defaults=True, unknown="ignore"):
            order_id: int

        class Derived(Base, rename="off", omit_defaults=False, unknown="refuse"):
            user_id: int

        assert keys(Base) == ["order-id"]
        assert keys(Derived) == ["order_id", "user_id"]
        assert (Derived.__state__.omit_defaults, Derived.__state__.unknown) == (False, "refuse")

    def test_the_first_base_that_says_something_counts(self):
        """Guarantee 7.10: as with any attribute."""

        class Camel(State, mixin=True, rename="camel"):
            pass

        class Pascal(State, mixin=True, rename="pascal", unknown="ignore"):
            pass

        class Both(Camel, Pascal):
            order_id: int

        assert (keys(Both), Both.__state__.unknown) == (["orderId"], "ignore")


class TestRename:
    @pytest.mark.parametrize(
        ("name", "camel", "kebab", "pascal"),
        [
            ("user_id", "userId", "user-id", "UserId"),
            ("x", "x", "x", "X"),
            ("line_2_text", "line2Text", "line-2-text", "Line2Text"),
            ("userID", "userID", "userID", "UserID"),
            ("_user_id", "_userId", "_user-id", "_UserId"),
            ("from_", "from", "from", "From"),
            ("a__b", "aB", "a-b", "AB"),
            ("größe_neu", "größeNeu", "größe-neu", "GrößeNeu"),
            ("_", "_", "_", "_"),
        ],
    )
    def test_each_style(self, name, camel, kebab, pascal):
        """Guarantee 7.10."""
        body = {"__annotations__": {name: int}}
        for style, key in {"camel": camel, "kebab": kebab, "pascal": pascal}.items():
            cls = type(State)("Order", (State,), dict(body), rename=style)
            instance = cls(**{name: 1})
            assert instance.to_mapping() == {key: 1}
            assert cls.from_mapping({key: 1}) == cls.from_json(instance.to_json()) == instance
            assert [*cls.json_schema()["$defs"]["Order"]["properties"]] == [key]

    def test_an_alias_wins_also_an_inherited_one(self):
        """Guarantee 7.10: the option concerns every field without an Alias, the inherited ones too."""

        class Base(State):
            order_id: Annotated[int, Alias("no")] = 1
            user_id: int = 2

        class Derived(Base, rename="camel"):
            line_count: int = 3

        assert Base().to_mapping() == {"no": 1, "user_id": 2}
        assert Derived().to_mapping() == {"no": 1, "userId": 2, "lineCount": 3}

    def test_two_fields_with_one_key_are_refused(self):
        """Guarantee 7.10."""
        with pytest.raises(StateError, match=r"^Bad\.userId: has the key 'userId', and so has use"):

            class Bad(State, rename="camel"):
                user_id: int
                userId: int  # noqa: N815


class TestUnknownKeys:
    def test_are_kept_readable_and_written_back(self):
        """Guarantee 7.10."""

        class Event(State, unknown="keep"):
            id: int
            note: str = ""

        text = '{"id":1,"note":"","traceparent":"00-1","data":{"tags":["a",{"b":null}]}}'
        event = Event.from_json(text)
        assert event.__unknown__["traceparent"] == "00-1"
        assert event.__unknown__["data"]["tags"][1]["b"] is None
        assert event.to_json() == text
        assert Event.from_mapping(event.to_mapping()) == event
        assert Event(id=1).__unknown__ == {}
        assert Event(id=1).to_json() == '{"id":1,"note":""}'

    def test_belong_to_the_instance_like_a_field(self):
        """Guarantee 7.10: ==, hash, repr, updated and copies."""

        class Event(State, unknown="keep"):
            id: int

        event = Event(id=1, __unknown__={"a": "b"})
        assert event != Event(id=1)
        assert event == Event.from_mapping({"id": 1, "a": "b"})
        assert hash(event) == hash(Event(id=1, __unknown__={"a": "b"}))
        assert repr(event) == "Event(id=1, __unknown__=FrozenMap({'a': 'b'}))"
        assert event.updated(id=2).__unknown__ == {"a": "b"}
        assert event.updated(__unknown__={}) == Event(id=1)
        assert copy.deepcopy(event) == copy.copy(event) == event

    def test_show_in_no_signature_pattern_or_schema(self):
        """Guarantee 7.10: it is no field of the author's."""

        class Event(State, unknown="keep"):
            id: int

        class Derived(Event):
            more: int = 1

        assert Derived.__match_args__ == ("id", "more")
        assert [*Derived.__signature__.parameters] == ["id", "more"]
        schema = Derived.json_schema()["$defs"]["Derived"]
        assert [*schema["properties"]] == ["id", "more"]
        assert schema["additionalProperties"] is True

    def test_stay_frozen_and_are_json(self):
        """Guarantee 7.4, 7.10."""

        class Event(State, unknown="keep"):
            id: int

        given = {"tags": ["a", ["b"]], "map": {"k": [1]}}
        event = Event(id=1, __unknown__=given)
        given["tags"].append("c")
        assert event.__unknown__ == {"tags": ("a", ("b",)), "map": {"k": (1,)}}
        assert isinstance(hash(event), int)
        with pytest.raises(TypeError):
            event.__unknown__["x"] = 1
        with pytest.raises(StateError, match=r"^Event\.__unknown__\['at'\]: expected JsonValue"):
            Event(id=1, __unknown__={"at": object()})
        with pytest.raises(StateError, match=r"^Event\.__unknown__"):
            Event(id=1, __unknown__={1: "x"})

    def test_cannot_be_the_key_of_a_field(self):
        """Guarantee 7.7: a mapping has each key once."""

        class Event(State, unknown="keep", rename="camel"):
            user_id: int

        class Derived(Event):
            more: int = 1

        assert Event(user_id=1, __unknown__={"user_id": 2, "more": 3})
        with pytest.raises(StateError, match=r"^Event\.__unknown__\['userId'\]: is the key of a f"):
            Event(user_id=1, __unknown__={"userId": 2})
        with pytest.raises(StateError, match=r"^Derived\.__unknown__\['more'\]: is the key of a f"):
            Derived(user_id=1, __unknown__={"more": 2})

    def test_a_key_with_the_name_of_the_hidden_field_is_like_any_other(self):
        """Guarantee 7.7."""

        class Event(State, unknown="keep"):
            id: int

        event = Event.from_mapping({"id": 1, "__unknown__": {"a": 1}, "": 2})
        assert event.__unknown__ == {"__unknown__": {"a": 1}, "": 2}
        assert event.to_mapping() == {"id": 1, "__unknown__": {"a": 1}, "": 2}

    def test_a_class_that_keeps_none_takes_no_such_keyword(self):
        """Guarantee 7.10."""

        class Event(State):
            id: int

        with pytest.raises(StateError, match=r"^Event\.__unknown__: no such field"):
            Event(id=1, __unknown__={})
        assert not hasattr(Event(id=1), "__unknown__")

    def test_a_derived_class_cannot_stop_keeping(self):
        """Guarantee 7.10: it inherits what the instances have."""

        class Event(State, unknown="keep"):
            id: int

        with pytest.raises(StateError, match=r"^Strict: unknown='refuse' comes too late, a base k"):

            class Strict(Event, unknown="refuse"):
                pass

    def test_keep_can_come_after_fields_and_from_a_mix_in(self):
        """Guarantee 7.10."""

        class Base(State):
            id: int

        class Open(State, mixin=True, unknown="keep"):
            pass

        class Event(Open, Base):
            note: str = ""

        class Last(Event):
            more: int = 1

        last = Last.from_mapping({"id": 1, "x": 2})
        assert last == Last(id=1, __unknown__={"x": 2})
        assert [field.name for field in Last.__state__.fields] == [
            "id",
            "note",
            "more",
            "__unknown__",
        ]

    def test_no_field_can_have_this_name(self):
        """Guarantee 7.10."""
        with pytest.raises(StateError, match="a field cannot begin with two underscores"):

            class Bad(State, unknown="keep"):
                __unknown__: int
