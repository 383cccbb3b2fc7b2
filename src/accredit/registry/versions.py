"""A manifest's canonical form, its facets, and the version made of them.

The canonical form is a manifest again: people, team and delegates are named by id, tools and items by id and pinned
definition, times are milliseconds and money nano-units; what has no order is sorted and what was left out is written
with its default, so two manifests that mean the same are the same version. Every key belongs to exactly one facet:

facet       keys (of `spec`, unless it says otherwise)
tools       tools and items (conditions, narrowed hours and definition digests included), hours
data        data
models      models
prompt      prompt
autonomy    autonomy
audience    audience, inputs, reach
limits      limits, expires
stores      stores
delegates   delegates
owner       owner, backupOwner, businessService; the manifest's metadata (name, team, environment), apiVersion, kind
purpose     purpose, use

The key `envelope` has a part for each of four facets (`ENVELOPE_OF`). It is left out where nothing is approved
beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

from accredit.kernel.canonical import Digest, canonical, digest_value
from accredit.kernel.hours import DAYS, Hours
from accredit.kernel.ids import AgentId, PersonId, ToolId, tool_id
from accredit.kernel.money import Money
from accredit.registry.llm_models import ModelRates
from accredit.registry.manifest import AgentManifest, duration_ms
from accredit.registry.model import AgentLimits, AgentVersion, DelegateGrant, Team, ToolGrant

__all__ = [
    "ENVELOPE_OF",
    "FACETS",
    "canonical_manifest",
    "delegate_ids",
    "delegation_of",
    "envelope_of",
    "enveloped",
    "expiry_us",
    "facets",
    "grant_of",
    "last_day",
    "money_doc",
    "money_from",
    "rates_from",
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
    "owner": ("owner", "backupOwner", "businessService"),
    "prompt": ("prompt",),
    "purpose": ("purpose", "use"),
    "stores": ("stores",),
    "tools": ("tools", "hours"),
}
"""Keys of `spec` by facet; what stands beside `spec` says whose agent it is and belongs to `owner`."""
ENVELOPE_OF: Final[Mapping[str, str]] = {
    "limits": "limits",
    "models": "models",
    "prompt": "prompts",
    "tools": "definitions",
}
"""By facet: the part of `spec.envelope` that belongs to it, so whoever judges the facet judges what it may become. A
facet that is not here has none, and whatever changes in it takes the gate."""

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
    delegates: Mapping[str, AgentId],
    definitions: Mapping[ToolId, Digest],
) -> dict[str, Any]:
    """The canonical form, with the pinned digest of every tool it grants and the id of every agent it delegates to."""
    spec = manifest.spec
    tools = [
        {
            "definition": definitions[tool],
            "hours": _hours_doc(form.hours.read()) if form.hours else None,
            "mask": sorted(form.mask),
            "sameAs": sorted([left, right] for left, right in form.when.same_as.items()) if form.when else [],
            "tool": tool,
            "userRole": form.when.user_role if form.when else None,
        }
        for form in spec.tools
        for tool in (tool_id(form.server, name) for _, name in form.names)
    ]
    limits = spec.limits
    return {
        "apiVersion": manifest.api_version,
        "kind": manifest.kind,
        "metadata": {
            "environment": manifest.metadata.environment,
            "name": manifest.metadata.name,
            "team": team.id,
        },
        "spec": {
            "audience": spec.audience,
            "autonomy": spec.autonomy,
            "backupOwner": backup_owner,
            "businessService": spec.business_service,
            "data": sorted(spec.data),
            "delegates": _delegates_doc(manifest, delegates),
            "expires": spec.expires.isoformat() if spec.expires else None,
            "hours": _hours_doc(spec.hours.read()) if spec.hours else None,
            "inputs": sorted(spec.inputs),
            "limits": {
                "callTimeoutMs": duration_ms(limits.timeout.call),
                "callsPerMinute": limits.calls.per_minute,
                "concurrency": limits.concurrency,
                "costPerDay": money_doc(Money.parse(limits.cost.per_day)) if limits.cost else None,
                "runTimeoutMs": duration_ms(limits.timeout.run),
            },
            "models": _sorted(
                {"agreement": form.agreement, "model": form.model, "provider": form.provider} for form in spec.models
            ),
            "owner": owner,
            "prompt": {"digest": spec.prompt.digest},
            "purpose": spec.purpose,
            "reach": spec.reach,
            "stores": _sorted(
                {
                    "adapter": form.adapter,
                    "kind": form.kind,
                    "namespace": form.namespace,
                    # left out where there is none, as in versions from before stores were registered
                    **({"store": form.store} if form.store is not None else {}),
                }
                for form in spec.stores
            ),
            "tools": sorted(tools, key=lambda grant: str(grant["tool"])),
            "use": {
                "annex3": spec.use.annex3,
                "decidesOnPeople": spec.use.decides_on_people,
                "prohibited": sorted(spec.use.prohibited),
                # left out where it is not said, as in versions from before it could be
                **({"legalRole": spec.use.legal_role} if spec.use.legal_role is not None else {}),
            },
            **_envelope_doc(manifest),
        },
    }


def _envelope_doc(manifest: AgentManifest) -> dict[str, Any]:
    """What is approved beforehand; nothing where that is nothing, as in versions from before it could be said."""
    envelope = manifest.spec.envelope
    if envelope is None:
        return {}
    parts: dict[str, Any] = {
        "definitions": sorted({tool_id(form.server, name) for form in envelope.definitions for name in form.allow}),
        "models": _sorted(
            {"agreement": form.agreement, "model": form.model, "provider": form.provider} for form in envelope.models
        ),
        "prompts": sorted(envelope.prompts),
    }
    if (most := envelope.limits) is not None:
        limits = {
            "callTimeoutMs": duration_ms(most.timeout.call) if most.timeout.call else None,
            "callsPerMinute": most.calls.per_minute if most.calls else None,
            "concurrency": most.concurrency,
            "costPerDay": money_doc(Money.parse(most.cost.per_day)) if most.cost else None,
            "runTimeoutMs": duration_ms(most.timeout.run) if most.timeout.run else None,
        }
        parts["limits"] = {key: value for key, value in limits.items() if value is not None}
    said = {part: value for part, value in parts.items() if value}
    return {"envelope": said} if said else {}


def _delegates_doc(manifest: AgentManifest, ids: Mapping[str, AgentId]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "agent": ids[form.agent],
            "tools": sorted(
                (
                    {
                        "sameAs": sorted([left, right] for left, right in each.when.same_as.items())
                        if each.when
                        else [],
                        "tool": tool_id(each.server, name),
                        "userRole": each.when.user_role if each.when else None,
                    }
                    for each in form.tools
                    for name in each.allow
                ),
                key=lambda entry: str(entry["tool"]),
            ),
        }
        for form in manifest.spec.delegates
    ]
    return sorted(found, key=lambda entry: str(entry["agent"]))


def delegate_ids(spec: Mapping[str, Any]) -> tuple[AgentId, ...]:
    """Whom the `spec` of a canonical form delegates to.

    In versions made before tools were named there, an entry is the agent's id alone: such a one hands on nothing.
    """
    return tuple(AgentId(one if isinstance(one, str) else one["agent"]) for one in spec["delegates"])


def version_digest(form: Mapping[str, Any]) -> Digest:
    """The address of a version."""
    return digest_value("agent-version", form)


def facets(form: Mapping[str, Any]) -> dict[str, Digest]:
    """The digest of each facet of a canonical form."""
    beside = {key: value for key, value in form.items() if key != "spec"}
    return {
        facet: digest_value(
            "agent-facet",
            {
                "facet": facet,
                "value": {key: form["spec"][key] for key in keys}
                | (beside if facet == "owner" else {})
                | ({"envelope": part} if (part := envelope_of(form["spec"], facet)) else {}),
            },
        )
        for facet, keys in FACETS.items()
    }


def envelope_of(spec: Mapping[str, Any], facet: str) -> Any:
    """What the `spec` of a canonical form approves beforehand of a facet; None: nothing."""
    part = ENVELOPE_OF.get(facet)
    return None if part is None else (spec.get("envelope") or {}).get(part)


def enveloped(version: AgentVersion) -> frozenset[ToolId]:
    """The models that a version's envelope lets come, and the tools whose definition it lets become another."""
    spec = version.manifest["spec"]
    models = envelope_of(spec, "models") or ()
    return frozenset(
        (
            *(ToolId(tool_id(form["provider"], form["model"])) for form in models),
            *map(ToolId, envelope_of(spec, "tools") or ()),
        )
    )


