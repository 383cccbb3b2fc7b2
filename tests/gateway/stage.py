"""A stage for the gateway: enforcement in memory, a tool server that speaks raw bytes, a client without a socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn

from accredit.enforcement.model import Admitted, AskedCall, Call, CallResult, Refused, WeighedCall
from accredit.gateway.mcp import McpGateway
from accredit.gateway.ports import DeferredCallStore, ListingWatch
from accredit.gateway.programs import ProgramRules, Programs
from accredit.gateway.routing import NAMED_BY
from accredit.gateway.sessionhttp import SessionHttp
from accredit.gateway.statelesshttp import StatelessHttp
from accredit.gateway.stdio import StdioServers
from accredit.gateway.toolservers import ToolServers
from accredit.gateway.upstream import Upstream
from accredit.identity.model import Principal, VerifiedUser
from accredit.kernel.canonical import digest_value
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import AgentId, CredentialId, DecisionId, SeededIds, ServerName, tool_id
from accredit.kernel.sealing import AesGcmSealer
from accredit.registry.items import ItemKind
from accredit.registry.model import Effect, Environment, Tool, ToolServer
from accredit.storage.memory.deferred import MemoryDeferredCallStore

MODERN, LEGACY = "2026-07-28", "2025-11-25"
TOKEN = "Bearer agent-one"
SECRET = "Bearer brokered-secret"
PUBLIC = "http://127.0.0.1:8700"
CRM = ServerName("crm")
DISCOVERED = {"tools": {"listChanged": True}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
"""The capabilities that a client of the stateless era is told of."""
START_US = 1_790_000_000_000_000


def make_tool(name: str = "read_customer", schema: Mapping[str, Any] | None = None, **definition: Any) -> Tool:
    """A tool pinned with its definition."""
    pinned = {
        "name": name,
        "description": f"The pinned words on {name}.",
        "inputSchema": schema or {"type": "object", "properties": {"customer_id": {"type": "string"}}},
        **definition,
    }
    return Tool(
        id=tool_id(CRM, name),
        server=CRM,
        name=name,
        effect=Effect.READ,
        scope=None,
        data=frozenset(),
        price=None,
        definition=pinned,
        definition_digest=digest_value("tool-definition", pinned),
    )


def make_server(url: str, *tools: Tool) -> ToolServer:
    """A registered tool server."""
    return ToolServer(CRM, Environment.DEVELOPMENT, url, "crm-key", {tool.name: tool for tool in tools})


def make_principal(name: str = "one", user: str | None = None) -> Principal:
    """A verified agent."""
    return Principal(
        agent=AgentId(f"agt_{name}"),
        credential=CredentialId(f"crd_{name}"),
        epoch=1,
        expires_us=START_US + 300_000_000,
        token_digest=f"digest-of-{name}-for-{user}",
        user=VerifiedUser("https://issuer.example", user, frozenset(), {}) if user else None,
    )


class StagedEnforcement:
    """Decides as told and remembers; an admitted call that is settled twice, or never, fails the test."""

    def __init__(self, server: ToolServer) -> None:
        self.target = server
        self.calls: list[Call] = []
        self.turned: list[tuple[Code, str | None]] = []
        self.admitted: list[Admitted] = []
        self.settled: list[CallResult] = []
        self.refusal: Refused | None = None
        self.invalid: Code | None = None
        self.recheck: Callable[[], object] = lambda: None
        self.call_timeout_s = 30.0
        self.masked: frozenset[str] = frozenset()
        self.elicitation: frozenset[str] = frozenset()
        self.grants = True
        self.inspected: list[Mapping[str, Any]] = []
        self.withhold: AccreditError | None = None
        self.in_flight = asyncio.Event()

    def authenticate(
        self, authorization: str | None, *, path: str, source: str, api_key: str | None = None
    ) -> Principal:
        assert api_key is None
        if authorization is None or not authorization.startswith("Bearer agent-"):
            raise UnauthenticatedError(Code.TOKEN_SIGNATURE, "the secret reason", cause="more secrets")
        name, _, user = authorization.removeprefix("Bearer agent-").partition(" for ")
        return make_principal(name, user or None)

    def turned_away(
        self, code: Code, *, path: str, source: str, credential: str | None = None, cause: str = ""
    ) -> None:
        self.turned.append((code, credential))

    async def admit(self, call: Call) -> Admitted | Refused:
        self.calls.append(call)
        if self.refusal is not None:
            return self.refusal
        tool = self.target.tools.get(call.tool)
        if tool is None or tool.item is not call.item:
            return Refused(Code.TOOL_NOT_GRANTED, Code.TOOL_NOT_GRANTED.meaning, Code.TOOL_NOT_GRANTED.remedy)
        admitted = Admitted(
            decision_id=DecisionId(f"dec_{len(self.calls)}"),
            call=call,
            tool=tool,
            server=self.target,
            headers={"Authorization": SECRET},
            call_timeout_s=self.call_timeout_s,
            run_timeout_s=600.0,
            recheck=self._recheck,
            elicitation=self.elicitation,
            masked=self.masked,
        )
        self.admitted.append(admitted)
        self.in_flight.set()
        return admitted

    def _recheck(self) -> None:
        self.recheck()  # whatever the test has set by then

    def inspect(self, admitted: Admitted, result: Mapping[str, Any]) -> None:
        assert admitted in self.admitted
        self.inspected.append(result)
        if self.withhold is not None:
            raise self.withhold

    def withholds(self, admitted: Admitted) -> bool:
        raise AssertionError("results of tools are whole when they are looked at")

    def asked(self, admitted: Admitted, calls: Sequence[AskedCall]) -> None:
        raise AssertionError("no model stands on this stage")

    async def weigh(self, admitted: Admitted, asked: AskedCall) -> WeighedCall:
        raise AssertionError("no model stands on this stage")

    def settle(self, admitted: Admitted, result: CallResult) -> None:
        assert admitted in self.admitted
        self.settled.append(result)
        assert len(self.settled) <= len(self.admitted), "settled twice"

    def visible(self, principal: Principal, server: ServerName, item: ItemKind | None = None) -> tuple[Tool, ...]:
        return tuple(tool for tool in self.target.tools.values() if tool.item is item)

    def granted(self, principal: Principal, tool: Tool) -> bool:
        return self.grants

    def still_valid(self, principal: Principal) -> Code | None:
        return self.invalid

    def servers(self, principal: Principal) -> Mapping[ServerName, ToolServer]:
        return {self.target.name: self.target}

    def server(self, name: ServerName) -> ToolServer:
        if name != self.target.name:
            raise NotFoundError(Code.SERVER_UNKNOWN, Code.SERVER_UNKNOWN.meaning)
        return self.target


@dataclass
class Seen:
    """One request as a tool server received it."""

    head: bytes
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader

    async def until_closed(self) -> None:
        """Wait until the client closes its connection, as it must to cancel."""
        await self.reader.read()
        raise ConnectionResetError

    @property
    def message(self) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(self.body)
        return message


Script = Callable[[asyncio.StreamWriter, Seen], Awaitable[None]]


def http_json(value: Any, *, status: str = "200 OK", extra: str = "") -> bytes:
    """A whole JSON response."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{extra}content-length: {len(body)}\r\n\r\n".encode()
        + body
    )


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def tool_result(text: str = "ok", **more: Any) -> dict[str, Any]:
    """A result of `tools/call` as tool servers of the newest era send it."""
    return {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": False, **more}


async def answer_ok(writer: asyncio.StreamWriter, seen: Seen) -> None:
    """Answers any call."""
    writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result()}))


