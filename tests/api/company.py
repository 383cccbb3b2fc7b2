"""An installation with two administrators and everybody a gate needs, set up and spoken to over the API alone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from accredit.demo.world import DemoAgent
from accredit.enforcement.ports import Controls
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import RandomIds
from accredit.sdk.identity import AsyncAgentIdentity
from tests.api.installation import Installation, installation

__all__ = ["Company", "agent", "assessment", "company", "person"]

_NOW_US: Final = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z
_TEAM: Final = "finance"
_STAFF: Final = ("dana", "lee", "lena", "olaf", "sam", "cora", "bo", "otto", "una", "nick")
"""Everybody but the administrators, ada and mira. Dana owns the agents, lee backs her up, nick holds nothing."""
_ROLES: Final = (
    ("lena", "team-lead", _TEAM),
    ("olaf", "team-lead", "customer-support"),
    ("sam", "security", None),
    ("cora", "compliance", None),
    ("bo", "business-owner", None),
    ("otto", "operator", None),
    ("una", "auditor", None),
)


def _document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind}
    return head | ({"metadata": metadata} if metadata else {}) | {"spec": spec}


def person(email: str) -> dict[str, Any]:
    return _document("Person", None, {"email": email})


def agent(
    name: str, *, environment: str = "production", tools: tuple[str, ...] = ("count_tickets",), **spec: Any
) -> dict[str, Any]:
    """A low agent of dana's: it reads internal data with one tool."""
    told = {
        "purpose": "Report how many tickets are open",
        "owner": "dana@example.com",
        "backupOwner": "lee@example.com",
        "tools": [{"server": "crm-live" if environment == "production" else "crm", "allow": list(tools)}],
        "data": ["internal"],
        "models": [],
        "prompt": {"digest": "sha256:" + "0" * 64},
        "autonomy": "suggests",
        "audience": "employees",
        "inputs": ["employees"],
        "reach": "team",
        "use": {"annex3": False, "decidesOnPeople": False},
    }
    return _document("Agent", {"name": name, "team": _TEAM, "environment": environment}, told | spec)


def assessment(accepter: str) -> dict[str, Any]:
    risk = {
        "risk": "A refund goes to somebody who bought nothing",
        "likelihood": 3,
        "impact": 3,
        "mitigations": [{"measure": "a business owner looks at each of them"}],
        "residual": "low",
    }
    return {"risks": [risk], "residual": "low", "acceptedBy": accepter}


