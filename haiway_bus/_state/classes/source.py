"""Writes the methods of a State class for its fields, as Python source, and compiles them.

The source is what a person would write for exactly these fields. It compares exact types in line and calls `check` for
other values only. linecache has it, so that tracebacks and `inspect.getsource` show it. Written methods are worth it:
with the fields str, float and int, State's general methods and the written ones take (ns, 3.11) 497 and 92 (`__eq__`),
524 and 109 (`__hash__`), 1,638 and 337 (`__repr__`), 961 and 230 (`updated`).

The constructor takes, for each field in order, the argument, or else the default, or else the value of the default
factory, which `kind.check` has to accept. It stores an argument as it is when its type is in `kind.exact`, and stores
`kind.check(argument)` otherwise. When `check` raises Mismatch, or an argument is positional or unknown, the
constructor raises the error of `refusal`, which goes over all fields again and lists everything that is wrong.
`updated` does the same, with the values of the instance in place of defaults.

MISSING as an argument means that it was not given. A `__validate__` of the author's sees the complete instance.

The values go into a blank (`blank.py`), and the blank then becomes an instance of its class. No `__init__` is involved,
so that a second call of it cannot overwrite a field.

`_maker_c.pyx` is the twin in C of `__new__` and `updated`, and reads the same fields. A class whose instances are made
in C gets this `__new__` only when code asks for it by name.
"""

from __future__ import annotations

import linecache
import weakref
from collections.abc import Callable, Iterable, Sequence
from inspect import Parameter, Signature
from itertools import count
from types import FunctionType
from typing import Any

from haiway_bus._state.annotations.default import MISSING, Missing
from haiway_bus._state.annotations.field import Field
from haiway_bus._state.classes.validate import validate_new
from haiway_bus._state.kinds.containers import SequenceKind
from haiway_bus._state.kinds.mismatch import Mismatch, Problem, state_error
from haiway_bus.errors import StateError

__all__ = ("Writer", "compiled", "refusal", "write_method")

FILE_PREFIX = "<haiway_bus State "

_numbers = count()

INLINE = 3
"""Up to so many exact types are compared in line. More of them are looked up in a frozenset."""

UPDATED = Signature(
    [Parameter("self", Parameter.POSITIONAL_ONLY), Parameter("changes", Parameter.VAR_KEYWORD)]
)
"""What `updated` shows of its parameters, with either constructor."""


def refusal(
    owner: type,
    fields: Sequence[Field],
    positional: tuple[Any, ...],
    unknown: Iterable[str],
    given: dict[str, Any],
) -> StateError:
    """Make the error that lists everything wrong with the arguments of a construction (guarantee 7.2).

    Args:
        owner: the class of the instance that was to be made.
        fields: its fields.
        positional: the positional arguments, which a State does not take.
        unknown: the keywords that are no field.
        given: the values of the fields. A field that is not in it counts as missing.
    """
    problems: list[Problem] = []
    if positional:
        names = "=..., ".join(field.name for field in fields)
        usage = f"{owner.__name__}({names}=...)" if fields else f"{owner.__name__}()"
        problems.append(
            ("", f"takes its fields by keyword, {usage}, given {len(positional)} by position")
        )
    for field in fields:
        try:
            field.check(given.get(field.name, MISSING))
        except Mismatch as wrong:
            problems += wrong.under(f".{field.name}")
    known = ", ".join(field.name for field in fields) or "none"
    problems += [(f".{name}", f"no such field, {owner.__name__} has {known}") for name in unknown]
    return state_error(owner.__name__, problems)


