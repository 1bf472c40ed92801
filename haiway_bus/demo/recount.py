"""The same index made in one plain loop, without a bus, and what differs between the two.

Here definitions are taken from the syntax tree, over the bus from the tokens: an agreement says
that no event was lost, doubled or mixed up, and also that the tokens were read rightly.
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
from haiway_bus.demo.index import RANKED, Index, ModuleSize, Place
from haiway_bus.demo.progress import Progress
from haiway_bus.demo.sources import module_name, source_files

__all__ = ("differences", "recount")


def recount(root: Path, limit: int | None, progress: Progress) -> Index:
    """Index the first `limit` files below `root`, walked anew, one after the other."""
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
        classes = sum(place.kind == "class" for _, place in defined)
        lines = line_count(text)
        counts.modules += 1
        counts.lines += lines
        counts.tokens += token_count
        counts.classes += classes
        counts.functions += len(defined) - classes
        counts.async_functions += sum(place.kind == "async function" for _, place in defined)
        sizes.append(ModuleSize(module, path, lines, classes, len(defined) - classes))
        for name, place in defined:
            index.places[name].append(place)
    index.largest = sorted(sizes, key=lambda size: size.rank)[:RANKED]
    return index


def _definitions(tree: ast.Module, module: str) -> Iterator[tuple[str, Place]]:
    """Every class and function in `tree`, in no order; without recursion, for any nesting depth."""
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.ClassDef):
            yield node.name, Place(module, node.lineno, "class")
        elif isinstance(node, ast.FunctionDef):
            yield node.name, Place(module, node.lineno, "function")
        elif isinstance(node, ast.AsyncFunctionDef):
            yield node.name, Place(module, node.lineno, "async function")
        # Definitions are statements, and only these fields hold statements: skip the rest.
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, block, ())
            # The body of a lambda and the branches of an `if` expression are single expressions.
            if isinstance(inner, list):
                left.extend(inner)


def differences(over_bus: Index, direct: Index) -> list[str]:
    """Everything in which the index made over the bus differs from the direct one, a line each."""
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
    found.extend(_place_differences(over_bus.places, direct.places))
    return found


def _ranking_differences(over_bus: list[ModuleSize], direct: list[ModuleSize]) -> Iterator[str]:
    for position in range(max(len(over_bus), len(direct))):
        one = over_bus[position] if position < len(over_bus) else None
        other = direct[position] if position < len(direct) else None
        if one != other:
            yield f"rank {position + 1}: {one} over the bus, {other} counted directly"


def _place_differences(
    over_bus: defaultdict[str, list[Place]], direct: defaultdict[str, list[Place]]
) -> Iterator[str]:
    for name in sorted(over_bus.keys() | direct.keys()):
        # Workers finish in any order, so only the sorted places can be compared.
        one, other = sorted(over_bus.get(name, ())), sorted(direct.get(name, ()))
        if one != other:
            yield f"places of {name}: {one} over the bus, {other} counted directly"
