"""State: fields, construction, and what an instance can do. Guarantee 7.1, 7.2, 7.4 to 7.6."""

from __future__ import annotations

import copy
import gc
import inspect
import linecache
import pickle
import sys
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from itertools import count
from typing import Any, ClassVar, Literal

import pytest

from haiway_bus._state import Default, State, StateError
from tests.shared import let_go


class Color(Enum):
    RED = "red"
    BLUE = "blue"


def define():
    """The classes of this module, made anew with the package under test."""
    global Item, Order, Deep

    class Item(State):
        name: str
        price: float

    class Order(State):
        order_id: str
        total: float = 0
        items: Sequence[Item] = ()
        tags: AbstractSet[str] = frozenset()
        labels: Mapping[str, int] = Default(factory=dict)
        note: str | None = None

    class Deep(Order):
        color: Color = Color.RED


@pytest.fixture(autouse=True)
def package(hb):
    globals().update({name: getattr(hb, name) for name in ("State", "Default", "StateError")})
    define()


@pytest.fixture
def order():
    return Order(order_id="a", total=1.5, items=[Item(name="x", price=2.0)], tags={"t"})


class TestFields:
    def test_annotated_attributes_become_keyword_only_fields(self, order):
        """Guarantee 7.1: keyword-only fields, with the defaults of the class body."""
        assert order.order_id == "a"
        assert Order(order_id="b").total == 0.0
        assert [p.kind for p in inspect.signature(Order).parameters.values()] == [
            inspect.Parameter.KEYWORD_ONLY
        ] * 6

    def test_the_signature_shows_the_fields_and_their_defaults(self):
        """Guarantee 7.1: visible through inspect, and each is a value that the constructor takes."""
        parameters = inspect.signature(Order).parameters
        assert list(parameters) == ["order_id", "total", "items", "tags", "labels", "note"]
        assert parameters["order_id"].default is inspect.Parameter.empty
        assert parameters["note"].default is None
        for name, parameter in parameters.items():
            if parameter.default is not parameter.empty:
                Order(**{"order_id": "a", name: parameter.default})

    def test_fields_of_bases_come_first_and_may_be_redeclared(self):
        """Guarantee 7.1."""

        class Redeclared(Deep):
            total: float = 5
            extra: int = 1

        assert list(inspect.signature(Redeclared).parameters) == [
            "order_id",
            "total",
            "items",
            "tags",
            "labels",
            "note",
            "color",
            "extra",
        ]
        assert Redeclared(order_id="a").total == 5.0
        assert "total" not in Redeclared.__slots__

    def test_class_variables_methods_and_properties_make_no_fields(self):
        """Guarantee 7.1."""

        class Priced(State):
            currency: ClassVar[str] = "EUR"
            price: float

            @property
            def text(self) -> str:
                return f"{self.price} {self.currency}"

            @classmethod
            def free(cls):
                return cls(price=0)

            def doubled(self):
                return self.updated(price=self.price * 2)

        assert list(inspect.signature(Priced).parameters) == ["price"]
        assert Priced.free().text == "0.0 EUR"
        assert Priced(price=2).doubled().price == 4.0

    def test_a_class_without_fields_is_a_fine_event(self):
        """Guarantee 7.1."""

        class Ping(State):
            pass

        assert Ping() == Ping()
        assert hash(Ping()) == hash(Ping())
        assert repr(Ping()) == "Ping()"
        with pytest.raises(StateError, match=r"Ping.x: no such field, Ping has none"):
            Ping(x=1)

    def test_a_field_may_have_the_name_of_anything_the_constructor_uses(self):
        """Guarantee 7.1."""

        class Odd(State):
            self: int
            cls: int
            type: str
            check: float
            missing: int = 3
            _private: str = "p"

        odd = Odd(self=1, cls=2, type="t", check=1)
        assert (odd.self, odd.cls, odd.type, odd.check, odd.missing) == (1, 2, "t", 1.0, 3)
        assert odd.updated(type="u").type == "u"
        assert odd._private == "p"

    def test_a_field_called_like_its_own_type_is_no_riddle(self):
        """Guarantee 7.3: `date: date | None` means the class."""

        class Event(State):
            Color: Color
            Item: Item | None = None

        assert Event(Color=Color.RED).Color is Color.RED


