"""A whole installation in one process over a scripted tool server: every room is real, every control can be swapped.

`Site` is what outlives a process (data directory, clock, issuers, tool server); `Site.started` is one process of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from accredit.audit.records import body_of, header_of
from accredit.bootstrap import Running, run
from accredit.demo.issuers import Directory, TicketDesk
from accredit.demo.world import DemoPerson
from accredit.enforcement.model import Admitted, Call, CallEnd, CallResult, Refused
from accredit.enforcement.path import Enforcer
from accredit.enforcement.ports import Controls
from accredit.identity.model import Principal
from accredit.kernel.clock import Clock, ScriptedClock
from accredit.kernel.ids import RandomIds, ServerName
from accredit.offline import check_log, look_at
from accredit.sdk.identity import AsyncAgentIdentity
from accredit.serving import bound, served
from accredit.settings import Settings
from tests.gateway.stage import RawServer, Script, Seen, answer_ok, http_json, legacy, modern
from tests.policies import with_cases

MONDAY_TEN_US = 1_795_428_000_000_000  # 2026-11-23T10:00:00Z
SECRET = "0123456789abcdef-brokered"
KIM, TICKET = "kim.the.user@example.com", "ticket-of-kim-4711"


def document(kind: str, metadata: Mapping[str, Any] | None, spec: Mapping[str, Any]) -> dict[str, Any]:
    """One manifest."""
    head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": dict(spec)}
    return head | ({"metadata": dict(metadata)} if metadata else {})


def agent(name: str, tools: Sequence[Mapping[str, Any]], **spec: Any) -> dict[str, Any]:
    """An agent of the team `support`."""
    base = {
        "purpose": "be governed",
        "owner": "dana@example.com",
        "tools": [{"server": "crm"} | dict(each) for each in tools],
        "data": ["internal"],
        "models": [],
        "prompt": {"digest": "sha256:" + "0" * 64},
        "autonomy": "acts-unattended",
        "audience": "employees",
        "inputs": ["employees"],
        "reach": "department",
        "use": {"annex3": False, "decidesOnPeople": False},
        "limits": {"calls": {"perMinute": 600}, "concurrency": 2, "cost": {"perDay": "1 USD"}},
    }
    return document("Agent", {"name": name, "team": "support", "environment": "development"}, base | spec)


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A definition as the tool server lists it: the properties given are required, else one text may be sent."""
    return {
        "name": name,
        "description": f"Does {name}.",
        "inputSchema": {
            "type": "object",
            "properties": properties or {"customer_id": {"type": "string"}},
            "required": sorted(properties),
        },
    }


CRM_TOOLS = (
    tool("read"),
    tool("match", customer_id={"type": "string"}),
    tool("count"),
    tool("refund", cents={"type": "integer"}),
)
CRM_FACTS: Mapping[str, Mapping[str, Any]] = {
    "read": {"effect": "read", "data": ["internal"], "price": "0.05 USD"},
    "match": {"effect": "read", "data": ["internal"], "price": "0.05 USD"},
    "count": {"effect": "read", "data": ["internal"], "price": "0.05 USD"},
    "refund": {"effect": "irreversible", "data": ["internal"], "price": "0.05 USD"},
}
GUARDRAILS = {
    "org/guardrails.cedar": '@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);'
}


class ToolBox:
    """The tool server's behaviour: what it lists, what it answers, and what reached it."""

    def __init__(self, *tools: Mapping[str, Any]) -> None:
        self.tools: list[Mapping[str, Any]] = list(tools)
        self.calls: list[dict[str, Any]] = []
        """Parameters of every `tools/call` that arrived."""
        self.listings = 0
        self.answer: Script = answer_ok
        """What a call is answered with."""
        self.listing: Script | None = None
        """What a question for tools is answered with, if not the truth."""
        self.tasks: Script = answer_ok
        """What a question about one of its tasks is answered with."""
        self.arrived = asyncio.Event()

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        message = seen.message
        if message["method"].startswith("tasks/"):
            assert seen.headers["authorization"] == SECRET
            await self.tasks(writer, seen)
            return
        if message["method"] == "tools/call":
            assert seen.headers["authorization"] == SECRET
            self.calls.append(message["params"])
            self.arrived.set()
            await self.answer(writer, seen)
            return
        if message["method"] == "tools/list":
            self.listings += 1
            if self.listing is not None:
                await self.listing(writer, seen)
                return
            result: dict[str, Any] = {"tools": self.tools, "ttlMs": 0, "cacheScope": "private"}
        else:
            result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
        writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete"} | result}))


