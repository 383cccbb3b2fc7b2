"""Keeps a flood of refusals from filling the log, and keeps the log from hiding that there was one.

Both counters are pure, hold a bounded number of keys and know only the minute: within its share a refusal is a record
of its own; what is beyond is counted and comes out of `due` as one record when the minute is over. When there are
more keys than fit, the rest share one key per reason, so memory stays bounded and nothing goes uncounted. Counts not
yet written are lost if the process dies: at most a minute of them, and never the refusals themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from accredit.audit.model import Entry, Facts
from accredit.audit.records import REPEATED, UNAUTHENTICATED
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code

__all__ = ["RefusalFlood", "UnauthenticatedFlood"]

_MINUTE_US = 60_000_000
_MAX_KEYS = 10_000

_Key: TypeAlias = tuple[str | None, str | None, Code]


@dataclass(slots=True)
class _Span:
    """What was counted beside the records of their own, over one minute or more."""

    from_us: int
    until_us: int
    count: int = 0


@dataclass(slots=True)
class _Minute:
    """Which minute is being counted. A wall clock that steps back ends the minute like one that goes on."""

    number: int = -1

    def turned(self, now: Instant) -> bool:
        number = now.wall_us // _MINUTE_US
        if number == self.number:
            return False
        self.number = number
        return True

    def span(self) -> _Span:
        return _Span(self.number * _MINUTE_US, (self.number + 1) * _MINUTE_US)


class RefusalFlood:
    """Beyond `per_minute` equal refusals (agent, tool, code) in one minute, one record counts the rest."""

    def __init__(self, *, per_minute: int = 60, max_keys: int = _MAX_KEYS) -> None:
        self._per_minute = per_minute
        self._max_keys = max_keys
        self._minute = _Minute()
        self._seen: dict[_Key, int] = {}
        self._rest: dict[_Key, _Span] = {}

    def admit(self, now: Instant, agent: str | None, tool: str | None, code: Code) -> bool:
        """Whether this refusal is to be a record of its own; if not, it is counted here."""
        if self._minute.turned(now):
            self._seen.clear()
        key = (agent, tool, code)
        if key not in self._seen and len(self._seen) >= self._max_keys:
            key = (None, None, code)
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        if seen <= self._per_minute:
            return True
        if key not in self._rest and len(self._rest) >= self._max_keys:
            key = (None, None, code)
        this_minute = self._minute.span()
        rest = self._rest.setdefault(key, this_minute)
        rest.until_us = max(rest.until_us, this_minute.until_us)
        rest.count += 1
        return False

    def due(self, now: Instant, *, closing: bool = False) -> list[Entry]:
        """The records of minutes that are over; all of them when `closing`."""
        ready = {key: span for key, span in self._rest.items() if closing or span.until_us <= now.wall_us}
        for key in ready:
            del self._rest[key]
        return [
            Entry(
                Facts(REPEATED, agent=agent, tool=tool, decision="deny", action="enforced"),
                now.wall_us,
                {"code": code.value, "count": span.count, "from": span.from_us, "until": span.until_us},
            )
            for (agent, tool, code), span in ready.items()
        ]


@dataclass(slots=True)
class _Reasons:
    span: _Span
    counts: dict[str, int] = field(default_factory=dict)


class UnauthenticatedFlood:
    """The first refusal of a (source, reason) in a minute is a record; one record counts the rest by reason.

    One whose credential was proven is counted by (credential, reason) instead. Those are no more than were enrolled,
    so they are never crowded out: a flood of strangers cannot hide that a revoked key is still in use.
    """

    def __init__(self, *, max_keys: int = _MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._minute = _Minute()
        self._seen: set[tuple[str, Code]] = set()
        self._known: set[tuple[str, Code]] = set()
        self._rest: _Reasons | None = None

    def admit(self, now: Instant, source: str, reason: Code, *, credential: str | None = None) -> bool:
        """Whether this refusal is to be a record of its own; if not, it is counted here."""
        if self._minute.turned(now):
            self._seen.clear()
            self._known.clear()
        if credential is not None and (credential, reason) not in self._known:
            self._known.add((credential, reason))
            return True
        if credential is None and (source, reason) not in self._seen and len(self._seen) < self._max_keys:
            self._seen.add((source, reason))
            return True
        this_minute = self._minute.span()
        if self._rest is None:
            self._rest = _Reasons(this_minute)
        self._rest.span.until_us = max(self._rest.span.until_us, this_minute.until_us)
        self._rest.counts[reason.value] = self._rest.counts.get(reason.value, 0) + 1
        return False

    def due(self, now: Instant, *, closing: bool = False) -> list[Entry]:
        """The record of minutes that are over, if anything was counted in them."""
        rest = self._rest
        if rest is None or not (closing or rest.span.until_us <= now.wall_us):
            return []
        self._rest = None
        return [
            Entry(
                Facts(UNAUTHENTICATED, decision="deny", action="enforced"),
                now.wall_us,
                {"counts": rest.counts, "from": rest.span.from_us, "until": rest.span.until_us},
            )
        ]
