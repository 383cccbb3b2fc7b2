"""What a directory does, from its word to its effect: nothing of somebody who left works any more, at once.

The word is one transaction (`registry/provisioning.py`), in which what it takes away is taken. What follows is done
after it, and by the next round if the process ended in between: credentials end, agents without an owner are asked
about, and what an agent lost with its owner's right is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from accredit.audit.model import Receipt
from accredit.audit.ports import Actor
from accredit.identity.directory_keys import DirectoryKeys
from accredit.identity.model import Operator
from accredit.identity.people import People
from accredit.identity.service_keys import ServiceKey
from accredit.kernel.ids import PersonId
from accredit.lifecycle.discovery_operations import DiscoveryOperations
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.successions import Successions
from accredit.registry.authority import Act
from accredit.registry.directories import DirectoryGroup, DirectoryRule, DirectoryUser
from accredit.registry.model import AgentState
from accredit.registry.provisioning import Provisioned, Provisioner
from accredit.registry.service import Registry

__all__ = ["DirectoryOperations"]

_SYSTEM: Final = Actor(basis="system")
_OVER: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_GONE: Final = "the directory says that this person is not there any more"
_MOVED: Final = "the directory has this person in no group any more that gives anything"

Made = Callable[[Mapping[str, Any]], dict[str, Any]]


class DirectoryOperations:
    """Acts of directories, and of the people who let them. Those of people raise ForbiddenError for who may not."""

    def __init__(
        self,
        registry: Registry,
        people: People,
        keys: DirectoryKeys,
        successions: Successions,
        discovery: DiscoveryOperations,
    ) -> None:
        self.keys = keys
        self._discovery = discovery
        self._told = registry.entitlements
        self._registry = registry
        self._people = people
        self._successions = successions
        self._permission = Permission(registry)

    # -- what people do

    def all(self) -> tuple[DirectoryRule, ...]:
        """Every directory, by name."""
        return tuple(one for _, one in sorted(self._registry.entitlements.rules.items()))

    async def issue_key(self, who: Operator, directory: str, days: int) -> ServiceKey:
        """Make a key for a directory. Raises as `ServiceKeys.issue`."""
        self._permission.require(Act.MANAGE_PEOPLE, who)
        return await self.keys.issue(directory, days=days, actor=_actor(who))

    async def revoke_key(self, who: Operator, directory: str, key: str, reason: str) -> Receipt | None:
        """End one. Raises as `ServiceKeys.revoke`."""
        self._permission.require(Act.MANAGE_PEOPLE, who)
        return await self.keys.revoke(directory, key, actor=_actor(who), reason=reason)

    # -- what a directory does; each raises as the provisioning does

    async def put_user(
        self, by: Provisioner, id_: str | None, made: Made, *, expected: Sequence[str] | None = None
    ) -> Provisioned:
        """Create or change a user."""
        provisioning = self._registry.provisioning
        if id_ is not None:
            before = provisioning.user(by.directory, id_).person
        else:
            fresh = made({})
            before = provisioning.person_of(fresh) if fresh.get("active", True) else None
        known = None if before is None else self._registry.organisation.people.get(before)
        if known is not None and known.left:
            # should they be let back, then with nothing that an ended process left to be ended
            await self._ended([known.id], Actor(credential=by.key, basis="directory"), _GONE)
        return await self._done(by, provisioning.put_user(by, id_, made, expected=expected))

    async def remove_user(self, by: Provisioner, id_: str, *, expected: Sequence[str] | None = None) -> Provisioned:
        """Take one away."""
        return await self._done(by, self._registry.provisioning.remove_user(by, id_, expected=expected))

    async def put_group(
        self, by: Provisioner, id_: str | None, made: Made, *, expected: Sequence[str] | None = None
    ) -> Provisioned:
        """Create or change a group."""
        return await self._done(by, self._registry.provisioning.put_group(by, id_, made, expected=expected))

    async def remove_group(self, by: Provisioner, id_: str, *, expected: Sequence[str] | None = None) -> Provisioned:
        """Take one away."""
        return await self._done(by, self._registry.provisioning.remove_group(by, id_, expected=expected))

    def users(self, directory: str) -> list[DirectoryUser]:
        """Its users, in the order of their ids."""
        return self._registry.provisioning.users(directory)

    def groups(self, directory: str) -> list[DirectoryGroup]:
        """Its groups, in the order of their ids."""
        return self._registry.provisioning.groups(directory)

    async def _done(self, by: Provisioner, doing: Awaitable[Provisioned]) -> Provisioned:
        """What a directory says, and what follows from it."""
        done = await doing
        actor = Actor(credential=by.key, basis="directory")
        await self._ended(done.left, actor, _GONE)
        await self._ended(done.moved, actor, _MOVED)
        for agent in list(self._registry.catalogue.agents()) if done.left else ():
            if agent.owner in done.left:
                await self._successions.look(agent.id, _SYSTEM, "")
        await self._tell()
        return done

    async def _tell(self) -> None:
        """Tell of agents whose owners lost a right or moved, and of those that have it back, since it was told last."""
        now, before = self._registry.entitlements, self._told
        moved = now.moved(before)
        everybody = now.governed != before.governed  # whoever never was in a group has lost it too
        for agent in list(self._registry.catalogue.agents()) if moved or everybody else ():
            known = self._registry.organisation.people.get(agent.owner)
            if (
                (everybody or agent.owner in moved)
                and agent.state not in _OVER
                and known is not None
                and not known.left
            ):
                await self._discovery.owner_moved(agent)
        self._told = now  # only here: what could not be told is still to be told

    async def _ended(self, persons: Iterable[PersonId], actor: Actor, why: str) -> None:
        for person in persons:
            await self._people.end_credentials_of(person, actor, why)

    # -- what is due without anybody asking

    async def round(self) -> None:
        """Do what waited: for more administrators, or because a process ended half-way.

        Raises:
            UnavailableError: something could not be made durable; the next round goes on.
        """
        for person in await self._registry.provisioning.settle():
            await self._people.end_credentials_of(person, _SYSTEM, _GONE)
        await self._tell()


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
