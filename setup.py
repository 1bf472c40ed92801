"""The extension modules, and nothing else: everything that can be declared stands in pyproject.toml.

Two switches, read from the environment; on is 1, true, yes or on, off is 0, false, no, off or nothing:

HAIWAY_BUS_NO_EXTENSIONS       builds the pure package; the wheel is then py3-none-any.
HAIWAY_BUS_REQUIRE_EXTENSIONS  refuses to build where nothing is compiled, and at run time to import the pure backend.

With neither, a failed compilation fails the build and names the first switch: pip would keep a wheel without the
extensions and install it from then on. Elsewhere than on CPython nothing is compiled: what is written in C is for
CPython's own objects, and would at best be slow.

Two more make builds for tests, never for release. Neither has free lists: each object is made and freed.

HAIWAY_BUS_DEBUG     counts live objects (`live.pxd`) and checks the assertions of CPython's headers.
HAIWAY_BUS_SANITIZE  AddressSanitizer and UndefinedBehaviorSanitizer, which `nox -s sanitize` knows how to run.
"""

import platform
import re
import runpy
import shutil
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SOURCES = sorted(path.relative_to(ROOT) for path in ROOT.glob("haiway_bus/**/*_c.pyx"))
CPYTHON = platform.python_implementation() == "CPython"

# The package's own reading of a switch, without an import of the package.
read_switch = runpy.run_path(str(ROOT / "haiway_bus" / "_common" / "switches.py"))["switch"]


def switch(name: str) -> bool:
    try:
        return bool(read_switch(name))
    except ValueError as refused:
        raise SystemExit(str(refused)) from None


def need(name: str, *least: int, hint: str = "") -> None:
    """A build without isolation (`pip install --no-build-isolation`) uses what is installed: says what is missing."""
    try:
        found = version(name)
    except ModuleNotFoundError:
        found = "none"
    if tuple(int(part) for part in re.findall(r"\d+", found)[: len(least)]) < least:
        wanted = f"{name}>={'.'.join(map(str, least))}"
        raise SystemExit(
            f"haiway-bus is built with {wanted}, and this environment has {found}: run `pip install '{wanted}'` or"
            f" leave out --no-build-isolation{hint}"
        )


need("setuptools", 77)
NO_EXTENSIONS = switch("HAIWAY_BUS_NO_EXTENSIONS")
REQUIRE_EXTENSIONS = switch("HAIWAY_BUS_REQUIRE_EXTENSIONS")
DEBUG = switch("HAIWAY_BUS_DEBUG")
SANITIZE = switch("HAIWAY_BUS_SANITIZE")

if NO_EXTENSIONS and REQUIRE_EXTENSIONS:
    raise SystemExit(
        "HAIWAY_BUS_NO_EXTENSIONS=1 and HAIWAY_BUS_REQUIRE_EXTENSIONS=1 contradict each other: set one of them."
    )

if REQUIRE_EXTENSIONS and not CPYTHON:
    raise SystemExit(
        f"HAIWAY_BUS_REQUIRE_EXTENSIONS=1 needs CPython, and this is {platform.python_implementation()}: leave it out,"
        " the pure backend serves there."
    )


def extensions() -> list[Extension]:
    if NO_EXTENSIONS or not CPYTHON:
        return []
    need("cython", 3, 1, hint=", or set HAIWAY_BUS_NO_EXTENSIONS=1 to build the pure package")
    # Imported here because a pure build must not need Cython.
    from Cython.Build import cythonize

    modules: list[Extension] = cythonize(
        [Extension(".".join(path.with_suffix("").parts), [path.as_posix()]) for path in SOURCES],
        build_dir="build/cython",
    )
    for module in modules:
        if DEBUG or SANITIZE:
            for_tests(module)
        elif sys.platform != "win32":
            # Debug information is two thirds of an extension, and names the folder that it was built in.
            module.extra_compile_args.append("-g0")
    return modules


def for_tests(module: Extension) -> None:
    module.define_macros.append(("CYTHON_USE_FREELISTS", "0"))
    module.undef_macros.append("NDEBUG")
    if DEBUG:
        module.define_macros.append(("HAIWAY_BUS_DEBUG", "1"))
    if SANITIZE:
        sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        module.extra_compile_args += [*sanitizers, "-fno-omit-frame-pointer", "-g", "-O1"]
        module.extra_link_args += sanitizers


def build_base() -> str:
    # A folder for each kind of build: cythonize() and setuptools look at times, not at the flags of an earlier build.
    kinds = [kind for kind, chosen in (("debug", DEBUG), ("sanitize", SANITIZE)) if chosen]
    return "-".join(["build", *kinds])


class BuildPython(build_py):
    """Forgets what an earlier build left: modules that are no more would get into the wheel, and in a checkout
    (`pip install -e .`) the old extensions would serve in place of this build's, or although it is pure.

    A compiled wheel has the Cython source beside each extension: tracebacks show its lines."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.distribution.ext_modules:
            self.package_data = {**self.package_data, "": ["*_c.pyx"]}

    def run(self) -> None:
        if self.editable_mode:
            for path in SOURCES:
                left = (ROOT / path).with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
                left.unlink(missing_ok=True)
        else:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildExtensions(build_ext):
    """Says what to do where nothing can be compiled."""

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as failed:
            raise SystemExit(
                f"haiway-bus: {ext.name} did not compile ({failed}). Install a C compiler and the headers of this"
                " Python, or set HAIWAY_BUS_NO_EXTENSIONS=1 to build the pure package, which does the same, only slower"
            ) from failed


setup(
    ext_modules=extensions(),
    cmdclass={"build_py": BuildPython, "build_ext": BuildExtensions},
    options={"build": {"build_base": build_base()}, "build_ext": {"force": True}},
)
