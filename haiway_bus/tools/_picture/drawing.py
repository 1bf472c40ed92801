"""The picture that is collected, and how to draw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from threading import Lock
from typing import Final, NamedTuple

from haiway_bus._common.printable import printable

__all__ = ("Name", "Picture")

PLAIN: Final = frozenset("_.,[]() ")
MERMAID_NAMES: Final = {"&": "amp", '"': "quot", "<": "lt", ">": "gt"}


class Name(NamedTuple):
    """The name of a function or a class. A picture holds names alone, so it keeps nothing alive."""

    module: str
    qualname: str

    @property
    def short(self) -> str:
        """The name without the functions in which the thing was defined."""
        return self.qualname.rpartition("<locals>.")[2]

    @property
    def order(self) -> tuple[str, str, str]:
        """What names are sorted by: first what is shown of them."""
        return self.short, self.qualname, self.module


class Picture:
    """Who sent what to whom: functions, event types, and the arrows between them.

    A picture shows all buses. You can draw it while more is being collected.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # other threads send events too
        self._sent: Counter[tuple[Name, Name]] = Counter()
        self._read: Counter[tuple[Name, Name]] = Counter()

    def _add_sent(self, sender: Name, event: Name) -> None:
        """Count an event of the sender."""
        with self._lock:
            self._sent[sender, event] += 1

    def _add_read(self, event: Name, reader: Name) -> None:
        """Add a subscription of the reader."""
        with self._lock:
            self._read[event, reader] += 1

    def _remove_read(self, event: Name, reader: Name) -> None:
        """Take a subscription of the reader away: another function reads it."""
        with self._lock:
            self._read[event, reader] -= 1

    @property
    def sent(self) -> dict[tuple[str, str], int]:
        """How many events each sender sent, by sender and event type."""
        names = self._shown()
        return {(names[a], names[b]): number for (a, b), number in self._arrows()[0]}

    @property
    def read(self) -> list[tuple[str, str]]:
        """The pairs of event type and reader."""
        names = self._shown()
        return [(names[a], names[b]) for a, b in self._arrows()[1]]

    def mermaid(self, *, counts: bool = False) -> str:
        """Draw a Mermaid flowchart, which GitHub and many editors show. Boxes are functions, rounded boxes event types.

        Args:
            counts: Whether to write on each arrow to an event type how many events were sent.
        """
        sent, read = self._arrows()
        names, ids = self._shown(), self._ids()
        lines = ["flowchart LR"]
        for name in ids:
            text = _mermaid_text(names[name])
            box = f'(["{text}"])' if ids[name].startswith("e") else f'["{text}"]'
            lines.append(f"    {ids[name]}{box}")
        for (sender, event), number in sent:
            arrow = f"-->|{number}|" if counts else "-->"
            lines.append(f"    {ids[sender]} {arrow} {ids[event]}")
        lines += [f"    {ids[event]} --> {ids[reader]}" for event, reader in read]
        return "\n".join(lines) + "\n"

    def dot(self, *, counts: bool = False) -> str:
        """Draw the picture for Graphviz: `dot -Tsvg`.

        Args:
            counts: Whether to write on each arrow to an event type how many events were sent.
        """
        sent, read = self._arrows()
        names, ids = self._shown(), self._ids()
        lines = ["digraph events {", "    rankdir=LR", "    node [shape=box]"]
        for name in ids:
            text = _dot_text(names[name])
            style = ", style=rounded" if ids[name].startswith("e") else ""
            lines.append(f'    {ids[name]} [label="{text}"{style}]')
        for (sender, event), number in sent:
            label = f" [label={number}]" if counts else ""
            lines.append(f"    {ids[sender]} -> {ids[event]}{label}")
        lines += [f"    {ids[event]} -> {ids[reader]}" for event, reader in read]
        return "\n".join([*lines, "}"]) + "\n"

    def _arrows(self) -> tuple[list[tuple[tuple[Name, Name], int]], list[tuple[Name, Name]]]:
        # Sorted, so that a program always gives the same picture, whichever of its tasks comes first.
        with self._lock:
            return (
                sorted(self._sent.items(), key=lambda item: (item[0][0].order, item[0][1].order)),
                sorted(+self._read, key=lambda pair: (pair[0].order, pair[1].order)),
            )

    def _functions_and_events(self) -> tuple[list[Name], list[Name]]:
        sent, read = self._arrows()
        functions = {sender for (sender, _), _ in sent} | {reader for _, reader in read}
        events = {event for (_, event), _ in sent} | {event for event, _ in read}
        return sorted(functions, key=_order), sorted(events, key=_order)

    def _ids(self) -> dict[Name, str]:
        functions, events = self._functions_and_events()
        return {name: f"f{number}" for number, name in enumerate(functions)} | {
            name: f"e{number}" for number, name in enumerate(events)
        }

    def _shown(self) -> dict[Name, str]:
        functions, events = self._functions_and_events()
        return _without_doubt(functions) | _without_doubt(events)


def _mermaid_text(name: str) -> str:
    """Return the name for use in quotes. Other characters than letters and digits may be markup: escape them."""
    return "".join(
        sign if sign.isalnum() or sign in PLAIN else f"#{MERMAID_NAMES.get(sign, ord(sign))};"
        for sign in printable(name)
    )


def _dot_text(name: str) -> str:
    """Return the name for use in quotes, where Graphviz reads the escapes of strings and HTML entities."""
    text = printable(name).replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("&", "&amp;")


def _order(name: Name) -> tuple[str, str, str]:
    return name.order


def _without_doubt(names: Iterable[Name]) -> dict[Name, str]:
    """Return each name as short as it can be and still differ from the others."""
    names = list(names)
    short = Counter(name.short for name in names)
    long = Counter(name.qualname for name in names)
    return {
        name: name.short
        if short[name.short] == 1
        else name.qualname
        if long[name.qualname] == 1
        else f"{name.module}.{name.qualname}"
        for name in names
    }
