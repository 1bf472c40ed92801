"""What is shipped: an sdist that builds and tests itself, no generated C anywhere, and metadata that is true."""

from __future__ import annotations

import ast
import importlib.metadata
import inspect
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import traceback
import typing
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import haiway_bus
from haiway_bus import ContextMissing, ctx
from haiway_bus._common.switches import switch

TREE = Path(__file__).resolve().parent.parent
SHIPPED = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "README.md",
    "SECURITY.md",
    "_haiway_bus_hypothesis.py",
    "_haiway_bus_pytestplugin.py",
    "mkdocs.yml",
    "noxfile.py",
    "pyproject.toml",
    "setup.py",
    ".gitignore",
    ".pre-commit-config.yaml",
)
FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "haiway_bus", "tests")
GENERATED = (".c", ".cpp", ".so", ".pyd", ".pyc")
MODULES = {
    ".".join(path.relative_to(TREE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(TREE.glob("haiway_bus/**/*.py"))
}
COMPILED = [
    path.relative_to(TREE / "haiway_bus").with_suffix("").as_posix()
    for path in sorted(TREE.glob("haiway_bus/**/*_c.pyx"))
]
INSTALLED = Path(str(haiway_bus.__file__)).parent
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
CPYTHON = platform.python_implementation() == "CPython"
on_cpython = pytest.mark.skipif(not CPYTHON, reason="nothing is compiled here")
needs_extensions = pytest.mark.skipif(haiway_bus.backend == "pure", reason="needs the extensions")
elsewhere = pytest.mark.skipif(CPYTHON, reason="on CPython the extensions are built")


def python(directory: Path, *arguments: str, **switches: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HAIWAY_BUS")
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**environment, **switches},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, with what builds leave behind in a tree."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("tree")
    for name in SHIPPED:
        shutil.copy(TREE / name, copy)
    for name in FOLDERS:
        shutil.copytree(TREE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for left in ("haiway_bus/_bus/_core_c.c", "haiway_bus/_bus/_core_c.so", "haiway_bus/ctx.pyc"):
        (copy / left).write_text("left over")
    return copy


@pytest.fixture(scope="module")
def sdist(tree: Path) -> set[str]:
    """The files of an sdist that is made as installers make one."""
    pytest.importorskip("Cython")
    done = python(
        tree, "-c", "from setuptools import build_meta as b; print(b.build_sdist('dist'))"
    )
    assert done.returncode == 0, done.stderr
    with tarfile.open(tree / "dist" / done.stdout.splitlines()[-1]) as archive:
        return {
            name.partition("/")[2]
            for name in archive.getnames()
            if archive.getmember(name).isfile()
        }


def test_the_sdist_has_the_sources_and_the_tests(sdist: set[str]) -> None:
    wanted = set(SHIPPED)
    for folder in FOLDERS:
        for path in (TREE / folder).rglob("*"):
            if path.is_file() and not path.name.endswith(GENERATED):
                wanted.add(path.relative_to(TREE).as_posix())
    assert wanted - sdist == set()


@on_cpython
def test_the_sdist_has_nothing_that_was_generated(tree: Path, sdist: set[str]) -> None:
    assert list((tree / "build").rglob("_core_c.c")), (
        "Cython ran, and what it made was there to be taken"
    )
    assert [name for name in sdist if name.endswith(GENERATED)] == []


@pytest.mark.skipif(INSTALLED.parent == TREE, reason="a checkout has all sources")
def test_the_installed_package_has_the_sources_of_its_extensions_and_no_others() -> None:
    files = importlib.metadata.files("haiway-bus") or []
    names = [str(file) for file in files]
    assert "haiway_bus/py.typed" in names
    shown = [f"haiway_bus/{name}.pyx" for name in COMPILED if haiway_bus.backend == "compiled"]
    assert [name for name in names if name.endswith((".c", ".cpp", ".pyx", ".pxd"))] == shown


@on_cpython
@needs_extensions
@pytest.mark.skipif(INSTALLED.parent == TREE, reason="a checkout need not be on the path")
def test_tracebacks_show_the_source_of_an_extension() -> None:
    """As `traceback` and `logging` do. Up to 3.12 the interpreter's own last words leave the line out."""
    with pytest.raises(ContextMissing) as raised:
        ctx.send(object())
    frame = traceback.extract_tb(raised.value.__traceback__)[-1]
    assert frame.filename.endswith("_core_c.pyx")
    assert frame.line is not None
    assert "raise" in frame.line


def test_a_compiled_function_has_the_signature_and_the_annotations_of_its_twin(
    copies: dict[str, Any],
) -> None:
    """But for `send`, which has no annotations: with them a send that nobody hears takes a sixth longer."""
    signatures = {str(inspect.signature(package.ctx.subscribe)) for package in copies.values()}
    assert len(signatures) == 1
    hints = [typing.get_type_hints(package.ctx.subscribe) for package in copies.values()]
    assert [sorted(found) for found in hints] == [sorted(hints[0])] * len(hints)
    assert hints[0]["limit"] == int | None
    sends = [inspect.signature(package.ctx.send) for package in copies.values()]
    assert {str(list(found.parameters)) for found in sends} == {"['event']"}


def test_the_version_is_that_of_the_metadata() -> None:
    assert haiway_bus.__version__ == importlib.metadata.version("haiway-bus")
    with pytest.raises(AttributeError, match="has no attribute '__versions__'"):
        haiway_bus.__versions__  # noqa: B018


NAMES = ("HAIWAY_BUS_NO_EXTENSIONS", "HAIWAY_BUS_REQUIRE_EXTENSIONS", "HAIWAY_BUS_DEBUG")


def test_both_switches_at_once_are_an_error_that_says_so() -> None:
    switches = {"HAIWAY_BUS_NO_EXTENSIONS": "1", "HAIWAY_BUS_REQUIRE_EXTENSIONS": "1"}
    pytest.importorskip("setuptools")
    done = python(TREE, "setup.py", "--version", **switches)
    assert done.returncode == 1
    assert all(name in done.stderr for name in switches)
    assert "contradict each other: set one of them" in done.stderr


def test_a_switch_is_on_or_off_in_any_of_the_usual_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HAIWAY_BUS_PURE", raising=False)
    assert switch("HAIWAY_BUS_PURE") is False
    for on, words in ((True, "1 true yes on"), (False, "0 false no off")):
        for word in words.split():
            for spelled in (word, word.upper(), word.capitalize(), f" {word} "):
                monkeypatch.setenv("HAIWAY_BUS_PURE", spelled)
                assert switch("HAIWAY_BUS_PURE") is on
    monkeypatch.setenv("HAIWAY_BUS_PURE", "")
    assert switch("HAIWAY_BUS_PURE") is False


@pytest.mark.parametrize("name", NAMES)
def test_the_build_refuses_a_switch_that_says_neither_on_nor_off(name: str) -> None:
    pytest.importorskip("setuptools", minversion="77")
    done = python(TREE, "setup.py", "--version", **{name: "maybe"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}='maybe' says neither on nor off: set it to 1, true, yes")


@pytest.mark.parametrize("name", ["HAIWAY_BUS_PURE", "HAIWAY_BUS_REQUIRE_EXTENSIONS"])
def test_the_import_refuses_a_switch_that_says_neither_on_nor_off(name: str) -> None:
    done = python(TREE, "-P", "-c", "import haiway_bus", **{name: "2"})
    assert done.returncode == 1
    assert f"ValueError: {name}='2' says neither on nor off: set it to 1, true, yes" in done.stderr


@on_cpython
@pytest.mark.parametrize(("name", "wanted"), [("cython", "3.1"), ("setuptools", "77")])
@pytest.mark.parametrize("found", ["none", "3.0.12"])
def test_a_build_without_isolation_says_in_a_sentence_what_it_lacks(
    name: str, wanted: str, found: str
) -> None:
    pytest.importorskip("Cython")
    pretend = f"""
import importlib.metadata, runpy, sys
version = importlib.metadata.version
def pretended(name):
    if name != {name!r}:
        return version(name)
    if {found!r} == "none":
        raise importlib.metadata.PackageNotFoundError(name)
    return {found!r}
importlib.metadata.version = pretended
sys.argv = ["setup.py", "--version"]
runpy.run_path("setup.py", run_name="__main__")
"""
    done = python(TREE, "-c", pretend)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        f"haiway-bus is built with {name}>={wanted}, and this environment has {found}:"
        f" run `pip install '{name}>={wanted}'` or leave out --no-build-isolation"
    )


OTHER = "cpython-399-x86_64-linux-gnu.so"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with the package in it as it is installed, extensions included."""
    shutil.copytree(
        INSTALLED,
        tmp_path / "haiway_bus",
        ignore=shutil.ignore_patterns("__pycache__", "*.pyx", "*.pxd"),
    )
    return tmp_path


def import_from(path: Path, **switches: str) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys; sys.path.insert(0, {str(path)!r}); import haiway_bus;"
        " print(haiway_bus.backend, haiway_bus.__file__)"
    )
    done = python(path.parent, "-P", "-W", "error", "-c", code, **switches)
    assert done.returncode != 0 or str(path) in done.stdout
    return done


def take_extensions(folder: Path) -> None:
    for path in [*folder.rglob("*.so"), *folder.rglob("*.pyd")]:
        path.unlink()


def test_without_extensions_the_pure_backend_serves_unless_they_are_required(copied: Path) -> None:
    take_extensions(copied)
    done = import_from(copied)
    assert (done.stdout.split()[:1], done.stderr) == (["pure"], "")
    refused = import_from(copied, HAIWAY_BUS_REQUIRE_EXTENSIONS="yes")
    assert refused.returncode == 1
    assert (
        "ImportError: HAIWAY_BUS_REQUIRE_EXTENSIONS is on, but haiway_bus._bus._core_c is not installed"
        in refused.stderr
    )


def test_pure_and_required_contradict_each_other_at_run_time_too(copied: Path) -> None:
    done = import_from(copied, HAIWAY_BUS_PURE="1", HAIWAY_BUS_REQUIRE_EXTENSIONS="1")
    assert done.returncode == 1
    assert (
        "HAIWAY_BUS_PURE and HAIWAY_BUS_REQUIRE_EXTENSIONS contradict each other: set one of them"
        in done.stderr
    )


@on_cpython
@needs_extensions
@pytest.mark.parametrize("name", COMPILED)
def test_an_extension_for_another_python_is_an_error(copied: Path, name: str) -> None:
    (compiled,) = copied.glob(f"haiway_bus/{name}.*")
    other = compiled.rename(compiled.with_name(f"{Path(name).name}.{OTHER}"))
    done = import_from(copied)
    assert done.returncode == 1
    module = "haiway_bus." + name.replace("/", ".")
    assert f"ImportError: {module} is compiled, but this Python cannot load it" in done.stderr
    assert str(other) in done.stderr
    assert "set HAIWAY_BUS_PURE=1 to run the pure backend" in done.stderr
    assert import_from(copied, HAIWAY_BUS_PURE="1").stdout.startswith("pure ")


@on_cpython
@pytest.mark.parametrize("kept", [True, False])
def test_an_extension_in_a_zip_file_is_an_error(copied: Path, kept: bool) -> None:
    if not kept:
        take_extensions(copied)
    elif haiway_bus.backend != "compiled":
        (copied / "haiway_bus" / "_bus" / f"_core_c.{OTHER}").touch()
    archive = Path(shutil.make_archive(str(copied.with_suffix("")), "zip", copied))
    done = import_from(archive)
    if kept:
        assert done.returncode == 1
        assert "not in a zip file" in done.stderr
        assert import_from(archive, HAIWAY_BUS_PURE="1").stdout.startswith("pure ")
    else:
        assert (done.stdout.split()[:1], done.stderr) == (["pure"], "")


@on_cpython
@needs_extensions
@pytest.mark.parametrize("edited", ["_bus/_core_c.pyx", "_common/type_index.pxd"])
def test_a_checkout_whose_extensions_are_older_than_their_sources_warns(
    copied: Path, edited: str
) -> None:
    package = copied / "haiway_bus"
    source = package / edited
    shutil.copyfile(TREE / "haiway_bus" / edited, source)
    os.utime(source, (2e9, 2e9))
    # As in a wheel: no checkout, no question. A project of somebody else may lie around it (`pip install --target .`).
    for name in ("setup.py", "pyproject.toml"):
        (copied / name).touch()
    done = import_from(copied)
    assert (done.stdout.split()[:1], done.stderr) == (["compiled"], "")
    checkout = package / "_common" / "live.pxd"
    shutil.copyfile(TREE / checkout.relative_to(copied), checkout)
    os.utime(checkout, (1e9, 1e9))
    done = import_from(copied)
    assert f"RuntimeWarning: {source} was edited after" in done.stderr
    os.utime(source, (1e9, 1e9))
    assert import_from(copied).stdout.startswith("compiled ")


@elsewhere
def test_what_is_compiled_cannot_be_required_elsewhere_than_on_cpython() -> None:
    pytest.importorskip("setuptools")
    done = python(TREE, "setup.py", "--version", HAIWAY_BUS_REQUIRE_EXTENSIONS="1")
    assert done.returncode == 1
    assert "HAIWAY_BUS_REQUIRE_EXTENSIONS=1 needs CPython, and this is PyPy" in done.stderr


@elsewhere
def test_with_no_switch_nothing_is_compiled_elsewhere_than_on_cpython(tree: Path) -> None:
    done = python(
        tree, "-c", "from setuptools import build_meta as b; print(b.build_wheel('dist'))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("-py3-none-any.whl")


def test_the_metadata_says_which_pythons_and_which_extras() -> None:
    metadata = importlib.metadata.metadata("haiway-bus")
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert set(metadata.get_all("Provides-Extra") or ()) == set(project["optional-dependencies"])
    required = importlib.metadata.requires("haiway-bus") or []
    assert [line for line in required if "extra ==" not in line] == []


def test_every_place_that_lists_the_pythons_lists_the_same() -> None:
    classifiers = importlib.metadata.metadata("haiway-bus").get_all("Classifier") or []
    supported = [line.rpartition(" ")[2] for line in classifiers if re.search(r":: 3\.\d+$", line)]
    assert supported == PYTHONS
    settings = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["cibuildwheel"]
    assert settings["build"] == "cp31[1-5]-*"
    assert f"PYTHONS = {PYTHONS}".replace("'", '"') in (TREE / "noxfile.py").read_text()
    checks = (TREE / ".github" / "workflows" / "ci.yml").read_text()
    assert f"python: {PYTHONS}".replace("'", '"') in checks
    assert [line.rpartition(" ")[2] for line in classifiers if ":: Implementation ::" in line] == [
        "CPython",
        "PyPy",
    ]


def sessions_called(text: str) -> set[str]:
    """The sessions that the lines of a script or a workflow call: those after `nox -s` and after `.ci/nox-in-sid`."""
    called: set[str] = set()
    for line in text.splitlines():
        if found := re.search(r"\bnox .*?-s (.+)|^ *bash \.ci/nox-in-sid (.+)", line):
            words = (found[1] or found[2]).partition(" -- ")[0].replace('"', "").split()
            called |= {word.partition("-")[0] for word in words}
    return called


def test_what_runs_where_is_what_the_table_says() -> None:
    tree = ast.parse((TREE / "noxfile.py").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    sessions = {
        function.name
        for function in functions
        if any("nox.session" in ast.unparse(decorator) for decorator in function.decorator_list)
    }
    section = (
        (TREE / "CONTRIBUTING.md").read_text().split("## What runs where")[1].split("\n## ")[0]
    )
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    table = {
        row[0].strip(" `").removesuffix("-V"): [cell.strip() for cell in row[2:]] for row in rows
    }
    assert set(table) == sessions
    places = [
        (TREE / ".ci" / "run").read_text(),
        (TREE / ".ci" / "more").read_text(),
        "".join(path.read_text() for path in sorted((TREE / ".github/workflows").glob("*.yml"))),
    ]
    for column, text in enumerate(places):
        assert sessions_called(text) == {name for name, cells in table.items() if cells[column]}


def imports_of(module: Path) -> set[str]:
    """The modules of the package that a module imports: in its functions, and for type checkers, too."""
    tree = ast.parse(module.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{one.name}" for one in node.names} & set(MODULES)
            found |= inner or {node.module}
    return found & set(MODULES)


# The rooms of the package from the ground up. A room imports from those below it, and from its own.
FLOORS = (
    ("errors", "_common"),
    ("_bridges",),
    ("_bus", "_state", "observability"),
    ("_scope",),
    ("ctx",),
    ("",),  # haiway_bus itself: what users import
    ("testing", "integrations", "tools"),
    ("demo",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room_of(module: str) -> str:
    return f"{module}.".split(".")[1]


def test_imports_point_down() -> None:
    graph = {name: imports_of(path) for name, path in MODULES.items()}
    assert "haiway_bus._bus" in graph["haiway_bus._scope.scope"]
    TopologicalSorter(graph).prepare()  # raises CycleError
    upwards = [
        f"{name} imports {imported}"
        for name, found in graph.items()
        for imported in found
        if (room := room_of(name)) != (other := room_of(imported))
        and FLOOR_OF[other] >= FLOOR_OF[room]
    ]
    assert upwards == []
