"""State: the options of a class statement, and `__validate__`. Guarantee 7.9, 7.10."""

from __future__ import annotations

import copy
import inspect
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence, Sized  # noqa: F401 - in text
from collections.abc import Set as AbstractSet  # noqa: F401
from dataclasses import dataclass
from functools import cached_property
from typing import (  # noqa: F401
    Annotated,
    Any,
    Generic,
    Literal,
    Protocol,
    TypeVar,
    runtime_checkable,
)

import annotated_types  # noqa: F401
import pytest

from haiway_bus._state import MISSING, Alias, Default, State, StateError

T = TypeVar("T")
Missing = type(MISSING)


class Text(str):
    """No plain str."""


@pytest.fixture(autouse=True)
def package(hb):
    names = ("State", "Default", "StateError", "Alias", "MISSING", "JsonValue")
    globals().update({name: getattr(hb, name) for name in names}, Missing=type(hb.MISSING))
    define()


def define():
    """A validator at module level, so that instances can be pickled, with the package under test."""
    global Span

    class Span(State):
        start: int
        end: int = 10

        def __validate__(self) -> None:
            if self.end < self.start:
                raise ValueError("end before start")


def declare(annotations, **body):
    """The class that a class statement in this module would make."""
    body |= {"__annotations__": annotations, "__module__": __name__}
    return type(State)("Patch", (State,), body)


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


class TestOmitDefaults:
    def test_leaves_out_what_equals_the_default(self):
        """Guarantee 7.10: in mappings and JSON, and reads it back."""

        class Order(State, omit_defaults=True):
            id: int
            note: str | None = None
            total: float = 1.0
            tags: Sequence[str] = ()

        assert Order(id=1).to_json() == '{"id":1}'
        assert Order(id=1, note=None, total=1, tags=[]).to_mapping() == {"id": 1}
        full = Order(id=1, note="", total=2, tags=["a"])
        assert full.to_mapping() == {"id": 1, "note": "", "total": 2.0, "tags": ["a"]}
        for order in (full, Order(id=1)):
            assert Order.from_json(order.to_json()) == order
            assert Order.from_mapping(order.to_mapping()) == order

    def test_keeps_a_tag_a_made_default_and_an_equal_value_of_another_type(self):
        """Guarantee 7.7, 7.10: what is read back is equal, and a reader finds its type."""

        class Order(State, omit_defaults=True):
            kind: Literal["order"] = "order"
            tags: Sequence[str] = Default(factory=list)
            number: int | float | bool = 1

        assert Order().to_mapping() == {"kind": "order", "tags": []}
        for number in (1.0, True):
            order = Order(number=number)
            back = Order.from_json(order.to_json())
            assert (back, type(back.number)) == (order, type(number))

    def test_together_with_the_other_options(self):
        """Guarantee 7.10: an inherited one, an Alias, kept keys."""

        class Base(State, omit_defaults=True, rename="camel", unknown="keep"):
            user_id: int = 1
            other_no: Annotated[int, Alias("no")] = 2

        class Event(Base):
            page_size: int = 3

        event = Event.from_json('{"pageSize":4,"x":null,"no":2}')
        assert event.to_json() == '{"pageSize":4,"x":null}'
        assert Event.from_json(event.to_json()) == event


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


