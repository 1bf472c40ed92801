"""The job: its scopes, who subscribes to what, and in which order the stages start."""

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
from haiway_bus.demo.index import Index, Location
from haiway_bus.demo.progress import Progress
from haiway_bus.demo.settings import Job

__all__ = ("JobResult", "NoSourceFilesError", "run_job")


class NoSourceFilesError(Exception):
    """Raised when the root has no source files."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of the job.

    Attributes:
        index: What came over the bus.
        name: The name that was looked up.
        locations: The answer to the lookup.
        bus_seconds: The time from the opening of the indexing scope until all its stages have ended.
        source_seconds: The part of that time in which files were read, parsed and tokenized.
    """

    index: Index
    name: str
    locations: list[Location]
    bus_seconds: float
    source_seconds: float


async def run_job(job: Job, progress: Progress, name: str | None = None) -> JobResult:
    """Index what `job` says, and look up `name`, by default a name that the largest module defines."""
    index = Index()
    source_seconds: list[float] = []
    async with ctx.scope("source-index", job):
        started = perf_counter()
        # The work is done at the end of this scope. That it takes longer than 10 seconds is no reason for a warning.
        async with ctx.scope("indexing", warn_after=None):
            _start_stages(job, index, source_seconds, progress)
        bus_seconds = perf_counter() - started
        # The scope has ended, so every stage has read all that was sent, and the index is complete.
        if index.counts.files == 0:
            raise NoSourceFilesError(
                f"--root must have Python source files in it, and {job.root} has none: name another folder"
            )
        ctx.log_info("%d events in %.3f s", index.counts.events, bus_seconds)

        async with ctx.scope("lookup"):
            ctx.spawn(stages.answer, ctx.subscribe(WhereIs), index)
            asked = name if name is not None else _name_to_ask_for(index)
            locations = await stages.look_up(asked)
    return JobResult(index, asked, locations, bus_seconds, sum(source_seconds))


def _start_stages(job: Job, index: Index, seconds: list[float], progress: Progress) -> None:
    """Spawn the stages: first those that only read, then those that send.

    A scope ends its latest tasks first. So when the walk is over and the workers end, the stages that read what the
    workers sent are still there.
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
        ctx.spawn(stages.examine_files, files)
    ctx.spawn(stages.walk)


def _name_to_ask_for(index: Index) -> str:
    """Return a name worth asking for: the first definition of the largest module that has any."""
    first_names: dict[str, tuple[int, str]] = {}
    for name, locations in index.locations.items():
        for location in locations:
            known = first_names.get(location.module)
            if known is None or (location.line, name) < known:
                first_names[location.module] = (location.line, name)
    for size in index.largest:
        if size.module in first_names:
            return first_names[size.module][1]
    return min(index.locations, default="main")
