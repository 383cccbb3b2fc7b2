"""What people do about agents whose owner left: they take them over."""

from __future__ import annotations

from typing import Final

from accredit.audit.ports import Actor
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.permission import Permission, require_admin_scope
from accredit.lifecycle.succession import Succession
from accredit.lifecycle.successions import Successions
from accredit.registry.authority import Act
from accredit.registry.model import Agent
from accredit.registry.service import Registry

__all__ = ["PeopleOperations"]

_MAX_REASON: Final = 2_000


class PeopleOperations:
    """Acts of people. Every method raises ForbiddenError (`not_authorised`) for whoever may not do it."""

    def __init__(self, successions: Successions, registry: Registry) -> None:
        self.successions = successions
        self._registry = registry
        self._permission = Permission(registry)

    async def adopt(self, who: Operator, agent: AgentId, reason: str) -> Agent:
        """Become the owner of an agent whose owner left: whoever was asked may, and who may register its versions.

        It is a version like any other: outside of development it is signed off before it is in force. The agent goes
        on as it stands until then.

        Raises:
            NotFoundError: no such agent.
            ConflictError: the agent has an owner or is at its end, or somebody else took it over before.
            UnavailableError: it could not be made durable; adopting it again completes it.
        """
        require_admin_scope(who)
        found = self._known(agent)
        was_asked = who.person in self.successions.persons(found)
        if not was_asked:
            self._permission.require(Act.REGISTER_AGENT, who, agent=found)
        if not 1 <= len(reason.strip()) <= _MAX_REASON:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a reason has 1 to {_MAX_REASON} characters")
        if self.successions.turn(found) is None:
            raise ConflictError(
                Code.CONFLICT, f"agent `{found.environment}/{found.name}` has an owner, or is at its end",
                hint="its owner hands it over by a version with another owner",
            )  # fmt: skip
        actor = Actor(person=who.person, credential=who.credential, basis=who.basis)
        await self.successions.look(agent, actor, "")
        standing = self.successions.of(agent)
        if standing is not None and standing.accepted_by not in {None, who.person}:
            raise ConflictError(
                Code.CONFLICT, "somebody else took it over already", hint="withdraw that version first, or let it be"
            )
        await self._registry.hand_over(agent, who.person, actor)
        await self.successions.look(agent, actor, reason)
        return self._known(agent)

    def waiting(self, who: Operator) -> tuple[Succession, ...]:
        """The agents that wait for somebody to take them over, the oldest first."""
        found = ((one, self._registry.get(one.agent)) for one in self.successions.all())
        return tuple(one for one, agent in found if agent is not None and who.person in self.successions.persons(agent))

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found
