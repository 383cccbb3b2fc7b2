"""What people can do to records themselves: hold them, erase somebody from them. Who may is asked first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.approvals.duties import Barred, duty
from accredit.approvals.model import ApprovalRequest, Parties, SubjectKind
from accredit.audit.erasing import Erasure, ErasurePlan, Erasures
from accredit.audit.expiring import Expiries
from accredit.audit.legal_holds import LegalHold, LegalHoldKeeper
from accredit.audit.ports import Actor
from accredit.audit.subjects import SubjectSense
from accredit.identity.model import Operator
from accredit.kernel.clearance import Clearance
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.ports import ApprovalDesk
from accredit.registry.authority import Act
from accredit.registry.model import Role
from accredit.registry.proposals import Proposal, proposal_digest
from accredit.registry.service import Registry

__all__ = ["RecordOperations"]

_DAY_US: Final = 86_400_000_000


class RecordOperations:
    """Acts of people. Every method raises ForbiddenError (`not_authorised`) for whoever may not do it."""

    def __init__(
        self,
        holds: LegalHoldKeeper,
        erasures: Erasures,
        expiries: Expiries,
        approvals: ApprovalDesk,
        registry: Registry,
        clock: Clock,
        *,
        backup_days: int,
    ) -> None:
        self._holds = holds
        self._erasures = erasures
        self._expiries = expiries
        self._approvals = approvals
        self._backup_us = backup_days * _DAY_US
        self._registry = registry
        self._clock = clock
        self._permission = Permission(registry)

    async def place_hold(
        self,
        who: Operator,
        matter: str,
        *,
        agent: AgentId | None = None,
        subject: str | None = None,
        incident: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> LegalHold:
        """Keep from now on what all of that names; an incident names its agent. Raises as `LegalHoldKeeper.place`.

        Raises:
            NotFoundError: no such agent or incident.
            InvalidInputError: the incident is another agent's.
        """
        self._permission.require(Act.PLACE_LEGAL_HOLD, who)
        if agent is not None and self._registry.get(agent) is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        if incident is not None:
            found = self._registry.incident(incident)
            if found is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no incident `{incident[:80]}`")
            if agent not in {None, *found.agents}:
                raise InvalidInputError(Code.BODY_MALFORMED, "the incident is another agent's")
            agent = agent or found.agent
        return await self._holds.place(
            matter=matter,
            by=_actor(who),
            agent=agent,
            subject=subject,
            incident=incident,
            since_us=since_us,
            until_us=until_us,
        )

    async def lift_hold(self, who: Operator, hold: str, reason: str) -> LegalHold:
        """End a hold: by somebody who could not be who placed it. Raises as `LegalHoldKeeper.lift`."""
        self._permission.require(Act.LIFT_LEGAL_HOLD, who)
        now_us = self._clock.now().wall_us
        placed = Parties(self._holds.get(hold).placed_by)
        organisation = self._registry.organisation
        answer = duty(organisation, placed, who.person, Role.COMPLIANCE, None, opened_us=now_us, now_us=now_us)
        if isinstance(answer, Barred):
            raise ForbiddenError(
                Code.NOT_AUTHORISED,
                f"you may not lift this legal hold: {answer.detail}",
                hint="ask another person in compliance than who placed it",
            )
        return await self._holds.lift(hold, by=_actor(who), reason=reason)

    async def erase(
        self, who: Operator, subject: str, senses: frozenset[SubjectSense], basis: str
    ) -> tuple[ErasurePlan, ApprovalRequest]:
        """Ask that a subject be erased from the log: what that destroys, and the request that compliance decides.

        Neither keeps the subject, only keyed names of it. Raises as `Erasures.plan`.

        Raises:
            NotFoundError: nothing that could be erased concerns them.
        """
        self._permission.require(Act.ERASE_SUBJECT, who)
        plan = await self._erasures.plan(subject, senses)
        if not plan.parts and not plan.kept:
            raise NotFoundError(Code.NOT_FOUND, "no part of the log that can be opened concerns this subject")
        content = {"basis": basis, "by": who.person, "change": SubjectKind.ERASURE.value, "plan": plan.document()}
        proposal = Proposal(
            SubjectKind.ERASURE.value,
            proposal_digest(content),
            f"erasure:{plan.id}",
            content,
            None,
            frozenset({who.person}),
        )
        return plan, await self._approvals.open_proposal(proposal, who)

    async def approved(self, content: Mapping[str, Any], clearance: Clearance, actor: Actor) -> None:
        """Begin an erasure that was signed off; the rounds carry it out."""
        await self._erasures.begin(
            content["plan"],
            basis=content["basis"],
            by=content["by"],
            approved=clearance.subject.digest,
            actor=actor,
        )

    def copies_until_us(self, erasure: Erasure) -> int | None:
        """When the last copy of the data directory that can hold an erased key is gone, if backups end as set."""
        return None if erasure.erased_us is None else erasure.erased_us + self._backup_us

    async def round(self) -> None:
        """Carry on with what was signed off, and let go what is due. Raises as `Erasures.round`."""
        await self._erasures.round()
        await self._expiries.round()


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
