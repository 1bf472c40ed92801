"""From plain data to JSON text and back.

The functions import `json` themselves, so that a service without JSON starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from haiway_bus._state.kinds.mismatch import Mismatch, describe

__all__ = ("read_json", "write_json")


def write_json(plain: Any, indent: int | None) -> str:
    """Write plain data as JSON text, in a single line without spaces when `indent` is None."""
    import json

    separators = (",", ":") if indent is None else None
    return json.dumps(
        plain, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )


def read_json(text: str | bytes | bytearray) -> Mapping[str, Any]:
    """Read the plain data of one JSON object. Raises Mismatch."""
    import json

    try:
        plain = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as wrong:
        # The text is no JSON, the bytes are no text, a number is too long, or the nesting is too deep.
        raise Mismatch([("", f"not JSON: {wrong}")]) from None
    if not isinstance(plain, dict):
        raise Mismatch([("", f"expected a JSON object, given {describe(plain)}")])
    return plain


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's decoder accepts."""
    raise ValueError(f"{name} is no JSON")
