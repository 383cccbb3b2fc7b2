"""The facts a tier is computed from, gathered from what is registered and what is enforced. Pure.

Nothing an agent's manifest says takes anything away here: a mask counts for the classes that the tool's registered
fields place, a hold for the tools on which the policies in force hold every call, and what is not registered any more
counts as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from accredit.kernel.ids import AgentId
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, AgentState, AgentVersion, Agreement, Incident, Tier
from accredit.registry.observation import NOTHING_OBSERVED, ObservedRisk, with_observed
from accredit.registry.organisation import Organisation
from accredit.registry.tiering import (
    UNKNOWN,
    Enforced,
    GrantedTool,
    RiskFacts,
    SupplierFault,
    exposure_of,
    levels_of,
    sensitive,
    tier_of,
    tier_rank,
)
from accredit.registry.versions import delegate_ids

__all__ = ["exposure_by", "risk_facts"]

_GRAVEST = 1
_MOST_DELEGATES = 200
"""Beyond that many it is as if any of them could do anything."""


def risk_facts(
    agent: Agent,
    version: AgentVersion,
    catalogue: Catalogue,
    *,
    agreements: Mapping[str, Agreement],
    organisation: Organisation,
    enforced: Callable[[Agent, AgentVersion], Enforced],
    incidents: Callable[[AgentId], Iterable[Incident]],
    now_us: int,
    observed: Callable[[AgentId], ObservedRisk] = lambda _: NOTHING_OBSERVED,
    workflow: Tier | None = None,
) -> RiskFacts:
    """Everything the tier of that version depends on, as of now.

    `enforced` says what the release in force does to a version's tools, `observed` what was seen of an agent; both are
    asked for delegates too. `workflow` is the tier of the work that the agent is a part of.
    """
    facts = _own(agent, version, catalogue, enforced=enforced, incidents=incidents, observed=observed)
    spec = version.manifest["spec"]
    owner = organisation.people.get(spec["owner"])
    return replace(
        facts,
        owner_present=owner is not None and not owner.left and not owner.bot,
        supplier_faults=tuple(_supplier_faults(spec["models"], facts, agreements, now_us)),
        delegates=_delegates(agent.id, version, catalogue, enforced=enforced, incidents=incidents, observed=observed),
        workflow=workflow,
    )


def exposure_by(catalogue: Catalogue) -> Callable[[AgentId], int]:
    """Who can put text in front of an agent, by its version in force; of one that is not known it is not known."""

    def exposure(agent: AgentId) -> int:
        found = catalogue.agent(agent)
        if found is None:
            return UNKNOWN
        spec = found.version.manifest["spec"]
        said = RiskFacts(frozenset(), (), spec["autonomy"], frozenset(spec["inputs"]), spec["audience"], spec["reach"])
        return exposure_of(said)

    return exposure


def _own(
    agent: Agent,
    version: AgentVersion,
    catalogue: Catalogue,
    *,
    enforced: Callable[[Agent, AgentVersion], Enforced],
    incidents: Callable[[AgentId], Iterable[Incident]],
    observed: Callable[[AgentId], ObservedRisk],
) -> RiskFacts:
    """An agent alone: without whom it may call."""
    spec = version.manifest["spec"]
    use = spec["use"]
    facts = RiskFacts(
        declared=version.data,
        tools=tuple(_tools(version, catalogue, enforced(agent, version))),
        autonomy=spec["autonomy"],
        inputs=frozenset(spec["inputs"]),
        audience=spec["audience"],
        reach=spec["reach"],
        annex3=use["annex3"],
        decides=use["decidesOnPeople"],
        prohibited=tuple(use["prohibited"]),
        incident=any(one.open and one.severity <= _GRAVEST for one in incidents(agent.id)),
    )
    return with_observed(facts, version, observed(agent.id), exposure_by(catalogue))


def _tools(version: AgentVersion, catalogue: Catalogue, enforced: Enforced) -> Iterator[GrantedTool]:
    for grant in version.grants:
        tool = catalogue.tool(grant.tool)
        held, closed = grant.tool in enforced.held, grant.tool in enforced.closed
        if tool is None:
            yield GrantedTool(grant.tool, None, held=held, closed=closed)
            continue
        yield GrantedTool(
            tool=tool.id,
            effect=tool.effect,
            scope=tool.scope,
            data=tool.data,
            masked=tool.data - tool.shown(grant.mask),
            held=held,
            closed=closed,
        )


def _supplier_faults(
    models: Iterable[Mapping[str, str | None]], facts: RiskFacts, agreements: Mapping[str, Agreement], now_us: int
) -> Iterator[SupplierFault]:
    """Suppliers that would see personal data or worse, each of which needs an agreement in force that covers it."""
    classes = sensitive(facts.reached)
    if not classes:
        return
    listed = ", ".join(f"`{name}`" for name in sorted(classes))
    for entry in models:
        provider, model, name = str(entry["provider"]), str(entry["model"]), entry["agreement"]
        agreement = agreements.get(name) if name is not None else None
        if name is None:
            reason = f"would see {listed} without an agreement"
        elif agreement is None:
            reason = f"would see {listed}, and no agreement `{name}` is registered"
        elif agreement.allows(provider, classes, now_us=now_us):
            continue
        elif agreement.provider != provider:
            reason = f"would see {listed}, and `{name}` is an agreement with `{agreement.provider}`"
        elif missing := classes - agreement.covers:
            more = ", ".join(f"`{one}`" for one in sorted(missing))
            reason = f"would see {listed}, and the agreement `{name}` does not cover {more}"
        else:
            reason = f"would see {listed}, and the agreement `{name}` has expired"
        yield SupplierFault(provider, model, reason)


def _delegates(
    own: AgentId,
    version: AgentVersion,
    catalogue: Catalogue,
    *,
    enforced: Callable[[Agent, AgentVersion], Enforced],
    incidents: Callable[[AgentId], Iterable[Incident]],
    observed: Callable[[AgentId], ObservedRisk],
) -> tuple[tuple[AgentId, Tier], ...]:
    """Whom it may call, each with the highest tier that can be reached through it. Delegates may call each other."""
    alone: dict[AgentId, Tier] = {}
    calls: dict[AgentId, tuple[AgentId, ...]] = {}
    waiting = _named(version)
    while waiting:
        name = waiting.pop()
        if name in alone or name == own:
            continue
        if len(alone) == _MOST_DELEGATES:
            return tuple((name, Tier.HIGH) for name in sorted(_named(version)))
        delegate = catalogue.agent(name)
        if delegate is None:
            alone[name], calls[name] = Tier.HIGH, ()  # unknown: it could be anything
        elif delegate.state is AgentState.RETIRED:
            alone[name], calls[name] = Tier.LOW, ()  # nobody can call it any more
        else:
            # blocks do not matter here: what it can do counts, whether or not it may be submitted
            facts = _own(
                delegate, delegate.version, catalogue, enforced=enforced, incidents=incidents, observed=observed
            )
            alone[name], calls[name] = tier_of(levels_of(facts)), tuple(_named(delegate.version))
            waiting += calls[name]

    def through(first: AgentId) -> Tier:
        seen, open_ = {own}, [first]
        while open_:
            name = open_.pop()
            if name not in seen:
                seen.add(name)
                open_ += calls[name]
        return max((alone[name] for name in seen - {own}), key=tier_rank, default=Tier.LOW)

    return tuple((name, through(name)) for name in sorted(_named(version)))


def _named(version: AgentVersion) -> list[AgentId]:
    return list(delegate_ids(version.manifest["spec"]))
