"""The statistical part of baselines: how it is learned, who accepts it, and what people look at before they do.

Sessions are collected from when a version comes into force until there are enough, then proposed with what is in them:
whoever would have an agent's misbehaviour taken for its habits does it while it is learned. INVARIANT: nothing is
compared with sessions that no person accepted; of an agent of the lowest tier its owner may be that person, of any
other it is somebody who neither owns it nor asked for it to be learned (`approvals/duties.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, assert_never

from accredit.approvals.duties import Barred, Eligible, duty
from accredit.approvals.model import Parties
from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.timeline import Timeline, TimelineEvent
from accredit.monitoring.baselines import BaselineKeeper, behaves_alike, learns
from accredit.monitoring.behaviour import BaselinePart, Behaviour, FittedBaseline, LearningSource
from accredit.monitoring.drift.describing import SessionsDescribed, described, differences
from accredit.monitoring.drift.fitted import MOST_SESSIONS, fitted_bytes, measured_views, trimmed
from accredit.monitoring.drift.ports import FittedStore
from accredit.monitoring.drift.selecting import Period, Selected, selected_sessions
from accredit.monitoring.drift.watching import BehaviourWatch, DetectorStanding, DriftMatter, sessions_of
from accredit.monitoring.model import AlertKind, Baseline, Deviation
from accredit.monitoring.profiles.model import SessionProfile
from accredit.monitoring.profiles.ports import ProfileStore
from accredit.monitoring.rows import BASELINE, baseline_doc, baseline_from
from accredit.monitoring.service import Monitor
from accredit.registry.authority import Act
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Role, Tier
from accredit.registry.service import Registry

__all__ = ["FEWEST_SESSIONS", "BaselineDifference", "BaselineOperations", "BehaviourShown"]

FEWEST_SESSIONS: Final = 20
_MOST_READ: Final = 2_000
"""Sessions that are looked through for one baseline."""
_AT_ONCE: Final = 25
_MOST_AT_ONCE: Final = 50
"""Agents that one round looks at."""
_LOOK_AGAIN_US: Final = 10 * 60_000_000
_KEPT_AGAIN_US: Final = 3_600_000_000
_ACCEPTS: Final = {Tier.MEDIUM: (Role.TEAM_LEAD, Role.SECURITY), Tier.HIGH: (Role.SECURITY,)}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BaselineDifference:
    """Two collections of sessions, and how the second differs."""

    before: SessionsDescribed
    after: SessionsDescribed
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BehaviourShown:
    """How an agent's behaviour is watched now."""

    behaviour: Behaviour
    collected: int | None
    """Sessions that count for what is being learned; None: nothing is."""
    left_out: int
    """And how many of that time do not, because of alerts or a quarantine."""
    unproven: frozenset[Digest]
    """Baselines whose sessions are not there any more, or are others."""
    detectors: tuple[DetectorStanding, ...]


