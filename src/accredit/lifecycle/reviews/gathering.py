"""Puts the card of an agent together, from what the rooms above know at this moment. It reads roll-ups, no records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from accredit.approvals.breakglass import BreakGlass
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.ids import AgentId, ToolId
from accredit.lifecycle.discovery.findings import AgentFinding
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.reviews.cards import PermissionFacts, PermissionItem, card_digest, permission_items
from accredit.lifecycle.reviews.first_uses import FirstUses
from accredit.lifecycle.reviews.model import AgentReview, ReviewCampaign, ReviewMark, Seed
from accredit.lifecycle.reviews.recurrence import seasonal
from accredit.lifecycle.reviews.seeding import seeded_tool
from accredit.monitoring.model import Alert, AlertKind, ToolHistory
from accredit.monitoring.service import Monitor
from accredit.registry.changes import FacetChange, changes_between
from accredit.registry.model import Agent, Incident, RestrictionKind, ReviewSchedule, Tier, Tool
from accredit.registry.service import Registry

__all__ = ["AgentCard", "CardGatherer", "higher", "present_tier"]

_DAY_US: Final = 86_400_000_000
_LATELY_US: Final = 90 * _DAY_US
_MOST_SHOWN: Final = 100
_SIGNALS: Final = frozenset(
    {AlertKind.NEW_TOOL, AlertKind.POSTURE_DEFINITION, AlertKind.REPORTED_MODEL, AlertKind.REPORTED_TOOL}
)


@dataclass(frozen=True, slots=True)
class AgentCard:
    """All that people are shown of an agent under review, as of now."""

    review: AgentReview
    campaign: ReviewCampaign
    agent: Agent
    tier: Tier | None
    reviewed_us: int | None
    """When the last review of it was over; None: there was none."""
    changes: tuple[FacetChange, ...]
    """Since then."""
    incidents: tuple[Incident, ...]
    alerts: tuple[Alert, ...]
    """Those that are not resolved, or were opened since then."""
    findings: tuple[AgentFinding, ...]
    cost_nanos: int
    """Of 90 days."""
    items: tuple[PermissionItem, ...]
    """Every permission, seeded ones among them; riskiest and longest unused first."""
    texts: tuple[str, ...]
    """What its need was stated to be before, newest first."""

    @property
    def alone(self) -> tuple[PermissionItem, ...]:
        """Those that are decided on by themselves."""
        return tuple(one for one in self.items if not one.routine and not one.dropped)

    @property
    def routine(self) -> tuple[PermissionItem, ...]:
        """Those of the one line."""
        return tuple(one for one in self.items if one.routine and not one.dropped)

    @property
    def dropped(self) -> tuple[PermissionItem, ...]:
        """Those that are out of reach."""
        return tuple(one for one in self.items if one.dropped)

    @property
    def version(self) -> Digest:
        return self.agent.version.digest

    @property
    def purpose(self) -> str:
        return str(self.agent.version.manifest["spec"]["purpose"])

    @property
    def digest(self) -> Digest:
        """What decisions bind to."""
        return card_digest(self.version, self.review.look, self.items, self.review.decisions)


@dataclass(frozen=True, slots=True)
class _Around:
    """What is read once for many cards, by agent."""

    histories: Mapping[AgentId, Mapping[ToolId, ToolHistory]]
    broken: Mapping[AgentId, Collection[ToolId]]
    """Tools for which glass was broken lately."""
    findings: Mapping[AgentId, Sequence[AgentFinding]]
    schedules: Sequence[ReviewSchedule]
    closely: bool


def present_tier(judging: Judging, agent: Agent) -> Tier | None:
    """The tier that an agent is reviewed under, whoever owns it: what it comes to now or was approved under.

    None: nobody can tell.

    Raises:
        UnavailableError: the engine failed, or the log contradicts a row this rests on.
    """
    now = judging.tier_of(agent) or judging.present(agent).tier
    return now if now is None or agent.tier is None else higher(now, agent.tier)


_TIERS: Final = (Tier.LOW, Tier.MEDIUM, Tier.HIGH)


def higher(one: Tier, other: Tier) -> Tier:
    """The one under which more can go wrong."""
    return max(one, other, key=_TIERS.index)


class CardGatherer:
    """Makes cards. May be used from a thread."""

    def __init__(
        self,
        registry: Registry,
        judging: Judging,
        monitor: Monitor,
        findings: Findings,
        glasses: Callable[[], Sequence[BreakGlass]],
        marks: Callable[[AgentReview], ReviewMark | None],
        taken: Callable[[AgentId], Collection[ToolId]],
        first_uses: FirstUses,
        clock: Clock,
    ) -> None:
        """`taken` knows what reviews took away from an agent; `marks`, what the review before one left."""
        self._registry = registry
        self._judging = judging
        self._monitor = monitor
        self._findings = findings
        self._glasses = glasses
        self._marks = marks
        self._taken = taken
        self._first_uses = first_uses
        self._clock = clock

    def cards(
        self, campaign: ReviewCampaign, reviews: Iterable[AgentReview], *, closely: bool = False
    ) -> list[AgentCard]:
        """The cards of some reviews of a campaign; of agents that are gone there is none.

        `closely`, what was granted lately is looked up in the log as well, which takes longer and hides nothing.

        Raises:
            UnavailableError: the log cannot be read, or contradicts a row they rest on.
        """
        found = [(one, agent) for one in reviews if (agent := self._registry.get(one.agent)) is not None]
        around = self._around([agent.id for _, agent in found], closely=closely)
        return [self._card(campaign, review, agent, around) for review, agent in found]

    def permissions(self, agent: Agent) -> tuple[PermissionItem, ...]:
        """What a card would say of an agent's permissions now, outside of any review. Raises as `cards`."""
        now_us, around = self._clock.now().wall_us, self._around([agent.id], closely=False)
        alerts = [one for one in self._monitor.alerts(agent=agent.id) if one.closed_us is None]
        facts = self._facts(agent, None, around, alerts, present_tier(self._judging, agent), now_us)
        return permission_items(facts, now_us=now_us)

    def _around(self, agents: Collection[AgentId], *, closely: bool) -> _Around:
        histories: dict[AgentId, dict[ToolId, ToolHistory]] = {}
        for (agent_id, tool), one in self._monitor.histories(agents).items():
            histories.setdefault(agent_id, {})[tool] = one
        lately_us = self._clock.now().wall_us - _LATELY_US
        broken: dict[AgentId, set[ToolId]] = {}
        for glass in self._glasses():
            if glass.opened_us >= lately_us:
                broken.setdefault(glass.agent, set()).update(glass.tools)
        findings: dict[AgentId, list[AgentFinding]] = {}
        for finding in self._findings.find(open_=True):
            if finding.seen.agent is not None:
                findings.setdefault(finding.seen.agent, []).append(finding)
        return _Around(histories, broken, findings, self._registry.review_schedules, closely)

    def _card(
        self,
        campaign: ReviewCampaign,
        review: AgentReview,
        agent: Agent,
        around: _Around,
    ) -> AgentCard:
        now_us, mark = self._clock.now().wall_us, self._marks(review)
        since_us = mark.at_us if mark is not None else 0
        tier = present_tier(self._judging, agent)
        histories = around.histories.get(agent.id, {})
        alerts = tuple(
            one for one in self._monitor.alerts(agent=agent.id) if one.closed_us is None or one.opened_us > since_us
        )
        facts = self._facts(agent, mark, around, alerts, tier, now_us)
        granted = {one.tool for one in facts}
        facts += [
            self._seeded(seed, agent, review) for seed in campaign.seeds
            if seed.agent == agent.id and seed.tool not in granted
        ]  # fmt: skip
        return AgentCard(
            review=review,
            campaign=campaign,
            agent=agent,
            tier=tier,
            reviewed_us=mark.at_us if mark is not None else None,
            changes=self._changes(agent, mark),
            incidents=tuple(
                one for one in self._registry.incidents_of(agent.id) if one.open or one.opened_us > since_us
            ),
            alerts=alerts[:_MOST_SHOWN],
            findings=tuple(around.findings.get(agent.id, ())[:_MOST_SHOWN]),
            cost_nanos=sum(one.cost_nanos for one in histories.values()),
            items=permission_items(facts, now_us=now_us),
            texts=mark.texts if mark is not None else (),
        )

    def _facts(
        self,
        agent: Agent,
        mark: ReviewMark | None,
        around: _Around,
        alerts: Iterable[Alert],
        tier: Tier | None,
        now_us: int,
    ) -> list[PermissionFacts]:
        histories, broken = around.histories.get(agent.id, {}), around.broken.get(agent.id, ())
        seasons = seasonal(agent, tier, around.schedules)
        catalogue, since = self._registry.catalogue, self._registry.granted_since(agent.id)
        # what another restriction drops comes back when that ends, and nobody would have decided on it
        taken = self._taken(agent.id)
        dropped = {
            one.tool
            for one in self._registry.restrictions_of(agent.id)
            if one.kind is RestrictionKind.DROP_TOOL and one.in_force(now_us) and one.tool in taken
        }
        signals: dict[str, list[str]] = {}
        for alert in alerts:
            if alert.kind in _SIGNALS and alert.closed_us is None:
                signals.setdefault(alert.tool or alert.matter, []).append(f"alert `{alert.kind}` is open")
        begun_us = mark.at_us if mark is not None else agent.registered_us
        if around.closely and any(path.startswith("task.") for one in agent.version.grants for _, path in one.same_as):
            fresh = {
                grant.tool: histories[grant.tool].first_used_day or 0
                for grant in agent.version.every_grant
                if since.get(grant.tool, agent.registered_us) > begun_us
                and grant.tool in histories
                and histories[grant.tool].first_used_day is not None
            }
            for tool in self._first_uses.for_no_task(agent.id, fresh):
                signals.setdefault(tool, []).append("it was first used for no task that anybody verified")
        found = []
        for grant in agent.version.every_grant:
            tool, known = grant.tool, catalogue.tool(grant.tool)
            before = mark.grants.get(tool) if mark is not None else None
            granted_us = since.get(tool, agent.registered_us)
            found.append(
                PermissionFacts(
                    tool=tool,
                    known=known,
                    granted_us=granted_us,
                    history=histories.get(tool),
                    new=granted_us > begun_us,
                    changed=before is not None and before != (grant.digest, _definition(known)),
                    exception=tool in broken,
                    signals=tuple(signals.get(tool, ())),
                    dropped=tool in dropped,
                    season_months=seasons[tool].every_months if tool in seasons else None,
                )
            )
        return found

    def _seeded(self, seed: Seed, agent: Agent, review: AgentReview) -> PermissionFacts:
        """Made of what any permission is made of; taken away, it looks like any other that was."""
        known = seeded_tool(seed, agent, self._registry.catalogue.tool(seed.tool))
        gone = any(one.tool == seed.tool and one.verified_us is not None for one in review.removals)
        return PermissionFacts(seed.tool, known, seed.granted_us, None, new=True, dropped=gone)

    def _changes(self, agent: Agent, mark: ReviewMark | None) -> tuple[FacetChange, ...]:
        if mark is None or mark.version == agent.version.digest:
            return ()
        versions = {one.digest: one for one in self._registry.versions(agent.id)}
        before = versions.get(mark.version)
        return () if before is None else changes_between(before.manifest, agent.version.manifest)[:_MOST_SHOWN]


def _definition(tool: Tool | None) -> str:
    return tool.definition_digest if tool is not None else ""
