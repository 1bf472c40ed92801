"""How the bridge connects: addresses, credentials, what a failure tells, and what nothing may tell."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest

nats = pytest.importorskip("nats", reason="needs nats-py")

from nats_server import free_port

from haiway_bus import State, ctx
from haiway_bus.integrations._nats import bridge as bridge_module
from haiway_bus.integrations._nats.addresses import Redaction
from haiway_bus.integrations.nats import NatsBridge, NatsBridgeError
from tests.shared import run, until


class Note(State):
    text: str


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
        ("http://bob:s3cret@h", "a scheme other than"),
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


def test_a_connect_option_that_nats_does_not_know_is_refused_when_the_bridge_is_made() -> None:
    with pytest.raises(ValueError, match="knows no pasword") as caught:
        NatsBridge("nats://h", publish=[Note], connect={"pasword": "s3cret", "name": "shop"})
    assert "s3cret" not in str(caught.value)


def unable(_: str) -> bytes:
    raise LookupError("no key for s3cret")


KEY = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
KEYED = {"authorization": {"users": [{"nkey": KEY}]}}


@pytest.mark.parametrize(
    ("connect", "reason"),
    [
        (
            {"signature_cb": unable, "user_jwt_cb": lambda: bytearray(b"x"), "token": "s3cret"},
            r"LookupError: no key for \*\*\*",
        ),
        ({"nkeys_seed_str": "SUs3cret"}, "Error|Invalid"),
        ({"user_credentials": "/no/such/s3cret.creds"}, "No such file"),
        pytest.param(
            {"inbox_prefix": 3},
            "AssertionError",
            marks=pytest.mark.skipif(not __debug__, reason="nats-py asks by `assert`"),
        ),
    ],
)
def test_what_makes_no_connection_fails_the_start_at_once_and_says_why(
    servers: Any, connect: Any, reason: str
) -> None:
    if connect.keys() & {"nkeys_seed_str", "user_credentials"}:
        pytest.importorskip("nkeys", reason="needs nkeys")
    server = servers(config=KEYED)

    async def main() -> None:
        bridge = NatsBridge(server.url, publish=[Note], connect=connect)
        began = time.monotonic()
        with pytest.raises(NatsBridgeError, match=f"can be made of what .*({reason})") as caught:
            async with ctx.scope("x", disposables=[bridge], isolated=True):
                pass
        assert time.monotonic() - began < 5
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None

    run(main())


def test_a_start_without_a_server_says_what_the_last_attempt_met(servers: Any) -> None:
    absent = servers(start=False)

    async def main() -> None:
        bridge = NatsBridge(absent.url, publish=[Note], start_timeout=0.5)
        with pytest.raises(NatsBridgeError, match=r"last: .*(refused|Connect call failed)"):
            async with ctx.scope("x", disposables=[bridge], isolated=True):
                pass

    run(main())


def test_a_callback_that_raises_later_is_logged_and_called_again(
    servers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    users = [{"user": "shop", "password": "pw"}]
    server = servers(config={"authorization": {"users": users}})
    calls = 0

    def user() -> str:
        nonlocal calls
        calls += 1
        if 2 <= calls <= 3:
            raise LookupError("the vault is away")
        return "shop"

    async def main() -> None:
        bridge = NatsBridge(
            server.url,
            publish=[Note],
            connect={"user": user, "password": lambda: "pw"},
            reconnect_timeout=0.3,
        )
        async with ctx.scope("x", disposables=[bridge], isolated=True):
            server.kill()
            await until(lambda: not bridge.stats().connected)
            await asyncio.to_thread(server.start)
            ctx.send(Note(text="x"))
            await ctx.flush(Note, timeout=15)
            assert bridge.stats().connections == 2
            assert calls >= 4

    run(main())
    assert "LookupError: the vault is away; trying again" in caplog.text


def test_another_server_of_the_cluster_gets_the_credentials_of_the_address(
    servers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ports = [free_port(), free_port()]
    one, two = (
        servers(
            name,
            config={
                "server_name": name,
                "authorization": {"user": "bob", "password": "s3cret-word"},
                "cluster": {
                    "name": "c",
                    "host": "127.0.0.1",
                    "port": ports[at],
                    "routes": [f"nats://127.0.0.1:{ports[1 - at]}"],
                },
            },
        )
        for at, name in enumerate(("one", "two"))
    )

    async def main() -> None:
        url = one.url.replace("://", "://bob:s3cret-word@")
        async with asyncio.timeout(20):
            while True:
                client = await nats.connect(url)
                known = client.discovered_servers
                await client.close()
                if any(address.port == two.port for address in known):
                    break
                await asyncio.sleep(0.1)
        bridge = NatsBridge(
            url, publish=[Note], require_server=False, reconnect_timeout=0.3, drain_timeout=0.1
        )
        async with ctx.scope("shop", disposables=[bridge], isolated=True):
            await until(lambda: bridge.stats().connected)
            one.kill()
            await until(lambda: bridge.stats().connections == 2 and bridge.stats().connected)
            assert "s3cret-word" not in repr(bridge)

    run(main())
    assert "s3cret-word" not in caplog.text


class Secret(State):
    text: str


def test_a_permission_that_is_missing_is_logged_and_leaves_the_connection_to_the_others(
    servers: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "PUBLISH_SECONDS", 0.3)
    shop = {
        "user": "shop",
        "password": "pw",
        "permissions": {"publish": {"deny": ["haiway.events.Secret"]}},
    }
    server = servers(config={"authorization": {"users": [shop]}})

    async def main() -> None:
        connect = {"user": "shop", "password": "pw"}
        bridge = NatsBridge(
            server.url, publish=[Note, Secret], connect=connect, drain_timeout=0.5, heartbeat=0.3
        )
        async with ctx.scope("shop", disposables=[bridge], isolated=True):
            ctx.send(Secret(text="x"))
            await until(lambda: bridge.stats().resent >= 3)
            ctx.send(Note(text="x"))
            await ctx.flush(Note, timeout=10)
            stats = bridge.stats()
            assert (stats.connections, stats.published) == (1, 1)
            assert stats.outbox["Secret"][0] == 1

    run(main())
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    denied = [one for one in warnings if "allow it to this user" in one]
    assert len(denied) == 1
    assert 'permissions violation for publish to "haiway.events.secret"' in denied[0]
    assert "given up" not in caplog.text


def test_a_pull_that_is_denied_leaves_the_connection_to_the_others(
    servers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shop = {
        "user": "shop",
        "password": "pw",
        "permissions": {"publish": {"deny": ["$JS.API.CONSUMER.MSG.NEXT.>"]}},
    }
    server = servers(config={"authorization": {"users": [shop]}})

    async def main() -> None:
        connect = {"user": "shop", "password": "pw"}
        bridge = NatsBridge(
            server.url,
            publish=[Note],
            subscribe=[Secret],
            durable="g",
            connect=connect,
            heartbeat=0.1,
        )
        async with ctx.scope("shop", disposables=[bridge], isolated=True):
            ctx.on(Secret, print)
            await until(lambda: bridge.stats().stalls >= 4)
            assert bridge.stats().connections == 1

    run(main())
    assert "allow it to this user" in caplog.text