class TestSurface:
    METHODS = frozenset(
        {
            "updated",
            "to_mapping",
            "from_mapping",
            "to_json",
            "to_json_bytes",
            "from_json",
            "json_schema",
        }
    )
    """What docs/reference/state.md has."""

    @staticmethod
    def public(thing):
        return {name for name in dir(thing) if not name.startswith("_")}

    def test_dir_shows_what_is_documented_and_the_fields(self, order):
        """Of classes and instances, also when each method has been used."""
        assert self.public(State) == self.METHODS
        fields = {"order_id", "total", "items", "tags", "labels", "note"}
        assert self.public(Order) == self.public(order) == self.METHODS | fields
        assert order.updated(note="n") != order
        assert order in {order: repr(order)}
        assert Order.from_json(order.to_json()) == order
        assert self.public(Order) == self.public(order) == self.METHODS | fields
        assert self.public(Deep) == self.METHODS | fields | {"color"}

    def test_two_names_are_internal(self, order):
        """Beside what any class with slots has, the protocols of `copy`, and `__validate__`. Both carry the class."""

        class Plain:
            __slots__ = ("__weakref__", "value")
            __match_args__ = ("value",)
            value: int

        fields = set(inspect.signature(Order).parameters)
        protocols = {"__copy__", "__deepcopy__", "__replace__", "__rich_repr__", "__validate__"}
        protocols |= {"__get_pydantic_core_schema__", "__get_pydantic_json_schema__"}
        for thing in (Order, order):
            assert set(dir(thing)) - set(dir(Plain)) - fields - self.METHODS - protocols == {
                "__dict__",
                "__state__",
            }
            assert not hasattr(order, "__dict__")

    def test_a_field_may_have_the_name_of_anything_inside(self, hb):
        """Guarantee 7.1: what the package keeps for a class is out of the way of its fields."""
        inside = [
            *vars(Order.__state__),
            *type(Order.__state__.fields[0]).__slots__,
            *(
                "blueprint",
                "mro",
                "fields",
                "instance",
                "changes",
                "given",
                "positional",
                "unknown",
            ),
            *("self", "cls", "other", "memo", "mapping", "text", "indent", "_items", "_"),
        ]
        names = sorted({name for name in inside if not name.startswith("__")})
        crowded_class = type(State)(
            "Crowded", (State,), {"__annotations__": dict.fromkeys(names, int)}
        )
        values = {name: number for number, name in enumerate(names)}
        crowded = crowded_class(**values)
        assert {name: getattr(crowded, name) for name in names} == values
        assert crowded.updated(**values) == crowded == crowded_class.from_json(crowded.to_json())
        assert hash(crowded) == hash(tuple(values.values()))
        assert repr(crowded) == f"Crowded({', '.join(f'{k}={v}' for k, v in values.items())})"
        assert copy.deepcopy(crowded) == crowded.__reduce__()[0](*crowded.__reduce__()[1])