class RawServer:
    """A tool server that records what reaches it and answers by script, byte for byte."""

    def __init__(self, script: Script = answer_ok, *, streams: bool = False) -> None:
        """`streams`: whether the script answers those who open a stream by GET; else it has none to offer."""
        self.script = script
        self.streams = streams
        self.seen: list[Seen] = []
        self.connections = 0
        self.closed = asyncio.Event()
        """Set when a client closed its connection."""
        self.url = ""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")[1:]
                headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if head.startswith(b"GET") and headers.get("accept") == "text/event-stream" and not self.streams:
                    writer.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
                    continue
                seen = Seen(head, headers, body, reader)
                self.seen.append(seen)
                await self.script(writer, seen)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            self.closed.set()
        except asyncio.CancelledError:
            return  # the stage is over; the streams module of 3.11 takes a cancelled task for a failure
        finally:
            self._tasks.discard(task)
            writer.close()

    @asynccontextmanager
    async def run(self, port: int = 0) -> AsyncIterator[RawServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=2**20)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        try:
            yield self
        finally:
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()


@dataclass
class Reply:
    """What a client got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.body)
        return value

    @property
    def events(self) -> list[dict[str, Any]]:
        frames = [frame for frame in self.body.split(b"\r\n\r\n") if b"data: " in frame]
        return [orjson.loads(frame.partition(b"data: ")[2]) for frame in frames]

    @property
    def code(self) -> str:
        """The stable code of an error or of a refusal."""
        if "error" in self.json:
            return str(self.json["error"]["data"]["code"])
        return str(self.json["result"]["structuredContent"]["code"])


class Peer:
    """A client that calls the ASGI app directly and can leave at any moment."""

    def __init__(self, app: McpGateway) -> None:
        self.app = app
        self.left = asyncio.Event()
        self.reply = Reply()
        self.part = asyncio.Event()
        """Set when something of the answer has arrived."""

    async def exchange(
        self,
        body: bytes,
        headers: Mapping[str, str] | list[tuple[str, str]],
        *,
        method: str = "POST",
        path: str = "/mcp/crm",
        chunks: list[bytes] | None = None,
        stall: bool = False,
    ) -> Reply:
        pending = list(chunks) if chunks is not None else [body]
        listed = list(headers.items()) if isinstance(headers, Mapping) else headers

        async def receive() -> dict[str, Any]:
            if pending:
                chunk = pending.pop(0)
                return {"type": "http.request", "body": chunk, "more_body": bool(pending) or stall}
            await self.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            self.part.set()
            if message["type"] == "http.response.start":
                self.reply.status = message["status"]
                self.reply.headers = {key.decode(): value.decode() for key, value in message["headers"]}
                return
            self.reply.body += message.get("body", b"")
            self.reply.complete = not message.get("more_body", False)

        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(key.lower().encode("latin-1"), value.encode("latin-1")) for key, value in listed],
            "client": ("192.0.2.7", 4711),
        }
        async with asyncio.timeout(20):
            await self.app(scope, receive, send)
        return self.reply


def base_headers(**more: str) -> dict[str, str]:
    """What every request carries."""
    return {
        "host": "127.0.0.1:8700",
        "authorization": TOKEN,
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    } | {key.replace("_", "-"): value for key, value in more.items()}


def modern(
    method: str = "tools/call",
    params: Mapping[str, Any] | None = None,
    *,
    rpc_id: int | str | None = 7,
    capabilities: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request of the stateless era."""
    params = dict(params if params is not None else {"name": "read_customer", "arguments": {"customer_id": "c-1"}})
    params["_meta"] = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": dict(capabilities or {}),
        **(meta or {}),
    }
    message = {"jsonrpc": "2.0", "method": method, "params": params} | ({} if rpc_id is None else {"id": rpc_id})
    headers = base_headers(mcp_protocol_version=MODERN, mcp_method=method)
    if (named_by := NAMED_BY.get(method)) is not None and isinstance(params.get(named_by), str):
        headers["mcp-name"] = params[named_by]
    return orjson.dumps(message), headers