class TestValidate:
    def test_runs_wherever_an_instance_is_made(self, hb):
        """Guarantee 7.9."""
        runs = []

        class Order(State):
            low: int
            high: int = 10

            def __validate__(self) -> None:
                runs.append((self.low, self.high))
                if self.high < self.low:
                    raise ValueError("high is below low")

        order = Order(low=1)
        Order(low=1, high=2)
        order.updated(low=3)
        order.__replace__(low=4)
        Order.from_mapping({"low": 5})
        Order.from_json('{"low":6}')
        Order.__new__(Order, low=7)
        function, arguments = order.__reduce__()
        function(*arguments)
        assert runs == [(1, 10), (1, 2), (3, 10), (4, 10), (5, 10), (6, 10), (7, 10), (1, 10)]
        for make in (
            lambda: Order(low=11),
            lambda: order.updated(low=11),
            lambda: order.__replace__(low=11),
            lambda: Order.from_mapping({"low": 11}),
            lambda: Order.from_json('{"low":11}'),
            lambda: Order.__new__(Order, low=11),
            lambda: function(Order, {"low": 11, "high": 10}),
        ):
            with pytest.raises(StateError) as caught:
                make()
            assert str(caught.value) == "Order: high is below low"
            assert caught.value.problems == (("Order", "high is below low"),)

    def test_unpickled_instances_are_validated(self):
        """Guarantee 7.9."""
        data = pickle.dumps(Span(start=5), 0)
        assert pickle.loads(data) == Span(start=5)
        with pytest.raises(Exception, match=r"^Span: end before start$"):
            pickle.loads(data.replace(b"I5\n", b"I50\n"))

    def test_runs_only_when_each_field_fits(self):
        """Guarantee 7.9: it can trust the types of the fields."""

        class Order(State):
            low: int

            def __validate__(self) -> None:
                raise AssertionError("not called")

        with pytest.raises(StateError, match=r"^Order\.low: expected int"):
            Order(low="x")
        with pytest.raises(StateError, match=r"^Order\.x: no such field"):
            Order(low=1, x=2)

    def test_a_nested_state_has_its_path_in_json(self):
        """Guarantee 7.7, 7.9."""

        class Item(State):
            price: int

            def __validate__(self) -> None:
                if self.price < 0:
                    raise ValueError("price below zero")

        class Order(State):
            items: Sequence[Item]

        with pytest.raises(StateError) as caught:
            Order.from_json('{"items":[{"price":-1},{"price":1},{"price":-2}]}')
        assert caught.value.problems == (
            ("Order.items[0]", "price below zero"),
            ("Order.items[2]", "price below zero"),
        )

    def test_the_value_error_is_the_cause(self):
        """Guarantee 7.9: its traceback leads to the line."""
        error = ValueError("x")

        class Order(State):
            def __validate__(self) -> None:
                raise error

        with pytest.raises(StateError, match=r"^Order: x$") as caught:
            Order()
        assert caught.value.__cause__ is error

    def test_a_state_error_inside_is_told_too(self):
        """Guarantee 7.9: a StateError is a ValueError."""

        class Limit(State):
            value: int

        class Order(State):
            def __validate__(self) -> None:
                Limit(value="x")

        with pytest.raises(StateError) as caught:
            Order()
        assert caught.value.problems == (("Order", "Limit.value: expected int, given str 'x'"),)

    @pytest.mark.parametrize(
        ("error", "text"), [(ValueError(), "ValueError"), (UnicodeError("u"), "u")]
    )
    def test_an_error_without_text_and_a_kind_of_value_error(self, error, text):
        """Guarantee 7.9."""

        class Order(State):
            def __validate__(self) -> None:
                raise error

        with pytest.raises(StateError, match=f"^Order: {text}$"):
            Order()

    @pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), KeyboardInterrupt()])
    def test_any_other_exception_comes_out_as_it_is(self, error):
        """Guarantee 7.9: it is a fault of the validator."""

        class Order(State):
            x: int = 1

            def __validate__(self) -> None:
                raise error

        for make in (Order, lambda: Order(x=1), lambda: Order.from_json("{}")):
            with pytest.raises(type(error)) as caught:
                make()
            assert caught.value is error

    def test_an_answer_is_refused(self):
        """Guarantee 7.9: `return self.updated(...)` would change nothing."""

        class Order(State):
            def __validate__(self):
                return self

        with pytest.raises(StateError, match=r"^Order: its __validate__ returns None, or raises V"):
            Order()

    def test_is_inherited_and_calls_super(self):
        """Guarantee 7.9: also from a mix-in and from a class that is no State."""
        runs = []

        class Plain:
            __slots__ = ()

            def __validate__(self) -> None:
                runs.append("Plain")
                super().__validate__()

        class Mixed(State, mixin=True):
            x: int

            def __validate__(self) -> None:
                runs.append("Mixed")
                super().__validate__()

        class Base(State, Generic[T]):
            y: T

            def __validate__(self) -> None:
                runs.append("Base")
                super().__validate__()

        class Order(Plain, Mixed, Base[int]):
            def __validate__(self) -> None:
                runs.append("Order")
                super().__validate__()

        class Later(Order):
            z: int = 1

        Later(x=1, y=2)
        assert runs == ["Order", "Plain", "Mixed", "Base"]

        class Alone(Plain, State):
            pass

        runs.clear()
        Alone()
        assert runs == ["Plain"]

    def test_of_a_class_that_is_completed_later(self):
        """Guarantee 7.9."""
        runs = []

        class Order(State):
            x: Late  # noqa: F821 - made below

            def __validate__(self) -> None:
                runs.append(self.x)

        globals()["Late"] = int
        try:
            Order(x=1)
        finally:
            del globals()["Late"]
        assert runs == [1]

    def test_a_union_takes_no_instance_that_is_not_valid(self):
        """Guarantee 7.7, 7.9: a refused member is like one that does not fit."""

        class Even(State):
            value: int

            def __validate__(self) -> None:
                if self.value % 2:
                    raise ValueError("odd")

        class Holder(State):
            one: Even | None

        with pytest.raises(StateError, match=r"^Holder\.one"):
            Holder.from_mapping({"one": {"value": 1}})

    @pytest.mark.parametrize("hook", ["__post_init__", "__attrs_post_init__", "model_post_init"])
    def test_the_hooks_of_others_are_refused_with_a_hint(self, hook):
        """Guarantee 7.9: a validator that never runs is worse than none."""

        def method(self, *context):
            raise ValueError

        mixed = type("Mixed", (), {"__slots__": (), hook: method})
        text = rf"^Bad\.{hook} would never be called: write def __validate__\(self\), "
        for bases, body in (((State,), {hook: method}), ((mixed, State), {})):
            with pytest.raises(StateError, match=text):
                type(State)("Bad", bases, body)

    @pytest.mark.parametrize("wrap", [classmethod, staticmethod, property, lambda method: 5])
    def test_something_other_than_a_method_is_refused(self, wrap):
        """Guarantee 7.9."""
        with pytest.raises(StateError, match=r"^Bad\.__validate__ has to be a plain method, def "):
            type(State)("Bad", (State,), {"__validate__": wrap(lambda self: None)})

    def test_an_async_one_is_refused(self):
        """Guarantee 7.9: nobody would await it."""

        async def method(self) -> None:
            pass

        mixed = type("Mixed", (), {"__slots__": (), "__validate__": method})
        for bases, body in (((State,), {"__validate__": method}), ((mixed, State), {})):
            with pytest.raises(StateError, match=r"^Bad\.__validate__ has to .*, not async$"):
                type(State)("Bad", bases, body)

    def test_cannot_be_set_later(self):
        """Guarantee 7.9: instances exist that it would not have seen."""
        with pytest.raises(AttributeError, match=r"^Order\.__validate__ belongs to a State"):

            class Order(State):
                pass

            Order.__validate__ = lambda self: None