class TestConstruction:
    def test_a_wrong_type_names_class_field_expected_and_given(self):
        """Guarantee 7.2."""
        with pytest.raises(StateError, match=r"^Item\.price: expected float, given str 'x'$"):
            Item(name="a", price="x")

    def test_a_missing_field_is_named(self):
        """Guarantee 7.2."""
        with pytest.raises(StateError, match=r"^Item\.price: missing, expected float$"):
            Item(name="a")

    def test_an_unknown_field_is_named(self):
        """Guarantee 7.2."""
        with pytest.raises(StateError, match=r"^Item\.prize: no such field, Item has name, price$"):
            Item(name="a", price=1.0, prize=2)

    def test_positional_arguments_are_refused(self):
        """Guarantee 7.1: keyword-only."""
        with pytest.raises(
            StateError, match=r"by keyword, Item\(name=\.\.\., price=\.\.\.\), given 2 by"
        ):
            Item("a", 1.0)

    def test_every_wrong_field_is_listed_with_its_path(self):
        """Guarantee 7.2: not the first alone."""
        with pytest.raises(StateError) as caught:
            Order(
                total="x",
                items=[Item(name="a", price=1), 7, "no"],
                tags="not a set",
                labels={"a": 1, "b": "c", 3: 4},
                note=5,
                other=1,
            )
        assert [path for path, _ in caught.value.problems] == [
            "Order.order_id",
            "Order.total",
            "Order.items[1]",
            "Order.items[2]",
            "Order.tags",
            "Order.labels['b']",
            "Order.labels[3]",
            "Order.note",
            "Order.other",
        ]
        assert str(caught.value).startswith("Order has 9 problems:\n  Order.order_id: missing")

    def test_the_error_is_a_type_error_and_a_value_error_and_pickles(self):
        """Guarantee 7.2."""
        with pytest.raises(TypeError) as caught:
            Item(name=1, price=1)
        assert isinstance(caught.value, ValueError)
        again = pickle.loads(pickle.dumps(caught.value))
        assert again.problems == caught.value.problems
        assert str(again) == str(caught.value)

    def test_a_huge_number_of_problems_is_not_listed_in_full(self):
        """Guarantee 7.2: an error message can be read."""

        class Numbers(State):
            values: Sequence[int]

        with pytest.raises(StateError) as caught:
            Numbers(values=["x"] * 100_000)
        assert len(str(caught.value)) < 10_000

    def test_a_value_whose_repr_fails_can_still_be_refused(self):
        """Guarantee 7.2."""

        class Bad:
            def __repr__(self):
                raise RuntimeError("no")

        with pytest.raises(StateError, match=r"expected str, given Bad <Bad instance at"):
            Item(name=Bad(), price=1.0)

    def test_bool_is_no_int_and_an_int_becomes_a_float(self):
        """Guarantee 7.3."""

        class Numbers(State):
            i: int
            f: float
            b: bool

        with pytest.raises(StateError, match=r"Numbers.i: expected int, given bool True"):
            Numbers(i=True, f=1.0, b=True)
        with pytest.raises(StateError, match=r"Numbers.f: expected float, given bool False"):
            Numbers(i=1, f=False, b=True)
        with pytest.raises(StateError, match=r"Numbers.b: expected bool, given int 1"):
            Numbers(i=1, f=1.0, b=1)
        with pytest.raises(StateError, match=r"Numbers.f: expected float, given an int too large"):
            Numbers(i=1, f=10**400, b=True)
        made = Numbers(i=1, f=2, b=True)
        assert type(made.f) is float

    def test_the_constructor_is_visible_in_tracebacks_and_through_inspect(self):
        """Guarantee 7.1: generated source, as attrs and dataclasses do."""
        assert "__type(name) is not __is_str" in inspect.getsource(Item.__new__)

        def broken():
            raise RuntimeError("from the factory")

        class Made(State):
            value: int = Default(factory=broken)

        with pytest.raises(RuntimeError) as caught:
            Made.__new__(Made)  # what the compiled constructor stands in for
        assert "value = __make_value(__factory_value)" in "".join(
            traceback.format_exception(caught.value)
        )

    def test_an_error_of_a_construction_hides_the_machinery(self):
        """Guarantee 7.2."""
        with pytest.raises(StateError) as caught:
            Item(name=1, price=1)
        assert caught.value.__suppress_context__


