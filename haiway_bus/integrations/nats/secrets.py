"""Keeping credentials out of texts: what the bridge logs or raises may quote an address or a client's error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

__all__ = ("Redaction", "shown")

HIDDEN: Final = "***"
# Options of nats-py whose values are, or can be, secrets themselves.
SECRET_OPTIONS: Final = ("password", "token", "user", "nkeys_seed_str", "user_credentials")


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
            value = options.get(name)
            if isinstance(value, str):
                secrets.add(value)
        secrets.discard("")
        # The longest first, so that one within another leaves nothing of it.
        self._secrets = sorted(secrets, key=len, reverse=True)

    def __call__(self, text: object) -> str:
        result = str(text)
        for secret in self._secrets:
            result = result.replace(secret, HIDDEN)
        return result

    def __repr__(self) -> str:
        return f"<Redaction of {len(self._secrets)} secrets>"


def _parsed(address: str) -> set[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return set()
    return {unquote(part) for part in (parts.username, parts.password) if part}
