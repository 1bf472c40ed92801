"""The extension modules, and nothing else: everything that can be declared stands in pyproject.toml.

Two switches, read from the environment:

HAIWAY_BUS_NO_EXTENSIONS=1       build the pure package; the wheel is then py3-none-any.
HAIWAY_BUS_REQUIRE_EXTENSIONS=1  a failed compilation fails the build.

With neither, an extension that does not compile is left out and the pure backend serves instead. Elsewhere than on
CPython nothing is compiled: what is written in C is for CPython's own objects, and would at best be slow.

Two more make builds for tests, never for release. Neither has free lists: each object is made and freed.

HAIWAY_BUS_DEBUG=1     counts live objects (`live.pxd`) and checks the assertions of CPython's headers.
HAIWAY_BUS_SANITIZE=1  AddressSanitizer and UndefinedBehaviorSanitizer, which `nox -s sanitize` knows how to run.
"""

import os
import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NO_EXTENSIONS = os.environ.get("HAIWAY_BUS_NO_EXTENSIONS") == "1"
REQUIRE_EXTENSIONS = os.environ.get("HAIWAY_BUS_REQUIRE_EXTENSIONS") == "1"

DEBUG = os.environ.get("HAIWAY_BUS_DEBUG") == "1"
SANITIZE = os.environ.get("HAIWAY_BUS_SANITIZE") == "1"

if NO_EXTENSIONS and REQUIRE_EXTENSIONS:
    raise SystemExit(
        "HAIWAY_BUS_NO_EXTENSIONS=1 and HAIWAY_BUS_REQUIRE_EXTENSIONS=1 contradict each other: set one of them."
    )

CPYTHON = platform.python_implementation() == "CPython"

if REQUIRE_EXTENSIONS and not CPYTHON:
    raise SystemExit(
        f"HAIWAY_BUS_REQUIRE_EXTENSIONS=1 needs CPython, and this is {platform.python_implementation()}: leave it out,"
        " the pure backend serves there."
    )


def extensions() -> list[Extension]:
    if NO_EXTENSIONS or not CPYTHON:
        return []
    # Imported here because a pure build must not need Cython.
    from Cython.Build import cythonize

    modules: list[Extension] = cythonize(
        [
            Extension("haiway_bus._bus._core_c", ["haiway_bus/_bus/_core_c.pyx"]),
            Extension("haiway_bus._bus._chain_c", ["haiway_bus/_bus/_chain_c.pyx"]),
            Extension("haiway_bus._bus._turns_c", ["haiway_bus/_bus/_turns_c.pyx"]),
            Extension("haiway_bus.state._make_c", ["haiway_bus/state/_make_c.pyx"]),
        ],
        build_dir="build/cython",
    )
    for module in modules:
        # cythonize() does not carry `optional` over, so it is set on what it returns.
        module.optional = not REQUIRE_EXTENSIONS
        for_tests(module)
    return modules


def for_tests(module: Extension) -> None:
    if DEBUG or SANITIZE:
        module.define_macros.append(("CYTHON_USE_FREELISTS", "0"))
        module.undef_macros.append("NDEBUG")
    if DEBUG:
        module.define_macros.append(("HAIWAY_BUS_DEBUG", "1"))
    if SANITIZE:
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        module.extra_compile_args += [*sanitizers, "-fno-omit-frame-pointer", "-g", "-O1"]
        module.extra_link_args += sanitizers


def build_base() -> str:
    # A folder for each kind of build: setuptools takes an object file that is newer than its source as up to date,
    # whatever the flags it was compiled with.
    kinds = [kind for kind, chosen in (("debug", DEBUG), ("sanitize", SANITIZE)) if chosen]
    return "-".join(["build", *kinds])


class BuildExtensions(build_ext):
    """Compiles anew, so that what an earlier build left is never taken for what does not compile now."""

    def build_extension(self, ext: Extension) -> None:
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        super().build_extension(ext)


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildExtensions},
    options={"build": {"build_base": build_base()}},
)
