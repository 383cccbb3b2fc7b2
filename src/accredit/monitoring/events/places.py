"""Whether one key is used in two places at once. Pure.

A place is a network (`enforcement/networks.py`), known by its keyed fingerprint. Whoever moves is in one place and then
in another. Two who share a key take turns: a place that was left is come back to. Three returns within ten minutes are
told of; a connection that falls back to another line and returns has one or two. A key behind exits that change with
every connection looks the same as a shared one where the exits are in different networks: whoever resolves the alert
says that these places belong together, and is not told of them again until there is another among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["NO_VISITS", "Visits", "visited"]

WINDOW_US: Final = 600_000_000
RETURNS: Final = 3
_PLACES: Final = 8


@dataclass(frozen=True, slots=True)
class Visits:
    """Where a key was used lately, and how often it came back to a place it had left."""

    seen: tuple[tuple[str, int], ...] = ()
    """(place, last time there), the newest last."""
    returns: tuple[int, ...] = ()
    """When it came back, the newest ones."""

    @property
    def places(self) -> Sequence[str]:
        return sorted(place for place, _ in self.seen)

    @property
    def at_once(self) -> bool:
        """Whether it is used in two places at once."""
        return len(self.returns) >= RETURNS


NO_VISITS: Final = Visits()


def visited(visits: Visits, place: str, at_us: int) -> Visits:
    """After one more call from a place. A clock that went back makes no window longer."""
    if not place:
        return visits
    now_us = max(at_us, visits.seen[-1][1]) if visits.seen else at_us
    if visits.seen and visits.seen[-1][0] == place:
        return Visits((*visits.seen[:-1], (place, now_us)), visits.returns)
    seen = tuple((one, last) for one, last in visits.seen if now_us - last <= WINDOW_US)
    returns = tuple(at for at in visits.returns if now_us - at <= WINDOW_US)
    if any(one == place for one, _ in seen):
        returns = (*returns, now_us)[-RETURNS:]
    others = tuple(one for one in seen if one[0] != place)
    return Visits((*others, (place, now_us))[-_PLACES:], returns)
