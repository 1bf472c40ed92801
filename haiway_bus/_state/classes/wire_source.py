"""Writes `load` and `dump` of a State class for its fields, as Python source (see `steps.py`).

`_wire_c.pyx` is the twin in C.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from haiway_bus._state.annotations.field import Field
from haiway_bus._state.classes import steps
from haiway_bus._state.classes.source import Writer, compiled
from haiway_bus._state.classes.steps import FLOAT, SAME, STATE, TABLE, UNION, Step
from haiway_bus._state.classes.validate import validated
from haiway_bus._state.kinds.scalars import ordinary

__all__ = ("written_dump", "written_load")


def conversion(names: dict[str, Any], field: Field, step: Step, direction: str) -> list[str]:
    """Write the lines that convert the value in the variable of a field's name.

    Names of the source begin with two underscores, and those of fields cannot.
    """
    name = field.name
    kind = names[f"__kind_{name}"] = step.tests or step.kind
    names[f"__{direction}_{name}"] = getattr(kind, direction, None)
    call = f"{name} = __{direction}_{name}({name})"
    test = f"{name} is not None" if step.none else ""
    if step.tests is not None:
        pass  # the predicates look at each value
    elif step.code == SAME:
        if step.exact is None:
            return []
        names[f"__exact_{name}"] = frozenset(step.exact)
        exact = f"__type({name}) not in __exact_{name}"
        if len(step.exact) == 1:
            names[f"__exact_{name}"] = step.exact[0]
            exact = f"__type({name}) is not __exact_{name}"
        test = f"{test} and {exact}" if test else exact
    elif step.code == FLOAT:
        common = f"-__inf < {name} < __inf" if direction == "load" else f"__ordinary({name})"
        finite = f"__type({name}) is not float or not {common}"
        test = f"{test} and ({finite})" if test else finite
    elif step.code == TABLE and direction == "load":
        names[f"__texts_{name}"] = step.texts
        return [
            f"if __type({name}) is str and {name} in __texts_{name}:",
            f"    {name} = __texts_{name}[{name}]",
            f"{'elif ' + test if test else 'else'}:",
            f"    {call}",
        ]
    elif step.code == STATE:
        # Not bound here: the Blueprint gets another `load` when its class is first used.
        call = f"{name} = __kind_{name}.{direction}({name})"
    elif step.code == UNION and direction == "load":
        call = f"{name} = __kind_{name}.choose({name}).load({name})"
    elif step.code == UNION:
        call = f"{name} = __kind_{name}.writer({name}).dump({name})"
    return [f"if {test}:", f"    {call}"] if test else [call]


def collected(names: dict[str, Any], field: Field, step: Step, direction: str) -> list[str]:
    """Write the lines that convert a value, and collect what is wrong with it."""
    lines = conversion(names, field, step, direction)
    if not lines:
        return ["pass"]
    return [
        "try:",
        *(f"    {line}" for line in lines),
        "except __Mismatch as __wrong:",
        f"    __problems = __steps.gathered(__problems, __field_{field.name}, __wrong)",
    ]


def writer_for(blueprint: Any) -> Writer:
    """Make a Writer, whose names are those of the source."""
    writer = Writer(blueprint.owner, blueprint.fields)
    writer.names |= {
        "__len": len,
        "__inf": inf,
        "__ordinary": ordinary,
        "__blueprint": blueprint,
        "__steps": steps,
        "__validate": partial(validated, blueprint),
    }
    writer.names |= {f"__field_{field.name}": field for field in blueprint.fields}
    return writer


def written_load(blueprint: Any) -> Callable[[Any], Any]:
    """Write `load` of a class: from a plain form to an instance. It raises Mismatch."""
    writer = writer_for(blueprint)
    names = writer.names
    body = [
        "if __type(__plain) is not dict:",
        "    return __steps.not_a_dict(__blueprint, __plain)",
        "__get = __plain.get",
        "__problems = None",
        "__found = 0",
    ]
    for field in blueprint.plain_fields:
        name = field.name
        body += [f"{name} = __get({field.key!r}, __missing)", f"if {name} is __missing:"]
        if field.required:
            body += [f"    __problems = __steps.absent(__problems, __field_{name})"]
        elif field.factory is None:
            body += [f"    {name} = __default_{name}"]
        else:
            body += [
                "    try:",
                f"        {name} = __make_{name}(__factory_{name})",
                "    except __Mismatch as __wrong:",
                f"        __problems = __steps.gathered(__problems, __field_{name}, __wrong)",
            ]
        body += ["else:", "    __found += 1"]
        body += [
            f"    {line}" for line in collected(names, field, steps.load_step(field.kind), "load")
        ]
    kept = "__unknown__" if blueprint.unknown == "keep" else "__ignored"
    if blueprint.unknown == "keep":
        body += ["__unknown__ = __default___unknown__"]
    body += [
        "if __found != __len(__plain):",
        f"    __problems, {kept} = __steps.unknown_keys(__problems, __blueprint, __plain)",
        "if __problems is not None:",
        "    raise __Mismatch(__problems)",
    ]
    lines = ["def load(__plain, /):", *(f"    {line}" for line in body), *writer.stored()]
    return compiled(blueprint.owner, names, "load", lines)


def written_dump(blueprint: Any) -> Callable[[Any], dict[str, Any]]:
    """Write `dump` of a class: from an instance to its plain form. It raises Mismatch."""
    names = writer_for(blueprint).names
    body = [
        "if __type(__self) is not __owner:",
        "    raise __steps.lost(__self)",
        "__problems = None",
    ]
    for field in blueprint.plain_fields:
        body.append(f"{field.name} = __self.{field.name}")
        body += collected(names, field, steps.dump_step(field.kind), "dump")
    items = ", ".join(f"{field.key!r}: {field.name}" for field in blueprint.plain_fields)
    body += [
        "if __problems is not None:",
        "    raise __Mismatch(__problems)",
        f"__plain = {{{items}}}",
    ]
    for field in blueprint.plain_fields:
        if blueprint.omitted(field):
            value, default = f"__self.{field.name}", f"__default_{field.name}"
            body += [
                f"if {value} is {default} or ({value} == {default} and __type({value}) is __type({default})):",
                f"    del __plain[{field.key!r}]",
            ]
    if blueprint.unknown == "keep":
        body.append("return __steps.with_unknown(__plain, __self.__unknown__, __field___unknown__)")
    else:
        body.append("return __plain")
    lines = ["def dump(__self, /):", *(f"    {line}" for line in body)]
    return compiled(blueprint.owner, names, "dump", lines)
