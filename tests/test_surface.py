"""Public classes show the names that the reference pages document, and no others."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.shared import TREE

PAGES = "\n".join(
    page.read_text(encoding="utf-8") for page in sorted((TREE / "docs" / "reference").glob("*.md"))
)
# A reference page names what it documents by `::: path`, with options for mkdocstrings below.
DIRECTIVES = dict(re.findall(r"^::: (\S+)\n((?:    .*\n?)*)", PAGES, re.MULTILINE))

MODULES = (
    *("", "errors", "observability"),
    *("integrations.asgi", "integrations.sse", "integrations.nats", "integrations.opentelemetry"),
    *("tools.top", "tools.picture", "testing"),
)

# Classes whose instances have attributes that their class does not have.
INSTANCES: dict[str, Callable[[Any], object]] = {
    "StateError": lambda cls: cls("message"),
    "SubscriptionOverflow": lambda cls: cls("message", 1),
    "NatsBridge": lambda cls: cls("nats://127.0.0.1"),
    "NatsPayloadTooLarge": lambda cls: cls(object, 2, 1),
    "ScopeMiddleware": lambda cls: cls(print),
    "OpenTelemetryObservability": lambda cls: cls(),
    "Monitor": lambda cls: cls(),
    "Picture": lambda cls: cls(),
}


def public(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def module_of(hb: Any, name: str) -> Any:
    """The public module, in the copy of the package that is under test."""
    if name in ("integrations.nats", "integrations.opentelemetry"):
        pytest.importorskip(name.rpartition(".")[2])
    return importlib.import_module(f"{hb.__name__}.{name}") if name else hb


def path_of(module: str, name: str) -> str:
    """The path under which the pages document a name. What `haiway_bus` has stands there under that path alone."""
    home = "" if name in importlib.import_module("haiway_bus").__all__ else module
    return ".".join(part for part in ("haiway_bus", home, name) if part)


def inherited(cls: type[Any]) -> set[str]:
    """What a class has from its bases, which are documented elsewhere."""
    names = set().union(*(public(base) for base in cls.__mro__[1:]))
    if cls.__name__ == "LoggingObservability":  # its page refers to the protocol for its methods
        names |= public(sys.modules[cls.__module__].Observability)
    return names


def attributes_in(docstring: str) -> set[str]:
    """The names in the section "Attributes:" of a docstring."""
    section = re.search(
        r"^Attributes:\n((?:    .*\n?|\n)*)", inspect.cleandoc(docstring), re.MULTILINE
    )
    return set() if section is None else set(re.findall(r"^    (\w+): ", section[1], re.MULTILINE))


def documented(cls: type[Any], options: str) -> set[str]:
    members = re.search(r"members: \[(.*)\]", options)
    names = (
        {name for name, value in vars(cls).items() if inspect.getdoc(value) and name[0] != "_"}
        if members is None
        else {name for name in members[1].replace(" ", "").split(",") if name}
    )
    return names | attributes_in(cls.__doc__ or "")


@pytest.mark.parametrize("name", MODULES)
def test_a_class_shows_the_names_that_its_reference_page_documents(hb: Any, name: str) -> None:
    module = module_of(hb, name)
    classes = [
        getattr(module, each)
        for each in module.__all__
        if each != "ctx" and inspect.isclass(getattr(module, each))
    ]
    for cls in classes:
        make = INSTANCES.get(cls.__name__)
        shown = public(cls if make is None else make(cls)) - inherited(cls)
        options = DIRECTIVES[path_of(name, cls.__name__)]
        assert shown == documented(cls, options) - inherited(cls), cls


def test_ctx_shows_the_functions_that_its_page_documents(hb: Any) -> None:
    page = (TREE / "docs" / "reference" / "ctx.md").read_text(encoding="utf-8")
    assert public(hb.ctx) == set(re.findall(r"^      heading: ctx\.(\w+)$", page, re.MULTILINE))


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_stands_on_a_reference_page(hb: Any, name: str) -> None:
    module = module_of(hb, name)
    for each in set(module.__all__) - {"ctx"}:  # a page of its own: see above
        path = path_of(name, each)
        assert path in DIRECTIVES or f"`{path}`" in PAGES, path


@pytest.mark.parametrize("name", MODULES)
def test_each_docstring_is_in_google_style(hb: Any, name: str) -> None:
    module = module_of(hb, name)
    texts = {name: module.__doc__ or ""}
    for each in map(module.__dict__.get, module.__all__):
        if inspect.isclass(each) or inspect.isfunction(each):
            texts[each.__name__] = each.__doc__ or ""
        if inspect.isclass(each):
            texts |= {
                f"{each.__name__}.{member}": inspect.getdoc(value) or ""
                for member, value in vars(each).items()
                if not member.startswith("_")
                and member in public(each) - inherited(each)
                and (callable(value) or isinstance(value, property))
            }
    for where, text in texts.items():
        assert text, f"{where} has no docstring"
        # A section "Args:", "Returns:", "Raises:" with a line for each name; and no number of a clause.
        wrong = re.search(
            r"^ *Arguments:|^ *Raises [A-Z]|(contract|guarantee|issue) \d", text, re.MULTILINE
        )
        assert wrong is None, f"{where}: {wrong}"
