"""Guarantee 7.11: pydantic takes a State class as a field: it loads, dumps and describes it as State does."""

import copy
import dataclasses
import enum
import json
import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, Self, TypedDict, TypeVar
from uuid import UUID

import jsonschema
import pytest

import haiway_bus
from haiway_bus import State, StateError

pydantic = pytest.importorskip("pydantic")

from pydantic import BaseModel, Field, TypeAdapter, ValidationError  # noqa: E402 - after the skip
from pydantic.json_schema import models_json_schema  # noqa: E402
from pydantic_core import PydanticSerializationError  # noqa: E402
from typing_extensions import TypeAliasType  # noqa: E402 - pydantic needs it

T = TypeVar("T")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(State):  # for pickle, which finds classes by their names
    sku: str
    price: Annotated[Decimal, haiway_bus.Alias("unitPrice")]


class Tree(TypedDict):
    name: str
    below: "Sequence[Tree]"


class Basket(BaseModel):
    first: Item
    others: list[Item] = []


@pytest.fixture
def shop(hb: Any) -> Any:
    """Classes with what a field can be: a key of its own, a container, an Enum, a generic, itself."""

    class Item(hb.State):
        sku: str
        price: Annotated[Decimal, hb.Alias("unitPrice")]

    class Box(hb.State, Generic[T]):
        value: T

    class Order(hb.State):
        order_id: Annotated[UUID, hb.Alias("orderId")]
        created: datetime
        items: Sequence[Item] = ()
        color: Color = Color.RED
        by_sku: Mapping[str, Item] | None = None

    class Node(hb.State):
        name: str
        children: Sequence[Self] = ()

    class Card(hb.State):
        kind: Annotated[Literal["card"], hb.Alias("type")] = "card"
        number: str

    class Cash(hb.State):
        kind: Annotated[Literal["cash"], hb.Alias("type")] = "cash"
        amount: int

    return types.SimpleNamespace(**{k: v for k, v in locals().items() if k != "hb"})


PLAIN = {
    "orderId": "00000000-0000-0000-0000-000000000007",
    "created": "2026-01-02T00:00:00+00:00",
    "items": [{"sku": "pen", "unitPrice": "1.50"}],
    "color": "blue",
    "by_sku": None,
}