class TestMissing:
    """MISSING as an argument counts as not given, on both backends, whatever the annotation."""

    ANNOTATIONS = (
        "int",
        "float",
        "str | None",
        "str | Missing | None",
        "Missing",
        "Any",
        "object",
        "Hashable",
        "Literal['a']",
        "Annotated[int, annotated_types.Gt(0)]",
        "Sequence[int]",
        "Sequence[Any]",
        "tuple[int, ...]",
        "T",
        "Callable[[], int]",
        "JsonValue",
    )

    @pytest.mark.parametrize("annotation", ANNOTATIONS)
    def test_a_field_without_default_is_missing(self, annotation):
        """Guarantee 7.2."""
        cls = declare({"x": annotation, "y": int})
        for make in (
            lambda: cls(x=MISSING, y=1),
            lambda: cls(y=1, x=MISSING),
            lambda: cls(**{"y": 1, "".join("x"): MISSING}),
            lambda: cls.__new__(cls, x=MISSING, y=1),
            lambda: cls.from_mapping({"x": MISSING, "y": 1}),
        ):
            with pytest.raises(StateError, match=r"^Patch\.x: missing, expected"):
                make()

    @pytest.mark.parametrize(
        ("annotation", "default"),
        [
            ("str | None", None),
            ("str | Missing | None", None),
            ("Any", None),
            ("str", "a"),
            ("object", "a"),
            ("Hashable", "a"),
            ("Literal['a']", "a"),
            ("T", "a"),
            ("float", 1),
            ("Annotated[int, annotated_types.Gt(0)]", 1),
            ("Sequence[Any]", ()),
            ("tuple[int, ...]", ()),
            ("int | float | str | bool | None", 1),
        ],
    )
    @pytest.mark.parametrize("factory", [False, True])
    def test_a_field_with_a_default_gets_it(self, annotation, default, factory):
        """Guarantee 7.5."""
        given = Default(factory=lambda: default) if factory else default
        cls = declare({"x": annotation, "y": int}, x=given, y=2)
        for instance in (
            cls(x=MISSING),
            cls(x=MISSING, y=MISSING),
            cls(y=2, x=MISSING),
            cls.__new__(cls, x=MISSING),
            cls.from_mapping({"x": MISSING}),
            cls().updated(x=MISSING),
        ):
            assert (instance.x, instance.y) == (default, 2)

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [("Any", "a"), ("str | Missing", "a"), ("int", 1), ("Sequence[Any]", ())],
    )
    def test_updated_keeps_the_value(self, annotation, value):
        """Guarantee 7.6."""
        cls = declare({"x": annotation})
        assert cls(x=value).updated(x=MISSING).x == value

    def test_beside_a_wrong_value_only_that_one_is_told(self):
        """Guarantee 7.2."""

        class Patch(State):
            x: int = 1
            y: int

        for make in (Patch, Patch(y=1).updated):
            with pytest.raises(StateError) as caught:
                make(x=MISSING, y="no")
            assert [path for path, _ in caught.value.problems] == ["Patch.y"]


