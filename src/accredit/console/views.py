"""What each page shows: values read, and put together for a template. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from accredit import __version__
from accredit.approvals.model import ApprovalRequest, ApprovalState, Hold, HoldState
from accredit.console.fleet import FleetQuery, fleet_page
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices, Standing
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError, NotFoundError
from accredit.kernel.ids import HoldId, PersonId
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Agent, AgentState, Environment, Tier

__all__ = ["Frame", "Views"]

_DONE: Final = {
    "voted": "Your vote is on record.",
    "answered": "Your answer is on record.",
    "withdrawn": "The request is withdrawn.",
}
_INBOX: Final = 50
_COUNTED: Final = 200
"""How many open requests are looked at to count what waits for one person."""
_SINGLE_ADMIN: Final = (
    "One administrator fills every role until a second one has signed in. Everything done meanwhile is marked "
    "single-admin on record, and nothing enters staging or production."
)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around every page."""

    email: str
    roles: str
    csrf: str
    nav: tuple[tuple[str, str, int], ...]
    """Label, address, and how much waits there for this person."""
    here: str
    notice: str
    version: str = __version__


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One line of the inbox."""

    roles: tuple[str, ...]
    mine: tuple[str, ...]
    agent: Agent | None
    hold: Hold | None = None
    request: ApprovalRequest | None = None


class Views:
    """Makes every page from what the services hold."""

    def __init__(self, services: ConsoleServices, pages: Pages) -> None:
        self._services = services
        self._pages = pages

    def email(self, person: PersonId) -> str:
        """What a person is called: the address, or the id where there is no such person any more."""
        known = self._services.catalogue().person_by_id(person)
        return known.email if known else str(person)

    # -- pages

    def fleet(self, request: Request) -> Response:
        query = FleetQuery.of(request.query_params)
        catalogue, tiers = self._services.catalogue(), self._services.tier_of
        page = fleet_page(self._visible(request.state.visit.operator), query, tier_of=tiers)
        return self._pages.view(
            request,
            "fleet",
            "fleet",
            **self._around(request, "/console"),
            query=query,
            page=page,
            teams=catalogue.teams(),
            tiers={agent.id: tiers(agent) for agent in page.agents},
            emails=self._emails(agent.owner for agent in page.agents),
            first=query.first,
            following=query.following(page.agents[-1]) if page.more else "",
            choices=(
                ("Environment", "environment", Environment, query.environment),
                ("State", "state", AgentState, query.state),
                ("Risk tier", "tier", Tier, query.tier),
            ),
        )

    def inbox(self, request: Request) -> Response:
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
            **self._around(request, "/console/inbox"),
            holds=[one for one in holds if self._may_see(one.agent, who) or one.mine],
            requests=[one for one in requests if self._may_see(one.agent, who) or one.mine],
            following=f"{last.expires_us}.{last.id}" if last else "",
        )

    def hold(self, request: Request) -> Response:
        who = request.state.visit.operator
        hold_id = request.path_params["hold"]
        hold = self._services.holds.get(HoldId(hold_id))
        if hold is None:
            raise NotFoundError(Code.HOLD_UNKNOWN, f"there is no hold `{hold_id[:80]}`")
        standings = self._services.hold_standing(hold, who) if hold.state is HoldState.OPEN else ()
        agent = self._services.catalogue().agent(hold.agent)
        may = [one for one in standings if one.may]
        if not may:
            self._require_sight(agent, who)
        persons = [grant.person for grant in hold.grants] + ([hold.denied_by] if hold.denied_by else [])
        return self._pages.page(
            "hold",
            **self._around(request, "/console/inbox"),
            hold=hold,
            agent=agent,
            view=_read(hold.view) if hold.view else None,
            standings=standings,
            may=may,
            emails=self._emails(persons),
            typed=_typed(request, "reason"),
        )

    def approval(self, request: Request) -> Response:
        who = request.state.visit.operator
        request_id = request.path_params["request"]
        found = self._services.requests.get(request_id)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no request `{request_id[:80]}`")
        agent = self._services.catalogue().agent(found.agent) if found.agent else None
        still_open = found.state is ApprovalState.OPEN
        standings = self._services.standing(found, who) if still_open else ()
        may = [one for one in standings if one.may]
        if not may:
            self._require_sight(agent, who)
        text, digest = self._services.requests.view(found.id)
        parties = found.parties
        persons = [*parties.all, *(vote.person for vote in found.votes)]
        return self._pages.page(
            "approval",
            **self._around(request, "/console/inbox"),
            request=found,
            agent=agent,
            votes={vote.role: vote for vote in found.votes},
            view=_read(text) if text else None,
            text=text,
            digest=digest,
            standings=standings,
            may=may,
            may_withdraw=still_open and who.person == parties.requester,
            wants_assessment=False,
            emails=self._emails([*persons, *(vote.for_person for vote in found.votes if vote.for_person)]),
            typed=_typed(request, "role", "comment"),
        )

    # -- what they share

    def _around(self, request: Request, here: str) -> dict[str, Any]:
        visit = request.state.visit
        who: Operator = visit.operator
        roles = sorted({role.value for role, _ in self._services.organisation().roles_of(who.person)})
        frame = Frame(
            email=self.email(who.person),
            roles=", ".join(roles) or "no role",
            csrf=visit.csrf,
            nav=(("Fleet", "/console", 0), ("Inbox", "/console/inbox", self._waiting(who))),
            here=here,
            notice=_SINGLE_ADMIN if who.basis == Basis.SINGLE_ADMIN else "",
        )
        return {
            "frame": frame,
            "fault": getattr(request.state, "fault", None),
            "done": _DONE.get(request.query_params.get("done", "")),
        }

    def _waiting(self, who: Operator) -> int:
        """How many things this person, and perhaps others, could answer now."""
        holds = self._services.holds.find(state=HoldState.OPEN)[:_COUNTED]
        requests = self._services.requests.find(state=ApprovalState.OPEN)[:_COUNTED]
        mine = [self._services.hold_standing(one, who) for one in holds]
        mine += [self._services.standing(one, who) for one in requests]
        return sum(any(one.may for one in standings) for standings in mine)

    def _held(self, hold: Hold, who: Operator) -> _Waiting:
        return _Waiting(
            roles=tuple(sorted({need.role for need in hold.missing})),
            mine=_may(self._services.hold_standing(hold, who)),
            agent=self._services.catalogue().agent(hold.agent),
            hold=hold,
        )

    def _asked(self, request: ApprovalRequest, who: Operator) -> _Waiting:
        return _Waiting(
            roles=tuple(need.role.value for need in request.missing),
            mine=_may(self._services.standing(request, who)),
            agent=self._services.catalogue().agent(request.agent) if request.agent else None,
            request=request,
        )

    def _visible(self, who: Operator) -> Iterable[Agent]:
        """Whoever holds a role sees the fleet; others see what they own."""
        agents = self._services.catalogue().agents()
        if self._services.organisation().roles_of(who.person):
            return agents
        return [agent for agent in agents if who.person in {agent.owner, agent.backup_owner}]

    def _may_see(self, agent: Agent | None, who: Operator) -> bool:
        organisation = self._services.organisation()
        if agent is None:
            return bool(organisation.roles_of(who.person))
        return not isinstance(authority(Act.READ, who.person, organisation, agent=agent), Unauthorised)

    def _require_sight(self, agent: Agent | None, who: Operator) -> None:
        if not self._may_see(agent, who):
            raise ForbiddenError(
                Code.NOT_AUTHORISED, "this is for its owners and for whoever holds a role", hint="ask an administrator"
            )

    def _emails(self, persons: Iterable[PersonId]) -> Mapping[PersonId, str]:
        return {person: self.email(person) for person in persons}


def _may(standings: Sequence[Standing]) -> tuple[str, ...]:
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


def _read(text: str) -> Any:
    """A view's values; the very text is shown below them."""
    return orjson.loads(text)
