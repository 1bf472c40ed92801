"""Names and other text of strangers as it can be shown anywhere: in one line, of bounded length, with nothing that a
terminal obeys, and without an exception.

A refusal names the value that broke the rule. That value may be anything: its `__repr__` may raise or give a megabyte,
its class may have a metaclass that does, and an int of 5,000 digits has no text at all. The caller has to get our error
nevertheless, so every refusal of the package describes what it was given by `described` and `name_of_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

__all__ = (
    "described",
    "full_name_of_type",
    "module_of_type",
    "name_of_function",
    "name_of_type",
    "printable",
    "shortened",
    "text_of",
    "written",
)

LONGEST: Final = 100
_LONGEST_NAME: Final = 200
_LONGEST_TEXT: Final = 2000
# How many elements of a container are shown, and how many containers within each other.
_ELEMENTS: Final = 6
_DEPTH: Final = 3
# Above this an int is told by its number of digits: Python refuses to write it out, or takes long to.
_LONGEST_INT_BITS: Final = 400

# As `type` itself has them: no code of a metaclass runs.
_name: Final[Any] = type.__dict__["__name__"].__get__
_qualname: Final[Any] = type.__dict__["__qualname__"].__get__
_module: Final[Any] = type.__dict__["__module__"].__get__

_BRACKETS: Final = ((list, "[", "]"), (tuple, "(", ")"), (set, "{", "}"), (frozenset, "{", "}"))


def printable(text: str) -> str:
    """The text with what is no printable character (line breaks, terminal sequences, lone surrogates) written as Python
    escapes it."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def shortened(text: str, longest: int) -> str:
    """The beginning and the end of it: the end of a repr often says which one it is."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 3]}...{text[len(text) - end :]}"


def described(value: object, longest: int = LONGEST) -> str:
    """The value for the text of an error: a short repr, whatever its repr does."""
    try:
        text = _brief(value, longest, _DEPTH)
    except Exception as error:  # RecursionError, as a rule: the stack may be nearly used up
        text = _failed(value, error)
    return shortened(printable(shortened(text, longest)), longest)


def name_of_type(kind: type[Any], *, qualified: bool = True) -> str:
    """The name of a class, whatever its metaclass makes of it: with those of the classes and functions around it, or
    alone."""
    return _whole_name(_qualname(kind) if qualified else _name(kind))


def module_of_type(kind: type[Any]) -> str:
    """The name of the module that a class says it is of."""
    try:
        module = _module(kind)
    except AttributeError:  # deleted
        module = None
    # A class may have anything for it.
    return printable(str.__str__(module)[:_LONGEST_NAME]) if issubclass(type(module), str) else "?"


def full_name_of_type(kind: type[Any]) -> str:
    """The name of a class with its module's."""
    return f"{module_of_type(kind)}.{name_of_type(kind)}"


def name_of_function(function: object) -> str:
    """The qualified name of a function, or of what is called like one; without a name, its repr."""
    try:
        name: Any = getattr(function, "__qualname__", None)
    except Exception:  # of a proxy, or of an object that makes up its attributes
        name = None
    if issubclass(type(name), str) and str.__len__(name):
        return _whole_name(name)
    return described(function)


def written(value: object, write: Callable[[object], str] = repr) -> str:
    """All of its text, for a log or a trace, or else a description of it."""
    try:
        return str.__str__(write(value))
    except Exception:
        return described(value)


def text_of(error: BaseException) -> str:
    """What an exception says, whatever its `__str__` does; lines stay lines."""
    try:
        return shortened(str.__str__(str(error)), _LONGEST_TEXT)
    except Exception:
        return "its text cannot be made"


def _whole_name(name: str) -> str:
    # An exact str first: one of a subclass may say anything.
    return shortened(printable(shortened(str.__str__(name), _LONGEST_NAME)), _LONGEST_NAME)


def _brief(value: Any, longest: int, depth: int) -> str:
    # Exact types only: what a subclass does with len() or slices is its own. And by identity: a metaclass may compare.
    kind = type(value)
    if kind is int and value.bit_length() > _LONGEST_INT_BITS:
        sign = "negative " if value < 0 else ""
        return f"<a {sign}number of about {value.bit_length() * 30103 // 100000 + 1} digits>"
    if kind is str or kind is bytes or kind is bytearray:
        return repr(value[: longest + 1])
    if kind is dict:
        pairs = islice(value.items(), _ELEMENTS)
        shown = [f"{_part(a, longest, depth)}: {_part(b, longest, depth)}" for a, b in pairs]
        return "{" + _listed(shown, len(value)) + "}"
    for container, left, right in _BRACKETS:
        if kind is container and len(value):
            shown = [_part(one, longest, depth) for one in islice(value, _ELEMENTS)]
            comma = "," if kind is tuple and len(value) == 1 else ""
            text = f"{left}{_listed(shown, len(value))}{comma}{right}"
            return f"frozenset({text})" if kind is frozenset else text
    if issubclass(kind, type):
        return type.__repr__(value)
    return str.__str__(repr(value))


def _part(value: object, longest: int, depth: int) -> str:
    """An element of a container: that its repr fails is said in its place."""
    try:
        return shortened(_brief(value, longest, depth - 1), longest) if depth > 1 else "..."
    except Exception as error:
        return _failed(value, error)


def _listed(shown: Iterable[str], number: int) -> str:
    return ", ".join([*shown, *(["..."] if number > _ELEMENTS else [])])


def _failed(value: object, error: Exception) -> str:
    name, raised = (name_of_type(type(one), qualified=False) for one in (value, error))
    return f"<{name} instance at {id(value):#x}, its repr() raises {raised}>"
