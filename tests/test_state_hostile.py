"""State, read from text that wants to do harm. Guarantee 7.7.

Each hostile input is a StateError with a path, or an instance, and costs time and memory that are linear in it. The
tests count calls and bytes instead of seconds. Where neither can be counted (a regular expression), the input is so
long that a cost that grows with the square would never end.
"""

# ruff: noqa: PT017, RUF001 - what an error says is asked where one may come; digits that are not ASCII's are meant

from __future__ import annotations

import contextlib
import copy
import gc
import json
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

import annotated_types
import pytest

from haiway_bus._state import Alias, Default, FrozenMap, JsonValue, State, StateError
from tests.shared import define_once

T = TypeVar("T")
PUBLIC = ("Alias", "Default", "FrozenMap", "JsonValue", "State", "StateError")

MANY = 200
"""The most problems that an error may list, and no message needs."""


class Op(Enum):
    AND = "and"
    OR = "or"


class AndT(TypedDict):
    op: Literal["and"]
    left: NotRequired[AndT | OrT | None]


class OrT(TypedDict):
    op: Literal["or"]
    left: NotRequired[AndT | OrT | None]


class WrapT(TypedDict):
    inner: AndW | OrW


def define():
    global \
        And, \
        Or, \
        And1, \
        Or1, \
        AndEnum, \
        OrEnum, \
        AndS, \
        OrS, \
        AndM, \
        OrM, \
        AndG, \
        OrG, \
        AndU, \
        OrU, \
        AndW, \
        OrW, \
        TypedT
    global \
        AndA, \
        OrA, \
        AndN, \
        OrN, \
        AndDefault, \
        OrDefault, \
        AndI, \
        OrI, \
        A, \
        B, \
        Link, \
        Tree, \
        Branch, \
        Free, \
        Lenient, \
        Wide

    class And(State):
        left: And | Or | None = None
        op: Literal["and"]

    class Or(State):
        left: And | Or | None = None
        op: Literal["or"]

    class And1(State):
        op: Literal["and"]
        left: And1 | Or1 | None = None

    class Or1(State):
        op: Literal["or"]
        left: And1 | Or1 | None = None

    class AndEnum(State):
        left: AndEnum | OrEnum | None = None
        op: Literal[Op.AND]

    class OrEnum(State):
        left: AndEnum | OrEnum | None = None
        op: Literal[Op.OR]

    class AndS(State):
        left: Sequence[AndS | OrS] = ()
        op: Literal["and"]

    class OrS(State):
        left: Sequence[AndS | OrS] = ()
        op: Literal["or"]

    class AndM(State):
        left: Mapping[str, AndM | OrM] = FrozenMap()
        op: Literal["and"]

    class OrM(State):
        left: Mapping[str, AndM | OrM] = FrozenMap()
        op: Literal["or"]

    class AndG(State, Generic[T]):
        left: AndG[T] | OrG[T] | None = None
        op: Literal["and"]

    class OrG(State, Generic[T]):
        left: AndG[T] | OrG[T] | None = None
        op: Literal["or"]

    class AndU(State):
        left: tuple[AndU | OrU | None, int] = (None, 0)
        op: Literal["and"]

    class OrU(State):
        left: tuple[AndU | OrU | None, int] = (None, 0)
        op: Literal["or"]

    class AndW(State):
        left: WrapT | None = None
        op: Literal["and"]

    class OrW(State):
        left: WrapT | None = None
        op: Literal["or"]

    class AndA(State):
        left: AndA | OrA | None = None
        op: Annotated[Literal["and"], Alias("$op")]

    class OrA(State):
        left: AndA | OrA | None = None
        op: Annotated[Literal["or"], Alias("$op")]

    class AndN(State):
        left: Sequence[AndN | OrN] | None = None
        op: Literal["and", "also"]

    class OrN(State):
        left: Sequence[AndN | OrN] | None = None
        op: Literal["or", "else"]

    class AndDefault(State):
        op: Literal["and"] = "and"
        left: AndDefault | OrDefault | None = None

    class OrDefault(State):
        op: Literal["or"] = "or"
        left: AndDefault | OrDefault | None = None

    class AndI(State):
        left: AndI | OrI | None = None
        op: Literal[1]

    class OrI(State):
        left: AndI | OrI | None = None
        op: Literal[2]

    class TypedT(State):
        left: AndT | OrT | None = None

    class A(State):
        left: A | B | None = None
        a: int

    class B(State):
        left: A | B | None = None
        b: int

    class Link(State):
        next: Link | None = None

    class Tree(State):
        children: Sequence[Tree] = ()

    class Branch(State):
        children: Mapping[str, Branch] = FrozenMap()

    class Free(State):
        value: Any

    class Lenient(State, unknown="ignore"):
        x: int = 0

    names = {f"a_field_of_some_length_{index}": int for index in range(200)}
    Wide = type(State)("Wide", (State,), {"__annotations__": names})


@pytest.fixture(autouse=True)
def package(hb):
    define_once(hb, globals(), PUBLIC, define)


def held(annotation, **options):
    return type(State)("Held", (State,), {"__annotations__": {"value": annotation}}, **options)


def refused(read, text):
    """The error of an input: small, and each of its paths begins at a class."""
    with pytest.raises(StateError) as caught:
        read(text)
    problems = caught.value.problems
    assert 0 < len(problems) <= MANY
    assert all(path.partition(".")[0].partition("[")[0].isidentifier() for path, _ in problems)
    assert len(str(caught.value)) < 100_000 + 10 * max(len(path) for path, _ in problems)
    return caught.value


def outcome(read, text):
    try:
        return read(text)
    except StateError as error:
        assert 0 < len(error.problems) <= MANY
        return error


class TooMany(BaseException):
    pass


def calls(work, most=400_000):
    """How many functions the work calls, in Python and in C. Ends the work when there are too many."""
    count = 0

    def called(frame, event, argument):
        nonlocal count
        # PyPy's decoder of JSON is written in Python: its calls are not the package's.
        if event.endswith("call") and not frame.f_globals["__name__"].startswith("json."):
            count += 1
            if count > most:
                raise TooMany

    sys.setprofile(called)
    try:
        work()
    except TooMany:
        pytest.fail(f"more than {most} calls")
    finally:
        sys.setprofile(None)
    return count


