"""The contenders that call their subscribers synchronously: how each connects callbacks and sends to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from comparison.events import OutOfOrder
from comparison.streams import need

__all__ = ("CALLBACKS", "counting_callbacks", "empty_callbacks")

Callback = Callable[..., object]


def connect_blinker(callbacks: Sequence[Callback]) -> Callable[[Any], object]:
    signal = need("blinker").Signal()
    for callback in callbacks:
        # Held strongly: looking up a weak reference for each call would be slower.
        signal.connect(callback, weak=False)
    return signal.send


def connect_pyee(callbacks: Sequence[Callback]) -> Callable[[Any], object]:
    emitter = need("pyee").EventEmitter()
    for callback in callbacks:
        emitter.on("event", callback)
    emit = emitter.emit

    def send(event: Any) -> None:
        emit("event", event)

    return send


def connect_psygnal(callbacks: Sequence[Callback]) -> Callable[[Any], object]:
    signal = need("psygnal").SignalInstance((object,))
    for callback in callbacks:
        signal.connect(callback)
    # Faster than `emit` by a fifth, for giving up its checks.
    return signal.emit_fast


def connect_reactivex(callbacks: Sequence[Callback]) -> Callable[[Any], object]:
    need("reactivex")
    subject = need("reactivex.subject").Subject()
    for callback in callbacks:
        subject.subscribe(callback)
    return subject.on_next


CALLBACKS: dict[str, Callable[[Sequence[Callback]], Callable[[Any], object]]] = {
    "blinker": connect_blinker,
    "pyee": connect_pyee,
    "psygnal": connect_psygnal,
    "reactivex": connect_reactivex,
}


def empty_callbacks(number: int) -> list[Callback]:
    """Callbacks that do nothing, each an object of its own, as some contenders keep each object once."""

    def make() -> Callback:
        def callback(event: Any) -> None:
            pass

        return callback

    return [make() for _ in range(number)]


def counting_callbacks(number: int) -> tuple[list[Callback], list[int]]:
    """Callbacks that count and compare as the readers do, and the counts."""
    counts = [0] * number

    def make(place: int) -> Callback:
        expected = 0

        def callback(event: Any) -> None:
            nonlocal expected
            if event.number != expected:
                raise OutOfOrder(expected, event.number)
            expected = event.following
            counts[place] += 1

        return callback

    return [make(place) for place in range(number)], counts