class Port:
    """A control that does what the real one does, but for the methods named in `instead`."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.instead: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return self.instead.get(name) or getattr(self.real, name)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self.instead.get("__call__", self.real)(*given, **named)


@dataclass
class Place:
    """One process of a site."""

    site: Site
    running: Running
    url: str
    http: httpx2.AsyncClient
    operator: DemoPerson
    ports: dict[str, Port]

    @property
    def enforcer(self) -> Enforcer:
        return self.running.plane.enforcer

    # -- operating

    async def apply(self, *documents: Mapping[str, Any]) -> None:
        await self.operator.post("apply", {"files": [{"name": "f.json", "text": json.dumps(documents)}]})

    async def refused_apply(self, *documents: Mapping[str, Any]) -> Mapping[str, Any]:
        """Apply what must be refused; the problem document."""
        files = [{"name": "f.json", "text": json.dumps(documents)}]
        status, answer = await self.operator.attempt("apply", {"files": files})
        assert status >= 400, answer
        return dict(answer)

    async def sign_in(self) -> None:
        answer = await self.operator.post("login", {"link": self.running.first_link or "", "name": "test"})
        self.site.operator_token = answer["token"]
        self.http.headers["authorization"] = f"Bearer {answer['token']}"

    async def enrol(self, name: str) -> None:
        made = await self.operator.post(f"agents/{name}/join-tokens", {})
        identity = await AsyncAgentIdentity.enrol(
            self.url, made["join_token"], clock=self.site.clock, ids=self.site.ids
        )
        self.site.identities[name] = identity

    # -- being an agent

    def route(self, server: str | None) -> str:
        """Where that server's tools are called; None: all of them."""
        return f"{self.url}/mcp" if server is None else f"{self.url}/mcp/{server}"

    async def token(self, name: str, *, server: str | None = "crm", user: str | None = None, ticket: str | None = None,
                    roles: Sequence[str] = (), customer: str = "c-1") -> str:  # fmt: skip
        identity, route = self.site.identities[name], self.route(server)
        if user is None:
            return await identity.access_token(route)
        subject = self.site.directory.token_for(user, roles=list(roles), audience=self.url)
        shown = await self.operator.get(f"agents/{name}")
        task = (
            self.site.desk.token_for(ticket, user=user, agent=shown["id"], customer=customer, audience=self.url)
            if ticket
            else None
        )
        return await identity.exchange(route, subject_token=subject, task_token=task)

    async def principal(self, name: str, *, server: str = "crm", **served: Any) -> Principal:
        token = await self.token(name, server=server, **served)
        return self.enforcer.authenticate(f"Bearer {token}", path=f"/mcp/{server}", source="127.0.0.1")

    async def admit(self, principal: Principal, tool: str = "read", arguments: Mapping[str, Any] | None = None,
                    **more: Any) -> Admitted | Refused:  # fmt: skip
        """One call, in process, up to where it would be forwarded."""
        call = Call(
            principal=principal, server=ServerName("crm"), tool=tool, arguments=arguments or {},
            protocol="mcp/2026-07-28", source="127.0.0.1", **more,
        )  # fmt: skip
        async with asyncio.timeout(20):
            return await self.enforcer.admit(call)

    def settle(self, admitted: Admitted, end: CallEnd = CallEnd.OK, **more: Any) -> None:
        self.enforcer.settle(admitted, CallResult(end, **more))

    async def post(
        self, token: str, body: bytes, headers: Mapping[str, str], *, server: str | None = "crm"
    ) -> httpx2.Response:
        """One request to the gateway, over the socket."""
        given = {key: value for key, value in headers.items() if key not in {"host", "authorization"}}
        return await self.site.agents_http.post(
            self.route(server), content=body, headers=given | {"authorization": f"Bearer {token}"}
        )

    async def call(self, token: str, tool: str = "read", arguments: Mapping[str, Any] | None = None, *,
                   server: str | None = "crm", meta: Mapping[str, Any] | None = None) -> Told:  # fmt: skip
        """One `tools/call` of the stateless era."""
        body, headers = modern(params={"name": tool, "arguments": dict(arguments or {})}, meta=meta)
        headers["mcp-name"] = encoded_name(tool)
        return Told(await self.post(token, body, headers, server=server))

    async def session(self, token: str, *, server: str | None = "crm") -> str:
        """Begin a session of the other era; its id."""
        body, headers = legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
        return str((await self.post(token, body, headers, server=server)).headers["mcp-session-id"])

    # -- what is on record

    def records(self, kind: str | None = None) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(header, body) of every durable record, oldest first."""
        found = [(header_of(one), body_of(one)) for one in self.running.plane.records.records()]
        return [one for one in found if kind is None or one[0]["kind"] == kind]

    def decisions(self) -> list[str]:
        return [body["code"] for _, body in self.records("decision")]

    async def settled(self) -> None:
        """Wait until every record that nobody awaits is durable."""
        async with asyncio.timeout(20):
            await self.enforcer.drained()

    async def limits(self, name: str) -> Mapping[str, Any]:
        return dict(await self.operator.get(f"agents/{name}/limits"))


class Told:
    """What an agent was told."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.json: dict[str, Any] = response.json()

    @property
    def allowed(self) -> bool:
        return "result" in self.json and not self.json["result"].get("isError")

    @property
    def why(self) -> Mapping[str, Any]:
        """The refusal or protocol error, with its code, message and hint."""
        if "error" in self.json:
            return {"message": self.json["error"]["message"], **self.json["error"].get("data", {})}
        return dict(self.json["result"].get("structuredContent") or {})

    def refused(self, code: str) -> Mapping[str, Any]:
        """It was refused for that reason, and told what would change it."""
        assert self.why.get("code") == code, self.json
        assert self.why["message"]
        assert self.why["hint"], self.why
        return self.why


