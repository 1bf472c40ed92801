"""The targets: what a user with the extra, and one without any, is promised beside the library that he knows."""

from __future__ import annotations

from collections.abc import Iterator

from comparison.targets import Target, at_most

from wire.shapes import SHAPES

__all__ = ("TARGETS",)

# With the extra, against pydantic; reading and writing.
OF_PYDANTIC = {"from_json": 0.6, "to_json": 0.8, "from_mapping": 0.6, "to_mapping": 0.8}
OF_MSGSPEC = 2.5
OF_BY_HAND = 1.0


def targets() -> Iterator[Target]:
    for shape in SHAPES:
        for direction, of_pydantic in OF_PYDANTIC.items():
            for contender, other, limit in (
                ("haiway_bus[json]", "pydantic", of_pydantic),
                ("haiway_bus[json]", "msgspec", OF_MSGSPEC),
                ("haiway_bus", "by hand", OF_BY_HAND),
            ):
                yield at_most(
                    f"{shape}, {direction}: {contender} at most {limit} times {other}",
                    f"{shape}/{direction}/{contender}",
                    f"{shape}/{direction}/{other}",
                    limit,
                )


TARGETS = tuple(targets())
