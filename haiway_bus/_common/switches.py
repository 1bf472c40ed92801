"""Which backend serves, and the environment's switches: setup.py and the import read them by the same function.

The compiled modules are asked for here, by name. Where a compiled module is not there, its pure twin serves. Where it
is there and cannot be used, the import fails: a silent change of backend would be found as a slow service, long after.
"""

import importlib
import os
import sys
import warnings
from importlib.machinery import EXTENSION_SUFFIXES
from types import ModuleType

__all__ = ("compiled_module", "switch")

_ON = ("1", "true", "yes", "on")
_OFF = ("", "0", "false", "no", "off")

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_IN_A_CHECKOUT = os.path.join(_PACKAGE, "_common", "live.pxd")
_REINSTALL = (
    "install haiway-bus again with this Python, or set HAIWAY_BUS_PURE=1 to run the pure backend"
)


def switch(name: str) -> bool:
    """Whether an environment variable is on.

    Raises:
        ValueError: when its value is neither a word for on nor a word for off.
    """
    value = os.environ.get(name, "")
    word = value.strip().lower()
    if word in _ON:
        return True
    if word in _OFF:
        return False
    raise ValueError(
        f"{name}={value!r} says neither on nor off: set it to 1, true, yes or on, to 0, false, no or off, or unset it"
    )


def compiled_module(name: str) -> ModuleType | None:
    """The compiled module of this name; None where its pure twin is to serve.

    Raises:
        ImportError: when the module is there and cannot be used, and when HAIWAY_BUS_REQUIRE_EXTENSIONS is on and the
            pure twin would serve.
        ValueError: when a switch has a value that it does not know.
    """
    required = switch("HAIWAY_BUS_REQUIRE_EXTENSIONS")
    if switch("HAIWAY_BUS_PURE"):
        if required:
            raise ImportError(
                "HAIWAY_BUS_PURE and HAIWAY_BUS_REQUIRE_EXTENSIONS contradict each other: set one of them"
            )
        return None
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        lacking = missing.name or ""
        if lacking.rpartition(".")[0] != name.rpartition(".")[0]:
            raise
        # Elsewhere than on CPython the pure backend is the only one, whatever another interpreter left here.
        if sys.implementation.name == "cpython" and (unusable := _files_of(lacking)):
            raise ImportError(
                f"{lacking} is compiled, but this Python cannot load it. Found: {', '.join(unusable)}. Loadable:"
                f" {lacking.rpartition('.')[2]}{EXTENSION_SUFFIXES[0]} in a folder, not in a zip file."
                f" Way out: {_REINSTALL}."
            ) from None
        if lacking != name:
            raise  # an extension is there that needs another one, which is not
        if required:
            raise ImportError(
                f"HAIWAY_BUS_REQUIRE_EXTENSIONS is on, but {name} is not installed and the pure backend would serve:"
                " install haiway-bus with its extensions, or unset the switch."
            ) from None
        return None
    _warn_of_edits(module)
    return module


def _files_of(name: str) -> list[str]:
    """The files of an extension module that lie in its package, for whatever Python they are."""
    package, _, stem = name.rpartition(".")
    found = []
    for folder in sys.modules[package].__path__:
        try:
            names = os.listdir(folder)
        except OSError:  # it lies in a zip file; this import is too slow for the usual case
            from importlib.resources import files

            names = [entry.name for entry in files(package).iterdir()]
        found += [
            os.path.join(folder, each)
            for each in sorted(names)
            if each.startswith(f"{stem}.") and each.endswith((".so", ".pyd"))
        ]
    return found


def _warn_of_edits(module: ModuleType) -> None:
    """Warns when a module that was built in a checkout (`pip install -e .`) is older than the Cython sources there."""
    # A wheel has the source of an extension, too, as old as the moment of its installation, but no .pxd file.
    if not os.path.exists(_IN_A_CHECKOUT):
        return
    built = os.stat(str(module.__file__)).st_mtime
    for folder, _, names in os.walk(_PACKAGE):
        for name in names:
            path = os.path.join(folder, name)
            if name.endswith((".pyx", ".pxd")) and os.stat(path).st_mtime > built:
                warnings.warn(
                    f"{path} was edited after {module.__file__} was built: run `pip install -e .` again",
                    RuntimeWarning,
                    stacklevel=3,
                )
                return
