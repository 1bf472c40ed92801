"""What the comparison ran on: a ratio means something only together with this."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ("describe",)

PACKAGES = (
    "haiway-bus",
    "anyio",
    "blinker",
    "pyee",
    "psygnal",
    "reactivex",
    "abxbus",
    "bubus",
    "haiway",
    "attrs",
    "cattrs",
    "msgspec",
    "orjson",
    "pydantic",
)


def cpu() -> str:
    """The name of the processor; platform.processor() is empty on most Linux systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe() -> dict[str, Any]:
    """Machine, Python, versions, date."""
    build = platform.python_build()[1]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "python": f"{platform.python_implementation()} {platform.python_version()} (built {build})",
        "compiler": platform.python_compiler(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "event loop": "asyncio's own",
        "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
        "versions": versions(),
    }
