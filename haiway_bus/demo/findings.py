"""What one source file holds, found with the tokenizer, and the rule for what can be read."""

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
    """Raised when a file cannot be read, decoded, parsed or tokenized; the message says why."""


class Definition(NamedTuple):
    """A class or a function, methods and nested ones included, at the line of its keyword."""

    kind: Kind
    name: str
    line: int


class Findings(NamedTuple):
    """What `examine` found in one file."""

    lines: int
    tokens: int
    definitions: tuple[Definition, ...]


def examine(path: Path) -> Findings:
    """Tokenize the file at `path` and find its definitions, or raise SourceError."""
    with foreign_source():
        text = read_text(path)
        # The tokenizer of 3.11 accepts what is no Python at all, so the parser decides. Its tree is
        # not looked at: the recount counts on trees, and agrees only if the tokens tell the same.
        parse(text)
        count = 0
        definitions: list[Definition] = []
        kind: Kind | None = None
        line = 0
        previous: tokenize.TokenInfo | None = None
        for token in tokens(text):
            count += 1
            # `class` and `def` are reserved: as a name token they can only start a definition,
            # and the name token after them is what it is called.
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
    """Make a stranger's file harmless: no warning of it gets out, and every error is a SourceError.

    Any Exception, because a file may provoke more than SyntaxError: null bytes, nesting beyond the
    parser's stack (RecursionError, MemoryError), codecs that are unknown or no text, faults of the
    tokenizer itself. An error of our own caught here by mistake cannot hide: the recount, which
    looks at the file in another way, would not have it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            raise SourceError(_reason(error)) from error


def read_text(path: Path) -> str:
    """The text of the file, decoded as its cookie or byte order mark says, lines ending alike."""
    content = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> ast.Module:
    """The syntax tree of `text`, or the parser's complaint."""
    return ast.parse(text)


def tokens(text: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of `text`, as the running Python's tokenizer cuts them."""
    return tokenize.generate_tokens(io.StringIO(text).readline)


def line_count(text: str) -> int:
    """The number of lines, counting a last one without a newline."""
    return text.count("\n") + (text != "" and not text.endswith("\n"))


def _identifier(name: str) -> str:
    # The language compares identifiers in this form (PEP 3131), the tokenizer gives them as typed.
    return name if name.isascii() else unicodedata.normalize("NFKC", name)


def _reason(error: Exception) -> str:
    """One line saying what is wrong, without the file's name, which the report gives anyway."""
    message: object = error
    if isinstance(error, SyntaxError):
        message = error.msg if error.lineno is None else f"{error.msg} (line {error.lineno})"
    elif isinstance(error, OSError):
        message = error.strerror
    return f"{type(error).__name__}: {message}" if f"{message}" else type(error).__name__
