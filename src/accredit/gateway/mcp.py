"""The MCP endpoints `/mcp` and `/mcp/{server}` as a bare ASGI app: one POST in, one answer out, every control between.

The two differ in nothing but what is listed and how a call names its tool: at `/mcp` the tools of every server stand
in one list, under the names of `aggregate.py`. What a name stands for is settled before a call is anything.

Life of a request: 1 routing headers once, Host and Origin; 2 who is calling; 3 method, content type, accept; 4 body,
bounded in size and time; 5 one strict JSON-RPC message; 6 its era, header = body; 7 its method. What is about a tool or
an item goes on in `mcpcalls.py`: 8 to `EnforcementPoint.admit`, 9 upstream, 10 back, and is settled.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from accredit.enforcement.model import Refused
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.aggregate import AggregatedNames, aggregated_name
from accredit.gateway.answers import KeptAnswers
from accredit.gateway.elicitation import declared_modes
from accredit.gateway.flight import Flight
from accredit.gateway.items import ITEM_LISTS, ITEM_READS, TOOL_KEY, ItemRequests, RpcCall, tell_refusal, uri_of
from accredit.gateway.jsonrpc import RpcError, RpcMessage, RpcNumber, RpcResponse, read_message
from accredit.gateway.mcpcalls import McpCalls, McpRequest, forever
from accredit.gateway.mcptasks import TASKS
from accredit.gateway.ports import DeferredCallStore, EnforcementPoint, ListingWatch
from accredit.gateway.relay import ABOUT_US
from accredit.gateway.replies import NO_STORE, PRIVATE, Reply, Send
from accredit.gateway.routing import Era, era_of, read_head
from accredit.gateway.sessions import ClientSession, SealedSessions
from accredit.gateway.subscriptions import ClientStream, Lists, SharedLooks, Subscriptions, Wanted
from accredit.gateway.toolservers import ToolServerProtocol
from accredit.gateway.uploads import Uploads
from accredit.identity.metadata import challenge
from accredit.identity.model import Principal, Revocation
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from accredit.kernel.ids import IdSource, ServerName, check_name
from accredit.kernel.sealing import Sealer
from accredit.registry.items import ItemKind
from accredit.registry.model import Tool, ToolServer

__all__ = ["McpGateway", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_log = logging.getLogger("accredit.gateway")

_LIST_AGE_MS = 5000
_MAX_TOOL_NAME = 256
_NO_ARGUMENTS: Mapping[str, Any] = {}


class McpGateway:
    """The ASGI app. Mount it for `/mcp` and every path below; close it with `aclose` when the server has stopped."""

    def __init__(
        self,
        enforcement: EnforcementPoint,
        tool_servers: ToolServerProtocol,
        *,
        public_url: str,
        deferred: DeferredCallStore,
        sealer: Sealer,
        clock: Clock,
        ids: IdSource,
        allowed_hosts: Iterable[str] = (),
        watch: ListingWatch | None = None,
        max_body_bytes: int = 2**20,
        upload_timeout_s: float = 10.0,
    ) -> None:
        self._enforcement = enforcement
        self._tool_servers = tool_servers
        self._public_url = public_url
        self._clock = clock
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._sessions = SealedSessions(sealer, clock, ids)
        self._subscriptions = Subscriptions(ids)
        self._looks = SharedLooks(clock)
        self._answers = KeptAnswers(ids)
        self._items = ItemRequests(enforcement)
        self._calls = McpCalls(enforcement, tool_servers, deferred=deferred, sealer=sealer, clock=clock, ids=ids)
        self._watch = watch
        self._max_body_bytes = max_body_bytes
        self._uploads = Uploads(max_bytes=max_body_bytes, timeout_s=upload_timeout_s)
        self._names = AggregatedNames()

    async def aclose(self) -> None:
        """Close the connections to tool servers."""
        self._subscriptions.close()
        self._answers.close()
        await self._calls.aclose()
        await self._tool_servers.aclose()

    def changed(self, _: object = None) -> None:
        """Told when agents, tools, policies or credentials changed: open streams look whether that is news to them."""
        self._looks.changed()
        self._subscriptions.changed()
        self._calls.changed()

    def revoked(self, revocation: Revocation) -> None:
        """Told of what was just revoked: its deferred calls are let go of, and open streams look again."""
        self._calls.revoked(revocation)
        self._looks.changed()
        self._subscriptions.changed()

    async def tick(self) -> None:
        """Let go of deferred calls whose time is over. To be called every few seconds.

        Raises:
            UnavailableError: what is kept of them cannot be used.
        """
        await self._calls.sweep()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Nothing escapes but cancellation and what `send` itself raises."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        reply = Reply(send)
        try:
            await self._serve(scope, receive, reply)
        except AccreditError as error:
            if not reply.started:
                await reply.fault(error)
        except Exception:  # noqa: BLE001 - the outermost boundary: logged, and answered without its text
            _log.exception("a request to the MCP gateway failed")
            if not reply.started:
                await reply.error(
                    RpcNumber.INTERNAL, Code.INTERNAL.meaning, status=500, data={"code": Code.INTERNAL.value}
                )

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        head = read_head(scope["headers"])  # 1
        self._addresses.check(head.get("host"), head.get("origin"))
        path: str = scope["path"]
        source: str = (scope.get("client") or ("",))[0]
        name = _server_name(path)
        method = scope["method"]
        if method not in {"POST", "DELETE"} and (method != "GET" or "mcp-session-id" not in head):
            raise RpcError(
                RpcNumber.REQUEST,
                "only POST is served here, and GET and DELETE of a session",
                status=405,
                headers=((b"allow", b"POST, DELETE" if method == "GET" else b"GET, POST, DELETE"),),
            )
        try:  # 2
            principal = self._enforcement.authenticate(head.get("authorization"), path=path, source=source)
        except UnauthenticatedError:
            await self._challenge(reply, path)
            return
        except ForbiddenError as error:
            raise ForbiddenError(Code.NOT_AUTHORISED, Code.NOT_AUTHORISED.meaning) from error
        try:
            server = self._enforcement.server(name) if name is not None else None
            if server is not None and server.local:
                raise NotFoundError(Code.SERVER_LOCAL, Code.SERVER_LOCAL.meaning, hint=Code.SERVER_LOCAL.remedy)
            if server is not None and server.protocol != "mcp":
                raise NotFoundError(Code.SERVER_UNKNOWN, f"`{name}` speaks no MCP", hint="see `accredit server list`")
        except AccreditError as error:
            self._enforcement.turned_away(error.code, path=path, source=source, credential=principal.credential)
            raise
        if method == "DELETE":
            session = self._sessions.open(head.get("mcp-session-id", ""), principal, name)
            self._sessions.end(session)
            self._subscriptions.forget(session)
            self._answers.forget(session)
            await reply.bare(204, b"", NO_STORE)
            return
        if method == "GET":
            await self._follow(principal, server, head, source, receive, reply)
            return
        _check_negotiation(head)  # 3
        body = await self._uploads.read(receive, head, sender=principal.agent)  # 4
        if body is None:
            reply.done = True
            return
        message = read_message(body, max_bytes=self._max_body_bytes)  # 5
        reply.rpc_id = message.id
        if self._enforcement.still_valid(principal) is not None:  # the body may have taken its time
            await self._challenge(reply, path)
            return
        if isinstance(message, RpcResponse):
            text = head.get("mcp-session-id")
            if text is None or not self._calls.heard(self._sessions.open(text, principal, name), message):
                raise RpcError(RpcNumber.REQUEST, "nothing that was asked has this `id`", rpc_id=message.id)
            await reply.bare(202, b"")
            return
        era = reply.era = era_of(head, message)  # 6
        inbound = McpRequest(principal, server, head, message, era, source, receive)
        await self._dispatch(inbound, reply)  # 7

    async def _challenge(self, reply: Reply, path: str) -> None:
        # One constant text: why a token is not accepted is for the record alone.
        await reply.error(
            401,
            Code.UNAUTHENTICATED.meaning,
            (b"www-authenticate", challenge(self._public_url, path).encode()),
            status=401,
            data={"code": Code.UNAUTHENTICATED.value, "hint": Code.UNAUTHENTICATED.remedy},
        )

    # -- methods

    async def _dispatch(self, inbound: McpRequest, reply: Reply) -> None:
        method, notification = inbound.message.method, inbound.message.id is None
        if inbound.era is Era.SESSIONS:
            if method == "initialize" and not notification:
                await self._initialize(inbound, reply)
                return
            session = self._session(inbound)
            match method, notification:
                case "notifications/initialized", True:
                    await reply.bare(202, b"")
                case "notifications/cancelled", True:
                    self._calls.cancel(session, inbound.message)
                    await reply.bare(202, b"")
                case "ping", False:
                    await reply.result({})
                case "tools/list", False:
                    await self._list(inbound, reply)
                case "tools/call", False:
                    with self._answers.kept(session, inbound.principal, reply):
                        await self._call(replace(inbound, session=session), reply)
                case "resources/subscribe", False:
                    await self._subscribe(replace(inbound, session=session), session, reply)
                case "resources/unsubscribe", False:
                    stream = self._subscriptions.of_session(session, inbound.principal, inbound.message.id)
                    stream.unwant(uri_of(inbound.message))
                    await reply.result({})
                case _:
                    with self._answers.kept(session, inbound.principal, reply):
                        await self._item(replace(inbound, session=session), reply)
            return
        match method, notification:
            case (("notifications/initialized" | "notifications/cancelled"), True):
                # In this era closing the connection is how a call is cancelled; the notice is taken and has no effect.
                await reply.bare(202, b"")
            case "server/discover", False:
                told = self._capabilities(inbound) | {"extensions": {TASKS: {}}}
                await reply.result({**_DISCOVERED, "capabilities": told}, PRIVATE)
            case (("tasks/get" | "tasks/update" | "tasks/cancel"), False):
                await self._calls.task(inbound, reply)
            case "subscriptions/listen", False:
                await self._listen(inbound, reply)
            case "tools/list", False:
                await self._list(inbound, reply)
            case "tools/call", False:
                await self._call(inbound, reply)
            case _:
                await self._item(inbound, reply)

    async def _item(self, inbound: McpRequest, reply: Reply) -> None:
        """List or read resources and prompts."""
        method = inbound.message.method
        if inbound.message.id is None or (method not in ITEM_LISTS and method not in ITEM_READS):
            raise _unknown_method(inbound)
        servers, principal = self._here(inbound), inbound.principal
        if method in ITEM_READS:
            call = self._items.read(principal, inbound.message, servers, aggregated=inbound.aggregated)
            await self._calls.run(call, inbound, reply)
            return
        member, kind = ITEM_LISTS[method]
        listed = self._items.listed(principal, servers, kind, aggregated=inbound.aggregated)
        await self._page(inbound, reply, member, [entry for _, entry in listed])
        if self._watch is not None:
            for name in {name for name, _ in listed}:
                self._watch.freshen(servers[name])

    def _here(self, inbound: McpRequest) -> Mapping[ServerName, ToolServer]:
        """The servers that stand behind the endpoint, as they are now."""
        if inbound.server is None:
            return self._servers(inbound)
        return {inbound.server.name: self._enforcement.server(inbound.server.name)}

    def _capabilities(self, inbound: McpRequest) -> dict[str, Any]:
        """What is served at this endpoint to this agent."""
        there = self._items.capabilities(inbound.principal, self._here(inbound))
        told: dict[str, Any] = {"tools": {}, **there}
        for name in ("tools", "prompts", "resources"):
            if name in told:
                told[name] = {**told[name], "listChanged": True}
        return told

    async def _initialize(self, inbound: McpRequest, reply: Reply) -> None:
        if not isinstance(inbound.message.params.get("protocolVersion"), str):
            raise RpcError(RpcNumber.PARAMS, "`protocolVersion` must be a text", rpc_id=inbound.message.id)
        modes = declared_modes(inbound.message.params.get("capabilities"))
        session = self._sessions.issue(inbound.principal, inbound.endpoint, modes)
        told = {**_INITIALIZED, "capabilities": self._capabilities(inbound)}
        await reply.result(told, NO_STORE, (b"mcp-session-id", session.encode()))

    def _session(self, inbound: McpRequest) -> ClientSession:
        text = inbound.head.get("mcp-session-id")
        if text is None:
            raise RpcError(
                RpcNumber.REQUEST,
                "the header `Mcp-Session-Id` is missing",
                code=Code.SESSION_UNKNOWN,
                rpc_id=inbound.message.id,
                hint=f"send `initialize` first, or speak {Era.STATELESS}, which has no sessions",
            )
        return self._sessions.open(text, inbound.principal, inbound.endpoint)

    async def _list(self, inbound: McpRequest, reply: Reply) -> None:
        tools = self._aggregated(inbound) if inbound.server is None else self._list_of(inbound, inbound.server)
        await self._page(inbound, reply, "tools", tools)

    async def _page(self, inbound: McpRequest, reply: Reply, member: str, listed: list[dict[str, Any]]) -> None:
        if inbound.message.params.get("cursor") is not None:
            raise RpcError(RpcNumber.PARAMS, "no such cursor: the list has one page", rpc_id=inbound.message.id)
        await reply.result(
            {
                member: listed,
                "ttlMs": _LIST_AGE_MS,
                "cacheScope": "private",
            },
            PRIVATE,
        )

    def _list_of(self, inbound: McpRequest, server: ToolServer) -> list[dict[str, Any]]:
        tools = self._enforcement.visible(inbound.principal, server.name)
        if self._watch is not None:
            self._watch.freshen(server)
        return [_listed(tool) for tool in tools]

    def _aggregated(self, inbound: McpRequest) -> list[dict[str, Any]]:
        """What the agent may use of every server; that one of them is down takes nothing from the others."""
        servers = self._servers(inbound)
        listed: list[dict[str, Any]] = []
        for server in servers.values():
            tools = self._enforcement.visible(inbound.principal, server.name)
            if tools and self._watch is not None:
                self._watch.freshen(server)
            for tool in tools:
                name = aggregated_name(tool.server, tool.name)
                if self._names.read(name, servers) is not None:
                    meta = tool.definition.get("_meta")
                    known = {**(meta if isinstance(meta, Mapping) else {}), TOOL_KEY: tool.id}
                    listed.append({**_listed(tool), "name": name, "_meta": known})
        return listed

    def _servers(self, inbound: McpRequest) -> dict[ServerName, ToolServer]:
        """Those that speak MCP."""
        known = self._enforcement.servers(inbound.principal)
        return {name: server for name, server in known.items() if server.protocol == "mcp"}

    def _meant(self, inbound: McpRequest, name: str) -> tuple[ServerName | None, str, Tool | None]:
        """Whose tool a call names, the server's own name of it, and the tool if there is one."""
        if inbound.server is not None:
            return inbound.server.name, name, inbound.server.tools.get(name)
        servers = self._servers(inbound)
        if (meant := self._names.read(name, servers)) is None:
            return None, name, None
        server, own = meant
        return server, own, servers[server].tools.get(own)

    async def _call(self, inbound: McpRequest, reply: Reply) -> None:
        """Call a tool."""
        message = inbound.message
        name, arguments = _named_call(message)
        server, own, tool = self._meant(inbound, name)
        if inbound.era is Era.STATELESS and tool is not None and self._enforcement.granted(inbound.principal, tool):
            self._calls.check_parameters(tool, inbound, arguments)
        params = {"name": own, "arguments": arguments}
        await self._calls.run(RpcCall(server, own, arguments, message.method, params), inbound, reply)

    # -- what a client wants to hear of

    async def _listen(self, inbound: McpRequest, reply: Reply) -> None:
        principal, message = inbound.principal, inbound.message
        if message.id is None:
            raise _unknown_method(inbound)

        async def decide(uri: str, stream: ClientStream) -> None:
            try:
                await self._want(inbound, uri, stream, lambda: principal, Flight(forever))
            except RpcError:
                return  # it means more than one resource, or none

        asked = message.params.get("notifications", {})
        await self._subscriptions.listen(
            principal.agent, asked, message.id, self._lists(inbound), decide, reply, Flight(inbound.receive)
        )

    async def _follow(
        self,
        principal: Principal,
        server: ToolServer | None,
        head: Mapping[str, str],
        source: str,
        receive: Receive,
        reply: Reply,
    ) -> None:
        """Serve the stream of a session (2025-11-25, Streamable HTTP, "Listening for Messages from the Server")."""
        if "text/event-stream" not in head.get("accept", ""):
            raise RpcError(RpcNumber.REQUEST, "`Accept` must list `text/event-stream`", status=406)
        message = RpcMessage(None, "", {})
        era_of({key: head[key] for key in head if key == "mcp-protocol-version"}, message)
        inbound = McpRequest(principal, server, head, message, Era.SESSIONS, source, receive)
        session = self._session(inbound)
        last = head.get("last-event-id")
        if last is not None and (found := self._answers.find(session, principal, last)) is not None:
            await self._answers.follow(*found, reply, Flight(receive))
            return
        await self._subscriptions.follow(session, principal, last, self._lists(inbound), reply, Flight(receive))

    async def _subscribe(self, inbound: McpRequest, session: ClientSession, reply: Reply) -> None:
        message, uri = inbound.message, uri_of(inbound.message)
        stream = self._subscriptions.of_session(session, inbound.principal, message.id)
        if uri not in stream:
            if stream.full:
                raise RpcError(
                    RpcNumber.REQUEST,
                    "the session has as many subscriptions as it may",
                    code=Code.CONCURRENCY_LIMITED,
                    status=429,
                    rpc_id=message.id,
                    hint="unsubscribe from another resource first",
                )
            refused = await self._want(inbound, uri, stream, lambda: stream.principal, Flight(inbound.receive))
            if refused is not None:
                asked, words = refused
                await tell_refusal(asked, inbound.era)(reply, words)
                return
        await reply.result({})

    async def _want(
        self, inbound: McpRequest, uri: str, stream: ClientStream, now: Callable[[], Principal], flight: Flight
    ) -> tuple[RpcCall, Refused] | None:
        """Have a stream tell of a resource, if that is allowed; `now` is who listens, as proven last.

        Raises:
            RpcError: the URI is none, or means more than one resource.
        """
        read = RpcMessage(inbound.message.id, "resources/read", {**inbound.message.params, "uri": uri})

        def meant() -> tuple[RpcCall, Tool | None]:
            servers = self._here(inbound)
            call = self._items.read(now(), read, servers, aggregated=inbound.aggregated)
            return call, servers[call.server].tools.get(call.own) if call.server is not None else None

        call, _ = meant()
        outcome = await self._calls.subscribe(call, inbound, lambda: stream.update(uri), flight)
        if isinstance(outcome, Refused):
            return call, outcome

        def granted() -> bool:
            if self._enforcement.still_valid(now()) not in {None, Code.TOKEN_EXPIRED}:
                return False  # whose token ran out may come back with another
            try:
                same, tool = meant()
            except AccreditError:
                return False
            known = (same.server, same.own) == (call.server, call.own)
            return known and tool is not None and self._enforcement.granted(now(), tool)

        def visible() -> bool:
            try:
                same, tool = meant()
                listed = self._enforcement.visible(now(), tool.server, same.item) if tool is not None else ()
            except AccreditError:
                return False
            return any(tool is not None and one.id == tool.id for one in listed)

        stream.want(uri, Wanted(granted, visible, outcome))
        return None

    def _lists(self, inbound: McpRequest) -> Lists:
        """What the agent's lists hold, for as long as it is let in."""
        principal = inbound.principal
        server = inbound.server.name if inbound.server is not None else None
        # whoever acts for nobody else sees what every instance of the agent sees
        alone = principal.user is None and principal.task is None and not principal.delegators
        seen_as = server, principal.agent, "" if alone else principal.token_digest

        def look() -> Mapping[str, object]:
            here = list(self._here(inbound))
            return {asked: self._told_apart(principal, here, kinds) for asked, kinds in _LISTED.items()}

        def lists() -> Mapping[str, object] | None:
            if self._enforcement.still_valid(principal) is not None:
                return None
            try:
                return self._looks.of(seen_as, look)
            except AccreditError:
                return None

        return lists

    def _told_apart(self, principal: Principal, servers: Iterable[ServerName], kinds: Iterable[ItemKind | None]) -> int:
        """Tells one list from another in little room: it is kept of every stream."""
        return hash(
            frozenset(
                (tool.id, tool.definition_digest)
                for server in servers
                for kind in kinds
                for tool in self._enforcement.visible(principal, server, kind)
            )
        )


