"""Calls that go on, in this process only: for tests, and what the port means in a few lines."""

from __future__ import annotations

from collections.abc import Sequence

from accredit.gateway.ports import DeferredStanding, KeptCall, KeptSize

__all__ = ["MemoryDeferredCallStore"]


class MemoryDeferredCallStore:
    """A `DeferredCallStore` in dicts."""

    def __init__(self) -> None:
        self._calls: dict[str, KeptCall] = {}
        self._spent: dict[str, int] = {}

    def sizes(self) -> Sequence[KeptSize]:
        return [
            KeptSize(one.id, one.agent, one.standing, one.expires_us, one.bound, len(one.sealed))
            for one in self._calls.values()
        ]

    def get(self, call: str) -> KeptCall | None:
        return self._calls.get(call)

    def add(self, call: KeptCall) -> None:
        self._calls[call.id] = call

    def advance(self, call: KeptCall, *, after: DeferredStanding) -> bool:
        known = self._calls.get(call.id)
        if known is None or known.standing is not after:
            return False
        del self._calls[call.id]
        self._calls[call.id] = call
        return True

    def forget(self, calls: Sequence[str]) -> None:
        for call in calls:
            self._calls.pop(call, None)

    def spend(self, state: str, *, until_us: int) -> bool:
        if state in self._spent:
            return False
        self._spent[state] = until_us
        return True

    def sweep(self, now_us: int) -> int:
        over = [one.id for one in self._calls.values() if one.expires_us <= now_us]
        spent = [state for state, until_us in self._spent.items() if until_us <= now_us]
        self.forget(over)
        for state in spent:
            del self._spent[state]
        return len(over) + len(spent)

    def close(self) -> None:
        """There is nothing to let go of: whoever opens this one again finds what it had."""
