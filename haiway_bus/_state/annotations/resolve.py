"""The annotations of a class body, and the evaluation of those that are text or look ahead."""

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
    "free_parameters",
    "is_class_variable",
    "names_in",
    "rebuild",
    "resolve",
    "show",
    "substitute",
)


QUALIFIERS = (Required, NotRequired)


class Unresolved(Exception):  # noqa: N818 - a signal within the package
    """Raised when an annotation names something that does not exist, or does not exist yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def annotations_of(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The annotations in a class body, as they are found: values, text, or forward references."""
    if "__annotations__" in namespace:
        return dict(namespace["__annotations__"])
    if sys.version_info >= (3, 14):
        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            # FORWARDREF leaves what does not exist yet, such as the class itself, to be looked up.
            return dict(
                annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF)
            )
    return {}


def is_class_variable(annotation: Any) -> bool:
    """Whether the annotation says ClassVar, which makes no field. Text is not evaluated for it."""
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return annotation.partition("[")[0].rpartition(".")[2].strip() in ("ClassVar", "TypeAlias")
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    return annotation is ClassVar or get_origin(annotation) is ClassVar or annotation is TypeAlias


class Uncheckable(Exception):  # noqa: N818 - a signal within the package
    """Raised for an annotation of which no value could be checked; the text says what to write."""


class Lookup:
    """Where the names in a class's annotations are looked up.

    As Python would: the class body, the type parameters, the function around the class if there is
    one, the module. The class's own name is known too, although nothing is bound to it yet.
    """

    __slots__ = ("local", "names")

    def __init__(
        self, module: str, local: dict[str, Any], names: dict[str, Any] | None = None
    ) -> None:
        self.local: dict[str, Any] = local
        known = sys.modules.get(module)
        # Code that was only executed is in no module; its own globals then have to do.
        self.names: dict[str, Any] = (names or {}) if known is None else vars(known)

    def evaluate(self, text: str) -> Any:
        """The value of an annotation written as text.

        The text comes from the source of a class statement, never from data that is loaded.
        """
        if text.isidentifier() and text in self.local:
            return self.local[text]
        if text.isidentifier() and text in self.names:
            return self.names[text]
        try:
            return eval(text, self.names, self.local)  # noqa: S307 - see the docstring
        except NameError as missing:
            raise Unresolved(missing.name or text) from None
        except AttributeError as missing:
            raise Unresolved(f"{text} ({missing})") from None
        except Exception as wrong:  # what an expression can raise is anything
            raise Uncheckable(f"the annotation {text!r} cannot be evaluated: {wrong}") from wrong

    def reference(self, reference: ForwardRef) -> Any:
        """The value of a forward reference, which in 3.14 brings its own cells and globals."""
        if sys.version_info >= (3, 14):
            names = None if reference.__forward_module__ else self.names
            try:
                return reference.evaluate(globals=names, locals=self.local)
            except NameError as missing:
                raise Unresolved(missing.name or reference.__forward_arg__) from None
        return self.evaluate(reference.__forward_arg__)


def resolve(annotation: Any, lookup: Lookup) -> Any:
    """The annotation with every text and forward reference in it replaced by what it names."""

    def look_up(leaf: Any) -> Any:
        if isinstance(leaf, str):
            return resolve(lookup.evaluate(leaf), lookup)
        if isinstance(leaf, ForwardRef):
            return resolve(lookup.reference(leaf), lookup)
        return leaf

    return rebuild(annotation, look_up)


def rebuild(annotation: Any, leaf: Callable[[Any], Any]) -> Any:
    """The annotation with `leaf` applied to each part that is not built of others.

    What `leaf` leaves alone is left alone: an annotation without a change comes back itself.
    """
    if is_class(annotation):
        state = getattr(annotation, "__state__", None)
        if state is None or not state.arguments:
            return leaf(annotation)
        arguments = tuple(rebuild(argument, leaf) for argument in state.arguments)
        if arguments == state.arguments:
            return leaf(annotation)
        return state.origin[arguments]
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
    """The annotation with type variables, and Self, replaced by what they mean."""

    def meaning(leaf: Any) -> Any:
        return meanings.get(leaf, leaf) if leaf is Self or isinstance(leaf, TypeVar) else leaf

    return rebuild(annotation, meaning)


def names_in(annotation: Any) -> set[str]:
    """The names that text and forward references in an annotation mention."""
    found: set[str] = set()

    def note(leaf: Any) -> Any:
        if isinstance(leaf, ForwardRef):
            leaf = leaf.__forward_arg__
        if isinstance(leaf, str):
            if leaf.isidentifier():
                found.add(leaf)
                return leaf
            try:
                code = compile(leaf, "<annotation>", "eval")
            except SyntaxError:
                return leaf
            found.update(code.co_names)
            for constant in code.co_consts:
                if isinstance(constant, str):
                    note(constant)
        return leaf

    rebuild(annotation, note)
    return found


def free_parameters(annotation: Any) -> tuple[TypeVar, ...]:
    """The type variables in an annotation, each once, in the order met."""
    found: dict[TypeVar, None] = {}

    def note(leaf: Any) -> Any:
        if isinstance(leaf, TypeVar):
            found[leaf] = None
        return leaf

    rebuild(annotation, note)
    return tuple(found)


def entries_of(annotation: Any) -> dict[str, tuple[Any, bool]]:
    """The annotation of each key, and whether the key has to be there."""
    try:
        hints = get_type_hints(annotation, include_extras=True)
    except NameError as missing:
        raise Unresolved(missing.name or annotation.__name__) from None
    entries: dict[str, tuple[Any, bool]] = {}
    for key, hint in hints.items():
        required = key in annotation.__required_keys__
        # ReadOnly has no class to compare with before 3.13, and asks nothing more of us.
        while (origin := get_origin(hint)) in QUALIFIERS or (
            getattr(origin, "_name", None) == "ReadOnly"
        ):
            if origin in QUALIFIERS:
                # Under `from __future__ import annotations` the class itself cannot see these.
                required = origin is Required
            hint = get_args(hint)[0]
        entries[key] = (hint, required)
    return entries


def is_class(annotation: Any) -> bool:
    """Whether it is a class; on 3.11 `list[int]` says it is one, too."""
    kind: object = type(annotation)
    return isinstance(annotation, type) and kind is not GenericAlias


def show(annotation: Any) -> str:
    """An annotation as its author would write it."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if is_class(annotation):
        return str(annotation.__name__)
    if isinstance(annotation, str):
        return repr(annotation)
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if isinstance(annotation, TypeVar):
        return annotation.__name__
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
