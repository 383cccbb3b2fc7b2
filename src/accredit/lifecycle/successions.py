"""Carries successions out: opens one when an agent has no owner, takes each step when it is due, ends it with an owner.

Rows are the truth. What a step does is done before it is on record and changes nothing if it is done again, so a
process that ends in between goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, Write
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError
from accredit.kernel.ids import AgentId, IdSource, PersonId
from accredit.lifecycle.remedies import REMEDY
from accredit.lifecycle.rows import SUCCESSION, succession_doc, succession_from
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.succession import (
    Succession,
    SuccessionStep,
    SuccessionTimes,
    SuccessionTurn,
    acceptor,
    asked,
    next_step,
    ownerless,
)
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.service import Monitor
from accredit.registry.model import Agent, RestrictionKind
from accredit.registry.organisation import Organisation
from accredit.registry.service import Registry

__all__ = ["Successions"]

_SYSTEM: Final = Actor(basis="system")
_READ_ONLY_US: Final = 90 * 86_400_000_000
_AT_ONCE: Final = 500
"""Agents that one round changes, at most: the next goes on."""
_WHY: Final = "its owner left, and nobody took over in time"
_log = logging.getLogger(__name__)


class Successions:
    """Every agent without an owner."""

    def __init__(
        self,
        control: ControlLog,
        registry: Registry,
        lifecycle: Lifecycle,
        monitor: Monitor,
        *,
        clock: Clock,
        ids: IdSource,
        times: SuccessionTimes,
        steady: Callable[[Instant], bool] = lambda _: True,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`steady` says whether the wall clock can be relied on: while it cannot, no deadline passes."""
        self._control = control
        self._registry = registry
        self._lifecycle = lifecycle
        self._monitor = monitor
        self._clock = clock
        self._ids = ids
        self.times = times
        self._steady = steady
        self._at = at
        self._alone = asyncio.Lock()
        self._open = {AgentId(row.key): succession_from(row.key, row.doc) for row in control.view.scan(SUCCESSION)}
        control.subscribe(self._follow)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == SUCCESSION:
                if write.doc is None:
                    self._open.pop(AgentId(write.key), None)
                else:
                    self._open[AgentId(write.key)] = succession_from(write.key, write.doc)

    # -- reading

    def all(self) -> tuple[Succession, ...]:
        """Every succession that is open, the oldest first."""
        return tuple(sorted(self._open.values(), key=lambda one: (one.began_us, one.id)))

    def of(self, agent: AgentId) -> Succession | None:
        """The one of that agent."""
        return self._open.get(agent)

    def asked(self, agent: Agent) -> tuple[SuccessionTurn, ...]:
        """Everybody who was asked to take an agent over until now, in order; nobody if it has an owner."""
        organisation = self._registry.organisation
        if not ownerless(agent, organisation):
            return ()
        now_us = self._clock.now().wall_us
        known = self._open.get(agent.id)
        began_us = known.began_us if known is not None else now_us
        return asked(agent, organisation, elapsed_us=now_us - began_us, times=self.times)

    # -- what is due

    async def round(self) -> None:
        """Open what is new, take each step that is due, end what is over. What fails for one agent goes on for others.

        Raises:
            UnavailableError: what is registered is not proven.
        """
        organisation = self._registry.proven_organisation()
        changed = 0
        for agent in [one for one in self._registry.catalogue.agents() if self._concerns(one, organisation)]:
            if changed >= _AT_ONCE:
                return
            before = self._open.get(agent.id)
            try:
                async with self._alone:
                    await self._look(agent, organisation, _SYSTEM, "")
            except AccreditError as error:
                _log.error("the succession of agent %s could not go on: %s", agent.id, error.message)
                changed += 1
            changed += self._open.get(agent.id) != before

    def _concerns(self, agent: Agent, organisation: Organisation) -> bool:
        return agent.id in self._open or ownerless(agent, organisation)

    async def look(self, agent: AgentId, actor: Actor, reason: str) -> None:
        """The same for one agent, after somebody did something about it.

        Raises:
            UnavailableError: it could not be made durable; the next round completes it.
        """
        organisation = self._registry.proven_organisation()
        found = self._registry.get(agent)
        if found is not None and self._concerns(found, organisation):
            async with self._alone:
                await self._look(found, organisation, actor, reason)

    async def _look(self, agent: Agent, organisation: Organisation, actor: Actor, reason: str) -> None:
        known = self._open.get(agent.id)
        if not ownerless(agent, organisation):
            if known is not None:
                await self._end(known, actor, reason)
            return
        now = self._clock.now()
        if known is None:
            turn = asked(agent, organisation, elapsed_us=0, times=self.times)[-1]
            known = Succession(self._ids.new("suc"), agent.id, agent.owner, now.wall_us, turn)
            await self._write("succession.begun", known, _SYSTEM)
        known = await self._heard(known, agent, organisation, actor, reason)
        if not self._steady(now):
            return
        turn = asked(agent, organisation, elapsed_us=now.wall_us - known.began_us, times=self.times)[-1]
        if turn != known.turn:
            known = await self._write("succession.asked", replace(known, turn=turn), _SYSTEM)
        while (following := next_step(known, self.times)) is not None and following[1] <= now.wall_us:
            self._at(f"succession {following[0]}")
            await self._take(known, following[0])
            self._at(f"succession {following[0]} taken")
            known = await self._write("succession.step", replace(known, step=following[0]), _SYSTEM)

    async def _heard(
        self, known: Succession, agent: Agent, organisation: Organisation, actor: Actor, reason: str
    ) -> Succession:
        """The succession with whoever took over now, or takes it over no more."""
        who = acceptor(agent, organisation)
        if who == known.accepted_by:
            return known
        if who is None:
            return await self._write("succession.unaccepted", replace(known, accepted_by=None), actor)
        first_us = self._clock.now().wall_us if known.accepted_us is None else known.accepted_us
        after = replace(known, accepted_by=who, accepted_us=first_us)
        return await self._write("succession.accepted", after, actor, reason)

    async def _take(self, known: Succession, step: SuccessionStep) -> None:
        now_us = self._clock.now().wall_us
        try:
            match step:
                case SuccessionStep.READ_ONLY:
                    if not any(one.alert == known.id for one in self._registry.restrictions_of(known.agent)):
                        await self._registry.restrict(
                            known.agent,
                            RestrictionKind.READ_ONLY,
                            REMEDY,
                            cause=f"succession {known.id}: {_WHY}",
                            until_us=now_us + _READ_ONLY_US,
                            alert=known.id,
                        )
                case SuccessionStep.SUSPENDED:
                    await self._lifecycle.suspend(known.agent, REMEDY, f"succession {known.id}: {_WHY}")
                case SuccessionStep.ASKED | SuccessionStep.RETIREMENT:
                    pass  # people are asked to end it; time does not
        except ConflictError as error:
            if error.code is not Code.TRANSITION_REFUSED:
                raise
            # it does not run: there is nothing left to stop
        evidence = {"asked_as": known.turn.as_.value, "owner": known.owner, "succession": known.id}
        await self._monitor.note(Deviation(known.agent, AlertKind.OWNERLESS, step.value, evidence, now_us))

    async def _end(self, known: Succession, actor: Actor, reason: str) -> None:
        """It has an owner, or is at its end: what was taken for want of one is given back, but for a suspension."""
        for one in self._registry.restrictions_of(known.agent):
            if one.alert == known.id:
                await self._registry.lift_restriction(one.id, REMEDY, f"succession {known.id} is over")
        self._at("succession lifted")
        await self._write("succession.over", known, actor, reason, ended=True)

    async def _write(
        self, event: str, told: Succession, actor: Actor, reason: str = "", *, ended: bool = False
    ) -> Succession:
        body: dict[str, Any] = {
            "accepted_by": told.accepted_by,
            "asked": list(told.turn.persons),
            "asked_as": told.turn.as_.value,
            "owner": told.owner,
            "step": told.step.value,
            "succession": told.id,
        }
        parts = (Part("text", {"reason": reason}),) if reason else ()
        write = Write(SUCCESSION, told.agent, None if ended else succession_doc(told))
        await self._control.transact(lambda _: Change(Facts(event, agent=told.agent), (write,), actor, body, parts))
        return told

    def persons(self, agent: Agent) -> frozenset[PersonId]:
        """Everybody who was asked to take an agent over, in whatever turn."""
        return frozenset(person for one in self.asked(agent) for person in one.persons)

    def turn(self, agent: Agent) -> SuccessionTurn | None:
        """Whose turn it is."""
        line = self.asked(agent)
        return line[-1] if line else None