def fields_of(cls):
    return [field.name for field in cls.__state__.fields]


class TestOtherTools:
    """Class statements and decorators of other tools work, or are refused, the same on both backends."""

    def test_a_dataclass_decorator_is_refused(self):
        """Guarantee 7.1: the constructor that it sets would never run, or take the place of the checks."""
        for decorator in (dataclass, dataclass(frozen=True), dataclass(slots=True)):
            with pytest.raises(StateError, match=r"^Bad is a State, which has .*: remove @datacl"):

                @decorator
                class Bad(State):
                    x: int

    @pytest.mark.parametrize(
        "name", ["__init__", "__setattr__", "__delattr__", "__validate__", "x"]
    )
    def test_what_would_let_an_instance_change_cannot_be_set_later(self, name):
        """Guarantee 7.1."""

        class Order(State):
            x: int

        with pytest.raises(AttributeError, match=rf"^Order\.{name} belongs to a State"):
            setattr(Order, name, lambda self, *args: None)
        assert Order(x=1).x == 1

    def test_a_new_that_a_decorator_sets_is_called(self):
        """Guarantee 7.1: as `warnings.deprecated` does, which warns there."""

        deprecated = pytest.importorskip("typing_extensions").deprecated

        @deprecated("use Order")
        class Old(State):
            x: int

        class Derived(State):
            x: int

        with pytest.warns(DeprecationWarning, match="use Order"):
            old = Old(x=1)
        assert (old, old.updated(x=2).x) == (old, 2)
        with (
            pytest.warns(DeprecationWarning, match="use Order"),
            pytest.raises(StateError, match=r"^Old\.x: expected"),
        ):
            Old(x="x")
        with pytest.warns(DeprecationWarning, match="use Order"):

            class New(Old):
                y: int = 1

        assert New(x=1) == New(x=1)

    @pytest.mark.parametrize(
        "name",
        [
            "ﬁeld",
            "\u017fize",
            "class",
            "None",
            "x y",
            "",
            "1",
            "__x",
            "__x__",
            "\ud800",
            Text("x"),
            5,
        ],
    )
    def test_a_name_that_no_class_statement_can_have_is_refused(self, name):
        """Guarantee 7.5: the constructors would understand different names."""
        with pytest.raises(StateError, match=r"^Patch"):
            declare({name: int})

    @pytest.mark.parametrize(
        "name",
        ["print", "self", "cls", "type", "match", "case", "_", "_x", "größe", "名", "field", "owner",
         "positional", "unknown", "changes", "old", "new", "other", "missing", "object", "tuple",
         "Mismatch", "int", "mro", "register", "instance", "key", "default", "name"],
    )  # fmt: skip
    def test_any_other_name_works_for_every_method(self, name):
        """Guarantee 7.1: also one that the source of a method could use."""
        cls = declare({name: "int", "last": "str"}, last="")
        one = cls(**{name: 1})
        assert getattr(one.updated(**{name: 2}), name) == 2
        assert getattr(one.__replace__(**{name: 3}), name) == 3
        assert State.updated(one, **{name: 2}) == one.updated(**{name: 2}) != one
        assert repr(one) == f"Patch({name}=1, last='')"
        assert hash(one) == hash(cls(**{name: 1}))
        assert cls.from_json(one.to_json()) == copy.deepcopy(one) == one
        with pytest.raises(StateError, match=rf"^Patch\.{name}: expected int"):
            cls(**{name: "x"})

    def test_three_hundred_fields(self):
        """Guarantee 7.1."""
        names = [f"field_{number}" for number in range(300)]
        cls = declare(dict.fromkeys(names, int))
        values = {name: number for number, name in enumerate(names)}
        one = cls(**values)
        assert cls(**dict(reversed(values.items()))) == one
        assert cls.from_json(one.to_json()).updated(field_299=5).field_299 == 5
        with pytest.raises(StateError, match=r"^Patch\.field_299: missing"):
            cls(**dict(list(values.items())[:-1]))

    def test_a_base_that_hides_an_inherited_field_is_refused(self):
        """Guarantee 7.5: the constructor could not store the value."""

        class Plain:
            __slots__ = ()
            x = property(lambda self: 5)

        class Base(State):
            x: int

        class Fine(Base, Plain):
            pass

        assert Fine(x=1).x == 1
        with pytest.raises(StateError, match=r"^Bad\.x: is hidden by property .* of a base that"):

            class Bad(Plain, Base):
                pass

    def test_the_signature_has_values_that_the_constructor_takes(self):
        """Guarantee 7.1: inspect, and the tools that build on it."""

        class Order(State, unknown="keep"):
            id: int
            note: str | None = None
            tags: Sequence[str] = Default(factory=list)

        parameters = inspect.signature(Order).parameters
        given = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
        assert Order(id=1, **given) == Order(id=1)
        assert "id" not in given


