"""A manifest's canonical form, its facets, and the version made of them.

The canonical form names people, team and delegates by id, tools by id and pinned definition, times in milliseconds and
money in nano-units; what has no order is sorted and what was left out is written with its default, so two manifests
that mean the same are the same version. Every key belongs to exactly one facet:

facet       keys of the canonical form
tools       tools (conditions, narrowed hours and definition digests included), hours
data        data
models      models
prompt      prompt
autonomy    autonomy
audience    audience, inputs, reach
limits      limits, expires
stores      stores
delegates   delegates
owner       owner, backup_owner, team, business_service, name, environment, api_version
purpose     purpose, use
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from accredit.kernel.canonical import Digest, canonical, digest_value
from accredit.kernel.hours import DAYS, Hours
from accredit.kernel.ids import AgentId, PersonId, ToolId, tool_id
from accredit.kernel.money import Money
from accredit.registry.manifest import AgentManifest, duration_ms
from accredit.registry.model import AgentLimits, AgentVersion, Team, ToolGrant

__all__ = [
    "FACETS",
    "canonical_manifest",
    "expiry_us",
    "facets",
    "money_doc",
    "money_from",
    "version_digest",
    "version_from",
]

FACETS: Mapping[str, tuple[str, ...]] = {
    "audience": ("audience", "inputs", "reach"),
    "autonomy": ("autonomy",),
    "data": ("data",),
    "delegates": ("delegates",),
    "limits": ("limits", "expires"),
    "models": ("models",),
    "owner": ("owner", "backup_owner", "team", "business_service", "name", "environment", "api_version"),
    "prompt": ("prompt",),
    "purpose": ("purpose", "use"),
    "stores": ("stores",),
    "tools": ("tools", "hours"),
}

_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


def money_doc(money: Money | None) -> dict[str, Any] | None:
    """An amount as stored."""
    return None if money is None else {"currency": money.currency, "nanos": money.nanos}


def money_from(doc: Mapping[str, Any] | None) -> Money | None:
    """The amount that was stored."""
    return None if doc is None else Money(doc["nanos"], doc["currency"])


def canonical_manifest(
    manifest: AgentManifest,
    *,
    team: Team,
    owner: PersonId,
    backup_owner: PersonId | None,
    delegates: Iterable[AgentId],
    definitions: Mapping[ToolId, Digest],
) -> dict[str, Any]:
    """The canonical form; `definitions` has the pinned digest of every tool the manifest grants."""
    spec = manifest.spec
    tools = [
        {
            "definition": definitions[tool],
            "hours": _hours_doc(form.hours.read()) if form.hours else None,
            "same_as": sorted([left, right] for left, right in form.when.same_as.items()) if form.when else [],
            "tool": tool,
            "user_role": form.when.user_role if form.when else None,
        }
        for form in spec.tools
        for tool in (tool_id(form.server, name) for name in form.allow)
    ]
    limits = spec.limits
    return {
        "api_version": manifest.api_version,
        "audience": spec.audience,
        "autonomy": spec.autonomy,
        "backup_owner": backup_owner,
        "business_service": spec.business_service,
        "data": sorted(spec.data),
        "delegates": sorted(delegates),
        "environment": manifest.metadata.environment,
        "expires": spec.expires.isoformat() if spec.expires else None,
        "hours": _hours_doc(spec.hours.read()) if spec.hours else None,
        "inputs": sorted(spec.inputs),
        "limits": {
            "call_timeout_ms": duration_ms(limits.timeout.call),
            "calls_per_minute": limits.calls.per_minute,
            "concurrency": limits.concurrency,
            "cost_per_day": money_doc(Money.parse(limits.cost.per_day)) if limits.cost else None,
            "run_timeout_ms": duration_ms(limits.timeout.run),
        },
        "models": _sorted(
            {"agreement": form.agreement, "model": form.model, "provider": form.provider} for form in spec.models
        ),
        "name": manifest.metadata.name,
        "owner": owner,
        "prompt": {"digest": spec.prompt.digest},
        "purpose": spec.purpose,
        "reach": spec.reach,
        "stores": _sorted(
            {"adapter": form.adapter, "kind": form.kind, "namespace": form.namespace} for form in spec.stores
        ),
        "team": team.id,
        "tools": sorted(tools, key=lambda grant: str(grant["tool"])),
        "use": {"annex3": spec.use.annex3, "decides_on_people": spec.use.decides_on_people},
    }


def version_digest(form: Mapping[str, Any]) -> Digest:
    """The address of a version."""
    return digest_value("agent-version", form)


def facets(form: Mapping[str, Any]) -> dict[str, Digest]:
    """The digest of each facet of a canonical form."""
    return {
        facet: digest_value("agent-facet", {"facet": facet, "value": {key: form[key] for key in keys}})
        for facet, keys in FACETS.items()
    }


def version_from(doc: Mapping[str, Any], *, shared: dict[Digest, ToolGrant] | None = None) -> AgentVersion:
    """The version a stored document holds; equal grants become one object where `shared` has them."""
    form = doc["manifest"]
    hours = _hours_from(form["hours"])
    limits = form["limits"]
    grants = []
    for entry in form["tools"]:
        grant = _grant(entry, hours)
        grants.append(grant if shared is None else shared.setdefault(grant.digest, grant))
    return AgentVersion(
        digest=doc["digest"],
        manifest=form,
        facets=doc["facets"],
        grants=tuple(grants),
        data=frozenset(form["data"]),
        zone=hours.zone if hours else "UTC",
        limits=AgentLimits(
            calls_per_minute=limits["calls_per_minute"],
            concurrency=limits["concurrency"],
            call_timeout_s=limits["call_timeout_ms"] / 1000,
            run_timeout_s=limits["run_timeout_ms"] / 1000,
            cost_per_day=money_from(limits["cost_per_day"]),
        ),
        expires_us=expiry_us(form["expires"]),
    )


def expiry_us(last_day: str | None) -> int | None:
    """The moment the last day ends, UTC."""
    return None if last_day is None else ((date.fromisoformat(last_day) - _EPOCH).days + 1) * _DAY_US


def _grant(entry: Mapping[str, Any], hours: Hours | None) -> ToolGrant:
    own = _hours_from(entry["hours"]) or hours
    same_as = tuple((left, right) for left, right in entry["same_as"])
    means = {
        "hours": _hours_doc(own) if own else None,
        "same_as": entry["same_as"],
        "tool": entry["tool"],
        "user_role": entry["user_role"],
    }
    return ToolGrant(ToolId(entry["tool"]), digest_value("tool-grant", means), entry["user_role"], same_as, own)


def _hours_doc(hours: Hours) -> dict[str, Any]:
    return {
        "days": [day for day in DAYS if day in hours.days],
        "end": hours.end,
        "start": hours.start,
        "zone": hours.zone,
    }


def _hours_from(doc: Mapping[str, Any] | None) -> Hours | None:
    return None if doc is None else Hours(doc["start"], doc["end"], frozenset(doc["days"]), doc["zone"])


def _sorted(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=canonical)
