"""Reviews of agents: what is under review, the card of each, answered one by one, and what a campaign came to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from accredit.console.frame import Surroundings
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.identity.model import Operator
from accredit.kernel.money import Money
from accredit.lifecycle.reviews.cards import WhyAlone
from accredit.lifecycle.reviews.deciding import standing
from accredit.lifecycle.reviews.model import ROUTINE, ItemVerdict, ReviewTrigger
from accredit.registry.model import Tier

__all__ = ["ReviewViews"]

_HERE: Final = "/console/reviews"
_SHOWN: Final = 100
_EPOCH: Final = date(1970, 1, 1)
_WHY: Final[Mapping[WhyAlone, str]] = {
    WhyAlone.HIGH_EFFECT: "can do harm",
    WhyAlone.UNUSED: "not used lately",
    WhyAlone.NEW: "granted since the last review",
    WhyAlone.CHANGED: "not what it was",
    WhyAlone.EXCEPTION: "an exception",
    WhyAlone.SUGGESTED: "look at what is suggested",
    WhyAlone.UNREGISTERED: "not registered",
}
_DOES: Final[Mapping[ItemVerdict, str]] = {
    ItemVerdict.KEEP: "Keep",
    ItemVerdict.REMOVE: "Remove",
    ItemVerdict.FIX_POLICY: "Keep, fix policy",
    ItemVerdict.INVESTIGATE: "Keep, investigate",
}
_TRIGGERS: Final[Mapping[ReviewTrigger, str]] = {
    ReviewTrigger.OWNER_CHANGED: "its owner changed",
    ReviewTrigger.MATERIAL_CHANGE: "it changed",
    ReviewTrigger.DRIFT: "it does something new",
    ReviewTrigger.IDLE: "nobody uses it",
    ReviewTrigger.TIER_RAISED: "its tier rose",
    ReviewTrigger.RESUMED: "it runs again",
}


class ReviewViews:
    """Makes these pages."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def reviews(self, request: Request) -> Response:
        """What somebody may look at of what is under review, those that are due first, and the campaigns."""
        who: Operator = request.state.visit.operator
        catalogue = self._services.catalogue()
        sees_all = self._common.may_see(None, who)
        found = [(one, catalogue.agent(one.agent)) for one in self._services.reviews.find(open_=True)]
        visible = [
            (review, agent)
            for review, agent in found
            if agent is not None and (sees_all or self._common.may_see(agent, who))
        ]
        campaigns = self._services.reviews.campaigns()[:_SHOWN] if sees_all else ()
        return self._pages.page(
            "reviews",
            **self._common.around(request, _HERE),
            reviews=visible[:_SHOWN],
            more=len(visible) - _SHOWN,
            campaigns=[(one, self._services.reviews.size(one.id)) for one in campaigns],
            sees_all=sees_all,
            triggers=_TRIGGERS,
            tiers=tuple(Tier),
            typed=request.state.visit.form.get("reason", ""),
        )

    async def card(self, request: Request) -> Response:
        """The card of an agent under review. From now on whoever looks has it before them."""
        who: Operator = request.state.visit.operator
        acts = self._services.review_operations
        known = self._services.reviews.review(request.path_params["review"])
        self._common.require_sight(self._services.catalogue().agent(known.agent), who)
        card = await asyncio.to_thread(acts.card, known.id)
        acts.served(who, card)
        form = request.state.visit.form
        return self._pages.page(
            "review",
            **self._common.around(request, _HERE),
            card=card,
            said=standing(card.review.decisions, card.review.look, card.version),
            waiting=acts.waiting(card),
            routine=ROUTINE,
            why=_WHY,
            does=_DOES,
            triggers=_TRIGGERS,
            day=lambda number: None if number is None else (_EPOCH + timedelta(days=number)).isoformat(),
            cost=str(Money(card.cost_nanos, "USD")) if card.cost_nanos else "",
            owns=who.person in {card.agent.owner, card.agent.backup_owner},
            name=self._common.namer,
            typed=form.get("reason", ""),
            stated=form.get("statement", ""),
            answered=form.get("permission", ""),
        )

    async def campaign(self, request: Request) -> Response:
        """What a campaign came to, or waits for."""
        who: Operator = request.state.visit.operator
        self._common.require_sight(None, who)
        report = await asyncio.to_thread(self._services.review_operations.report, request.path_params["campaign"])
        catalogue = self._services.catalogue()

        def called(agent: str) -> str | None:
            found = catalogue.agent(agent)  # type: ignore[arg-type] # an id as it is kept
            return f"{found.environment}/{found.name}" if found is not None else None

        return self._pages.page(
            "review_campaign",
            **self._common.around(request, _HERE),
            report=report,
            campaign=report.campaign,
            reviews=[(one, catalogue.agent(one.agent)) for one in report.reviews[:_SHOWN]],
            more=len(report.reviews) - _SHOWN,
            text=report.text(self._common.email, called),
            name=self._common.namer,
            typed=request.state.visit.form.get("reason", ""),
        )