class TestImmutability:
    def test_fields_cannot_be_set_or_deleted(self, order):
        """Guarantee 7.1."""
        with pytest.raises(AttributeError, match=r"Order.total cannot be set.*updated\(total="):
            order.total = 2.0
        with pytest.raises(AttributeError, match=r"Order.total cannot be deleted"):
            del order.total
        with pytest.raises(AttributeError):
            order.other = 1
        assert order.total == 1.5

    def test_calling_init_again_changes_nothing(self, order):
        """Guarantee 7.1: code without object.__setattr__ cannot change an instance."""
        order.__init__(order_id="changed", total=9.0)
        assert order.order_id == "a"
        assert order.total == 1.5

    def test_an_instance_cannot_be_given_another_class(self, order):
        """Guarantee 7.1."""
        with pytest.raises(AttributeError):
            order.__class__ = Deep

    def test_fields_cannot_be_replaced_on_the_class(self, order):
        """Guarantee 7.1."""
        with pytest.raises(AttributeError, match=r"Order.total belongs to a State"):
            Order.total = 3.0
        with pytest.raises(AttributeError):
            del Order.total
        with pytest.raises(AttributeError):
            Order.__state__ = None
        assert order.total == 1.5

    def test_instances_have_slots_and_no_dict(self, order):
        """Guarantee 7.1: slotted."""
        assert not hasattr(order, "__dict__")
        assert not hasattr(Deep(order_id="x"), "__dict__")

    def test_contents_are_frozen(self, hb):
        """Guarantee 7.4: a list is kept as a tuple, a dict as a FrozenMap, a set as a frozenset."""
        items, tags, labels = [Item(name="x", price=1)], {"a"}, {"k": 1}
        order = Order(order_id="a", items=items, tags=tags, labels=labels)
        items.clear()
        tags.clear()
        labels.clear()
        assert order.items == (Item(name="x", price=1.0),)
        assert type(order.items) is tuple
        assert order.tags == {"a"}
        assert type(order.tags) is frozenset
        assert order.labels == {"k": 1}
        assert type(order.labels) is hb.FrozenMap

    def test_what_is_annotated_any_is_kept_as_it_is(self):
        """Guarantee 7.3: Any."""

        class Holder(State):
            value: Any

        value = [1, 2]
        assert Holder(value=value).value is value


