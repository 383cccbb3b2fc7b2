"""The MCP endpoints `/mcp` and `/mcp/{server}` as a bare ASGI app: one POST in, one answer out, every control between.

The two differ in nothing but what is listed and how a call names its tool: at `/mcp` the tools of every server stand
in one list, under the names of `aggregate.py`. What a name stands for is settled before a call is anything.

Life of a request: 1 routing headers once, Host and Origin; 2 who is calling; 3 method, content type, accept; 4 body,
bounded in size and time; 5 one strict JSON-RPC message; 6 its era, header = body; 7 its method. `tools/call` then goes
8 to `EnforcementPoint.admit`, 9 upstream, 10 back, and is settled.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson

from accredit.approvals.requests import exact_json
from accredit.approvals.sealedstate import open_state, seal_state
from accredit.enforcement.model import Admitted, Call, CallEnd, CallResult, Refused
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.aggregate import AggregatedNames, aggregated_name
from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcMessage, RpcNumber, read_message
from accredit.gateway.masking import masked_error, masked_result
from accredit.gateway.ports import EnforcementPoint, ListingWatch
from accredit.gateway.refusals import APPROVAL_KEY, approval_request, end_of, failure, refusal_result
from accredit.gateway.relay import ABOUT_US, encode_message, read_answer, upstream_request
from accredit.gateway.routing import (
    CAPABILITIES_KEY,
    Era,
    ParamHeader,
    check_parameters,
    era_of,
    parameter_headers,
    read_head,
    rendered_parameters,
)
from accredit.gateway.sessions import ClientSession, SealedSessions
from accredit.gateway.sse import event_frame
from accredit.gateway.tracing import TRACEPARENT, TraceParent, trace_parent
from accredit.gateway.uploads import read_upload
from accredit.gateway.upstream import Exchange, Upstream
from accredit.identity.metadata import challenge
from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest, digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import HoldId, IdSource, ServerName, check_name
from accredit.kernel.sealing import Sealer
from accredit.registry.model import Tool, ToolServer

__all__ = ["McpGateway", "Receive", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("accredit.gateway")

_LIST_AGE_MS = 5000
_MAX_TOOL_NAME = 256
_MAX_LABEL = 128
_MAX_PROGRESS_TOKEN = 256
_MAX_DECLARED_BYTES = 4096
_MAX_HOLD = 64
_MAX_HEADER_PLANS = 4096
_LAST_WORDS_S = 1.0
_RUN_KEY = "dev.accredit/run"
_DECLARED_KEY = "dev.accredit/declared"
_HOLD_KEY = "dev.accredit/hold"
_TOOL_KEY = "dev.accredit/tool"
_LABEL = re.compile(r"[\x21-\x7e]{1,128}")
_NO_ARGUMENTS: Mapping[str, Any] = {}

_JSON = (b"content-type", b"application/json")
_NO_STORE = (b"cache-control", b"no-store")
_PRIVATE = (b"cache-control", b"private, no-store")
_EVENTS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_STATUS_OF = {Code.RATE_LIMITED: 429, Code.ATTEMPTS_LIMITED: 429}


class _Reply:
    """The one answer to a request: JSON, or a stream of events once there is something to say before the end."""

    __slots__ = ("_send", "_streaming", "done", "era", "rpc_id", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._streaming = False
        self.started = False
        self.done = False
        self.era = Era.STATELESS
        self.rpc_id: RpcId | None = None

    async def bare(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        length = () if status == 204 else ((b"content-length", b"%d" % len(body)),)
        await self._send({"type": "http.response.start", "status": status, "headers": [*length, *headers]})
        self.started = True
        await self._send({"type": "http.response.body", "body": body})
        self.done = True

    def encode(self, result: Mapping[str, Any]) -> bytes:
        """The response that carries a result, in the client's own era."""
        if self.era is Era.STATELESS:
            if "resultType" not in result:
                result = {"resultType": "complete", **result}
        else:
            result = _for_sessions(result)
        return encode_message({"jsonrpc": "2.0", "id": self.rpc_id, "result": result})

    async def final(self, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
        if not self._streaming:
            await self.bare(status, body, _JSON, *(headers or (_NO_STORE,)))
            return
        await self._send({"type": "http.response.body", "body": event_frame(body)})
        self.done = True

    async def result(self, result: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> None:
        await self.final(self.encode(result), *headers)

    async def error(
        self,
        number: int,
        message: str,
        *headers: tuple[bytes, bytes],
        status: int = 200,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        error: dict[str, Any] = {"code": number, "message": message}
        if data is not None:
            error["data"] = data
        body = encode_message({"jsonrpc": "2.0", "id": self.rpc_id, "error": error})
        await self.final(body, _NO_STORE, *headers, status=status)

    async def fault(self, error: AccreditError) -> None:
        """Turn what was raised into the protocol's own error."""
        data = {"code": error.code.value, "hint": error.hint}
        if isinstance(error, RpcError):
            self.rpc_id = error.rpc_id if error.rpc_id is not None else self.rpc_id
            status = 200 if self.era is Era.SESSIONS and error.number == RpcNumber.METHOD else error.status
            await self.error(error.number, error.message, *error.headers, status=status, data={**data, **error.extra})
            return
        # a number of our own, outside the range JSON-RPC keeps for itself: the HTTP status it goes with
        status = _STATUS_OF.get(error.code, error.status)
        await self.error(status, error.message, status=status, data=data)

    async def part(self, body: bytes) -> None:
        """Send a piece of a stream; begins it if this is the first."""
        if not self._streaming:
            await self._send({"type": "http.response.start", "status": 200, "headers": list(_EVENTS)})
            self.started = self._streaming = True
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _for_sessions(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as clients of 2025-11-25 know it."""
    known = {key: value for key, value in result.items() if key not in {"resultType", "ttlMs", "cacheScope"}}
    if isinstance(meta := known.get("_meta"), dict):
        kept = {key: value for key, value in meta.items() if not key.startswith("io.modelcontextprotocol/")}
        if kept:
            known["_meta"] = kept
        else:
            del known["_meta"]
    if not isinstance(known.get("structuredContent", known), dict):  # any JSON is allowed there since 2026-07-28 only
        del known["structuredContent"]
    return known


@dataclass(frozen=True, slots=True)
class _Inbound:
    """A request whose caller, endpoint and era are known."""

    principal: Principal
    server: ToolServer | None
    """None: at `/mcp`, for all of them."""
    head: Mapping[str, str]
    message: RpcMessage
    era: Era
    source: str
    receive: Receive
    session: ClientSession | None = None

    @property
    def endpoint(self) -> ServerName | None:
        return self.server.name if self.server is not None else None


class McpGateway:
    """The ASGI app. Mount it for `/mcp` and every path below; close it with `aclose` when the server has stopped."""

    def __init__(
        self,
        enforcement: EnforcementPoint,
        upstream: Upstream,
        *,
        public_url: str,
        sealer: Sealer,
        clock: Clock,
        ids: IdSource,
        allowed_hosts: Iterable[str] = (),
        watch: ListingWatch | None = None,
        max_body_bytes: int = 2**20,
        upload_timeout_s: float = 10.0,
    ) -> None:
        self._enforcement = enforcement
        self._upstream = upstream
        self._public_url = public_url
        self._clock = clock
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._hold_sealer = sealer.derive("mcp-hold-state")
        self._sessions = SealedSessions(sealer, clock, ids)
        self._watch = watch
        self._max_body_bytes = max_body_bytes
        self._upload_timeout_s = upload_timeout_s
        self._upstream_ids = itertools.count(1)
        self._header_plans: dict[Digest, tuple[ParamHeader, ...]] = {}
        self._names = AggregatedNames()
        # Only what `notifications/cancelled` may name: calls of sessions, served by this replica.
        self._cancellable: dict[tuple[bytes, RpcId], Flight] = {}

    async def aclose(self) -> None:
        """Close the connections to tool servers."""
        await self._upstream.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Nothing escapes but cancellation and what `send` itself raises."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1003})
            return
        reply = _Reply(send)
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

    async def _serve(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        head = read_head(scope["headers"])  # 1
        self._addresses.check(head.get("host"), head.get("origin"))
        path: str = scope["path"]
        source: str = (scope.get("client") or ("",))[0]
        name = _server_name(path)
        method = scope["method"]
        if method not in {"POST", "DELETE"}:
            raise RpcError(
                RpcNumber.REQUEST,
                "only POST, and DELETE to end a session, are served here",
                status=405,
                headers=((b"allow", b"POST, DELETE"),),
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
            if server is not None and server.protocol != "mcp":
                raise NotFoundError(Code.SERVER_UNKNOWN, f"`{name}` speaks no MCP", hint="see `accredit server list`")
        except AccreditError as error:
            self._enforcement.turned_away(error.code, path=path, source=source, credential=principal.credential)
            raise
        if method == "DELETE":
            self._sessions.end(self._sessions.open(head.get("mcp-session-id", ""), principal, name))
            await reply.bare(204, b"", _NO_STORE)
            return
        _check_negotiation(head)  # 3
        body = await read_upload(receive, head, max_bytes=self._max_body_bytes, timeout_s=self._upload_timeout_s)  # 4
        if body is None:
            reply.done = True
            return
        message = read_message(body, max_bytes=self._max_body_bytes)  # 5
        reply.rpc_id = message.id
        if self._enforcement.still_valid(principal) is not None:  # the body may have taken its time
            await self._challenge(reply, path)
            return
        era = reply.era = era_of(head, message)  # 6
        inbound = _Inbound(principal, server, head, message, era, source, receive)
        await self._dispatch(inbound, reply)  # 7

    async def _challenge(self, reply: _Reply, path: str) -> None:
        # One constant text: why a token is not accepted is for the record alone.
        await reply.error(
            401,
            Code.UNAUTHENTICATED.meaning,
            (b"www-authenticate", challenge(self._public_url, path).encode()),
            status=401,
            data={"code": Code.UNAUTHENTICATED.value, "hint": Code.UNAUTHENTICATED.remedy},
        )

    # -- methods

    async def _dispatch(self, inbound: _Inbound, reply: _Reply) -> None:
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
                    self._cancel(session, inbound.message)
                    await reply.bare(202, b"")
                case "ping", False:
                    await reply.result({})
                case "tools/list", False:
                    await self._list(inbound, reply)
                case "tools/call", False:
                    await self._call(inbound, reply, session)
                case _:
                    raise _unknown_method(inbound)
            return
        match method, notification:
            case (("notifications/initialized" | "notifications/cancelled"), True):
                # In this era closing the connection is how a call is cancelled; the notice is taken and has no effect.
                await reply.bare(202, b"")
            case "server/discover", False:
                await reply.result(_DISCOVERED, _PRIVATE)
            case "tools/list", False:
                await self._list(inbound, reply)
            case "tools/call", False:
                await self._call(inbound, reply, None)
            case _:
                raise _unknown_method(inbound)

    async def _initialize(self, inbound: _Inbound, reply: _Reply) -> None:
        if not isinstance(inbound.message.params.get("protocolVersion"), str):
            raise RpcError(RpcNumber.PARAMS, "`protocolVersion` must be a text", rpc_id=inbound.message.id)
        session = self._sessions.issue(inbound.principal, inbound.endpoint)
        await reply.result(_INITIALIZED, _NO_STORE, (b"mcp-session-id", session.encode()))

    def _session(self, inbound: _Inbound) -> ClientSession:
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

    def _cancel(self, session: ClientSession, message: RpcMessage) -> None:
        named = message.params.get("requestId")
        if isinstance(named, str | int) and not isinstance(named, bool):
            flight = self._cancellable.get((session.nonce, named))
            if flight is not None:
                flight.stop(Code.CANCELLED)

    async def _list(self, inbound: _Inbound, reply: _Reply) -> None:
        if inbound.message.params.get("cursor") is not None:
            raise RpcError(RpcNumber.PARAMS, "no such cursor: the list has one page", rpc_id=inbound.message.id)
        tools = self._aggregated(inbound) if inbound.server is None else self._list_of(inbound, inbound.server)
        await reply.result(
            {
                "tools": tools,
                "ttlMs": _LIST_AGE_MS,
                "cacheScope": "private",
            },
            _PRIVATE,
        )

    def _list_of(self, inbound: _Inbound, server: ToolServer) -> list[dict[str, Any]]:
        tools = self._enforcement.visible(inbound.principal, server.name)
        if self._watch is not None:
            self._watch.freshen(server)
        return [_listed(tool) for tool in tools]

    def _aggregated(self, inbound: _Inbound) -> list[dict[str, Any]]:
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
                    known = {**(meta if isinstance(meta, Mapping) else {}), _TOOL_KEY: tool.id}
                    listed.append({**_listed(tool), "name": name, "_meta": known})
        return listed

    def _servers(self, inbound: _Inbound) -> dict[ServerName, ToolServer]:
        """Those that speak MCP."""
        known = self._enforcement.servers(inbound.principal)
        return {name: server for name, server in known.items() if server.protocol == "mcp"}

    def _meant(self, inbound: _Inbound, name: str) -> tuple[ServerName | None, str, Tool | None]:
        """Whose tool a call names, the server's own name of it, and the tool if there is one."""
        if inbound.server is not None:
            return inbound.server.name, name, inbound.server.tools.get(name)
        servers = self._servers(inbound)
        if (meant := self._names.read(name, servers)) is None:
            return None, name, None
        server, own = meant
        return server, own, servers[server].tools.get(own)

    async def _call(self, inbound: _Inbound, reply: _Reply, session: ClientSession | None) -> None:
        message = inbound.message
        name, arguments = _named_call(message)
        server, own, tool = self._meant(inbound, name)
        if inbound.era is Era.STATELESS and tool is not None and self._enforcement.granted(inbound.principal, tool):
            check_parameters(self._header_plan(tool), inbound.head, message, arguments)
        label, trace = _run_label(message, inbound.head)
        declared = _declared(message)
        try:
            hold = self._named_hold(inbound, server, own, arguments)
        except InvalidInputError as error:
            await reply.result(refusal_result(Refused(error.code, error.message, error.hint)))
            return
        if hold is not None and (refused := _declined(message, hold)) is not None:
            await reply.result(refusal_result(refused))
            return
        call = Call(
            principal=inbound.principal,
            server=server,
            tool=own,
            arguments=arguments,
            protocol=f"mcp/{inbound.era}",
            source=inbound.source,
            run_label=label,
            declared=declared,
            span=trace.span if trace is not None else None,
            sampled=trace is None or trace.sampled,
            hold=hold,
        )
        flight = Flight(inbound.receive)
        key = None if session is None or message.id is None else (session.nonce, message.id)
        if key is not None:
            self._cancellable[key] = flight
        try:
            outcome = await self._enforcement.admit(call)  # 8
            if isinstance(outcome, Refused):
                await self._refuse(inbound, reply, call, outcome)
            else:
                await self._forward(outcome, inbound, reply, flight, trace)
        finally:
            if key is not None and self._cancellable.get(key) is flight:
                del self._cancellable[key]

    def _named_hold(
        self, inbound: _Inbound, server: ServerName | None, tool: str, arguments: Mapping[str, Any]
    ) -> HoldId | None:
        message, principal = inbound.message, inbound.principal
        state = message.params.get("requestState")
        if state is not None:
            opened: HoldId | Code = Code.HOLD_UNKNOWN
            if isinstance(state, str):
                opened = open_state(
                    self._hold_sealer,
                    state,
                    agent=principal.agent,
                    user=principal.user.key if principal.user else None,
                    request=_request_of(server, tool, arguments),
                    now=self._clock.now(),
                )
            if isinstance(opened, Code):
                raise InvalidInputError(opened, opened.meaning)
            return opened
        hold = message.meta.get(_HOLD_KEY)
        if hold is None:
            return None
        if not isinstance(hold, str) or not 0 < len(hold) <= _MAX_HOLD:
            raise InvalidInputError(Code.HOLD_UNKNOWN, f"`_meta[{_HOLD_KEY}]` is not the id of a hold")
        return HoldId(hold)

    async def _refuse(self, inbound: _Inbound, reply: _Reply, call: Call, refused: Refused) -> None:
        if refused.code is Code.HELD and refused.hold is not None and _can_be_asked(inbound):
            expires_us = refused.expires_us or self._clock.now().wall_us + 15 * 60 * 1_000_000
            user = inbound.principal.user
            state = seal_state(
                self._hold_sealer,
                refused.hold,
                agent=inbound.principal.agent,
                user=user.key if user else None,
                request=_request_of(call.server, call.tool, call.arguments),
                expires_us=expires_us,
            )
            await reply.result(approval_request(refused, state))
            return
        if refused.code is Code.MAPPING_FAILED:  # COAZ-MCP, Mapping Errors
            told = refusal_result(refused)["structuredContent"]
            await reply.error(RpcNumber.PARAMS, f"COAZ mapping error: {refused.detail}", data=told)
            return
        await reply.result(refusal_result(refused))

    def _header_plan(self, tool: Tool) -> tuple[ParamHeader, ...]:
        plan = self._header_plans.get(tool.definition_digest)
        if plan is None:
            plan = parameter_headers(tool.definition.get("inputSchema"))
            if len(self._header_plans) >= _MAX_HEADER_PLANS:
                self._header_plans.clear()
            self._header_plans[tool.definition_digest] = plan
        return plan

    # -- upstream

    async def _forward(
        self, admitted: Admitted, inbound: _Inbound, reply: _Reply, flight: Flight, trace: TraceParent | None
    ) -> None:
        """Send an admitted call and relay its answer. INVARIANT: settles exactly once, whatever happens."""
        call, masked = admitted.call, admitted.masked
        token = None if masked else _progress_token(inbound.message)  # a notice has a text of the server's own
        ended: CallResult | None = None
        words: Refused | None = None
        exchange: Exchange | None = None
        try:
            rpc_id = next(self._upstream_ids)
            headers, body = upstream_request(
                "tools/call",
                {"name": admitted.tool.name, "arguments": call.arguments},
                rpc_id=rpc_id,
                credential=admitted.headers,
                extra=rendered_parameters(self._header_plan(admitted.tool), call.arguments),
                progress=token is not None,
                traceparent=admitted.traceparent or (trace.text if trace is not None else None),
            )
            exchange = self._upstream.exchange(
                admitted.url, headers, body, credential=admitted.headers, recheck=admitted.recheck
            )
            admitted.cancel = flight.stop
            with flight.lasting(admitted.call_timeout_s):
                async with exchange:  # 9
                    text, ended = await self._answer(exchange, reply, rpc_id, token, admitted)
                await reply.final(text)  # 10
        except FlightStopped as stopped:
            if ended is None:
                ended = _came_to_nothing(stopped.code, exchange)
                words = failure(stopped.code)
        except AccreditError as error:
            level = logging.ERROR if error.code is Code.INTERNAL else logging.INFO
            _log.log(level, "call %s: %s %s", admitted.decision_id, error.code, error.cause)
            ended = _came_to_nothing(error.code, exchange)
            words = failure(error.code, error=error)
        except asyncio.CancelledError:
            ended = ended or _came_to_nothing(Code.CANCELLED, exchange)
            raise
        except Exception:  # noqa: BLE001 - a boundary: an admitted call must end in a settled outcome
            _log.exception("forwarding call %s failed", admitted.decision_id)
            if ended is None:
                ended = _came_to_nothing(Code.INTERNAL, exchange)
                words = failure(Code.INTERNAL)
        finally:
            admitted.cancel = None
            self._enforcement.settle(admitted, ended or _came_to_nothing(Code.CANCELLED, exchange))
        if words is not None and not reply.done:
            await self._last_words(reply, words)

    async def _answer(
        self, exchange: Exchange, reply: _Reply, rpc_id: int, token: RpcId | None, admitted: Admitted
    ) -> tuple[bytes, CallResult]:
        """The final response as the client gets it, once all that comes before it is relayed."""
        masked = admitted.masked
        while (text := await exchange.next()) is not None:
            if not text:
                await reply.part(b": alive\r\n\r\n")
                continue
            answer = read_answer(text, rpc_id=rpc_id)
            if answer.result is not None:
                end = _check_result(answer.result)
                result = masked_result(answer.result, masked) if masked else answer.result
                self._enforcement.inspect(admitted, result)
                return reply.encode(result), CallResult(end, size=exchange.received, result=result)
            if answer.error is not None:
                error = masked_error(answer.error) if masked else answer.error
                self._enforcement.inspect(admitted, {"error": error})
                body = encode_message({"jsonrpc": "2.0", "id": reply.rpc_id, "error": error})
                return body, CallResult(CallEnd.PROTOCOL_ERROR, size=exchange.received, result={"error": error})
            if answer.progress is not None and token is not None:
                notice = {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": token, **answer.progress},
                }
                await reply.part(event_frame(encode_message(notice)))
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's answer ended without a response")

    @staticmethod
    async def _last_words(reply: _Reply, words: Refused) -> None:
        """Tell the client why its call came to nothing, if it still listens; a stalled one is not waited for."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await reply.result(refusal_result(words))
        except TimeoutError:
            _log.info("a client did not take the end of its call: %s", words.code)


_CAPABILITIES = {"tools": {"listChanged": False}}
_INITIALIZED = {"protocolVersion": Era.SESSIONS.value, "capabilities": _CAPABILITIES, "serverInfo": ABOUT_US}
_DISCOVERED = {
    "supportedVersions": [Era.STATELESS.value],
    "capabilities": _CAPABILITIES,
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


def _unknown_method(inbound: _Inbound) -> RpcError:
    return RpcError(
        RpcNumber.METHOD,
        f"the method `{inbound.message.method[:80]}` is not served",
        code=Code.METHOD_UNKNOWN,
        # to a client with a session, 404 would say that the session is gone
        status=404 if inbound.era is Era.STATELESS else 400,
        rpc_id=inbound.message.id,
        hint="served are tools/list and tools/call",
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


def _progress_token(message: RpcMessage) -> RpcId | None:
    """The client's name for its progress, as bounded as an id: each notice repeats it. None: no notices."""
    token = message.meta.get("progressToken")
    fits = isinstance(token, str) and len(token) <= _MAX_PROGRESS_TOKEN
    return token if fits or (isinstance(token, int) and not isinstance(token, bool)) else None


def _declared(message: RpcMessage) -> Mapping[str, Any]:
    declared = message.meta.get(_DECLARED_KEY)
    if declared is None:
        return _NO_ARGUMENTS
    if not isinstance(declared, dict) or len(orjson.dumps(declared)) > _MAX_DECLARED_BYTES:
        raise RpcError(
            RpcNumber.PARAMS,
            f"`_meta[{_DECLARED_KEY}]` must be an object of at most {_MAX_DECLARED_BYTES} bytes",
            rpc_id=message.id,
        )
    return declared


def _run_label(message: RpcMessage, head: Mapping[str, str]) -> tuple[str | None, TraceParent | None]:
    """The client's label of its run, and its trace context if that is well formed: `_meta` before headers."""
    meta = message.meta
    trace = trace_parent(meta.get(TRACEPARENT, head.get(TRACEPARENT)))
    label = meta.get(_RUN_KEY)
    if label is not None:
        if not isinstance(label, str) or not 0 < len(label) <= _MAX_LABEL:
            raise RpcError(
                RpcNumber.PARAMS,
                f"`_meta[{_RUN_KEY}]` must be a text of at most {_MAX_LABEL} characters",
                rpc_id=message.id,
            )
        return label, trace
    baggage = meta.get("baggage", head.get("baggage"))
    if isinstance(baggage, str) and len(baggage) <= 8192:
        for member in baggage.split(","):
            key, _, value = member.partition(";")[0].partition("=")
            if key.strip() == _RUN_KEY and _LABEL.fullmatch(label := unquote(value.strip())):
                return label, trace
    return (trace.trace if trace is not None else None), trace


def _can_be_asked(inbound: _Inbound) -> bool:
    if inbound.era is not Era.STATELESS:
        return False
    elicitation = inbound.message.meta[CAPABILITIES_KEY].get("elicitation")
    # an empty object means forms; one that names modes must name this one
    return isinstance(elicitation, dict) and (not elicitation or "form" in elicitation)


def _request_of(server: ServerName | None, tool: str, arguments: Mapping[str, Any]) -> Digest:
    """What a state was handed out for, as far as the client can see it; the hold itself is bound to all of it."""
    return digest("mcp-held-call", exact_json([server, tool, arguments]))


def _declined(message: RpcMessage, hold: HoldId) -> Refused | None:
    """What to say if the client's user would rather not wait: nothing is decided or recorded anew."""
    responses = message.params.get("inputResponses")
    answer = responses.get(APPROVAL_KEY) if isinstance(responses, dict) else None
    if isinstance(answer, dict) and answer.get("action") in {"decline", "cancel"}:
        return Refused(Code.HELD, Code.HELD.meaning, Code.HELD.remedy, hold=hold)
    return None


def _check_result(result: Mapping[str, Any]) -> CallEnd:
    """How a call ended by its result.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    if result.get("resultType", "complete") != "complete":
        raise UnavailableError(
            Code.UPSTREAM_INVALID,
            "the tool server asked for input, which this gateway does not pass on",
            hint="it declares no client capabilities to tool servers",
        )
    is_error = result.get("isError", False)
    if not isinstance(result.get("content"), list) or not isinstance(is_error, bool):
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's result is not that of `tools/call`")
    return CallEnd.TOOL_ERROR if is_error else CallEnd.OK


def _came_to_nothing(code: Code, exchange: Exchange | None) -> CallResult:
    return CallResult(
        end_of(code),
        code=code,
        size=exchange.received if exchange is not None else 0,
        sent=exchange is not None and exchange.sent,
    )
