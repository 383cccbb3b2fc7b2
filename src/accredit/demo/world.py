"""Everything the sample fleet needs, started on free ports of loopback: the CRM, the issuers, accredit, the agents."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

from accredit.bootstrap import Running, run
from accredit.demo import fleet
from accredit.demo.crm import Crm
from accredit.demo.issuers import Directory, TicketDesk
from accredit.enforcement.ports import Controls
from accredit.kernel.clock import Clock
from accredit.kernel.ids import IdSource, RandomIds
from accredit.sdk.identity import AsyncAgentIdentity
from accredit.serving import bound, served
from accredit.settings import Settings

__all__ = ["MODERN", "SESSIONS", "DemoAgent", "DemoPerson", "World", "world"]

MODERN = "2026-07-28"
SESSIONS = "legacy"
"""What the MCP SDK calls the era of sessions (2025-11-25)."""


class DemoPerson:
    """Somebody acting through the API with a token of their own."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self.person = ""
        """Their id, once signed in."""

    async def sign_in(self, secret: str) -> Mapping[str, Any]:
        """Exchange a link's secret, once, for a token."""
        answer = await self.post("login", {"link": secret, "name": "demo"})
        self.person = answer["person"]
        self._http.headers["authorization"] = f"Bearer {answer['token']}"
        return dict(answer)

    async def get(self, path: str, **params: str | int) -> Any:
        answer = await self._http.get(f"/api/v1/{path}", params=params)
        assert answer.status_code < 300, answer.text  # noqa: S101 - the demo's own request
        return answer.json()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        status, answer = await self.attempt(path, body)
        assert status < 300, answer  # noqa: S101 - the demo's own request
        return answer

    async def attempt(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        answer = await self._http.post(f"/api/v1/{path}", json=body)
        return answer.status_code, answer.json()

    async def put(self, path: str, body: Mapping[str, Any]) -> None:
        answer = await self._http.put(f"/api/v1/{path}", json=body)
        assert answer.status_code < 300, answer.text  # noqa: S101 - the demo's own request

    async def delete(self, path: str) -> None:
        answer = await self._http.delete(f"/api/v1/{path}")
        assert answer.status_code < 300, answer.text  # noqa: S101 - the demo's own request

    async def answer_hold(self, hold: str, answer: str) -> None:
        """Look at exactly what is asked, then answer it."""
        status, told = await self.attempt_answer(hold, answer)
        assert status < 300, told  # noqa: S101 - the demo's own request

    async def attempt_answer(self, hold: str, answer: str = "approve") -> tuple[int, Any]:
        """Look at a hold and try to answer it."""
        shown = await self.get(f"holds/{hold}")
        return await self.attempt(f"holds/{hold}/answer", {"answer": answer, "view_digest": shown["view_digest"]})

    async def vote(self, request: str, role: str, *, vote: str = "approve", comment: str = "checked") -> Any:
        """Look at exactly what is judged, then vote."""
        status, told = await self.attempt_vote(request, role, vote=vote, comment=comment)
        assert status < 300, told  # noqa: S101 - the demo's own request
        return told

    async def attempt_vote(
        self, request: str, role: str, *, vote: str = "approve", comment: str = "checked"
    ) -> tuple[int, Any]:
        """Look at a request and try to vote on it."""
        shown = await self.get(f"approvals/{request}")
        body = {"role": role, "vote": vote, "view_digest": shown["view_digest"], "comment": comment}
        return await self.attempt(f"approvals/{request}/vote", body)


@dataclass(slots=True)
class DemoAgent:
    """One agent's program: its own key, and the MCP SDK as its client."""

    id: str
    name: str
    identity: AsyncAgentIdentity
    route: str
    """Where it reaches its tools: the gateway."""
    _world: World

    async def token(self, *, user: str | None = None, roles: tuple[str, ...] = (), ticket: str | None = None,
                    customer: str = "c-17") -> str:  # fmt: skip
        """An access token, on behalf of a user and for a ticket if given."""
        world = self._world
        if user is None:
            return await self.identity.access_token(self.route)
        subject = world.directory.token_for(user, roles=list(roles), audience=world.url)
        task = (
            world.desk.token_for(ticket, user=user, agent=self.id, customer=customer, audience=world.url)
            if ticket
            else None
        )
        return await self.identity.exchange(self.route, subject_token=subject, task_token=task)

    @contextlib.asynccontextmanager
    async def connected(
        self,
        token: str,
        *,
        era: str = MODERN,
        elicited: Callable[[Any], Any] | None = None,
        route: str | None = None,
    ) -> AsyncIterator[Client]:
        """The SDK's client, as any agent would use it."""
        options: dict[str, Any] = {"elicitation_callback": elicited} if elicited else {}
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20) as http:
            transport = streamable_http_client(route or self.route, http_client=http)
            async with Client(transport, mode=era, **options) as client:
                yield client

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        token: str,
        era: str = MODERN,
        meta: Mapping[str, Any] | None = None,
        elicited: Callable[[Any], Any] | None = None,
        route: str | None = None,
    ) -> CallToolResult:
        async with self.connected(token, era=era, elicited=elicited, route=route) as client:
            return await client.call_tool(tool, dict(arguments), meta=dict(meta) if meta else None)  # type: ignore[arg-type]  # any JSON object


