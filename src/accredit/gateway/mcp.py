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
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import orjson

from accredit.approvals.requests import exact_json
from accredit.enforcement.model import Admitted, Call, CallEnd, CallResult, Refused
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.aggregate import AggregatedNames, aggregated_name
from accredit.gateway.carried import CarriedState, open_state, seal_state
from accredit.gateway.elicitation import Asked, as_capability, declared_modes, read_answers, read_asked
from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.forwarding import Ending, forward, tell_last_words
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcMessage, RpcNumber, RpcResponse, read_message
from accredit.gateway.masking import masked_error, masked_result
from accredit.gateway.mcptasks import (
    TASKS,
    DeferredCall,
    DeferredCalls,
    HeardReply,
    UpstreamTask,
    read_task,
    takes_tasks,
)
from accredit.gateway.ports import EnforcementPoint, ListingWatch
from accredit.gateway.questions import ClientQuestions
from accredit.gateway.refusals import APPROVAL_KEY, approval_request, end_of, failure, input_required, refusal_result
from accredit.gateway.relay import ABOUT_US, Answer, encode_message, read_answer, upstream_request
from accredit.gateway.replies import NO_STORE, PRIVATE, Reply, Send
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
from accredit.gateway.sse import KEEP_ALIVE, event_frame
from accredit.gateway.subscriptions import Subscriptions
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
_MOST_ROUNDS = 8
_WAITED_S = 5.0
_LAST_WISH_S = 5.0
_GRANT_MS = 60 * 60 * 1000
"""What was granted in the last moment still has to be used."""
_ANSWERS_US = 15 * 60 * 1_000_000
_DECLARED_KEY = "dev.accredit/declared"
_HOLD_KEY = "dev.accredit/hold"
_TOOL_KEY = "dev.accredit/tool"
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_LABEL = re.compile(r"[\x21-\x7e]{1,128}")
_NO_ARGUMENTS: Mapping[str, Any] = {}


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
        self._questions = ClientQuestions(ids)
        self._subscriptions = Subscriptions()
        self._deferred = DeferredCalls(clock, ids)
        self._stopping: set[asyncio.Task[None]] = set()
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
        self._subscriptions.close()
        self._deferred.close()
        for stopping in list(self._stopping):
            stopping.cancel()
        await asyncio.gather(*self._stopping, return_exceptions=True)
        await self._upstream.aclose()

    def changed(self, _: object = None) -> None:
        """Told when agents, tools, policies or credentials changed: open streams look whether that is news to them."""
        self._subscriptions.changed()

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
            await reply.bare(204, b"", NO_STORE)
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
        if isinstance(message, RpcResponse):
            text = head.get("mcp-session-id")
            if text is None or not self._questions.take(self._sessions.open(text, principal, name), message):
                raise RpcError(RpcNumber.REQUEST, "nothing that was asked has this `id`", rpc_id=message.id)
            await reply.bare(202, b"")
            return
        era = reply.era = era_of(head, message)  # 6
        inbound = _Inbound(principal, server, head, message, era, source, receive)
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

    async def _dispatch(self, inbound: _Inbound, reply: Reply) -> None:
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
                    await self._call(replace(inbound, session=session), reply)
                case _:
                    raise _unknown_method(inbound)
            return
        match method, notification:
            case (("notifications/initialized" | "notifications/cancelled"), True):
                # In this era closing the connection is how a call is cancelled; the notice is taken and has no effect.
                await reply.bare(202, b"")
            case "server/discover", False:
                await reply.result(_DISCOVERED, PRIVATE)
            case (("tasks/get" | "tasks/update" | "tasks/cancel"), False):
                await self._task(inbound, reply)
            case "subscriptions/listen", False:
                await self._listen(inbound, reply)
            case "tools/list", False:
                await self._list(inbound, reply)
            case "tools/call", False:
                await self._call(inbound, reply)
            case _:
                raise _unknown_method(inbound)

    async def _initialize(self, inbound: _Inbound, reply: Reply) -> None:
        if not isinstance(inbound.message.params.get("protocolVersion"), str):
            raise RpcError(RpcNumber.PARAMS, "`protocolVersion` must be a text", rpc_id=inbound.message.id)
        modes = declared_modes(inbound.message.params.get("capabilities"))
        session = self._sessions.issue(inbound.principal, inbound.endpoint, modes)
        await reply.result(_INITIALIZED, NO_STORE, (b"mcp-session-id", session.encode()))

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

    async def _list(self, inbound: _Inbound, reply: Reply) -> None:
        if inbound.message.params.get("cursor") is not None:
            raise RpcError(RpcNumber.PARAMS, "no such cursor: the list has one page", rpc_id=inbound.message.id)
        tools = self._aggregated(inbound) if inbound.server is None else self._list_of(inbound, inbound.server)
        await reply.result(
            {
                "tools": tools,
                "ttlMs": _LIST_AGE_MS,
                "cacheScope": "private",
            },
            PRIVATE,
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

    async def _listen(self, inbound: _Inbound, reply: Reply) -> None:
        principal, message = inbound.principal, inbound.message
        if message.id is None:
            raise _unknown_method(inbound)

        def lists() -> Mapping[str, object] | None:
            if self._enforcement.still_valid(principal) is not None:
                return None
            servers = self._servers(inbound) if inbound.server is None else (inbound.server.name,)
            try:
                seen = [tool for server in servers for tool in self._enforcement.visible(principal, server)]
            except AccreditError:
                return None
            return {"toolsListChanged": frozenset((tool.id, tool.definition_digest) for tool in seen)}

        asked = message.params.get("notifications", {})
        await self._subscriptions.serve(principal.agent, asked, message.id, lists, reply, Flight(inbound.receive))

    async def _call(self, inbound: _Inbound, reply: Reply) -> None:
        message = inbound.message
        name, arguments = _named_call(message)
        server, own, tool = self._meant(inbound, name)
        if inbound.era is Era.STATELESS and tool is not None and self._enforcement.granted(inbound.principal, tool):
            check_parameters(self._header_plan(tool), inbound.head, message, arguments)
        label, traceparent = _run_label(message, inbound.head)
        declared = _declared(message)
        try:
            carried = self._carried(inbound, server, own, arguments)
        except InvalidInputError as error:
            await reply.result(refusal_result(Refused(error.code, error.message, error.hint)))
            return
        if carried.hold is not None and (refused := _declined(message, carried.hold)) is not None:
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
            answers=carried.answers,
            hold=carried.hold,
        )
        flight = Flight(inbound.receive)
        session = inbound.session
        key = None if session is None or message.id is None else (session.nonce, message.id)
        if key is not None:
            self._cancellable[key] = flight
        try:
            await self._rounds(inbound, reply, call, carried.state, flight, traceparent)
        finally:
            if key is not None and self._cancellable.get(key) is flight:
                del self._cancellable[key]

    async def _rounds(
        self,
        inbound: _Inbound,
        reply: Reply,
        call: Call,
        state: str | None,
        flight: Flight,
        traceparent: str | None,
    ) -> None:
        """Decide and forward; again with the client's answers as long as the tool server has questions.

        A client without a session is told what is asked, and comes back with its answers in a call of its own.
        """
        for _ in range(_MOST_ROUNDS):
            outcome = await self._enforcement.admit(call)  # 8
            if isinstance(outcome, Refused):
                await self._refuse(inbound, reply, call, outcome, state)
                return
            asked = await self._forward(
                outcome,
                reply,
                flight,
                traceparent=traceparent,
                # a notice has a text of the server's own
                progress=None if outcome.masked else _progress_token(inbound.message),
                modes=outcome.elicitation & _modes_of(inbound),
                tasks=self._may_defer(inbound),
                state=state,
            )
            if asked is None:
                return
            if isinstance(asked, UpstreamTask):
                await reply.result({"resultType": "task", **self._deferred_upstream(inbound, outcome, asked).state()})
                return
            if inbound.session is None:
                until_us = self._clock.now().wall_us + _ANSWERS_US
                carried = CarriedState(asked=tuple(asked.requests), state=asked.state)
                await reply.result(input_required(asked.requests, self._seal(inbound, call, carried, until_us)))
                return
            try:
                answers = await self._questions.ask(inbound.session, asked, reply.part, flight)
            except FlightStopped as stopped:
                await reply.result(refusal_result(failure(stopped.code)))
                return
            except AccreditError as error:
                await reply.result(refusal_result(failure(error.code, error=error)))
                return
            call, state = replace(call, answers=answers, hold=None), asked.state
        await reply.result(
            refusal_result(Refused(Code.UPSTREAM_INVALID, "the tool server has no end of questions", ""))
        )

    def _carried(
        self, inbound: _Inbound, server: ServerName | None, tool: str, arguments: Mapping[str, Any]
    ) -> CarriedState:
        """What the client brings back of a call that was answered with a question."""
        message, principal = inbound.message, inbound.principal
        state = message.params.get("requestState")
        if state is not None:
            opened: CarriedState | Code = Code.HOLD_UNKNOWN
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
            if opened.asked:
                return replace(opened, answers=read_answers(message.params.get("inputResponses"), opened.asked))
            return opened
        hold = message.meta.get(_HOLD_KEY)
        if hold is None:
            return CarriedState()
        if not isinstance(hold, str) or not 0 < len(hold) <= _MAX_HOLD:
            raise InvalidInputError(Code.HOLD_UNKNOWN, f"`_meta[{_HOLD_KEY}]` is not the id of a hold")
        return CarriedState(hold=HoldId(hold))

    def _seal(self, inbound: _Inbound, call: Call, carried: CarriedState, expires_us: int) -> str:
        user = inbound.principal.user
        return seal_state(
            self._hold_sealer,
            carried,
            agent=inbound.principal.agent,
            user=user.key if user else None,
            request=_request_of(call.server, call.tool, call.arguments),
            expires_us=expires_us,
        )

    async def _refuse(self, inbound: _Inbound, reply: Reply, call: Call, refused: Refused, state: str | None) -> None:
        if refused.code is Code.HELD and refused.hold is not None and self._may_defer(inbound) and state is None:
            until_us = refused.expires_us or self._clock.now().wall_us + _ANSWERS_US
            who = " and ".join(refused.roles) or "an approver"
            deferred = self._deferred.add(
                replace(call, hold=refused.hold),
                inbound.endpoint,
                ttl_ms=(until_us - self._clock.now().wall_us) // 1000 + _GRANT_MS,
                expired=lambda _: None,
                words=f"waits for {who} to approve hold {refused.hold}",
            )
            await reply.result({"resultType": "task", **deferred.state()})
            return
        if refused.code is Code.HELD and refused.hold is not None and _can_be_asked(inbound):
            until_us = refused.expires_us or self._clock.now().wall_us + _ANSWERS_US
            carried = CarriedState(hold=refused.hold, state=state, answers=call.answers)
            await reply.result(approval_request(refused, self._seal(inbound, call, carried, until_us)))
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
        self,
        admitted: Admitted,
        reply: Reply,
        flight: Flight,
        *,
        traceparent: str | None = None,
        progress: RpcId | None = None,
        modes: frozenset[str] = frozenset(),
        tasks: bool = False,
        state: str | None = None,
    ) -> Asked | UpstreamTask | None:
        """Send an admitted call and relay its answer; or what the tool server says instead of one.

        `progress` is the client's name for notices on the way, `modes` how its user may be asked for something, `tasks`
        whether it may be told to come back.
        """
        call = admitted.call
        params: dict[str, Any] = {"name": admitted.tool.name, "arguments": call.arguments}
        if call.answers:
            params["inputResponses"] = call.answers
        if state is not None:
            params["requestState"] = state
        asked: Asked | UpstreamTask | None = None
        rpc_id = next(self._upstream_ids)

        def begin() -> Exchange:
            headers, body = upstream_request(
                "tools/call",
                params,
                rpc_id=rpc_id,
                credential=admitted.headers,
                extra=rendered_parameters(self._header_plan(admitted.tool), admitted.call.arguments),
                progress=progress is not None,
                traceparent=traceparent,
                capabilities=as_capability(modes) | ({"extensions": {TASKS: {}}} if tasks else {}),
            )
            return self._upstream.exchange(
                admitted.url, headers, body, credential=admitted.headers, recheck=admitted.recheck
            )

        async def relay(exchange: Exchange, end: Ending) -> None:
            nonlocal asked
            async with exchange:  # 9
                answer, ended = await self._answer(exchange, reply, rpc_id, progress, admitted, modes, tasks=tasks)
            end(ended)
            if isinstance(answer, bytes):
                await reply.final(answer, status=_status_of(reply, ended))  # 10
            else:
                asked = answer

        words = await forward(self._enforcement, admitted, flight, begin, relay)
        if words is not None and not reply.done:
            await tell_last_words(words, lambda refused: reply.result(refusal_result(refused)))
        return asked if words is None else None

    async def _answer(
        self,
        exchange: Exchange,
        reply: Reply,
        rpc_id: int,
        token: RpcId | None,
        admitted: Admitted,
        modes: frozenset[str],
        *,
        tasks: bool,
    ) -> tuple[bytes | Asked | UpstreamTask, CallResult | None]:
        """The final response as the client gets it, or what the server says instead, once all before it is relayed."""
        masked = admitted.masked
        while (text := await exchange.next()) is not None:
            if not text:
                await reply.part(KEEP_ALIVE)
                continue
            answer = read_answer(text, rpc_id=rpc_id)
            if answer.result is not None and answer.result.get("resultType") == "input_required":
                # a question could carry what a mask takes away
                asked = read_asked(answer.result, server=admitted.tool.server, modes=frozenset() if masked else modes)
                told = {"inputRequests": asked.requests}
                self._enforcement.inspect(admitted, told)
                return asked, CallResult(CallEnd.INPUT_REQUIRED, size=exchange.received, result=told)
            if answer.result is not None and tasks and answer.result.get("resultType") == "task":
                return read_task(answer.result), None
            if answer.result is not None:
                result, ended = self._checked(admitted, answer.result, exchange.received)
                return reply.encode(result), ended
            if answer.error is not None:
                error, ended = self._checked_error(admitted, answer.error, exchange.received)
                return encode_message({"jsonrpc": "2.0", "id": reply.rpc_id, "error": error}), ended
            if answer.progress is not None and token is not None:
                notice = {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": token, **answer.progress},
                }
                await reply.part(event_frame(encode_message(notice)))
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's answer ended without a response")

    def _checked(
        self, admitted: Admitted, result: Mapping[str, Any], size: int
    ) -> tuple[Mapping[str, Any], CallResult]:
        """A result as the agent may be told it, and how the call ended."""
        end = _check_result(result)
        told = masked_result(result, admitted.masked) if admitted.masked else result
        self._enforcement.inspect(admitted, told)
        return told, CallResult(end, size=size, result=told)

    def _checked_error(
        self, admitted: Admitted, error: Mapping[str, Any], size: int
    ) -> tuple[Mapping[str, Any], CallResult]:
        told = masked_error(error) if admitted.masked else error
        self._enforcement.inspect(admitted, {"error": told})
        return told, CallResult(CallEnd.PROTOCOL_ERROR, size=size, result={"error": told})

    # -- calls that a client asks about until they are done

    def _may_defer(self, inbound: _Inbound) -> bool:
        if inbound.session is not None or not self._deferred.room(inbound.principal.agent):
            return False
        return takes_tasks(inbound.message.meta.get(CAPABILITIES_KEY))

    def _deferred_upstream(self, inbound: _Inbound, admitted: Admitted, task: UpstreamTask) -> DeferredCall:
        """Keep a call open that its tool server goes on with. It holds its place and its money until it has ended."""

        def overdue(deferred: DeferredCall) -> None:
            self._end_deferred(deferred, Code.CALL_TIMEOUT)

        longest_ms = int(admitted.run_timeout_s * 1000)
        ttl_ms = longest_ms if task.ttl_ms is None else min(task.ttl_ms, longest_ms)
        deferred = self._deferred.add(
            admitted.call, inbound.endpoint, ttl_ms=ttl_ms, expired=overdue, admitted=admitted, task=task
        )
        admitted.cancel = lambda code: self._end_deferred(deferred, code)
        return deferred

    def _end_deferred(self, deferred: DeferredCall, code: Code, error: AccreditError | None = None) -> None:
        """A call that its tool server works on is stopped, for us at any rate."""
        admitted = deferred.admitted
        if admitted is None or deferred.ended is not None:
            return
        told = refusal_result(failure(code, error=error))
        ended = {"status": "cancelled"} if code is Code.CANCELLED else {"status": "completed", "result": told}
        self._finish(deferred, CallResult(end_of(code), code=code), **ended)
        stopping = asyncio.get_running_loop().create_task(self._cancel_upstream(admitted, deferred.upstream))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _finish(self, deferred: DeferredCall, settled: CallResult, /, **ended: Any) -> None:
        if deferred.admitted is not None and deferred.ended is None:
            deferred.admitted.cancel = None
            self._deferred.end(deferred, **ended)
            self._enforcement.settle(deferred.admitted, settled)

    async def _cancel_upstream(self, admitted: Admitted, task: str) -> None:
        try:
            async with asyncio.timeout(_LAST_WISH_S):
                await self._ask_task(admitted, "tasks/cancel", task, recheck=lambda: None)
        except (AccreditError, TimeoutError) as error:
            _log.info("a task was not cancelled at its tool server: %s", error)

    async def _ask_task(
        self, admitted: Admitted, method: str, task: str, *, recheck: Callable[[], None]
    ) -> tuple[Answer, int]:
        rpc_id = next(self._upstream_ids)
        capabilities: dict[str, Any] = {"extensions": {TASKS: {}}}
        headers, body = upstream_request(
            method, {"taskId": task}, rpc_id=rpc_id, credential=admitted.headers, capabilities=capabilities
        )
        async with self._upstream.exchange(
            admitted.url, headers, body, credential=admitted.headers, recheck=recheck
        ) as exchange:
            while (text := await exchange.next()) is not None:
                answer = read_answer(text, rpc_id=rpc_id) if text else None
                if answer is not None and (answer.result is not None or answer.error is not None):
                    return answer, exchange.received
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's answer ended without a response")

    async def _task(self, inbound: _Inbound, reply: Reply) -> None:
        """`tasks/get`, `tasks/update` and `tasks/cancel`."""
        message, principal = inbound.message, inbound.principal
        if message.id is None:
            raise _unknown_method(inbound)
        deferred = self._deferred.find(message.params.get("taskId"), principal, inbound.endpoint, message.id)
        if message.method == "tasks/cancel":
            if deferred.admitted is not None:
                self._end_deferred(deferred, Code.CANCELLED)
            elif deferred.running is None and deferred.ended is None:
                self._deferred.end(deferred, status="cancelled")
        if message.method != "tasks/get":  # nothing was asked of a client that could be answered by an update
            await reply.result({})
            return
        if deferred.ended is None and not deferred.busy:
            deferred.busy = True
            try:
                await (
                    self._look_at(deferred, inbound) if deferred.admitted is not None else self._try(deferred, inbound)
                )
            finally:
                deferred.busy = False
        await reply.result(deferred.state())

    async def _look_at(self, deferred: DeferredCall, inbound: _Inbound) -> None:
        """Ask the tool server how far it is. What comes of it is checked like any result."""
        admitted = deferred.admitted
        if admitted is None:
            return
        flight = Flight(inbound.receive)
        try:
            with flight.lasting(admitted.call_timeout_s):
                answer, size = await self._ask_task(admitted, "tasks/get", deferred.upstream, recheck=admitted.recheck)
            if deferred.ended is not None:  # stopped meanwhile
                return
            if answer.result is None:
                error, result = self._checked_error(admitted, answer.error or {}, size)
                self._finish(deferred, result, status="failed", error=error)
                return
            task = read_task(answer.result)
            if task.id != deferred.upstream:
                raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server told of another task")
            deferred.poll_ms = task.poll_ms
            if task.result is not None:
                told, result = self._checked(admitted, task.result, size)
                self._finish(deferred, result, status="completed", result=told)
            elif task.error is not None:
                error, result = self._checked_error(admitted, task.error, size)
                self._finish(deferred, result, status="failed", error=error)
            elif task.status == "cancelled":
                self._finish(deferred, CallResult(CallEnd.CANCELLED, Code.CANCELLED), status="cancelled")
        except FlightStopped as stopped:
            if stopped.code is not Code.CANCELLED:  # who only leaves may ask again
                raise UnavailableError(stopped.code, stopped.code.meaning) from stopped
        except AccreditError as error:
            if error.code in {Code.UPSTREAM_UNREACHABLE, Code.CALL_TIMEOUT}:
                raise  # it may be reached the next time
            self._end_deferred(deferred, error.code, error)

    async def _try(self, deferred: DeferredCall, inbound: _Inbound) -> None:
        """Make a held call if a person has approved it by now. Once begun it goes on, with or without its client."""
        if deferred.running is None:
            call = replace(deferred.call, principal=inbound.principal, source=inbound.source)
            outcome = await self._enforcement.admit(call)
            if isinstance(outcome, Refused):
                if outcome.code is not Code.HELD:
                    self._deferred.end(deferred, status="completed", result=refusal_result(outcome))
                return
            deferred.running = asyncio.get_running_loop().create_task(self._make(deferred, outcome))
        await asyncio.wait({deferred.running}, timeout=_WAITED_S)

    async def _make(self, deferred: DeferredCall, admitted: Admitted) -> None:
        heard = HeardReply()
        await self._forward(admitted, heard, Flight(_forever))
        self._deferred.end(deferred, **heard.ended())