class TestAbstract:
    def test_a_class_without_its_abstract_methods_has_no_instances(self):
        """Guarantee 7.1: with ABC among the bases or without."""

        class Priced(State, ABC):
            x: int

            @abstractmethod
            def price(self) -> float: ...

        class Named(State):
            x: int

            @property
            @abstractmethod
            def name(self) -> str: ...

        class Both(Priced):
            @classmethod
            @abstractmethod
            def default(cls): ...

        for cls, lacks in ((Priced, "price"), (Named, "name"), (Both, "default, price")):
            assert inspect.isabstract(cls)
            for make in (
                lambda cls=cls: cls(x=1),
                lambda cls=cls: cls.__new__(cls, x=1),
            ):
                with pytest.raises(
                    StateError, match=rf"{cls.__name__} is abstract, it lacks {lacks}:"
                ):
                    make()

            for read in (cls.from_mapping, lambda _, cls=cls: cls.from_json('{"x": 1}')):
                with pytest.raises(StateError, match=rf"^{cls.__name__}: has no instances, it is"):
                    read({"x": 1})

        class Done(Both):
            def price(self) -> float:
                return self.x * 2.0

            @classmethod
            def default(cls):
                return cls(x=1)

        assert Done(x=2).price() == 4.0
        assert Done.default() == Done.from_json('{"x":1}')
        assert not inspect.isabstract(Done)

        class Holder(State):
            held: Priced

        with pytest.raises(StateError, match=r"^Holder\.held: has no instances, it is"):
            Holder(held=Done(x=1)).to_mapping()
        with pytest.raises(StateError, match=r"^Holder\.held: has no instances, it is"):
            Holder.from_mapping({"held": {"x": 1}})

    def test_abstract_base_classes_of_others(self):
        """Guarantee 7.1: State, ABC and collections.abc together."""

        class Counted(State, Sized):
            items: Sequence[int]

            def __len__(self):
                return len(self.items)

        class Sorted(State, ABC, unknown="ignore"):
            x: int

        sized = Counted(items=[1, 2])
        assert len(sized) == 2
        assert isinstance(sized, Sized)
        assert isinstance(sized, Counted)
        assert issubclass(Counted, Sized)
        assert not isinstance([], Counted)
        assert not issubclass(list, Counted)
        assert Sorted(x=1).updated(x=2) == Sorted(x=2)
        assert type(State) in (type(Counted), type(Sorted))
        with pytest.raises(TypeError, match="Sorted has no virtual subclasses: derive from it"):
            Sorted.register(int)
        assert not isinstance(5, ABC)

    def test_a_field_implements_an_abstract_attribute(self):
        """Guarantee 7.1, 7.5."""

        class Identified(ABC):
            @property
            @abstractmethod
            def id(self) -> str: ...

        class Event(State, Identified):
            id: str

        class First(Identified, State):
            id: str

        for cls in (Event, First):
            assert cls(id="a").id == "a"
            assert isinstance(cls(id="a"), Identified)
            assert cls(id="a").updated(id="b") == cls.from_json('{"id":"b"}')

    def test_a_state_implements_a_protocol(self):
        """Guarantee 7.1: named as a base, as type checkers like it."""

        @runtime_checkable
        class Named(Protocol):
            name: str

            def greet(self) -> str:
                return f"hello {self.name}"

            @property
            def size(self) -> int: ...

        class Boxed(Protocol[T]):
            def get(self) -> T: ...

        class Person(State, Named):
            name: str
            size: int = 3

        class Other(Person, Boxed[int]):
            age: int = 1

            def get(self):
                return self.age

        class Last(Boxed[int], State, Named):
            name: str
            size: int = 1

        for cls in (Person, Other, Last):
            one = cls(name="a")
            assert one.greet() == "hello a"
            assert isinstance(one, Named)
            assert one.updated(name="b") == cls.from_mapping({**one.to_mapping(), "name": "b"})
            assert pickle.loads(pickle.dumps(one.to_mapping())) == one.to_mapping()
            with pytest.raises(StateError, match=rf"^{cls.__name__}\.name: missing"):
                cls()
        assert Other(name="a", age=3).get() == 3

    def test_a_state_is_no_protocol_itself(self):
        """Guarantee 7.5."""
        with pytest.raises(StateError, match=r"^Bad: a State is no protocol"):

            class Bad(State, Protocol):
                x: int

    def test_another_metaclass_is_joined_by_hand(self):
        """Guarantee 7.1: what to do where Python finds a conflict."""

        class Meta(type):
            def loud(cls):
                return cls.__name__.upper()

        class Loud(metaclass=Meta):
            pass

        class Both(type(State), Meta):
            pass

        class Order(State, Loud, metaclass=Both):
            x: int

        assert Order.loud() == "ORDER"
        assert Order(x=1).updated(x=2).x == 2


