"""Break the package on purpose, one promise at a time, and see that a test notices.

    python -P tests/mutation.py [--only WORD ...] [--python INTERPRETER]

Each mutation of mutations.py replaces a piece of source. The script copies the tree, builds what is needed into a
folder of its own, and runs the one test that is to catch the mutation: on the package as it is, where it must pass,
and on each mutant, where it must fail. Exit status 1 when a mutant survives.

It is no part of the suite: who changes a line that a mutation replaces should not fail a test. Before anything is
built it says which mutations no longer fit the source, and with `--stale` that is all it does.

A mutant that crashes or hangs counts as caught. A mutation of the pure twin is run against a pure build, one of the
compiled twin against a compiled one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from mutations import MUTATIONS, Mutation

TREE = Path(__file__).resolve().parent.parent
# The clauses that the bus itself keeps and that can be broken in one line: each has a mutation.
MUTATED = "2.1 2.2 2.4 2.5 2.6 2.7 2.8 3.2 3.3 4.1 4.2 4.4 4.5 5.1 5.4 5.5 5.6 5.11 5.12 5.13 5.14 5.15 6.1 6.2"


def home(mutation: Mutation) -> str | None:
    """The file in which the mutation's text stands once: the one that it names or, after a move, the only other."""
    suffix = Path(mutation.file).suffix
    files = sorted(
        str(path.relative_to(TREE)) for path in (TREE / "haiway_bus").rglob(f"*{suffix}")
    )
    once = [name for name in files if (TREE / name).read_text().count(mutation.old) == 1]
    if mutation.file in once:
        return mutation.file
    return once[0] if len(once) == 1 else None


def stale() -> list[str]:
    """What is wrong with the mutations: a text that stands in no file exactly once, or a test that is gone."""
    found = [
        f"guarantee {clause} has no mutation"
        for clause in MUTATED.split()
        if all(one.clause != clause for one in MUTATIONS)
    ]
    for one in MUTATIONS:
        if home(one) is None:
            found.append(f"{one.clause} {one.file}: not exactly once {one.old!r}")
        file, *names = one.test.split("::")
        tests = (TREE / "tests" / file).read_text()
        if not all(f"class {name}" in tests or f"def {name}(" in tests for name in names):
            found.append(f"{one.clause} {one.file}: there is no test {one.test}")
    return found


class Workshop:
    """Folders with the package as it is and as it is mutated, each built on its own."""

    def __init__(self, folder: Path, python: str) -> None:
        self.folder = folder
        self.python = python

    def sound(self, *, compiled: bool) -> Path:
        """The package as it is."""
        tree = self.folder / f"sound-{compiled}"
        shutil.copytree(TREE, tree, ignore=shutil.ignore_patterns(".*", "build", "build-*"))
        return tree

    def mutant(self, mutation: Mutation, sound: Path, name: str) -> Path:
        """A copy with what was built for it, so that only what is mutated has to be built again."""
        tree = self.folder / name
        shutil.copytree(sound, tree)
        file = tree / str(home(mutation))
        file.write_text(file.read_text().replace(mutation.old, mutation.new))
        return tree

    def build(self, tree: Path, *, compiled: bool) -> Path:
        """Where the package lies that was made from this tree."""
        target = tree / "build" / "lib"
        switch = "REQUIRE" if compiled else "NO"
        arguments = ["setup.py", "-q", "build_py", "--build-lib", str(target)]
        if compiled:
            # Mutants need not be fast, but they need to be many.
            arguments += ["build_ext", "--build-lib", str(target)]
        self.run(tree, arguments, {f"HAIWAY_BUS_{switch}_EXTENSIONS": "1", "CFLAGS": "-O0"})
        return target

    def passes(self, tree: Path, package: Path, test: str) -> bool:
        arguments = ["-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{test}"]
        return self.run(tree, arguments, {"PYTHONPATH": str(package)}, check=False)

    def run(
        self, tree: Path, arguments: list[str], environment: dict[str, str], *, check: bool = True
    ) -> bool:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith("HAIWAY_BUS")
        }
        try:
            done = subprocess.run(
                [self.python, *arguments],
                cwd=tree,
                env={**kept, **environment},
                capture_output=True,
                text=True,
                timeout=300 if check else 40,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False  # a mutant that hangs is noticed, too
        if done.returncode not in ((0,) if check else (0, 1)) and done.returncode >= 0:
            sys.exit(f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
        return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=[], help="clauses, or parts of a file's name")
    parser.add_argument(
        "--python", default=sys.executable, help="one with the extra `test` and Cython"
    )
    parser.add_argument("--stale", action="store_true", help="only say which fit no longer")
    given = parser.parse_args()
    if found := stale():
        sys.exit("stale:\n" + "\n".join(found))
    if given.stale:
        return
    chosen = [
        one
        for one in MUTATIONS
        if not given.only or any(word == one.clause or word in one.file for word in given.only)
    ]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder), given.python)
        sound: dict[bool, tuple[Path, Path]] = {}
        for number, one in enumerate(chosen):
            compiled = one.file.endswith(".pyx")
            if compiled not in sound:
                tree = workshop.sound(compiled=compiled)
                sound[compiled] = tree, workshop.build(tree, compiled=compiled)
            assert workshop.passes(*sound[compiled], one.test), (
                f"{one.test} fails without a mutation"
            )
            tree = workshop.mutant(one, sound[compiled][0], str(number))
            caught = not workshop.passes(tree, workshop.build(tree, compiled=compiled), one.test)
            survived += not caught
            verdict = "caught" if caught else "SURVIVED"
            row = (one.clause, Path(one.file).name, one.says, one.test, verdict)
            print(f"| {' | '.join(row)} |", flush=True)
            shutil.rmtree(tree)
    print(f"{len(chosen)} mutations, {survived} survived")
    sys.exit(survived > 0)


if __name__ == "__main__":
    main()