_INITIALIZED = {
    "protocolVersion": Era.SESSIONS.value,
    "capabilities": {"tools": {"listChanged": False}},
    "serverInfo": ABOUT_US,
}
_DISCOVERED = {
    "supportedVersions": [Era.STATELESS.value],
    "capabilities": {"tools": {"listChanged": True}, "extensions": {TASKS: {}}},
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
        hint="served are server/discover, tools/list, tools/call, tasks/get and subscriptions/listen",
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


def _run_label(message: RpcMessage, head: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The client's label of its run, and its trace context if that is well formed: `_meta` before headers."""
    meta = message.meta
    parent = meta.get("traceparent", head.get("traceparent"))
    trace = _TRACEPARENT.fullmatch(parent) if isinstance(parent, str) else None
    traceparent = trace[0] if trace else None
    label = meta.get(_RUN_KEY)
    if label is not None:
        if not isinstance(label, str) or not 0 < len(label) <= _MAX_LABEL:
            raise RpcError(
                RpcNumber.PARAMS,
                f"`_meta[{_RUN_KEY}]` must be a text of at most {_MAX_LABEL} characters",
                rpc_id=message.id,
            )
        return label, traceparent
    baggage = meta.get("baggage", head.get("baggage"))
    if isinstance(baggage, str) and len(baggage) <= 8192:
        for member in baggage.split(","):
            key, _, value = member.partition(";")[0].partition("=")
            if key.strip() == _RUN_KEY and _LABEL.fullmatch(label := unquote(value.strip())):
                return label, traceparent
    return (trace[1] if trace else None), traceparent


async def _forever() -> Any:
    """What a call hears that nobody waits for: its client does not leave."""
    await asyncio.get_running_loop().create_future()


def _modes_of(inbound: _Inbound) -> frozenset[str]:
    """How the client's user may be asked for something."""
    if inbound.session is not None:
        return inbound.session.modes
    return declared_modes(inbound.message.meta.get(CAPABILITIES_KEY))


def _can_be_asked(inbound: _Inbound) -> bool:
    """Whether a hold may be told as a question: a client with a session would be kept waiting on its stream."""
    return inbound.session is None and "form" in _modes_of(inbound)


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


def _status_of(reply: Reply, ended: CallResult | None) -> int:
    """The HTTP status of a tool server's own answer: 2026-07-28 gives one of its errors a status of its own."""
    known = ended is not None and ended.end is CallEnd.PROTOCOL_ERROR and ended.result
    error = known.get("error") if isinstance(known, Mapping) else None
    lacking = isinstance(error, Mapping) and error.get("code") == RpcNumber.CAPABILITY
    return 400 if lacking and reply.era is Era.STATELESS else 200


def _check_result(result: Mapping[str, Any]) -> CallEnd:
    """How a call ended by its result.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    if result.get("resultType", "complete") != "complete":
        raise UnavailableError(
            Code.UPSTREAM_INVALID,
            "the tool server answered with a kind of result that was not declared to it",
        )
    is_error = result.get("isError", False)
    if not isinstance(result.get("content"), list) or not isinstance(is_error, bool):
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's result is not that of `tools/call`")
    return CallEnd.TOOL_ERROR if is_error else CallEnd.OK
