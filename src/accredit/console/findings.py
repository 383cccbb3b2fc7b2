"""Findings about agents that nobody registered or looks after, each with its answers in one step."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from accredit.console.frame import Surroundings
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.kernel.money import Money
from accredit.lifecycle.discovery.findings import FindingAnswer, FindingKind
from accredit.lifecycle.discovery_operations import Answered, FindingView

__all__ = ["FindingViews"]

_SHOWN: Final = 100
_WORDS: Final[Mapping[FindingKind, str]] = {
    FindingKind.UNREGISTERED: "Nobody registered it",
    FindingKind.SHADOW: "It goes past the gateway",
    FindingKind.ZOMBIE: "Nobody has used it for 60 days, and its credential lives",
    FindingKind.ORPHAN: "Its owner is not there any more",
    FindingKind.MOVED: "Its owner has no right to some of its tools, or is of another team",
    FindingKind.GHOST: "It is retired and was seen",
    FindingKind.EXPIRED: "Its last day is over",
    FindingKind.CREDENTIAL: "A credential of a retired agent that is not ours to end",
    FindingKind.DELEGATE: "Only a retired agent handed work to it",
    FindingKind.UNDER_DECLARED: "It does or touches more than it was approved for",
    FindingKind.SPLIT_WORKFLOW: "With others it comes to a higher tier than it was approved under",
    FindingKind.DATA_SEEN: "Data was seen that it does not declare",
    FindingKind.PURPOSE_MISMATCH: "What it does is not what its purpose says",
    FindingKind.VERSION_MISMATCH: "What runs is not what was approved",
    FindingKind.NEAR_THRESHOLD: "Its newest declaration lies just under a tier",
}
_DOES: Final[Mapping[FindingAnswer, str]] = {
    FindingAnswer.REGISTER: "Register",
    FindingAnswer.ADOPT: "Adopt",
    FindingAnswer.SUSPEND: "Suspend",
    FindingAnswer.RETIRE: "Retire",
    FindingAnswer.DISMISS: "Dismiss",
}


class FindingViews:
    """Makes the page of findings, and shows the draft that registering begins with."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def findings(self, request: Request) -> Response:
        """The open findings that somebody may look at, those that are due first."""
        who = request.state.visit.operator
        asked = request.query_params.get("kind", "")
        chosen = FindingKind(asked) if asked in set(FindingKind) else None
        catalogue, found = self._services.catalogue(), self._services.findings.open_findings(chosen)
        visible = [
            one
            for one in found
            if self._common.may_see(catalogue.agent(one.seen.agent) if one.seen.agent is not None else None, who)
        ]
        views = await asyncio.to_thread(self._services.findings.views, visible[:_SHOWN])
        return self._pages.page(
            "findings",
            **self._common.around(request, "/console/findings"),
            views=views,
            more=len(visible) - _SHOWN,
            words=_WORDS,
            does=_DOES,
            chosen=chosen,
            kinds=tuple(FindingKind),
            cost=_cost,
            name=self._common.namer,
            typed=request.state.visit.form.get("reason", ""),
            answered=request.path_params.get("finding", ""),
        )

    def drafted(self, request: Request, answered: Answered) -> Response:
        """The draft of a manifest, to be taken from the page."""
        return self._pages.page(
            "draft",
            **self._common.around(request, "/console/findings"),
            finding=answered.finding,
            draft=answered.draft,
        )


def _cost(view: FindingView) -> str:
    return str(Money(view.cost_nanos, "USD")) if view.cost_nanos else ""
