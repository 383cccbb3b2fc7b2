"""Templates: what agents may be that were approved before they exist, and whether a version is within one. Pure.

A template bounds everything its approvers judged: tools as they were pinned and registered then, data, models,
autonomy, audience, inputs, reach and limits. A version is within it only while all of that still is so; one that hands
work on or keeps a store never is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import PersonId, TeamId, ToolId
from accredit.kernel.money import Money
from accredit.registry.model import AgentVersion, Tool

__all__ = ["Template", "outside", "pinned_facts", "template_from"]


@dataclass(frozen=True, slots=True)
class Template:
    """An envelope that was approved by the full gate of the medium tier."""

    name: str
    team: TeamId
    digest: Digest
    """Of the proposal it was approved by: what votes under it bind to."""
    doc: Mapping[str, Any]
    """What it says, as voters are shown it."""
    by: frozenset[PersonId]
    """Who approved it, and whose delegations they did it under."""
    expires_us: int


def pinned_facts(tool: Tool) -> dict[str, Any]:
    """What of a tool a template is approved with: the tool is not the same one when any of it differs."""
    return {
        "allow_undeclared": tool.allow_undeclared,
        "data": sorted(tool.data),
        "definition": tool.definition_digest,
        "effect": tool.effect.value,
        "scope": tool.scope.value if tool.scope else None,
    }


def template_from(key: str, doc: Mapping[str, Any]) -> Template:
    """The template of a row, under `TEAM/NAME`."""
    team, _, name = key.partition("/")
    return Template(
        name,
        TeamId(team),
        Digest(doc["enacted"]),
        doc["doc"],
        frozenset(PersonId(one) for one in doc["by"]),
        doc["doc"]["expires_us"],
    )


def outside(
    template: Template, version: AgentVersion, team: TeamId, tool: Callable[[ToolId], Tool | None], *, now_us: int
) -> tuple[str, ...]:
    """Why a version is not within a template, in plain words; nothing if it is. `tool` knows what is registered."""
    bounds, spec, limits = template.doc, version.manifest["spec"], version.limits
    found: list[str] = []
    if team != template.team:
        found.append("it is another team's")
    if now_us >= template.expires_us:
        found.append("the template has expired")
    if version.delegates or spec.get("delegates"):
        found.append("it hands work on")
    if spec.get("stores"):
        found.append("it keeps a store")
    if spec.get("envelope"):
        found.append("it lets changes come that the template does not know")
    for grant in version.grants:
        known, pinned = tool(grant.tool), bounds["tools"].get(grant.tool)
        if pinned is None:
            found.append(f"`{grant.tool}` is not in it")
        elif known is None or pinned_facts(known) != pinned:
            found.append(f"`{grant.tool}` is not what it was when the template was approved")
    models = {(one["provider"], one["model"]) for one in spec["models"]}
    found += [
        f"the model `{model}` is not in it"
        for provider, model in sorted(models)
        if [provider, model] not in bounds["models"]
    ]
    for name in ("autonomy", "audience", "reach"):
        if spec[name] not in bounds[name]:
            found.append(f"{name} `{spec[name]}` is not in it")
    for name in ("data", "inputs"):
        found += [f"{name} `{one}` is not in it" for one in spec[name] if one not in bounds[name]]
    use = spec["use"]
    if use.get("annex3") or use.get("decidesOnPeople") or use.get("prohibited"):
        found.append("its use takes the full gate")
    most = bounds["limits"]
    if limits.calls_per_minute > most["callsPerMinute"] or limits.concurrency > most["concurrency"]:
        found.append("it may call more often")
    if limits.call_timeout_s * 1000 > most["callTimeoutMs"] or limits.run_timeout_s * 1000 > most["runTimeoutMs"]:
        found.append("it may run longer")
    if most["costPerDay"] is not None:
        cap = Money(most["costPerDay"]["nanos"], most["costPerDay"]["currency"])
        own = limits.cost_per_day
        if own is None or own.currency != cap.currency or own.nanos > cap.nanos:
            found.append("it may spend more")
    return tuple(found)
