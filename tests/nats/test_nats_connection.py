"""How the bridge connects: addresses, credentials, what a failure says, and what is never said."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

nats = pytest.importorskip("nats", reason="nats-py is not installed: pip install nats-py")

from haiway_bus import State
from haiway_bus.integrations.nats import NatsBridge
from haiway_bus.integrations.nats.secrets import Redaction


class Note(State):
    text: str


def run(work: Any) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


async def until(condition: Any, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("nats://bob:s3cret@h1,nats://bob:s3cret@h2", "','"),
        ("nats://h/?token=s3cret", "'\\?'"),
        ("nats://bob:s3cret#x@h", "'#'"),
        ("nats://bob:s3c/ret@h", "'/' before its '@'"),
        ("nats:/bob:s3cret@h", "'/' before its '@'"),
        ("bob:s3c/ret@h", "'/' before its '@'"),
        ("nats://bob:s3cret@h nats://h2", "blank"),
        ("nats://bob:s3cret@h\n", "blank"),
        ("http://bob:s3cret@h", "another scheme"),
        ("", "is empty"),
        (b"nats://bob:s3cret@h", "is a bytes"),
    ],
)
def test_what_is_no_address_of_one_server_is_refused_and_not_quoted(
    address: Any, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"address 2 of 2 .*{reason}") as caught:
        NatsBridge(["nats://127.0.0.1", address], publish=[Note])
    for secret in ("s3c", "ret", "bob"):
        assert secret not in str(caught.value)
    with pytest.raises(ValueError, match="none is given"):
        NatsBridge([], publish=[Note])


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "h:4222", "nats://[::1]:4222", "bob:s3cret@h:1", "tls://t0ken@h", "ws://h:80/x"],
)
def test_addresses_that_nats_knows_are_taken(address: str) -> None:
    bridge = NatsBridge(address, publish=[Note])
    assert "s3cret" not in repr(bridge)
    assert "t0ken" not in repr(bridge)


def test_credentials_of_any_address_in_a_text_are_masked() -> None:
    redacted = Redaction(
        ["nats://h"], {"ws_connection_headers": {"Authorization": ["Bearer s3cret"]}}
    )
    assert redacted("no nats://ann:pw@h1 and nats://tok@h2") == "no nats://***@h1 and nats://***@h2"
    assert redacted("Bearer s3cret, nats://h1") == "***, nats://h1"
