"""One agent: everything known of it in one view, what can be done to it, and the records it all rests on."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from accredit.approvals.model import HoldState
from accredit.audit.records import body_of, header_of
from accredit.console.entry import is_poll
from accredit.console.frame import Surroundings
from accredit.console.live import RecentCall
from accredit.console.offers import OFFERS, offers
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.console.words import ALERTS, STANDS, WAS
from accredit.identity.model import Operator
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, NotFoundError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.dossier import Dossier
from accredit.lifecycle.retirement_plan import RetirementPlan
from accredit.monitoring.behaviour import BaselinePart
from accredit.monitoring.model import AlertDisposition, AlertState
from accredit.policy.validation import AccessRow
from accredit.registry.model import Agent, AgentState, Environment

__all__ = ["AgentViews"]

_CALLS: Final = 25
_SHOWN: Final = 40
_ALERTS: Final = 200
_PATHS: Final = {
    Environment.DEVELOPMENT: (AgentState.DRAFT, AgentState.RETIRING, AgentState.RETIRED),
    Environment.STAGING: (AgentState.DRAFT, AgentState.SUBMITTED, AgentState.RETIRING, AgentState.RETIRED),
    Environment.PRODUCTION: (
        AgentState.DRAFT,
        AgentState.SUBMITTED,
        AgentState.APPROVED,
        AgentState.ACTIVE,
        AgentState.RETIRING,
        AgentState.RETIRED,
    ),
}
"""The way through life, without what interrupts it."""


class AgentViews:
    """Makes the pages about one agent, and those that name records and alerts."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def agent(self, request: Request) -> Response:
        agent = self._asked(request)
        if is_poll(request):
            return self._pages.page("part_live", agent=agent, **await self._live(agent))
        dossier = await asyncio.to_thread(self._services.dossiers.of, agent.id)
        everything = request.query_params.get("timeline") == "all"
        who = request.state.visit.operator
        return self._pages.page(
            "agent",
            **self._common.around(request, "/console"),
            **await self._live(agent),
            agent=dossier.agent,
            spec=dossier.agent.version.manifest["spec"],
            dossier=dossier,
            name=self._common.namer,
            offers=offers(dossier.agent, who, self._services.organisation()),
            stands=STANDS.get(agent.state, "") if agent.environment is Environment.PRODUCTION else "",
            words=ALERTS,
            steps=_path(dossier.agent),
            classes=_by_class(dossier),
            tools=[row for row in dossier.access.rows if row.data_class is None] if dossier.access else [],
            models=dossier.answers()["tools"]["models"],
            used={one.tool: one for one in dossier.usage},
            holds=self._services.holds.find(agent=agent.id, state=HoldState.OPEN),
            events=dossier.timeline if everything else dossier.timeline[:_SHOWN],
            certificate=self._services.certificates.newest(agent.id),
            **await asyncio.to_thread(self._behaviour, agent.id),
            promoted=self._services.catalogue().agent(agent.promoted_from) if agent.promoted_from else None,
        )

    def _behaviour(self, agent: AgentId) -> dict[str, Any]:
        """How its behaviour is watched, and what is in a proposal; what cannot be told is left out."""
        try:
            found = self._services.behaviour.show(agent)
        except AccreditError:
            return {"behaviour": None, "proposed": None}
        proposed = None
        if found.behaviour.proposal is not None and found.behaviour.proposal.digest not in found.unproven:
            accepted = found.behaviour.accepted
            proven = accepted is not None and accepted.digest not in found.unproven
            before = BaselinePart.ACCEPTED if proven else BaselinePart.PROPOSAL
            with suppress(AccreditError):
                proposed = self._services.behaviour.compare(agent, before, BaselinePart.PROPOSAL)
        return {"behaviour": found, "proposed": proposed}

    def named(self, name: str, who: Operator) -> Agent:
        """The agent of that id or environment/name, for somebody who may look at it; else there is none."""
        catalogue, (environment, _, short) = self._services.catalogue(), name.rpartition("/")
        found = catalogue.agent(AgentId(name)) or catalogue.agent_named(environment or "development", short)
        if found is None or not self._common.may_see(found, who):
            raise NotFoundError(Code.NOT_FOUND, f"no agent is called `{name[:100]}`")
        return found

    async def act(self, request: Request) -> Response:
        """What an act would do, with the form that does it."""
        agent, name = self._asked(request), request.path_params["act"]
        offer = OFFERS.get(name)
        if offer is None:
            raise NotFoundError(Code.NOT_FOUND, "there is no page at this address")
        who = request.state.visit.operator
        fault = getattr(request.state, "fault", None)
        if fault is None and offer not in offers(agent, who, self._services.organisation()):
            raise ConflictError(
                Code.TRANSITION_REFUSED, f"you cannot {offer.name} this agent as it stands", hint="look at its page"
            )
        plan: RetirementPlan | None = None
        stores: Sequence[Mapping[str, Any]] = ()
        if name == "retire":
            plan = await asyncio.to_thread(self._services.retirements.plan, agent.id)
            stores = await self._services.retirements.stores(agent.id)
        return self._pages.page(
            "act",
            **self._common.around(request, "/console"),
            agent=agent,
            offer=offer,
            plan=plan,
            stores=stores,
            typed={"reason": request.state.visit.form.get("reason", "")},
        )

    async def alerts(self, request: Request) -> Response:
        who, catalogue = request.state.visit.operator, self._services.catalogue()
        asked = request.query_params.get("state", "")
        chosen = AlertState(asked) if asked in set(AlertState) else None
        found = self._services.alerts.alerts(state=chosen, limit=_ALERTS)
        if chosen is None:
            found = [one for one in found if one.state is not AlertState.RESOLVED]
        visible = [one for one in found if self._common.may_see(catalogue.agent(one.agent) if one.agent else None, who)]
        return self._pages.page(
            "alerts",
            **self._common.around(request, "/console/alerts"),
            alerts=visible,
            words=ALERTS,
            agents={one.agent: catalogue.agent(one.agent) for one in visible if one.agent is not None},
            chosen=chosen,
            states=tuple(AlertState),
            dispositions=tuple(AlertDisposition),
            was=WAS,
            name=self._common.namer,
        )

    async def record(self, request: Request) -> Response:
        """One record of the log as it stands there in clear."""
        text = request.path_params["seq"]
        seq = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else -1
        found = await asyncio.to_thread(self._record, seq)
        header = found["header"]
        agent = self._services.catalogue().agent(AgentId(header["agent"])) if header["agent"] else None
        self._common.require_sight(agent, request.state.visit.operator)
        return self._pages.page(
            "record",
            **self._common.around(request, ""),
            agent=agent,
            name=self._common.namer,
            last=self._services.records.size() - 1,
            **found,
        )

    def _record(self, seq: int) -> dict[str, Any]:
        record = next(iter(self._services.records.records(seq, seq + 1)), None) if seq >= 0 else None
        if record is None:
            raise NotFoundError(Code.NOT_FOUND, "the log has no such record")
        header, body = header_of(record), dict(body_of(record))
        # rows of secrets are found by their hashes, which are shown to nobody
        changes = [{"row": kind, "digest": digest or "removed"} for kind, _, digest in body.pop("changes", ())]
        return {
            "seq": record.seq,
            "header": header,
            "said": {name: value for name, value in header.items() if value is not None},
            "unsaid": [name for name, value in header.items() if value is None],
            "commitments": body.pop("parts", None),
            "body": body,
            "changes": changes,
            "leaf": record.leaf_hash.hex(),
            "parts_sealed": [(part.name, part.wrapped_key is not None) for part in record.parts],
        }

    def _asked(self, request: Request) -> Agent:
        wanted = AgentId(request.path_params["agent"])
        agent = self._services.catalogue().agent(wanted)
        if agent is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{wanted[:80]}`")
        self._common.require_sight(agent, request.state.visit.operator)
        return agent

    async def _live(self, agent: Agent) -> dict[str, Any]:
        calls: tuple[RecentCall, ...] = ()
        trouble = ""
        try:
            calls = tuple(await asyncio.to_thread(self._services.calls.of, agent.id, _CALLS))
        except AccreditError as error:
            trouble = error.message
        return {"calls": calls, "trouble": trouble, "as_of_us": self._services.clock.now().wall_us}


def _path(agent: Agent) -> tuple[tuple[str, bool, bool], ...]:
    """(State, whether it is the present one, whether it lies behind)."""
    path = _PATHS[agent.environment]
    at = agent.halted_from if agent.state not in path and agent.halted_from else agent.state
    if at not in path:
        at = agent.halted_from or AgentState.DRAFT
    place = path.index(at) if at in path else 0
    return tuple((state.value, state is agent.state, number < place) for number, state in enumerate(path))


def _by_class(dossier: Dossier) -> list[tuple[str, list[AccessRow]]]:
    """What of each data class can be reached, and by which tool or model."""
    found: defaultdict[str, list[AccessRow]] = defaultdict(list)
    for row in (*dossier.access.rows, *dossier.access.models) if dossier.access else ():
        if row.data_class is not None:
            found[row.data_class].append(row)
    return sorted(found.items())
