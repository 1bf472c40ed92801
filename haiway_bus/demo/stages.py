"""The stages. Each is a function that reads its subscription and may send other events.

A stage gets its subscription as an argument and does not make it. A spawned task begins to run later, and a
subscription made in it would miss what is sent before.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from time import perf_counter
from uuid import uuid4

from haiway_bus import Subscription, ctx
from haiway_bus.demo.events import (
    ClassFound,
    FileFailed,
    FileFound,
    FilesListed,
    FunctionFound,
    ModuleIndexed,
    Whereabouts,
    WhereIs,
)
from haiway_bus.demo.findings import Kind, SourceError, examine
from haiway_bus.demo.index import RANKED, Counts, Index, Location, ModuleSize
from haiway_bus.demo.progress import Progress
from haiway_bus.demo.settings import Job
from haiway_bus.demo.sources import module_name, source_files


async def walk() -> None:
    """Send every file that is to be examined."""
    job = ctx.state(Job)
    paths = await asyncio.to_thread(source_files, job.root, job.files)
    ctx.send(FilesListed(total=len(paths)))
    for path in paths:
        ctx.send(FileFound(path=path))
        await asyncio.sleep(0)  # let others run: the list may be long


async def work(files: Subscription[FileFound]) -> None:
    """Examine files and send what they define. All workers share `files`, and each file goes to a single worker."""
    job = ctx.state(Job)
    async for file in files:
        _examine(file.path, job)
        await asyncio.sleep(0)  # let others run: a file may have kept the loop for long


def _examine(path: str, job: Job) -> None:
    started = perf_counter()
    try:
        findings = examine(job.root / path)
    except SourceError as failure:
        seconds = perf_counter() - started
        ctx.send(FileFailed(path=path, reason=str(failure), seconds=seconds))
        return
    seconds = perf_counter() - started

    module = module_name(path, job.root)
    classes = 0
    for kind, name, line in findings.definitions:
        if kind == "class":
            classes += 1
            ctx.send(ClassFound(module=module, name=name, line=line))
        else:
            is_async = kind == "async function"
            ctx.send(FunctionFound(module=module, name=name, line=line, is_async=is_async))
    ctx.send(
        ModuleIndexed(
            path=path,
            module=module,
            lines=findings.lines,
            tokens=findings.tokens,
            classes=classes,
            functions=len(findings.definitions) - classes,
            seconds=seconds,
        )
    )


async def count_files(found: Subscription[FileFound], counts: Counts) -> None:
    """Count the files that the walk found."""
    async for _ in found:
        counts.files += 1


async def count_modules(indexed: Subscription[ModuleIndexed], counts: Counts) -> None:
    """Count modules and add up their sizes."""
    async for module in indexed:
        counts.modules += 1
        counts.lines += module.lines
        counts.tokens += module.tokens


async def count_classes(found: Subscription[ClassFound], counts: Counts) -> None:
    """Count classes."""
    async for _ in found:
        counts.classes += 1


async def count_functions(found: Subscription[FunctionFound], counts: Counts) -> None:
    """Count functions."""
    async for function in found:
        counts.functions += 1
        counts.async_functions += function.is_async


async def collect_failures(failed: Subscription[FileFailed], index: Index) -> None:
    """Keep the reason of each file that failed."""
    async for failure in failed:
        index.counts.failed += 1
        index.failures[failure.path] = failure.reason


async def rank(indexed: Subscription[ModuleIndexed], largest: list[ModuleSize]) -> None:
    """Keep the largest modules in order, and forget the others at once."""
    async for event in indexed:
        module = ModuleSize(event.module, event.path, event.lines, event.classes, event.functions)
        insort(largest, module, key=lambda size: size.rank)
        del largest[RANKED:]


async def catalogue_classes(found: Subscription[ClassFound], index: Index) -> None:
    """Enter each class under its name."""
    async for definition in found:
        location = Location(definition.module, definition.line, "class")
        index.locations[definition.name].append(location)


async def catalogue_functions(found: Subscription[FunctionFound], index: Index) -> None:
    """Enter each function under its name."""
    async for definition in found:
        kind: Kind = "async function" if definition.is_async else "function"
        index.locations[definition.name].append(Location(definition.module, definition.line, kind))


async def show_total(listed: Subscription[FilesListed], progress: Progress) -> None:
    """Tell the progress display how many files there are."""
    async for event in listed:
        progress.begin("indexing over the bus", event.total)


async def show_progress(
    done: Subscription[ModuleIndexed] | Subscription[FileFailed], progress: Progress
) -> None:
    """Advance the progress display for each file that is done."""
    async for _ in done:
        progress.advance()


async def time_sources(
    done: Subscription[ModuleIndexed] | Subscription[FileFailed], seconds: list[float]
) -> None:
    """Note how long each file took to examine."""
    seconds.extend([event.seconds async for event in done])


async def answer(questions: Subscription[WhereIs], index: Index) -> None:
    """Answer questions where a name is defined."""
    async for question in questions:
        locations = sorted(index.locations.get(question.name, ()))
        ctx.send(Whereabouts(request_id=question.request_id, locations=locations))


async def look_up(name: str) -> list[Location]:
    """Ask where `name` is defined, and wait for the answer to this question."""
    question = WhereIs(request_id=uuid4().hex, name=name)
    # Subscribe before you send the question, or you can miss the answer.
    async with ctx.subscribe(Whereabouts) as answers:
        ctx.send(question)
        async for event in answers:
            if event.request_id == question.request_id:
                return list(event.locations)
    raise RuntimeError(f"the scope ended before {name!r} was answered: answer() must run beside it")
