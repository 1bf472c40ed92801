"""The parts: what an event costs before it is sent, next to a dataclass, attrs, msgspec and pydantic."""

from __future__ import annotations

from timeit import Timer
from typing import Any

import pytest
from comparison.records import RECORDS, ten_fields, three_fields
from comparison.states import STATEMENTS
from comparison.streams import Skipped

LIBRARIES = ("dataclass", "msgspec", "attrs", "pydantic")
CONTENDERS = ("compiled", "pure", *LIBRARIES)
OPERATIONS = 1_000


@pytest.mark.parametrize("operation", STATEMENTS)
@pytest.mark.parametrize("contender", CONTENDERS)
def test_operation(benchmark: Any, backends: Any, contender: str, operation: str) -> None:
    benchmark.group = f"{operation}, {OPERATIONS:,} times, three fields"
    record = RECORDS[contender if contender in LIBRARIES else "haiway_bus"]
    try:
        if contender in LIBRARIES:
            order_class, changed = record.order(), record.changed_with()
        else:
            order_class, changed = three_fields(backends[contender].State), None
    except Skipped as skipped:
        pytest.skip(str(skipped))
    values = {"name": "A1", "price": 1.5, "number": 7}
    order, twin = order_class(**values), order_class(**values)
    assert order == twin
    names = {"Order": order_class, "order": order, "twin": twin, "changed": changed}
    timer = Timer(STATEMENTS[operation] or record.changed, globals=names)
    benchmark(timer.timeit, OPERATIONS)


@pytest.mark.parametrize("contender", CONTENDERS)
def test_define(benchmark: Any, backends: Any, contender: str) -> None:
    benchmark.group = "define a class of ten fields"
    if contender in LIBRARIES:
        define = RECORDS[contender].ten_fields
    else:
        state = backends[contender].State

        def define() -> Any:
            return ten_fields(state)

    try:
        define()
    except Skipped as skipped:
        pytest.skip(str(skipped))
    benchmark.pedantic(define, rounds=50, warmup_rounds=1)