class Writer:
    """Writes the source of one class's methods, and collects the objects that the source names.

    Fields cannot begin with two underscores. Every other name in the source does.
    """

    def __init__(self, owner: Any, fields: Sequence[Field]) -> None:
        def refuse(positional: Any, unknown: Any, given: dict[str, Any]) -> StateError:
            return refusal(owner, owner.__state__.fields, positional, unknown, given)

        self.fields = fields
        self.validates = owner.__state__.validate is not None
        self.names: dict[str, Any] = {
            "__name__": owner.__module__,
            "__type": type,
            "__tuple": tuple,
            "__map": map,
            "__hash": hash,
            "__object": object.__new__,
            "__owner": owner,
            "__state": owner.__state__,
            "__missing": MISSING,
            "__Mismatch": Mismatch,
            "__refuse": refuse,
            "__validate": validate_new,
        }
        for field in fields:
            self.names[f"__check_{field.name}"] = field.kind.check
            self.names[f"__default_{field.name}"] = field.default
            if field.factory is not None:
                self.names[f"__make_{field.name}"] = field.made
                self.names[f"__factory_{field.name}"] = field.factory

    def misfit(self, field: Field) -> str | None:
        """The condition under which a value needs `check`: "" for always, None for never."""
        kind, name = field.kind, field.name
        if kind.anything:
            return None
        if isinstance(kind, SequenceKind) and (kind.item.anything or kind.item.exact):
            # The usual case: a tuple that another State has kept.
            if kind.item.anything:
                return f"__type({name}) is not __tuple"
            self.names[f"__fit_{name}"] = kind.item.exact_set.issuperset
            return f"__type({name}) is not __tuple or not __fit_{name}(__map(__type, {name}))"
        if len(kind.exact) > INLINE:
            self.names[f"__types_{name}"] = kind.exact_set
            return f"__type({name}) not in __types_{name}"
        tests: list[str] = []
        for index, exact in enumerate(kind.exact):
            if exact is type(None):
                tests.insert(0, f"{name} is not None")
                continue
            short = f"__is_{exact.__name__}" if exact.__name__.isidentifier() else ""
            if not short or self.names.setdefault(short, exact) is not exact:
                short = f"__is_{name}_{index}"
                self.names[short] = exact
            tests.append(f"__type({name}) is not {short}")
        return " and ".join(tests)

    def tests(self, field: Field, keyword: str, indent: str) -> list[str]:
        """The lines that check an argument. They begin with `keyword`, which is "if" or "elif"."""
        name = field.name
        condition = self.misfit(field)
        if condition is None:
            return []
        check = f"{indent}    {name} = __check_{name}({name})"
        if keyword == "elif":
            return [f"{indent}{f'elif {condition}' if condition else 'else'}:", check]
        if field.default is not MISSING:
            # Here, and not in front of the condition: the common way through does not ask for MISSING.
            condition = condition or f"{name} is not __default_{name}"
            check = f"{check} if {name} is not __missing else __default_{name}"
        return [f"{indent}if {condition}:", check] if condition else [check.replace("    ", "", 1)]

    def parameters(self, defaults: bool) -> str:
        parts = ["*__positional"]
        for field in self.fields:
            default = defaults and field.factory is None and field.default is not MISSING
            parts.append(
                f"{field.name}=__default_{field.name}" if default else f"{field.name}=__missing"
            )
        return ", ".join([*parts, "**__unknown"])

    def given(self) -> str:
        return "{" + ", ".join(f"{field.name!r}: {field.name}" for field in self.fields) + "}"

    def stored(self, blank: str = "__blank") -> list[str]:
        lines = ["    __new = __object(__owner)"]
        if self.fields:
            made = self.names["__state"].made_blank()
            if blank == "__blank":
                self.names[blank] = made
            lines = [
                f"    __new = {blank}()",
                *(f"    __new.{field.name} = {field.name}" for field in self.fields),
                "    __new.__class__ = __owner",
            ]
        if self.validates:
            lines.append("    __validate(__new)")
        return [*lines, "    return __new"]

    def constructor(self) -> list[str]:
        lines = []
        for field in self.fields:
            name = field.name
            if field.factory is None and field.kind.closed and Missing not in field.kind.exact_set:
                lines += self.tests(field, "if", "        ")
                continue
            absent = f"{name} = __default_{name}"
            if field.required:
                absent = "raise __Mismatch"
            elif field.factory is not None:
                absent = f"{name} = __make_{name}(__factory_{name})"
            lines += [f"        if {name} is __missing:", f"            {absent}"]
            lines += self.tests(field, "elif", "        ")
        head = f"def __new__(__class, /, {self.parameters(defaults=True)}):"
        return [*self.checked(head, lines), *self.stored()]

    def updated(self) -> list[str]:
        lines, kept = [], []
        for field in self.fields:
            absent = f"        if {field.name} is __missing:"
            keep = f"{field.name} = __self.{field.name}"
            lines += [absent, f"            {keep}", *self.tests(field, "elif", "        ")]
            kept.append(f"{absent} {keep}")
        head = f"def updated(__self, /, {self.parameters(defaults=False)}):"
        # cloudpickle takes along what this method names, but for a class in an attribute.
        return [*self.checked(head, lines, kept), *self.stored("__state.blank")]

    def checked(self, head: str, lines: list[str], kept: Iterable[str] = ()) -> list[str]:
        return [
            head,
            "    try:",
            "        if __positional or __unknown:",
            "            raise __Mismatch",
            *lines,
            "    except __Mismatch:",
            *kept,
            f"        raise __refuse(__positional, __unknown, {self.given()}) from None",
        ]

    def equality(self) -> list[str]:
        pairs = " and ".join(f"__self.{f.name} == __other.{f.name}" for f in self.fields) or "True"
        return [
            "def __eq__(__self, __other, /):",
            "    if __self is __other:",
            "        return True",
            "    if __other.__class__ is __self.__class__:",
            f"        return {pairs}",
            "    return NotImplemented",
        ]

    def hashing(self) -> list[str]:
        values = "".join(f"__self.{field.name}, " for field in self.fields)
        return ["def __hash__(__self, /):", f"    return __hash(({values}))"]

    def representation(self) -> list[str]:
        parts = ", ".join(f"{field.name}={{__self.{field.name}!r}}" for field in self.fields)
        return ["def __repr__(__self, /):", f"    return f'{{__self.__class__.__name__}}({parts})'"]


def write_method(owner: type, fields: Sequence[Field], method: str) -> FunctionType:
    """Write `__new__`, `updated`, `__eq__`, `__hash__` or `__repr__` for the fields of a class, in order."""
    writer = Writer(owner, fields)
    parts: dict[str, Callable[[], list[str]]] = {
        "__new__": writer.constructor,
        "updated": writer.updated,
        "__eq__": writer.equality,
        "__hash__": writer.hashing,
        "__repr__": writer.representation,
    }
    function = compiled(owner, writer.names, method, parts[method]())
    if method == "updated":
        function.__signature__ = UPDATED  # type: ignore[attr-defined]
        function.__doc__ = "Make a new instance with some fields changed and checked."
    return function


def compiled(owner: type, names: dict[str, Any], method: str, lines: list[str]) -> FunctionType:
    """Compile the source of a method of a class, for tracebacks and debuggers to show."""
    text = "\n".join(lines) + "\n"
    # Another copy of this module counts from the start, too. A name in use belongs to a class of such a copy.
    while (
        file := f"{FILE_PREFIX}{owner.__module__}.{owner.__qualname__}.{method} {next(_numbers)}>"
    ) in linecache.cache:
        pass
    exec(compile(text, file, "exec", dont_inherit=True), names)  # noqa: S102 - written above
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    weakref.finalize(owner, linecache.cache.pop, file, None).atexit = False
    function: FunctionType = names[method]
    function.__qualname__ = f"{owner.__qualname__}.{method}"
    function.__module__ = owner.__module__
    return function
