"""Whether a person may do an act: what every area of operations asks first."""

from __future__ import annotations

from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.kernel.ids import TeamId
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Agent, Environment
from accredit.registry.service import Registry

__all__ = ["Permission", "require_admin_scope"]


class Permission:
    """Asks `registry/authority.py` about the organisation as it is now."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def require(
        self,
        act: Act,
        who: Operator,
        *,
        agent: Agent | None = None,
        team: TeamId | None = None,
        environment: Environment | None = None,
        changes: bool = True,
    ) -> None:
        """Check that somebody may do an act, to an agent or for a team if one is given.

        An act that `changes` nothing may be done with a credential that only sees.

        Raises:
            ForbiddenError: `not_authorised`, or `production_refused` to one administrator alone.
        """
        if changes:
            require_admin_scope(who)
        answer = authority(
            act,
            who.person,
            self._registry.organisation,
            agent=agent,
            team=team,
            environment=environment,
            single_admin=who.basis == Basis.SINGLE_ADMIN,
        )
        if isinstance(answer, Unauthorised):
            where = environment or (agent.environment if agent else None)
            if who.basis == Basis.SINGLE_ADMIN and where is Environment.PRODUCTION:
                raise ForbiddenError(Code.PRODUCTION_REFUSED, f"one administrator alone may not {act} in {where}")
            may = ", ".join(f"`{one}`" for one in answer.who_may)
            raise ForbiddenError(Code.NOT_AUTHORISED, f"you may not {act}", hint=f"ask somebody who may: {may}")


def require_admin_scope(who: Operator) -> None:
    """Check that a credential may change something: one that only sees changes nothing, whoever holds it.

    Raises:
        ForbiddenError: `not_authorised`.
    """
    if "admin" not in who.scopes:
        raise ForbiddenError(Code.NOT_AUTHORISED, "your token can only read", hint="use one with the scope `admin`")
