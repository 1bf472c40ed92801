"""Alias: another key for a field in mappings and JSON."""

from __future__ import annotations

from typing import Annotated, Any, get_origin

__all__ = ("Alias", "split_alias")


class Alias:
    """The key of a field in mappings and JSON: `Annotated[str, Alias("userId")]`.

    The constructor and the attribute keep the field's own name.

    Args:
        name: the key.

    Raises:
        TypeError: the key is no text, or empty.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Alias() takes the key as text, given {name!r}")
        self.name: str = name

    def __repr__(self) -> str:
        return f"Alias({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Alias) and other.name == self.name

    def __hash__(self) -> int:
        return hash((Alias, self.name))


def split_alias(annotation: Any) -> tuple[Any, str | None]:
    """Split an annotation into the annotation without its Alias, and the key that the Alias gives."""
    if get_origin(annotation) is not Annotated:
        return annotation, None
    aliases = [item for item in annotation.__metadata__ if isinstance(item, Alias)]
    if not aliases:
        return annotation, None
    rest = tuple(item for item in annotation.__metadata__ if not isinstance(item, Alias))
    inner = annotation.__origin__
    return (Annotated[(inner, *rest)] if rest else inner), aliases[-1].name