class TestCachedProperty:
    def test_works_and_is_no_part_of_the_value(self):
        """Guarantee 7.1."""
        runs = []

        class Mixed(State, mixin=True):
            @cached_property
            def mixed(self):
                return 1

        class Base(State):
            x: int

        class Order(Base):
            y: int = 1

            @cached_property
            def total(self):
                runs.append(self.x)
                return self.x + self.y

        class Later(Mixed, Order):
            z: int = 1

            @cached_property
            def more(self):
                return self.total + self.z

        for cls in (Order, Later):
            runs.clear()
            one = cls(x=1)
            assert (one.total, one.total, runs) == (2, 2, [1])
            assert one == cls(x=1)
            assert hash(one) == hash(cls(x=1))
            assert "total" not in repr(one)
            assert one.updated(x=2).total == 3
            assert "total" not in one.to_mapping()
            function, arguments = one.__reduce__()
            assert function(*arguments) == copy.deepcopy(one) == one
            with pytest.raises(AttributeError, match="cannot be set: a State does not change"):
                one.total = 5
            with pytest.raises(AttributeError, match="cannot be set: a State does not change"):
                one.note = 5
        assert (Later(x=1).more, Later(x=1).mixed) == (3, 1)
        assert not hasattr(Base(x=1), "__dict__")

    def test_a_field_is_not_reached_by_the_dict(self):
        """Guarantee 7.1: the slot wins."""

        class Order(State):
            x: int
            total = cached_property(lambda self: self.x)

        one = Order(x=1)
        one.__dict__["x"] = 2
        assert one.x == 1


