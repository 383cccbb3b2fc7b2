"""The log: its records, what one decision rested on, proofs, and the clock they are dated by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

import orjson
from fastapi import FastAPI, Path, Query

from accredit.api.asking import Asking, Who, actor_of
from accredit.api.forms import Named, Nothing
from accredit.api.paging import Limit
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment
from accredit.audit.model import Entry, Facts, StoredRecord
from accredit.audit.ports import Actor
from accredit.audit.proof import prove_record
from accredit.audit.records import body_of, header_of, leaf_data, open_part, part_values
from accredit.enforcement.history import PastCall
from accredit.identity import rows
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.policy.explanation import explain
from accredit.policy.replay import PastQuestion
from accredit.registry.authority import Act

__all__ = ["ConfirmedClock", "ProofShown", "records"]

_PAGE: Final = 512
_SEARCHED: Final = 200_000
_BY_SECRET: Final = frozenset({rows.API_TOKEN, rows.ENFORCEMENT_KEY, rows.JOIN_TOKEN, rows.LOGIN_LINK})


@dataclass(frozen=True, slots=True)
class ProofShown:
    """A self-contained proof that a record stands in the log."""

    proof: str


@dataclass(frozen=True, slots=True)
class ConfirmedClock:
    """By how much the wall clock had stepped."""

    confirmed_step_s: float


def records(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    shown = _Records(plane)

    @app.get("/api/v1/audit/records", response_model=Items[dict[str, Any]])
    async def records(
        who: Who,
        limit: Limit = 50,
        before: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        kind: Annotated[str | None, Query(max_length=80)] = None,
    ) -> Json:
        wanted = asking.seen(who, agent).id if agent else None
        asking.seen_agent(who, wanted)
        return Json(await asyncio.to_thread(shown.newest, limit, before=before, agent=wanted, kind=kind))

    @app.get("/api/v1/decisions/{decision}", response_model=dict[str, Any])
    async def decision(who: Who, decision: Named) -> Json:
        asking.require_reader(who)
        found = await asyncio.to_thread(shown.decision, decision)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no decision `{decision[:80]}` is among the newest records")
        agent = found["decision"]["header"]["agent"]
        asking.seen_agent(who, None if agent is None else AgentId(agent))
        reason = found["decision"]["body"].get("reason")
        because = await asyncio.to_thread(shown.decision, reason) if reason is not None else None
        # who looks into what was sealed is on record before they see it
        for one in filter(None, (found, because)):
            await shown.opened(actor_of(who), one)
        return Json(shown.whole(found) | {"reason": shown.whole(because) if because is not None else None})

    @app.get("/api/v1/decisions/{decision}/explanation", response_model=dict[str, Any])
    async def explanation(who: Who, decision: Named) -> Json:
        asking.require_reader(who)
        call = await asyncio.to_thread(plane.history.find, decision, within=_SEARCHED)
        if call is None:
            raise NotFoundError(Code.NOT_FOUND, f"no decision `{decision[:80]}` is among the newest records")
        agent = call.header.agent
        asking.seen_agent(who, None if agent is None else AgentId(agent))
        await shown.opened(actor_of(who), {"decision": {"seq": call.seq}})
        return Json(await asyncio.to_thread(_explained, call))

    @app.get("/api/v1/audit/prove/{seq}", response_model=ProofShown)
    async def prove(who: Who, seq: Annotated[int, Path(ge=0, lt=2**63)]) -> Json:
        asking.seen_agent(who, None)
        checkpoint = await plane.log.checkpoint()
        if seq >= plane.records.size():
            raise NotFoundError(Code.NOT_FOUND, f"the log has no record {seq}")
        proof = await asyncio.to_thread(shown.proof, seq, checkpoint)
        return Json(ProofShown(proof.decode()))

    @app.post("/api/v1/clock/confirm", response_model=ConfirmedClock)
    async def clock_confirm(who: Who, _: Nothing | None = None) -> Json:
        asking.require(Act.CONFIRM_CLOCK, who)
        return Json(ConfirmedClock(await shown.confirm_clock(actor_of(who)) / 1_000_000))


def _explained(past: PastCall | PastQuestion) -> dict[str, Any]:
    """A decision, and why it came out so as far as its record can be judged again."""
    header, body, code = past.header, past.body, Code(past.body["code"])  # type: ignore[call-arg]  # by value
    head = {
        "decision": body["decision_id"],
        "agent": header.agent,
        "tool": header.tool,
        "asked_by": (body["asked_by"] or header.agent) if "asked_by" in body else None,
        "time": moment(header.time),
        "record": past.seq,
        "outcome": header.decision,
        "code": code.value,
        "meaning": code.meaning,
        "remedy": code.remedy,
        "release": body["release"],
    }
    if past.policy is None or past.why is not None or not past.judged:
        said = f"cannot be judged again: {past.why}" if past.why is not None else "no policy was asked"
        return {**head, "unexplained": said}
    found = asdict(explain(past.opened() if isinstance(past, PastQuestion) else past.request(), past.policy))
    # a later step may have refused what policies allowed: that is the record's own code
    by_policies = {"outcome": found.pop("outcome"), "code": found.pop("code")}
    return {**found, **head, "by_policies": by_policies}


def _named(kind: str, key: str, digest: str | None) -> list[str | None]:
    """A row that changed; the rows of secrets are found by their hashes, which are shown to nobody."""
    return [kind, None if kind in _BY_SECRET else key, digest]


class _Records:
    """Reads the log, newest first."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def newest(self, limit: int, *, before: int | None, agent: str | None, kind: str | None) -> Items[dict[str, Any]]:
        """The newest records that match, newest first; at most so many are looked at for one page."""
        found: list[dict[str, Any]] = []
        looked_at = 0
        for record in self._backwards(before):
            looked_at = record.seq
            header = header_of(record)
            if (agent is None or header["agent"] == agent) and (kind is None or header["kind"] == kind):
                body = body_of(record)
                if "changes" in body:
                    body["changes"] = [_named(*change) for change in body["changes"]]
                found.append({**header, "time": moment(header["time"]), "code": body.get("code"), "body": body})
                if len(found) == limit:
                    break
        return Items(found, str(looked_at) if looked_at else None)

    def decision(self, decision: str) -> dict[str, Any] | None:
        """What one decision rested on and what came of it, its sealed parts not opened."""
        wanted = orjson.dumps(decision)
        found: dict[str, Any] = {}
        for record in self._backwards(None):
            if wanted not in record.body:
                continue
            header, body = header_of(record), body_of(record)
            if body.get("decision_id") == decision and header["kind"] in {"decision", "advice", "outcome"}:
                kind = "outcome" if header["kind"] == "outcome" else "decision"
                found[kind] = {"seq": header["seq"], "time": moment(header["time"]), "header": header, "body": body}
                if kind == "decision":
                    release = self._plane.releases.current
                    texts = {one.id: one.text for one in (*release.policies, *release.external.policies)}
                    found["policies"] = {one: texts.get(one, "compiled from the manifest") for one in body["policies"]}
                    return found
        return None

    def whole(self, decision: Mapping[str, Any]) -> dict[str, Any]:
        """A decision with the sealed parts of its records opened."""
        return dict(decision) | {
            kind: decision[kind] | {"parts": self._opened_parts(record)}
            for kind in ("decision", "outcome")
            if kind in decision
            for record in self._plane.records.records(decision[kind]["seq"], decision[kind]["seq"] + 1)
        }

    def _opened_parts(self, record: StoredRecord) -> dict[str, Any]:
        opened: dict[str, Any] = {}
        for part in record.parts:
            try:
                opened[part.name] = part_values(open_part(record, part.name, self._plane.part_keys))
            except AccreditError as error:
                opened[part.name] = {"sealed": str(error.code)}
        return opened

    def _backwards(self, before: int | None) -> Iterator[StoredRecord]:
        end = min(self._plane.records.size(), before if before is not None else self._plane.records.size())
        floor = max(0, end - _SEARCHED)
        while end > floor:
            start = max(floor, end - _PAGE)
            yield from reversed(list(self._plane.records.records(start, end)))
            end = start

    def proof(self, seq: int, checkpoint: bytes) -> bytes:
        """A self-contained proof that the record stands under that checkpoint."""
        record = next(self._plane.records.records(seq, seq + 1))
        entry = leaf_data(record.header, record.salt + record.body)
        return prove_record(self._plane.records, seq, checkpoint=checkpoint, entry=entry)

    async def opened(self, actor: Actor, decision: Mapping[str, Any]) -> None:
        """Record that a person opened the sealed parts of a decision.

        Raises:
            UnavailableError: it could not be recorded; nothing may be shown.
        """
        seqs = [decision[kind]["seq"] for kind in ("decision", "outcome") if kind in decision]
        body = {"person": actor.person, "credential": actor.credential, "records": seqs}
        await self._plane.log.append(Entry(Facts(kind="record.opened"), self._plane.clock.now().wall_us, body))

    async def confirm_clock(self, actor: Actor) -> int:
        """Accept the present wall clock, on the record; returns the step in microseconds."""
        plane = self._plane
        now = plane.clock.now()
        body = {"person": actor.person, "credential": actor.credential, "step_us": plane.watch.stepped_us}
        await plane.log.append(Entry(Facts(kind="clock.confirmed"), now.wall_us, body))
        return plane.watch.confirm(now)
