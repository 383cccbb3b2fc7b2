"""What a process finds of the one before it: counters as a fold of the log, and calls that never got their end.

Nothing of another process can be in flight here: the data directory is held by one at a time. Each admitted call
without an outcome is closed as `outcome_unknown` at its full price, since its effect may have happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from accredit import __version__
from accredit.audit.model import Entry, Facts, StoredRecord, Usage
from accredit.audit.ports import RecordReader
from accredit.audit.records import body_of, header_of
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.limits.folding import ReservedFact, SettledFact

__all__ = ["Recovered", "recover", "started_entry"]

STARTED = "replica.started"
_DAY_US = 86_400_000_000
_MARGIN_US = 60_000_000
_PAGE = 1_024


@dataclass(frozen=True, slots=True)
class Recovered:
    """Facts in log order, and the outcome records that are still to be written."""

    facts: list[ReservedFact | SettledFact] = field(default_factory=list)
    endings: list[Entry] = field(default_factory=list)


def started_entry(now: Instant) -> Entry:
    """Marks the start of a process: calls of records before it are closed when it is durable."""
    return Entry(Facts(kind=STARTED), now.wall_us, {"version": __version__})


def recover(records: RecordReader, now: Instant) -> Recovered:
    """Read back as far as the present UTC day and the previous process's start, whichever is further."""
    since_us = now.wall_us - now.wall_us % _DAY_US - _MARGIN_US
    newest_first: list[tuple[dict[str, Any], dict[str, Any]]] = []
    past_start = False
    for record in _backwards(records):
        header = header_of(record)
        if header["kind"] == STARTED:
            past_start = True
        elif header["kind"] in {"decision", "outcome"}:
            newest_first.append((header, body_of(record)))
        if past_start and header["time"] < since_us:
            break
    found = Recovered()
    opened: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for header, body in reversed(newest_first):
        fact: ReservedFact | SettledFact | None
        if header["kind"] == "decision":
            fact = ReservedFact.read(body, agent=header["agent"], time_us=header["time"])
            if header["decision"] == "allow":
                opened[body["decision_id"]] = (header, body)
        else:
            fact = SettledFact.read(body)
            opened.pop(body["decision_id"], None)
        if fact is not None:
            found.facts.append(fact)
    for header, body in opened.values():
        entry = _ending(header, body, now)
        found.endings.append(entry)
        settled = SettledFact.read(entry.body)
        if settled is not None:
            found.facts.append(settled)
    return found


def _ending(header: dict[str, Any], body: dict[str, Any], now: Instant) -> Entry:
    reserved = body["reservation"]
    cost = reserved["cost"] if reserved else 0
    return Entry(
        facts=Facts(
            kind="outcome",
            agent=header["agent"],
            version=header["version"],
            environment=header["environment"],
            tool=header["tool"],
            effect=header["effect"],
            scope=header["scope"],
            data_classes=tuple(header["data_classes"]),
            decision="allow",
            action="enforced",
        ),
        time_us=now.wall_us,
        body={
            "code": Code.OUTCOME_UNKNOWN.value,
            "decision_id": body["decision_id"],
            "duration_us": None,
            "end": "unknown",
            "sent": None,
            "settled": {"id": reserved["id"], "cost": cost} if reserved else None,
            "size": 0,
        },
        usage=Usage(errors=1, cost_nanos=cost),
    )


def _backwards(records: RecordReader) -> Iterator[StoredRecord]:
    end = records.size()
    while end > 0:
        start = max(0, end - _PAGE)
        yield from reversed(list(records.records(start, end)))
        end = start
