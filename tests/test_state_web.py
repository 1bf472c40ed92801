"""Guarantee 7.11: FastAPI takes a State class as body and response. Litestar does with two arguments."""

import asyncio
import json
import re
import socket
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

import pytest

from tests.shared import TREE

fastapi = pytest.importorskip("fastapi", reason="needs the dependency group servers")
httpx = pytest.importorskip("httpx", reason="needs the dependency group servers")
pydantic = pytest.importorskip("pydantic")

from fastapi import Body, Depends, FastAPI  # noqa: E402 - after the skips

pytestmark = pytest.mark.anyio

T = TypeVar("T")


@pytest.fixture
def anyio_backend() -> str:
    """One loop: nothing here depends on the loop."""
    return "asyncio"


def made_app(hb: Any) -> FastAPI:
    """A service whose bodies and responses are State classes in each place where FastAPI takes a type."""

    class Item(hb.State):
        sku: str
        price: Annotated[float, hb.Alias("unitPrice")]

    class Box(hb.State, Generic[T]):
        value: T

    class Order(hb.State):
        number: int
        items: Sequence[Item] = ()
        by_sku: Mapping[str, Item] | None = None
        box: Box[int] | None = None

    class Node(hb.State):
        name: str
        children: Sequence[Self] = ()

    class Card(hb.State):
        kind: Literal["card"]
        number: str

    class Cash(hb.State):
        kind: Literal["cash"]
        amount: int

    class Page(hb.State):
        limit: int = 10
        after: str | None = None

    class Wrapped(pydantic.BaseModel):
        order: Order
        node: Node | None = None

    app = FastAPI()

    @app.post("/body")
    async def body(order: Annotated[Order, Body()]) -> Order:
        return order

    @app.post("/default")
    async def default(order: Order = Body()) -> Order:  # noqa: B008 - an older way, which many services use
        return order

    @app.post("/embedded")
    async def embedded(order: Annotated[Order, Body(embed=True)]) -> Order:
        return order

    @app.post("/two")
    async def two(order: Annotated[Order, Body()], item: Annotated[Item, Body()]) -> list[Item]:
        return [*order.items, item]

    @app.post("/list")
    async def listed(items: list[Item]) -> dict[str, Item]:
        return {item.sku: item for item in items}

    @app.post("/optional")
    async def optional(item: Annotated[Item | None, Body()] = None) -> Item | None:
        return item

    @app.post("/wrapped")
    async def wrapped(given: Wrapped) -> Wrapped:
        return given

    @app.post("/union")
    async def union(pay: Annotated[Card | Cash, Body()]) -> Card | Cash:
        return pay

    @app.post("/tagged")
    async def tagged(pay: Annotated[Card | Cash, Body(discriminator="kind")]) -> Card | Cash:
        return pay

    @app.post("/node")
    async def node(node: Annotated[Node, Body()]) -> Node:
        return node

    @app.get("/page")
    async def page(page: Annotated[Page, Depends()]) -> Page:
        return page

    @app.get("/model", response_model=Item)
    async def model() -> dict[str, Any]:
        return {"sku": "a", "unitPrice": 1}

    return app