def version_from(doc: Mapping[str, Any], *, shared: dict[Digest, ToolGrant] | None = None) -> AgentVersion:
    """The version a stored document holds; equal grants become one object where `shared` has them."""
    spec = doc["manifest"]["spec"]
    hours = _hours_from(spec["hours"])
    limits = spec["limits"]
    grants = []
    for entry in spec["tools"]:
        grant = _grant(entry, hours)
        grants.append(grant if shared is None else shared.setdefault(grant.digest, grant))
    return AgentVersion(
        digest=doc["digest"],
        manifest=doc["manifest"],
        facets=doc["facets"],
        grants=tuple(grants),
        data=frozenset(spec["data"]),
        zone=hours.zone if hours else "UTC",
        limits=AgentLimits(
            calls_per_minute=limits["callsPerMinute"],
            concurrency=limits["concurrency"],
            call_timeout_s=limits["callTimeoutMs"] / 1000,
            run_timeout_s=limits["runTimeoutMs"] / 1000,
            cost_per_day=money_from(limits["costPerDay"]),
        ),
        expires_us=expiry_us(spec["expires"]),
        models=tuple(
            grant_of(ToolId(tool_id(form["provider"], form["model"])), hours=hours, model=True)
            for form in spec["models"]
        ),
        delegates=tuple(
            grant for entry in spec["delegates"] if not isinstance(entry, str) for grant in _delegations(entry, hours)
        ),
    )


