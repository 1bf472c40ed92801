"""From plain data to JSON text and back, by msgspec where it is installed, or else by the standard library.

Both give the same data and the same texts. Where msgspec would not, the standard library serves: for texts and data
that msgspec refuses, for it says why they are refused and accepts some of them, and for floats that Python writes
with an exponent.

The functions import both libraries themselves, so that a service without JSON starts without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Any, NoReturn

from haiway_bus._common.switches import switch
from haiway_bus._state.kinds.mismatch import (
    DEEP,
    LIMIT,
    Mismatch,
    Problem,
    describe,
    part_of,
    state_error,
)
from haiway_bus._state.kinds.scalars import EXPONENT

__all__ = ("LIBRARY", "msgspec_serves", "read_json", "tried", "write_json")


def msgspec_serves() -> bool:
    """Choose the library at the first use. Says whether it is msgspec."""
    if LIBRARY[0] is not first_encode:
        return LIBRARY[0] is not encode_standard
    LIBRARY[:] = encode_standard, read_standard
    if not switch("HAIWAY_BUS_NO_MSGSPEC"):
        with suppress(ImportError):
            from msgspec.json import Decoder, Encoder

            LIBRARY[:] = Encoder().encode, Decoder().decode
    return msgspec_serves()


def first_encode(plain: Any) -> bytes:
    msgspec_serves()
    encoded: bytes = LIBRARY[0](plain)
    return encoded


def first_decode(text: Any) -> Any:
    msgspec_serves()
    return LIBRARY[1](text)


LIBRARY: list[Callable[[Any], Any]] = [first_encode, first_decode]
"""Writes plain data in UTF-8, and reads it. What they cannot write or read raises any exception."""


@cache
def standard() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    """Give the standard library's encode and decode."""
    from json import JSONDecoder, JSONEncoder, encoder

    # check_circular costs a dict entry for each container. Without it a circle ends in a RecursionError.
    general = JSONEncoder(
        ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
    )
    encode: Callable[[Any], str] = general.encode
    with suppress(AttributeError, TypeError):
        # JSONEncoder makes this anew for each text. Where it cannot be made so, JSONEncoder serves.
        parts = encoder.c_make_encoder(  # type: ignore[attr-defined]
            None, general.default, encoder.encode_basestring, None, ":", ",", False, False, False
        )
        encode = lambda plain: "".join(parts(plain, 0))  # noqa: E731
    decoder: Any = JSONDecoder(parse_constant=refuse_constant)
    scan, decode = decoder.scan_once, decoder.decode

    def decode_quickly(text: str) -> Any:
        # `decode` looks for white space around the text, which texts between services do not have.
        with suppress(StopIteration):
            plain, end = scan(text, 0)
            if end == len(text):
                return plain
        return decode(text)

    return encode, decode_quickly


def encode_standard(plain: Any) -> bytes:
    text: str = standard()[0](plain)
    return text.encode()


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's decoder accepts."""
    raise ValueError(f"{name} is no number of JSON")


def tried(root: str, convert: Callable[..., Any], *arguments: Any) -> Any:
    """Call what raises Mismatch. Raises StateError in its place, with paths that begin at `root`."""
    try:
        return convert(*arguments)
    except Mismatch as wrong:
        problems = wrong.problems
    except RecursionError:
        problems = [("", DEEP)]
    raise state_error(root, problems)


def write_json(dump: Callable[[Any], Any], value: Any, indent: int | None) -> bytes:
    """Write JSON text in UTF-8. Raises Mismatch for what cannot be written.

    Args:
        dump: gives the plain data of the value. Raises Mismatch.
        value: what to write.
        indent: the spaces of indentation for each level. None writes a single line without spaces.
    """
    try:
        exponent = EXPONENT[0]
        plain = dump(value)
        if indent is None and EXPONENT[0] is exponent:
            with suppress(Exception):  # the standard library writes it, or tells what is wrong
                encoded: bytes = LIBRARY[0](plain)
                return encoded
        if indent is None:
            return encode_standard(plain)
        from json import dumps

        text = dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent)
        return text.encode()
    except RecursionError:
        raise Mismatch([("", DEEP)]) from None
    except ValueError:
        raise Mismatch(list(islice(unwritable(plain), LIMIT))) from None


def read_json(text: Any) -> Any:
    """Read plain data. Raises Mismatch."""
    try:
        return LIBRARY[1](text)
    except Exception:  # the standard library reads it, or tells what is wrong
        return read_standard(text)


def read_standard(text: Any) -> Any:
    """Read plain data. Raises Mismatch for what cannot be read."""
    try:
        if not isinstance(text, str):
            text = decoded(text)
        plain = standard()[1](text)
        if not text.isascii() or "\\u" in text:
            text.encode()
            if "\\ud" in text or "\\uD" in text:
                encode_standard(plain)
    except UnicodeEncodeError:
        raise Mismatch([("", "not JSON: a lone surrogate, which is half a character")]) from None
    except RecursionError:
        raise Mismatch([("", DEEP)]) from None
    except (ValueError, TypeError) as wrong:
        # The text is no JSON, the bytes are no text, or a number is too long.
        raise Mismatch([("", f"not JSON: {wrong}")]) from None
    return plain


def decoded(text: Any) -> str:
    """Decode bytes: UTF-8, or what their first bytes tell."""
    from json import detect_encoding

    if not isinstance(text, bytes | bytearray | memoryview):
        raise TypeError(f"expected text or bytes, given {describe(text)}")
    whole = bytes(text)
    plainly_utf_8 = b"\0" not in whole[:4] and whole[:1] < b"\x80"
    return whole.decode("utf-8" if plainly_utf_8 else detect_encoding(whole))


def unwritable(plain: Any, path: str = "") -> Iterator[Problem]:
    """Find the texts that UTF-8 cannot carry, and the integers that are too long for Python to write."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            yield from unwritable(key, path + part_of(key))
            yield from unwritable(value, path + (f".{key}" if key.isidentifier() else part_of(key)))
    elif isinstance(plain, list):
        for index, value in enumerate(plain):
            yield from unwritable(value, f"{path}[{index}]")
    else:
        try:
            str(plain).encode()
        except UnicodeEncodeError:
            yield path, f"JSON cannot carry a lone surrogate: given {describe(plain)}"
        except ValueError:
            yield path, f"JSON cannot carry {describe(plain)}, which has too many digits"
