"""Agents under review, in memory, behind the ports of the console."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId, ServerName, ToolId
from accredit.lifecycle.reviews.cards import PermissionFacts, permission_items
from accredit.lifecycle.reviews.deciding import AskedDecision, undecided
from accredit.lifecycle.reviews.gathering import AgentCard
from accredit.lifecycle.reviews.model import AgentReview, NeedStatement, ReviewCampaign, ReviewKind
from accredit.lifecycle.reviews.population import Identity, IdentityStanding
from accredit.lifecycle.reviews.report import ReviewReport
from accredit.monitoring.model import ToolHistory
from accredit.registry.model import Agent, Effect, ReviewSchedule, Tier, Tool

_DAY_US = 86_400_000_000


class Panel:
    """Reviews, their cards, and what was done about them."""

    def __init__(self, done: list[tuple[Any, ...]], now_us: int) -> None:
        self._done = done
        self._now_us = now_us
        self._cards: dict[str, AgentCard] = {}
        self._campaign = ReviewCampaign(
            "rvc_1", ReviewKind.STARTED, ReviewSchedule(""), "the quarter", now_us, PersonId("sam"), 1, 1
        )
        self.shown: list[tuple[str, str]] = []

    def put(self, agent: Agent, *, texts: tuple[str, ...] = (), words: str = "") -> AgentReview:
        """An agent under review, with a tool in use, a grave one and one that nobody uses."""
        review = AgentReview(
            f"rvw_{agent.name}", "rvc_1", agent.id, Tier.LOW, self._now_us, self._now_us + 9 * _DAY_US,
            need=NeedStatement(True, words, agent.owner, self._now_us) if words else None,
        )  # fmt: skip
        used = ToolHistory(self._now_us // _DAY_US - 1, None, None, 7, 0, 0)
        facts = [
            _facts("read", Effect.READ, used, self._now_us),
            _facts("send", Effect.EXTERNAL, used, self._now_us),
            _facts("spare", Effect.READ, None, self._now_us),
        ]
        items = permission_items(facts, now_us=self._now_us)
        card = AgentCard(review, self._campaign, agent, Tier.LOW, None, (), (), (), (), 0, items, texts)
        self._cards[review.id] = card
        return review

    # -- reading

    def find(self, *, open_: bool | None = None, agent: AgentId | None = None) -> Sequence[AgentReview]:
        found = [one.review for one in self._cards.values()]
        return [one for one in found if open_ in {None, one.open} and agent in {None, one.agent}]

    def campaigns(self, *, open_: bool | None = None) -> Sequence[ReviewCampaign]:
        return [self._campaign] if open_ in {None, self._campaign.open} else []

    def size(self, campaign: str) -> int:
        return len(self._cards) if campaign == self._campaign.id else 0

    def review(self, review: str) -> AgentReview:
        return self.card(review).review

    def card(self, review: str) -> AgentCard:
        if review not in self._cards:
            raise NotFoundError(Code.NOT_FOUND, "there is no such review")
        return self._cards[review]

    def served(self, who: Operator, card: AgentCard) -> None:
        self.shown.append((who.person, card.digest))

    def waiting(self, card: AgentCard) -> Sequence[ToolId]:
        return undecided(card.items, card.review.decisions, look=1, version=card.version, counts=lambda _: True)

    def report(self, campaign: str) -> ReviewReport:
        if campaign != self._campaign.id:
            raise NotFoundError(Code.NOT_FOUND, "there is no such campaign")
        lost = Identity("agt_nobody", "unknown", "agt_nobody", IdentityStanding.MISSING)
        waits = ("1 identities that were seen are on no list and answered by nobody",)
        return ReviewReport(self._campaign, tuple(self.find()), (lost,), {"missing": 1}, (), (), waits)

    # -- doing

    async def decide(self, who: Operator, review: str, asked: Sequence[AskedDecision], view: str) -> AgentCard:
        (one,) = asked
        if one.tool == "crm/spare" and one.verdict == "keep" and not one.reason:
            raise InvalidInputError(Code.OWN_WORDS_REQUIRED, "say it in your own words")
        self._done.append(("decide", who.person, review, one.tool, one.verdict.value, one.reason, view))
        return self.card(review)

    async def state_need(self, who: Operator, review: str, *, needed: bool, text: str) -> AgentReview:
        self._done.append(("need", who.person, review, needed, text))
        return replace(self.review(review))

    async def start(self, who: Operator, *, tiers: Collection[Tier] = (), reason: str = "") -> ReviewCampaign:
        self._done.append(("start", who.person, [one.value for one in tiers], reason))
        return self._campaign

    async def accept(self, who: Operator, campaign: str, subject: str, reason: str) -> ReviewCampaign:
        self._done.append(("accept", who.person, campaign, subject, reason))
        return self._campaign

    async def close(self, who: Operator, campaign: str) -> ReviewReport:
        self._done.append(("close", who.person, campaign))
        return self.report(campaign)


def _facts(name: str, effect: Effect, history: ToolHistory | None, now_us: int) -> PermissionFacts:
    tool = Tool(
        ToolId(f"crm/{name}"), ServerName("crm"), name, effect, None, frozenset({"internal"}), None, {}, "sha256:0"  # type: ignore[arg-type] # a digest as any
    )  # fmt: skip
    return PermissionFacts(tool.id, tool, now_us - 400 * _DAY_US, history)