@dataclass
class Company:
    """One such installation; its people by the first part of their addresses."""

    place: Installation
    clock: ScriptedClock
    stack: contextlib.ExitStack
    people: dict[str, httpx2.Client] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> httpx2.Client:
        return self.people[name]

    # -- what anybody does

    def get(self, name: str, path: str, **params: Any) -> Any:
        answer = self.people[name].get(f"/api/v1/{path}", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def attempt(self, name: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """A post, whatever comes of it: the status, and the code if it is refused or else the answer."""
        answer = self.people[name].post(f"/api/v1/{path}", json=dict(body or {}))
        return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else answer.json()

    def post(self, name: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        status, answer = self.attempt(name, path, body)
        assert status < 300, (path, answer)
        return answer

    def apply(self, name: str, *documents: Mapping[str, Any]) -> list[dict[str, Any]]:
        file = {"name": "a.json", "text": json.dumps(documents)}
        return list(self.post(name, "apply", {"files": [file]})["items"])

    # -- sign-off

    def vote(self, name: str, request: str, role: str, verdict: str = "approve", comment: str = "looked at it") -> Any:
        status, answer = self.attempt_vote(name, request, role, verdict, comment)
        assert status == 200, answer
        return answer

    def attempt_vote(
        self, name: str, request: str, role: str, verdict: str = "approve", comment: str = "looked at it"
    ) -> tuple[int, Any]:
        """Look at what is to be judged, and vote on exactly that."""
        shown = self.people[name].get(f"/api/v1/approvals/{request}").json()
        body = {"role": role, "vote": verdict, "view_digest": shown.get("view_digest", ""), "comment": comment}
        return self.attempt(name, f"approvals/{request}/vote", body)

    # -- an agent's life

    def submitted(self, document: Mapping[str, Any]) -> str:
        """Registered and submitted by its owner: the request."""
        self.apply("dana", document)
        return str(self.post("dana", f"agents/production/{document['metadata']['name']}/submit")["id"])

    def active(self, document: Mapping[str, Any]) -> None:
        """A low agent in production, in force."""
        self.vote("lena", self.submitted(document), "team-lead")
        self.post("dana", f"agents/production/{document['metadata']['name']}/activate")

    def enrolled(self, reference: str, *, confirmed: bool = True) -> DemoAgent:
        """One instance of an agent, its key confirmed by the owner."""
        token = self.post("dana", f"agents/{reference}/join-tokens")["join_token"]
        url = self.place.url
        identity = self.place.do(AsyncAgentIdentity.enrol(url, token, clock=self.clock, ids=RandomIds()))
        if confirmed:
            self.post("dana", f"credentials/{identity.credential}/confirm", {"thumbprint": identity.thumbprint})
        server = "crm-live" if reference.startswith("production/") else "crm"
        found = self.get("dana", f"agents/{reference}")
        return DemoAgent(found["id"], found["name"], identity, f"{url}/mcp/{server}", self.place.world)

    def call(self, instance: DemoAgent, tool: str, arguments: Mapping[str, Any], *, user: str | None = None) -> Any:
        """One governed call: what the agent is told."""

        async def calling() -> Any:
            return await instance.call(tool, arguments, token=await instance.token(user=user))

        return self.place.do(calling()).structured_content

    def watched(self) -> None:
        """Have monitoring look at everything that is new."""
        self.place.do(self.place.plane.enforcer.drained())
        self.place.do(self.place.plane.watched())


@contextlib.contextmanager
def company(data: Path, *, replaced: Callable[[Controls], Controls] = lambda controls: controls) -> Iterator[Company]:
    """The sample fleet of one administrator's time, and from then on a company."""
    clock = ScriptedClock(_NOW_US)
    with installation(data, clock=clock, replaced=replaced) as place, contextlib.ExitStack() as stack:
        made = Company(place, clock, stack)
        _people(made)
        _tools(made)
        yield made


def _people(made: Company) -> None:
    _lasting(made, "ada", made.place.token)
    link = made.post("ada", "invitations", {"email": "mira@example.com"})["link"]
    _signed_in(made, "mira", link)
    made.clock.advance(1)  # a role counts for what is asked after it began
    made.apply("ada", *(person(f"{name}@example.com") for name in _STAFF))
    known = {one["email"]: one["id"] for one in made.get("ada", "persons")["items"]}
    for name in _STAFF:
        link = made.post("ada", f"persons/{known[f'{name}@example.com']}/sign-in-link")["link"]
        _signed_in(made, name, link)
    for name, role, team in _ROLES:
        body = {"role": role, "person": made.ids[name]} | ({"team": team} if team else {})
        made.vote("mira", made.post("ada", "roles", body)["approval"], "admin")
    made.clock.advance(60)


def _signed_in(made: Company, name: str, link: str) -> None:
    made.clock.advance(10)  # sign-ins are limited
    with made.place.client("") as http:
        first = http.post("/api/v1/login", json={"link": link.partition("#")[2]}).json()["token"]
    _lasting(made, name, first)


def _lasting(made: Company, name: str, first: str) -> None:
    """Somebody acts with a token that outlives what waits for people."""
    with made.place.client(first) as http:
        lasting = http.post("/api/v1/tokens", json={"name": "lasting", "scopes": ["admin", "read"], "days": 90}).json()
    made.people[name] = made.stack.enter_context(made.place.client(lasting["token"]))
    made.ids[name] = made.get(name, "whoami")["person"]


def _tools(made: Company) -> None:
    tools = {
        "read_customer": {"effect": "read", "data": ["personal"], "price": "0 USD"},
        "count_tickets": {"effect": "read", "data": ["internal"], "price": "0 USD"},
        "delete_customer": {"effect": "irreversible", "data": ["personal"], "price": "0 USD"},
    }
    server = _document(
        "ToolServer",
        {"name": "crm-live", "environment": "production"},
        {"url": made.place.world.crm_url, "credential": "crm-key", "tools": tools},
    )
    (pending,) = made.apply("otto", server)
    made.vote("sam", pending["approval"], "security")
    agreement = {"provider": "anthropic", "covers": ["personal"], "document": "sha256:" + "1" * 64}
    made.apply("ada", _document("Agreement", {"name": "dpa-2026-14"}, agreement))
