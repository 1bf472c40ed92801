"""The extension modules, and nothing else: everything that can be declared stands in pyproject.toml.

Two switches, read from the environment:

HAIWAY_BUS_NO_EXTENSIONS=1       build the pure package; the wheel is then py3-none-any.
HAIWAY_BUS_REQUIRE_EXTENSIONS=1  a failed compilation fails the build.

With neither, an extension that does not compile is left out and the pure backend serves instead.
"""

import os

from setuptools import Extension, setup

NO_EXTENSIONS = os.environ.get("HAIWAY_BUS_NO_EXTENSIONS") == "1"
REQUIRE_EXTENSIONS = os.environ.get("HAIWAY_BUS_REQUIRE_EXTENSIONS") == "1"

if NO_EXTENSIONS and REQUIRE_EXTENSIONS:
    raise SystemExit(
        "HAIWAY_BUS_NO_EXTENSIONS=1 and HAIWAY_BUS_REQUIRE_EXTENSIONS=1 contradict each other: set one of them."
    )


def extensions() -> list[Extension]:
    if NO_EXTENSIONS:
        return []
    # Imported here because a pure build must not need Cython.
    from Cython.Build import cythonize

    modules: list[Extension] = cythonize(
        [
            Extension("haiway_bus.bus._bus_c", ["haiway_bus/bus/_bus_c.pyx"]),
            Extension("haiway_bus.state._make_c", ["haiway_bus/state/_make_c.pyx"]),
        ],
        build_dir="build/cython",
    )
    for module in modules:
        # cythonize() does not carry `optional` over, so it is set on what it returns.
        module.optional = not REQUIRE_EXTENSIONS
    return modules


setup(ext_modules=extensions())
