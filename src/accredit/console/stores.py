"""Reviews of shared knowledge: which there are, and the items of one, decided on one by one or, if clean, together."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from accredit.console.frame import Surroundings
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.identity.model import Operator
from accredit.lifecycle.stored import ReviewVerdict

__all__ = ["StoreViews"]

HERE = "/console/stores"


class StoreViews:
    """Makes these pages from what the services hold."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def stores(self, request: Request) -> Response:
        """The reviews that a person may look at."""
        who: Operator = request.state.visit.operator
        catalogue = self._services.catalogue()
        found = [(one, catalogue.agent(one.agent)) for one in self._services.store_reviews.find()[:500]]
        return self._pages.page(
            "stores",
            **self._common.around(request, HERE),
            reviews=[(review, agent) for review, agent in found if self._common.may_see(agent, who)],
        )

    async def review(self, request: Request) -> Response:
        """A page of items: what they say may be personal, so only who may decide sees them."""
        who: Operator = request.state.visit.operator
        review = self._services.store_reviews.of(request.path_params["review"])
        after = request.query_params.get("after", "")[:2_000] or None
        items, following = await self._services.store_operations.review_items(who, review.id, after)
        return self._pages.page(
            "store_review",
            **self._common.around(request, HERE),
            review=review,
            agent=self._services.catalogue().agent(review.agent),
            items=items,
            after=after or "",
            following=following or "",
            verdicts=[one for one in ReviewVerdict if one is not ReviewVerdict.REASSIGN],
        )
