"""Names and other text of strangers as it can be shown anywhere: in one line, with nothing that a terminal obeys."""

from __future__ import annotations

__all__ = ("printable",)


def printable(text: str) -> str:
    """The text with what is no printable character (line breaks, terminal sequences, lone surrogates) written as Python
    escapes it."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )
