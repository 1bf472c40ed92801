"""The annotations of a class body. Those that are text or forward references are evaluated here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    ForwardRef,
    Literal,
    NotRequired,
    Required,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = (
    "Lookup",
    "Uncheckable",
    "Unresolved",
    "annotations_of",
    "entries_of",
    "evaluated",
    "free_parameters",
    "is_class",
    "is_class_variable",
    "rebuild",
    "resolve",
    "show",
    "substitute",
)


QUALIFIERS = (Required, NotRequired)


class Unresolved(Exception):  # noqa: N818 - a signal within the package
    """Raised for a name in an annotation that does not exist, or does not exist yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def annotations_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations in a class body, not evaluated: values, text, or forward references."""
    if "__annotations__" in namespace:
        return dict(namespace["__annotations__"])
    if sys.version_info >= (3, 14):
        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            # FORWARDREF keeps names that do not exist yet, such as the class's own, for a later look-up.
            return dict(
                annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
            )
    return {}


def is_class_variable(annotation: Any) -> bool:
    """Whether the annotation says ClassVar, which makes no field. Text is not evaluated to find out."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() in ("ClassVar", "TypeAlias")
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    return annotation is ClassVar or get_origin(annotation) is ClassVar or annotation is TypeAlias


class Uncheckable(Exception):  # noqa: N818 - a signal within the package
    """Raised for an annotation whose values cannot be checked. The text says what to write instead."""


def evaluated(find: Callable[[], Any], what: str) -> Any:
    """Give what `find` evaluates: text, or what Python has not evaluated yet. Raises Unresolved and Uncheckable."""
    try:
        return find()
    except NameError as missing:
        raise Unresolved(missing.name or what) from None
    except AttributeError as missing:  # of a module that is still being imported
        raise Unresolved(f"{missing.name} ({missing})") from None
    except Exception as wrong:  # an expression can raise anything
        raise Uncheckable(f"{what} cannot be evaluated: {wrong}") from wrong


class Lookup:
    """Looks up the names in the annotations of a class.

    It searches as Python does: the class body, the type parameters, the function around the class,
    the module. It also knows the class's own name, to which nothing is bound yet.
    """

    __slots__ = ("local", "names")

    def __init__(
        self, module: str, local: dict[str, Any], names: dict[str, Any] | None = None
    ) -> None:
        self.local: dict[str, Any] = local
        known = sys.modules.get(module)
        # Code that was run by exec() is in no module. It has globals, though.
        self.names: dict[str, Any] = (names or {}) if known is None else vars(known)

    def evaluate(self, text: str) -> Any:
        """Evaluate an annotation written as text.

        The text comes from the source of a class statement, never from data that is loaded.
        """
        if text.isidentifier() and text in self.local:
            return self.local[text]
        if text.isidentifier() and text in self.names:
            return self.names[text]
        return evaluated(
            lambda: eval(text, self.names, self.local),  # noqa: S307 - see the docstring
            f"the annotation {text!r}",
        )

    def reference(self, reference: ForwardRef) -> Any:
        """Evaluate a forward reference, which has its own cells and globals in 3.14."""
        if sys.version_info >= (3, 14):
            names = None if reference.__forward_module__ else self.names
            return evaluated(
                lambda: reference.evaluate(globals=names, locals=self.local),
                f"the annotation {reference.__forward_arg__!r}",
            )
        return self.evaluate(reference.__forward_arg__)


def resolve(annotation: Any, lookup: Lookup) -> Any:
    """Replace every text and forward reference in an annotation by its value."""

    def look_up(leaf: Any) -> Any:
        if isinstance(leaf, str):
            return resolve(lookup.evaluate(leaf), lookup)
        if isinstance(leaf, ForwardRef):
            return resolve(lookup.reference(leaf), lookup)
        return leaf

    return rebuild(annotation, look_up)


