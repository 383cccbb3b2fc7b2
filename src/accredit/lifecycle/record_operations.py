"""What people can do to records themselves: hold them for a legal matter, with the question of who may asked first."""

from __future__ import annotations

from accredit.approvals.duties import Barred, duty
from accredit.approvals.model import Parties
from accredit.audit.legal_holds import LegalHold, LegalHoldKeeper
from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.permission import Permission
from accredit.registry.authority import Act
from accredit.registry.model import Role
from accredit.registry.service import Registry

__all__ = ["RecordOperations"]


class RecordOperations:
    """Acts of people. Every method raises ForbiddenError (`not_authorised`) for whoever may not do it."""

    def __init__(self, holds: LegalHoldKeeper, registry: Registry, clock: Clock) -> None:
        self._holds = holds
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
            if agent not in {None, found.agent}:
                raise InvalidInputError(Code.BODY_MALFORMED, "the incident is another agent's")
            agent = found.agent
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


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
