"""Where the log holds what: the control records of each agent, and the newest record of the rows a dossier rests on.

Only positions are kept; the records are read when somebody asks. The index follows the log by a cursor, so it is never
behind what was acknowledged and costs nothing while nobody looks.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.audit.model import StoredRecord
from accredit.audit.ports import RecordReader
from accredit.audit.records import body_of, header_of
from accredit.audit.state import changes_of
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId

__all__ = ["Timeline", "TimelineEvent"]

_ROWS: Final = frozenset(
    {
        "agent",
        "baseline",
        "credential",
        "epoch",
        "policy_current",
        "procedure",
        "receipt",
        "restriction",
        "server",
        "tool",
        "version",
    }
)
"""Kinds of rows whose newest record is known by key."""
_DIGESTS: Final = frozenset({"agent", "baseline", "version"})
"""Kinds of rows of which is known as well what that record says they are."""
_MAX_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One control record of an agent."""

    record: int
    """Its seq in the log."""
    at_us: int
    kind: str
    person: str | None
    credential: str
    basis: str
    version: str | None
    body: Mapping[str, Any]
    """As recorded; `changes` names rows by kind and key."""


class Timeline:
    """The index. May be used from any thread."""

    def __init__(self, records: RecordReader) -> None:
        self._records = records
        self._next = 0
        self._of_agent: dict[str, array[int]] = {}
        self._newest: dict[tuple[str, str], int] = {}
        self._stated: dict[tuple[str, str], Digest | None] = {}
        self._alone = threading.Lock()

    def catch_up(self) -> None:
        """Read what was recorded since. At start this reads every control record; call it from a thread then.

        Raises:
            UnavailableError: the log cannot be read.
        """
        with self._alone:
            for record in self._records.control_records(self._next):
                agent = header_of(record)["agent"]
                if agent is not None:
                    self._of_agent.setdefault(agent, array("q")).append(record.seq)
                for kind, key, digest in changes_of(record):
                    if kind in _ROWS:
                        self._newest[kind, key] = record.seq
                    if kind in _DIGESTS:
                        self._stated[kind, key] = None if digest is None else Digest(digest)
                self._next = record.seq + 1

    def of(self, agent: AgentId, *, limit: int = _MAX_READ, before: int | None = None) -> tuple[TimelineEvent, ...]:
        """The agent's newest control records, or the newest before one of them; the oldest comes first.

        Raises:
            UnavailableError: the log cannot be read.
        """
        self.catch_up()
        known = self._of_agent.get(agent, array("q"))
        end = len(known) if before is None else bisect_left(known, before)
        seqs = known[max(0, end - min(limit, _MAX_READ)) : end]
        return tuple(_event(record) for seq in seqs for record in self._records.records(seq, seq + 1))

    def record_of(self, kind: str, key: str) -> int | None:
        """The newest record that wrote or removed that row."""
        self.catch_up()
        return self._newest.get((kind, key))

    def knows(self, kind: str, key: str) -> bool:
        """Whether a record that was read wrote or removed that row. Reads nothing."""
        return (kind, key) in self._stated

    def digest_of(self, kind: str, key: str) -> Digest | None:
        """The digest of that row by the newest record that was read; None: it was removed. Reads nothing."""
        return self._stated.get((kind, key))


def _event(record: StoredRecord) -> TimelineEvent:
    header, body = header_of(record), body_of(record)
    actor = body.get("actor") or {}
    return TimelineEvent(
        record=record.seq,
        at_us=header["time"],
        kind=header["kind"],
        person=actor.get("person"),
        credential=str(actor.get("credential", "")),
        basis=str(actor.get("basis", "")),
        version=header["version"],
        body=body,
    )
