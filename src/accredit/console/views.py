"""The fleet, the inbox, and what one answers there: values read, and put together for a template."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from accredit.approvals.model import ApprovalRequest, ApprovalState, Hold, HoldState
from accredit.console.assessing import rows_shown
from accredit.console.conditions import UNDER
from accredit.console.fleet import FleetPage, FleetQuery, fleet_page
from accredit.console.frame import Surroundings
from accredit.console.glance import glance_of
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.console.standing import Standing, standings_of
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, NotFoundError
from accredit.kernel.ids import AgentId, HoldId
from accredit.monitoring.model import AlertState
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Agent, AgentState, Environment, Role, Tier

__all__ = ["Views"]

_INBOX: Final = 50
_MARKED: Final = 200
"""How many open alerts are looked at for marks in the list."""
_JUDGING_US: Final = 40_000
"""How long a list computes tiers that nobody asked for since they could have changed; it says how many are left."""
_FIRST: Final = ("grounds", "proposal", "assessment")
"""What of a view comes first; then the rest, and nothing is left out."""
_TOLD_APART: Final = ("blocks", "excess")


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One line of the inbox."""

    roles: tuple[str, ...]
    mine: tuple[str, ...]
    agent: Agent | None
    hold: Hold | None = None
    request: ApprovalRequest | None = None
    told: bool = False
    """Whether this person was reminded of it."""