_LISTED: Mapping[str, tuple[ItemKind | None, ...]] = {
    "toolsListChanged": (None,),
    "resourcesListChanged": (ItemKind.RESOURCE, ItemKind.TEMPLATE),
    "promptsListChanged": (ItemKind.PROMPT,),
}
_SERVED = ("tools/call", "tools/list", "tasks/get", "server/discover", "subscriptions/listen")
_INITIALIZED = {
    "protocolVersion": Era.SESSIONS.value,
    "serverInfo": ABOUT_US,
}
_DISCOVERED = {
    "supportedVersions": [Era.STATELESS.value],
    "ttlMs": _LIST_AGE_MS,
    "cacheScope": "private",
    "_meta": {"io.modelcontextprotocol/serverInfo": ABOUT_US},
}


def _server_name(path: str) -> ServerName | None:
    """The server that a path is the endpoint of; None for all of them."""
    if path == "/mcp":
        return None
    _, _, name = path.partition("/mcp/")
    try:
        return ServerName(check_name(name, "tool server"))
    except InvalidInputError as error:
        raise NotFoundError(
            Code.SERVER_UNKNOWN, Code.SERVER_UNKNOWN.meaning, hint="the path is `/mcp`, or `/mcp/` and a server's name"
        ) from error


def _check_negotiation(head: Mapping[str, str]) -> None:
    kind = head.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RpcError(RpcNumber.REQUEST, "the content type must be `application/json`", status=415)
    accept = head.get("accept", "*/*")
    if accept == "application/json, text/event-stream":
        return
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    if "*/*" in accepted:
        return
    for wanted in ("application/json", "text/event-stream"):
        if wanted not in accepted and f"{wanted.partition('/')[0]}/*" not in accepted:
            raise RpcError(
                RpcNumber.REQUEST, "`Accept` must list `application/json` and `text/event-stream`", status=406
            )