class BaselineOperations:
    """What people do about baselines, and what is due by itself."""

    def __init__(
        self,
        control: ControlLog,
        baselines: BaselineKeeper,
        profiles: ProfileStore,
        fitted: FittedStore,
        watch: BehaviourWatch,
        registry: Registry,
        judging: Judging,
        monitor: Monitor,
        timeline: Timeline,
        clock: Clock,
    ) -> None:
        self._control = control
        self._baselines = baselines
        self._profiles = profiles
        self._fitted = fitted
        self._watch = watch
        self._registry = registry
        self._judging = judging
        self._monitor = monitor
        self._timeline = timeline
        self._clock = clock
        self._permission = Permission(registry)
        self._alone = asyncio.Lock()
        self._missing: dict[AgentId, int] = {}
        """How many more sessions an agent must finish before it is looked at again."""
        self._looked_boot_us: int | None = None
        self._tidied_boot_us: int | None = None
        self._learning = set(baselines.learning())
        control.subscribe(self._follow)

    # -- looking

    def show(self, agent: AgentId) -> BehaviourShown:
        """How an agent's behaviour is watched. Blocks; to be called from a thread.

        Raises:
            NotFoundError: it has no baseline.
            UnavailableError: profiles or states cannot be read.
        """
        baseline = self._baseline(agent)
        behaviour, found = baseline.behaviour, None
        if behaviour.learning is not None:
            found = self._selected(baseline, since_us=behaviour.learning.since_us, most=MOST_SESSIONS)
        parts = (behaviour.accepted, behaviour.proposal, behaviour.previous)
        unproven = {one.digest for one in parts if one is not None and self._sessions(agent, one) is None}
        return BehaviourShown(
            behaviour,
            None if found is None else len(found.sessions),
            0 if found is None else found.left_out,
            frozenset(unproven),
            self._watch.standings(agent),
        )

    def compare(self, agent: AgentId, before: BaselinePart, after: BaselinePart) -> BaselineDifference:
        """How sessions differ from others. Blocks; to be called from a thread.

        Raises:
            NotFoundError: the agent has no baseline, or nothing of that name.
            ConflictError: the sessions are not proven (`state_unproven`).
            UnavailableError: they cannot be read.
        """
        one, other = described(self.part(agent, before)), described(self.part(agent, after))
        return BaselineDifference(one, other, differences(one, other))

    def describe(self, agent: AgentId, name: BaselinePart) -> SessionsDescribed:
        """What sessions are like. Blocks, and raises, as `compare`."""
        return described(self.part(agent, name))

    def part(self, agent: AgentId, name: BaselinePart) -> tuple[SessionProfile, ...]:
        """Sessions by what they are to the agent's baseline. Blocks, and raises, as `compare`."""
        baseline = self._baseline(agent)
        behaviour = baseline.behaviour
        match name:
            case BaselinePart.RECENT:
                after = 0 if behaviour.accepted is None else behaviour.accepted.after
                newest = self._profiles.newest(agent, MOST_SESSIONS)
                return tuple(one.profile for one in reversed(newest) if one.number > after)
            case BaselinePart.ACCEPTED:
                found = behaviour.accepted
            case BaselinePart.PROPOSAL:
                found = behaviour.proposal
            case BaselinePart.PREVIOUS:
                found = behaviour.previous
            case _:
                assert_never(name)
        if found is None:
            raise NotFoundError(
                Code.NOT_FOUND, f"it has no {name} baseline", hint=f"its behaviour is {behaviour.state}"
            )
        sessions = self._sessions(agent, found)
        if sessions is None:
            raise _unproven()
        return sessions

    # -- what people do

    async def learn(
        self,
        who: Operator,
        agent: AgentId,
        source: LearningSource,
        *,
        since_us: int | None = None,
        sessions: int | None = None,
    ) -> Baseline:
        """Have a baseline learned: from now on, or from what is on record, which is proposed at once.

        Args:
            who: Who asks.
            agent: Which agent.
            source: Where the sessions are from.
            since_us: Of recorded ones: only those that began since then.
            sessions: How many are wanted, at most; of recorded ones fewer will do.

        Raises:
            ForbiddenError: they may not.
            NotFoundError: no such agent, or it has no baseline, or none of an earlier version.
            InvalidInputError: the number of sessions is not from 20 to 200, or `since_us` is given of others.
            ConflictError: something is proposed already, there are too few sessions, or they are not proven.
            UnavailableError: it could not be read or made durable.
        """
        found = self._known(agent)
        self._permission.require(Act.LEARN_BASELINE, who, agent=found)
        if sessions is not None and not FEWEST_SESSIONS <= sessions <= MOST_SESSIONS:
            raise InvalidInputError(
                Code.SETTING_INVALID, f"a baseline is of {FEWEST_SESSIONS} to {MOST_SESSIONS} sessions"
            )
        if since_us is not None and source is not LearningSource.RECORDED:
            raise InvalidInputError(Code.SETTING_INVALID, "only recorded sessions can be chosen by their time")
        async with self._alone:
            baseline = self._baseline(agent)
            if baseline.behaviour.proposal is not None:
                raise ConflictError(
                    Code.CONFLICT, "a baseline is proposed already", hint="accept it, or begin anew with a reset"
                )
            match source:
                case LearningSource.TRIAL:
                    learning = self._baselines.terms.begun(self._now_us, sessions=sessions, by=who.person)
                    await self._change("baseline.learning", found, who, lambda one: replace(one, learning=learning))
                case LearningSource.RECORDED:
                    chosen = await asyncio.to_thread(
                        self._selected,
                        baseline,
                        since_us=since_us or 0,
                        most=sessions or self._baselines.terms.sessions,
                    )
                    if len(chosen.sessions) < FEWEST_SESSIONS:
                        raise _too_few(chosen)
                    await self._propose(found, chosen, source, who)
                case LearningSource.PREVIOUS:
                    await self._propose_previous(found, baseline, who)
        return self._baseline(agent)

    async def accept(self, who: Operator, agent: AgentId, digest: Digest) -> Baseline:
        """Take what is proposed for what the agent does. From its next session on it is compared with that.

        Raises:
            ForbiddenError: they may not, or not for this agent (`separation_of_duties`).
            NotFoundError: no such agent, or it has no baseline, or nothing is proposed.
            ConflictError: something else is proposed by now, or its sessions are not proven.
            UnavailableError: it could not be read or made durable, or stored state is not proven.
        """
        found = self._known(agent)
        self._permission.require(Act.ACCEPT_BASELINE, who, agent=found)
        async with self._alone:
            proposal = self._baseline(agent).behaviour.proposal
            if proposal is None:
                raise NotFoundError(
                    Code.NOT_FOUND, "nothing is proposed", hint="`accredit baseline learn` has it learned"
                )
            self._require_fitting(who, found, proposal)
            if proposal.digest != digest:
                raise ConflictError(
                    Code.CONFLICT, "something else is proposed by now", hint="look at it, and give its digest"
                )
            if await asyncio.to_thread(self._sessions, agent, proposal) is None:
                raise _unproven()
            async with self._watch.between_sessions() as number:
                newest = await asyncio.to_thread(self._profiles.newest, agent, 1)
                accepted = replace(
                    proposal,
                    after=max(number, *(one.number for one in newest), 0),
                    accepted_us=self._now_us,
                    accepted_by=who.person,
                    detectors=self._watch.kinds,
                )

                def taken(before: Behaviour) -> Behaviour:
                    if before.proposal != proposal:
                        raise ConflictError(Code.CONFLICT, "something else is proposed by now")
                    return Behaviour(accepted=accepted, previous=before.accepted or before.previous)

                await self._change("baseline.accepted", found, who, taken, fitted=accepted)
            for kind, matter in (
                (AlertKind.BEHAVIOUR_DRIFT, DriftMatter.SESSIONS),
                (AlertKind.UNWATCHED, DriftMatter.UNPROVEN),
                (AlertKind.UNWATCHED, DriftMatter.FEW),
            ):
                await self._monitor.over(agent, kind, matter)  # it was about what is compared with no more
        return self._baseline(agent)

    async def reset(self, who: Operator, agent: AgentId, reason: str) -> Baseline:
        """Drop what is proposed or collected and learn anew; what is accepted stays until another is.

        Raises:
            ForbiddenError: they may not.
            NotFoundError: no such agent, or it has no baseline.
            UnavailableError: it could not be made durable.
        """
        found = self._known(agent)
        self._permission.require(Act.LEARN_BASELINE, who, agent=found)
        async with self._alone:
            learning = self._baselines.terms.begun(self._now_us, by=who.person)
            await self._change(
                "baseline.reset",
                found,
                who,
                lambda before: replace(before, learning=learning, proposal=None),
                reason=reason,
            )
        return self._baseline(agent)

    def _require_fitting(self, who: Operator, agent: Agent, proposal: FittedBaseline) -> None:
        if self._control.unproven:  # any row that the log contradicts could be the one that would have barred somebody
            raise UnavailableError(
                Code.STATE_UNPROVEN, "stored state is not what the audit log proves: nothing is accepted"
            )
        tier = self._judging.present(agent).tier or Tier.HIGH
        if tier is Tier.LOW:
            return
        owners = frozenset(one for one in (agent.owner, agent.backup_owner) if one is not None)
        parties = Parties(proposal.proposed_by, owners=owners)
        against: Barred | None = None
        for role in _ACCEPTS[tier]:
            answer = duty(
                self._registry.organisation,
                parties,
                who.person,
                role,
                agent.team.id,
                opened_us=proposal.proposed_us,
                now_us=self._now_us,
            )
            match answer:
                case Eligible():
                    return
                case Barred():
                    against = answer
        assert against is not None  # noqa: S101 - there is a role
        roles = " or ".join(f"`{role}`" for role in _ACCEPTS[tier])
        raise ForbiddenError(
            Code.SEPARATION_OF_DUTIES,
            f"you may not accept the baseline of an agent of tier {tier}: {against.detail}",
            hint=f"somebody as {roles} who neither owns the agent nor asked for it accepts it",
        )

    async def _propose_previous(self, agent: Agent, baseline: Baseline, who: Operator) -> None:
        before = baseline.behaviour.accepted
        if before is None or before.version == baseline.version:
            raise NotFoundError(Code.NOT_FOUND, "no baseline was accepted for an earlier version")
        sessions = await asyncio.to_thread(self._sessions, agent.id, before)
        if sessions is None:
            raise _unproven()
        await self._propose(agent, Selected(sessions, 0), LearningSource.PREVIOUS, who)

    # -- what is due by itself

    async def round(self) -> None:
        """Propose what was learned, say where there is too little of it, and let go of sessions nobody refers to.

        Raises:
            UnavailableError: it could not be read or made durable; the next round goes on.
        """
        async with self._alone:
            now = self._clock.now()
            finished, self._watch.finished = self._watch.finished, type(self._watch.finished)()
            for agent_id, count in finished.items():
                if agent_id in self._missing:
                    self._missing[agent_id] -= count
            due = self._looked_boot_us is None or now.boot_us - self._looked_boot_us >= _LOOK_AGAIN_US
            if due:
                self._looked_boot_us = now.boot_us
            looked = 0
            for number, agent_id in enumerate(sorted(self._learning)):
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)  # calls go first
                if looked >= _MOST_AT_ONCE:
                    self._looked_boot_us = None  # the rest in the next round
                    break
                if due or self._missing.get(agent_id, 0) <= 0:
                    looked += await self._look_at(agent_id, now.wall_us, due=due)
            if self._tidied_boot_us is None or now.boot_us - self._tidied_boot_us >= _KEPT_AGAIN_US:
                await self._tidy()
                self._tidied_boot_us = now.boot_us

    async def _look_at(self, agent_id: AgentId, now_us: int, *, due: bool) -> int:
        """Look at an agent whose baseline is learned; 1 if that took reading anything."""
        baseline, agent = self._baselines.of(agent_id), self._registry.get(agent_id)
        if baseline is None or agent is None or not runs(agent.environment, agent.state):
            return 0
        behaviour = baseline.behaviour
        if behaviour == Behaviour():  # made by a release that learned nothing
            learning = self._baselines.terms.begun(now_us)
            await self._change("baseline.learning", agent, None, lambda one: replace(one, learning=learning))
            return 1
        if behaviour.learning is None or behaviour.proposal is not None:
            return 0
        late = due and now_us >= behaviour.learning.until_us
        if self._missing.get(agent_id, 0) > 0 and not late:
            return 0
        wanted = behaviour.learning.sessions
        found = await asyncio.to_thread(self._selected, baseline, since_us=behaviour.learning.since_us, most=wanted)
        self._missing[agent_id] = wanted - len(found.sessions)
        if len(found.sessions) >= wanted:
            await self._propose(agent, found, LearningSource.TRIAL, None)
        elif late:
            evidence = {
                "expected": f"{wanted} sessions",
                "left_out": found.left_out,
                "seen": f"{len(found.sessions)} sessions",
            }
            await self._monitor.note(Deviation(agent_id, AlertKind.UNWATCHED, DriftMatter.FEW, evidence, now_us))
        return 1

    async def _tidy(self) -> None:
        if not any(kind == BASELINE for kind, _ in self._control.unproven):  # else something may still be referred to
            await asyncio.to_thread(lambda: self._fitted.keep_only(self._baselines.fitted()))

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == BASELINE:
                learning = write.doc is not None and learns(write.doc)
                (self._learning.add if learning else self._learning.discard)(AgentId(write.key))
                self._missing.pop(AgentId(write.key), None)

    # -- together

    def _selected(self, baseline: Baseline, *, since_us: int, most: int) -> Selected:
        """The newest sessions that began since then and may become the baseline of the version in force."""
        agent = baseline.agent
        kept = self._profiles.newest(agent, _MOST_READ, since_us=since_us)
        found = (one.profile for one in reversed(kept) if one.profile.began_us >= since_us)
        versions = self._registry.versions(agent)
        in_force = next((one for one in versions if one.digest == baseline.version), None)
        alike = {one.digest for one in versions if in_force is not None and behaves_alike(one.facets, in_force.facets)}
        return selected_sessions(
            found,
            versions=alike,
            alerts=self._monitor.alerts(agent=agent),
            quarantines=_quarantines(self._timeline.of(agent)),
            most=most,
        )

    async def _propose(self, agent: Agent, chosen: Selected, source: LearningSource, who: Operator | None) -> None:
        behaviour = self._baseline(agent.id).behaviour
        asked = behaviour.learning.by if who is None and behaviour.learning is not None else None
        sessions = trimmed(chosen.sessions)
        digest, kept = await asyncio.to_thread(fitted_bytes, sessions)
        await asyncio.to_thread(self._fitted.put, digest, kept)
        proposal = FittedBaseline(
            digest=digest,
            ids=tuple(one.session for one in sessions),
            first_us=min(one.began_us for one in sessions),
            last_us=max(one.ended_us for one in sessions),
            views=measured_views(sessions),
            source=source,
            version=agent.version.digest,
            left_out=chosen.left_out,
            proposed_us=self._now_us,
            proposed_by=who.person if who is not None else asked,
        )
        await self._change(
            "baseline.proposed",
            agent,
            who,
            lambda before: replace(before, learning=None, proposal=proposal),
            fitted=proposal,
        )
        await self._monitor.over(agent.id, AlertKind.UNWATCHED, DriftMatter.FEW)

    async def _change(
        self,
        event: str,
        agent: Agent,
        who: Operator | None,
        changed: Callable[[Behaviour], Behaviour],
        *,
        fitted: FittedBaseline | None = None,
        reason: str = "",
    ) -> None:
        def build(view: StateView) -> Change | None:
            row = view.get(BASELINE, agent.id)
            before = None if row is None else baseline_from(row.key, row.doc)
            if before is None or not before.open:
                raise NotFoundError(Code.NOT_FOUND, f"`{agent.name}` has no baseline")
            after = replace(before, behaviour=changed(before.behaviour))
            if after == before:
                return None
            body = (
                {}
                if fitted is None
                else {"digest": fitted.digest, "sessions": fitted.sessions, "source": fitted.source}
            )
            return Change(
                Facts(event, agent=agent.id, version=before.version, environment=agent.environment.value),
                (Write(BASELINE, agent.id, baseline_doc(after)),),
                Actor() if who is None else Actor(person=who.person, credential=who.credential, basis=who.basis),
                {name: str(one) if name == "source" else one for name, one in body.items()},
                (Part("text", {"reason": reason}),) if reason else (),
            )

        await self._control.transact(build)

    def _sessions(self, agent: AgentId, one: FittedBaseline) -> tuple[SessionProfile, ...] | None:
        return sessions_of(agent, one, self._fitted, self._profiles)

    def _baseline(self, agent: AgentId) -> Baseline:
        found = self._baselines.of(agent)
        if found is None or not found.open:
            raise NotFoundError(Code.NOT_FOUND, "it has no baseline", hint="activation opens one")
        return found

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found

    @property
    def _now_us(self) -> int:
        return self._clock.now().wall_us


def _quarantines(events: Iterable[TimelineEvent]) -> Sequence[Period]:
    """When an agent was quarantined, by its control records, oldest first."""
    found: list[Period] = []
    since_us: int | None = None
    for event in events:
        if event.kind == "agent.quarantined" and since_us is None:
            since_us = event.at_us
        elif event.kind == "agent.lifted" or (event.kind == "agent.activated" and since_us is not None):
            found.append((since_us or 0, event.at_us))  # it may have begun before what is read of the records
            since_us = None
    return found if since_us is None else [*found, (since_us, None)]


def _unproven() -> ConflictError:
    return ConflictError(
        Code.STATE_UNPROVEN,
        "its sessions are not there any more, or are others than those that were proposed",
        hint="begin anew with a reset",
    )


def _too_few(chosen: Selected) -> ConflictError:
    return ConflictError(
        Code.CONFLICT,
        f"{len(chosen.sessions)} sessions on record may become a baseline, and it takes {FEWEST_SESSIONS}",
        hint=f"{chosen.left_out} were left out because of alerts or a quarantine; those of other versions do not count",
    )
