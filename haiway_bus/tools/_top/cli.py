"""The command line of `top`: its arguments, the loop that asks and shows, the exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Final, TextIO

from haiway_bus.tools._top.client import Client, ServiceEndedError, ServiceNotFoundError, find
from haiway_bus.tools._top.screen import Screen, json_line, open_screen
from haiway_bus.tools._top.snapshot import Row, Snapshot, rows
from haiway_bus.tools._top.socket_folder import UnsafeFolderError
from haiway_bus.tools._top.view import headline, slowest

__all__ = ("main",)

SHOWN, SILENT, UNUSABLE = 0, 1, 2
"""The exit codes. argparse exits with 2 too."""

PATIENCE_SECONDS: Final = 5.0
"""How long `--once` waits for an answer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Show a running scope.

    Args:
        argv: The arguments; None for those of the process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(argv)
    try:
        with find(options.pid, options.socket) as client:
            if options.once:
                return _once(client, options.interval, options.json, sys.stdout)
            return _live(client, options.interval, options.json, sys.stdout)
    except (ServiceNotFoundError, UnsafeFolderError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return UNUSABLE
    except ServiceEndedError:
        sys.stderr.write("the scope has ended\n")
        return SHOWN
    except KeyboardInterrupt:  # the usual way to leave it
        return SHOWN
    except BrokenPipeError:
        # The reader of the output has seen enough (`| head`). The interpreter flushes again when it exits, so the
        # stream must lead somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SHOWN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m haiway_bus top",
        description="Show the bus of a running scope that has a haiway_bus.tools.top.Monitor() "
        "among its disposables. Exit code 2 if there is none.",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int, metavar="PID", help="the scope in this process")
    which.add_argument("--socket", type=Path, metavar="PATH", help="the scope with this socket")
    parser.add_argument(
        "--interval",
        type=_seconds,
        default=1.0,
        metavar="S",
        help="seconds between two looks (default: 1)",
    )
    parser.add_argument("--once", action="store_true", help="print one table, after one interval")
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON instead of tables"
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"an interval is 0.01 to 3600 seconds, not {text}")
    return value


def _once(client: Client, interval: float, as_json: bool, stream: TextIO) -> int:
    before = client.ask(PATIENCE_SECONDS)
    if before is not None:
        sleep(interval)  # a rate needs two looks
        now = client.ask(PATIENCE_SECONDS)
        if now is not None:
            with open_screen(stream, once=True) as screen:
                _show(screen, stream, as_json, now, rows(now, before))
            return SHOWN
    sys.stderr.write(
        f"error: the service did not answer for {PATIENCE_SECONDS:.0f} s: its loop is blocked\n"
    )
    return SILENT


def _live(client: Client, interval: float, as_json: bool, stream: TextIO) -> int:
    before: Snapshot | None = None
    shown: list[Row] = []
    answered = monotonic()
    with open_screen(stream, once=as_json) as screen:
        while True:
            now = client.ask(interval)
            if now is None:
                if before is not None and not as_json:
                    silent = headline(before, monotonic() - answered)
                    screen.show(silent, shown, slowest(shown) + before.waiting)
                continue
            shown, before, answered = rows(now, before), now, monotonic()
            _show(screen, stream, as_json, now, shown)
            sleep(interval)


def _show(
    screen: Screen, stream: TextIO, as_json: bool, now: Snapshot, shown: Sequence[Row]
) -> None:
    if as_json:
        stream.write(json_line(now, shown))
        stream.flush()
    else:
        screen.show(headline(now), shown, slowest(shown) + now.waiting)