def client(app: Any) -> Any:
    """A client of the application, which gets a 500 for an exception."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


ITEM = {"sku": "pen", "unitPrice": 1.5}
ORDER = {"number": 1, "items": [ITEM], "by_sku": {"pen": ITEM}, "box": {"value": 2}}
NODE = {"name": "a", "children": [{"name": "b", "children": []}]}
CASH = {"kind": "cash", "amount": 3}
FITS = {
    "/body": (ORDER, ORDER),
    "/default": (ORDER, ORDER),
    "/embedded": ({"order": ORDER}, ORDER),
    "/two": ({"order": ORDER, "item": ITEM}, [ITEM, ITEM]),
    "/list": ([ITEM], {"pen": ITEM}),
    "/optional": (ITEM, ITEM),
    "/wrapped": ({"order": ORDER, "node": NODE}, {"order": ORDER, "node": NODE}),
    "/union": (CASH, CASH),
    "/tagged": (CASH, CASH),
    "/node": (NODE, NODE),
}
WRONG: dict[str, tuple[Any, list[list[Any]]]] = {
    "/body": ({"items": [{"sku": "a", "unitPrice": "x"}]}, [["number"], ["items", 0, "unitPrice"]]),
    "/default": ({"number": 1, "more": 2}, [["more"]]),
    "/embedded": ({"order": {"number": "1"}}, [["order", "number"]]),
    "/two": ({"order": ORDER, "item": {"sku": "a"}}, [["item", "unitPrice"]]),
    "/list": ([ITEM, {"sku": 1, "unitPrice": 1}], [[1, "sku"]]),
    "/optional": ({"sku": None, "unitPrice": 1}, [["sku"]]),
    "/wrapped": (
        {"order": ORDER, "node": {"name": "a", "children": [3]}},
        [["node", "children", 0]],
    ),
    "/tagged": ({"kind": "cash", "amount": True}, [["cash", "amount"]]),
    "/node": ({"name": "a", "children": [{}]}, [["children", 0, "name"]]),
}


async def test_a_body_becomes_an_instance_and_an_instance_a_response(hb: Any) -> None:
    async with client(made_app(hb)) as http:
        for path, (given, expected) in FITS.items():
            answer = await http.post(path, json=given)
            assert (answer.status_code, answer.json()) == (200, expected), path
        assert (await http.get("/model")).json() == {"sku": "a", "unitPrice": 1.0}
        assert (await http.post("/optional")).json() is None


async def test_a_body_that_does_not_fit_is_a_422_with_the_places(hb: Any) -> None:
    async with client(made_app(hb)) as http:
        for path, (given, places) in WRONG.items():
            answer = await http.post(path, json=given)
            assert answer.status_code == 422, path
            found = [line["loc"] for line in answer.json()["detail"]]
            assert found == [["body", *place] for place in places], path
        answer = await http.post("/body", json={"number": "1"})
        assert answer.json()["detail"] == [
            {
                "type": "state_error",
                "loc": ["body", "number"],
                "msg": "expected int, given str '1'",
                "input": "1",
            }
        ]


async def test_a_class_is_a_dependency_whose_fields_are_in_the_query(hb: Any) -> None:
    async with client(made_app(hb)) as http:
        assert (await http.get("/page", params={"limit": 3})).json() == {"limit": 3, "after": None}
        answer = await http.get("/page", params={"limit": "x"})
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "limit"])


JSON = {"content-type": "application/json"}
HOSTILE = {
    "NaN": '{"number": NaN, "sku": NaN, "kind": "cash", "amount": NaN, "name": NaN}',
    "infinity": '{"number": 1e999, "items": [{"sku": "a", "unitPrice": -1e999}]}',
    "lone surrogates": r'{"number": "\ud800", "by_sku": {"\ud800": {"\udfff": 1}}, "\ud800": 1, "name": ["\ud800"]}',
    "deep": '{"number": ' + "[" * 300 + "]" * 300 + "}",
    "deep and known": '{"name": "a", "children": [' * 60 + "3" + "]}" * 60,
    "digits": '{"number": "x", "sku": ' + "9" * 4000 + "}",
    "a megabyte of keys": json.dumps({f"key{number}": number for number in range(60_000)}),
    "a megabyte in one value": json.dumps({"number": "x" * 1_000_000}),
    "a megabyte of elements": json.dumps({"items": [{}] * 250_000, "children": [{}] * 250_000}),
    "keys that look like paths": json.dumps({"].a[0]": 1, "a.b": 2, "['": 3, "": 4, "{}": 5}),
    "a number": "3",
    "null": "null",
    "nothing": "",
    "no JSON": '{"number": 1',
    "no UTF-8": "\xff",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
async def test_whatever_the_body_is_the_answer_is_a_small_422(hb: Any, text: str) -> None:
    """Guarantee 7.7. Without `/tagged`: there FastAPI answers with the whole body, also for its own models."""
    async with client(made_app(hb)) as http:
        for path, around in (
            ("/body", "{}"),
            ("/embedded", '{{"order": {}}}'),
            ("/list", "[{}]"),
            ("/wrapped", '{{"order": {0}, "node": {0}}}'),
            ("/union", "{}"),
            ("/node", "{}"),
        ):
            sent = around.format(text)
            if sent == "[]":  # an empty list is right
                continue
            answer = await http.post(path, content=sent.encode("latin-1"), headers=JSON)
            if answer.status_code != 400:  # FastAPI could not read the text
                assert answer.status_code == 422, (path, answer.text[:200])
                # Around a State pydantic makes the list of errors, of which each has its value.
                assert len(answer.content) < 100_000 or path in ("/wrapped", "/list"), path


async def test_a_body_that_is_no_json_is_a_422(hb: Any) -> None:
    async with client(made_app(hb)) as http:
        for content in (b"\xff\xfe", b"", b"x" * 1_000_000):
            answer = await http.post(
                "/body", content=content, headers={"content-type": "text/plain"}
            )
            assert answer.status_code == 422
            assert len(answer.content) < 1000


async def test_the_openapi_document_is_valid_and_names_each_class_once(hb: Any) -> None:
    validator = pytest.importorskip(
        "openapi_spec_validator", reason="needs the dependency group servers"
    )
    async with client(made_app(hb)) as http:
        document = (await http.get("/openapi.json")).json()
    validator.validate(document)
    schemas = document["components"]["schemas"]
    ours = {name for name in schemas if not re.match("Body_|HTTP|Validation", name)}
    assert ours == {
        *("Box_int_", "Card", "Cash", "Item", "Order", "Page"),
        # FastAPI names a class that contains itself twice, also a model of pydantic.
        *("Node-Input", "Node-Output", "Wrapped-Input", "Wrapped-Output"),
    }
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(schemas)
    body = document["paths"]["/body"]["post"]
    order = {"$ref": "#/components/schemas/Order"}
    assert body["requestBody"]["content"]["application/json"]["schema"] == order
    assert body["responses"]["200"]["content"]["application/json"]["schema"] == order
    assert schemas["Order"]["properties"]["items"]["items"] == {"$ref": "#/components/schemas/Item"}
    tagged = document["paths"]["/tagged"]["post"]["requestBody"]["content"]["application/json"]
    assert tagged["schema"]["discriminator"]["mapping"]["cash"] == "#/components/schemas/Cash"


async def test_hundreds_of_requests_at_once(hb: Any) -> None:
    uvicorn = pytest.importorskip("uvicorn", reason="needs the dependency group servers")
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(made_app(hb), log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:

        async def talk(number: int) -> None:
            order = {**ORDER, "number": number}
            right = await http.post("/body", json=order)
            wrong = await http.post("/body", json={**order, "items": [ITEM, {"sku": number}]})
            assert (right.status_code, right.json()) == (200, order)
            lines = wrong.json()["detail"]
            assert [line["loc"] for line in lines] == [
                ["body", "items", 1, "sku"],
                ["body", "items", 1, "unitPrice"],
            ]
            assert lines[0]["input"] == number

        await asyncio.gather(*map(talk, range(200)))
    server.should_exit = True
    await serving


@pytest.fixture
def run_snippet(hb: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Run the code block of the documentation in which a word stands, as a module."""

    def run(word: str) -> Any:
        page = (TREE / "docs" / "integrations" / "pydantic.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        module = types.ModuleType("snippet")
        monkeypatch.setitem(sys.modules, "snippet", module)
        exec(next(block for block in blocks if word in block), vars(module))
        return module

    return run


async def test_litestar_takes_the_snippet_of_the_documentation(run_snippet: Any) -> None:
    pytest.importorskip("litestar", reason="needs the dependency group servers")
    app = run_snippet("Litestar(").app
    order = {"order_id": "o1", "total": 1.5}
    async with client(app) as http:
        answer = await http.post("/orders", json=order)
        assert (answer.status_code, answer.json()) == (201, order)
        answer = await http.post("/orders", json={"order_id": 1, "total": "x"})
        assert answer.status_code == 400
        message = answer.json()["extra"][0]["message"]
        assert "Order.order_id: expected str, given int 1" in message
        assert "Order.total: expected float, given str 'x'" in message
        for text in (
            b"{",
            b'{"total": NaN}',
            b'{"total": 1e999}',
            rb'{"order_id": "\ud800"}',
            b"3",
        ):
            assert (await http.post("/orders", content=text, headers=JSON)).status_code == 400
