"""The job itself: its scopes, who subscribes to what, and in which order the stages start."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

from haiway_bus import ctx
from haiway_bus.demo import stages
from haiway_bus.demo.events import (
    ClassFound,
    FileFailed,
    FileFound,
    FilesListed,
    FunctionFound,
    ModuleIndexed,
    WhereIs,
)
from haiway_bus.demo.index import Index, Place
from haiway_bus.demo.progress import Progress
from haiway_bus.demo.settings import Job

__all__ = ("JobResult", "NoSourceFilesError", "run_job")


class NoSourceFilesError(Exception):
    """Raised when there is nothing to index below the root."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came over the bus, the answer to the lookup, and the time it took.

    `bus_seconds` runs from opening the indexing scope until all its stages have ended;
    `source_seconds` is the part of it spent in reading, parsing and tokenizing files.
    """

    index: Index
    name: str
    places: list[Place]
    bus_seconds: float
    source_seconds: float


async def run_job(job: Job, progress: Progress, name: str | None = None) -> JobResult:
    """Index what `job` says and look `name` up, or else a name that the largest module defines."""
    index = Index()
    source_seconds: list[float] = []
    async with ctx.scope("source-index", job):
        started = perf_counter()
        async with ctx.scope("indexing"):
            _start_stages(job, index, source_seconds, progress)
        bus_seconds = perf_counter() - started
        # The scope has ended, so every stage has read all that was sent to it: this is complete.
        if index.counts.files == 0:
            raise NoSourceFilesError(
                f"--root must hold Python source files, and below {job.root} is none: name another"
            )
        ctx.log_info("%d events in %.3f s", index.counts.events, bus_seconds)

        async with ctx.scope("lookup"):
            ctx.spawn(stages.answer, ctx.subscribe(WhereIs), index)
            asked = name if name is not None else _name_to_ask_for(index)
            places = await stages.look_up(asked)
    return JobResult(index, asked, places, bus_seconds, sum(source_seconds))


def _start_stages(job: Job, index: Index, seconds: list[float], progress: Progress) -> None:
    """Spawn the stages, those that only read before those that send.

    A scope ends the latest ones first: when the walk is over and the workers' wait for another file
    ends, all who read what the workers sent are still there.
    """
    counts = index.counts
    ctx.spawn(stages.show_total, ctx.subscribe(FilesListed), progress)
    ctx.spawn(stages.show_progress, ctx.subscribe(ModuleIndexed), progress)
    ctx.spawn(stages.show_progress, ctx.subscribe(FileFailed), progress)
    ctx.spawn(stages.time_sources, ctx.subscribe(ModuleIndexed), seconds)
    ctx.spawn(stages.time_sources, ctx.subscribe(FileFailed), seconds)
    ctx.spawn(stages.rank, ctx.subscribe(ModuleIndexed), index.largest)
    ctx.spawn(stages.catalogue_classes, ctx.subscribe(ClassFound), index)
    ctx.spawn(stages.catalogue_functions, ctx.subscribe(FunctionFound), index)
    ctx.spawn(stages.collect_failures, ctx.subscribe(FileFailed), index)
    ctx.spawn(stages.count_files, ctx.subscribe(FileFound), counts)
    ctx.spawn(stages.count_modules, ctx.subscribe(ModuleIndexed), counts)
    ctx.spawn(stages.count_classes, ctx.subscribe(ClassFound), counts)
    ctx.spawn(stages.count_functions, ctx.subscribe(FunctionFound), counts)
    files = ctx.subscribe(FileFound)
    for _ in range(job.workers):
        ctx.spawn(stages.work, files)
    ctx.spawn(stages.walk)


def _name_to_ask_for(index: Index) -> str:
    """A name worth asking for: the first that the largest module with any definition has."""
    first_names: dict[str, tuple[int, str]] = {}
    for name, places in index.places.items():
        for place in places:
            known = first_names.get(place.module)
            if known is None or (place.line, name) < known:
                first_names[place.module] = (place.line, name)
    for size in index.largest:
        if size.module in first_names:
            return first_names[size.module][1]
    return min(index.places, default="main")
