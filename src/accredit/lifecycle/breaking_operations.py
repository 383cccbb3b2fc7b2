"""Break-glass as people do it: who may, for what, and the review that each one brings with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from accredit.approvals.breakglass import BreakGlass, BreakGlasses, GlassReview, check_breaking
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
from accredit.registry.authority import Act
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

    async def open(
        self,
        who: Operator,
        agent: AgentId,
        tools: Sequence[ToolId],
        policies: Sequence[str],
        *,
        minutes: int,
        reason: str,
    ) -> BreakGlass:
        """Let calls of some tools of an agent not wait for some holds, at once and for at most 8 hours.

        People are told, and security is asked to review it within three days.

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
            now.wall_us, now.wall_us + minutes * _MINUTE_US, "",
        )  # fmt: skip
        owners = frozenset(one for one in (found.owner, found.backup_owner) if one is not None)
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
        request = await self._asked(who, made, reason, owners)
        made = replace(made, request=request.id)
        await self._glasses.open(made, _actor(who), reason=reason, salt=self._ids.secret(16).hex(), check=check)
        return made

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
        owners = frozenset(each for each in (found.owner, found.backup_owner) if each is not None)
        request = await self._asked(who, one, "its review ran out", owners | {one.by})
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
            "tools": list(one.tools),
            "until_us": one.until_us,
        }
        proposal = Proposal(
            SubjectKind.BREAK_GLASS.value, proposal_digest(content), f"break-glass:{one.id}", content, None,
            frozenset({one.by}), sides,
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


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
