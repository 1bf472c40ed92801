"""What a source file defines, found with the tokenizer, and which files can be read."""

from __future__ import annotations

import ast
import io
import tokenize
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

__all__ = (
    "Definition",
    "Findings",
    "Kind",
    "SourceError",
    "examine",
    "foreign_source",
    "line_count",
    "parse",
    "read_text",
    "tokens",
)

Kind: TypeAlias = Literal["class", "function", "async function"]


class SourceError(Exception):
    """Raised when a file cannot be read, decoded, parsed or tokenized. The message says why."""


class Definition(NamedTuple):
    """A class or a function, also a method or a nested definition, at the line of its keyword."""

    kind: Kind
    name: str
    line: int


class Findings(NamedTuple):
    """What `examine` found in a file."""

    lines: int
    tokens: int
    definitions: tuple[Definition, ...]


def examine(path: Path) -> Findings:
    """Tokenize the file at `path` and find its definitions.

    Raises:
        SourceError: The file cannot be examined.
    """
    with foreign_source():
        text = read_text(path)
        # The tokenizer of 3.11 accepts texts that are no Python, so the parser decides. Its tree is not used here: the
        # recount uses the tree, and agrees only if the tokens tell the same.
        parse(text)
        count = 0
        definitions: list[Definition] = []
        kind: Kind | None = None
        line = 0
        previous: tokenize.TokenInfo | None = None
        for token in tokens(text):
            count += 1
            # `class` and `def` are reserved words, so such a token begins a definition, and the next name token is its
            # name.
            if token.type == tokenize.NAME:
                if kind is not None:
                    definitions.append(Definition(kind, _identifier(token.string), line))
                    kind = None
                elif token.string == "class":
                    kind, line = "class", token.start[0]
                elif token.string == "def":
                    if previous is not None and previous.string == "async":
                        kind, line = "async function", previous.start[0]
                    else:
                        kind, line = "function", token.start[0]
                previous = token
        return Findings(lines=line_count(text), tokens=count, definitions=tuple(definitions))


@contextmanager
def foreign_source() -> Iterator[None]:
    """Make a stranger's file harmless: hide its warnings, and turn every error into a SourceError.

    Every Exception, because a file can cause more than SyntaxError: null bytes, nesting beyond the parser's stack
    (RecursionError, MemoryError), unknown codecs, faults of the tokenizer itself. A bug of ours that is caught here by
    mistake still shows: the recount examines the file in another way and would not have it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            raise SourceError(_reason(error)) from error


def read_text(path: Path) -> str:
    """Return the text of the file, decoded as its cookie or byte order mark says, with plain line ends."""
    content = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> ast.Module:
    """Return the syntax tree of `text`."""
    return ast.parse(text)


def tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """Yield the tokens of `text`, by the running Python's tokenizer."""
    return tokenize.generate_tokens(io.StringIO(text).readline)


def line_count(text: str) -> int:
    """Return the number of lines. A last line without a newline counts."""
    return text.count("\n") + (text != "" and not text.endswith("\n"))


def _identifier(name: str) -> str:
    # Python compares identifiers in this form (PEP 3131). The tokenizer gives them as they were typed.
    return name if name.isascii() else unicodedata.normalize("NFKC", name)


def _reason(error: Exception) -> str:
    """Return a line that says what is wrong. The file's name is left out: the report has it."""
    message: object = error
    if isinstance(error, SyntaxError):
        message = error.msg if error.lineno is None else f"{error.msg} (line {error.lineno})"
    elif isinstance(error, OSError):
        message = error.strerror
    return f"{type(error).__name__}: {message}" if f"{message}" else type(error).__name__
