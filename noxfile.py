"""The suite on every supported Python that is found, on each kind of build, and the linters."""

import shutil
import zipfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "pure", "lint"]
WITH_SERVERS = [
    "tests/test_asgi.py",
    "tests/test_benchmarks.py",
    "tests/test_example_service.py",
    "tests/test_live_page.py",
    "tests/test_pytest_plugin.py",
    "tests/nats",
]
PYTHONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The compiled package, with both backends under test."""
    session.install(".[test]", env={"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1"})
    session.run(
        "python", "-P", "-m", "pytest", *session.posargs, env={"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1"}
    )


@nox.session(python=PYTHONS)
def pure(session: nox.Session) -> None:
    """The package as it is installed where nothing can be compiled."""
    session.install(".[test]", env={"HAIWAY_BUS_NO_EXTENSIONS": "1"})
    session.run("python", "-P", "-c", "import haiway_bus; assert haiway_bus.backend == 'pure'")
    session.run("python", "-P", "-m", "pytest", *session.posargs)


@nox.session(python="pypy3.11")
def pypy(session: nox.Session) -> None:
    """The pure package on PyPy. From wheels alone: what has none for it would want a compiler for C or Rust."""
    session.install("--only-binary", ":all:", ".[test]")
    session.run("python", "-P", "-c", "import haiway_bus; assert haiway_bus.backend == 'pure'")
    session.run("python", "-P", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS)
def servers(session: nox.Session) -> None:
    """What needs a web server, a NATS server, or, where one is found, a browser (chromium with chromedriver)."""
    session.install(".[test,web-test,nats-test]", env={"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1"})
    session.run("python", "-P", "-m", "pytest", *(session.posargs or ["-q", *WITH_SERVERS]))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy, cython-lint, and what type checkers say of users' code (pyright needs Node.js)."""
    session.install("-q", ".[test,dev]", env={"HAIWAY_BUS_NO_EXTENSIONS": "1"})
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("python", "-P", "-m", "pytest", "-q", "tests/test_typing.py")
    session.run("cython-lint", *map(str, sorted(Path("haiway_bus").rglob("*.p[yx][xd]"))))


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, into site/; a broken link or reference fails it. Its code is run by the tests."""
    session.install("-q", ".[docs]", env={"HAIWAY_BUS_NO_EXTENSIONS": "1"})
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def package(session: nox.Session) -> None:
    """What is uploaded, left in dist/: the sdist and the pure wheel, built from it; and a compiled wheel, built
    from it to be looked at, since the ones that are uploaded come from cibuildwheel."""
    session.install("-q", "build", "check-wheel-contents", "twine")
    dist, temporary = Path("dist").resolve(), Path(session.create_tmp()).resolve()
    for folder in (dist, temporary):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    session.run("python", "-m", "build", "-q", "--sdist", "--outdir", str(dist))
    (sdist,) = dist.glob("*.tar.gz")
    shutil.unpack_archive(sdist, temporary, filter="data")
    (unpacked,) = temporary.iterdir()
    for switch, outdir in (
        ("HAIWAY_BUS_NO_EXTENSIONS", dist),
        ("HAIWAY_BUS_REQUIRE_EXTENSIONS", temporary),
    ):
        session.run(
            *("python", "-m", "build", "-q", "--wheel", "--outdir", str(outdir), str(unpacked)),
            env={switch: "1"},
        )
    (pure,), (compiled,) = dist.glob("*.whl"), temporary.glob("*.whl")
    if not pure.name.endswith("-py3-none-any.whl"):
        session.error(f"the pure wheel is tagged for one platform: {pure.name}")
    session.run("twine", "check", "--strict", str(sdist), str(pure), str(compiled))
    session.run("check-wheel-contents", str(pure), str(compiled))
    built = {
        name for name in zipfile.ZipFile(compiled).namelist() if name.endswith((".so", ".pyd"))
    }
    if {name.split(".")[0] for name in built} != {
        "haiway_bus/_bus/_chain_c",
        "haiway_bus/_bus/_core_c",
        "haiway_bus/_bus/_turns_c",
        "haiway_bus/state/_make_c",
    }:
        session.error(f"the compiled wheel has these extensions: {built}")
    for wheel in (pure, compiled):
        needless = [
            name
            for name in zipfile.ZipFile(wheel).namelist()
            if name.startswith("haiway_bus/")
            and not name.endswith((".py", "/py.typed"))
            and name not in (built if wheel is compiled else ())
        ]
        if needless:
            session.error(f"{wheel.name} has files that nobody needs: {needless}")


@nox.session
def workflows(session: nox.Session) -> None:
    """The workflows against their schema, and zizmor's audit of them, without a network. actionlint runs in CI."""
    session.install("-q", "check-jsonschema", "zizmor")
    found = sorted(map(str, Path(".github/workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *found)
    session.run("zizmor", "--offline", "--pedantic", "--no-progress", *found)


# What is written in C, and what uses it most.
NAMES = "bus reads interrupted memory bounded flush send_whole threads handlers scope state state_classes faults leaks"
IN_C = [f"tests/test_{name}.py" for name in NAMES.split()]


@nox.session(python=PYTHONS)
def debug(session: nox.Session) -> None:
    """A build that counts its live objects: each test must leave none; and a soak of twenty seconds on each backend."""
    session.install(".[test]", env={"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1", "HAIWAY_BUS_DEBUG": "1"})
    session.run("python", "-P", "-m", "pytest", *(session.posargs or ["-q", *IN_C]))
    for pure in ("", "1"):
        session.run(
            "python", "-P", "tests/leaks/soak.py", "--seconds", "20", env={"HAIWAY_BUS_PURE": pure}
        )


@nox.session(python=PYTHONS)
def sanitize(session: nox.Session) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer, with an interpreter that knows nothing of them."""
    session.install(
        ".[test]", env={"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1", "HAIWAY_BUS_SANITIZE": "1"}
    )
    libraries = [
        str(session.run("gcc", f"-print-file-name={name}.so", external=True, silent=True)).strip()
        for name in ("libasan", "libubsan")
    ]
    session.run(
        "python",
        "-P",
        "-m",
        "pytest",
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
    session.install(".[test]", env={"HAIWAY_BUS_REQUIRE_EXTENSIONS": "1"})
    # Not the load: asyncio's debug mode keeps a traceback of each of its hundred thousands of callbacks.
    run = ("-P", "-m", "pytest", "-q", "--ignore=tests/test_load.py", *session.posargs)
    session.run("python", "-X", "dev", *run, env={"PYTHONMALLOC": "debug"})
    session.run("python", *run, env={"PYTHONASYNCIODEBUG": "1"})
    # pytest keeps its own assertions, and warns that it cannot keep those of other modules.
    unkept = "ignore:assertions not in test modules:pytest.PytestConfigWarning"
    session.run("python", "-O", *run, "-W", unkept)