def encoded_name(name: str) -> str:
    """A tool's name as the header carries it."""
    import base64

    if all(0x20 <= ord(char) < 0x7F for char in name) and name.strip() == name:
        return name
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


@dataclass
class Site:
    """What outlives a process."""

    data: Path
    clock: ScriptedClock
    box: ToolBox
    raw: RawServer
    directory: Directory
    desk: TicketDesk
    desk_url: str
    agents_http: httpx2.AsyncClient
    ids: RandomIds = field(default_factory=RandomIds)
    identities: dict[str, AsyncAgentIdentity] = field(default_factory=dict)
    operator_token: str | None = None
    port: int = 0

    @asynccontextmanager
    async def started(self, **settings: Any) -> AsyncIterator[Place]:
        """One process; the next one gets the same address."""
        ports: dict[str, Port] = {}
        names = (
            "verifier",
            "definitions",
            "broker",
            "spend",
            "holds",
            "validate",
            "decide",
            "listed",
            "audit",
            "outside",
        )

        def replaced(controls: Controls) -> Controls:
            given = {name: getattr(controls, name) for name in names}
            ports.update({name: Port(real) for name, real in given.items() if real is not None})
            swapped: Any = replace(controls, **ports)
            return swapped  # type: ignore[no-any-return]  # a port that forwards everything has every method

        listener = bound("127.0.0.1", self.port)
        self.port = int(listener.getsockname()[1])
        given = Settings(port=self.port, **{"development_agent_days": 0, "disk_reserve_mb": 0, **settings})
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(listener.close)
            clock: Clock = self.clock
            running = await stack.enter_async_context(
                run(self.data, given, port=self.port, clock=clock, ids=self.ids, replaced=replaced)
            )
            url = await stack.enter_async_context(served(running.app, listener))
            headers = {"authorization": f"Bearer {self.operator_token}"} if self.operator_token else {}
            http = await stack.enter_async_context(
                httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=20)
            )
            yield Place(self, running, url, http, DemoPerson(http), ports)

    async def register(
        self,
        place: Place,
        *agents: Mapping[str, Any],
        facts: Mapping[str, Mapping[str, Any]] = CRM_FACTS,
        files: Mapping[str, str] = GUARDRAILS,
    ) -> None:
        """Sign in, and register people, issuers, the tool server, its credential, policies and these agents."""
        await place.sign_in()
        origin = self.raw.url.removesuffix("/mcp")
        credential = {"origin": origin, "header": "Authorization", "value": SECRET}
        await place.operator.put("upstream-credentials/crm-key", credential)
        await place.apply(*self.people(), self.crm(facts), *agents)
        await place.operator.post("policy/publish", {"files": with_cases(files)})
        for each in agents:
            await place.enrol(each["metadata"]["name"])

    def people(self) -> list[dict[str, Any]]:
        claims = {"customer_id": "string"}
        return [
            document("Person", None, {"email": "dana@example.com"}),
            document("Team", {"name": "support"}, {"zones": ["UTC"]}),
            document("Issuer", {"name": "directory"}, {
                "use": "user", "issuer": self.directory.url, "jwks": self.directory.jwks, "rolesClaim": "roles"}),
            document("Issuer", {"name": "tickets"}, {
                "use": "task", "issuer": self.desk.url, "jwks": self.desk.jwks, "claims": claims,
                "statusUrl": f"{self.desk_url}/status/{{task}}"}),
        ]  # fmt: skip

    def crm(self, facts: Mapping[str, Mapping[str, Any]] = CRM_FACTS, name: str = "crm") -> dict[str, Any]:
        return document("ToolServer", {"name": name, "environment": "development"}, {
            "url": self.raw.url, "credential": "crm-key", "tools": {key: dict(value) for key, value in facts.items()},
        })  # fmt: skip

    # -- with no process running

    def sql(self, file: str, statement: str, values: Sequence[Any] = ()) -> int:
        """Change a database by hand, as whoever can write the file would; how many rows were touched."""
        with closing(sqlite3.connect(self.data / file)) as database:
            touched = database.execute(statement, values).rowcount
            database.commit()
        return touched

    def verified(self) -> None:
        """The log verifies, its parts open, and the state is what it proves."""
        report = check_log(self.data, opened=True)
        assert report.ok, report.what
        with look_at(self.data) as offline:
            diagnosis = offline.doctor.diagnose()
        assert diagnosis.sound, (diagnosis.differences, diagnosis.foreign)


