"""Chooses the constructor of State classes: the compiled one where it was built, or else the one written in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from haiway_bus._common.switches import compiled_module
from haiway_bus._state.kinds.mismatch import Mismatch

__all__ = ("equip", "made_in_c", "quick_methods", "release", "updated_of", "wired")


def _not_compiled(*arguments: Any) -> Any:
    raise RuntimeError("there is no compiled module to make instances with")


equip: Callable[[type, tuple[Any, ...]], object] = _not_compiled
"""Lets C make the instances of a class. The class has to keep the returned object."""

updated_of: Callable[[type], Any] = _not_compiled
"""Gives the method `updated` of a class that was equipped."""

quick_methods: Callable[[type], None] = _not_compiled
"""Puts the methods for JSON in C into State. They call those in Python for whatever is unusual."""

release: Callable[[type], None] = lambda owner: None  # noqa: E731
"""Lets the `__new__` of a class make its instances from now on, for code that put its own there."""

wired: Any = _not_compiled
"""Makes, of the Blueprint of a class that was equipped, what has its `load` and `dump`."""

_compiled = all(
    # Python has a compiled module once, also where the package is imported a second time. Then it works with the
    # objects of the first import, and the source serves the second.
    module is not None and module.Mismatch is Mismatch
    for module in map(
        compiled_module,
        ("haiway_bus._state.classes._maker_c", "haiway_bus._state.classes._wire_c"),
    )
)

if _compiled:
    from haiway_bus._state.classes._maker_c import equip, release, updated_of  # type: ignore[import-not-found, no-redef, unused-ignore]
    from haiway_bus._state.classes._wire_c import Wired as wired  # type: ignore[import-not-found, no-redef, unused-ignore]  # noqa: N813
    from haiway_bus._state.classes._wire_c import quick_methods  # type: ignore[no-redef, unused-ignore]


def made_in_c(owner: Any) -> bool:
    """Whether C makes the instances of the class. It cannot where the metaclass has a `__call__` of its own."""
    return _compiled and type(owner).__call__ is type.__call__
