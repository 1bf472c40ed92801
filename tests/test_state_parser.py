"""`State.parser`: plain data and JSON of what is no single State class (guarantee 7.7)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import jsonschema
import pytest


@pytest.fixture
def paid(hb: Any) -> Any:
    class Card(hb.State):
        kind: Literal["card"]
        number: str

    class Wire(hb.State):
        kind: Literal["wire"]
        iban: str

    return Card, Wire


class TestValues:
    def test_a_sequence_of_states(self, hb: Any, paid: Any) -> None:
        Card, _ = paid  # noqa: N806
        parser = hb.State.parser(Sequence[Card])
        cards = parser.from_json(b'[{"kind":"card","number":"1"},{"kind":"card","number":"2"}]')
        assert cards == (Card(kind="card", number="1"), Card(kind="card", number="2"))
        assert parser.from_json(parser.to_json(cards)) == cards
        assert parser.from_plain(parser.to_plain(list(cards))) == cards
        assert parser.to_json_bytes([]) == b"[]"
        assert json.loads(parser.to_json(cards, indent=2)) == parser.to_plain(cards)

    def test_a_union_is_read_by_its_tag(self, hb: Any, paid: Any) -> None:
        Card, Wire = paid  # noqa: N806
        parser = hb.State.parser(Card | Wire)
        assert parser.from_json('{"kind":"wire","iban":"DE"}') == Wire(kind="wire", iban="DE")
        with pytest.raises(hb.StateError, match=r"^Card \| Wire.iban: missing, expected str"):
            parser.from_json('{"kind":"wire"}')
        with pytest.raises(hb.StateError, match="expected Card | Wire, given list"):
            parser.from_json("[]")

    def test_scalars_and_mappings(self, hb: Any) -> None:
        assert hb.State.parser(int).from_json("3") == 3
        ages = hb.State.parser(Mapping[str, int])
        assert ages.check({"a": 1}) == {"a": 1}
        assert type(ages.from_json('{"a":1}')) is hb.FrozenMap

    def test_errors_name_the_path(self, hb: Any, paid: Any) -> None:
        Card, _ = paid  # noqa: N806
        parser = hb.State.parser(Sequence[Card])
        for use in (parser.check, parser.to_json, parser.to_plain):
            with pytest.raises(hb.StateError, match=r"^Sequence\[Card\]\[0\]: expected Card"):
                use([3])
        with pytest.raises(hb.StateError, match=r"^Sequence\[Card\]\[1\].number: missing"):
            parser.from_plain([{"kind": "card", "number": "1"}, {"kind": "card"}])
        with pytest.raises(hb.StateError, match=r"^Sequence\[Card\]: not JSON"):
            parser.from_json("[")

    def test_its_schema_takes_what_it_writes(self, hb: Any, paid: Any) -> None:
        Card, Wire = paid  # noqa: N806
        parser = hb.State.parser(Sequence[Card | Wire])
        schema = parser.json_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        plain = parser.to_plain([Wire(kind="wire", iban="DE")])
        jsonschema.Draft202012Validator(schema).validate(plain)

    def test_any_depth_is_a_state_error(self, hb: Any) -> None:
        with pytest.raises(hb.StateError, match="nested too deeply"):
            hb.State.parser(hb.JsonValue).from_json("[" * 100_000 + "]" * 100_000)


class TestMaking:
    def test_names_are_looked_up_where_it_is_made(self, hb: Any, paid: Any) -> None:
        Card, _ = paid  # noqa: N806, RUF059 - the annotation names it
        parser = hb.State.parser("Sequence[Card]")
        assert parser.from_plain([]) == ()
        assert repr(parser) == "<Parser of Sequence[Card]>"
        with pytest.raises(hb.StateError, match=r"names Nowhere, which does not exist"):
            hb.State.parser("Sequence[Nowhere]")

    @pytest.mark.parametrize(
        ("annotation", "reason"),
        [
            (str | datetime, "is fine in memory, but str would read"),
            (list[int], r"list\[int\] can be changed: write Sequence"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, hb: Any, annotation: Any, reason: str) -> None:
        with pytest.raises(hb.StateError, match=reason):
            hb.State.parser(annotation)

    def test_a_field_may_have_its_name(self, hb: Any) -> None:
        class Tool(hb.State):
            parser: str

        assert Tool(parser="lark").parser == "lark"
