"""What a process finds of the one before it: counters as a fold of the log, and calls that never got their end.

Nothing of another process can be in flight here: the data directory is held by one at a time. Each admitted call
without an outcome is closed as `outcome_unknown` at its full price, since its effect may have happened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from accredit import __version__
from accredit.audit.model import Entry, Facts, StoredRecord, Usage, UsageDay
from accredit.audit.ports import RecordReader
from accredit.audit.records import PartKeys, body_of, header_of, open_part, part_values
from accredit.enforcement.reasons import LASTS_US, Listener, PastAnswer, WantedCall
from accredit.enforcement.records import classes_seen
from accredit.enforcement.sessions import PastActivity, SessionKey
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, CredentialId, DecisionId, ToolId
from accredit.limits.folding import ReservedFact, SettledFact
from accredit.registry.catalogue import Catalogue

__all__ = ["Recovered", "past_activity", "recover", "started_entry", "touched_by"]

STARTED = "replica.started"
_DAY_US = 86_400_000_000
_MARGIN_US = 60_000_000
_PAGE = 1_024


@dataclass(frozen=True, slots=True)
class Recovered:
    """Facts in log order, and the outcome records that are still to be written."""

    facts: list[ReservedFact | SettledFact] = field(default_factory=list)
    endings: list[Entry] = field(default_factory=list)
    answers: list[PastAnswer] = field(default_factory=list)
    """What models asked for lately, in log order."""


def started_entry(now: Instant) -> Entry:
    """Marks the start of a process: calls of records before it are closed when it is durable."""
    return Entry(Facts(kind=STARTED), now.wall_us, {"version": __version__})


def recover(records: RecordReader, now: Instant) -> Recovered:
    """Read back as far as the present UTC day, what is still joined, and the previous process's start."""
    since_us = min(now.wall_us - now.wall_us % _DAY_US, now.wall_us - LASTS_US) - _MARGIN_US
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
            decided = opened.pop(body["decision_id"], None)
            if decided is not None and body.get("asked") and now.wall_us - header["time"] <= LASTS_US:
                found.answers.append(_answer(*decided, body["asked"], header["time"]))
        if fact is not None:
            found.facts.append(fact)
    for header, body in opened.values():
        entry = _ending(header, body, now)
        found.endings.append(entry)
        settled = SettledFact.read(entry.body)
        if settled is not None:
            found.facts.append(settled)
    return found


def _answer(header: dict[str, Any], body: dict[str, Any], asked: list[Any], time_us: int) -> PastAnswer:
    return PastAnswer(
        Listener(
            AgentId(header["agent"]), CredentialId(body["credential"]), body["session"], body["user"], body["task"]
        ),
        DecisionId(body["decision_id"]),
        time_us,
        tuple(WantedCall.read(one) for one in asked),
    )


def past_activity(
    records: RecordReader,
    keys: PartKeys,
    *,
    since_us: int,
    counted: Collection[str],
    named: Mapping[str, str],
) -> list[PastActivity]:
    """The calls that were let through since then, oldest first, for the ledger of sessions.

    `counted` are the tools whose arguments counters add up, `named` whom the pseudonyms stand for. A call for somebody
    whose pseudonym was erased belongs to no session that can go on.
    """
    found: list[PastActivity] = []
    ends: dict[str, Mapping[str, Any]] = {}
    for record in _backwards(records):
        header = header_of(record)
        if header["time"] < since_us:
            break
        if header["kind"] == "outcome":
            body = body_of(record)
            ends[body["decision_id"]] = body
        if header["kind"] != "decision" or header["decision"] != "allow":
            continue
        body = body_of(record)
        end = ends.pop(body["decision_id"], {"sent": None, "end": "unknown", "settled": None})
        served = [named.get(body[kind]) if body[kind] is not None else None for kind in ("user", "task")]
        erased = any(
            body[kind] is not None and whom is None for kind, whom in zip(("user", "task"), served, strict=True)
        )
        if end["sent"] is False or body["session"] is None or erased:
            continue
        reserved = body["reservation"]
        found.append(
            PastActivity(
                key=SessionKey(AgentId(header["agent"]), *served),
                credential=CredentialId(body["credential"]),
                session=body["session"],
                tool=ToolId(header["tool"]),
                data=frozenset(header["data_classes"] or ()) | classes_seen(end),
                time_us=header["time"],
                ended_well=end["end"] == "ok",
                cost_nanos=reserved["cost"] if reserved else 0,
                arguments=_arguments(record, keys) if header["tool"] in counted else None,
            )
        )
    return found[::-1]


def _arguments(record: StoredRecord, keys: PartKeys) -> Mapping[str, Any] | None:
    try:
        return part_values(open_part(record, "arguments", keys))
    except InvalidInputError:  # erased: what it added cannot be known any more
        return None


def touched_by(usage: Iterable[UsageDay], catalogue: Catalogue) -> dict[AgentId, frozenset[str]]:
    """The data classes that each agent ever reached, by the roll-up of all its calls and the tools as they are now."""
    found: defaultdict[AgentId, frozenset[str]] = defaultdict(frozenset)
    for day in usage:
        tool = catalogue.tool(ToolId(day.tool)) if day.usage.allows else None
        agent = catalogue.agent(AgentId(day.agent)) if tool is not None else None
        if tool is None or agent is None:
            continue
        grant = next((grant for grant in agent.version.grants if grant.tool == tool.id), None)
        found[agent.id] |= tool.shown(grant.mask if grant is not None else frozenset())
    return dict(found)


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
