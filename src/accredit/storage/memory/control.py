"""Control state in a dict, its events in a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from accredit.audit.model import Receipt
from accredit.audit.ports import Change, Row, StateView
from accredit.kernel.canonical import digest_value, require_canonical

__all__ = ["MemoryControlLog"]


class MemoryControlLog:
    """A `ControlLog` without a disk; `events` are the changes in order."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self._listeners: list[Callable[[Change], None]] = []
        self.events: list[Change] = []

    @property
    def view(self) -> StateView:
        return self

    @property
    def unproven(self) -> frozenset[tuple[str, str]]:
        return frozenset()

    def get(self, kind: str, key: str) -> Row | None:
        return self._rows.get((kind, key))

    def scan(self, kind: str) -> Iterator[Row]:
        return iter([row for (row_kind, _), row in sorted(self._rows.items()) if row_kind == kind])

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        change = build(self)
        if change is None:
            return None
        for write in change.writes:
            if write.doc is None:
                self._rows.pop((write.kind, write.key), None)
            else:
                require_canonical(write.doc)
                self._rows[write.kind, write.key] = Row(
                    write.kind, write.key, write.doc, digest_value("state", write.doc)
                )
        self.events.append(change)
        for listener in self._listeners:
            listener(change)
        return Receipt("memory", len(self.events) - 1, b"")

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)