def peak(work):
    """How many bytes the work holds at most."""
    tracemalloc = pytest.importorskip("tracemalloc", reason="this Python has no tracemalloc")
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def deep(work, *, stack=0):
    """The work in a thread of its own, whose stack is new but for as many frames."""
    results = []

    def under(frames):
        if frames:
            under(frames - 1)
        else:
            try:
                results.append(work())
            except BaseException as error:
                results.append(error)

    before = threading.stack_size(64 << 20)
    thread = threading.Thread(target=under, args=(stack,))
    thread.start()
    threading.stack_size(before)
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]


def nested(depth, wrap, leaf):
    plain = leaf
    for _ in range(depth):
        plain = wrap(plain)
    return plain


UNIONS: dict[str, tuple[Callable[[], Any], Any, Any, Any, str]] = {
    # The class, a level, the innermost one, a wrong innermost one, the path of a level.
    "tag last": (
        lambda: Or,
        lambda inner: {"left": inner, "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left",
    ),
    "tag first": (
        lambda: Or1,
        lambda inner: {"op": "or", "left": inner},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left",
    ),
    "enum": (
        lambda: OrEnum,
        lambda inner: {"left": inner, "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left",
    ),
    "sequence": (
        lambda: OrS,
        lambda inner: {"left": [inner], "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left[0]",
    ),
    "mapping": (
        lambda: OrM,
        lambda inner: {"left": {"k": inner}, "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left['k']",
    ),
    "generic": (
        lambda: OrG[int],
        lambda inner: {"left": inner, "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left",
    ),
    "tuple": (
        lambda: OrU,
        lambda inner: {"left": [inner, 1], "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left[0]",
    ),
    "through a TypedDict": (
        lambda: OrW,
        lambda inner: {"left": {"inner": inner}, "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        ".left['inner']",
    ),
    "alias": (
        lambda: OrA,
        lambda inner: {"left": inner, "$op": "or"},
        {"$op": "or"},
        {"$op": "or", "x": 1},
        ".left",
    ),
    "optional sequence, many values": (
        lambda: OrN,
        lambda inner: {"left": [inner], "op": "else"},
        {"op": "else"},
        {"op": "else", "x": 1},
        ".left[0]",
    ),
    "number": (
        lambda: OrI,
        lambda inner: {"left": inner, "op": 2},
        {"op": 2},
        {"op": 2, "x": 1},
        ".left",
    ),
    "of TypedDicts": (
        lambda: TypedT,
        lambda inner: {"left": inner, "op": "or"},
        {"op": "or"},
        {"op": "or", "x": 1},
        "['left']",
    ),
}


def document(name, depth, leaf):
    cls, wrap, *_ = UNIONS[name]
    plain = nested(depth, wrap, leaf)
    return cls(), {"left": plain} if name == "of TypedDicts" else plain


@pytest.mark.parametrize("name", UNIONS)
class TestTaggedUnions:
    @pytest.mark.parametrize("wrong", [False, True])
    def test_a_level_more_costs_as_much_as_the_level_before(self, name, wrong):
        """Guarantee 7.7: a valid document of 384 bytes stopped the loop for eight seconds."""
        counts = []
        for depth in (20, 40, 80):
            cls, plain = document(name, depth, UNIONS[name][3 if wrong else 2])
            text = json.dumps(plain)
            outcome(cls.from_json, text)  # the class is complete
            counts.append(calls(lambda text=text, cls=cls: outcome(cls.from_json, text)))
            counts[-1] += calls(lambda plain=plain, cls=cls: outcome(cls.from_mapping, plain))
        assert counts[2] - counts[1] <= 2.5 * (counts[1] - counts[0]) + 100, counts

    def test_a_valid_document_is_read_and_written(self, name):
        """Guarantee 7.7."""
        cls, plain = document(name, 60, UNIONS[name][2])
        made = cls.from_mapping(plain)
        assert cls.from_json(made.to_json()) == made
        assert cls.from_mapping(made.to_mapping()) == made

    def test_the_path_leads_to_the_innermost_problem(self, name):
        """Guarantee 7.7: the tag says which member is meant, so that its problem is told."""
        cls, plain = document(name, 30, UNIONS[name][3])
        step = UNIONS[name][4]
        error = refused(cls.from_json, json.dumps(plain))
        ((path, reason),) = error.problems
        if name == "of TypedDicts":
            assert path == f"TypedT.left{step * 30}['x']"
        else:
            assert path == f"{cls.__name__}{step * 30}['x']"
        assert reason.startswith("no such key")

    @pytest.mark.parametrize("tag", ["cash", [], {}, None, 1.5, True, "or\x00", 10**30])
    def test_a_tag_that_no_member_has(self, name, tag):
        """Guarantee 7.7: with the path to the tag, or to the value that has it."""
        (key,) = UNIONS[name][2]
        for leaf in ({key: tag}, {}, {"left": None, key: tag}):
            cls, plain = document(name, 3, leaf)
            for read, given in ((cls.from_json, json.dumps(plain)), (cls.from_mapping, plain)):
                error = refused(read, given)
                assert all(path.count("left") >= 3 for path, _ in error.problems), error


class TestOtherUnions:
    @pytest.mark.parametrize("wrong", [False, True])
    def test_members_that_only_their_keys_tell_apart(self, wrong):
        """Guarantee 7.7: read, or refused with the way out; never a cost of two to the depth."""
        counts = []
        for depth in (10, 30, 60):
            leaf = {"b": "wrong"} if wrong else {"b": 1}
            text = json.dumps(nested(depth, lambda inner: {"left": inner, "b": 1}, leaf))
            outcome(B.from_json, text)
            counts.append(calls(lambda text=text: outcome(B.from_json, text), most=2_000_000))
        assert counts[2] <= 2_000_000

    def test_tags_with_defaults_that_a_document_leaves_out(self):
        """Guarantee 7.7."""
        for leaf in ({}, {"x": 1}, {"op": "or"}):
            text = json.dumps(nested(60, lambda inner: {"left": inner}, leaf))
            calls(lambda text=text: outcome(OrDefault.from_json, text))

    def test_unions_of_containers(self):
        """Guarantee 7.7."""
        cls = held(Sequence[A] | Mapping[str, A] | None)
        for leaf in ({"a": 1}, {"a": "x"}):
            text = json.dumps({"value": [nested(40, lambda inner: {"left": inner, "a": 1}, leaf)]})
            calls(lambda text=text, cls=cls: outcome(cls.from_json, text), most=2_000_000)

    def test_a_wide_union_of_many_members(self):
        """Guarantee 7.7: the tag is found by hash."""
        members = [
            type(State)(
                f"Member{index}",
                (State,),
                {"__annotations__": {"kind": Literal[f"m{index}"], "x": int}},
            )
            for index in range(50)
        ]
        union = members[0]
        for member in members[1:]:
            union = union | member
        cls = held(Sequence[union])

        def cost(number):
            rows = [{"kind": "m49", "x": 1}] * number
            text = json.dumps({"value": rows})
            cls.from_json(text)
            return calls(lambda: cls.from_json(text))

        assert cost(200) - cost(100) <= 100 * 20

    def test_many_wrong_elements_of_a_union(self):
        """Guarantee 7.7."""
        cls = held(Sequence[And | Or])
        row = {"op": "or", "left": 5}
        for rows in ([row] * 5_000, [{"op": "no"}] * 5_000, [5] * 5_000, [[]] * 5_000):
            refused(cls.from_json, json.dumps({"value": rows}))


class TestManyProblems:
    def test_a_megabyte_of_unknown_keys(self):
        """Guarantee 7.7: 600 MiB it took."""
        known = ",".join(f'"{name}":1' for name in Wide.__state__.names)
        for tail in ("", "," + known):

            def text(number, tail=tail):
                unknown = ",".join(f'"k{index}":0' for index in range(number))
                return "{" + unknown + tail + "}"

            refused(Wide.from_json, text(100))
            small, large = text(25_000), text(50_000)
            first = peak(lambda small=small: refused(Wide.from_json, small))
            second = peak(lambda large=large: refused(Wide.from_json, large))
            assert second < 2.6 * first + 100_000
            assert second < 40 * len(large)

    def test_rows_that_lack_all_of_their_fields(self):
        """Guarantee 7.7."""
        cls = held(Sequence[Wide])

        def work(number):
            text = json.dumps({"value": [{}] * number})
            refused(cls.from_json, text)
            return calls(lambda: refused(cls.from_json, text))

        assert work(20_000) < 1.5 * work(10_000) + 1000

    WIDE = {
        "sequence": (Sequence[int], lambda n: ["x"] * n),
        "tuple": (tuple[int, ...], lambda n: ["x"] * n),
        "set": (AbstractSet[int], lambda n: ["x"] * n),
        "frozenset": (frozenset[int], lambda n: ["x"] * n),
        "values": (Mapping[str, int], lambda n: {str(i): "x" for i in range(n)}),
        "keys": (Mapping[int, int], lambda n: {f"x{i}": 1 for i in range(n)}),
        "keys and values": (Mapping[int, int], lambda n: {f"x{i}": "x" for i in range(n)}),
        "rows": (Sequence[Sequence[int]], lambda n: [["x"] * 10] * (n // 10)),
        "union": (Sequence[int | None], lambda n: ["x"] * n),
        "typed": (AndT, lambda n: {f"x{i}": 1 for i in range(n)}),
        "times": (Sequence[datetime], lambda n: ["x"] * n),
        "literals": (Sequence[Literal["a", "b"]], lambda n: ["x"] * n),
        "constrained": (Sequence[Annotated[int, annotated_types.Gt(5)]], lambda n: [1] * n),
    }

    @pytest.mark.parametrize("name", WIDE)
    def test_many_wrong_elements(self, name):
        """Guarantee 7.7."""
        annotation, make = self.WIDE[name]
        cls = held(annotation)
        refused(cls.from_json, json.dumps({"value": make(100_000)}))
        small, large = (json.dumps({"value": make(number)}) for number in (20_000, 40_000))
        first = peak(lambda: refused(cls.from_json, small))
        assert peak(lambda: refused(cls.from_json, large)) < 2.6 * first + 100_000

    def test_many_values_that_json_cannot_carry(self):
        """Guarantee 7.7: on the way out."""
        nan = float("nan")
        for annotation, value in (
            (Sequence[float], [nan] * 100_000),
            (AbstractSet[Decimal], {Decimal(f"NaN{index}") for index in range(1000)}),
            (Mapping[str, float], {str(index): nan for index in range(10_000)}),
            (Any, [nan] * 100_000),
            (Any, {str(index): nan for index in range(10_000)}),
            (Any, [[nan] * 10] * 10_000),
            (tuple[float, ...], (nan,) * 10_000),
        ):
            made = held(annotation)(value=value)
            refused(lambda _, made=made: made.to_json(), None)
            refused(lambda _, made=made: made.to_mapping(), None)

    def test_long_values_and_keys_are_shown_shortened(self):
        """Guarantee 7.7."""
        long = "x" * 1_000_000
        for annotation in (
            int,
            datetime,
            Decimal,
            uuid.UUID,
            bytes,
            Literal["a"],
            Op,
            timedelta,
            A,
        ):
            error = refused(held(annotation).from_json, json.dumps({"value": long + "!"}))
            assert len(str(error)) < 2_000
        for annotation in (Mapping[str, int], Mapping[int, int], AndT, A, Link):
            error = refused(held(annotation).from_json, json.dumps({"value": {long: "x"}}))
            assert len(str(error)) < 2_000
        assert len(str(refused(Link.from_json, json.dumps({long: 1})))) < 2_000


TOO_DEEP = {
    "lists": "[" * 100_000,
    "closed lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "objects that end nowhere": '{"a":' * 100_000,
    "both": '[{"a":' * 50_000 + "1" + "}]" * 50_000,
    "links": '{"next":' * 100_000 + "null" + "}" * 100_000,
    "trees": '{"children":[' * 50_000 + "]}" * 50_000,
    "branches": '{"children":{"a":' * 50_000 + "{}" + "}}" * 50_000,
}


# PyPy 8's decoder, which is Python that its JIT compiles, meets the end of the stack in a text of thousands of levels.
@pytest.mark.skipif(sys.implementation.name == "pypy", reason="PyPy's own decoder ends the process")
class TestDepth:
    @pytest.mark.parametrize("name", TOO_DEEP)
    def test_a_hundred_thousand_levels(self, name):
        """Guarantee 7.7: nesting has a limit. Also below a key that is ignored."""
        text = TOO_DEEP[name]
        for cls in (Link, Tree, Branch, Free, Or):
            refused(cls.from_json, text)
            refused(cls.from_json, text.encode())
        for cls in (Free, held(Mapping[str, Any]), held(Sequence[Any]), Lenient):
            refused(cls.from_json, f'{{"value":{text}}}')

    @pytest.mark.parametrize("levels", [1_200, 2_000, 5_000, 9_000, 20_000])
    def test_levels_that_some_decoders_still_read(self, levels):
        """Guarantee 7.7: a StateError on each Python, or what was read."""
        for text in (
            '{"next":' * levels + "null" + "}" * levels,
            '{"value":' + "[" * levels + "]" * levels + "}",
            '{"op":"or","left":' * levels + "null" + "}" * levels,
            '{"children":[' * levels + "]}" * levels,
        ):
            for cls in (Link, Free, Or, Or1, Tree, Lenient, held(Mapping[str, Any])):
                made = outcome(cls.from_json, text)
                if not isinstance(made, StateError):
                    outcome(lambda made: made.to_json(), made)

    def test_plain_data_that_is_nested_deeply_or_in_itself(self):
        """Guarantee 7.7: not a RecursionError."""
        plain = nested(100_000, lambda inner: {"next": inner}, None)
        refused(Link.from_mapping, plain)
        plain = nested(100_000, lambda inner: {"op": "or", "left": inner}, None)
        refused(Or.from_mapping, plain)
        plain = {"children": ()}
        plain["children"] = [plain]
        refused(Tree.from_mapping, plain)
        for ring in ({}, []):
            ring.append(ring) if isinstance(ring, list) else ring.update(a=ring)
            made = Free(value=ring)
            refused(lambda _, made=made: made.to_json(), None)
            refused(lambda _, made=made: made.to_mapping(), None)

    def test_instances_that_are_nested_deeply_are_not_written(self):
        """Guarantee 7.7: a StateError too."""
        link = Link()
        for _ in range(50_000):
            link = Link(next=link)
        refused(lambda link: link.to_json(), link)
        refused(lambda link: link.to_mapping(), link)
        while link.next is not None:
            link = link.next  # from the outside in, so that nothing recurses

    FINE = {
        "optional": (lambda: Link, lambda n: '{"next":' * n + "null" + "}" * n),
        "tagged": (lambda: Or, lambda n: '{"op":"or","left":' * n + "null" + "}" * n),
        "tagged, in Sequence": (
            lambda: OrS,
            lambda n: '{"op":"or","left":[' * (n // 2) + "]}" * (n // 2),
        ),
        "sequence": (lambda: Tree, lambda n: '{"children":[' * (n // 2) + "]}" * (n // 2)),
        "mapping": (
            lambda: Branch,
            lambda n: '{"children":{"a":' * (n // 2) + "{}" + "}}" * (n // 2),
        ),
        "any": (lambda: Free, lambda n: '{"value":' + "[" * (n - 1) + "]" * (n - 1) + "}"),
        "json": (
            lambda: held(JsonValue),
            lambda n: '{"value":' + "[" * (n - 1) + "]" * (n - 1) + "}",
        ),
        "json, objects": (
            lambda: held(JsonValue),
            lambda n: '{"value":' + '{"a":' * (n - 1) + "1" + "}" * (n - 1) + "}",
        ),
        "any, objects": (
            lambda: Free,
            lambda n: '{"value":' + '{"a":' * (n - 1) + "1" + "}" * (n - 1) + "}",
        ),
    }

    @pytest.mark.parametrize("stack", [0, 60])
    @pytest.mark.parametrize("name", FINE)
    def test_nine_hundred_levels_are_fine(self, name, stack):
        """Guarantee 7.7."""
        cls, make = self.FINE[name]
        made_once = cls()
        text = make(900)

        def there_and_back():
            made = made_once.from_json(text)
            written = made.to_json()
            assert written.count("{") + written.count("[") >= 900
            assert made_once.from_json(written.encode()).to_json() == written
            assert made_once.from_mapping(made.to_mapping()).to_json() == written

        deep(there_and_back, stack=stack)

    def test_a_class_first_used_where_the_stack_ends_is_whole_afterwards(self):
        """Guarantee 7.7: what a RecursionError interrupted begins anew."""

        def at_the_end(work, left):
            def down():
                try:
                    down()
                except RecursionError:
                    if left:
                        left.pop()
                        raise
                    outcome_or_recursion(work)
                    raise

            with contextlib.suppress(RecursionError):
                down()

        def outcome_or_recursion(work):
            with contextlib.suppress(StateError, RecursionError):
                work()

        for left in range(0, 120, 3):
            cls = held(Sequence[tuple[int, str] | None])
            deep(
                lambda cls=cls, left=left: at_the_end(
                    lambda: cls.from_json('{"value":[[1,"a"]]}').to_json(), [None] * left
                )
            )
            assert cls.from_json('{"value":[[1,"a"]]}').to_json() == '{"value":[[1,"a"]]}'


DIGITS = "9" * 5_000

NUMBERS = {
    **{
        name: ("float", name)
        for name in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", DIGITS)
    },
    "int of 5000 digits": ("int", DIGITS),
    "negative": ("int", "-" + DIGITS),
    "1e999 for an int": ("int", "1e999"),
    "NaN for an int": ("int", "NaN"),
    "float of 5000 digits": ("float", DIGITS + ".5e10"),
    "0x10": ("int", "0x10"),
    "01": ("int", "01"),
    "+1": ("int", "+1"),
    ".5": ("float", ".5"),
    "1.": ("float", "1."),
    "1_000": ("int", "1_000"),
    "fullwidth": ("int", "１"),
    "1.5": ("int", "1.5"),
}


class TestNumbers:
    @pytest.mark.parametrize("name", NUMBERS)
    def test_numbers_that_are_refused_wherever_they_stand(self, name):
        """Guarantee 7.7."""
        kind, number = NUMBERS[name]
        base = {"int": int, "float": float}[kind]
        for annotation, text in (
            (base, number),
            (base | None, number),
            (base | str, number),
            (Sequence[base], f"[{number}]"),
            (AbstractSet[base], f"[{number}]"),
            (tuple[base, ...], f"[{number}]"),
            (Mapping[str, base], f'{{"a":{number}}}'),
            (Annotated[base, annotated_types.Gt(0)], number),
            (Literal[1], number),
            (bool, number),
            (datetime, number),
        ):
            refused(held(annotation).from_json, f'{{"value":{text}}}')
            refused(held(annotation).from_json, f'{{"value":{text}}}'.encode())

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "-", "1.", "nan"])
    def test_what_is_no_json_is_refused_also_where_nobody_looks(self, number):
        """Guarantee 7.7: below Any and keys that are ignored."""
        refused(Free.from_json, f'{{"value":{number}}}')
        refused(Free.from_json, f'{{"value":[{number}]}}')
        refused(Lenient.from_json, f'{{"y":{number}}}')

    def test_numbers_that_are_too_large_for_any(self):
        """Guarantee 7.7: refused, or kept as they are, as Any says, and refused in writing."""
        for number in ("1e999", "-1e999", DIGITS):
            made = outcome(Free.from_json, f'{{"value":{number}}}')
            if not isinstance(made, StateError):
                refused(lambda _, made=made: made.to_json(), None)
            refused(held(JsonValue).from_json, f'{{"value":[{number}]}}')

    def test_text_that_stands_for_a_number(self):
        """Guarantee 7.7."""
        for text in (
            *(
                "NaN",
                "sNaN",
                "-NaN",
                "NaN123",
                "Infinity",
                "-Infinity",
                "inf",
                "1_000",
                " 1",
                "1\n",
            ),
            *("", "x", "１", "1e", "--1", "1e99999999999999999999", "1e-99999999999999999999x"),
        ):
            refused(held(Decimal).from_json, json.dumps({"value": text}))
            refused(held(Mapping[Decimal, int]).from_json, json.dumps({"value": {text: 1}}))
        for text in (
            DIGITS,
            "-" + DIGITS,
            "NaN",
            "1_0",
            "+1",
            "01",
            " 1",
            "1\n",
            "",
            "１",
            "1.0",
            "-",
        ):
            refused(held(Mapping[int, int]).from_json, json.dumps({"value": {text: 1}}))

    def test_exponents_that_would_need_a_gigabyte_of_digits(self):
        """Guarantee 7.7: a Decimal is compared, and never written out."""
        t = annotated_types
        for text in ("1E+999999", "-1E+999999", "1E-999999", "9" * 4_000 + "E+900000"):
            for annotation in (
                Decimal,
                Annotated[Decimal, t.Ge(0)],
                Annotated[Decimal, t.Lt(0.5)],
                Annotated[Decimal, t.MultipleOf(Decimal("0.01"))],
                Annotated[Decimal, t.Predicate(lambda value: value % 1 == 0)],
                Decimal | None,
                AbstractSet[Decimal],
                Sequence[Decimal],
            ):
                plain = text if "Se" not in str(annotation) else [text]
                made = outcome(held(annotation).from_json, json.dumps({"value": plain}))
                if not isinstance(made, StateError):
                    assert type(made).from_json(made.to_json()) == made
                    hash(made)

    def test_predicates_that_fail_in_their_own_way(self):
        """Guarantee 7.7: never another exception."""
        for error in (KeyError, OverflowError, ZeroDivisionError, RuntimeError, LookupError):

            def fails(value, error=error):
                raise error("not for me")

            annotation = Annotated[int, annotated_types.Predicate(fails)]
            refused(held(annotation).from_json, '{"value":1}')
            refused(held(Sequence[annotation]).from_json, '{"value":[1]}')

    def test_minus_zero(self):
        """Guarantee 7.7: it is a number, and keeps its sign where the type has one."""
        assert held(float).from_json('{"value":-0.0}').to_json() == '{"value":-0.0}'
        assert held(int).from_json('{"value":-0}').to_json() == '{"value":0}'

    @pytest.mark.parametrize(
        ("annotation", "text"),
        [
            *((date, text) for text in ("0000-01-01", "2026-02-30", "10000-01-01", "2026-13-01")),
            *(
                (date, text)
                for text in ("2026-01-01\n", "２０２６-01-01", "-001-01-01", "2026-1-1", "")
            ),
            (date, "2026-01-01T00:00:00"),
            *(
                (datetime, f"2026-01-01T{text}")
                for text in ("24:00:01", "23:59:60", "12:60:00", "x")
            ),
            *(
                (datetime, f"2026-01-01T00:00:00{text}")
                for text in ("+24:00", "+99:99", "\n", "ZZ")
            ),
            (datetime, "0000-01-01T00:00:00"),
            (datetime, "2026-01-01T00:00:00." + "1" * 1_000_000 + "x"),
            (datetime, "2026-01-01T00:00:00+" + "1" * 1_000_000),
            *((time, text) for text in ("24:00:01", "12", "", "x" * 1_000_000, "12:00:00\n")),
            (timedelta, "P999999999999D"),
            (timedelta, f"P{DIGITS}D"),
            (timedelta, f"PT0.{DIGITS}X"),
            (timedelta, f"PT{DIGITS}S"),
            (timedelta, "P" + "1" * 1_000_000),
            (timedelta, "P" + "1D" * 500_000),
            (timedelta, "P1D\n"),
            (timedelta, "P１D"),
            (uuid.UUID, "0" * 1_000_000),
            (uuid.UUID, "{00000000-0000-0000-0000-000000000000"),
            (uuid.UUID, "0000_0000-0000-0000-0000-000000000000"),
            (uuid.UUID, "００000000-0000-0000-0000-000000000000"),
            (Decimal, "1" * 1_000_000 + "x"),
            (Decimal, "." * 1_000_000),
            (bytes, "A" * 999_999),
            (bytes, "A" * 1_000_000 + "!"),
            (bytes, "=" * 1_000_000),
            *(
                (bytes, text)
                for text in ("YQ==\n", " YQ==", "Y Q==", "YQ", "YQ=", "YQ===", "Y-_=", "ÿ")
            ),
            (bytes, "YQ==YQ=="),
            (Op, "x" * 1_000_000),
            (Literal["a"], "x" * 1_000_000),
        ],
        ids=lambda value: repr(value)[:24],
    )
    def test_text_of_other_types(self, annotation, text):
        """Guarantee 7.7: what is refused is refused in time, as a key too."""
        refused(held(annotation).from_json, json.dumps({"value": text}))
        refused(held(Mapping[annotation, int]).from_json, json.dumps({"value": {text: 1}}))

    @pytest.mark.parametrize("annotation", [int, Decimal, uuid.UUID, Sequence[int]], ids=str)
    def test_keys_and_elements_of_one_hash(self, annotation):
        """Guarantee 7.7: an int is its own hash, modulo 2 ** 61 - 1, so that anybody can write equal ones."""
        prime = (1 << 61) - 1
        numbers = [prime * (index + 1) for index in range(8_000)]
        if annotation is Decimal:
            plain = [str(number) for number in numbers]
        elif annotation is uuid.UUID:
            plain = [str(uuid.UUID(int=number)) for number in numbers]
        else:
            plain = numbers
        if annotation == Sequence[int]:
            annotation, plain = tuple[int, ...], [[number] for number in plain]
        refused(held(AbstractSet[annotation]).from_json, json.dumps({"value": plain}))
        if annotation != tuple[int, ...]:
            keys = {str(number): 1 for number in plain}
            refused(held(Mapping[annotation, int]).from_json, json.dumps({"value": keys}))

    def test_many_keys_and_elements_of_many_hashes(self):
        """Guarantee 7.7: honest ones are read."""
        numbers = list(range(-1_000, 20_000))
        made = held(AbstractSet[int]).from_json(json.dumps({"value": numbers}))
        assert made.value == frozenset(numbers)
        keys = {str(number): 1 for number in numbers}
        made = held(Mapping[int, int]).from_json(json.dumps({"value": keys}))
        assert list(made.value) == numbers
        refused(held(AbstractSet[int]).from_json, json.dumps({"value": [1] * 20_000}))


class Raising(Mapping):
    """A mapping of the given data, in which one method raises."""

    def __init__(self, method, error, data):
        self.method, self.error, self.data = method, error, data

    def call(self, method, *arguments):
        if method == self.method:
            raise self.error
        return getattr(self.data, method)(*arguments)

    def __getitem__(self, key):
        return self.call("__getitem__", key)

    def __iter__(self):
        return self.call("__iter__")

    def __len__(self):
        return self.call("__len__")

    def __contains__(self, key):
        return self.call("__contains__", key)

    def get(self, key, default=None):
        return self.call("get", key, default)

    def keys(self):
        return self.call("keys")

    def items(self):
        return self.call("items")

    def values(self):
        return self.call("values")


class Unreadable:
    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__


class Hashed:
    """As a key: it equals every key, or raises when asked."""

    def __init__(self, equal, hashed):
        self.equal, self.hashed = equal, hashed

    def __hash__(self):
        return hash(self.hashed)

    def __eq__(self, other):
        if isinstance(self.equal, BaseException):
            raise self.equal
        return self.equal


def kind_of(value):
    return type(value).__name__


class TestObjects:
    """from_mapping takes what json.loads never gives."""

    @pytest.mark.parametrize("key", [1, None, (1,), b"x", 1.5, Unreadable(), True], ids=kind_of)
    def test_keys_that_are_no_text(self, key):
        """Guarantee 7.7: with a path."""
        refused(Link.from_mapping, {key: 1})
        refused(held(Link).from_mapping, {"value": {key: 1}})
        refused(held(AndT).from_mapping, {"value": {"op": "and", key: 1}})
        refused(held(Mapping[str, int]).from_mapping, {"value": {key: 1}})
        assert Lenient.from_mapping({key: 1}) == Lenient()

    @pytest.mark.parametrize(
        "method", ["__getitem__", "__iter__", "__len__", "__contains__", "get", "keys", "items"]
    )
    def test_a_mapping_whose_own_methods_fail(self, method):
        """Guarantee 7.7: its own error comes out as it is, for it is no refusal of ours; or it was not asked."""
        for error in (KeyError("x"), OSError("gone"), RuntimeError("closed")):
            for cls, data in ((Link, {"next": None}), (Lenient, {"x": 1}), (Wide, {"x": 1})):
                mapping = Raising(method, error, data)
                for read in (cls.from_mapping, held(cls).from_mapping):
                    given = mapping if read == cls.from_mapping else {"value": mapping}
                    try:
                        read(given)
                    except StateError as refusal:
                        assert refusal.problems
                    except (KeyError, OSError, RuntimeError) as own:
                        assert own is error

    def test_a_mapping_that_lies(self):
        """Guarantee 7.7: what is kept fits, whatever the mapping says of itself."""

        class Lies(Mapping):
            def __getitem__(self, key):
                return 7 if key == "x" else "lie"

            def __iter__(self):
                return iter(["y", "y", 5])

            def __len__(self):
                return -1 if self is None else 99

            def get(self, key, default=None):
                return "no number"

            def __contains__(self, key):
                return True

        made = outcome(Lenient.from_mapping, Lies())
        assert isinstance(made, StateError) or type(made.x) is int
        made = outcome(held(Mapping[str, int]).from_mapping, {"value": Lies()})
        assert isinstance(made, StateError) or all(type(one) is int for one in made.value.values())
        made = outcome(held(AndT).from_mapping, {"value": Lies()})
        assert isinstance(made, StateError)

    @pytest.mark.parametrize(
        "value", [Unreadable(), [Unreadable()], {"a": Unreadable()}], ids=kind_of
    )
    def test_a_value_whose_repr_raises(self, value):
        """Guarantee 7.7."""
        for annotation in (
            int,
            str,
            datetime,
            Decimal,
            Literal["a"],
            Op,
            Link,
            AndT,
            Sequence[int],
        ):
            refused(held(annotation).from_mapping, {"value": value})
        refused(lambda value: Free(value=value).to_json(), value)

    def test_a_class_that_names_itself_badly(self):
        """Guarantee 7.7."""

        class Meta(type):
            def __repr__(cls):
                raise RuntimeError

            @property
            def __name__(cls):
                raise RuntimeError

        class Named(metaclass=Meta):
            pass

        for annotation in (int, str, datetime, Decimal, Literal["a"], Op, int | None):
            refused(held(annotation).from_mapping, {"value": Named.__new__(Named)})

    def test_unhashable_and_uncomparable_values(self):
        """Guarantee 7.7."""
        for value in (Hashed(ValueError("=="), "a"), Hashed(False, "and"), [[]], {"a": []}, [{1}]):
            for annotation in (Literal["a", 1], Op, And | Or, int | str, AbstractSet[int]):
                refused(held(annotation).from_mapping, {"value": value})
            refused(held(And | Or).from_mapping, {"value": {"op": value}})
            refused(held(AndT | OrT).from_mapping, {"value": {"op": value}})


SURROGATES = {
    "alone": "\ud800",
    "low": "\udc00",
    "the wrong way round": "\udc00\ud800",
    "in the middle": "a\ud83db",
}


class TestText:
    @pytest.mark.parametrize("name", SURROGATES)
    def test_half_a_surrogate_pair_is_not_read(self, name):
        """Guarantee 7.7: it has no bytes, so that no other program could read it."""
        text = SURROGATES[name]
        for written in (json.dumps(text), json.dumps(text, ensure_ascii=False)):
            for annotation, plain in (
                (str, written),
                (str | None, written),
                (str | int, written),
                (Sequence[str], f"[{written}]"),
                (AbstractSet[str], f"[{written}]"),
                (tuple[str, int], f"[{written},1]"),
                (Mapping[str, int], f"{{{written}:1}}"),
                (Mapping[str, str], f'{{"a":{written}}}'),
                (Annotated[str, annotated_types.MinLen(1)], written),
                (PurePosixPath, written),
            ):
                given = f'{{"value":{plain}}}'
                error = refused(held(annotation).from_json, given)
                str(error).encode()
                if "\\u" in given:
                    refused(held(annotation).from_json, given.encode())

    @pytest.mark.parametrize("name", SURROGATES)
    def test_half_a_surrogate_pair_below_any(self, name):
        """Guarantee 7.7: what is read can be written."""
        text = json.dumps(SURROGATES[name])
        for given in (f'{{"value":{text}}}', f'{{"value":[{text}]}}', f'{{"value":{{{text}:1}}}}'):
            refused(Free.from_json, given)

    @pytest.mark.parametrize("name", SURROGATES)
    def test_half_a_surrogate_pair_is_not_written(self, name):
        """Guarantee 7.7: with the path to it."""
        text = SURROGATES[name]
        for annotation, value, path in (
            (str, text, "Held.value"),
            (str | None, text, "Held.value"),
            (Sequence[str], ("a", text), "Held.value[1]"),
            (AbstractSet[str], {text}, "Held.value[0]"),
            (tuple[int, str], (1, text), "Held.value[1]"),
            (Mapping[str, str], {"k": text}, "Held.value.k"),
            (Mapping[str, int], {text: 1}, None),
            (Any, text, "Held.value"),
            (Any, [{"k": text}], "Held.value[0].k"),
            (Any, {text: 1}, None),
            (PurePosixPath, PurePosixPath(text), "Held.value"),
            (Literal["\ud800"], "\ud800", "Held.value"),
        ):
            made = held(annotation)(value=value)
            error = refused(lambda _, made=made: made.to_json(), None)
            ((where, _),) = error.problems
            assert where == path if path else where.startswith("Held.value[")
            refused(lambda _, made=made: made.to_json(indent=1), None)

    def test_a_pair_of_surrogates_is_a_character(self):
        """Guarantee 7.7."""
        assert held(str).from_json(r'{"value":"\ud83d\ude00"}').value == "\U0001f600"
        made = held(str)(value="\U0001f600\x00\x7f\u2028")
        assert type(made).from_json(made.to_json()) == made
        assert type(made).from_json(made.to_json().encode()) == made

    def test_of_keys_that_stand_twice_the_last_counts(self):
        """Guarantee 7.7: as in json and in msgspec; the ones before are not even checked."""
        cls = held(int)
        assert cls.from_json('{"value":1,"value":2}').value == 2
        assert cls.from_json('{"value":"no","value":2}').value == 2
        refused(cls.from_json, '{"value":2,"value":"no"}')
        assert held(Mapping[str, int]).from_json('{"value":{"a":1,"a":2}}').value == {"a": 2}
        assert Free.from_json('{"value":{"a":1,"a":2}}').value == {"a": 2}
        assert held(Or).from_json('{"value":{"op":"and","op":"or"}}').value == Or(op="or")
        refused(held(Or).from_json, '{"value":{"op":"or","op":"and"}}')

    BROKEN = [
        *(
            "",
            " ",
            "\n",
            "{",
            "}",
            "{}{}",
            "{} x",
            "{},",
            "[]",
            "[{}]",
            "null",
            "1",
            '"{}"',
            "{'x':1}",
        ),
        *(
            '{"x":1,}',
            '{"x":1 "x":2}',
            "{x:1}",
            '{"x"}',
            '{"x":}',
            "{,}",
            "\x00",
            "{}\x00",
            "// x\n{}",
        ),
        *(
            "\ufeff{}",
            "{\u00a0}",
            '{"x":"\n"}',
            '{"x":"\\x41"}',
            '{"x":"\\u12"}',
            '{"x":"',
            "nul",
            "True",
        ),
        *(
            b"\xff\xfe\x00",
            b"\x80",
            b"{\xff}",
            b'{"x":"\xed\xa0\x80"}',
            b'{"x":"\xc0\xaf"}',
            b"{}\xff",
        ),
        *(
            b"",
            b"\x00\x00\x00\x00",
            b"\x00\x00\xfe\xff",
            '{"x":"\xff"}'.encode("latin-1"),
            b"\xef\xbb\xbf",
        ),
    ]

    @pytest.mark.parametrize("text", BROKEN, ids=repr)
    def test_text_that_is_no_json_object(self, text):
        """Guarantee 7.7: of any class; the ones that ignore unknown keys too."""
        for cls in (Link, Lenient, held(int), held(str), Free, Wide):
            refused(cls.from_json, text)
            refused(cls.from_json, bytearray(text) if isinstance(text, bytes) else str_of(text))

    @pytest.mark.parametrize(
        "text", [None, 1, {}, [], ("{}",), memoryview(b"{}"), object(), Unreadable()], ids=kind_of
    )
    def test_what_is_no_text(self, text):
        """Guarantee 7.7: one kind of error."""
        made = outcome(Link.from_json, text)
        assert isinstance(made, StateError) or (made == Link() and isinstance(text, memoryview))

    def test_text_of_other_kinds(self):
        """Guarantee 7.7: what is JSON is read from text, from its subclasses, and from bytes of either class."""
        for text in (
            '{"x":5}',
            str_of('{"x":5}'),
            b'{"x":5}',
            bytearray(b'{"x":5}'),
            ' \t\r\n{"x" : 5 } ',
        ):
            assert Lenient.from_json(text) == Lenient(x=5)

    @pytest.mark.parametrize(
        "encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp037"]
    )
    def test_bytes_of_other_encodings(self, encoding):
        """Guarantee 7.7: refused, or read for what they are."""
        made = outcome(Lenient.from_json, '{"x":5}'.encode(encoding))
        assert isinstance(made, StateError) or made == Lenient(x=5)

    def test_escapes_and_long_texts(self):
        """Guarantee 7.7: memory is linear in the text."""
        cls = held(str)

        def cost(number):
            text = '{"value":"' + "\\u0041" * number + '"}'
            cls.from_json(text)
            return peak(lambda: cls.from_json(text))

        assert cost(200_000) < 2.6 * cost(100_000) + 100_000


class str_of(str):  # noqa: N801 - a text whose methods are not str's
    """A str that says of itself what is not true."""

    __slots__ = ()

    def __str__(self):
        return '{"x":"lie"}'

    def encode(self, *arguments):
        return b'{"x":"lie"}'

    def startswith(self, *arguments):
        return False


class TestMeanwhile:
    """Code of the author, and other threads, run in the middle of a load."""

    def test_data_that_a_predicate_removes(self):
        """Guarantee 7.7: in C, too, what is being read stays alive."""

        def drop(value):
            outer.clear()
            return True

        class Inner(State):
            first: Annotated[int, annotated_types.Predicate(drop)]
            second: str
            third: str = ""

        outer: dict[str, Any] = {}
        cls = held(Inner)
        for length in range(300):
            outer["value"] = {"first": 1, "second": "x" * length}
            assert cls.from_mapping(outer).value == Inner(first=1, second="x" * length)

    def test_a_list_that_a_validator_changes_and_checks_again(self):
        """Guarantee 7.9: what a union made of a value within one load is no answer to the author's own calls."""
        made = []

        class Numbers(State):
            value: Sequence[int] | Sequence[str]

        def make():
            numbers = [1]
            made.append(Numbers(value=numbers))
            numbers.append(2)
            made.append(Numbers(value=numbers))

        class Validated(State):
            x: int

            def __validate__(self):
                make()

        class Filled(State):
            y: int
            z: str = Default(factory=lambda: make() or "")

        def holds(value):
            return make() is None

        class Tested(State):
            w: Annotated[int, annotated_types.Predicate(holds)]

        cls = held(Sequence[Validated] | Sequence[Filled] | Sequence[Tested])
        for key in "xyw":
            made.clear()
            cls.from_mapping({"value": [{key: 1}]})
            assert [numbers.value for numbers in made[:2]] == [(1,), (1, 2)]

    def test_instances_without_values(self):
        """Guarantee 7.7: `object.__new__`, which copy and pickle use, leaves the slots empty: no crash in C."""
        seen = []

        class Curious:
            def __deepcopy__(self, memo):
                seen.extend(value for value in memo.values() if isinstance(value, Holding))
                for value in seen:
                    with pytest.raises(AttributeError):
                        value.to_json()
                return self

        class Holding(State):
            value: Any
            count: int = 0

        for cls in (Holding, Lenient, Tree):
            holder = held(cls)
            blank = object.__new__(cls)
            for _ in range(2):
                for write in (State.to_json, State.to_json_bytes, State.to_mapping):
                    with pytest.raises(AttributeError):
                        write(blank)
                    with pytest.raises(AttributeError):
                        write(holder(value=blank))
                cls.to_json(cls(value=1) if cls is Holding else cls())
        copy.deepcopy(Holding(value=Curious()))
        assert seen

    @pytest.mark.parametrize("first", ["from_json", "to_json", "from_mapping", "json_schema"])
    def test_threads_that_first_use_a_class_at_once(self, first, monkeypatch):
        """Guarantee 7.7: one of them prepares the class. msgspec crashes when two do."""
        from haiway_bus._state.classes import wiring

        cls = held(Sequence[int])
        instance = cls(value=[1])
        time_for_others = threading.Event()
        prepared = []
        wire = wiring.wire

        def slowly(blueprint):
            prepared.append(blueprint.owner)
            time_for_others.wait(0.2)
            wire(blueprint)

        monkeypatch.setattr(wiring, "wire", slowly)
        use = {
            "from_json": lambda: cls.from_json('{"value":[1]}'),
            "to_json": instance.to_json,
            "from_mapping": lambda: cls.from_mapping({"value": [1]}),
            "json_schema": cls.json_schema,
        }[first]
        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert prepared == [cls]
        assert cls.from_json(instance.to_json()) == instance
