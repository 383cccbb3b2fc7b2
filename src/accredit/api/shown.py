"""How the control plane's values are shown: plain data, no secrets, sealed parts only where a route opens them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from accredit.api.plane import ControlPlane
from accredit.approvals.model import Hold
from accredit.audit.model import Entry, Facts, StoredRecord
from accredit.audit.ports import Actor
from accredit.audit.proof import prove_record
from accredit.audit.records import body_of, header_of, leaf_data, open_part, part_values
from accredit.identity import rows
from accredit.identity.broker import BrokeredCredential
from accredit.identity.model import ApiToken, Credential, Issuer
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError
from accredit.kernel.money import Money
from accredit.limits.model import LimitUsage
from accredit.policy.release import PolicyFinding
from accredit.registry.model import Agent, Tool, ToolServer
from accredit.registry.service import ApplyResult, Repinned

__all__ = ["Shown", "moment"]

_PAGE = 512
_BY_SECRET = frozenset({rows.API_TOKEN, rows.JOIN_TOKEN, rows.LOGIN_LINK})
_SEARCHED = 200_000
_DAY_US = 86_400_000_000


def moment(wall_us: int) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(wall_us / 1_000_000, UTC).isoformat(timespec="milliseconds")


def _money(amount: Money | None) -> str | None:
    return None if amount is None else str(amount)


def _named(kind: str, key: str, digest: str | None) -> list[str | None]:
    """A row that changed; the rows of secrets are found by their hashes, which are shown to nobody."""
    return [kind, None if kind in _BY_SECRET else key, digest]


class Shown:
    """Shows what one plane's services hold."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    # -- registry

    def applied(self, result: ApplyResult) -> dict[str, Any]:
        return {"kind": result.kind, "name": result.name, "result": result.outcome, "id": result.id}

    def agent_row(self, agent: Agent) -> dict[str, Any]:
        return {
            "id": agent.id,
            "name": agent.name,
            "team": agent.team.name,
            "environment": agent.environment,
            "state": agent.state,
            "version": agent.version.digest,
        }

    def agent(self, agent: Agent) -> dict[str, Any]:
        version, catalogue = agent.version, self._plane.snapshots.current.catalogue
        owner = catalogue.person_by_id(agent.owner)
        return self.agent_row(agent) | {
            "owner": owner.email if owner else agent.owner,
            "purpose": version.manifest["spec"]["purpose"],
            "tools": [
                {
                    "tool": grant.tool,
                    "grant": grant.digest,
                    "user_role": grant.user_role,
                    "same_as": dict(grant.same_as),
                    "hours": bool(grant.hours),
                }
                for grant in version.grants
            ],
            "data": sorted(version.data),
            "facets": dict(version.facets),
            "limits": self.limits(self._plane.limits.show(agent.id, version.limits)),
            "credentials": [self.credential(one) for one in self._plane.identity.credentials_of(agent.id)],
            "manifest": version.manifest,
        }

    def server_row(self, server: ToolServer) -> dict[str, Any]:
        return {
            "name": server.name,
            "environment": server.environment,
            "url": server.url,
            "credential": server.credential,
            "tools": len(server.tools),
        }

    def tool(self, tool: Tool, refusal: Code | None) -> dict[str, Any]:
        return {
            "id": tool.id,
            "name": tool.name,
            "effect": tool.effect,
            "scope": tool.scope,
            "data": sorted(tool.data),
            "price": _money(tool.price),
            "pinned": tool.definition_digest,
            "status": "as pinned" if refusal is None else str(refusal),
        }

    def repinned(self, one: Repinned) -> dict[str, Any]:
        return {"tool": one.tool, "before": one.before, "after": one.after}

    # -- identity

    def credential(self, one: Credential) -> dict[str, Any]:
        return {
            "id": one.id,
            "agent": one.agent,
            "thumbprint": one.thumbprint,
            "state": one.state,
            "enrolled": moment(one.enrolled_us),
        }

    def issuer(self, one: Issuer) -> dict[str, Any]:
        return {
            "id": one.id,
            "use": one.kind,
            "issuer": one.url,
            "claims": {name: str(kind) for name, kind in one.claims.items()},
            "revoked": one.revoked,
        }

    def api_token(self, one: ApiToken) -> dict[str, Any]:
        return {
            "id": one.id,
            "name": one.profile,
            "scopes": sorted(one.scopes),
            "issued": moment(one.issued_us),
            "expires": moment(one.expires_us),
            "revoked": one.revoked,
        }

    def brokered(self, one: BrokeredCredential) -> dict[str, Any]:
        return {"name": one.name, "header": one.header, "origin": one.origin, "version": one.version}

    def revoked(self, what: str, began: Instant, cancelled: int) -> dict[str, Any]:
        took_us = self._plane.clock.now().boot_us - began.boot_us
        return {"revoked": what, "replicas": 1, "acknowledged": 1, "cancelled_in_flight": cancelled,
                "took_ms": round(took_us / 1000, 3)}  # fmt: skip

    # -- limits, holds, policy

    def limits(self, one: LimitUsage) -> dict[str, Any]:
        return {
            "calls_per_minute": one.calls_per_minute,
            "calls_left": one.calls_left,
            "concurrency": one.concurrency,
            "in_flight": one.in_flight,
            "window": one.window,
            "cap": _money(one.cap),
            "spent": _money(one.spent),
            "reserved": _money(one.open),
            "left": _money(one.left),
        }

    def hold_row(self, one: Hold) -> dict[str, Any]:
        return {
            "id": one.id,
            "agent": one.agent,
            "tool": one.tool,
            "state": one.state,
            "roles": sorted({need.role for need in one.needs}),
            "opened": moment(one.opened_us),
            "expires": moment(one.expires_us),
        }

    def hold(self, one: Hold) -> dict[str, Any]:
        return self.hold_row(one) | {
            "view": one.view,
            "view_digest": one.view_digest,
            "waits_for": [{"policy": need.policy, "role": need.role} for need in one.missing],
            "grants": [
                {"policy": grant.policy, "role": grant.role, "person": grant.person, "basis": grant.basis}
                for grant in one.grants
            ],
        }

    def finding(self, one: PolicyFinding) -> dict[str, Any]:
        return {"path": one.path, "policy": one.policy, "message": one.message, "fix": one.fix}

    # -- the log

    def usage(self, agent: Agent, days: int) -> list[dict[str, Any]]:
        since = self._plane.clock.now().wall_us // _DAY_US - days + 1
        return [
            {
                "day": moment(row.day * _DAY_US)[:10],
                "tool": row.tool,
                "allows": row.usage.allows,
                "denies": row.usage.denies,
                "holds": row.usage.holds,
                "errors": row.usage.errors,
                "cost": str(Money(row.usage.cost_nanos)),
                "last": moment(row.last_us),
            }
            for row in self._plane.log.usage(since_day=since, agent=agent.id)
        ]

    def newest(self, limit: int, *, before: int | None, agent: str | None, kind: str | None) -> list[dict[str, Any]]:
        """The newest records that match, newest first."""
        found: list[dict[str, Any]] = []
        for record in self._backwards(before):
            header = header_of(record)
            if (agent is None or header["agent"] == agent) and (kind is None or header["kind"] == kind):
                body = body_of(record)
                if "changes" in body:
                    body["changes"] = [_named(*change) for change in body["changes"]]
                found.append({**header, "time": moment(header["time"]), "code": body.get("code"), "body": body})
                if len(found) == limit:
                    break
        return found

    def decision(self, decision: str) -> dict[str, Any] | None:
        """What one decision rested on and what came of it, its sealed parts opened."""
        wanted = orjson.dumps(decision)
        found: dict[str, Any] = {}
        for record in self._backwards(None):
            if wanted not in record.body:
                continue
            header, body = header_of(record), body_of(record)
            if body.get("decision_id") == decision and header["kind"] in {"decision", "outcome"}:
                shown = {"seq": header["seq"], "time": moment(header["time"]), "header": header, "body": body}
                found[header["kind"]] = shown | {"parts": self._parts(record)}
                if header["kind"] == "decision":
                    texts = {one.id: one.text for one in self._plane.releases.current.policies}
                    found["policies"] = {one: texts.get(one, "compiled from the manifest") for one in body["policies"]}
                    return found
        return None

    def _parts(self, record: StoredRecord) -> dict[str, Any]:
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
        records = [decision[kind]["seq"] for kind in ("decision", "outcome") if kind in decision]
        body = {"person": actor.person, "credential": actor.credential, "records": records}
        await self._plane.log.append(Entry(Facts(kind="record.opened"), self._plane.clock.now().wall_us, body))

    async def confirm_clock(self, actor: Actor) -> int:
        """Accept the present wall clock, on the record; returns the step in microseconds."""
        plane = self._plane
        now = plane.clock.now()
        body = {"person": actor.person, "credential": actor.credential, "step_us": plane.watch.stepped_us}
        await plane.log.append(Entry(Facts(kind="clock.confirmed"), now.wall_us, body))
        return plane.watch.confirm(now)