class TestValueBehaviour:
    def test_instances_compare_by_value_within_one_class(self, order):
        """Guarantee 7.1."""
        same = Order(order_id="a", total=1.5, items=order.items, tags={"t"})
        assert order == same
        assert order != same.updated(total=2)
        assert Deep(order_id="a") != Order(order_id="a")
        assert order != "a"

    def test_instances_hash_when_their_values_do(self, order):
        """Guarantee 7.1."""

        class Holder(State):
            value: Any

        assert hash(order) == hash(copy.copy(order))
        assert hash(order) == hash(order.updated(total=1.5))
        with pytest.raises(TypeError, match=r"unhashable type: 'list'"):
            hash(Holder(value=[]))

    def test_the_repr_is_the_call_that_makes_it(self):
        """Guarantee 7.1."""
        assert repr(Item(name="x", price=1)) == "Item(name='x', price=1.0)"

    def test_instances_match_by_class_and_keyword(self, order):
        """Guarantee 7.1."""
        match order:
            case Deep():
                found = "deep"
            case Order(order_id="a", items=[Item(price=price)]):
                found = price
        assert found == 2.0
        match order:
            case Order("a", total):
                found = total
        assert found == 1.5

    def test_instances_can_be_weakly_referenced(self, order):
        """Guarantee 7.1."""
        reference = weakref.ref(order)
        assert reference() is order

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_instances_pickle_with_every_protocol(self, protocol, order):
        """Guarantee 7.1."""
        for value in (order, Deep(order_id="x", color=Color.BLUE, labels={"a": 1})):
            again = pickle.loads(pickle.dumps(value, protocol))
            assert again == value
            assert type(again) is type(value)

    def test_unpickled_values_are_checked(self):
        """Guarantee 7.2: no instance holds a value that does not fit, wherever it comes from."""
        data = pickle.dumps(Item(name="x", price=1.0), 0).replace(b"Vx\n", b"I1\n")
        with pytest.raises(StateError, match=r"Item.name: expected str, given int 1"):
            pickle.loads(data)

    def test_a_copy_of_what_cannot_change_is_itself(self, order):
        """Guarantee 7.1."""
        assert copy.copy(order) is order
        assert copy.deepcopy(order) is order

    def test_a_deep_copy_copies_what_can_change(self):
        """Guarantee 7.1."""

        class Holder(State):
            value: Any
            item: Item

        holder = Holder(value=[1, [2]], item=Item(name="x", price=1))
        again = copy.deepcopy(holder)
        assert again == holder
        assert again.value is not holder.value
        assert again.value[1] is not holder.value[1]
        assert again.item is holder.item
        assert type(again) is Holder
        with pytest.raises(AttributeError):
            again.value = 1

    def test_a_deep_copy_of_a_cycle_ends(self):
        """Guarantee 7.1."""

        class Holder(State):
            value: Any

        values: list[Any] = []
        holder = Holder(value=values)
        values.append(holder)
        again = copy.deepcopy(holder)
        assert again.value[0] is again

    def test_methods_written_in_a_class_are_kept_and_inherited(self):
        """Guarantee 7.1."""

        class Named(State):
            name: str
            size: int = 0

            def __eq__(self, other):
                return isinstance(other, Named) and self.name == other.name

            def __hash__(self):
                return hash(self.name)

            def __repr__(self):
                return f"<{super().__repr__()}>"

        class Further(Named):
            more: int = 0

        assert Named(name="a", size=1) == Named(name="a", size=2)
        assert Further(name="a", more=1) == Further(name="a", more=2)
        assert hash(Further(name="a", more=1)) == hash("a")
        assert repr(Named(name="a")) == "<Named(name='a', size=0)>"
        assert repr(Further(name="a")) == "<Further(name='a', size=0, more=0)>"

    def test_super_means_all_fields_of_the_instance(self):
        """Guarantee 7.1: whatever of the bases has methods for its own fields, before and after they are used."""

        class Base(State):
            x: int

        assert (Base(x=1) == Base(x=1), repr(Base(x=1))) == (True, "Base(x=1)")
        assert hash(Base(x=1).updated(x=2)) == hash(Base(x=2))

        class Mixin(State, mixin=True):
            z: int = 0

        class Between(Mixin, Base):
            y: int

        class Derived(Between):
            def __eq__(self, other):
                return super().__eq__(other)

            def __hash__(self):
                return super().__hash__()

            def __repr__(self):
                return f"<{super().__repr__()}>"

            def updated(self, **changes):
                return super().updated(**changes)

        derived = Derived(x=1, y=2)
        assert derived == Derived(x=1, y=2)
        assert derived != Derived(x=1, y=3)
        assert derived != Derived(x=1, y=2, z=4)
        assert hash(derived) == hash(Derived(x=1, y=2)) == hash((1, 0, 2))
        assert repr(derived) == "<Derived(x=1, z=0, y=2)>"
        assert derived.updated(y=3) == Derived(x=1, y=3)
        assert type(derived.updated(z=3)) is Derived
        assert repr(Between(x=1, y=2).updated(x=5)) == "Between(x=5, z=0, y=2)"
        assert repr(Base(x=1).updated(x=2)) == "Base(x=2)"

    def test_super_means_all_fields_in_a_method_that_is_lent_or_assigned(self, monkeypatch):
        """Guarantee 7.1."""
        monkeypatch.setattr(
            State, "__repr__", vars(State)["__repr__"]
        )  # nothing to open beneath it

        class Loud:
            __slots__ = ()

            def __repr__(self):
                return super().__repr__().upper()

        class Base(State):
            x: int

        class Lent(Loud, Base):
            y: int

        class Assigned(Base):
            y: int

        Assigned.__repr__ = lambda self: super(Assigned, self).__repr__().upper()

        class Hooked(State):
            def __init_subclass__(cls):
                cls.__repr__ = lambda self: super(cls, self).__repr__().upper()

            x: int

        class Under(Hooked):
            y: int

        assert repr(Under(x=1, y=2)) == "UNDER(X=1, Y=2)"
        assert repr(Lent(x=1, y=2)) == "LENT(X=1, Y=2)"
        assert repr(Assigned(x=1, y=2)) == "ASSIGNED(X=1, Y=2)"

    def test_a_written_method_is_inherited_past_a_plain_mix_in(self):
        """Guarantee 7.1: as Python orders the bases."""

        class Base(State):
            x: int

            def __eq__(self, other):
                return "written"

            def __hash__(self):
                return 5

        class Plain:
            __slots__ = ()

        class Derived(Plain, Base):
            pass

        assert (Derived(x=1) == 3, hash(Derived(x=1))) == ("written", 5)

    def test_equality_without_a_hash_leaves_none(self):
        """Guarantee 7.1, as everywhere in Python."""

        class Loose(State):
            name: str

            def __eq__(self, other):
                return True

        with pytest.raises(TypeError, match=r"unhashable"):
            hash(Loose(name="a"))


