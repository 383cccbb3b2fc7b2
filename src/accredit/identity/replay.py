"""Single use of `jti` within the life of what carries it.

Kept in memory: after a restart, whatever was issued before it is refused instead (`Replays.began_s`), so a token
spent just before a crash cannot be spent again just after.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from accredit.identity.tokens import refused
from accredit.kernel.clock import Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = ["Replays"]

_CAPACITY: Final = 200_000


class Replays:
    """Remembers who presented which `jti` until it cannot count any more."""

    def __init__(self, now: Instant) -> None:
        self.began_s = now.wall_s
        self._seen: dict[tuple[str, str], tuple[str, Deadline]] = {}

    def _forget_past(self, now: Instant) -> None:
        def over() -> Iterator[tuple[str, str]]:
            # both clocks must have passed: a wall clock set back would make a forgotten token good again
            for key, (_, until) in islice(self._seen.items(), 64):
                if now.wall_us >= until.wall_us and now.boot_us >= until.boot_us:
                    yield key

        for key in list(over()):
            del self._seen[key]

    def spend(self, space: str, jti: str, *, holder: str = "", until: Deadline, now: Instant) -> None:
        """Mark a `jti` of an issuer as used. With a holder, the same holder may use it again until it ends.

        Raises:
            UnauthenticatedError: `token_replayed`.
            UnavailableError: too many are alive to remember another.
        """
        self._forget_past(now)
        key = (space, jti)
        if key in self._seen:
            if not holder or self._seen[key][0] != holder:
                raise refused(Code.TOKEN_REPLAYED, "the `jti` was used before")
            return
        if len(self._seen) >= _CAPACITY:
            raise UnavailableError(Code.LIMITS_UNAVAILABLE, "too many tokens are in use at once")
        self._seen[key] = (holder, until)
