"""Incidents: what went wrong with agents, with what freezes their records and what closes each."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from accredit.console.frame import Surroundings
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.identity.model import Operator
from accredit.registry.model import Agent, Incident

__all__ = ["IncidentViews"]

HERE = "/console/incidents"
_SHOWN = 100


class IncidentViews:
    """Makes the page of incidents."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def incidents(self, request: Request) -> Response:
        """Those that somebody may look at, open ones first and the newest of them first."""
        who: Operator = request.state.visit.operator
        catalogue, everything = self._services.catalogue(), request.query_params.get("state") == "all"

        def about(one: Incident) -> list[Agent]:
            return [found for each in one.agents if (found := catalogue.agent(each)) is not None]

        shown = [
            (one, about(one))
            for one in sorted(self._services.incidents(), key=lambda one: (not one.open, -one.opened_us, one.id))
            if (everything or one.open) and any(self._common.may_see(each, who) for each in about(one))
        ]
        form = request.state.visit.form
        return self._pages.page(
            "incidents",
            **self._common.around(request, HERE),
            incidents=shown[:_SHOWN],
            more=len(shown) - _SHOWN,
            everything=everything,
            name=self._common.namer,
            typed={key: form.get(key, "") for key in ("agent", "reason")},
            answered=request.path_params.get("incident", ""),
        )
