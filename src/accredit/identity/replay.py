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
from accredit.kernel.ids import AgentId
from accredit.kernel.shares import SharedRoom

__all__ = ["Replays"]

_CAPACITY: Final = 200_000


class Replays:
    """Remembers who presented which `jti` until it cannot count any more."""

    def __init__(self, now: Instant) -> None:
        self.began_s = now.wall_s
        self._room = SharedRoom(_CAPACITY)
        self._seen: dict[tuple[str, str], tuple[AgentId, str, Deadline]] = {}

    def _forget_past(self, now: Instant) -> None:
        def over() -> Iterator[tuple[str, str]]:
            # both clocks must have passed: a wall clock set back would make a forgotten token good again
            for key, (_, _, until) in islice(self._seen.items(), 64):
                if now.wall_us >= until.wall_us and now.boot_us >= until.boot_us:
                    yield key

        for key in list(over()):
            self._room.give(self._seen.pop(key)[0])

    def spend(self, space: str, jti: str, *, agent: AgentId, holder: str = "", until: Deadline, now: Instant) -> None:
        """Mark a `jti` of an issuer as used by an agent. With a holder, the same one may use it again until it ends.

        Raises:
            UnauthenticatedError: `token_replayed`.
            UnavailableError: as many of the agent's are alive as there is room to remember.
        """
        self._forget_past(now)
        key = (space, jti)
        if key in self._seen:
            if not holder or self._seen[key][1] != holder:
                raise refused(Code.TOKEN_REPLAYED, "the `jti` was used before")
            return
        if not self._room.take(agent):
            raise UnavailableError(Code.LIMITS_UNAVAILABLE, "the agent has too many tokens in use at once")
        self._seen[key] = (agent, holder, until)