def legacy(
    method: str, params: Mapping[str, Any] | None = None, *, rpc_id: int | str | None = 7, session: str | None = None
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request of the era with sessions."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method} | ({} if rpc_id is None else {"id": rpc_id})
    if params is not None:
        message["params"] = dict(params)
    headers = base_headers()
    if session is not None:
        headers |= {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
    return orjson.dumps(message), headers


@dataclass
class Stage:
    """Everything a test touches."""

    gateway: McpGateway
    point: StagedEnforcement
    server: RawServer
    clock: ScriptedClock

    def peer(self) -> Peer:
        return Peer(self.gateway)

    async def call(self, body: bytes, headers: Mapping[str, str] | list[tuple[str, str]], **how: Any) -> Reply:
        return await self.peer().exchange(body, headers, **how)

    async def begin(self) -> str:
        """Begin a session; its id."""
        reply = await self.call(*legacy("initialize", {"protocolVersion": LEGACY, "capabilities": {}}))
        return reply.headers["mcp-session-id"]


def tool_servers(upstream: Upstream) -> ToolServers:
    """Every kind of tool server, without a program."""
    rules = ProgramRules(allowed=False, hidden=(), first_uid=1, last_uid=1, memory_bytes=1, cpu_s=1)
    return ToolServers(
        stateless=StatelessHttp(upstream), sessions=SessionHttp(upstream), stdio=StdioServers(Programs(rules))
    )


def make_gateway(
    point: StagedEnforcement,
    clock: ScriptedClock,
    *,
    max_result_bytes: int = 2**20,
    deferred: DeferredCallStore | None = None,
    **more: Any,
) -> McpGateway:
    """A gateway with repeatable ids."""
    ids = SeededIds(1)
    return McpGateway(
        point,
        tool_servers(Upstream(max_result_bytes=max_result_bytes)),
        public_url=PUBLIC,
        deferred=deferred or MemoryDeferredCallStore(),
        sealer=AesGcmSealer(bytes(32), ids),
        clock=clock,
        ids=ids,
        **more,
    )


@asynccontextmanager
async def stage(
    script: Script = answer_ok,
    *tools: Tool,
    watch: ListingWatch | None = None,
    max_result_bytes: int = 2**20,
    max_body_bytes: int = 2**16,
    upload_timeout_s: float = 10.0,
    deferred: DeferredCallStore | None = None,
) -> AsyncIterator[Stage]:
    """The gateway before one scripted tool server. On leaving, every admitted call must have been settled."""
    clock = ScriptedClock(START_US)
    async with RawServer(script).run() as server:
        point = StagedEnforcement(make_server(server.url, *(tools or (make_tool(),))))
        gateway = make_gateway(
            point,
            clock,
            watch=watch,
            deferred=deferred,
            max_result_bytes=max_result_bytes,
            max_body_bytes=max_body_bytes,
            upload_timeout_s=upload_timeout_s,
        )
        try:
            yield Stage(gateway, point, server, clock)
            assert len(point.settled) == len(point.admitted), "an admitted call was not settled"
        finally:
            await gateway.aclose()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def serving(app: Any, *, lifespan: Any = "off") -> AsyncIterator[str]:
    """Serve an ASGI app on a free loopback port; the origin it is reached at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(
            uvicorn.Config(app, log_config=None, lifespan=lifespan, timeout_graceful_shutdown=2, access_log=False)
        )
        task = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(10):
                await server.ready.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            async with asyncio.timeout(10):
                await task
