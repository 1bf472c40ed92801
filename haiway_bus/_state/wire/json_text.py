"""From plain data to JSON text and back, by msgspec where it is installed, or else by the standard library.

Both give the same data and the same texts. Where msgspec would not, the standard library serves: for texts that
msgspec refuses, as it may accept them or says why they are wrong, and for floats that Python writes with an exponent.

The functions import both libraries themselves, so that a service without JSON starts without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from typing import Any, Final, NoReturn

from haiway_bus._common.switches import switch
from haiway_bus._state.kinds.mismatch import LIMIT, Mismatch, Problem, describe, part_of
from haiway_bus._state.kinds.scalars import Exponents

__all__ = ("DEEP", "read_json", "write_json")

DEEP: Final = "nested too deeply, or in a circle"
"""The reason for a RecursionError: Python's limit of 1,000 frames is that of the nesting, too."""


@cache
def engine() -> tuple[Callable[[Any], bytes], Callable[[Any], Any]] | None:
    """Give msgspec's encode and decode, or None where msgspec is not installed or switched off."""
    if switch("HAIWAY_BUS_NO_MSGSPEC"):
        return None
    try:
        from msgspec.json import Decoder, Encoder
    except ImportError:
        return None
    return Encoder().encode, Decoder().decode


@cache
def standard() -> tuple[Callable[[Any], str], Callable[[str], Any]]:
    """Give the standard library's encode and decode."""
    from json import JSONDecoder, JSONEncoder

    # check_circular costs a dict entry for each container. A circle ends in a RecursionError without it.
    encoder = JSONEncoder(
        ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
    )
    return encoder.encode, JSONDecoder(parse_constant=refuse_constant).decode


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's decoder accepts."""
    raise ValueError(f"{name} is no JSON")


def write_json(dump: Callable[[Any], Any], value: Any, indent: int | None) -> bytes:
    """Write JSON text in UTF-8, in a single line without spaces when `indent` is None. Raises Mismatch.

    Args:
        dump: gives the plain data of the value. Raises Mismatch.
        value: what to write.
        indent: the spaces of indentation for each level.
    """
    exponents = Exponents.last
    try:
        plain = dump(value)
        quick = engine()
        if quick is not None and indent is None and exponents is Exponents.last:
            try:
                return quick[0](plain)
            except (TypeError, ValueError, OverflowError):
                pass
        if indent is None:
            text = standard()[0](plain)
        else:
            from json import dumps

            text = dumps(plain, ensure_ascii=False, allow_nan=False, indent=indent)
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise Mismatch(list(islice(surrogates(plain), LIMIT))) from None
    except RecursionError:
        raise Mismatch([("", DEEP)]) from None


def read_json(text: str | bytes | bytearray | memoryview) -> Any:
    """Read plain data. Raises Mismatch."""
    quick = engine()
    if quick is not None:
        try:
            return quick[1](text)
        except (TypeError, ValueError, RecursionError):
            pass
    try:
        if not isinstance(text, str):
            text = decoded(text)
        plain = standard()[1](text)
        if not text.isascii() or "\\u" in text:
            text.encode()
            if "\\ud" in text or "\\uD" in text:
                standard()[0](plain).encode()
    except UnicodeEncodeError:
        raise Mismatch([("", "not JSON: a surrogate, which is half a character")]) from None
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
    return whole.decode(detect_encoding(whole))


def surrogates(plain: Any, path: str = "") -> Iterator[Problem]:
    """Find the texts that UTF-8 cannot carry."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            part = f".{key}" if key.isidentifier() else part_of(key)
            yield from surrogates(key, path + part_of(key))
            yield from surrogates(value, path + part)
    elif isinstance(plain, list):
        for index, value in enumerate(plain):
            yield from surrogates(value, f"{path}[{index}]")
    elif isinstance(plain, str):
        try:
            plain.encode()
        except UnicodeEncodeError:
            yield path, f"JSON cannot carry half a character, a surrogate: given {describe(plain)}"
