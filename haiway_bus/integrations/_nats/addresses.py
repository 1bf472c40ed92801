"""Keeping credentials out of texts: what the bridge logs or raises may quote an address or a client's error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

__all__ = ("Redaction", "check_addresses", "shown")

HIDDEN: Final = "***"
# Options of nats-py whose values are, or can be, secrets themselves.
SECRET_OPTIONS: Final = (
    "password",
    "token",
    "user",
    "nkeys_seed_str",
    "user_credentials",
    "ws_connection_headers",
)
# What is in an address, of ours or one that a client's error quotes, before its host.
USERINFO: Final = re.compile(r"://\S*@")
SCHEMES: Final = ("nats", "tls", "ws", "wss")


def check_addresses(addresses: Sequence[str]) -> None:
    """Raise ValueError for what is no address of one server. The error does not quote it: who has mistyped an address
    has its password in an unexpected place.
    """
    if not addresses:
        raise ValueError("servers= is the address of a server, or several: none is given")
    for number, address in enumerate(addresses, 1):
        wrong = _wrong(address)
        if wrong:
            raise ValueError(
                f"servers=: address {number} of {len(addresses)} {wrong}. One is nats://host:port, with user:password@"
                " before the host if need be; several are a list; a user or password with other signs than letters and"
                ' digits goes into connect={"user": ..., "password": ...}, a token into connect={"token": ...}'
            )


def _wrong(address: object) -> str:
    if not isinstance(address, str):
        return f"is a {type(address).__name__}, not a text"
    for sign in ",?#\\":
        if sign in address:
            return f"has a {sign!r} in it"
    if not address or not address.isprintable() or " " in address:
        return "is empty" if not address else "has a blank or a sign that is not printable in it"
    scheme, mark, rest = address.partition("://")
    if mark and scheme not in SCHEMES:
        return f"has another scheme than {', '.join(SCHEMES)}"
    if "/" in (rest if mark else address).rpartition("@")[0]:
        return "has a '/' before its '@'"
    return ""


def shown(address: str) -> str:
    """The address without the user and password or token in it."""
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


class Redaction:
    """Replaces the secrets it was made with wherever they stand in a text."""

    __slots__ = ("_secrets",)

    def __init__(self, addresses: Iterable[str], options: Mapping[str, Any]) -> None:
        secrets: set[str] = set()
        for address in addresses:
            userinfo = address.rpartition("://")[2].rpartition("@")[0]
            secrets.update((userinfo, *userinfo.split(":", 1)))
            secrets.update(_parsed(address))
        for name in SECRET_OPTIONS:
            secrets.update(_texts(options.get(name)))
        secrets.discard("")
        # The longest first, so that one within another leaves nothing of it.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: object) -> str:
        result = USERINFO.sub(f"://{HIDDEN}@", str(text))
        for secret in self._secrets:
            result = result.replace(secret, HIDDEN)
        return result

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._secrets)} secrets>"


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _parsed(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return set()
    return {unquote(part) for part in (parts.username, parts.password) if part}
