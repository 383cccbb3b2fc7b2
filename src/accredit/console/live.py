"""What agents did just now: the newest decisions in the log and what became of them, for pages that follow along.

The log has no index by agent, and a page asks every few seconds. So the newest part of it is kept here as short lines,
read on by a cursor when somebody looks; what is older is found in the log itself.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from accredit.audit.model import StoredRecord
from accredit.audit.ports import RecordReader
from accredit.audit.records import body_of, header_of
from accredit.kernel.ids import AgentId

__all__ = ["RecentCall", "RecentCalls"]

_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class RecentCall:
    """One decision, and the outcome if it is there already."""

    record: int
    at_us: int
    agent: str
    tool: str | None
    """None: no registered tool was named."""
    decision: str
    code: str
    policies: tuple[str, ...]
    end: str | None = None
    took_us: int | None = None


class RecentCalls:
    """The newest calls among the newest records. May be used from any thread."""

    def __init__(self, records: RecordReader, *, kept: int = _KEPT) -> None:
        self._records = records
        self._kept = kept
        self._next: int | None = None
        self._calls: deque[tuple[str, RecentCall]] = deque(maxlen=kept)
        self._ends: dict[str, tuple[int, str, int]] = {}
        self._alone = threading.Lock()

    def of(self, agent: AgentId, limit: int) -> tuple[RecentCall, ...]:
        """An agent's newest calls, newest first.

        Raises:
            UnavailableError: the log cannot be read.
        """
        with self._alone:
            self._catch_up()
            found: list[RecentCall] = []
            for decision, call in reversed(self._calls):
                if call.agent == agent:
                    _, end, took_us = self._ends.get(decision, (0, None, None))
                    found.append(replace(call, end=end, took_us=took_us))
                    if len(found) == limit:
                        break
            return tuple(found)

    def _catch_up(self) -> None:
        size = self._records.size()
        start = max(self._next or 0, size - self._kept)
        for record in self._records.records(start, size):
            self._take(record)
        self._next = size
        if len(self._ends) > self._kept:
            self._ends = {decision: one for decision, one in self._ends.items() if one[0] >= size - self._kept}

    def _take(self, record: StoredRecord) -> None:
        if b'"decision_id"' not in record.body:
            return
        header, body = header_of(record), body_of(record)
        if header["kind"] == "decision":
            call = RecentCall(
                record=record.seq,
                at_us=header["time"],
                agent=header["agent"] or "",
                tool=header["tool"],
                decision=header["decision"],
                code=body["code"],
                policies=tuple(body["policies"]),
            )
            self._calls.append((body["decision_id"], call))
        elif header["kind"] == "outcome":
            self._ends[body["decision_id"]] = (record.seq, body["end"], body["duration_us"])