def problems(annotation: Any, value: Any, **options: Any) -> list[tuple[Any, ...]]:
    """The places, types and messages of the error."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(annotation).validate_python(value, **options)
    return [(line["loc"], line["type"], line["msg"]) for line in caught.value.errors()]


def test_a_field_is_loaded_and_dumped_as_state_does(shop: Any) -> None:
    class Model(BaseModel):
        order: shop.Order
        maybe: shop.Item | None = None
        items: list[shop.Item] = []
        named: dict[str, shop.Item] = {}
        box: shop.Box[int] = shop.Box[int](value=1)

    item = {"sku": "a", "unitPrice": "2"}
    plain = {
        "order": PLAIN,
        "maybe": item,
        "items": [item],
        "named": {"x": item},
        "box": {"value": 3},
    }
    model = Model.model_validate(plain)
    assert model.order == shop.Order.from_mapping(PLAIN)
    assert model.order.created == datetime(2026, 1, 2, tzinfo=UTC)
    assert type(model.box) is shop.Box[int]
    assert model.maybe == model.items[0] == model.named["x"] == shop.Item.from_mapping(item)
    assert model.model_dump() == model.model_dump(mode="json") == plain
    assert json.loads(model.model_dump_json()) == plain
    assert Model.model_validate_json(model.model_dump_json()) == model
    assert Model(order=model.order).box.value == 1
    assert TypeAdapter(shop.Order).validate_json(json.dumps(PLAIN)) == model.order
    assert TypeAdapter(shop.Order).dump_json(model.order).decode() == model.order.to_json()


def test_an_instance_is_kept_as_it_is_and_a_mapping_may_hold_values(shop: Any) -> None:
    order = shop.Order.from_mapping(PLAIN)
    adapter = TypeAdapter(shop.Order)
    assert adapter.validate_python(order) is order
    mapping = types.MappingProxyType({**PLAIN, "created": order.created, "items": order.items})
    assert adapter.validate_python(mapping) == order

    class Later(shop.Item):
        note: str = ""

    later = Later(sku="a", price=Decimal(1))
    assert TypeAdapter(shop.Item).validate_python(later) is later


def test_strict_takes_an_instance_or_json(shop: Any) -> None:
    adapter = TypeAdapter(shop.Item)
    item = shop.Item(sku="a", price=Decimal(1))
    assert adapter.validate_python(item, strict=True) is item
    assert adapter.validate_json(item.to_json(), strict=True) == item
    for mapping in (item.to_mapping(), types.MappingProxyType(item.to_mapping())):
        assert problems(shop.Item, mapping, strict=True) == [
            ((), "dataclass_exact_type", "Input should be an instance of Item")
        ]

    class Model(BaseModel):
        item: Annotated[shop.Item, Field(strict=True)]

    assert Model(item=item).item is item
    assert Model.model_validate_json('{"item":' + item.to_json() + "}").item == item
    with pytest.raises(ValidationError, match="should be an instance of Item"):
        Model.model_validate({"item": item.to_mapping()})


def test_pydantic_finds_the_member_of_a_union(shop: Any) -> None:
    cash = shop.Cash(amount=1)
    plain = TypeAdapter(shop.Card | shop.Cash)
    tagged = TypeAdapter(Annotated[shop.Card | shop.Cash, Field(discriminator="kind")])
    for adapter in (plain, tagged):
        assert adapter.validate_python({"type": "cash", "amount": 1}) == cash
        assert adapter.validate_json('{"type": "cash", "amount": 1}') == cash
        assert adapter.validate_python(cash) is cash
        assert adapter.dump_python(cash) == {"type": "cash", "amount": 1}
        assert adapter.dump_json(cash) == b'{"type":"cash","amount":1}'
    assert tagged.json_schema()["discriminator"] == {
        "propertyName": "type",
        "mapping": {"card": "#/$defs/Card", "cash": "#/$defs/Cash"},
    }
    # A State that accepts a dict fits better than dict.
    for annotation in (shop.Cash | dict[str, Any], dict[str, Any] | shop.Cash):
        assert TypeAdapter(annotation).validate_python({"amount": 1}) == cash
        assert TypeAdapter(annotation).validate_json('{"amount": 1}') == cash
        assert TypeAdapter(annotation).validate_python({"other": 1}) == {"other": 1}
    assert TypeAdapter(int | shop.Cash | None).dump_python(cash) == cash.to_mapping()


def test_a_tag_may_be_a_member_of_an_enum_and_stand_behind_an_alias(hb: Any) -> None:
    red = Literal[Color.RED]

    class A(hb.State):
        kind: red

    class B(hb.State):
        kind: Literal[Color.BLUE, "navy"]

    adapter = TypeAdapter(Annotated[A | B, Field(discriminator="kind")])
    assert adapter.validate_python({"kind": "red"}) == A(kind=Color.RED)
    assert adapter.validate_json('{"kind": "blue"}') == B(kind=Color.BLUE)
    assert adapter.validate_python({"kind": "navy"}) == B(kind="navy")
    for one in (A(kind=Color.RED), B(kind=Color.BLUE), B(kind="navy")):
        assert adapter.validate_python(one) is one
        assert adapter.validate_json(adapter.dump_json(one)) == one
    assert sorted(adapter.json_schema()["discriminator"]["mapping"]) == ["blue", "navy", "red"]


def test_a_class_is_written_as_itself_or_not_at_all(hb: Any) -> None:
    """Guarantee 7.7: what is written can be read back, of the same class."""

    class Base(hb.State):
        number: int = 1

    class Derived(Base):
        secret: str = "x"

    assert TypeAdapter(Base | Derived).dump_python(Derived()) == {"number": 1, "secret": "x"}
    assert TypeAdapter(Derived | Base).dump_json(Base()) == b'{"number":1}'
    for dump in (TypeAdapter(Base).dump_python, TypeAdapter(Base).dump_json):
        with pytest.raises(PydanticSerializationError, match="would lose the class of Derived"):
            dump(Derived())
        with pytest.warns(UserWarning, match="expected Base, given 5"):
            dump(5)


def test_a_problem_has_its_place_as_keys_and_indexes(shop: Any) -> None:
    class Model(BaseModel):
        order: shop.Order
        node: shop.Node
        pay: Annotated[shop.Card | shop.Cash, Field(discriminator="kind")]

    order = {
        "orderId": "x",
        "items": [{"sku": 1, "unitPrice": "2", "more": 3}, {"sku": "a"}],
        "by_sku": {"it's": {"sku": "a", "unitPrice": True}, "]['": {}, "1": {}, "'].a[\"'": 3},
    }
    given = {
        "order": order,
        "node": {"name": "a", "children": [{"name": "b", "children": [{"name": None}]}]},
        "pay": {"type": "cash", "amount": "1"},
    }
    assert problems(Model, given) == [
        (("order", "orderId"), "state_error", "expected UUID, given str 'x'"),
        (("order", "created"), "missing", "missing, expected datetime"),
        (("order", "items", 0, "sku"), "state_error", "expected str, given int 1"),
        (
            ("order", "items", 0, "more"),
            "extra_forbidden",
            "no such key, the keys are: sku, unitPrice",
        ),
        (
            ("order", "items", 1, "unitPrice"),
            "missing",
            "missing, expected Decimal under the key 'unitPrice'",
        ),
        (
            ("order", "by_sku", "it's", "unitPrice"),
            "state_error",
            "expected Decimal, given bool True",
        ),
        (("order", "by_sku", "]['", "sku"), "missing", "missing, expected str"),
        (
            ("order", "by_sku", "]['", "unitPrice"),
            "missing",
            "missing, expected Decimal under the key 'unitPrice'",
        ),
        (("order", "by_sku", "1", "sku"), "missing", "missing, expected str"),
        (
            ("order", "by_sku", "1", "unitPrice"),
            "missing",
            "missing, expected Decimal under the key 'unitPrice'",
        ),
        (("order", "by_sku", "'].a[\"'"), "state_error", "expected Item, given int 3"),
        (("node", "children", 0, "children", 0, "name"), "state_error", "expected str, given None"),
        (("pay", "cash", "amount"), "state_error", "expected int, given str '1'"),
    ]
    assert problems(shop.Item, 3) == [((), "state_error", "expected a mapping, given int 3")]


def test_a_key_is_found_through_aliases_typed_dicts_and_generics(hb: Any) -> None:
    class Inner(hb.State):
        number: Annotated[int, hb.Alias("NUMBER")]

    class Entry(TypedDict):
        inner: Inner

    class Box(hb.State, Generic[T]):
        value: Annotated[T, hb.Alias("VALUE")]

    class Outer(hb.State):
        entry: Entry
        box: Box[Sequence[Inner]]
        pair: tuple[int, Inner]
        deep: Mapping[str, Mapping[str, Inner]]

    wrong = {"NUMBER": "x"}
    given = {
        "entry": {"inner": wrong},
        "box": {"VALUE": [wrong]},
        "pair": [1, wrong],
        "deep": {"a": {"'b\"": wrong}},
    }
    assert [loc for loc, _, _ in problems(Outer, given)] == [
        ("entry", "inner", "NUMBER"),
        ("box", "VALUE", 0, "NUMBER"),
        ("pair", 1, "NUMBER"),
        ("deep", "a", "'b\"", "NUMBER"),
    ]


HOSTILE = {
    "nan": float("nan"),
    "infinity in a list": [1, float("inf")],
    "lone surrogate": "a\ud800",
    "lone surrogate as a key": {"\ud800": 1},
    "digits": 10**5000,
    "deep": json.loads("[" * 900 + "]" * 900),
    "wide": [0] * 100_000,
    "long": "x" * 1_000_000,
    "long parts": ["x" * 400] * 5,
    "bytes": b"\xff",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_an_error_is_small_and_json_can_carry_it(shop: Any, value: Any) -> None:
    """Guarantee 7.7: a server that answers with the error does not fail on it."""
    places = (value, {"sku": value}, {"sku": [value], "unitPrice": value}, {"a\ud800": value})
    for given in (*places, [{}, value], {f"key{number}": value for number in range(1000)}):
        with pytest.raises(ValidationError) as caught:
            TypeAdapter(shop.Item).validate_python(given)
        text = json.dumps(caught.value.errors(), allow_nan=False, ensure_ascii=False)
        assert len(text.encode()) < 100_000
        assert str(caught.value)


def test_the_value_at_the_place_is_shown(shop: Any) -> None:
    given = {**PLAIN, "items": [{"sku": ["a", {"b": 1}]}], "color": Color}
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shop.Order).validate_python(given)
    assert [(line["loc"][-1], line["input"]) for line in caught.value.errors()] == [
        ("sku", ["a", {"b": 1}]),
        ("unitPrice", {"sku": ["a", {"b": 1}]}),
        ("color", Color),
    ]


def test_an_error_has_at_most_a_hundred_lines(shop: Any) -> None:
    lines = problems(shop.Item, {f"key{number}": number for number in range(1000)})
    assert len(lines) <= 101
    loc, kind, message = lines[-1]
    assert (loc, kind) == ((), "state_error")
    assert message == "there are more problems"


def test_an_error_of_the_class_is_no_error_of_the_data(hb: Any) -> None:
    class Pending(hb.State):
        other: "Missing"  # noqa: F821 - there is no such class

    class Pend(hb.State):
        inner: Pending

    for cls, given in ((Pending, {}), (Pending, {"other": 1}), (Pend, {"inner": {"other": 1}})):
        with pytest.raises(pydantic.PydanticUserError, match="Missing, which does not exist"):
            TypeAdapter(cls).validate_python(given)


def test_a_union_that_plain_data_cannot_tell_apart_is_refused_at_once(hb: Any) -> None:
    """Guarantee 7.7: a bridge of the type is a use of its mapping."""

    class Shown(hb.State):
        when: str | datetime

    with pytest.raises(hb.StateError, match=r"Shown\.when: .* is fine in memory"):
        TypeAdapter(Shown)
    with pytest.raises(hb.StateError, match="is fine in memory"):

        class Model(BaseModel):
            shown: Shown


def test_a_mix_in_is_a_field_of_instances(hb: Any) -> None:
    class Named(hb.State, mixin=True):
        name: str

    class Dog(Named):
        legs: int = 4

    adapter = TypeAdapter(Named)
    dog = Dog(name="a")
    assert adapter.validate_python(dog) is dog
    with pytest.raises(pydantic.PydanticUserError, match="Named: has no instances, it is a mix-in"):
        adapter.validate_python({"name": "a"})


def test_options_of_the_class_hold(hb: Any) -> None:
    """Guarantees 7.9 and 7.10."""

    class Event(hb.State, rename="camel", omit_defaults=True, unknown="keep"):
        first_number: int
        last_number: int = 9

        def __validate__(self) -> None:
            if self.first_number > self.last_number:
                raise ValueError("the first comes after the last")

    adapter = TypeAdapter(list[Event])
    plain = [{"firstNumber": 1, "more": [1]}]
    (event,) = adapter.validate_python(plain)
    assert event == Event(first_number=1, __unknown__={"more": [1]})
    assert adapter.dump_python([event]) == plain
    assert problems(list[Event], [{"firstNumber": 10}]) == [
        ((0,), "state_error", "the first comes after the last")
    ]
    assert problems(Event, {"firstNumber": "x"})[0][0] == ("firstNumber",)
    assert adapter.json_schema()["$defs"]["Event"]["additionalProperties"] is True


def test_a_class_that_is_completed_later_is_taken(hb: Any) -> None:
    scope: dict[str, Any] = {"hb": hb, "BaseModel": BaseModel, "__name__": "made"}
    exec(
        "class Early(hb.State):\n    late: 'Late'\n"
        "class Model(BaseModel):\n    early: Early\n"
        "class Late(hb.State):\n    number: int",
        scope,
    )
    model = scope["Model"].model_validate({"early": {"late": {"number": 1}}})
    assert model.early == scope["Early"](late=scope["Late"](number=1))


def test_a_class_that_is_complete_by_now_has_its_tags(hb: Any) -> None:
    scope: dict[str, Any] = {"hb": hb, "Literal": Literal, "__name__": "made"}
    exec(
        "class A(hb.State):\n    kind: Literal['a']\n    late: 'Late'\n"
        "class B(hb.State):\n    kind: Literal['b']\n    late: 'Late'\n"
        "class Late(hb.State):\n    number: int",
        scope,
    )
    a, b = scope["A"], scope["B"]
    adapter = TypeAdapter(Annotated[a | b, Field(discriminator="kind")])
    assert type(adapter.validate_python({"kind": "b", "late": {"number": 1}})) is b


def test_a_place_within_a_type_that_contains_itself(hb: Any) -> None:
    nested = TypeAliasType("nested", "int | Sequence[nested]")

    class Holder(hb.State):
        value: nested

    assert TypeAdapter(Holder).validate_python({"value": [1, [2]]}) == Holder(value=(1, (2,)))
    assert [loc[:1] for loc, _, _ in problems(Holder, {"value": [1, ["x"]]})] == [("value",)]
    assert list(TypeAdapter(Holder).json_schema()["$defs"]) == ["nested"]


def test_a_message_of_validate_may_hold_any_text(hb: Any) -> None:
    class Range(hb.State):
        name: str

        def __validate__(self) -> None:
            raise ValueError("{braces}\n\ud800")

    assert problems(Range, {"name": "a"}) == [((), "state_error", "{braces}\n\\ud800")]


def test_each_type_stands_in_a_json_schema_once(shop: Any) -> None:
    class Model(BaseModel):
        order: shop.Order
        item: shop.Item
        color: Color
        boxes: list[shop.Box[int]]
        default: shop.Item = shop.Item(sku="a", price=Decimal(1))

    class Outer(BaseModel):
        model: Model
        items: list[shop.Item]
        node: shop.Node

    document = Outer.model_json_schema()
    definitions = document["$defs"]
    assert sorted(definitions) == ["Box_int_", "Color", "Item", "Model", "Node", "Order"]
    own = shop.Order.json_schema()["$defs"]
    assert definitions["Order"]["properties"] == own["Order"]["properties"]
    assert definitions["Item"] == own["Item"]
    assert definitions["Color"]["enum"] == ["red", "blue"]
    assert definitions["Node"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Node"}
    assert definitions["Model"]["properties"]["default"]["default"] == {
        "sku": "a",
        "unitPrice": "1",
    }
    assert document["properties"]["items"]["items"] == {"$ref": "#/$defs/Item"}
    assert Model.model_json_schema() == Model.model_json_schema(mode="serialization")
    model = {"order": PLAIN, "item": PLAIN["items"][0], "color": "red", "boxes": [{"value": 1}]}
    outer = Outer.model_validate({"model": model, "items": [], "node": {"name": "a"}})
    jsonschema.Draft202012Validator.check_schema(document)
    jsonschema.validate(json.loads(outer.model_dump_json()), document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(outer.model_dump_json()), "node": {"name": 1}}, document)


def test_the_references_are_those_that_openapi_wants(shop: Any) -> None:
    document = TypeAdapter(shop.Order).json_schema(ref_template="#/components/schemas/{model}")
    assert document["title"] == "Order"
    assert document["properties"]["items"]["items"] == {"$ref": "#/components/schemas/Item"}
    assert document["properties"]["color"]["$ref"] == "#/components/schemas/Color"
    assert sorted(document["$defs"]) == ["Color", "Item"]


def test_an_enum_is_one_definition_in_both_modes(shop: Any) -> None:
    class Answer(BaseModel):
        color: Color

    class Question(BaseModel):
        order: shop.Order

    _, document = models_json_schema([(Question, "validation"), (Answer, "serialization")])
    assert sorted(document["$defs"]) == ["Answer", "Color", "Item", "Order", "Question"]


def test_two_classes_of_one_name_are_two_definitions(hb: Any) -> None:
    def make(annotation: type) -> Any:
        class Item(hb.State):
            value: annotation

        class Holder(hb.State):
            item: Item

        return Item, Holder

    fields = {name: (cls, ...) for name, cls in zip("abcd", make(int) + make(str), strict=True)}
    right = {
        "a": {"value": 1},
        "b": {"item": {"value": 1}},
        "c": {"value": "x"},
        "d": {"item": {"value": "x"}},
    }
    document = pydantic.create_model("Model", **fields).model_json_schema()
    assert len(document["$defs"]) == 4
    jsonschema.validate(right, document)
    for one, other in ("ac", "ca", "bd", "db"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**right, one: right[other]}, document)


def test_recursive_types_within_a_class_are_definitions(hb: Any) -> None:
    class Wood(hb.State):
        tree: Tree

    class Model(BaseModel):
        wood: Wood

    document = Model.model_json_schema()
    assert sorted(document["$defs"]) == ["Tree", "Wood"]
    value = {"wood": {"tree": {"name": "a", "below": [{"name": "b", "below": []}]}}}
    jsonschema.validate(value, document)
    assert Model.model_validate(value).model_dump() == value
    value["wood"]["tree"]["below"][0]["name"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(value, document)


def test_what_json_cannot_carry_is_refused_as_pydantic_does(hb: Any) -> None:
    class Job(hb.State):
        run: Callable[[], None]

    class Model(BaseModel):
        job: Job

    model = Model(job=Job(run=print))
    with pytest.raises(pydantic.PydanticInvalidForJsonSchema, match="Job.run: JSON cannot carry"):
        Model.model_json_schema()
    with pytest.raises(PydanticSerializationError, match="Job.run: JSON cannot carry"):
        model.model_dump_json()


def test_dataclasses_and_functions_take_it_too(shop: Any) -> None:
    @pydantic.dataclasses.dataclass
    class Data:
        item: shop.Item

    @dataclasses.dataclass
    class Plain:
        item: shop.Item

    @pydantic.validate_call
    def sku(item: shop.Item) -> str:
        return item.sku

    item = {"sku": "a", "unitPrice": "1"}
    assert Data(item=item).item == TypeAdapter(Plain).validate_python({"item": item}).item
    assert TypeAdapter(Plain).dump_python(Plain(item=shop.Item.from_mapping(item)))["item"] == item
    assert sku(item) == "a"


def test_models_are_copied_and_pickled() -> None:
    basket = Basket(first={"sku": "a", "unitPrice": "1"}, others=[{"sku": "b", "unitPrice": "2"}])
    assert pickle.loads(pickle.dumps(basket)) == basket == copy.deepcopy(basket)
    assert basket.model_copy(deep=True).first is basket.first
    assert basket.model_copy(update={"first": basket.others[0]}).first.sku == "b"


def test_an_own_hook_takes_the_place_of_states(hb: Any) -> None:
    from pydantic_core import core_schema

    class Short(hb.State):
        text: str

        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            made = super().__get_pydantic_core_schema__(source, handler)
            parse = core_schema.no_info_plain_validator_function(lambda text: cls(text=text))
            return core_schema.union_schema(
                [made, core_schema.chain_schema([core_schema.str_schema(), parse])]
            )

    assert TypeAdapter(Short).validate_python("x") == Short(text="x")
    assert TypeAdapter(Short).validate_python({"text": "x"}) == Short(text="x")


def test_neither_is_imported_before_it_is_used() -> None:
    root = str(haiway_bus.__file__).removesuffix("__init__.py") + ".."
    code = f"""
import sys; sys.path.insert(0, {root!r})
import haiway_bus
class Item(haiway_bus.State): number: int
Item.from_json('{{"number": 1}}').to_json(); Item.json_schema(); dir(Item)
assert not {{"pydantic", "pydantic_core", "fastapi", "haiway_bus._bridges.pydantic"}} & set(sys.modules)
from pydantic import TypeAdapter
before = set(sys.modules)
assert TypeAdapter(Item).validate_python({{"number": 1}}) == Item(number=1)
print(*(name for name in set(sys.modules) - before if name.startswith("haiway_bus")))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ["haiway_bus._bridges", "haiway_bus._bridges.pydantic"]


def test_the_error_of_a_refused_value_is_no_state_error(shop: Any) -> None:
    """pydantic's users catch pydantic's error."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shop.Item).validate_python({})
    assert not isinstance(caught.value, StateError)
