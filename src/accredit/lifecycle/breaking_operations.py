"""Break-glass as people do it: who may, for what, and the review that each one brings with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from accredit.approvals.breakglass import BreakGlass, BreakGlasses, GlassReview, check_breaking, check_confirming
from accredit.approvals.model import ApprovalRequest, Parties, SubjectKind
from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId, IdSource, PersonId, ToolId
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.ports import ApprovalDesk
from accredit.policy.releases import PolicyReleases
from accredit.policy.restrictions import restriction_policy
from accredit.registry.authority import Act, Permitted, authority
from accredit.registry.model import Agent, RestrictionKind
from accredit.registry.proposals import Proposal, proposal_digest
from accredit.registry.service import Registry

__all__ = ["BreakingOperations"]

_MINUTE_US: Final = 60_000_000


class BreakingOperations:
    """Breaks it, ends it, and has it looked at."""

    def __init__(
        self,
        registry: Registry,
        releases: PolicyReleases,
        approvals: ApprovalDesk,
        glasses: BreakGlasses,
        clock: Clock,
        ids: IdSource,
        *,
        steady: Callable[[Instant], bool],
    ) -> None:
        self._registry = registry
        self._releases = releases
        self._approvals = approvals
        self._glasses = glasses
        self._clock = clock
        self._ids = ids
        self._steady = steady
        self._permission = Permission(registry)

    def all(self) -> tuple[BreakGlass, ...]:
        """Every one on record, newest first."""
        return self._glasses.all()

    def reason(self, id_: str) -> str:
        """Why it was broken. Raises NotFoundError."""
        return self._glasses.reason(id_)

    async def open(
        self,
        who: Operator,
        agent: AgentId,
        tools: Sequence[ToolId],
        policies: Sequence[str],
        *,
        minutes: int,
        reason: str,
        second: bool = False,
    ) -> BreakGlass:
        """Let calls of some tools of an agent not wait for some holds, at once and for at most 8 hours.

        People are told, and security is asked to review it within three days. With `second` nothing is broken yet and
        nobody is paged: somebody else has to confirm it within the hour.

        Raises:
            NotFoundError: no such agent.
            ForbiddenError: they may not, or stand on the agent's side.
            InvalidInputError: it is for too much or too long, or names what is no hold.
            ConflictError: one of theirs was not reviewed in time, or too many are in force.
            UnavailableError: it could not be made durable, or the clock is not confirmed.
        """
        found = self._known(agent)
        self._permission.require(Act.BREAK_GLASS, who, agent=found)
        if who.basis != Basis.ROLES:
            raise ForbiddenError(Code.TWO_PERSONS_REQUIRED, "one person alone breaks no glass: nobody could review it")
        now = self._clock.now()
        if not self._steady(now):
            raise UnavailableError(Code.CLOCK_UNCONFIRMED, "the wall clock stepped: no glass is broken")
        made = BreakGlass(
            self._ids.new("bgl"), agent, tuple(sorted(set(tools))), tuple(sorted(set(policies))), who.person,
            now.wall_us, now.wall_us + minutes * _MINUTE_US, "", minutes=minutes if second else 0,
        )  # fmt: skip
        owners = _owners(found)
        parties = Parties(None, self._registry.authors(agent), owners)

        def check() -> None:
            check_breaking(
                made,
                self._glasses.all(),
                self._registry.proven_organisation(),
                parties,
                reason=reason,
                tools={grant.tool for grant in found.version.every_grant},
                holds=self._holds(agent, now.wall_us),
            )

        check()
        if second:
            await self._glasses.ask(made, _actor(who), reason=reason, salt=self._ids.secret(16).hex(), check=check)
            return self._glasses.get(made.id)
        request = await self._asked(who, made, reason, owners)
        made = replace(made, request=request.id)
        await self._glasses.open(made, _actor(who), reason=reason, salt=self._ids.secret(16).hex(), check=check)
        return made

    async def confirm(self, who: Operator, id_: str, seen: str) -> BreakGlass:
        """Break what somebody else asked for, exactly as it was shown: from now on, without a page.

        Raises:
            NotFoundError: there is none of that id.
            ForbiddenError: they may not break it themselves, asked for it, or stand on the agent's side.
            ConflictError: it does not wait any more, or is not what was shown.
            UnavailableError: it could not be made durable, or the clock is not confirmed.
        """
        one = self._glasses.get(id_)
        found = self._known(one.agent)
        self._permission.require(Act.BREAK_GLASS, who, agent=found)
        now = self._clock.now()
        if not self._steady(now):
            raise UnavailableError(Code.CLOCK_UNCONFIRMED, "the wall clock stepped: no glass is broken")
        parties = Parties(None, self._registry.authors(one.agent), _owners(found))

        def check(asked: BreakGlass, now_us: int) -> None:
            organisation = self._registry.proven_organisation()
            if not isinstance(authority(Act.BREAK_GLASS, asked.by, organisation, agent=found), Permitted):
                # it would be one person who breaks it, and nobody would be paged
                raise ConflictError(
                    Code.CONFLICT, "whoever asked for it may not break it any more", hint="ask for it anew"
                )
            others = [each for each in self._glasses.all() if each.id != id_]
            check_confirming(asked, who.person, others, organisation, parties, seen=seen, now_us=now_us)
            reason = self._glasses.reason(id_)
            present = replace(asked, opened_us=now_us, until_us=now_us + asked.minutes * _MINUTE_US)
            tools = {grant.tool for grant in found.version.every_grant}
            holds = self._holds(one.agent, now_us)
            check_breaking(present, others, organisation, parties, reason=reason, tools=tools, holds=holds)

        check(one, now.wall_us)
        in_force = replace(
            one, second=who.person, opened_us=now.wall_us, until_us=now.wall_us + one.minutes * _MINUTE_US
        )
        request = await self._asked(who, in_force, self._glasses.reason(id_), _owners(found) | in_force.hands)
        return await self._glasses.confirm(id_, who.person, request.id, _actor(who), check=check)

    async def end(self, who: Operator, id_: str) -> BreakGlass:
        """End one now: whoever may break it for that agent, or stop the agent.

        Raises:
            NotFoundError: there is none of that id.
        """
        self._permission.require(Act.SUSPEND, who, agent=self._agent_of(id_))
        return await self._glasses.end(id_, _actor(who))

    async def review(self, who: Operator, id_: str) -> ApprovalRequest:
        """Ask anew for the review of one that nobody looked at in time.

        Raises:
            NotFoundError: there is none of that id.
            ConflictError: it was reviewed, or still waits.
        """
        self._permission.require(Act.BREAK_GLASS, who, agent=self._agent_of(id_))
        one = self._glasses.get(id_)
        found = self._known(one.agent)
        if one.review is not GlassReview.OVERDUE:
            raise ConflictError(Code.CONFLICT, f"its review is {one.review}")
        request = await self._asked(who, one, "its review ran out", _owners(found) | one.hands)
        await self._glasses.reask(id_, request.id, _actor(who))
        return request

    async def _asked(self, who: Operator, one: BreakGlass, reason: str, sides: frozenset[PersonId]) -> ApprovalRequest:
        content = {
            "agent": one.agent,
            "by": one.by,
            "change": SubjectKind.BREAK_GLASS.value,
            "id": one.id,
            "opened_us": one.opened_us,
            "policies": list(one.policies),
            "reason": reason,
            "second": one.second,
            "tools": list(one.tools),
            "until_us": one.until_us,
        }
        proposal = Proposal(
            SubjectKind.BREAK_GLASS.value, proposal_digest(content), f"break-glass:{one.id}", content, None,
            one.hands, sides,
        )  # fmt: skip
        return await self._approvals.open_proposal(proposal, who)

    def _holds(self, agent: AgentId, now_us: int) -> frozenset[str]:
        """Everything that only holds calls of an agent, and that no approval rests on."""
        policies = {one.id for one in self._releases.current.policies if one.hold is not None}
        placed = {
            restriction_policy(one)
            for one in self._registry.restrictions_of(agent)
            if one.kind is RestrictionKind.HOLD and one.approval is None and one.in_force(now_us)
        }
        return frozenset(policies | placed)

    def _agent_of(self, id_: str) -> Agent | None:
        return next((self._registry.get(one.agent) for one in self._glasses.all() if one.id == id_), None)

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found


def _owners(agent: Agent) -> frozenset[PersonId]:
    return frozenset(one for one in (agent.owner, agent.backup_owner) if one is not None)


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
