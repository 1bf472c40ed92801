"""The command line of the main job: its arguments, the order of its work, the exit codes."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter

from haiway_bus.demo.job import NoSourceFilesError, run_job
from haiway_bus.demo.progress import open_progress
from haiway_bus.demo.recount import differences, recount
from haiway_bus.demo.report import Report
from haiway_bus.demo.settings import Job
from haiway_bus.tools.picture import Picture, collect

__all__ = ("main",)

AGREES, DIFFERS, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
"""The exit codes. argparse exits with 2 too. A shell gives 130 for an interrupt."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job.

    Args:
        argv: The arguments; None for those of the process.

    Returns:
        The exit code.
    """
    try:
        return _index(_parser().parse_args(argv))
    except (NoSourceFilesError, _UnusableRootError, _UnusablePictureError) as error:
        sys.stderr.write(f"error: {error}\n")
        return UNUSABLE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


class _UnusableRootError(Exception):
    """Raised when the root cannot be listed."""


class _UnusablePictureError(Exception):
    """Raised when the picture cannot be written to its file."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m haiway_bus",
        description="Index the source of Python's standard library with stages that talk over an "
        "event bus, then count again without the bus. Exit code 1 if the results differ.",
        epilog="`python -m haiway_bus top` shows the bus of a running service; see `top --help`.",
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="index the source files below DIR instead of the standard library",
    )
    parser.add_argument(
        "--files", type=_positive, metavar="N", help="only the first N files, sorted by path"
    )
    parser.add_argument(
        "--find",
        metavar="NAME",
        help="look up this class or function (default: a name that was found)",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        help="draw who sends and who reads which events: for Graphviz if FILE ends in .dot, else for Mermaid",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"a number of files is 1 or more, not {value}")
    return value


def _index(options: argparse.Namespace) -> int:
    job = Job(root=_usable_root(options.root), files=options.files)
    with open_progress(sys.stderr, options.quiet) as progress:
        with nullcontext() if options.picture is None else collect() as picture:
            result = asyncio.run(run_job(job, progress, options.find))
        if picture is not None:
            _draw(picture, options.picture)
        started = perf_counter()
        direct = recount(job.root, job.files, progress)
        recount_seconds = perf_counter() - started
    report = Report(job, result, recount_seconds, differences(result.index, direct))
    _print(report, options.json)
    return DIFFERS if report.differences else AGREES


def _draw(picture: Picture, file: Path) -> None:
    drawn = picture.dot() if file.suffix == ".dot" else picture.mermaid()
    try:
        file.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise _UnusablePictureError(
            f"--picture must be a file that can be written, and {file} is not ({error.strerror}): "
            "name another file"
        ) from error


def _print(report: Report, as_json: bool) -> None:
    try:
        if as_json:
            report.write_json(sys.stdout)
        else:
            report.write_text(sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has seen enough (`| head`). That is no failure of the job. The interpreter flushes
        # again when it exits, so the stream must lead somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usable_root(given: Path | None) -> Path:
    root = Path(sysconfig.get_paths()["stdlib"]) if given is None else given
    try:
        os.scandir(root).close()
    except OSError as error:
        raise _UnusableRootError(
            f"--root must be a folder that can be listed, and {root} is not ({error.strerror}): "
            "name another folder"
        ) from error
    return root
