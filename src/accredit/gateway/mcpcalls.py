"""One request of a client about a tool or an item: decided, forwarded, answered, and gone on with if that takes more.

A tool server may answer with a question to the agent's user, or that it goes on with it; a person may have to approve
first. A client without a session takes all that away, with a state or a name of ours, and comes back with it; one with
a session is asked on its stream. Each time a call goes to its server it was decided about anew. A server of the era of
sessions asks while it works; its call is kept open, and what was answered goes to it once that was decided about.

The numbers are those of `mcp.py`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

import orjson

from accredit.approvals.requests import exact_json
from accredit.enforcement.model import Admitted, Call, CallEnd, CallResult, Refused
from accredit.gateway.carried import CarriedState, open_state, seal_state
from accredit.gateway.elicitation import (
    ELICITATION,
    PATIENCE_S,
    Asked,
    as_capability,
    declared_modes,
    read_answers,
    read_asked,
)
from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.forwarding import Ending, forward, tell_last_words
from accredit.gateway.items import RpcCall, check_answer, tell_refusal
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcMessage, RpcNumber, RpcResponse
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
from accredit.gateway.opencalls import QUESTION, GoingOn, OpenCall, OpenCalls, Paused
from accredit.gateway.ports import DeferredCallStore, EnforcementPoint
from accredit.gateway.questions import ClientQuestions
from accredit.gateway.refusals import APPROVAL_KEY, approval_request, end_of, failure, input_required, refusal_result
from accredit.gateway.relay import ALIVE, Answer, ServerAsk, encode_message
from accredit.gateway.replies import Reply
from accredit.gateway.resourcewatch import ResourceWatches, Updated
from accredit.gateway.routing import (
    CAPABILITIES_KEY,
    Era,
    ParamHeader,
    check_parameters,
    parameter_headers,
    rendered_parameters,
)
from accredit.gateway.sessions import ClientSession
from accredit.gateway.sse import KEEP_ALIVE, event_frame
from accredit.gateway.toolservers import ServerExchange, ToolRequest, ToolServerProtocol
from accredit.gateway.tracing import TRACEPARENT, TraceParent, trace_parent
from accredit.identity.model import Principal, Revocation
from accredit.kernel.canonical import Digest, digest, digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, UnavailableError
from accredit.kernel.ids import HoldId, IdSource, ServerName
from accredit.kernel.money import Money
from accredit.kernel.sealing import Sealer
from accredit.registry.model import Tool, ToolServer

__all__ = ["McpCalls", "McpRequest", "forever"]

_log = logging.getLogger("accredit.gateway")

_MAX_LABEL = 128
_MAX_PROGRESS_TOKEN = 256
_MAX_DECLARED_BYTES = 4096
_MAX_HOLD = 64
_MAX_HEADER_PLANS = 4096
_MOST_ROUNDS = 8
_WAITED_S = 5.0
_LAST_WISH_S = 5.0
_GRANT_MS = 60 * 60 * 1000
"""What was granted in the last moment still has to be used."""
_ANSWERS_US = 15 * 60 * 1_000_000
_RUN_KEY = "dev.accredit/run"
_DECLARED_KEY = "dev.accredit/declared"
_HOLD_KEY = "dev.accredit/hold"
_CALL_KEYS = ("dev.accredit/call", "claudecode/toolUseId")
"""Under which clients name the model's call that they make: ours, and what Claude Code sends."""
_MAX_CALL = 256
_LABEL = re.compile(r"[\x21-\x7e]{1,128}")
_NOTHING: Mapping[str, Any] = {}
_ANEW = "repeat the call without state to begin it anew"
_NOT_IN_THIS_WAY: Mapping[str, Any] = {
    "error": {"code": int(RpcNumber.PARAMS), "message": "the client cannot be asked in this mode"}
}


@dataclass(frozen=True, slots=True)
class McpRequest:
    """A request whose caller, endpoint and era are known."""

    principal: Principal
    server: ToolServer | None
    """None: at `/mcp`, for all of them."""
    head: Mapping[str, str]
    message: RpcMessage
    era: Era
    source: str
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]]
    session: ClientSession | None = None

    @property
    def aggregated(self) -> bool:
        """Whether it came to the endpoint of all servers."""
        return self.server is None

    @property
    def endpoint(self) -> ServerName | None:
        """Whose endpoint it came to; None: that of all."""
        return self.server.name if self.server is not None else None


