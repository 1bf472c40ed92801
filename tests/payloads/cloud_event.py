"""CloudEvents 1.0, structured mode of the JSON format. Extensions are top-level keys of anybody's making."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from annotated_types import MinLen, Timezone

from haiway_bus import JsonValue, State

Text = Annotated[str, MinLen(1)]


class CloudEvent(State, unknown="keep", omit_defaults=True):
    id: Text
    source: Text
    specversion: Literal["1.0"]
    type: Text
    datacontenttype: Text | None = None
    dataschema: Text | None = None
    subject: Text | None = None
    time: Annotated[datetime, Timezone(...)] | None = None
    data: JsonValue = None
    data_base64: bytes | None = None

    def __validate__(self) -> None:
        if self.data is not None and self.data_base64 is not None:
            raise ValueError("data and data_base64 exclude each other")
        for name, value in self.__unknown__.items():
            if re.fullmatch("[a-z0-9]+", name) is None:
                raise ValueError(f"the extension {name!r} has other letters than a to z and 0 to 9")
            if not isinstance(value, str | int | None) or not -(2**31) <= int_of(value) < 2**31:
                raise ValueError(f"the extension {name!r} is no bool, 32-bit int or str: {value!r}")


def int_of(value: JsonValue) -> int:
    return value if isinstance(value, int) else 0