@asynccontextmanager
async def site(data: Path, *, box: ToolBox | None = None) -> AsyncIterator[Site]:
    """An empty data directory, a tool server and the issuers."""
    box = box or ToolBox(*CRM_TOOLS)
    clock, ids = ScriptedClock(MONDAY_TEN_US), RandomIds()
    desk = TicketDesk("https://tickets.example.com", "desk", clock, ids)
    directory = Directory("https://id.example.com", "dir", clock, ids)
    async with (
        RawServer(box).run() as raw,
        served(desk, bound("127.0.0.1", 0)) as desk_url,
        httpx2.AsyncClient(trust_env=False, timeout=30) as agents_http,
    ):
        yield Site(data, clock, box, raw, directory, desk, desk_url, agents_http)


@asynccontextmanager
async def place(data: Path, *agents: Mapping[str, Any], **settings: Any) -> AsyncIterator[Place]:
    """A site with one process, registered and with these agents enrolled."""
    async with site(data) as empty, empty.started(**settings) as started:
        await empty.register(started, *agents)
        yield started


WORKER = agent("worker", [{"allow": ["read", "refund"]}])
HELPER = agent(
    "helper",
    [{"allow": ["match"], "when": {"userRole": "support", "sameAs": {"input.customer_id": "task.customer_id"}}}],
)


def raw_bytes(directory: Path) -> Iterator[bytes]:
    """Header, salted body and sealed parts of every record, as they lie on the disk."""
    with closing(sqlite3.connect(directory / "audit.db")) as log:
        for header, body, sealed in log.execute("SELECT header, body, sealed FROM records"):
            yield bytes(header) + bytes(body) + bytes(sealed)