def _unknown_method(inbound: McpRequest) -> RpcError:
    return RpcError(
        RpcNumber.METHOD,
        f"the method `{inbound.message.method[:80]}` is not served",
        code=Code.METHOD_UNKNOWN,
        # to a client with a session, 404 would say that the session is gone
        status=404 if inbound.era is Era.STATELESS else 400,
        rpc_id=inbound.message.id,
        hint=f"served are {', '.join(sorted({*_SERVED, *ITEM_LISTS, *ITEM_READS}))}",
    )


def _listed(tool: Tool) -> dict[str, Any]:
    known = {key: value for key, value in tool.definition.items() if value is not None}
    return {**known, "name": tool.name}


def _named_call(message: RpcMessage) -> tuple[str, Mapping[str, Any]]:
    name = message.params.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_TOOL_NAME:
        raise RpcError(
            RpcNumber.PARAMS, f"`name` must be a text of at most {_MAX_TOOL_NAME} characters", rpc_id=message.id
        )
    arguments = message.params.get("arguments", _NO_ARGUMENTS)
    if not isinstance(arguments, dict):
        if arguments is not None and arguments is not _NO_ARGUMENTS:
            raise RpcError(RpcNumber.PARAMS, "`arguments` must be an object", rpc_id=message.id)
        arguments = {}
    return name, arguments
