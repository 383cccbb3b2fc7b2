"""Who asks, what they name, and whether they may see it.

Whoever holds a role sees everything; whoever owns an agent sees that one; others see what is their own. What may be
changed is not decided here but by the operations.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.convertors import Convertor, register_url_convertor

from accredit.api.plane import ControlPlane
from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Agent, Environment

__all__ = ["Asking", "Who", "actor_of", "source_of"]

_ENVIRONMENTS = "|".join(Environment)


class _AgentReference(Convertor[str]):
    """An id, a name, or environment/name.

    An environment's name before a slash is always that, so an agent may be called like what can be asked about one.
    """

    regex = f"(?:(?:{_ENVIRONMENTS})/[^/]+|(?!(?:{_ENVIRONMENTS})/)[^/]+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("agent", _AgentReference())
_BEARER = HTTPBearer(auto_error=False, description="an operator's API token, from `accredit login LINK`")


def _operator(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Operator:
    found: Operator = request.state.operator  # `ControlEntry` let nobody in without one
    return found


Who = Annotated[Operator, Depends(_operator)]
"""Whose token the request carries."""


def actor_of(who: Operator) -> Actor:
    """The same for a record."""
    return Actor(person=who.person, credential=who.credential, basis=who.basis)


def source_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


class Asking:
    """Finds what is named, for whoever may see it."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def agent(self, name: str) -> Agent:
        """The agent of that id, name or environment/name; a name alone is one in development.

        Raises:
            NotFoundError: there is none.
        """
        found = self._named(name)
        if found is None:
            raise _nameless(name)
        return found

    def seen(self, who: Operator, name: str) -> Agent:
        """The same for somebody who may look at it: who may do anything to an agent may.

        Raises:
            NotFoundError: there is none, or none for them; it is not told which.
        """
        found = self._named(name)
        if found is None or not self.may_see(who, found):
            raise _nameless(name)
        return found

    def _named(self, name: str) -> Agent | None:
        catalogue = self._plane.snapshots.current.catalogue
        environment, _, short = name.rpartition("/")
        return catalogue.agent(AgentId(name)) or catalogue.agent_named(environment or "development", short)

    def seen_agent(self, who: Operator, agent: AgentId | None) -> None:
        """Check that somebody may look at what belongs to an agent, or (None) to the installation.

        Raises:
            ForbiddenError: they may not.
        """
        found = None if agent is None else self._plane.snapshots.current.catalogue.agent(agent)
        if not (self.sees_all(who) if found is None else self.may_see(who, found)):
            raise _unseen()

    def may_see(self, who: Operator, agent: Agent) -> bool:
        """Whether somebody may look at an agent."""
        answer = authority(Act.READ, who.person, self._plane.registry.organisation, agent=agent)
        return not isinstance(answer, Unauthorised)

    def sees_all(self, who: Operator) -> bool:
        """Whether somebody may look at everything."""
        return bool(self._plane.registry.organisation.roles_of(who.person))

    def visible(self, who: Operator) -> list[Agent]:
        """The agents that somebody may look at."""
        agents = self._plane.snapshots.current.catalogue.agents()
        if self.sees_all(who):
            return list(agents)
        return [agent for agent in agents if who.person in {agent.owner, agent.backup_owner}]

    def require_reader(self, who: Operator) -> None:
        """Check that somebody has any part in this: a role, or an agent of their own.

        Raises:
            ForbiddenError: they have none.
        """
        if not self.visible(who) and not self.sees_all(who):
            raise _unseen()

    def require(self, act: Act, who: Operator) -> None:
        """Check that somebody may do what is no operation: what it changes is not kept in control state.

        Raises:
            ForbiddenError: they may not; says who may.
        """
        answer = authority(
            act, who.person, self._plane.registry.organisation, single_admin=who.basis == Basis.SINGLE_ADMIN
        )
        if isinstance(answer, Unauthorised):
            may = ", ".join(f"`{one}`" for one in answer.who_may)
            raise ForbiddenError(Code.NOT_AUTHORISED, f"you may not {act}", hint=f"ask somebody who may: {may}")

    def name(self, agent: AgentId | str | None) -> str | None:
        """An agent's environment/name; None if there is no such agent."""
        known = None if agent is None else self._plane.snapshots.current.catalogue.agent(AgentId(agent))
        return f"{known.environment}/{known.name}" if known else None

    def address(self, person: PersonId | str | None) -> str | None:
        """A person's e-mail address; None if there is no such person."""
        known = None if person is None else self._plane.snapshots.current.catalogue.person_by_id(PersonId(person))
        return known.email if known else None


def _nameless(name: str) -> NotFoundError:
    return NotFoundError(
        Code.NOT_FOUND,
        f"no agent is called `{name[:100]}`",
        hint="see `accredit agent list`; a retired one goes by its id",
    )


def _unseen() -> ForbiddenError:
    return ForbiddenError(
        Code.NOT_AUTHORISED,
        "this is for its owners and for whoever holds a role",
        hint="ask an administrator for a role",
    )
