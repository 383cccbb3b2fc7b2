"""People: who there is, what they hold and answer for, the links by which they sign in, and one's own credentials."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from accredit.console.frame import Surroundings
from accredit.console.pages import Pages
from accredit.console.ports import ConsoleServices
from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError
from accredit.kernel.ids import PersonId
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.model import Agent, AgentState, Person, Role

__all__ = ["PeopleViews"]

_PAGE: Final = 100


class PeopleViews:
    """Makes these pages from what the services hold."""

    def __init__(self, services: ConsoleServices, pages: Pages, surroundings: Surroundings) -> None:
        self._services = services
        self._pages = pages
        self._common = surroundings

    async def people(self, request: Request) -> Response:
        who: Operator = request.state.visit.operator
        self._common.require_sight(None, who)
        asked = request.query_params.get("name", "").strip()[:200]
        last = self._services.catalogue().person_by_id(PersonId(request.query_params.get("after", "")[:80]))
        found = [one for one in self._services.catalogue().persons() if asked.lower() in one.email.lower()]
        ahead = [one for one in found if _place(one) > _place(last)] if last else found
        page = heapq.nsmallest(_PAGE + 1, ahead, key=_place)
        return self._pages.page(
            "people",
            **self._common.around(request, "/console/people"),
            people=page[:_PAGE],
            answers_for=self._answers_for(page[:_PAGE]),
            waits_for=self._waits_for(),
            total=len(found),
            asked=asked,
            following=page[_PAGE - 1].id if len(page) > _PAGE else "",
            roles=self._roles(),
            manages=self._manages(who),
            single=who.basis == Basis.SINGLE_ADMIN,
            every_role=tuple(Role),
            teams=self._services.catalogue().teams(),
            typed={name: request.state.visit.form.get(name, "") for name in ("email", "person", "role", "team")},
        )

    async def account(self, request: Request) -> Response:
        """One's own sign-in link and credentials."""
        who: Operator = request.state.visit.operator
        alive = [
            one
            for one in self._services.sessions.tokens(who)
            if not one.revoked and one.expires_us > self._services.clock.now().wall_us
        ]
        return self._pages.page(
            "account",
            **self._common.around(request, ""),
            credentials=sorted(alive, key=lambda one: (-one.issued_us, one.id)),
            present=who.credential,
            channels=self._services.chats.channels(),
            linked=self._services.chats.links(who),
        )

    async def accounts(self, request: Request) -> Response:
        """The accounts that a person can connect for agents that act for them."""
        who: Operator = request.state.visit.operator
        return self._pages.page(
            "accounts",
            **self._common.around(request, ""),
            offered=self._services.accounts.offered(),
            own={one.credential: one.connected_us for one in self._services.accounts.connected(who.person)},
        )

    def consent(self, request: Request, credential: str, url: str) -> Response:
        """Where one goes to connect an account. Not a redirect: browsers keep the forms of this console to itself."""
        return self._pages.page(
            "connect",
            **self._common.around(request, ""),
            credential=credential,
            consent_url=url,
            host=urlsplit(url).netloc,
        )

    def chat_code(self, request: Request, channel: str, code: str) -> Response:
        """What somebody says in a chat to be themselves there, shown once."""
        return self._pages.page("chat", **self._common.around(request, ""), channel=channel, code=code)

    def link(self, request: Request, secret: str, *, address: str, for_self: bool) -> Response:
        """A sign-in link, shown once: nothing keeps it."""
        return self._pages.page(
            "link",
            **self._common.around(request, "" if for_self else "/console/people"),
            link=f"{self._services.public_url}/login#{secret}",
            address=address,
            for_self=for_self,
        )

    def known(self, person: str) -> Person:
        """The person of that id.

        Raises:
            NotFoundError: there is none.
        """
        found = self._services.catalogue().person_by_id(PersonId(person))
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no person `{person[:80]}`")
        return found

    def _manages(self, who: Operator) -> bool:
        answer = authority(
            Act.MANAGE_PEOPLE,
            who.person,
            self._services.organisation(),
            single_admin=who.basis == Basis.SINGLE_ADMIN,
        )
        return not isinstance(answer, Unauthorised)

    def _answers_for(self, people: Sequence[Person]) -> dict[str, list[Agent]]:
        """The agents that each of them owns and that are not at their end, by name."""
        shown = {one.id for one in people}
        found: defaultdict[str, list[Agent]] = defaultdict(list)
        for agent in self._services.catalogue().agents():
            if agent.owner in shown and agent.state not in {AgentState.RETIRING, AgentState.RETIRED}:
                found[agent.owner].append(agent)
        return {person: sorted(agents, key=lambda one: (one.name, one.environment)) for person, agents in found.items()}

    def _waits_for(self) -> dict[str, list[Agent]]:
        """The agents that somebody is asked to take over and nobody did, by whom."""
        found: defaultdict[str, list[Agent]] = defaultdict(list)
        for one in self._services.successions():
            agent = self._services.catalogue().agent(one.agent)
            if agent is not None and one.accepted_by is None:
                for person in one.turn.persons:
                    found[person].append(agent)
        return dict(found)

    def _roles(self) -> dict[str, list[tuple[str, Any]]]:
        """Of each holder, a person or a group: role and team."""
        teams = {one.id: one.name for one in self._services.catalogue().teams()}
        found: defaultdict[str, list[tuple[str, Any]]] = defaultdict(list)
        for grant in self._services.organisation().grants:
            if grant.revoked_us is None:
                found[grant.holder].append(
                    (grant.role.value, teams.get(grant.team, grant.team) if grant.team else None)
                )
        return {holder: sorted(held, key=str) for holder, held in found.items()}


def _place(person: Person) -> tuple[str, str]:
    return (person.email, person.id)