class Views:
    """Makes these pages from what the services hold."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def fleet(self, request: Request) -> Response:
        query = FleetQuery.of(request.query_params)
        who = request.state.visit.operator
        agents = list(self._common.visible(who))
        page, tiers = await asyncio.to_thread(self._fleet, query, agents)
        in_state = Counter(agent.state for agent in agents)
        return self._pages.view(
            request,
            "fleet",
            "fleet",
            **self._common.around(request, "/console"),
            query=query,
            page=page,
            tiers=tiers,
            marks=self._marks(),
            standing=[(state, in_state[state]) for state in AgentState if in_state[state]],
            teams=self._services.catalogue().teams(),
            name=self._common.namer,
            first=query.first,
            following=query.following(page.agents[-1]) if page.more else "",
            choices=(
                ("Environment", "environment", Environment, query.environment),
                ("State", "state", AgentState, query.state),
                ("Risk tier", "tier", Tier, query.tier),
            ),
        )

    def _marks(self) -> dict[AgentId, list[str]]:
        """What calls for attention, by agent."""
        marks: dict[AgentId, list[str]] = {}
        for held in {one.agent for one in self._services.holds.find(state=HoldState.OPEN)}:
            marks.setdefault(held, []).append("call held")
        for told in {one.agent for one in self._services.alerts.alerts(state=AlertState.OPEN, limit=_MARKED)}:
            if told is not None:
                marks.setdefault(told, []).append("alert")
        return marks

    def _fleet(self, query: FleetQuery, agents: list[Agent]) -> tuple[FleetPage, dict[AgentId, str]]:
        clock = self._services.clock
        until_us = clock.now().boot_us + _JUDGING_US

        def in_time(agent: Agent) -> str | None:
            return self._tier(agent, compute=clock.now().boot_us < until_us)

        page = fleet_page(agents, query, tier_of=in_time)
        return page, {agent.id: self._tier(agent, compute=True) or "unknown" for agent in page.agents}

    def _tier(self, agent: Agent, *, compute: bool) -> str | None:
        """A tier, `none`, or `unknown`: one agent's row that is not proven hides no other. None: not computed."""
        try:
            if (kept := self._services.tiers.kept_tier(agent)) is not None:
                return kept[0] or "none"
            return (self._services.tiers.tier_of(agent) or "none") if compute else None
        except AccreditError:
            return "unknown"

    async def inbox(self, request: Request) -> Response:
        who = request.state.visit.operator
        holds = [self._held(one, who) for one in self._services.holds.find(state=HoldState.OPEN)]
        after = request.query_params.get("after", "")[:200]
        waiting = sorted(self._services.requests.find(state=ApprovalState.OPEN), key=_by_expiry)
        ahead = [one for one in waiting if not after or _by_expiry(one) > _place(after)]
        page = ahead[:_INBOX]
        requests = [self._asked(one, who) for one in page]
        last = page[-1] if len(ahead) > _INBOX else None
        return self._pages.page(
            "inbox",
            **self._common.around(request, "/console/inbox"),
            holds=_mine_first(one for one in holds if one.mine or self._common.may_see(one.agent, who)),
            requests=_mine_first(
                one for one in requests if one.mine or one.told or self._common.may_see(one.agent, who)
            ),
            following=f"{last.expires_us}.{last.id}" if last else "",
            name=self._common.namer,
        )

    async def hold(self, request: Request) -> Response:
        who = request.state.visit.operator
        hold_id = request.path_params["hold"]
        hold = self._services.holds.get(HoldId(hold_id))
        if hold is None:
            raise NotFoundError(Code.HOLD_UNKNOWN, f"there is no hold `{hold_id[:80]}`")
        found = self._common.hold_standings(hold, who) if hold.state is HoldState.OPEN else ()
        agent = self._services.catalogue().agent(hold.agent)
        may = [one for one in found if one.may]
        if not may:
            self._common.require_sight(agent, who)
        return self._pages.page(
            "hold",
            **self._common.around(request, "/console/inbox"),
            hold=hold,
            agent=agent,
            view=orjson.loads(hold.view) if hold.view else None,
            standings=found,
            may=may,
            name=self._common.namer,
            typed=_typed(request, "role", "reason"),
        )

    async def approval(self, request: Request) -> Response:
        who = request.state.visit.operator
        request_id = request.path_params["request"]
        found = self._services.requests.get(request_id)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no request `{request_id[:80]}`")
        agent = self._services.catalogue().agent(found.agent) if found.agent else None
        still_open = found.state is ApprovalState.OPEN
        standings: tuple[Standing, ...] = ()
        text, digest, obstacle = "", "", ""
        short: list[str] = []
        try:
            standings = standings_of(self._services.requests.standing(found.id, who)) if still_open else ()
            text, digest = self._services.requests.view(found.id)
            short = [one.said for one in self._services.requests.outlook(found.id) if one.short] if still_open else []
        except AccreditError as error:  # what it rests on cannot be shown: nobody can vote, anybody can look
            standings, obstacle = (), error.message
        may = [one for one in standings if one.may]
        if not may and who.person not in found.told:
            self._common.require_sight(agent, who)
        view = orjson.loads(text) if text else {}
        return self._pages.page(
            "approval",
            **self._common.around(request, "/console/inbox"),
            request=found,
            agent=agent,
            votes=found.votes,
            blocks=view.get("blocks") or (),
            excess=view.get("excess") or (),
            glance=glance_of(view),
            sections=_sections(view),
            text=text,
            digest=digest,
            obstacle=obstacle,
            short=short,
            standings=standings,
            may=may,
            may_withdraw=still_open and self._may_withdraw(found, agent, who),
            name=self._common.namer,
            typed=_typed(request, "role", "comment", *UNDER),
            **self._assessing(request, found, agent, who),
        )

    def _assessing(
        self, request: Request, found: ApprovalRequest, agent: Agent | None, who: Operator
    ) -> dict[str, Any]:
        """What the form of a risk assessment takes, if one is wanted and this person may write it."""
        wanted = found.state is ApprovalState.OPEN and any(need.assessment for need in found.needs)
        organisation = self._services.organisation()
        if not wanted or isinstance(authority(Act.ASSESS, who.person, organisation, agent=agent), Unauthorised):
            return {"assessing": None}
        given = request.state.visit.form if request.url.path.endswith("/assessment") else {}
        accepters = sorted(organisation.holders(Role.BUSINESS_OWNER, found.team), key=self._common.email)
        return {"assessing": {"rows": rows_shown(given), "given": given, "accepters": accepters}}

    def _may_withdraw(self, found: ApprovalRequest, agent: Agent | None, who: Operator) -> bool:
        if who.person == found.parties.requester:
            return True
        act = Act.SUBMIT if agent else Act.MANAGE_PEOPLE
        single = who.basis == Basis.SINGLE_ADMIN
        answer = authority(act, who.person, self._services.organisation(), agent=agent, single_admin=single)
        return not isinstance(answer, Unauthorised)

    def _held(self, hold: Hold, who: Operator) -> _Waiting:
        return _Waiting(
            roles=tuple(sorted({need.role for need in hold.missing})),
            mine=_may(self._common.hold_standings(hold, who)),
            agent=self._services.catalogue().agent(hold.agent),
            hold=hold,
        )

    def _asked(self, request: ApprovalRequest, who: Operator) -> _Waiting:
        return _Waiting(
            roles=tuple(need.role.value for need in request.missing),
            mine=_may(self._common.standings(request, who)),
            agent=self._services.catalogue().agent(request.agent) if request.agent else None,
            request=request,
            told=who.person in request.told,
        )


def _sections(view: dict[str, Any]) -> list[tuple[str, Any]]:
    """Everything of a view, what is judged first; blocks and excess stand above as well."""
    first = [(name, view[name]) for name in _FIRST if view.get(name)]
    rest = {name: value for name, value in view.items() if name not in _FIRST or not value}
    rest = {name: value for name, value in rest.items() if name not in _TOLD_APART or not value}
    return [*first, ("everything else in this view", rest)]


def _mine_first(waiting: Iterable[_Waiting]) -> list[_Waiting]:
    return sorted(waiting, key=lambda one: not one.mine)


def _may(standings: tuple[Standing, ...]) -> tuple[str, ...]:
    return tuple(one.role for one in standings if one.may)


def _by_expiry(request: ApprovalRequest) -> tuple[int, str]:
    return (request.expires_us, request.id)


def _place(after: str) -> tuple[int, str]:
    expires, _, request = after.partition(".")
    return (int(expires[:18]) if expires.isascii() and expires.isdigit() else 0, request)


def _typed(request: Request, *names: str) -> dict[str, str]:
    """What was typed into a form that could not be accepted."""
    given = request.state.visit.form
    return {name: given.get(name, "") for name in names}