def rebuild(annotation: Any, leaf: Callable[[Any], Any]) -> Any:
    """Apply `leaf` to each part of an annotation that has no parts itself.

    Returns:
        The annotation with the new parts, or the same object when `leaf` changed none.
    """
    if is_class(annotation):
        blueprint = getattr(annotation, "__state__", None)
        if blueprint is None or not blueprint.arguments:
            return leaf(annotation)
        arguments = tuple(rebuild(argument, leaf) for argument in blueprint.arguments)
        if arguments == blueprint.arguments:
            return leaf(annotation)
        return blueprint.origin[arguments]
    origin = get_origin(annotation)
    if origin is None or origin is Literal:
        return leaf(annotation)
    if origin is Annotated:
        inner = annotation.__origin__
        new = rebuild(inner, leaf)
        return annotation if new is inner else Annotated[(new, *annotation.__metadata__)]
    arguments = get_args(annotation)
    new_arguments = tuple(
        argument if isinstance(argument, list) else rebuild(argument, leaf)
        for argument in arguments
    )
    if all(new is old for new, old in zip(new_arguments, arguments, strict=True)):
        return annotation
    if origin is Union:
        return Union[new_arguments]  # noqa: UP007 - of a tuple
    if origin is UnionType:
        try:
            return reduce(or_, new_arguments)
        except TypeError:
            return Union[new_arguments]  # noqa: UP007
    return origin[new_arguments] if len(new_arguments) != 1 else origin[new_arguments[0]]


def substitute(annotation: Any, meanings: Mapping[Any, Any]) -> Any:
    """Replace type variables and Self in an annotation by their meanings."""

    def meaning(leaf: Any) -> Any:
        return meanings.get(leaf, leaf) if leaf is Self or isinstance(leaf, TypeVar) else leaf

    return rebuild(annotation, meaning)


def free_parameters(annotation: Any) -> tuple[TypeVar, ...]:
    """Collect the type variables in an annotation, each once, in the order of their first use."""
    found: dict[TypeVar, None] = {}

    def note(leaf: Any) -> Any:
        if isinstance(leaf, TypeVar):
            found[leaf] = None
        return leaf

    rebuild(annotation, note)
    return tuple(found)


def entries_of(annotation: Any) -> dict[str, tuple[Any, bool]]:
    """Read the keys of a TypedDict: the annotation of each key, and whether the key is required."""
    hints = evaluated(lambda: get_type_hints(annotation, include_extras=True), annotation.__name__)
    entries: dict[str, tuple[Any, bool]] = {}
    for key, hint in hints.items():
        required = key in annotation.__required_keys__
        # ReadOnly has no class to compare with before 3.13, and needs no check.
        while (origin := get_origin(hint)) in QUALIFIERS or (
            getattr(origin, "_name", None) == "ReadOnly"
        ):
            if origin in QUALIFIERS:
                # Under `from __future__ import annotations` the TypedDict itself cannot see these.
                required = origin is Required
            hint = get_args(hint)[0]
        entries[key] = (hint, required)
    return entries


def is_class(annotation: Any) -> bool:
    """Whether an annotation is a class. `isinstance` alone is not enough: 3.11 takes `list[int]` for a class."""
    kind: object = type(annotation)
    return isinstance(annotation, type) and kind is not GenericAlias


def show(annotation: Any) -> str:
    """An annotation as its author would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if is_class(annotation) or isinstance(annotation, TypeVar):
        return str(annotation.__name__)
    if isinstance(annotation, str):
        return repr(annotation)
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    origin = get_origin(annotation)
    if origin is Union or origin is UnionType:
        return " | ".join(show(argument) for argument in get_args(annotation))
    if origin is Annotated:
        return show(annotation.__origin__)
    if isinstance(origin, type):
        arguments = [
            f"[{', '.join(map(show, argument))}]" if isinstance(argument, list) else show(argument)
            for argument in get_args(annotation)
        ]
        return f"{origin.__name__}[{', '.join(arguments)}]"
    return repr(annotation).removeprefix("typing.")
