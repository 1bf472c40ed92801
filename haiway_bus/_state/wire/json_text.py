"""Plain data as JSON text and back.

`json` is imported by the functions: not every service writes JSON, and all of them start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from haiway_bus._state.kinds.mismatch import Mismatch, describe

__all__ = ("read_json", "write_json")


def write_json(plain: Any, indent: int | None) -> str:
    """Plain data as JSON text; in one line without spaces when `indent` is None."""
    import json

    separators = (",", ":") if indent is None else None
    return json.dumps(
        plain, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
    )


def read_json(text: str | bytes | bytearray) -> Mapping[str, Any]:
    """The plain data of one JSON object; raises Mismatch."""
    import json

    try:
        plain = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as wrong:
        # Text that is no JSON, bytes that are no text, numbers or nesting beyond all measure.
        raise Mismatch([("", f"not JSON: {wrong}")]) from None
    if not isinstance(plain, dict):
        raise Mismatch([("", f"expected a JSON object, given {describe(plain)}")])
    return plain


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's decoder would take."""
    raise ValueError(f"{name} is no JSON")
