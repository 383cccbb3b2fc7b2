"""Compiled handles in bounded memory: least recently used first out, counted in bytes, not in entries."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

__all__ = ["HandleCache"]


class HandleCache:
    """A map of compiled things that forgets the least recently used beyond a budget of bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    @property
    def bytes_held(self) -> int:
        """What the entries held now were said to take."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable) -> Any:
        """What is held under the key, or None; being asked for counts as being used."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Hold a value that takes about `size` bytes; one larger than the budget is not held at all."""
        before = self._held.pop(key, None)
        if before is not None:
            self._bytes -= before[1]
        if size > self._budget:
            return
        self._held[key] = (value, size)
        self._bytes += size
        while self._bytes > self._budget:
            _, (_, freed) = self._held.popitem(last=False)
            self._bytes -= freed
