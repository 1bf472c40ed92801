"""The contenders: the functions with which each writes and reads the class of a shape."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from importlib.util import find_spec
from typing import Any, NamedTuple
from uuid import UUID

from comparison.streams import Skipped, haiway_bus_module, need

from wire import by_hand
from wire.shapes import Words, classes

__all__ = ("CONTENDERS", "NO_ENGINE", "Library", "prove_engine")

NO_ENGINE = "HAIWAY_BUS_NO_MSGSPEC"


class Library(NamedTuple):
    """The functions of a contender for one class. Each is the one that its users call."""

    to_json: Callable[[Any], str | bytes]
    to_json_bytes: Callable[[Any], bytes]
    from_json: Callable[[bytes], Any]
    to_mapping: Callable[[Any], Any]
    from_mapping: Callable[[Any], Any]


def haiway_bus(root: str) -> Library:
    words = Words(
        haiway_bus_module().State, {}, many=lambda item: Sequence[item], texts=Mapping[str, str]
    )
    cls = classes(words)[root]
    return Library(
        to_json=cls.to_json,
        to_json_bytes=getattr(cls, "to_json_bytes", lambda value: value.to_json().encode()),
        from_json=cls.from_json,
        to_mapping=cls.to_mapping,
        from_mapping=cls.from_mapping,
    )


def msgspec(root: str) -> Library:
    library = need("msgspec")
    cls = classes(Words(library.Struct, {"frozen": True, "kw_only": True}))[root]
    encode = library.json.Encoder().encode
    convert = library.convert
    return Library(
        to_json=encode,
        to_json_bytes=encode,
        from_json=library.json.Decoder(cls).decode,
        to_mapping=library.to_builtins,
        from_mapping=lambda plain: convert(plain, cls),
    )


def pydantic(root: str) -> Library:
    cls = classes(Words(need("pydantic").BaseModel, {"frozen": True}))[root]
    write, dump = cls.model_dump_json, cls.model_dump
    return Library(
        to_json=write,
        to_json_bytes=lambda value: write(value).encode(),
        from_json=cls.model_validate_json,
        to_mapping=lambda value: dump(value, mode="json"),
        from_mapping=cls.model_validate,
    )


def cattrs(root: str) -> Library:
    need("cattrs")
    need("orjson")
    cls = by_hand.dataclasses_by_name()[root]
    # orjson writes dates itself; a mapping has to be plain. `detailed_validation` costs time, and is the default.
    to_text, to_plain = (
        need(f"cattrs.preconf.{name}").make_converter(detailed_validation=False)
        for name in ("orjson", "json")
    )
    for converter in (to_text, to_plain):
        for text_type in (Decimal, UUID):
            converter.register_unstructure_hook(text_type, str)
            converter.register_structure_hook(text_type, lambda text, kind: kind(text))
    loads, structure = to_text.loads, to_plain.structure
    return Library(
        to_json=to_text.dumps,
        to_json_bytes=to_text.dumps,
        from_json=lambda text: loads(text, cls),
        to_mapping=to_plain.unstructure,
        from_mapping=lambda plain: structure(plain, cls),
    )


def written_by_hand(root: str) -> Library:
    write, read = by_hand.WRITE[root], by_hand.READ[root]
    # As `json.dumps(..., separators=..., ensure_ascii=False)`, which makes an encoder each time.
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    loads = json.loads
    return Library(
        to_json=lambda value: encode(write(value)),
        to_json_bytes=lambda value: encode(write(value)).encode(),
        from_json=lambda text: read(loads(text)),
        to_mapping=write,
        from_mapping=read,
    )


CONTENDERS = {
    "haiway_bus": haiway_bus,
    "haiway_bus[json]": haiway_bus,
    "haiway_bus pure": haiway_bus,
    "haiway_bus[json] pure": haiway_bus,
    "msgspec": msgspec,
    "pydantic": pydantic,
    "cattrs and orjson": cattrs,
    "by hand": written_by_hand,
}


def prove_engine(contender: str) -> None:
    """Refuse a cell that ran with msgspec where its name says without, or the other way round.

    To be called after the first use of JSON, at which the package imports msgspec if it uses it. Nobody else in the
    process of such a cell imports it.
    """
    used = "msgspec" in sys.modules
    if "[json]" not in contender and used:
        raise AssertionError(
            f"the package takes msgspec, although {NO_ENGINE}={os.environ.get(NO_ENGINE)}"
        )
    if "[json]" in contender and not used:
        installed = find_spec("msgspec") is not None
        reason = "the package does not use it" if installed else "it is not installed"
        raise Skipped(f"no time with msgspec: {reason}")
