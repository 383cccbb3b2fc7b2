"""Broken glass on a page: what waits for a second person, what is broken now, what is to be looked at, and the past."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from accredit.approvals.breakglass import CONFIRM_US, BreakGlass, GlassReview
from accredit.console.frame import Surroundings
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.identity.model import Operator

__all__ = ["BreakGlassViews"]

_SHOWN: Final = 100
_DUE_US: Final = 3 * 86_400_000_000
_DUE: Final = frozenset({GlassReview.WAITS, GlassReview.OVERDUE})


class BreakGlassViews:
    """Makes the page from what the services hold."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def glasses(self, request: Request) -> Response:
        """Every one that somebody may look at, in the order in which it waits for somebody."""
        who: Operator = request.state.visit.operator
        catalogue, now_us = self._services.catalogue(), self._services.clock.now().wall_us
        found = [one for one in self._services.glasses.all() if self._common.may_see(catalogue.agent(one.agent), who)]

        def rows(chosen: list[BreakGlass]) -> list[tuple[BreakGlass, object, str]]:
            return [(one, catalogue.agent(one.agent), self._services.glasses.reason(one.id)) for one in chosen[:_SHOWN]]

        asked = [one for one in found if one.review is GlassReview.ASKED]
        broken = [one for one in found if one.in_force(now_us)]
        due = [one for one in found if one.review in _DUE]
        past = [one for one in found if one not in broken and one not in due and one not in asked]
        return self._pages.page(
            "glasses",
            **self._common.around(request, "/console/break-glass"),
            asked=rows(asked),
            broken=rows(broken),
            due=rows(due),
            past=rows(past),
            name=self._common.namer,
            own=who.person,
            confirm_us=CONFIRM_US,
            review_us=_DUE_US,
        )