class TestGenericMixIns:
    def test_a_parameterized_mix_in_is_one_still(self):
        """Guarantee 7.1, 7.3."""

        class Paged(State, Generic[T], mixin=True):
            items: Sequence[T]

        class Counted(State, Generic[T], mixin=True):
            count: T

        class Named(State):
            name: str

        class Page(Paged[int], Counted[int], Named):
            pass

        class Open(Named, Paged[T], Counted[T], Generic[T]):
            pass

        with pytest.raises(StateError, match=r"^Paged\[int\] is a mix-in: make an instance of a "):
            Paged[int](items=[1])
        page = Page(items=[1], count=1, name="a")
        assert page.items == (1,)
        with pytest.raises(StateError, match=r"^Page\.items\[0\]: expected int"):
            Page(items=["x"], count=1, name="a")
        assert Open[str](items=["x"], count="x", name="a").items == ("x",)
        with pytest.raises(StateError, match=r"^Open\[str\]\.count: expected str"):
            Open[str](items=["x"], count=1, name="a")
        assert issubclass(Page, Paged[int])
        assert fields_of(Page) == ["name", "count", "items"]


class TestDefaultsOfTypeVariables:
    """PEP 696, which Python has from 3.13 on, and typing_extensions before."""

    @pytest.fixture
    def variable(self):
        return pytest.importorskip("typing_extensions").TypeVar

    @pytest.mark.parametrize(
        ("constraints", "limits", "text"),
        [((), {"bound": int}, "at most int"), ((int, bytes), {}, "one of int, bytes")],
    )
    def test_a_default_outside_of_its_limits_is_refused(self, variable, constraints, limits, text):
        """Guarantee 7.3: at the class statement, before anybody leaves the argument out."""
        wrong = variable("V", *constraints, default=str, **limits)
        with pytest.raises(StateError, match=rf"^Bad: V is {text}, given str"):

            class Bad(State, Generic[wrong]):
                x: wrong

    def test_a_default_fills_in(self, variable):
        """Guarantee 7.3: also one that is the parameter before it."""
        first = variable("A")
        same = variable("B", default=first)
        last = variable("C", default=Sequence[same])
        bounded = variable("D", bound=int, default=bool)

        class Pair(State, Generic[first, same, last]):
            a: first
            b: same
            c: last

        class Box(State, Generic[bounded]):
            x: bounded

        assert Pair[int] is Pair[int, int] is Pair[int, int, Sequence[int]]
        assert Pair[int, str] is Pair[int, str, Sequence[str]]
        assert Pair[int](a=1, b=2, c=[3]).c == (3,)
        with pytest.raises(StateError, match=r"^Pair\[int, int, .*\]\.b: expected int"):
            Pair[int](a=1, b="x", c=[])
        assert Box[()] is Box[bool]


class TestLists:
    @pytest.mark.parametrize(
        ("annotation", "given", "kept"),
        [
            ("tuple[int, str]", [1, "a"], (1, "a")),
            ("tuple[int, ...]", [], ()),
            ("tuple[float, *tuple[str, ...]]", [1, "a"], (1.0, "a")),
            ("tuple", [1], (1,)),
            ("tuple[Sequence[int], ...]", [[1]], ((1,),)),
            ("AbstractSet[int]", [1, 2, 1], frozenset({1, 2})),
            ("AbstractSet[float]", (1, 2.0), frozenset({1.0, 2.0})),
            ("AbstractSet[Sequence[int]]", [[1], [1], [2]], frozenset({(1,), (2,)})),
            ("AbstractSet", {1: 2}.keys(), frozenset({1})),
            ("frozenset[int]", {1}, frozenset({1})),
            ("frozenset[int]", [], frozenset()),
        ],
    )
    def test_a_list_is_taken_for_a_tuple_and_a_set(self, annotation, given, kept):
        """Guarantee 7.4: as for a Sequence."""
        cls = declare({"x": annotation})
        for value in (cls(x=given).x, cls(x=kept).x, cls(x=kept).updated(x=given).x):
            assert (value, type(value)) == (kept, type(kept))
        assert cls(x=kept).x is kept

    @pytest.mark.parametrize(
        ("annotation", "given"),
        [
            ("tuple[int, str]", [1]),
            ("tuple[int, ...]", "12"),
            ("tuple[int, ...]", {1}),
            ("AbstractSet[str]", "ab"),
            ("AbstractSet[int]", ["a"]),
            ("AbstractSet[Any]", [[]]),
            ("AbstractSet[str]", {"a": 1}),
            ("frozenset[bytes]", b"ab"),
        ],
    )
    def test_what_is_no_list_is_refused_still(self, annotation, given):
        """Guarantee 7.2."""
        with pytest.raises(StateError, match=r"^Patch\.x"):
            declare({"x": annotation})(x=given)
