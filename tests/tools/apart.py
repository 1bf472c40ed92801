"""Runs one piece of work after the other, each in a process of its own, which is forked when all is imported."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable


def each(names: Iterable[str], work: Callable[[str], None]) -> None:
    """Prints a line of JSON for each name: the name, how its process ended, and what it printed."""
    for name in names:
        if not hasattr(os, "fork"):
            work(name)
            print(json.dumps([name, 0, ""]), flush=True)
            continue
        reads, writes = os.pipe()
        if (child := os.fork()) == 0:
            os.dup2(writes, 1)
            os.dup2(writes, 2)
            os.close(reads)
            os.close(writes)
            work(name)
            sys.exit()
        os.close(writes)
        with open(reads) as pipe:
            said = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps([name, status, said]), flush=True)
