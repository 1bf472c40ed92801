"""`python -m haiway_bus`: the main job, or the command named by the first argument."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from haiway_bus.demo import cli
from haiway_bus.tools._top import cli as top

UNKNOWN = 2
"""The exit code for what is no command. argparse exits with 2 as well."""

# The main job takes no positional arguments, so the name of a command cannot be mistaken for one.
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {"index": cli.main, "top": top.main}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `argv` asks for (None: the process's arguments) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:])
    if arguments and not arguments[0].startswith("-"):
        known = " or ".join(COMMANDS)
        sys.stderr.write(f"error: unknown command {arguments[0]!r}: {known}, or none for index\n")
        return UNKNOWN
    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