class TestUpdated:
    def test_updated_makes_a_new_checked_instance(self, order):
        """Guarantee 7.6."""
        changed = order.updated(total=3, note="n")
        assert (changed.total, changed.note, changed.order_id) == (3.0, "n", "a")
        assert (order.total, order.note) == (1.5, None)
        assert changed.items is order.items
        assert type(changed) is Order

    def test_updated_refuses_unknown_names_and_wrong_values_together(self, order):
        """Guarantee 7.6."""
        with pytest.raises(StateError) as caught:
            order.updated(total="x", nope=1)
        assert [path for path, _ in caught.value.problems] == ["Order.total", "Order.nope"]

    def test_updated_shows_what_it_takes_and_does(self, order):
        """The same on both backends, and nothing of how it is written."""
        for shown, first in ((Order.updated, "(self, /, "), (order.updated, "(")):
            assert str(inspect.signature(shown)) == f"{first}**changes)"
            assert inspect.getdoc(State.updated).startswith(inspect.getdoc(shown))

    def test_updated_can_be_extended(self):
        """Guarantee 7.6."""

        class Counted(State):
            name: str
            version: int = 0

            def updated(self, **changes):
                return super().updated(version=self.version + 1, **changes)

        assert Counted(name="a").updated(name="b") == Counted(name="b", version=1)

    def test_updated_without_changes_equals(self, order):
        """Guarantee 7.6."""
        assert order.updated() == order

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="copy.replace came with 3.13")
    def test_copy_replace_works(self, order):
        """Guarantee 7.6."""
        assert copy.replace(order, total=9).total == 9.0


class TestDefaults:
    def test_a_default_is_checked_once_at_class_creation(self):
        """Guarantee 7.5."""
        with pytest.raises(StateError, match=r"Wrong.count: expected int, given str 'x'"):

            class Wrong(State):
                count: int = "x"

    def test_a_default_is_converted_once(self):
        """Guarantee 7.5."""

        class Timed(State):
            seconds: float = 1
            names: Sequence[str] = ("a", "b")

        assert type(Timed().seconds) is float
        assert Timed().names is Timed().names

    def test_a_factory_makes_a_fresh_default_for_each_instance(self):
        """Guarantee 7.5."""
        numbers = iter(range(10))

        class Numbered(State):
            number: int = Default(factory=lambda: next(numbers))

        assert [Numbered().number, Numbered().number, Numbered(number=7).number] == [0, 1, 7]
        assert next(numbers) == 2

    def test_what_a_factory_makes_is_checked(self):
        """Guarantee 7.5."""

        class Made(State):
            number: int = Default(factory=str)

        with pytest.raises(
            StateError, match=r"Made.number: expected int, given str '', by its def"
        ):
            Made()

    def test_what_a_factory_makes_is_frozen(self, hb):
        """Guarantee 7.4, 7.5."""

        class Made(State):
            numbers: Sequence[int] = Default(factory=list)
            names: Mapping[str, int] = Default(factory=dict)

        assert Made().numbers == ()
        assert type(Made().names) is hb.FrozenMap

    def test_default_of_a_value_is_the_value(self):
        """Guarantee 7.5."""

        class Given(State):
            number: int = Default(default=3)

        assert Given().number == 3

    @pytest.mark.parametrize("arguments", [{}, {"default": 1, "factory": int}, {"factory": 3}])
    def test_default_refuses_what_is_no_default(self, arguments):
        """Guarantee 7.5."""
        with pytest.raises(TypeError, match=r"Default"):
            Default(**arguments)


