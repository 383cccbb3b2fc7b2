"""The list of agents: which a person asked for, one page at a time, in an order that no change can make skip or repeat.

A page begins after the last agent of the one before it, named by what it is sorted by, so page 200 costs what page 1
costs and agents that come or go meanwhile move nothing. Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar
from urllib.parse import urlencode

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import Agent, AgentState, Environment, Tier

__all__ = ["FleetPage", "FleetQuery", "fleet_page"]

PAGE: Final = 50
MAX_PAGE: Final = 200
_E = TypeVar("_E", bound=StrEnum)
_Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class FleetQuery:
    """What was asked for."""

    name: str = ""
    team: str = ""
    environment: Environment | None = None
    state: AgentState | None = None
    tier: Tier | None = None
    after: _Place | None = None
    """Name, environment and id of the last agent seen."""
    limit: int = PAGE

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> FleetQuery:
        """From the parameters of a URL.

        Raises:
            InvalidInputError: one has another form.
        """
        after = tuple(asked.get("after", "").split("/", 2)) if asked.get("after") else None
        limit = asked.get("limit", str(PAGE))
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= MAX_PAGE:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a page has 1 to {MAX_PAGE} agents")
        if after is not None and len(after) != 3:
            raise InvalidInputError(Code.BODY_MALFORMED, "`after` is not a place in the list")
        return cls(
            name=asked.get("name", "").strip()[:200],
            team=asked.get("team", "").strip()[:200],
            environment=_one_of(Environment, asked.get("environment", "")),
            state=_one_of(AgentState, asked.get("state", "")),
            tier=_one_of(Tier, asked.get("tier", "")),
            after=after,
            limit=int(limit),
        )

    @property
    def asks(self) -> bool:
        """Whether it narrows the fleet at all."""
        return bool(self.name or self.team or self.environment or self.state or self.tier)

    @property
    def first(self) -> str:
        """The parameters of the first page."""
        return self._asking("")

    def following(self, last: Agent) -> str:
        """The parameters of the page after one that ends with this agent."""
        return self._asking("/".join(_place(last)))

    def _asking(self, after: str) -> str:
        asked = {
            "name": self.name,
            "team": self.team,
            "environment": self.environment or "",
            "state": self.state or "",
            "tier": self.tier or "",
            "limit": "" if self.limit == PAGE else str(self.limit),
            "after": after,
        }
        return urlencode({name: value for name, value in asked.items() if value})


@dataclass(frozen=True, slots=True)
class FleetPage:
    """Some agents, and whether there are more."""

    agents: tuple[Agent, ...]
    total: int
    """How many match, on all pages together."""
    more: bool
    unjudged: int = 0
    """How many would match but for the tier, which is not known yet."""


def fleet_page(agents: Iterable[Agent], query: FleetQuery, *, tier_of: Callable[[Agent], str | None]) -> FleetPage:
    """The page that was asked for.

    `tier_of` is asked only about agents that match in everything else; None: it is not known yet.
    """
    name, team = query.name.lower(), query.team.lower()
    found = [
        agent
        for agent in agents
        if (not name or name in agent.name or name == agent.id)
        and (not team or team == agent.team.name)
        and (query.environment is None or agent.environment is query.environment)
        and (query.state is None or agent.state is query.state)
    ]
    unjudged = 0
    if query.tier is not None:
        tiers = [(agent, tier_of(agent)) for agent in found]
        unjudged = sum(tier is None for _, tier in tiers)
        found = [agent for agent, tier in tiers if tier == query.tier]
    ahead = found if query.after is None else [agent for agent in found if _place(agent) > query.after]
    page = heapq.nsmallest(query.limit + 1, ahead, key=_place)
    return FleetPage(tuple(page[: query.limit]), len(found), len(page) > query.limit, unjudged)


def _place(agent: Agent) -> _Place:
    return (agent.name, agent.environment.value, agent.id)


def _one_of(kind: type[_E], asked: str) -> _E | None:
    if not asked:
        return None
    try:
        return kind(asked)
    except ValueError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, f"`{asked[:60]}` is none of {', '.join(kind)}") from error
