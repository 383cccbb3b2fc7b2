"""What every page has in common: who is looking, what waits for them, what they may see, what people are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request

from accredit import __version__
from accredit.approvals.model import ApprovalRequest, ApprovalState, Hold, HoldState
from accredit.console.ports import ConsoleServices
from accredit.console.standing import Standing, hold_standings, standings
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.kernel.ids import PersonId
from accredit.monitoring.model import AlertState
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Agent

__all__ = ["Frame", "Surroundings"]

_COUNTED: Final = 200
"""How many open requests, holds and alerts are looked at to count what waits for one person."""
_DONE: Final = {
    "found": "Your answer to the finding is on record.",
    "voted": "Your vote is on record.",
    "decided": "Your decision is on record.",
    "answered": "Your answer is on record.",
    "stated": "Your statement is on record.",
    "started": "The campaign is begun.",
    "accepted": "That is on record.",
    "campaign-closed": "The campaign is closed.",
    "withdrawn": "The request is withdrawn.",
    "assessed": "The risk assessment is attached.",
    "submitted": "It is submitted.",
    "activated": "It is active.",
    "suspended": "It is suspended.",
    "resumed": "It runs again.",
    "quarantined": "It is quarantined.",
    "lifted": "The quarantine is lifted.",
    "retired": "It is retired.",
    "handled": "The alert is updated.",
    "confirmed": "The glass is broken, and security reviews it within three days.",
    "over": "It is over.",
    "unlinked": "That account is not yours any more.",
    "ended": "It is ended: nothing it signs in to works any more.",
    "asked": "The role is asked for.",
    "proposed": "A second person is asked to agree.",
    "flagged": "The incident is on record.",
    "frozen": "Nothing of its agents is deleted until the legal holds are lifted.",
    "closed": "The incident is closed.",
    "connected": "The account is connected.",
    "disconnected": "The account is disconnected: no agent gets anything of it any more.",
}
_SINGLE_ADMIN: Final = (
    "One administrator fills every role until a second one has signed in. Everything done meanwhile is marked "
    "single-admin on record, and nothing enters staging or production."
)


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around a page."""

    email: str
    roles: str
    csrf: str
    nav: tuple[tuple[str, str, int], ...]
    """Label, address, and how much waits there for this person."""
    here: str
    notice: str
    version: str = __version__


class Surroundings:
    """Knows what is common to the pages of one installation."""

    def __init__(self, services: ConsoleServices) -> None:
        self._services = services

    def around(self, request: Request, here: str) -> dict[str, Any]:
        """The values every page's template takes."""
        visit = request.state.visit
        who: Operator = visit.operator
        roles = sorted({role.value for role, _ in self._services.organisation().roles_of(who.person)})
        frame = Frame(
            email=self.email(who.person),
            roles=", ".join(roles) or "no role",
            csrf=visit.csrf,
            nav=(
                ("Fleet", "/console", 0),
                ("Inbox", "/console/inbox", self._waiting(who)),
                ("Alerts", "/console/alerts", self._open_alerts(who)),
                ("Findings", "/console/findings", 0),
                ("Incidents", "/console/incidents", 0),
                ("Reviews", "/console/reviews", 0),
                ("Stores", "/console/stores", 0),
                ("Break-glass", "/console/break-glass", 0),
                *([("People", "/console/people", 0)] if self.may_see(None, who) else []),
            ),
            here=here,
            notice=_SINGLE_ADMIN if who.basis == Basis.SINGLE_ADMIN else "",
        )
        return {
            "frame": frame,
            "now_us": self._services.clock.now().wall_us,
            "fault": getattr(request.state, "fault", None),
            "done": _DONE.get(request.query_params.get("done", "")),
        }

    def email(self, person: PersonId | str) -> str:
        """What a person is called: the address, or the id where there is no such person any more."""
        known = self._services.catalogue().person_by_id(PersonId(person))
        return known.email if known else str(person)

    @property
    def namer(self) -> Callable[[PersonId | str | None], str]:
        """For templates: what a person is called; nobody is the installation itself."""
        return lambda person: "the installation" if person is None else self.email(person)

    def standings(self, request: ApprovalRequest, who: Operator) -> tuple[Standing, ...]:
        now_us = self._services.clock.now().wall_us
        return standings(request, who.person, self._services.organisation(), now_us=now_us)

    def hold_standings(self, hold: Hold, who: Operator) -> tuple[Standing, ...]:
        now_us = self._services.clock.now().wall_us
        return hold_standings(hold, who, self._services.organisation(), now_us=now_us)

    def visible(self, who: Operator) -> Iterable[Agent]:
        """Whoever holds a role sees the fleet; others see what they own."""
        agents = self._services.catalogue().agents()
        if self._services.organisation().roles_of(who.person):
            return agents
        return [agent for agent in agents if who.person in {agent.owner, agent.backup_owner}]

    def may_see(self, agent: Agent | None, who: Operator) -> bool:
        """Whether a person may look at an agent, or (None) at what belongs to no agent."""
        organisation = self._services.organisation()
        if agent is None:
            return bool(organisation.roles_of(who.person))
        return not isinstance(authority(Act.READ, who.person, organisation, agent=agent), Unauthorised)

    def require_sight(self, agent: Agent | None, who: Operator) -> None:
        """Raises ForbiddenError unless `may_see`."""
        if not self.may_see(agent, who):
            raise ForbiddenError(
                Code.NOT_AUTHORISED, "this is for its owners and for whoever holds a role", hint="ask an administrator"
            )

    def _waiting(self, who: Operator) -> int:
        """How many things this person, and perhaps others, could answer now."""
        holds = self._services.holds.find(state=HoldState.OPEN)[:_COUNTED]
        requests = self._services.requests.find(state=ApprovalState.OPEN)[:_COUNTED]
        mine = [self.hold_standings(one, who) for one in holds] + [self.standings(one, who) for one in requests]
        return sum(any(one.may for one in each) for each in mine)

    def _open_alerts(self, who: Operator) -> int:
        catalogue = self._services.catalogue()
        alerts = self._services.alerts.alerts(state=AlertState.OPEN, limit=_COUNTED)
        return sum(self.may_see(catalogue.agent(one.agent) if one.agent else None, who) for one in alerts)