_NO_AMOUNT: Final = frozenset({"max_output", "source"})


def rates_from(doc: Mapping[str, Any] | None) -> ModelRates | None:
    """The rates of a model that were stored; None for a tool."""
    if doc is None:
        return None
    amounts = {name: Money(doc[name]["nanos"], doc[name]["currency"]) for name in doc if name not in _NO_AMOUNT}
    return ModelRates(**amounts, max_output=doc["max_output"])


def expiry_us(last_day: str | None) -> int | None:
    """The moment the last day ends, UTC."""
    return None if last_day is None else ((date.fromisoformat(last_day) - _EPOCH).days + 1) * _DAY_US


def last_day(now_us: int, days: int) -> str:
    """The day (UTC) so many days from now."""
    return (_EPOCH + timedelta(days=now_us // _DAY_US + days)).isoformat()


def _delegations(entry: Mapping[str, Any], hours: Hours | None) -> Iterable[DelegateGrant]:
    callee = AgentId(entry["agent"])
    yield delegation_of(callee)
    for tool in entry["tools"]:
        pairs = [(left, right) for left, right in tool["sameAs"]]
        yield delegation_of(callee, ToolId(tool["tool"]), user_role=tool["userRole"], same_as=pairs, hours=hours)


def delegation_of(
    callee: AgentId,
    tool: ToolId | None = None,
    *,
    user_role: str | None = None,
    same_as: Iterable[tuple[str, str]] = (),
    hours: Hours | None = None,
) -> DelegateGrant:
    """What is delegated to an agent, under the digest of what it means."""
    pairs = sorted(same_as)
    means = {
        "callee": callee,
        "hours": _hours_doc(hours) if hours else None,
        "same_as": [list(pair) for pair in pairs],
        "tool": tool,
        "user_role": user_role,
    }
    return DelegateGrant(callee, tool, digest_value("delegate-grant", means), user_role, tuple(pairs), hours)


def _grant(entry: Mapping[str, Any], hours: Hours | None) -> ToolGrant:
    return grant_of(
        ToolId(entry["tool"]),
        user_role=entry["userRole"],
        same_as=[(left, right) for left, right in entry["sameAs"]],
        hours=_hours_from(entry["hours"]) or hours,
        mask=entry["mask"],
    )


def grant_of(
    tool: ToolId,
    *,
    user_role: str | None = None,
    same_as: Iterable[tuple[str, str]] = (),
    hours: Hours | None = None,
    mask: Iterable[str] = (),
    model: bool = False,
) -> ToolGrant:
    """The grant of one tool, under the digest of what it means."""
    pairs, masked = sorted(same_as), sorted(mask)
    means: dict[str, Any] = {
        "hours": _hours_doc(hours) if hours else None,
        "mask": masked,
        "same_as": [list(pair) for pair in pairs],
        "tool": tool,
        "user_role": user_role,
    }
    if model:
        means["model"] = True
    return ToolGrant(tool, digest_value("tool-grant", means), user_role, tuple(pairs), hours, frozenset(masked), model)


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
