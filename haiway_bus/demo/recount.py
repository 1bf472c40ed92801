"""The same index made in a plain loop without a bus, and the differences between both.

The recount takes definitions from the syntax tree, the stages take them from the tokens. If both agree, no event was
lost, doubled or mixed up, and the tokens were read correctly too.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from haiway_bus.demo.findings import (
    SourceError,
    foreign_source,
    line_count,
    parse,
    read_text,
    tokens,
)
from haiway_bus.demo.index import RANKED, Index, Location, ModuleSize
from haiway_bus.demo.progress import Progress
from haiway_bus.demo.sources import module_name, source_files

__all__ = ("differences", "recount")


def recount(root: Path, limit: int | None, progress: Progress) -> Index:
    """Walk `root` again and index its first `limit` files, one after the other."""
    index = Index()
    counts = index.counts
    sizes: list[ModuleSize] = []
    paths = source_files(root, limit)
    progress.begin("counting again without it", len(paths))
    for path in paths:
        counts.files += 1
        progress.advance()
        module = module_name(path, root)
        try:
            with foreign_source():
                text = read_text(root / path)
                defined = list(_definitions(parse(text), module))
                token_count = sum(1 for _ in tokens(text))
        except SourceError as failure:
            counts.failed += 1
            index.failures[path] = str(failure)
            continue
        classes = sum(location.kind == "class" for _, location in defined)
        lines = line_count(text)
        counts.modules += 1
        counts.lines += lines
        counts.tokens += token_count
        counts.classes += classes
        counts.functions += len(defined) - classes
        counts.async_functions += sum(location.kind == "async function" for _, location in defined)
        sizes.append(ModuleSize(module, path, lines, classes, len(defined) - classes))
        for name, location in defined:
            index.locations[name].append(location)
    index.largest = sorted(sizes, key=lambda size: size.rank)[:RANKED]
    return index


def _definitions(tree: ast.Module, module: str) -> Iterator[tuple[str, Location]]:
    """Yield every class and function in `tree`, in no order. Without recursion, so that any nesting depth works."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.ClassDef):
            yield node.name, Location(module, node.lineno, "class")
        elif isinstance(node, ast.FunctionDef):
            yield node.name, Location(module, node.lineno, "function")
        elif isinstance(node, ast.AsyncFunctionDef):
            yield node.name, Location(module, node.lineno, "async function")
        # Definitions are statements, and only these fields have statements in them.
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, block, ())
            # A list has statements. The body of a lambda and the branches of an `if` expression are expressions.
            if isinstance(inner, list):
                left.extend(inner)


def differences(over_bus: Index, direct: Index) -> list[str]:
    """Return a line for each difference between the index made over the bus and the direct index."""
    found: list[str] = []
    expected = asdict(direct.counts)
    for name, value in asdict(over_bus.counts).items():
        if value != expected[name]:
            found.append(f"{name}: {value} over the bus, {expected[name]} counted directly")
    if over_bus.largest != direct.largest:
        found.extend(_ranking_differences(over_bus.largest, direct.largest))
    for path in sorted(over_bus.failures.keys() | direct.failures.keys()):
        one, other = over_bus.failures.get(path), direct.failures.get(path)
        if one != other:
            found.append(f"failure of {path}: {one!r} over the bus, {other!r} counted directly")
    found.extend(_location_differences(over_bus.locations, direct.locations))
    return found


def _ranking_differences(over_bus: list[ModuleSize], direct: list[ModuleSize]) -> Iterator[str]:
    for position in range(max(len(over_bus), len(direct))):
        one = over_bus[position] if position < len(over_bus) else None
        other = direct[position] if position < len(direct) else None
        if one != other:
            yield f"rank {position + 1}: {one} over the bus, {other} counted directly"


def _location_differences(
    over_bus: defaultdict[str, list[Location]], direct: defaultdict[str, list[Location]]
) -> Iterator[str]:
    for name in sorted(over_bus.keys() | direct.keys()):
        # Workers finish in any order, so compare sorted locations.
        one, other = sorted(over_bus.get(name, ())), sorted(direct.get(name, ()))
        if one != other:
            yield f"places of {name}: {one} over the bus, {other} counted directly"
