"""Control state in a dict, its events in a list."""

from __future__ import annotations

from collections.abc import Callable

from accredit.audit.model import Receipt
from accredit.audit.ports import Change, StateView
from accredit.audit.state import LiveState, shape

__all__ = ["MemoryControlLog"]


class MemoryControlLog:
    """A `ControlLog` without a disk; `events` are the changes in order."""

    def __init__(self) -> None:
        self._state = LiveState()
        self._listeners: list[Callable[[Change], None]] = []
        self.events: list[Change] = []

    @property
    def view(self) -> StateView:
        return self._state

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    @property
    def position(self) -> int:
        return len(self.events) - 1

    @property
    def recorded(self) -> int | None:
        return self.position

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        change = build(self._state)
        if change is None:
            return None
        checked = shape(change)
        self._state.enforce(checked)
        self.events.append(checked.change)
        for listener in self._listeners:
            listener(checked.change)
        return Receipt("memory", self.position, b"")

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)
