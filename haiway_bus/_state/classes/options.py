"""The options of a class statement: `class Order(State, unknown="keep", rename="camel", omit_defaults=True)`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from haiway_bus._state.kinds.containers import MappingKind
from haiway_bus._state.kinds.mismatch import Mismatch, part_of
from haiway_bus.errors import StateError

__all__ = ("UNKNOWN", "UnknownKeys", "check_options", "renamed")

UNKNOWN: Final = "__unknown__"
"""The hidden field of a class with `unknown="keep"`: the keys of a mapping or JSON that belong to no field."""


def _title(word: str) -> str:
    return word[0].upper() + word[1:]


STYLES: dict[str, Callable[[list[str]], str]] = {
    "camel": lambda words: words[0] + "".join(map(_title, words[1:])),
    "kebab": "-".join,
    "pascal": lambda words: "".join(map(_title, words)),
}

ALLOWED: dict[str, tuple[object, ...]] = {
    "unknown": ("refuse", "ignore", "keep"),
    "rename": (*STYLES, "off"),
    "omit_defaults": (True, False),
}


def check_options(name: str, settings: dict[str, Any], hidden: bool) -> None:
    """Refuse class options that do not exist (guarantee 7.10).

    Args:
        name: the name of the class.
        settings: its options, with the inherited ones.
        hidden: whether it inherits the field `__unknown__`.
    """
    for option, value in settings.items():
        allowed = ALLOWED[option]
        if type(value) not in (str, bool) or value not in allowed:
            choices = ", ".join(map(repr, allowed))
            raise StateError(f"{name}: the option {option} is one of {choices}, given {value!r}")
    if hidden and settings["unknown"] != "keep":
        raise StateError(
            f"{name}: unknown={settings['unknown']!r} comes too late, a base keeps unknown keys: "
            "derive both from a class without this option"
        )


def renamed(field: str, style: str) -> str:
    """Give the key of a field by the option `rename`: leading underscores stay, and one behind (`from_`) goes."""
    words = [word for word in field.split("_") if word]
    if style == "off" or not words:
        return field
    return field[: len(field) - len(field.lstrip("_"))] + STYLES[style](words)


class UnknownKeys(MappingKind):
    """The kind of `__unknown__`. It refuses the keys of fields, which a mapping or JSON cannot have twice."""

    __slots__ = ("taken",)

    def __init__(self, kind: MappingKind, taken: Collection[str]) -> None:
        super().__init__(kind.expected, kind.key, kind.value)
        self.taken: Collection[str] = taken

    def check(self, value: Any) -> Any:
        kept = super().check(value)
        wrong = [(part_of(key), "is the key of a field") for key in kept if key in self.taken]
        if wrong:
            raise Mismatch(wrong)
        return kept