@dataclass(slots=True)
class World:
    """One started sample fleet."""

    clock: Clock
    ids: IdSource
    data: Path
    crm: Crm
    crm_url: str
    directory: Directory
    desk: TicketDesk
    desk_url: str
    running: Running
    url: str
    operator: DemoPerson
    """The first admin."""
    stack: contextlib.AsyncExitStack
    agents: dict[str, DemoAgent] = field(default_factory=dict)
    people: dict[str, DemoPerson] = field(default_factory=dict)
    """Everybody who has signed in, by the first part of their address."""

    @property
    def crm_route(self) -> str:
        """Where agents reach the CRM: the gateway."""
        return f"{self.url}/mcp/crm"

    async def sign_in(self) -> Mapping[str, Any]:
        """The first admin signs in with the printed link."""
        return await self.operator.sign_in(self.running.first_link or "")

    async def sign_in_as(self, name: str, link: str) -> None:
        """Somebody opens their own link."""
        http = await self.stack.enter_async_context(_client(self.url))
        self.people[name] = DemoPerson(http)
        await self.people[name].sign_in(link.partition("#")[2])

    async def register(self) -> None:
        """Give the broker the CRM's credential, apply the fleet, publish its policies."""
        await self.operator.put(
            f"upstream-credentials/{fleet.CRM_CREDENTIAL}",
            {"origin": self.crm_url.removesuffix("/mcp"), "header": "Authorization", "value": self.crm_value},
        )
        text = fleet.as_file(fleet.documents(self.directory, self.desk, self.desk_url, self.crm_url))
        await self.operator.post("apply", {"files": [{"name": "fleet.json", "text": text}]})
        await self.operator.post("policy/publish", {"files": fleet.policies()})

    @property
    def crm_value(self) -> str:
        return f"Bearer {self.crm.credential}"

    async def enrol(self, name: str, *, by: DemoPerson | None = None, server: str = "crm") -> str:
        """One instance of an agent makes its key and enrols it; returns the join token it used up."""
        person = by or self.operator
        shown = await person.get(f"agents/{name}")
        made = await person.post(f"agents/{name}/join-tokens", {})
        identity = await AsyncAgentIdentity.enrol(self.url, made["join_token"], clock=self.clock, ids=self.ids)
        self.agents[name] = DemoAgent(shown["id"], name, identity, f"{self.url}/mcp/{server}", self)
        return str(made["join_token"])


def _client(url: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, trust_env=False, timeout=20)


@contextlib.asynccontextmanager
async def world(
    data: Path,
    clock: Clock,
    *,
    port: int = 0,
    ids: IdSource | None = None,
    replaced: Callable[[Controls], Controls] = lambda controls: controls,
) -> AsyncIterator[World]:
    """Start everything; nobody is signed in and nothing is registered yet."""
    ids = ids or RandomIds()
    async with contextlib.AsyncExitStack() as stack:
        crm = Crm(ids.secret(24).hex())
        crm_url = await stack.enter_async_context(served(crm, bound("127.0.0.1", 0)))
        desk = TicketDesk("https://tickets.example.com", "desk-1", clock, ids)
        desk_url = await stack.enter_async_context(served(desk, bound("127.0.0.1", 0)))
        directory = Directory("https://id.example.com", "dir-1", clock, ids)
        listener = bound("127.0.0.1", port)
        taken = int(listener.getsockname()[1])
        settings = Settings(port=taken, disk_reserve_mb=0)
        running = await stack.enter_async_context(
            run(data, settings, port=taken, clock=clock, ids=ids, admin_email="ada@example.com", replaced=replaced)
        )
        url = await stack.enter_async_context(served(running.app, listener))
        running.data.announce(url)
        http = await stack.enter_async_context(_client(url))
        yield World(
            clock, ids, data, crm, f"{crm_url}/mcp", directory, desk, desk_url, running, url, DemoPerson(http), stack
        )