class _Listening:
    """A resource that its server is asked to tell of. As a request it has no answer but that it was made."""

    received = 0

    def __init__(self, watches: ResourceWatches, admitted: Admitted, uri: str, updated: Updated) -> None:
        self._watches = watches
        self._admitted = admitted
        self._uri = uri
        self._updated = updated
        self._remove: Callable[[], None] | None = None
        self.sent = False

    async def begin(self) -> None:
        self._remove = await self._watches.add(
            self._admitted.server,
            self._uri,
            self._updated,
            credential=self._admitted.headers,
            recheck=self._recheck,
        )

    def _recheck(self) -> None:
        self._admitted.recheck()
        self.sent = True

    def remove(self) -> None:
        if self._remove is not None:
            self._remove()


class McpCalls:
    """What clients of one process are about."""

    def __init__(
        self,
        enforcement: EnforcementPoint,
        tool_servers: ToolServerProtocol,
        *,
        deferred: DeferredCallStore,
        sealer: Sealer,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._enforcement = enforcement
        self._tool_servers = tool_servers
        self._clock = clock
        self._hold_sealer = sealer.derive("mcp-hold-state")
        self._questions = ClientQuestions(ids)
        self._open = OpenCalls(ids)
        self._watches = ResourceWatches(tool_servers)
        self._asking: dict[Flight, Principal] = {}
        self._deferred = DeferredCalls(deferred, sealer, clock, ids)
        self._asked_about: set[str] = set()
        """Deferred calls that somebody asks about right now."""
        self._stopping: set[asyncio.Task[None]] = set()
        self._header_plans: dict[Digest, tuple[ParamHeader, ...]] = {}
        # Only what `notifications/cancelled` may name: calls of sessions, served by this replica.
        self._cancellable: dict[tuple[bytes, RpcId], Flight] = {}

    async def aclose(self) -> None:
        """Give up what goes on."""
        await self._deferred.aclose()
        await self._open.aclose()
        await self._watches.aclose()
        for stopping in list(self._stopping):
            stopping.cancel()
        await asyncio.gather(*self._stopping, return_exceptions=True)

    def revoked(self, revocation: Revocation) -> None:
        """Let go of deferred calls of whom was just revoked."""
        self._deferred.revoked(revocation)

    async def sweep(self) -> None:
        """Let go of what is over. To be called now and then.

        Raises:
            UnavailableError: what is kept cannot be used.
        """
        await self._deferred.sweep()

    def changed(self) -> None:
        """Nobody who is not let in any more is waited for; whose token has run out may come back with another."""
        self._open.changed(lambda principal: self._enforcement.still_valid(principal) in {None, Code.TOKEN_EXPIRED})
        for flight, principal in self._asking.items():
            if (code := self._enforcement.still_valid(principal)) is not None:
                flight.stop(code)

    def cancel(self, session: ClientSession, message: RpcMessage) -> None:
        """Take `notifications/cancelled` of a session."""
        named = message.params.get("requestId")
        if isinstance(named, str | int) and not isinstance(named, bool):
            flight = self._cancellable.get((session.nonce, named))
            if flight is not None:
                flight.stop(Code.CANCELLED)

    def heard(self, session: ClientSession, response: RpcResponse) -> bool:
        """Take what a client of a session says to a question; False if it was not asked."""
        return self._questions.take(session, response)

    def check_parameters(self, tool: Tool, request: McpRequest, arguments: Mapping[str, Any]) -> None:
        """Compare the headers that repeat arguments with these.

        Raises:
            RpcError: they say something else.
        """
        check_parameters(self._header_plan(tool), request.head, request.message, arguments)

    async def run(self, asked: RpcCall, inbound: McpRequest, reply: Reply) -> None:
        """Have a call decided about, and do what came of it."""
        message, tell = inbound.message, tell_refusal(asked, inbound.era)
        call, trace = _call(asked, inbound)
        try:
            carried = self._carried(inbound, asked)
        except InvalidInputError as error:
            await tell(reply, Refused(error.code, error.message, error.hint))
            return
        if carried.hold is not None and (refused := _declined(message, carried.hold)) is not None:
            await tell(reply, refused)
            return
        opened = self._open.take(carried.open) if carried.open is not None else None
        if carried.open is not None and opened is None:
            await tell(reply, Refused(Code.HOLD_EXPIRED, "the call that this goes on with is over", _ANEW))
            return
        if carried.answers or carried.hold is not None:
            call = replace(call, answers=carried.answers, hold=carried.hold)
        flight, session = Flight(reply.waiting_for(inbound.receive)), inbound.session
        key = None if session is None or message.id is None else (session.nonce, message.id)
        if key is not None:
            self._cancellable[key] = flight
        try:
            await self._rounds(asked, inbound, reply, call, carried, opened, flight, trace)
        finally:
            if key is not None and self._cancellable.get(key) is flight:
                del self._cancellable[key]

    async def subscribe(
        self, asked: RpcCall, inbound: McpRequest, updated: Updated, flight: Flight
    ) -> Refused | Callable[[], None]:
        """Have it decided whether a client may hear of a resource's changes, and have its server tell of them.

        It is a call of its own, decided like a read of it. What is returned stops listening, unless it is a refusal.
        """
        call, _ = _call(asked, inbound)
        outcome = await self._enforcement.admit(replace(call, watches=True))
        if isinstance(outcome, Refused):
            return outcome
        listening = _Listening(self._watches, outcome, asked.params["uri"], updated)

        async def relay(listening: _Listening, end: Ending) -> None:
            await listening.begin()
            end(CallResult(CallEnd.OK))

        words = await forward(self._enforcement, outcome, flight, lambda: listening, relay)
        if words is not None:
            listening.remove()
            return words
        return listening.remove

    async def _rounds(
        self,
        asked: RpcCall,
        inbound: McpRequest,
        reply: Reply,
        call: Call,
        carried: CarriedState,
        opened: OpenCall | None,
        flight: Flight,
        trace: TraceParent | None,
    ) -> None:
        """Decide and forward; again with the client's answers as long as the tool server has questions.

        A client without a session is told what is asked, and comes back with its answers in a call of its own.
        `opened` is the call that its answers go on with; whatever becomes of it, nobody waits for it at the end.
        """
        going_on = opened
        tell, state = tell_refusal(asked, inbound.era), carried.state
        try:
            for number in range(_MOST_ROUNDS):
                outcome = await self._enforcement.admit(call)  # 8
                if number == 0 and isinstance(outcome, Admitted) and carried.name is not None:
                    outcome = await self._once(outcome, carried.name, carried.expires_us)
                if isinstance(outcome, Refused):
                    await self._refuse(asked, inbound, reply, call, outcome, state, going_on)
                    return
                said = await self._forward(
                    outcome,
                    asked,
                    reply,
                    flight,
                    tell=tell,
                    trace=trace,
                    # a notice has a text of the server's own
                    progress=None if outcome.masked else _progress_token(inbound.message),
                    # completing is no request that may be answered by a question, and reading none that becomes a task
                    modes=frozenset() if asked.completes is not None else outcome.elicitation & _modes_of(inbound),
                    tasks=asked.item is None and self._may_defer(inbound),
                    state=state,
                    going_on=going_on,
                )
                if said is None:
                    return
                if isinstance(said, UpstreamTask):
                    deferred = await self._deferred_upstream(inbound, outcome, asked, said)
                    if isinstance(deferred, Refused):
                        await tell(reply, deferred)
                    else:
                        await reply.result({"resultType": "task", **deferred.state()})
                    return
                question, going_on = (said.asked, said.call) if isinstance(said, Paused) else (said, None)
                try:
                    if inbound.session is None:
                        await self._hand_out(asked, inbound, reply, question, going_on)
                        return
                    with self._waiting_for(inbound.principal, flight):
                        answers = await self._questions.ask(inbound.session, question, reply.part, flight)
                except FlightStopped as stopped:
                    await tell(reply, failure(stopped.code))
                    return
                except AccreditError as error:
                    await tell(reply, failure(error.code, error=error))
                    return
                call, state = replace(call, answers=answers, hold=None), question.state
            await tell(reply, Refused(Code.UPSTREAM_INVALID, "the tool server has no end of questions", ""))
        finally:
            if going_on is not None and not going_on.kept:
                await going_on.close()

    async def _hand_out(
        self, asked: RpcCall, inbound: McpRequest, reply: Reply, question: Asked, opened: OpenCall | None
    ) -> None:
        """Tell a client without a session what is asked, and have it come back."""
        patience_us = _ANSWERS_US if opened is None else int(PATIENCE_S * 1_000_000)
        carried = CarriedState(
            asked=tuple(question.requests),
            state=question.state,
            open=self._open.keep(opened) if opened is not None else None,
        )
        state = self._seal(inbound, asked, carried, self._clock.now().wall_us + patience_us)
        await reply.result(input_required(question.requests, state))

    @contextmanager
    def _waiting_for(self, principal: Principal, flight: Flight) -> Iterator[None]:
        """While this client is asked on its stream, a revocation ends it."""
        self._asking[flight] = principal
        try:
            yield
        finally:
            del self._asking[flight]

    async def _once(self, admitted: Admitted, state: str, until_us: int) -> Admitted | Refused:
        """Let a call go ahead for which its client brought back a state, unless one did before it."""
        refused = failure(Code.STATE_USED)
        try:
            if await self._deferred.spend(state, until_us):
                return admitted
        except AccreditError as error:
            refused = failure(error.code, error=error)
        except BaseException:
            self._enforcement.settle(admitted, CallResult(CallEnd.CANCELLED, Code.CANCELLED, sent=False))
            raise
        self._enforcement.settle(admitted, CallResult(CallEnd.CANCELLED, refused.code, sent=False))
        return replace(refused, decision_id=admitted.decision_id)

    def _carried(self, inbound: McpRequest, asked: RpcCall) -> CarriedState:
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
                    request=_request_of(asked),
                    now=self._clock.now(),
                )
            if isinstance(opened, Code):
                raise InvalidInputError(opened, opened.meaning)
            if opened.asked:
                answers = read_answers(message.params.get("inputResponses"), opened.asked)
                if opened.open is not None and not answers:  # who comes back without one does not answer
                    answers = {QUESTION: {"action": "cancel"}}
                return replace(opened, answers=answers)
            return opened
        hold = message.meta.get(_HOLD_KEY)
        if hold is None:
            return CarriedState()
        if not isinstance(hold, str) or not 0 < len(hold) <= _MAX_HOLD:
            raise InvalidInputError(Code.HOLD_UNKNOWN, f"`_meta[{_HOLD_KEY}]` is not the id of a hold")
        return CarriedState(hold=HoldId(hold))

    def _seal(self, inbound: McpRequest, asked: RpcCall, carried: CarriedState, expires_us: int) -> str:
        user = inbound.principal.user
        return seal_state(
            self._hold_sealer,
            carried,
            agent=inbound.principal.agent,
            user=user.key if user else None,
            request=_request_of(asked),
            expires_us=expires_us,
        )

    async def _refuse(
        self,
        asked: RpcCall,
        inbound: McpRequest,
        reply: Reply,
        call: Call,
        refused: Refused,
        state: str | None,
        opened: OpenCall | None,
    ) -> None:
        held = refused.code is Code.HELD and refused.hold is not None
        if held and asked.item is None and state is None and opened is None and self._may_defer(inbound):
            until_us = refused.expires_us or self._clock.now().wall_us + _ANSWERS_US
            who = " and ".join(refused.roles) or "an approver"
            try:
                deferred = await self._deferred.add(
                    replace(call, hold=refused.hold),
                    asked,
                    inbound.endpoint,
                    ttl_ms=(until_us - self._clock.now().wall_us) // 1000 + _GRANT_MS,
                    words=f"waits for {who} to approve hold {refused.hold}",
                )
            except AccreditError as error:  # the hold is there all the same, and can be told in another way
                _log.warning("a held call could not be deferred: %s", error.message)
            else:
                await reply.result({"resultType": "task", **deferred.state()})
                return
        if held and _can_be_asked(inbound):
            until_us = refused.expires_us or self._clock.now().wall_us + _ANSWERS_US
            kept = self._open.keep(opened) if opened is not None else None
            carried = CarriedState(hold=refused.hold, state=state, answers=call.answers, open=kept)
            await reply.result(approval_request(refused, self._seal(inbound, asked, carried, until_us)))
            return
        if refused.code is Code.MAPPING_FAILED:  # COAZ-MCP, Mapping Errors
            told = refusal_result(refused)["structuredContent"]
            await reply.error(RpcNumber.PARAMS, f"COAZ mapping error: {refused.detail}", data=told)
            return
        await tell_refusal(asked, inbound.era)(reply, refused)

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
        asked: RpcCall,
        reply: Reply,
        flight: Flight,
        *,
        tell: Callable[[Reply, Refused], Awaitable[None]],
        trace: TraceParent | None = None,
        progress: RpcId | None = None,
        modes: frozenset[str] = frozenset(),
        tasks: bool = False,
        state: str | None = None,
        going_on: OpenCall | None = None,
    ) -> Asked | Paused | UpstreamTask | None:
        """Send an admitted call and relay its answer; or what the tool server says instead of one.

        `progress` is the client's name for notices on the way, `modes` how its user may be asked for something, `tasks`
        whether it may be told to come back, `going_on` the call that its answers go to.
        """
        call = admitted.call
        if admitted.masked:  # a question could carry what a mask takes away
            modes = frozenset()
        params: dict[str, Any] = dict(asked.params)
        if call.answers:
            params["inputResponses"] = call.answers
        if state is not None:
            params["requestState"] = state
        said: Asked | Paused | UpstreamTask | None = None

        def begin() -> ServerExchange:
            if going_on is not None:
                return GoingOn(going_on, call.answers, admitted.server, admitted.recheck)
            request = ToolRequest(
                asked.method,
                params,
                parameters=rendered_parameters(self._header_plan(admitted.tool), admitted.call.arguments),
                progress=progress is not None,
                traceparent=admitted.traceparent or (trace.text if trace is not None else None),
                capabilities=as_capability(modes) | ({"extensions": {TASKS: {}}} if tasks else {}),
            )
            return self._tool_servers.exchange(
                admitted.server, request, credential=admitted.headers, recheck=admitted.recheck
            )

        async def relay(exchange: ServerExchange, end: Ending) -> None:
            nonlocal said
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(exchange)  # 9
                answer, ended = await self._answer(exchange, reply, progress, admitted, asked, modes, tasks=tasks)
                if isinstance(answer, Paused):
                    stack.pop_all()
            end(ended)
            if isinstance(answer, bytes):
                await reply.final(answer, status=_status_of(reply, ended))  # 10
            else:
                said = answer

        words = await forward(self._enforcement, admitted, flight, begin, relay)
        if words is not None and not reply.done:
            await tell_last_words(words, lambda refused: tell(reply, refused))
        return said if words is None else None

    async def _answer(
        self,
        exchange: ServerExchange,
        reply: Reply,
        token: RpcId | None,
        admitted: Admitted,
        asked: RpcCall,
        modes: frozenset[str],
        *,
        tasks: bool,
    ) -> tuple[bytes | Asked | Paused | UpstreamTask, CallResult | None]:
        """The final response as the client gets it, or what the server says instead, once all before it is relayed."""
        while (answer := await exchange.next()) is not None:
            if answer == ALIVE:
                await reply.part(KEEP_ALIVE)
                continue
            if answer.result is not None and answer.result.get("resultType") == "input_required":
                question = read_asked(answer.result, server=admitted.tool.server, modes=modes)
                return question, self._questioned(admitted, question, exchange.received)
            if answer.ask is not None:
                if answer.ask.params.get("mode", "form") not in tuple(modes):
                    await exchange.respond(answer.ask, _NOT_IN_THIS_WAY, admitted.recheck)
                    continue
                paused = self._paused(exchange, answer.ask, admitted, modes)
                return paused, self._questioned(admitted, paused.asked, exchange.received)
            if answer.result is not None and tasks and answer.result.get("resultType") == "task":
                return read_task(answer.result), None
            if answer.result is not None:
                result, ended = self._checked(admitted, asked, answer.result, exchange.received)
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

    def _questioned(self, admitted: Admitted, question: Asked, size: int) -> CallResult:
        """How a call ended by a question."""
        told = {"inputRequests": question.requests}
        self._enforcement.inspect(admitted, told)
        return CallResult(CallEnd.INPUT_REQUIRED, size=size, result=told)

    @staticmethod
    def _paused(exchange: ServerExchange, ask: ServerAsk, admitted: Admitted, modes: frozenset[str]) -> Paused:
        requests = {QUESTION: {"method": ELICITATION, "params": ask.params}}
        question = read_asked({"inputRequests": requests}, server=admitted.tool.server, modes=modes)
        until = asyncio.get_running_loop().time() + PATIENCE_S
        return Paused(question, OpenCall(exchange, ask, admitted.server, admitted.call.principal, until))

    def _checked(
        self, admitted: Admitted, asked: RpcCall, result: Mapping[str, Any], size: int
    ) -> tuple[Mapping[str, Any], CallResult]:
        """A result as the agent may be told it, and how the call ended."""
        told: Mapping[str, Any]
        if asked.item is None:
            end = _check_result(result)
            told = masked_result(result, admitted.masked) if admitted.masked else result
        else:
            end, told = CallEnd.OK, check_answer(asked.method, result)
        self._enforcement.inspect(admitted, told)
        return told, CallResult(end, size=size, result=told)

    def _checked_error(
        self, admitted: Admitted, error: Mapping[str, Any], size: int
    ) -> tuple[Mapping[str, Any], CallResult]:
        told = masked_error(error) if admitted.masked else error
        self._enforcement.inspect(admitted, {"error": told})
        return told, CallResult(CallEnd.PROTOCOL_ERROR, size=size, result={"error": told})

    # -- calls that a client asks about until they are done

    def _may_defer(self, inbound: McpRequest) -> bool:
        if inbound.session is not None or not self._deferred.room(inbound.principal.agent):
            return False
        return takes_tasks(inbound.message.meta.get(CAPABILITIES_KEY))

    async def _deferred_upstream(
        self, inbound: McpRequest, admitted: Admitted, asked: RpcCall, task: UpstreamTask
    ) -> DeferredCall | Refused:
        """Keep a call open that its tool server goes on with. It holds its place and its money until it has ended."""
        stopped: Code | None = None

        def stop(code: Code) -> None:
            nonlocal stopped
            stopped = code

        admitted.cancel = stop  # while it is on its way to where it is kept
        longest_ms = int(admitted.run_timeout_s * 1000)
        ttl_ms = longest_ms if task.ttl_ms is None else min(task.ttl_ms, longest_ms)
        try:
            deferred = await self._deferred.add(
                admitted.call,
                asked,
                inbound.endpoint,
                ttl_ms=ttl_ms,
                expired=lambda overdue: self._end_deferred(overdue, Code.CALL_TIMEOUT),
                admitted=admitted,
                task=task,
                place=_place_of(admitted.server),
            )
        except BaseException as error:
            code = error.code if isinstance(error, AccreditError) else Code.CANCELLED
            admitted.cancel = None
            self._enforcement.settle(admitted, CallResult(CallEnd.CANCELLED, code=code))
            self._wish_stopped(admitted, task.id)
            if isinstance(error, AccreditError):
                return failure(code, error=error)
            raise
        admitted.cancel = lambda code: self._end_deferred(deferred, code)
        if stopped is not None:
            self._end_deferred(deferred, stopped)
        return deferred

    async def _take_up(self, deferred: DeferredCall, inbound: McpRequest) -> None:
        """Have it decided whether the agent may hear how a call ended that was let through before this process.

        It was recorded as unknown, at its price; asking is a call of its own, at none. Where that is refused, or the
        server is another now, it stays unknown.

        Raises:
            UnavailableError: the agent has no room for it right now.
        """
        if deferred.call is None:
            return
        again = replace(
            deferred.call,
            principal=inbound.principal,
            source=inbound.source,
            hold=None,
            cost=Money(0),
            resumes=deferred.decision,
        )
        outcome = await self._enforcement.admit(again)
        if isinstance(outcome, Refused):
            if outcome.retry_after_s is not None:
                raise UnavailableError(outcome.code, outcome.message, hint=outcome.hint)
            deferred.nobody_knows()
            return
        same = _place_of(outcome.server) == deferred.place
        if not same or not self._deferred.take_up(
            deferred, outcome, lambda overdue: self._end_deferred(overdue, Code.CALL_TIMEOUT)
        ):
            self._enforcement.settle(outcome, CallResult(CallEnd.CANCELLED, Code.CANCELLED, sent=False))
            deferred.nobody_knows()
            return
        outcome.cancel = lambda code: self._end_deferred(deferred, code)

    def _end_deferred(self, deferred: DeferredCall, code: Code, error: AccreditError | None = None) -> None:
        """A call that its tool server works on is stopped, for us at any rate."""
        admitted = deferred.admitted
        if admitted is None or deferred.ended is not None:
            return
        told = refusal_result(failure(code, error=error))
        ended = {"status": "cancelled"} if code is Code.CANCELLED else {"status": "completed", "result": told}
        self._finish(deferred, CallResult(end_of(code), code=code), **ended)
        self._wish_stopped(admitted, deferred.upstream)

    def _wish_stopped(self, admitted: Admitted, task: str) -> None:
        stopping = asyncio.get_running_loop().create_task(self._cancel_upstream(admitted, task))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    def _finish(self, deferred: DeferredCall, settled: CallResult, /, **ended: Any) -> None:
        if deferred.admitted is not None and deferred.ended is None:
            deferred.admitted.cancel = None
            self._enforcement.settle(deferred.admitted, settled)
            self._deferred.end(deferred, **ended)

    async def _cancel_upstream(self, admitted: Admitted, task: str) -> None:
        try:
            async with asyncio.timeout(_LAST_WISH_S):
                await self._ask_task(admitted, "tasks/cancel", task, recheck=lambda: None)
        except (AccreditError, TimeoutError) as error:
            _log.info("a task was not cancelled at its tool server: %s", error)

    async def _ask_task(
        self, admitted: Admitted, method: str, task: str, *, recheck: Callable[[], None]
    ) -> tuple[Answer, int]:
        request = ToolRequest(method, {"taskId": task}, capabilities={"extensions": {TASKS: {}}})
        async with self._tool_servers.exchange(
            admitted.server, request, credential=admitted.headers, recheck=recheck
        ) as exchange:
            while (answer := await exchange.next()) is not None:
                if answer.final:
                    return answer, exchange.received
        raise UnavailableError(Code.UPSTREAM_INVALID, "the tool server's answer ended without a response")

    async def task(self, inbound: McpRequest, reply: Reply) -> None:
        """`tasks/get`, `tasks/update` and `tasks/cancel`.

        Raises:
            RpcError: the request does not declare the extension (SEP-2663), or names no task of this agent's.
        """
        message, principal = inbound.message, inbound.principal
        if message.id is None:
            raise RpcError(RpcNumber.REQUEST, f"`{message.method}` needs an `id`")
        if not takes_tasks(message.meta.get(CAPABILITIES_KEY)):
            raise RpcError(
                RpcNumber.CAPABILITY,
                f"`{message.method}` is for clients that declare the extension `{TASKS}`",
                rpc_id=message.id,
                extra={"requiredCapabilities": {"extensions": {TASKS: {}}}},
            )
        deferred = await self._deferred.find(message.params.get("taskId"), principal, inbound.endpoint, message.id)
        if deferred.left_behind and message.method != "tasks/update" and deferred.id not in self._asked_about:
            self._asked_about.add(deferred.id)
            try:
                await self._take_up(deferred, inbound)
            finally:
                self._asked_about.discard(deferred.id)
        if message.method == "tasks/cancel":
            if deferred.admitted is not None:
                self._end_deferred(deferred, Code.CANCELLED)
            elif deferred.running is None and deferred.ended is None and not deferred.left_behind:
                self._deferred.end(deferred, status="cancelled")
            await self._deferred.kept(deferred)
        if message.method != "tasks/get":  # nothing was asked of a client that could be answered by an update
            await reply.result({})
            return
        if deferred.ended is None and deferred.id not in self._asked_about and not deferred.left_behind:
            self._asked_about.add(deferred.id)
            try:
                await (
                    self._look_at(deferred, inbound) if deferred.admitted is not None else self._try(deferred, inbound)
                )
            finally:
                self._asked_about.discard(deferred.id)
            await self._deferred.kept(deferred)
            if deferred.overtaken:
                deferred = await self._deferred.find(deferred.id, principal, inbound.endpoint, message.id)
        await reply.result(deferred.state())

    async def _look_at(self, deferred: DeferredCall, inbound: McpRequest) -> None:
        """Ask the tool server how far it is. What comes of it is checked like any result."""
        admitted, asked = deferred.admitted, deferred.asked
        if admitted is None or asked is None:
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
                told, result = self._checked(admitted, asked, task.result, size)
                encode_message(told)  # what cannot be told is no end
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

    async def _try(self, deferred: DeferredCall, inbound: McpRequest) -> None:
        """Make a held call if a person has approved it by now. Once begun it goes on, with or without its client."""
        if deferred.running is None and deferred.call is not None:
            call = replace(deferred.call, principal=inbound.principal, source=inbound.source)
            outcome = await self._enforcement.admit(call)
            if isinstance(outcome, Refused):
                if outcome.code is not Code.HELD:
                    self._deferred.end(deferred, status="completed", result=refusal_result(outcome))
                return
            deferred.running = asyncio.get_running_loop().create_task(self._make(deferred, outcome))
        if deferred.running is not None:
            await asyncio.wait({deferred.running}, timeout=_WAITED_S)
        if deferred.fault is not None:
            raise deferred.fault

    async def _make(self, deferred: DeferredCall, admitted: Admitted) -> None:
        begun, asked, code = False, deferred.asked, Code.CANCELLED
        try:
            # INVARIANT: durably begun before it is sent, so that nobody sends it once more after this process
            begun = asked is not None and await self._deferred.begin(deferred, admitted.decision_id)
        except AccreditError as error:
            deferred.fault, code = error, error.code
        except BaseException:
            self._enforcement.settle(admitted, CallResult(CallEnd.CANCELLED, Code.CANCELLED, sent=False))
            raise
        if not begun or asked is None:
            self._enforcement.settle(admitted, CallResult(CallEnd.CANCELLED, code, sent=False))
            return
        heard = HeardReply()
        await self._forward(admitted, asked, heard, Flight(forever), tell=tell_refusal(asked, Era.STATELESS))
        self._deferred.end(deferred, **heard.ended())


