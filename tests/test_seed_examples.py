"""Every example of the document that the package implements, run as it is written there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).with_name("seed_examples.py")


class Examples(dict[str, Any]):
    """The namespace of the examples, with the names they leave to the reader."""

    def __init__(self, hb: Any) -> None:
        super().__init__(Any=Any, __name__="seed_examples")
        self.calls: list[tuple[Any, ...]] = []
        self.hb = hb
        self.update({name: self.recorder(name) for name in RECORDED})
        exec(compile(SOURCE.read_text(), str(SOURCE), "exec", dont_inherit=True), self)

    def recorder(self, name: str) -> Any:
        async def call(*args: Any) -> None:
            await asyncio.sleep(0)
            self.calls.append((name, *args))

        return call

    def define(self, name: str, **fields: Any) -> type:
        kind = type(self.hb.State)(
            name, (self.hb.State,), {"__annotations__": fields, "__module__": __name__}
        )
        self[name] = kind
        return kind


RECORDED = (
    "authenticate_user",
    "log_to_database",
    "send_security_alert",
    "increment_login_count",
    "process_event",
    "handle_task",
)


@pytest.fixture
def examples(hb: Any) -> Examples:
    return Examples(hb)


async def within(seconds: float, coroutine: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await coroutine


async def test_defining_and_sending_events(hb: Any, examples: Examples) -> None:
    async with hb.ctx.scope("test"):
        subscription = hb.ctx.subscribe(examples["UserLoggedIn"])
        await examples["handle_login"]("u1", "10.0.0.1")
        event = await anext(subscription)
        assert (event.user_id, event.ip_address) == ("u1", "10.0.0.1")
    order = examples["OrderCreated"](
        order_id="o", customer_id="c", total_amount=1.5, items=["a", "b"]
    )
    assert order.items == ("a", "b")


async def test_background_event_processing_ends(
    hb: Any, examples: Examples, capsys: pytest.CaptureFixture[str]
) -> None:
    async def process_orders() -> None:
        async for order in hb.ctx.subscribe(examples["OrderCreated"]):
            examples.calls.append(("order", order.order_id))

    async def run_application() -> None:
        await asyncio.sleep(0)
        await examples["handle_login"]("u1", "10.0.0.1")
        hb.ctx.send(
            examples["OrderCreated"](order_id="o1", customer_id="c", total_amount=1.0, items=())
        )
        await asyncio.sleep(0.01)

    examples.update(process_orders=process_orders, run_application=run_application)
    await within(5, examples["background_main"]())
    assert [call[0] for call in examples.calls] == ["authenticate_user", "order", "log_to_database"]
    assert capsys.readouterr().out == "User u1 logged in from 10.0.0.1\n"


async def test_multiple_subscribers_receive_all_and_end(hb: Any, examples: Examples) -> None:
    async def run_application() -> None:
        await asyncio.sleep(0)
        for number in range(3):
            await examples["handle_login"](f"u{number}", "bad" if number == 1 else "good")

    examples.update(run_application=run_application, is_suspicious_ip=lambda ip: ip == "bad")
    await within(5, examples["subscribers_main"]())
    counted = [call[1] for call in examples.calls if call[0] == "increment_login_count"]
    alerts = [call[1].user_id for call in examples.calls if call[0] == "send_security_alert"]
    assert (counted, alerts) == (["u0", "u1", "u2"], ["u1"])


async def test_request_and_response_end(hb: Any, examples: Examples) -> None:
    async def execute_query(query: str) -> str:
        await asyncio.sleep(0)
        return query.upper()

    numbers = iter(range(100))
    examples.update(execute_query=execute_query, generate_id=lambda: str(next(numbers)))

    async def main() -> list[str]:
        async with hb.ctx.scope("app"):
            hb.ctx.spawn(examples["data_service"])
            await asyncio.sleep(0)
            answers = await asyncio.gather(*(examples["make_request"](query) for query in "abc"))
        return list(answers)

    assert await within(5, main()) == ["A", "B", "C"]


async def test_an_error_in_a_processor_is_logged_and_the_next_event_is_processed(
    hb: Any, examples: Examples, caplog: pytest.LogCaptureFixture
) -> None:
    critical = examples.define("CriticalEvent", number=int)
    handled = []

    async def process_critical_event(event: Any) -> None:
        if event.number == 0:
            raise LookupError("lost")
        handled.append(event.number)

    examples["process_critical_event"] = process_critical_event
    async with hb.ctx.scope("app"):
        hb.ctx.spawn(examples["safe_event_processor"])
        await asyncio.sleep(0)
        for number in range(2):
            hb.ctx.send(critical(number=number))
    assert handled == [1]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Failed to process event CriticalEvent(number=0)" in caplog.text
    assert "LookupError: lost" in caplog.text


async def test_scopes_are_isolated(hb: Any, examples: Examples) -> None:
    examples.define("InternalEvent", data=str)
    await examples["isolated_subsystem"]()
    async with hb.ctx.scope("around"):
        subscription = hb.ctx.subscribe(examples["InternalEvent"])
        await asyncio.get_running_loop().create_task(examples["isolated_subsystem"]())
        assert subscription.pending == 2  # nested scopes share the bus around them (guarantee 5.1)


async def test_state_management(hb: Any, examples: Examples) -> None:
    failed, unhealthy = (
        examples.define(name, reason=str) for name in ("HealthCheckFailed", "SystemUnhealthy")
    )
    async with hb.ctx.scope("app", examples["SystemStatus"](last_check=0.0)):
        subscription = hb.ctx.subscribe(unhealthy)
        hb.ctx.spawn(examples["health_monitor"])
        await asyncio.sleep(0)
        hb.ctx.send(failed(reason="disk"))
        assert (await anext(subscription)).reason == "disk"


async def test_task_management(hb: Any, examples: Examples) -> None:
    request = examples.define("TaskRequest", task_id=str, payload=Any)
    async with hb.ctx.scope("app"):
        hb.ctx.spawn(examples["event_driven_tasks"])
        await asyncio.sleep(0)
        for number in range(3):
            hb.ctx.send(request(task_id=f"t{number}", payload=number))
    assert examples.calls == [("handle_task", f"t{number}", number) for number in range(3)]


async def test_observability(hb: Any, examples: Examples, caplog: pytest.LogCaptureFixture) -> None:
    important = examples.define("ImportantEvent", number=int)
    caplog.set_level(logging.DEBUG, "app")
    async with hb.ctx.scope("app"):
        hb.ctx.spawn(examples["monitored_processor"])
        await asyncio.sleep(0)
        hb.ctx.send(important(number=1))
    assert "event event_received event_type='ImportantEvent'" in caplog.text
    assert "histogram event_processing_time = " in caplog.text
    assert len(examples.calls) == 1
