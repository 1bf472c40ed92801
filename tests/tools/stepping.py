"""Runs a reader under pdb, once for each script of commands. Prints, as JSON lines, what pdb said to each script.

python -P stepping.py SOURCE READER
"""

from __future__ import annotations

import asyncio
import gc
import io
import json
import pdb
import sys
from pathlib import Path

import readers


def scripts(name: str) -> dict[str, list[str]]:
    """The commands by the name of their script. Each goes on with `c` when they are used up."""
    known = {
        "next": ["n"] * 120,
        "step": ["s"] * 3000,
        "until": ["until"] * 120,
        "return": ["r", "n", "n", "r"],
        "continue": [],
        "display": ["display locals().get('event')", *["n"] * 120],
    }
    if body := body_of(name):
        known |= {
            "break": [f"b {body}", *["c", "n"] * 20],
            "condition": [f"b {body}, event.number in (1, 3)", *["c"] * 20],
            "tbreak": [f"tbreak {body}", "c", "n", "n", f"tbreak {body}", "c", "p event", "c"],
        }
    return known


def body_of(name: str) -> str:
    """The place of the line in the reader's loop that is marked `# body`; empty if none is."""
    reader = readers.drain if name == "ended" else readers.READERS[name][0]
    path, start = reader.__code__.co_filename, reader.__code__.co_firstlineno
    for number, line in enumerate(Path(path).read_text().splitlines()[start:], start + 1):
        if line.startswith("async def"):
            break
        if line.endswith("# body"):
            return f"{path}:{number}"
    return ""


def run(kind: str, name: str, commands: list[str]) -> str:
    said = io.StringIO()
    script = io.StringIO("".join(f"{command}\n" for command in (*commands, "c")))
    debugger = pdb.Pdb(stdin=script, stdout=said, nosigint=True, readrc=False)

    def stop() -> None:
        # Once: a handler comes by again.
        if not said.tell():
            debugger.set_trace(sys._getframe().f_back)

    sys.breakpointhook = stop
    asyncio.run(readers.run(kind, name))
    sys.settrace(None)
    debugger.clear_all_breaks()
    return said.getvalue()


if __name__ == "__main__":
    _, kind, name = sys.argv
    gc.disable()  # what it calls is no step of a reader's
    for script, commands in scripts(name).items():
        # One line each, written at once: after a crash the last one tells which script came through.
        print(json.dumps([script, run(kind, name, commands)]), flush=True)