def _place_of(server: ToolServer) -> str:
    """Tells one place of a tool server from another; empty for a program, which ends with this process."""
    if server.launch is not None:
        return ""
    return digest_value("task-place", [server.url, server.credential, server.revision, sorted(server.elicitation)])


def _call(asked: RpcCall, inbound: McpRequest) -> tuple[Call, TraceParent | None]:
    """What is to be decided about, and the trace that its client is in.

    Raises:
        RpcError: what the client says of its run, or declares, is malformed.
    """
    label, trace = _run_label(inbound.message, inbound.head)
    call = Call(
        principal=inbound.principal,
        server=asked.server,
        tool=asked.own,
        arguments=asked.arguments,
        item=asked.item,
        completes=asked.completes,
        protocol=f"mcp/{inbound.era}",
        source=inbound.source,
        run_label=label,
        named_call=_named_call(inbound.message),
        declared=_declared(inbound.message),
        span=trace.span if trace is not None else None,
        sampled=trace is None or trace.sampled,
    )
    return call, trace


def _progress_token(message: RpcMessage) -> RpcId | None:
    """The client's name for its progress, as bounded as an id: each notice repeats it. None: no notices."""
    token = message.meta.get("progressToken")
    fits = isinstance(token, str) and len(token) <= _MAX_PROGRESS_TOKEN
    return token if fits or (isinstance(token, int) and not isinstance(token, bool)) else None


