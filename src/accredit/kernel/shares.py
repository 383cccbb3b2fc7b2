"""Room that many share and none can take from the others.

Whoever holds less than what is still free may take more (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions
on Networking 6(2), 1998). So one alone gets at most half, two get a third each, and there is always room for somebody
who has nothing yet, without a share that is set aside for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

__all__ = ["SharedRoom"]


class SharedRoom:
    """How much of a bounded room each holder has."""

    __slots__ = ("_capacity", "_held", "_taken")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._taken = 0
        self._held: Counter[Hashable] = Counter()

    def take(self, holder: Hashable) -> bool:
        """Take one place for a holder; False if they hold as much as is free."""
        if self._held[holder] >= self._capacity - self._taken:
            if not self._held[holder]:
                del self._held[holder]
            return False
        self._held[holder] += 1
        self._taken += 1
        return True

    def give(self, holder: Hashable) -> None:
        """Give one place of a holder back."""
        self._taken -= 1
        self._held[holder] -= 1
        if not self._held[holder]:
            del self._held[holder]