class Anything:
    """Some class that is no State."""


GIVEN = Anything()


class TestKinds:
    """Guarantee 7.3, each annotation with what it takes and what it refuses."""

    @pytest.mark.parametrize(
        "case",
        [
            lambda: (str, ["", "x"], [b"x", None, 1]),
            lambda: (bytes, [b""], ["x", bytearray(b"x")]),
            lambda: (None, [None], [0, False]),
            lambda: (complex, [1j], ["x", True]),
            lambda: (int | str, [1, "x"], [1.0, None, True]),
            lambda: (int | None, [1, None], ["x", 1.5]),
            lambda: (int | str | bytes | None | float, [1, "x", None, 1.5], [1j, []]),
            lambda: (Literal["a", 1] | None, ["a", 1, None], ["b", True, 2, []]),
            lambda: (Literal[True], [True], [1, False]),
            lambda: (Color, [Color.RED], ["red", None]),
            lambda: (Item, [Item(name="x", price=1)], [{"name": "x", "price": 1}, Item, None]),
            lambda: (Anything, [GIVEN], [1, Anything]),
            lambda: (object, [1, None, GIVEN], []),
            lambda: (tuple[int, str], [(1, "x")], [(1,), (1, 2), [1], "1x", ("x", 1), None]),
            lambda: (tuple[int, ...], [(), (1, 2)], [("x",), ["x"], {1}]),
            lambda: (tuple[()], [()], [(1,)]),
            lambda: (tuple[int, *tuple[str, ...]], [(1,), (1, "x", "y")], [(), ("x",), (1, 2)]),
            lambda: (tuple, [(), (1, "x")], ["x", {1}]),
            lambda: (frozenset[int], [frozenset({1})], [1, "a", frozenset({"x"})]),
            lambda: (type[Item], [Item], [Order, int, "x", None]),
            lambda: (type[int | str], [int, bool, str], [float]),
            lambda: (type, [int], [1]),
            lambda: (Callable[[int], str], [str, len, lambda x: x], [1, None]),
            lambda: (Sequence[int], [(1, 2), ()], [("x",), "12", b"12", {1}, 5, (True,)]),
            lambda: (Sequence[str], [("a",)], ["abc", (1,)]),
            lambda: (Sequence[Sequence[int]], [((1,), ())], [((1, "x"),)]),
            lambda: (AbstractSet[int], [frozenset({1})], [["x"], {"x"}, {1: 2}]),
            lambda: (Mapping[str, int], [{}, {"a": 1}], [{"a": "b"}, {1: 1}, [("a", 1)]]),
            lambda: (Mapping[str, Sequence[Item]], [{"a": ()}], [{"a": (1,)}]),
            lambda: (Sequence, [(1, "x")], ["x", 1]),
            lambda: (Mapping, [{1: 2}], [[1]]),
            lambda: (AbstractSet, [frozenset({1, "x"})], ["x", {1: 2}, [[]]]),
        ],
    )
    def test_an_annotation_takes_what_it_says_and_refuses_the_rest(self, case):
        """Guarantee 7.3."""
        annotation, good, bad = case()
        made = type(State)("Held", (State,), {"__annotations__": {"value": annotation}})
        for value in good:
            assert made(value=value).value == value
        for value in bad:
            with pytest.raises(StateError, match=r"Held\.value"):
                made(value=value)

    def test_a_subclass_instance_is_accepted_for_a_nested_state(self):
        """Guarantee 7.3."""

        class Holder(State):
            order: Order

        deep = Deep(order_id="x")
        assert Holder(order=deep).order is deep

    def test_a_checked_container_is_shared_and_not_copied(self):
        """Guarantee 7.6: updated() and defaults do not copy what is frozen already."""

        class Holder(State):
            values: Sequence[float]
            table: Mapping[str, int | None]

        holder = Holder(values=[1, 2.5], table={"a": None})
        assert holder.values == (1.0, 2.5)
        assert Holder(values=holder.values, table=holder.table).values is holder.values
        assert Holder(values=holder.values, table=holder.table).table is holder.table

    def test_problems_inside_an_optional_are_named_with_their_path(self):
        """Guarantee 7.2."""

        class Holder(State):
            items: Sequence[Item] | None = None

        with pytest.raises(StateError, match=r"Holder.items\[0\]: expected Item, given int 3"):
            Holder(items=[3])


