"""Addresses of servers, and the credentials in them: none of these may reach a log line, an error or a repr."""

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
# The part of an address before its host. Errors of nats-py quote addresses too.
USERINFO: Final = re.compile(r"://\S*@")
SCHEMES: Final = ("nats", "tls", "ws", "wss")


def check_addresses(addresses: Sequence[str]) -> None:
    """Raise ValueError for a text that is not the address of a single server.

    The error does not quote the text: in a mistyped address the password can stand anywhere.
    """
    if not addresses:
        raise ValueError("servers= is the address of a server, or several: none is given")
    for number, address in enumerate(addresses, 1):
        wrong = _wrong(address)
        if wrong:
            raise ValueError(
                f"servers=: address {number} of {len(addresses)} {wrong}. Write nats://host:port or"
                " nats://user:password@host:port; give several addresses as a list; put a user or password with other"
                ' characters than letters and digits into connect={"user": ..., "password": ...}, and a token into'
                ' connect={"token": ...}'
            )


def _wrong(address: object) -> str:
    if not isinstance(address, str):
        return f"is a {type(address).__name__}, not a text"
    for sign in ",?#\\":
        if sign in address:
            return f"has a {sign!r} in it"
    if not address or not address.isprintable() or " " in address:
        return "is empty" if not address else "has a blank or an unprintable character in it"
    scheme, mark, rest = address.partition("://")
    if mark and scheme not in SCHEMES:
        return f"has a scheme other than {', '.join(SCHEMES)}"
    if "/" in (rest if mark else address).rpartition("@")[0]:
        return "has a '/' before its '@'"
    return ""


def shown(address: str) -> str:
    """Return the address without its user and password, or token."""
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


class Redaction:
    """Replaces secrets in texts: call it with a text, and it returns the text without them."""

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
        # The longest first: a secret can contain another, and nothing of it may be left.
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
        for item in value:
            yield from _texts(item)


def _parsed(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return set()
    return {unquote(part) for part in (parts.username, parts.password) if part}
