"""What agents that do one work between them come to together: cutting work into parts gets nobody below a tier. Pure.

Two agents belong to one work if they were seen at it (the same tasks, or work handed on) and somebody answers for both
(one owner, one backup, one team) or one may delegate to the other. What such a work comes to is the tier of everything
its agents have together. Agents that are above a tier by themselves are left out when that tier is asked about, so that
nobody hides two low ones behind a high one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Final

from accredit.kernel.ids import AgentId
from accredit.registry.model import Agent, Tier
from accredit.registry.tiering import AUDIENCES, AUTONOMY, REACH, UNKNOWN, RiskFacts, levels_of, tier_of, tier_rank
from accredit.registry.versions import delegate_ids

__all__ = ["TOGETHER", "Workflow", "bound", "together", "workflows"]

TOGETHER: Final = 3
"""So many tasks or pieces of work that two agents share are no accident."""
_MOST_NAMED: Final = 50


@dataclass(frozen=True, slots=True)
class Workflow:
    """Agents whose work comes to a higher tier together than any of them does alone."""

    agents: tuple[AgentId, ...]
    tier: Tier
    floors: tuple[str, ...]
    """Rules of the floors that hold of all of it together."""
    records: tuple[int, ...] = ()
    """Of the log: some that show them at one work."""

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "agents": list(self.agents[:_MOST_NAMED]),
            "floors": list(self.floors),
            "more": max(len(self.agents) - _MOST_NAMED, 0),
            "records": list(self.records),
            "tier": self.tier,
        }


def bound(first: Agent, second: Agent) -> bool:
    """Whether somebody answers for both agents, or one may hand work on to the other."""
    people = {first.owner, first.backup_owner} & {second.owner, second.backup_owner} - {None}
    return bool(
        people
        or first.team.id == second.team.id
        or second.id in delegate_ids(first.version.manifest["spec"])
        or first.id in delegate_ids(second.version.manifest["spec"])
    )


def together(parts: Iterable[RiskFacts]) -> RiskFacts:
    """The facts of one agent that had everything these have. INVARIANT: no factor of it is below that of a part."""
    return reduce(_both, parts)


def _both(one: RiskFacts, other: RiskFacts) -> RiskFacts:
    inputs = one.inputs | other.inputs
    if not one.inputs or not other.inputs:
        inputs |= {"unknown"}  # what one of them does not declare is not known of both
    return replace(
        one,
        declared=one.declared | other.declared,
        tools=tuple(dict.fromkeys((*one.tools, *other.tools))),
        autonomy=_higher(AUTONOMY, one.autonomy, other.autonomy),
        inputs=inputs,
        audience=_higher(AUDIENCES, one.audience, other.audience),
        reach=_higher(REACH, one.reach, other.reach),
        annex3=one.annex3 or other.annex3,
        decides=one.decides or other.decides,
        prohibited=tuple(dict.fromkeys((*one.prohibited, *other.prohibited))),
        owner_present=one.owner_present and other.owner_present,
        supplier_faults=tuple(dict.fromkeys((*one.supplier_faults, *other.supplier_faults))),
        delegates=tuple(dict.fromkeys((*one.delegates, *other.delegates))),
        incident=one.incident or other.incident,
        answered=one.answered | other.answered,
        heard_from=max(one.heard_from, other.heard_from),
        served=max(one.served, other.served),
        workflow=max((tier for tier in (one.workflow, other.workflow) if tier), key=tier_rank, default=None),
    )


def _higher(ranks: Mapping[str, int], one: str, other: str) -> str:
    return max(one, other, key=lambda word: (ranks.get(word, UNKNOWN), word))


def workflows(
    facts: Mapping[AgentId, RiskFacts], links: Iterable[tuple[AgentId, AgentId]]
) -> dict[AgentId, tuple[Tier, tuple[AgentId, ...]]]:
    """Of each agent whose work comes to more than it does alone: that tier, and whom it does it with (itself too).

    `facts` are those of each agent by itself, `links` those that belong to one work.
    """
    pairs = list(links)
    alone = {agent: tier_of(levels_of(known)) for agent, known in facts.items()}
    found: dict[AgentId, tuple[Tier, tuple[AgentId, ...]]] = {}
    for tier in (Tier.HIGH, Tier.MEDIUM):
        below = {agent for agent, own in alone.items() if tier_rank(own) < tier_rank(tier)}
        for group in _groups(pairs, below):
            if tier_rank(tier_of(levels_of(together(facts[one] for one in group)))) < tier_rank(tier):
                continue
            for one in group:
                found.setdefault(one, (tier, group))  # the higher tier was asked about first
    return found


def _groups(pairs: Iterable[tuple[AgentId, AgentId]], among: set[AgentId]) -> Iterator[tuple[AgentId, ...]]:
    """Those that belong together by any number of links, each group in order."""
    near: dict[AgentId, set[AgentId]] = {}
    for first, second in pairs:
        if first in among and second in among and first != second:
            near.setdefault(first, set()).add(second)
            near.setdefault(second, set()).add(first)
    left = set(near)
    for start in sorted(near):
        if start not in left:
            continue
        group, open_ = set[AgentId](), [start]
        while open_:
            one = open_.pop()
            if one not in group:
                group.add(one)
                open_ += near[one]
        left -= group
        yield tuple(sorted(group))
