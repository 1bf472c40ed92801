"""What was collected, and how it is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from threading import Lock
from typing import Final, NamedTuple

from haiway_bus._values.printable import printable

__all__ = ("Name", "Picture")

PLAIN: Final = frozenset("_.,[]() ")
MERMAID_NAMES: Final = {"&": "amp", '"': "quot", "<": "lt", ">": "gt"}


class Name(NamedTuple):
    """What a function or a class is called. Not the thing itself: a picture keeps nothing alive."""

    module: str
    qualname: str

    @property
    def short(self) -> str:
        """Without the functions in which it was defined."""
        return self.qualname.rpartition("<locals>.")[2]

    @property
    def order(self) -> tuple[str, str, str]:
        """Where it stands among others: by what is shown of it."""
        return self.short, self.qualname, self.module


class Picture:
    """Who sent what to whom: functions, types of events, and the arrows between them.

    All buses are in one picture. It may be drawn while more is being collected.
    """

    def __init__(self) -> None:
        self._lock = Lock()  # events are sent from other threads, too
        self._sent: Counter[tuple[Name, Name]] = Counter()
        self._read: Counter[tuple[Name, Name]] = Counter()

    def add_sent(self, sender: Name, event: Name) -> None:
        """The sender sent one event of the type."""
        with self._lock:
            self._sent[sender, event] += 1

    def add_read(self, event: Name, reader: Name) -> None:
        """The reader reads the type, by one more subscription."""
        with self._lock:
            self._read[event, reader] += 1

    def remove_read(self, event: Name, reader: Name) -> None:
        """It does not read that one, after all."""
        with self._lock:
            self._read[event, reader] -= 1

    @property
    def sent(self) -> dict[tuple[str, str], int]:
        """By sender and event, how many it sent."""
        names = self._shown()
        return {(names[a], names[b]): number for (a, b), number in self._arrows()[0]}

    @property
    def read(self) -> list[tuple[str, str]]:
        """The pairs of event and reader."""
        names = self._shown()
        return [(names[a], names[b]) for a, b in self._arrows()[1]]

    def mermaid(self, *, counts: bool = False) -> str:
        """The picture as a Mermaid flowchart, which GitHub and many editors show: functions in boxes, events rounded.

        Arguments:
            counts: whether to write on each arrow to an event how many were sent.
        """
        sent, read = self._arrows()
        names, ids = self._shown(), self._ids()
        lines = ["flowchart LR"]
        for one in ids:
            text = _mermaid_text(names[one])
            box = f'(["{text}"])' if ids[one].startswith("e") else f'["{text}"]'
            lines.append(f"    {ids[one]}{box}")
        for (sender, event), number in sent:
            arrow = f"-->|{number}|" if counts else "-->"
            lines.append(f"    {ids[sender]} {arrow} {ids[event]}")
        lines += [f"    {ids[event]} --> {ids[reader]}" for event, reader in read]
        return "\n".join(lines) + "\n"

    def dot(self, *, counts: bool = False) -> str:
        """The picture for Graphviz: `dot -Tsvg`.

        Arguments:
            counts: whether to write on each arrow to an event how many were sent.
        """
        sent, read = self._arrows()
        names, ids = self._shown(), self._ids()
        lines = ["digraph events {", "    rankdir=LR", "    node [shape=box]"]
        for one in ids:
            text = _dot_text(names[one])
            style = ", style=rounded" if ids[one].startswith("e") else ""
            lines.append(f'    {ids[one]} [label="{text}"{style}]')
        for (sender, event), number in sent:
            label = f" [label={number}]" if counts else ""
            lines.append(f"    {ids[sender]} -> {ids[event]}{label}")
        lines += [f"    {ids[event]} -> {ids[reader]}" for event, reader in read]
        return "\n".join([*lines, "}"]) + "\n"

    def _arrows(self) -> tuple[list[tuple[tuple[Name, Name], int]], list[tuple[Name, Name]]]:
        # Sorted, so that one program gives one picture, whichever of its tasks came first.
        with self._lock:
            return (
                sorted(self._sent.items(), key=lambda one: (one[0][0].order, one[0][1].order)),
                sorted(+self._read, key=lambda one: (one[0].order, one[1].order)),
            )

    def _functions_and_events(self) -> tuple[list[Name], list[Name]]:
        sent, read = self._arrows()
        functions = {one for (one, _), _ in sent} | {one for _, one in read}
        events = {one for (_, one), _ in sent} | {one for one, _ in read}
        return sorted(functions, key=_order), sorted(events, key=_order)

    def _ids(self) -> dict[Name, str]:
        functions, events = self._functions_and_events()
        return {one: f"f{number}" for number, one in enumerate(functions)} | {
            one: f"e{number}" for number, one in enumerate(events)
        }

    def _shown(self) -> dict[Name, str]:
        functions, events = self._functions_and_events()
        return _without_doubt(functions) | _without_doubt(events)


def _mermaid_text(name: str) -> str:
    """The name for between quotes. Whatever else than letters and digits may be markup there is named by its number."""
    return "".join(
        one if one.isalnum() or one in PLAIN else f"#{MERMAID_NAMES.get(one, ord(one))};"
        for one in printable(name)
    )


def _dot_text(name: str) -> str:
    """The name for between quotes, in which Graphviz knows the escapes of strings and the names of HTML."""
    text = printable(name).replace("\\", "\\\\").replace('"', '\\"')
    return text.replace("&", "&amp;")


def _order(name: Name) -> tuple[str, str, str]:
    return name.order


def _without_doubt(names: Iterable[Name]) -> dict[Name, str]:
    """Each name, as short as it can be without being another's, too."""
    names = list(names)
    short = Counter(one.short for one in names)
    long = Counter(one.qualname for one in names)
    return {
        one: one.short
        if short[one.short] == 1
        else one.qualname
        if long[one.qualname] == 1
        else f"{one.module}.{one.qualname}"
        for one in names
    }
