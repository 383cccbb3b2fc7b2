"""People at their reviews, among the real rooms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accredit.audit.model import Entry, Facts, Usage
from accredit.lifecycle.review_operations import ReviewOperations
from accredit.lifecycle.reviews.deciding import AskedDecision
from accredit.lifecycle.reviews.gathering import AgentCard
from accredit.lifecycle.reviews.model import ROUTINE, AgentReview, ItemVerdict, ReviewCampaign
from accredit.registry.model import Agent
from tests.lifecycle.house import House, agent, file, operator, server

__all__ = ["DAY_S", "NEED", "Desk", "tools"]

DAY_S = 86_400
_DAY_US = DAY_S * 1_000_000
_ONCE = Usage(allows=1, cost_nanos=1_000)
NEED = "The support desk in Lisbon still closes some forty tickets a day with it"


def tools(*names: str, **facts: Any) -> dict[str, Any]:
    """A production server with plain reading tools of those names, and others as given."""
    plain = {name: {"effect": "read", "data": ["internal"], "price": "0 USD"} for name in names}
    return server(**(plain | facts))


@dataclass
class Desk:
    """Reviews of one house."""

    place: House

    @property
    def room(self) -> ReviewOperations:
        return self.place.room.reviews

    async def governed(self, *, allow: list[str], document: dict[str, Any], **spec: Any) -> Agent:
        """An agent in production with those tools, in force."""
        for form in document["spec"]["tools"]:
            self.place.offers.tools.setdefault(
                form, {"name": form, "description": f"Does {form}.", "inputSchema": {"type": "object"}}
            )
        await self.place.tools(document)
        return await self.place.active(tools=[{"server": "crm", "allow": allow}], **spec)

    async def second(self, name: str, **spec: Any) -> Agent:
        """Another agent in production, in force."""
        await self.place.operations.apply(operator("dana"), file(agent(name, **spec)))
        found = self.place.agent(name)
        request = await self.place.operations.submit(operator("dana"), found.id)
        assert request is not None
        await self.place.approve(request.id)
        await self.place.operations.activate(operator("dana"), found.id)
        return self.place.agent(name)

    async def used(self, tool: str, *, days_ago: int = 1, of: str = "digest", usage: Usage = _ONCE) -> None:
        """Put calls of a tool into the log."""
        at_us = self.place.clock.now().wall_us - days_ago * _DAY_US
        facts = Facts("test.use", agent=self.place.agent(of).id, tool=f"crm/{tool}")
        await self.place.log.append(Entry(facts, at_us, {}, usage=usage))

    async def started(self, **chosen: Any) -> ReviewCampaign:
        return await self.room.start(operator("cora"), reason="the quarter is over", **chosen)

    def review(self, name: str = "digest") -> AgentReview:
        found = self.room.reviews.open_of(self.place.agent(name).id)
        assert found is not None
        return found

    def look(self, who: str, review: str | None = None, *, seconds: float = 10) -> AgentCard:
        """Somebody looks at a card for some time."""
        card = self.room.card(review or self.review().id)
        self.room.served(operator(who), card)
        self.place.clock.advance(seconds)
        return card

    async def decide(
        self, who: str, *said: tuple[str, str], review: str | None = None, why: str = "", seconds: float = 10
    ) -> AgentCard:
        """Somebody looks at a card and says something of some tools; `routine` is the one line."""
        card = self.look(who, review, seconds=seconds)
        asked = [
            AskedDecision(ROUTINE if tool == "routine" else f"crm/{tool}", ItemVerdict(verdict), why)  # type: ignore[arg-type]
            for tool, verdict in said
        ]
        return await self.room.decide(operator(who), card.review.id, asked, card.digest)

    async def all_of(self, who: str, verdict: str, review: str | None = None, *, seconds: float = 10) -> None:
        """Somebody says the same of all that waits, each by itself."""
        card = self.room.card(review or self.review().id)
        why = "they need it at the end of every winter"
        for tool in self.room.waiting(card):
            name = "routine" if tool == ROUTINE else tool.partition("/")[2]
            said = "keep" if name == "routine" else verdict
            await self.decide(who, (name, said), review=card.review.id, why=why, seconds=seconds)

    async def need(
        self, who: str = "dana", *, text: str = NEED, needed: bool = True, review: str | None = None
    ) -> AgentReview:
        return await self.room.state_need(operator(who), review or self.review().id, needed=needed, text=text)

    async def after(self, days: float) -> None:
        """So many days later, with everything done that is due then."""
        self.place.clock.advance(days * DAY_S)
        await self.room.round()