class TestMemory:
    def test_a_class_that_is_dropped_is_collected(self):
        """Guarantee 3.4: cycles are collected, the text of the constructor too."""

        class Dropped(State):
            value: int

        Dropped(value=1).updated(value=2)
        file = Dropped.__new__.__code__.co_filename
        assert file in linecache.cache
        reference = weakref.ref(Dropped)
        del Dropped
        gc.collect()
        assert reference() is None
        assert file not in linecache.cache

    def test_nothing_is_made_for_a_class_that_nobody_asks_for(self, hb):
        """No text is compiled for a class statement, and where C makes the instances there is no second class."""
        before = set(linecache.cache)

        class Fresh(State):
            value: int

        def compiled():
            return [file.split()[2] for file in sorted(linecache.cache.keys() - before)]

        assert compiled() == []
        fresh = Fresh(value=1)
        assert [name.rpartition(".")[2] for name in compiled()] == (
            [] if hb.backend == "compiled" else ["__new__"]
        )
        assert len(type.__subclasses__(Fresh)) == (0 if hb.backend == "compiled" else 1)
        assert Fresh.__subclasses__() == []
        assert repr(Fresh.__new__(Fresh, value=1)) == "Fresh(value=1)"
        assert {name.rpartition(".")[2] for name in compiled()} == {"__new__", "__repr__"}
        assert fresh == Fresh(value=1)

    def test_a_metaclass_with_a_call_of_its_own_is_asked(self):
        """Guarantee 7.1."""
        called = []

        class Meta(type(State)):
            def __call__(cls, **given):
                called.append(given)
                return super().__call__(**given)

        class Made(State, metaclass=Meta):
            value: int

        assert Made(value=1).updated(value=2) == Made(value=2)
        assert called == [{"value": 1}] + [{"value": 2}] * (len(called) - 1)

    def test_the_text_of_a_constructor_outlives_a_namesake_of_another_copy_of_the_package(
        self, monkeypatch
    ):
        """A reload, or a second copy as in these tests, numbers its texts from the start again."""

        def make():
            monkeypatch.setattr(
                sys.modules[State.__module__.replace("base", "source")], "_numbers", count()
            )

            class Item(State):
                value: int

            return Item

        first, second = make(), make()
        assert "value" in inspect.getsource(first.__new__)
        del first
        gc.collect()
        assert "value" in inspect.getsource(second.__new__)

    def test_an_instance_is_freed_with_its_last_reference(self, order):
        """Guarantee 3.2: nothing in the machinery holds an instance."""
        made = order.updated(total=5)
        reference = weakref.ref(made)
        del made
        let_go()
        assert reference() is None
