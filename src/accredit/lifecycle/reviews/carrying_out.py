"""Takes away what a review decided, and looks up that it is out of reach.

A restriction takes it away at once, and is renewed until a version of the agent is in force that neither grants it nor
lets it come back by its envelope. Such a version is declared with it and waits for its owner to have it activated. What
somebody lifts stays lifted. Each step changes nothing if it is done again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Final

from accredit.enforcement.snapshot import Snapshot
from accredit.kernel.clock import Clock
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId, ToolId
from accredit.lifecycle.remedies import REMEDY
from accredit.lifecycle.reviews.model import AgentReview, Removal
from accredit.policy.listing import listed
from accredit.policy.restrictions import forbidding
from accredit.registry.model import AgentVersion, Restriction, RestrictionKind
from accredit.registry.service import Registry
from accredit.registry.versions import enveloped

__all__ = ["RemovalKeeper", "out_of_reach"]

_DAY_US: Final = 86_400_000_000
_FOR_US: Final = 90 * _DAY_US
_AHEAD_US: Final = 7 * _DAY_US
"""How long before a restriction ends its successor is placed."""
_log = logging.getLogger(__name__)


def out_of_reach(snapshot: Snapshot, agent: AgentId, tool: ToolId, *, now_us: int) -> bool:
    """Whether no call of a tool by an agent can pass, whatever its context, by what calls are decided by now."""
    found, known = snapshot.catalogue.agent(agent), snapshot.catalogue.tool(tool)
    if found is None or known is None or found.version.grant(tool) is None:
        return True
    on = snapshot.restrictions_on(agent, now_us=now_us, time_trusted=True)
    return bool(forbidding(on, known)) or not listed(found, tool, snapshot.policy)


def _gone(version: AgentVersion, tool: ToolId) -> bool:
    """Whether a version neither grants it nor has an envelope by which it would come back without a vote."""
    return version.grant(tool) is None and tool not in enveloped(version)


class RemovalKeeper:
    """Carries removals out, and keeps them so."""

    def __init__(
        self, registry: Registry, snapshot: Callable[[], Snapshot], clock: Clock, *, at: Callable[[str], None]
    ) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._clock = clock
        self._at = at

    async def place(self, review: AgentReview, seeded: Collection[ToolId]) -> tuple[Removal, ...]:
        """Put what is to go out of reach; the removals with when that was. Seeded ones only look so.

        Raises:
            UnavailableError, ConflictError: it could not be made durable, or too many restrictions are in force.
        """
        now_us = self._clock.now().wall_us
        made: list[Removal] = []
        for one in review.removals:
            if one.placed_us is None:
                until_us = now_us + _FOR_US
                if one.tool not in seeded:
                    until_us = await self._restrict(review, one.tool, now_us)
                    self._at("review removal placed")
                one = replace(one, placed_us=now_us, until_us=until_us)  # noqa: PLW2901 - as it is now
            made.append(one)
        real = [one.tool for one in made if one.tool not in seeded]
        if real:
            await self._declare(review.agent, real)
        return tuple(made)

    async def _restrict(self, review: AgentReview, tool: ToolId, now_us: int) -> int:
        """Have a restriction keep it away; until when one does, which may be from before the process ended."""
        found, until_us = self._registry.get(review.agent), now_us + _FOR_US
        if standing := self._standing(review, tool):
            return max(one.until_us for one in standing)
        if found is None or found.version.grant(tool) is None:
            return until_us
        await self._registry.restrict(
            review.agent,
            RestrictionKind.DROP_TOOL,
            REMEDY,
            cause=f"review {review.id} took it away",
            until_us=until_us,
            tool=tool,
            alert=review.id,
        )
        return until_us

    async def _declare(self, agent: AgentId, tools: Collection[ToolId]) -> None:
        try:
            await self._registry.declare_without(agent, tools, REMEDY)
            self._at("review version declared")
        except AccreditError as error:
            # the restriction holds all the same, and is renewed
            _log.warning("no version of %s without what a review took away: %s", agent, error.message)

    def verified(self, removals: Iterable[Removal], agent: AgentId, seeded: Collection[ToolId]) -> tuple[Removal, ...]:
        """The removals, those that are out of reach marked so."""
        now_us, snapshot = self._clock.now().wall_us, self._snapshot()
        return tuple(
            replace(one, verified_us=now_us)
            if one.verified_us is None
            and one.placed_us is not None
            and (one.tool in seeded or out_of_reach(snapshot, agent, one.tool, now_us=now_us))
            else one
            for one in removals
        )

    async def kept(self, review: AgentReview, seeded: Collection[ToolId]) -> tuple[Removal, ...]:
        """The removals as they stand, each renewed, settled or undone as is due.

        Raises:
            UnavailableError: it could not be made durable.
        """
        now_us, agent = self._clock.now().wall_us, self._registry.get(review.agent)
        made: list[Removal] = []
        for one in review.removals:
            waits = one in review.unsettled
            if waits and (agent is None or one.tool in seeded or _gone(agent.version, one.tool)):
                for restriction in self._standing(review, one.tool):
                    await self._registry.lift_restriction(
                        restriction.id, REMEDY, f"review {review.id}: not granted now"
                    )
                one = replace(one, settled_us=now_us)  # noqa: PLW2901 - as it is now
            elif waits and now_us < one.until_us and not self._standing(review, one.tool):
                reach = agent is not None and not out_of_reach(self._snapshot(), agent.id, one.tool, now_us=now_us)
                one = replace(one, undone_us=now_us) if reach else one  # noqa: PLW2901 - as it is now
            elif waits and now_us >= one.until_us - _AHEAD_US:
                await self._registry.restrict(
                    review.agent,
                    RestrictionKind.DROP_TOOL,
                    REMEDY,
                    cause=f"review {review.id} took it away",
                    until_us=now_us + _FOR_US,
                    tool=one.tool,
                    alert=review.id,
                )
                one = replace(one, until_us=now_us + _FOR_US)  # noqa: PLW2901 - as it is now
            made.append(one)
        return tuple(made)

    def _standing(self, review: AgentReview, tool: ToolId) -> list[Restriction]:
        now_us = self._clock.now().wall_us
        return [
            one
            for one in self._registry.restrictions_of(review.agent)
            if one.alert == review.id and one.tool == tool and one.in_force(now_us)
        ]