def _declared(message: RpcMessage) -> Mapping[str, Any]:
    declared = message.meta.get(_DECLARED_KEY)
    if declared is None:
        return _NOTHING
    if not isinstance(declared, dict) or len(orjson.dumps(declared)) > _MAX_DECLARED_BYTES:
        raise RpcError(
            RpcNumber.PARAMS,
            f"`_meta[{_DECLARED_KEY}]` must be an object of at most {_MAX_DECLARED_BYTES} bytes",
            rpc_id=message.id,
        )
    return declared


def _named_call(message: RpcMessage) -> str | None:
    """The provider's id of the model's call that this one is, as the client says; what is no id names none."""
    named = (message.meta.get(key) for key in _CALL_KEYS)
    return next((one for one in named if isinstance(one, str) and 0 < len(one) <= _MAX_CALL), None)


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


async def forever() -> Any:
    """What a call hears that nobody waits for: its client does not leave."""
    await asyncio.get_running_loop().create_future()


def _modes_of(inbound: McpRequest) -> frozenset[str]:
    """How the client's user may be asked for something."""
    if inbound.session is not None:
        return inbound.session.modes
    return declared_modes(inbound.message.meta.get(CAPABILITIES_KEY))


def _can_be_asked(inbound: McpRequest) -> bool:
    """Whether a hold may be told as a question: a client with a session would be kept waiting on its stream."""
    return inbound.session is None and "form" in _modes_of(inbound)


def _request_of(asked: RpcCall) -> Digest:
    """What a state was handed out for, as far as the client can see it; the hold itself is bound to all of it."""
    return digest("mcp-held-call", exact_json([asked.server, asked.own, asked.arguments]))


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
