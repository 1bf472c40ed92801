"""The suite on every supported Python that is found, on both builds, and the linters."""

from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "pure", "lint"]
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


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy, cython-lint, and what type checkers say of users' code (pyright needs Node.js)."""
    session.install("-q", ".[test,dev]", env={"HAIWAY_BUS_NO_EXTENSIONS": "1"})
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("python", "-P", "-m", "pytest", "-q", "tests/test_typing.py")
    session.run("cython-lint", *map(str, sorted(Path("haiway_bus").rglob("*.p[yx][xd]"))))
