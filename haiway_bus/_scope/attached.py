"""`scope.attach()`: a block in which a scope is current for code that did not inherit it (guarantee 5.9)."""

from __future__ import annotations

from threading import get_ident
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

from haiway_bus._bus.reads import no_copy
from haiway_bus._bus.refusals import bus_over, readers_ended
from haiway_bus._common.printable import described
from haiway_bus._scope.context import Entered, OpenScope
from haiway_bus.errors import ContextMissing

__all__ = ("Attached",)

Handle = TypeVar("Handle")


class Attached(Generic[Handle]):
    """A block in which a scope is the current one. Enter it once, with `with`, which gives the scope."""

    __slots__ = ("_entered", "_handle", "_scope")

    def __init__(self, handle: Handle, scope: OpenScope) -> None:
        self._handle = handle
        self._scope = scope
        self._entered: Entered | None = None

    def __enter__(self) -> Handle:
        scope = self._scope
        if self._entered is not None:
            raise RuntimeError(
                f"a block of {self._handle!r}.attach() is entered once: make another"
            )
        if scope.begun and scope.bus.lost:
            raise bus_over("attach()", scope.name, scope.bus.lost)
        # In the scope's own thread, code may attach as long as the bus lives. Other threads may from the beginning of
        # the body to the end of the readers, so that what they send has a reader (guarantee 6.2).
        at_home = scope.is_open and get_ident() == scope.bus.inbox.thread
        if not at_home and not (scope.is_open and scope.begun):
            raise ContextMissing(
                f"the scope {described(scope.name)} is not open: attach to it within its `async with` block"
            )
        if not at_home and scope.bus.inbox.closed:
            raise readers_ended("attach()", scope.name)
        self._entered = Entered(scope)
        return self._handle

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._entered is not None:
            self._entered.leave()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        no_copy(self)
