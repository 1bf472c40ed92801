"""Names and values as text that is safe in an error or a log: one line, of bounded length, without control characters.

An error names the value that broke the rule. That value may be anything. Its `__repr__` may raise, or return a
megabyte; the metaclass of its class may do the same; an int of 5,000 digits has no text at all. The caller must get
our error all the same, so each error of the package describes values with `described` and types with `name_of_type`.
Neither raises.
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
# The number of elements shown of a container, and the depth of nested containers.
_ELEMENTS: Final = 6
_DEPTH: Final = 3
# A larger int is described by its number of digits: Python refuses to write it, or takes long.
_LONGEST_INT_BITS: Final = 400

# The descriptors of `type` itself, so that no code of a metaclass runs.
_name: Final[Any] = type.__dict__["__name__"].__get__
_qualname: Final[Any] = type.__dict__["__qualname__"].__get__
_module: Final[Any] = type.__dict__["__module__"].__get__

_BRACKETS: Final = ((list, "[", "]"), (tuple, "(", ")"), (set, "{", "}"), (frozenset, "{", "}"))


def printable(text: str) -> str:
    """Escape the characters that are not printable: line breaks, terminal sequences, lone surrogates."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def shortened(text: str, longest: int) -> str:
    """Cut the middle out of a long text. The end stays, as the end of a repr often identifies the object."""
    if len(text) <= longest:
        return text
    end = longest // 4
    return f"{text[: longest - end - 3]}...{text[len(text) - end :]}"


def described(value: object, longest: int = LONGEST) -> str:
    """A short repr of the value for an error. It never raises."""
    try:
        text = _brief(value, longest, _DEPTH)
    except Exception as error:  # often RecursionError, when the stack is nearly used up
        text = _failed(value, error)
    return shortened(printable(shortened(text, longest)), longest)


def name_of_type(kind: type[Any], *, qualified: bool = True) -> str:
    """The name of a class, even if its metaclass redefines it. `qualified` adds the classes and functions around it."""
    return _whole_name(_qualname(kind) if qualified else _name(kind))


def module_of_type(kind: type[Any]) -> str:
    """The name of the module that the class gives, or "?"."""
    try:
        module = _module(kind)
    except AttributeError:  # deleted
        module = None
    # `__module__` of a class may be any object.
    return printable(str.__str__(module)[:_LONGEST_NAME]) if issubclass(type(module), str) else "?"


def full_name_of_type(kind: type[Any]) -> str:
    """The name of a class, after the name of its module."""
    return f"{module_of_type(kind)}.{name_of_type(kind)}"


def name_of_function(function: object) -> str:
    """The qualified name of a function or another callable; its repr if it has no name."""
    try:
        name: Any = getattr(function, "__qualname__", None)
    except Exception:  # a proxy, or an object with its own __getattr__
        name = None
    if issubclass(type(name), str) and str.__len__(name):
        return _whole_name(name)
    return described(function)


def written(value: object, write: Callable[[object], str] = repr) -> str:
    """The whole text of a value, for a log or a trace. A value whose text cannot be made is described."""
    try:
        return str.__str__(write(value))
    except Exception:
        return described(value)


def text_of(error: BaseException) -> str:
    """The message of an exception, even if its `__str__` raises. Line breaks stay."""
    try:
        return shortened(str.__str__(str(error)), _LONGEST_TEXT)
    except Exception:
        return "its text cannot be made"


def _whole_name(name: str) -> str:
    # As an exact str: a subclass may override what follows.
    return shortened(printable(shortened(str.__str__(name), _LONGEST_NAME)), _LONGEST_NAME)


def _brief(value: Any, longest: int, depth: int) -> str:
    # Exact types only, as a subclass may redefine len() and slices. By identity, as a metaclass may redefine `==`.
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
    """An element of a container. If its repr fails, the text says so in its place."""
    try:
        return shortened(_brief(value, longest, depth - 1), longest) if depth > 1 else "..."
    except Exception as error:
        return _failed(value, error)


def _listed(shown: Iterable[str], number: int) -> str:
    return ", ".join([*shown, *(["..."] if number > _ELEMENTS else [])])


def _failed(value: object, error: Exception) -> str:
    name, raised = (name_of_type(type(one), qualified=False) for one in (value, error))
    return f"<{name} instance at {id(value):#x}, its repr() raises {raised}>"
