"""Finished sessions of agents: kept up with the log beside everything else, shown, and made again when asked."""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog
from accredit.identity.model import Operator
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.permission import Permission
from accredit.monitoring.accuracy import Accuracy, accuracy
from accredit.monitoring.profiles.following import SessionProfiles
from accredit.monitoring.profiles.ports import KeptProfile
from accredit.monitoring.service import Monitor
from accredit.registry.authority import Act
from accredit.registry.model import Agent
from accredit.registry.service import Registry

__all__ = ["ProfilesStanding", "SessionOperations"]

_SLICE: Final = 1_024
_SWEPT_EVERY: Final = 720


@dataclass(frozen=True, slots=True)
class ProfilesStanding:
    """How far profiles are."""

    behind: int
    """Records of the log that are not read yet."""
    position: int
    rebuilding: bool
    """Everything is being made again."""


class SessionOperations:
    """Reads sessions out of the log in rounds, and answers about them."""

    def __init__(
        self, profiles: SessionProfiles, control: ControlLog, registry: Registry, monitor: Monitor, clock: Clock
    ) -> None:
        self.profiles = profiles
        self._control = control
        self._monitor = monitor
        self._clock = clock
        self._permission = Permission(registry)
        self._wanted = False
        self._rebuilding = False
        self._rounds = 0

    @property
    def standing(self) -> ProfilesStanding:
        """How far reading is."""
        return ProfilesStanding(self.profiles.behind, self.profiles.position, self._wanted or self._rebuilding)

    async def round(self) -> None:
        """Read all that is new, leaving as much time to others as it takes; or make everything again, at full speed.

        Raises:
            UnavailableError: log or store cannot be used. The next round goes on.
        """
        if self._wanted:
            await asyncio.to_thread(self.profiles.restart)
            self._wanted, self._rebuilding = False, True
        while True:
            now = self._clock.now()
            await asyncio.to_thread(self.profiles.read, _SLICE, now.wall_us)
            if not self.profiles.behind:
                break
            if not self._rebuilding:
                await asyncio.sleep((self._clock.now().boot_us - now.boot_us) / 1_000_000)
        self._rebuilding = False
        self._rounds += 1
        if self._rounds % _SWEPT_EVERY == 1:
            await asyncio.to_thread(self.profiles.sweep, self._clock.now().wall_us)

    async def newest(self, agent: Agent, limit: int) -> list[KeptProfile]:
        """An agent's finished sessions, newest first."""
        return list(await asyncio.to_thread(self.profiles.store.newest, agent.id, limit))

    async def one(self, agent: Agent, session: str) -> KeptProfile:
        """One of them.

        Raises:
            NotFoundError: it has no such session, it is not finished, or it is not kept any more.
        """
        found = await asyncio.to_thread(self.profiles.store.find, agent.id, session)
        if found is None:
            raise NotFoundError(
                Code.NOT_FOUND,
                f"`{agent.name}` has no finished session `{session[:80]}`",
                hint="a session is finished when it was idle; see `accredit agent sessions`",
            )
        return found

    async def accuracy(
        self, agent: AgentId | None, *, by_agent: bool, visible: AbstractSet[AgentId] | None = None
    ) -> tuple[Accuracy, ...]:
        """How often each kind of alert was right, of one agent or of those `visible` (None: of all)."""
        alerts = [one for one in self._monitor.alerts(agent=agent) if visible is None or one.agent in visible]
        many = await asyncio.to_thread(self.profiles.store.counts)
        all_ = sum(count for each, count in many.items() if visible is None or each in visible)
        return accuracy(alerts, by_agent=by_agent, sessions_of=lambda each: all_ if each is None else many.get(each, 0))

    async def rebuild(self, who: Operator) -> ProfilesStanding:
        """Have all profiles made again from the log, and with them what detectors made of them.

        Raises:
            ForbiddenError: `not_authorised`.
            UnavailableError: it could not be put on record.
        """
        self._permission.require(Act.HANDLE_ALERT, who)
        actor = Actor(person=who.person, credential=who.credential, basis=who.basis)
        facts: dict[str, Any] = {"position": self.profiles.position}
        await self._control.transact(lambda _: Change(Facts("monitoring.rebuilt"), (), actor, facts))
        self._wanted = True
        return self.standing
