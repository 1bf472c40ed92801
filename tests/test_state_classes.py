"""State: what a class statement may say, and what it is refused for. Guarantee 7.1, 7.3, 7.5."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Protocol, TypedDict, TypeVar

import pytest

from haiway_bus._state import MISSING, Alias, Default, FrozenMap, State, StateError

T = TypeVar("T")


@pytest.fixture(autouse=True)
def package(hb):
    globals().update(
        {name: getattr(hb, name) for name in ("State", "Default", "StateError", "Alias")},
        MISSING=hb.MISSING,
        FrozenMap=hb._state.FrozenMap,
    )


def declare(name, annotations, **body):
    """The class that a class statement with these annotations would make."""
    return type(State)(name, (State,), {"__annotations__": annotations, **body})


class Movie(TypedDict):
    title: str


class NotRuntime(Protocol):
    def method(self) -> None: ...


class TestRefusedAtClassCreation:
    @pytest.mark.parametrize(
        ("annotation", "instead"),
        [
            (list[int], "list[int] can be changed: write Sequence[int] of collections.abc"),
            (list, "list can be changed: write Sequence of collections.abc"),
            (dict[str, int], "dict[str, int] can be changed: write Mapping[str, int]"),
            (set[str], "set[str] can be changed: write Set[str] of collections.abc"),
            (bytearray, "bytearray can be changed: write bytes"),
            (Sequence[list[int]], "list[int] can be changed: write Sequence[int]"),
            (int | list[int], "list[int] can be changed: write Sequence[int]"),
        ],
        ids=str,
    )
    def test_a_mutable_container_and_what_to_write_instead(self, annotation, instead):
        """Guarantee 7.3, 7.4."""
        with pytest.raises(StateError) as caught:
            declare("Bad", {"values": annotation})
        assert str(caught.value).startswith(f"Bad.values: {instead}")

    @pytest.mark.parametrize(
        "annotation",
        [
            Iterator[int],
            NotRuntime,
            5,
            "5",
            "1 +",
            ...,
            [int],
            Annotated[list[int], "x"],
            "int[str]",
        ],
        ids=str,
    )
    def test_an_annotation_that_cannot_be_checked(self, annotation):
        """Guarantee 7.3."""
        with pytest.raises(StateError, match=r"^Bad\.value"):
            declare("Bad", {"value": annotation})

    def test_a_protocol_that_isinstance_cannot_test(self):
        """Guarantee 7.3: Protocols that are runtime-checkable."""
        with pytest.raises(StateError, match=r"Bad.value: .*decorate it with @runtime_checkable"):
            declare("Bad", {"value": NotRuntime})

    @pytest.mark.parametrize(
        ("annotation", "default"),
        [
            *((Any, default) for default in ([], {}, set(), bytearray())),
            (Sequence[Any], [[]]),
            (Mapping[str, Any], {"a": []}),
            (tuple[Any, ...], [{}]),
        ],
        ids=str,
    )
    def test_a_mutable_default(self, annotation, default):
        """Guarantee 7.5: names class and field."""
        with pytest.raises(
            StateError, match=r"^Bad\.value: the default .* can be changed.*factory"
        ):
            declare("Bad", {"value": annotation}, value=default)

    @pytest.mark.parametrize(
        ("annotation", "default", "kept"),
        [
            (Sequence[int], [1], (1,)),
            (Sequence[Any], [], ()),
            (Sequence[Sequence[int]], [[1]], ((1,),)),
            (Mapping[str, int], {"a": 1}, {"a": 1}),
            (Mapping[str, Sequence[int]], {"a": [1]}, {"a": (1,)}),
            (AbstractSet[int], {1}, frozenset({1})),
            (AbstractSet[int], [1, 1], frozenset({1})),
            (tuple[int, ...], [1], (1,)),
            (tuple[int, str], [1, "a"], (1, "a")),
            (Movie, {"title": "x"}, {"title": "x"}),
            (Sequence[int] | None, [1], (1,)),
        ],
        ids=str,
    )
    def test_a_default_that_the_field_freezes_is_taken(self, annotation, default, kept):
        """Guarantee 7.4, 7.5: what all instances share cannot change."""
        default = copy.deepcopy(default)
        cls = declare("Good", {"value": annotation}, value=default)
        default.clear()
        assert cls().value == kept
        assert type(cls().value) in (tuple, frozenset, FrozenMap)
        assert isinstance(hash(cls()), int)
        assert cls(value=MISSING).updated().value is cls().value

    def test_a_default_that_does_not_fit_is_told_as_such(self):
        """Guarantee 7.5: not that it can be changed, for a factory would not make it fit."""
        with pytest.raises(StateError, match=r"^Bad\.value: expected int, given list \[\]"):
            declare("Bad", {"value": int}, value=[])

    def test_a_default_without_an_annotation(self):
        """Guarantee 7.5."""
        with pytest.raises(
            StateError, match=r"^Bad\.size has a value and no annotation: write size"
        ):

            class Bad(State):
                size = 3

        with pytest.raises(StateError, match=r"^Bad\.size has a value and no annotation"):

            class Bad(State):
                size = Default(factory=int)

    def test_a_field_that_shadows_a_method(self):
        """Guarantee 7.5."""
        with pytest.raises(StateError, match=r"^Bad\.updated: the field shadows State\.updated"):

            class Bad(State):
                updated: bool

        class Base(State):
            def total(self):
                return 1

        with pytest.raises(StateError, match=r"^Bad\.total: the field shadows Base\.total"):

            class Bad(Base):
                total: int

    def test_a_method_that_hides_an_inherited_field(self):
        """Guarantee 7.5."""

        class Base(State):
            size: int

        with pytest.raises(StateError, match=r"^Bad\.size would hide the inherited field"):

            class Bad(Base):
                def size(self):
                    return 1

        with pytest.raises(StateError, match=r"^Bad\.size would hide the inherited field"):

            class Bad(Base):
                size = 5

    def test_a_cycle_of_defaults(self):
        """Guarantee 7.5: an instance that needs an instance first."""
        with pytest.raises(StateError, match=r"^Bad\.inner: a cycle.*Bad\.inner -> Bad"):

            class Bad(State):
                inner: Bad = Default(factory=lambda: Bad())

    def test_a_cycle_over_several_classes(self):
        """Guarantee 7.5."""
        global First, Second, Third
        for name in ("First", "Second", "Third"):
            globals().pop(name, None)  # of the run on the other backend

        class First(State):
            second: Second = Default(factory=lambda: Second())

        class Second(State):
            pair: tuple[int, Third]

        class Third(State):
            first: First

        way = r"Second\.pair -> Third\.first -> First\.second -> Second"
        with pytest.raises(StateError, match=rf"^Second\.pair: a cycle.*{way}"):
            First()

    def test_a_cycle_that_only_a_factory_makes(self):
        """Guarantee 7.5: it shows when the factory is called, and is named all the same."""

        class Bad(State):
            inner: Bad | None = Default(factory=lambda: Bad())

        with pytest.raises(StateError, match=r"^Bad\.inner: a cycle of defaults"):
            Bad()
        assert Bad(inner=None).inner is None

    def test_a_cycle_that_an_option_breaks_is_none(self):
        """Guarantee 7.5."""

        class Node(State):
            parent: Node | None = None
            children: Sequence[Node] = ()

        root = Node()
        assert Node(parent=root, children=[root]).parent is root

    @pytest.mark.parametrize(
        "name", ["__init__", "__new__", "__setattr__", "__delattr__", "__slots__"]
    )
    def test_what_state_makes_of_the_fields(self, name):
        """Guarantee 7.1."""
        with pytest.raises(StateError, match=rf"^Bad\.{name} has no place in a State"):
            declare("Bad", {"x": int}, **{name: lambda self: None})

    def test_a_base_with_an_init_of_its_own(self):
        """Guarantee 7.1: the constructor sets all fields."""

        class Base:
            def __init__(self):
                pass

        with pytest.raises(StateError, match=r"^Bad: Base\.__init__ has no place"):

            class Bad(Base, State):
                x: int

    def test_a_private_name(self):
        """Guarantee 7.1."""
        with pytest.raises(StateError, match=r"^Bad\.__x__: a field cannot begin with two"):
            declare("Bad", {"__x__": int})

    @pytest.mark.parametrize("name", ["a-b", "class", "", "x=1):pass#"])
    def test_what_is_no_name(self, name):
        """Guarantee 7.1."""
        with pytest.raises(StateError, match=r"^Bad: .* is no name for a field"):
            declare("Bad", {name: int})

    def test_two_fields_with_one_key(self):
        """Guarantee 7.7."""
        with pytest.raises(StateError, match=r"^Bad\.b: has the key 'a', and so has a"):

            class Bad(State):
                a: int
                b: Annotated[int, Alias("a")]

    def test_an_alias_that_is_no_key(self):
        """Guarantee 7.7."""
        with pytest.raises(TypeError, match=r"Alias\(\) takes the key as text, given 3"):
            Alias(3)

    def test_an_alias_inside_an_annotation(self):
        """Guarantee 7.7: only a field has a key."""
        with pytest.raises(StateError, match=r"^Bad\.a: an Alias names a field"):

            class Bad(State):
                a: Sequence[Annotated[int, Alias("b")]]

    def test_an_unknown_value_of_a_class_option(self):
        """Guarantee 7.7."""
        with pytest.raises(
            StateError,
            match=r"^Bad: the option unknown is one of .refuse., .ignore., .keep., given 3",
        ):

            class Bad(State, unknown=3):
                pass

    def test_all_wrong_fields_of_a_class_are_named(self):
        """Guarantee 7.2, 7.3."""
        with pytest.raises(StateError) as caught:
            declare("Bad", {"a": list, "b": int, "c": Iterator[int]}, b="x")
        assert [path for path, _ in caught.value.problems] == ["Bad.a", "Bad.b", "Bad.c"]

    def test_a_generic_class_whose_parameters_cannot_be_checked(self):
        """Guarantee 7.3: with Any for them it is the class that is checked."""

        class Plain(Generic[T]):
            pass

        with pytest.raises(StateError, match=r"Bad\.x: .*write Plain, or Plain\[Any\]"):
            declare("Bad", {"x": Plain[int]})
        plain = Plain()
        assert declare("Good", {"x": Plain[Any]})(x=plain).x is plain


class TestInheritance:
    def test_a_plain_mix_in_lends_its_methods(self):
        """Guarantee 7.1: inheritance and mix-ins."""

        class Greeting:
            __slots__ = ()

            def greet(self):
                return f"hello {self.name}"

        class Person(Greeting, State):
            name: str

        class Dicted:
            def twice(self):
                return self.name * 2

        class Other(Dicted, State):
            name: str

        assert Person(name="a").greet() == "hello a"
        assert not hasattr(Person(name="a"), "__dict__")
        assert Other(name="b").twice() == "bb"
        assert Other(name="b").updated(name="c").name == "c"

    def test_a_state_mix_in_lends_its_fields(self):
        """Guarantee 7.1."""

        class Stamped(State, mixin=True):
            at: float = 0

            @property
            def late(self):
                return self.at > 5

        class Named(State):
            name: str

        class Both(Stamped, Named):
            more: int = 1

        class Second(Named, Stamped):
            pass

        both = Both(name="a", at=7)
        assert both.late
        assert repr(both) == "Both(name='a', at=7.0, more=1)"
        assert Second(name="a").at == 0.0
        with pytest.raises(StateError, match=r"^Stamped is a mix-in: make an instance of a class"):
            Stamped(at=1)
        with pytest.raises(StateError, match=r"Both.at: expected float, given str 'x'"):
            Both(name="a", at="x")

    def test_two_bases_with_fields_say_what_to_do(self):
        """Guarantee 7.1."""

        class A(State):
            a: int

        class B(State):
            b: int

        with pytest.raises(StateError, match=r"^C: two of its bases have fields.*mixin=True"):

            class C(A, B):
                pass

    def test_a_diamond_has_each_field_once(self):
        """Guarantee 7.1."""

        class A(State):
            a: int

        class B(A, mixin=True):
            b: int

        class C(A):
            c: int

        class D(B, C):
            d: int

        assert repr(D(a=1, b=2, c=3, d=4)) == "D(a=1, c=3, b=2, d=4)"

    def test_the_hook_of_subclasses_sees_each_class_once_with_its_options(self):
        """Guarantee 7.1: nothing of the machinery shows."""
        seen = []

        class Base(State):
            def __init_subclass__(cls, *, topic=None, **options):
                super().__init_subclass__(**options)
                seen.append((cls.__name__, topic))

        class First(Base, topic="one"):
            x: int

        class Second(First, topic="two"):
            pass

        First(x=1)
        assert seen == [("First", "one"), ("Second", "two")]
        assert Base.__subclasses__() == [First]
        assert First.__subclasses__() == [Second]

    def test_super_and_class_cells_work(self):
        """Guarantee 7.1."""

        class Base(State):
            x: int

            def doubled(self):
                return self.x * 2

        class Derived(Base):
            def doubled(self):
                return super().doubled() + 1

            @classmethod
            def own(cls):
                return __class__

        assert Derived(x=2).doubled() == 5
        assert Derived.own() is Derived

    def test_a_default_of_a_base_is_inherited_and_can_be_taken_away(self):
        """Guarantee 7.5."""

        class Base(State):
            x: int = 1
            y: Sequence[int] = Default(factory=list)

        class Derived(Base):
            x: int

        assert Derived(x=2).y == ()
        with pytest.raises(StateError, match=r"Derived.x: missing"):
            Derived()

    def test_a_derived_class_may_narrow_a_field(self):
        """Guarantee 7.1."""

        class Base(State):
            x: int | str

        class Derived(Base):
            x: int

        assert Base(x="a").x == "a"
        with pytest.raises(StateError, match=r"Derived.x: expected int"):
            Derived(x="a")

    def test_the_constructor_of_a_base_makes_no_derived_instance(self):
        """Guarantee 7.2: no instance without its fields."""

        class Base(State):
            x: int

        class Derived(Base):
            y: int

        assert type(Base.__new__(Derived, x=1)) is Base

    def test_a_metaclass_can_be_derived(self):
        """Guarantee 7.1."""
        meta = type(State)

        class Meta(meta):
            def __new__(mcls, name, bases, namespace, **options):
                return super().__new__(mcls, name, bases, namespace, **options)

        class Special(State, metaclass=Meta):
            x: Callable[[], int]
            y: Hashable = None

        assert Special(x=int).x is int
        assert type(Special) is Meta


def late_classes():
    global Early, Late, Owner

    class Early(State):
        late: Late
        many: Sequence[Late] = ()

    class Owner(Early):
        name: str = "x"


class TestForwardReferences:
    @pytest.fixture(autouse=True)
    def _forget(self):
        late_classes()
        yield
        for name in ("Early", "Late", "Owner"):
            globals().pop(name, None)

    def define_late(self):
        global Late

        class Late(State):
            x: int

        return Late

    def test_a_name_may_be_defined_later(self):
        """Guarantee 7.3: forward references, resolved at the first construction."""
        late = self.define_late()
        early = Early(late=late(x=1), many=[late(x=2)])
        assert early.many == (late(x=2),)
        with pytest.raises(StateError, match=r"Early.late: expected Late, given int 3"):
            Early(late=3)
        assert Owner(late=late(x=1)).name == "x"
        assert pickle.loads(pickle.dumps(early)) == early
        assert copy.deepcopy(early) is early

    def test_a_name_that_never_comes_is_named(self):
        """Guarantee 7.3."""
        with pytest.raises(StateError, match=r"Early.late: its annotation names Late, which does"):
            Early(late=1)
        with pytest.raises(StateError, match=r"Early.late: its annotation names Late"):
            Owner(late=1)
        self.define_late()
        with pytest.raises(StateError, match=r"Owner.late: expected Late"):
            Owner(late=1)

    def test_an_error_that_shows_late_is_told_at_the_first_construction(self):
        """Guarantee 7.5: as soon as it can be known."""
        global Late
        Late = list[int]
        with pytest.raises(StateError, match=r"Early.late: list\[int\] can be changed"):
            Early(late=1)

    def test_mapping_and_schema_complete_a_class_too(self):
        """Guarantee 7.7."""
        self.define_late()
        assert Early.from_mapping({"late": {"x": 1}}).late.x == 1
        late_classes()
        assert Owner.json_schema()["$ref"] == "#/$defs/Owner"

    def test_several_threads_may_make_the_first_instances(self):
        """Guarantee 7.3: completed once, by whoever comes first."""
        late = self.define_late()
        made, start = [], threading.Barrier(8)

        def work():
            start.wait()
            made.append(Owner(late=late(x=1)))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert made == [Owner(late=late(x=1))] * 8

    def test_local_names_are_found(self):
        """Guarantee 7.3: a class inside a function, with annotations that are text."""

        @dataclass
        class Local:
            x: int

        class Holder(State):
            local: Local
            names: AbstractSet[str] = frozenset()
            again: Holder | None = None

        holder = Holder(local=Local(1))
        assert Holder(local=Local(2), again=holder).again is holder

    def test_code_that_is_in_no_module_has_its_own_names(self):
        """Guarantee 7.3."""
        text = (
            "from __future__ import annotations\nclass Local: pass\nclass Made(State):\n x: Local"
        )
        names = {"State": State, "__name__": "no such module"}
        exec(text, names)
        value = names["Local"]()
        assert names["Made"](x=value).x is value

    def test_nested_classes_are_found(self):
        """Guarantee 7.3."""

        class Outer(State):
            class Inner(State):
                x: int

            inner: Inner
            inners: Sequence[Inner] = ()

        assert Outer(inner=Outer.Inner(x=1), inners=[Outer.Inner(x=2)]).inners[0].x == 2
