"""Language models at `/llm/openai/v1/*` and `/llm/anthropic/v1/*` as a bare ASGI app: calls like any other.

The body goes out byte for byte as it came, once a copy was read and decided on; so what could be read in two ways is
refused. The answer comes back byte for byte, frame by frame if it is a stream, while a copy is read for what was said,
asked for and used.

Life of a request: 1 headers once, Host and Origin; 2 who is calling, by bearer token or `x-api-key`; 3 the body,
bounded, strict; 4 what it asks for (`llm/requests.py`), of which of the agent's models; 5 `EnforcementPoint.admit`, at
what it can cost at worst; 6 upstream; 7 the answer, read on its way; 8 settled by what was used. Refusals have the
provider's shape.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from accredit.enforcement.model import Admitted, AskedCall, Call, CallEnd, CallResult, Refused
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.jsonrpc import RpcError
from accredit.gateway.llm.events import (
    AskedTool,
    Broke,
    Declined,
    HostedUse,
    LlmEvent,
    Named,
    Reasoned,
    SaidText,
    Stopped,
    Used,
)
from accredit.gateway.llm.extract import FrameExtractor, extractor, usage_only
from accredit.gateway.llm.frames import SseFrames
from accredit.gateway.llm.requests import LlmRequest, read_llm_request
from accredit.gateway.llm.shapes import LlmShape
from accredit.gateway.ports import EnforcementPoint
from accredit.gateway.problems import status_of
from accredit.gateway.refusals import end_of, failure
from accredit.gateway.relay import ABOUT_US
from accredit.gateway.routing import read_head
from accredit.gateway.tracing import TRACEPARENT, TraceParent, trace_parent
from accredit.gateway.uploads import read_upload
from accredit.gateway.upstream import Exchange, Upstream
from accredit.identity.model import Principal
from accredit.kernel.canonical import digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, InvalidInputError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import ServerName
from accredit.kernel.strictjson import parse_strict
from accredit.registry.model import Tool, ToolServer

__all__ = ["LlmGateway"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("accredit.gateway")

_SHAPES: Final[Mapping[str, tuple[str, LlmShape]]] = {
    "/llm/openai/v1/chat/completions": ("openai", LlmShape.CHAT),
    "/llm/openai/v1/responses": ("openai", LlmShape.RESPONSES),
    "/llm/openai/v1/embeddings": ("openai", LlmShape.EMBEDDINGS),
    "/llm/anthropic/v1/messages": ("anthropic", LlmShape.MESSAGES),
}
_LISTS: Final[Mapping[str, str]] = {"/llm/openai/v1/models": "openai", "/llm/anthropic/v1/models": "anthropic"}
_PASSED_ON: Final = ("anthropic-version",)
_MAX_BODY: Final = 16 * 2**20
_MAX_KEPT: Final = 65_536
"""Characters of what was said, and of the reasoning, that go into the record."""
_MAX_TOOLS: Final = 256
_MAX_FACTS: Final = 500
_MOST_TOKENS: Final = 100_000_000
"""Of one call: no usage beyond this is believed."""
_LAST_WORDS_S: Final = 1.0
_DECISION: Final = b"accredit-decision"
_NO_SUCH_MODEL: Final = (
    "the agent's approved version grants no such model of this kind of provider",
    "add it to the manifest's `models` and apply a new version; its provider has to be registered as a ModelProvider",
)
_INCLUDE: Final = b',"stream_options":{"include_usage":true}}'


@dataclass(slots=True)
class _Told:
    """What was read of an answer."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tools: list[dict[str, str]] = field(default_factory=list)
    hosted: list[str] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)
    used: Used | None = None
    named: Named | None = None
    stopped: str | None = None
    broke: str | None = None
    left: int = _MAX_KEPT

    def take(self, events: Iterable[LlmEvent]) -> list[AskedCall]:
        """Remember what counts, within bounds; the calls that were asked for are what is new of them."""
        asked = []
        for event in events:
            match event:
                case SaidText(text):
                    self._keep(self.text, text)
                case Reasoned(text):
                    self._keep(self.reasoning, text)
                case Declined(text):
                    self._keep(self.declined, text)
                case AskedTool(identity, name, arguments) if len(self.tools) < _MAX_TOOLS:
                    self.tools.append({"id": identity, "name": name, "arguments": arguments[:_MAX_KEPT]})
                    asked.append(AskedCall(name, arguments))
                case HostedUse(kind) if len(self.hosted) < _MAX_TOOLS:
                    self.hosted.append(kind)
                case Used():
                    self.used = event
                case Named():
                    self.named = event
                case Stopped(reason):
                    self.stopped = reason
                case Broke(code):
                    self.broke = code
                case _:
                    pass
        return asked

    def _keep(self, where: list[str], text: str) -> None:
        if self.left > 0:
            where.append(text[: self.left])
            self.left -= len(text)

    @property
    def answered(self) -> bool:
        """Whether anything was put out that a model counts."""
        return bool(self.text or self.reasoning or self.tools)

    @property
    def tokens(self) -> tuple[int, int] | None:
        """Input and output so far; None if nothing was said of them."""
        return (self.used.input_tokens, self.used.output_tokens) if self.used is not None else None

    def record(self) -> dict[str, Any]:
        """As it goes into the outcome's sealed part."""
        used = self.used
        return {
            "id": self.named.id if self.named else None,
            "model": self.named.model if self.named else None,
            "reasoning": "".join(self.reasoning),
            "text": "".join(self.text),
            "declined": "".join(self.declined),
            "tools": self.tools,
            "hosted": self.hosted,
            "stop": self.stopped,
            "broke": self.broke,
            "usage": None
            if used is None
            else {
                "input": used.input_tokens,
                "output": used.output_tokens,
                "cache_read": used.cache_read_tokens,
                "cache_write": used.cache_write_tokens,
                "reasoning": used.reasoning_tokens,
            },
        }


class _Reply:
    """The one answer to a request, in the shape of the provider."""

    def __init__(self, send: _Send, api: str) -> None:
        self._send = send
        self._api = api
        self.started = False
        self.done = False

    async def begin(self, status: int, kind: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.started = True
        given = [(b"content-type", kind), (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
        given += [(b"x-accel-buffering", b"no")] if kind.startswith(b"text/event-stream") else []
        await self._send({"type": "http.response.start", "status": status, "headers": [*given, *headers]})

    async def part(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b""})
        self.done = True

    async def whole(self, status: int, value: Any, *headers: tuple[bytes, bytes]) -> None:
        body = orjson.dumps(value)
        await self.begin(status, b"application/json", (b"content-length", b"%d" % len(body)), *headers)
        await self._send({"type": "http.response.body", "body": body})
        self.done = True

    def error(self, status: int, code: str, message: str) -> dict[str, Any]:
        """An error as the provider's own clients know it."""
        if self._api == "anthropic":
            kinds = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error",
                     413: "request_too_large", 429: "rate_limit_error"}  # fmt: skip
            kind = kinds.get(status, "permission_error" if status < 500 else "api_error")
            return {"type": "error", "error": {"type": kind, "message": message, "code": code}}
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    async def fault(self, error: AccreditError) -> None:
        status = 401 if isinstance(error, UnauthenticatedError) else error.status
        told = Code.UNAUTHENTICATED.meaning if status == 401 else error.message
        code = Code.UNAUTHENTICATED if status == 401 else error.code
        more = error.headers if isinstance(error, RpcError) else ()
        await self.whole(status, self.error(status, code.value, _said(told, error.hint)), *more)

    async def refusal(self, refused: Refused) -> None:
        status, message, hint = status_of(refused.code), refused.message, refused.hint
        if refused.code is Code.TOOL_NOT_GRANTED:
            status, message, hint = 403, *_NO_SUCH_MODEL
        lines = [message, refused.detail, *(f"policy {one}" for one in refused.policies)]
        if refused.hold is not None:
            lines.append(f"hold {refused.hold}: repeat the request once it is approved")
        message = _said("; ".join(filter(None, lines)), hint)
        headers = [(_DECISION, refused.decision_id.encode())] if refused.decision_id is not None else []
        if refused.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(refused.retry_after_s + 0.5))))
        await self.whole(status, self.error(status, refused.code.value, message), *headers)


def _said(message: str, hint: str) -> str:
    return f"{message} ({hint})" if hint else message


@dataclass(frozen=True, slots=True)
class _Inbound:
    """A request that was read."""

    shape: LlmShape
    request: LlmRequest
    body: bytes
    headers: Mapping[str, str]
    extra_usage: bool
    """Whether the usage in its stream was asked for by us alone."""
    trace: TraceParent | None
    receive: _Receive


class LlmGateway:
    """The ASGI app, for every path below `/llm/`."""

    def __init__(
        self, enforcement: EnforcementPoint, upstream: Upstream, *, public_url: str, allowed_hosts: Iterable[str] = (),
        upload_timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        self._enforcement = enforcement
        self._upstream = upstream
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._upload_timeout_s = upload_timeout_s

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one request. Nothing escapes but cancellation and what `send` itself raises."""
        path: str = scope["path"]
        reply = _Reply(send, "anthropic" if path.startswith("/llm/anthropic/") else "openai")
        try:
            await self._serve(scope, receive, reply)
        except AccreditError as error:
            if not reply.started:
                await reply.fault(error)
        except Exception:  # noqa: BLE001 - the outermost boundary: logged, and answered without its text
            _log.exception("a request to a model failed")
            if not reply.started:
                await reply.whole(500, reply.error(500, Code.INTERNAL.value, Code.INTERNAL.meaning))

    async def _serve(self, scope: _Scope, receive: _Receive, reply: _Reply) -> None:
        head = read_head(scope["headers"])  # 1
        self._addresses.check(head.get("host"), head.get("origin"))
        path, method = scope["path"], scope["method"]
        source: str = (scope.get("client") or ("",))[0]
        try:  # 2
            principal = self._enforcement.authenticate(
                head.get("authorization"), path=path, source=source, api_key=head.get("x-api-key")
            )
        except ForbiddenError as error:
            raise ForbiddenError(Code.NOT_AUTHORISED, Code.NOT_AUTHORISED.meaning) from error
        if path in _LISTS and method == "GET":
            await reply.whole(200, _listed(_LISTS[path], self._models(principal, _LISTS[path])))
            return
        if path not in _SHAPES or method != "POST":
            raise NotFoundError(
                Code.NOT_FOUND, "no such endpoint", hint=f"served are {', '.join(sorted([*_SHAPES, *_LISTS]))}"
            )
        api, shape = _SHAPES[path]
        if head.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise InvalidInputError(Code.BODY_MALFORMED, "the content type is not `application/json`")
        body = await read_upload(receive, head, max_bytes=_MAX_BODY, timeout_s=self._upload_timeout_s)  # 3
        if body is None:
            return
        value = parse_strict(body, max_bytes=_MAX_BODY)
        if not isinstance(value, dict):
            raise InvalidInputError(Code.BODY_MALFORMED, "the body is not a JSON object")
        if self._enforcement.still_valid(principal) is not None:  # the body may have taken its time
            raise UnauthenticatedError(Code.CREDENTIAL_REVOKED, "the credential is not valid any more")
        request = read_llm_request(shape, value)  # 4
        _require_decidable(request)
        extra = (
            shape is LlmShape.CHAT and request.streamed and not request.wants_usage and "stream_options" not in value
        )
        headers = {name: head[name] for name in _PASSED_ON if name in head}
        inbound = _Inbound(shape, request, body, headers, extra, trace_parent(head.get(TRACEPARENT)), receive)
        await self._call(principal, api, inbound, source, reply)

    def _models(self, principal: Principal, api: str) -> dict[str, tuple[ToolServer, Tool]]:
        """The agent's models of that kind of provider, by name; one that two of them have is neither's."""
        found: dict[str, list[tuple[ToolServer, Tool]]] = {}
        for server in self._enforcement.servers(principal).values():
            for tool in server.tools.values() if server.api == api else ():
                if self._enforcement.granted(principal, tool):
                    found.setdefault(tool.name, []).append((server, tool))
        return {name: places[0] for name, places in found.items() if len(places) == 1}

    async def _call(self, principal: Principal, api: str, inbound: _Inbound, source: str, reply: _Reply) -> None:
        request = inbound.request
        models = self._models(principal, api)
        place = models.get(request.model)
        arguments = {
            # whatever is said of one body, by a person who lets it through above all, is said of no other
            "body": digest("llm-body", inbound.body),
            "hosted": list(request.hosted[:_MAX_FACTS]),
            "input_bytes": request.input_bytes,
            "max_output_tokens": 0,
            "model": request.model,
            "operation": inbound.shape.value,
            "stored": request.stored,
            "streamed": request.streamed,
            "tools": sorted(set(request.tools)),
            "user_text": request.user_text,
        }
        cost = None
        if place is not None and place[1].rates is not None:
            rates = place[1].rates
            output = 0 if inbound.shape is LlmShape.EMBEDDINGS else request.max_output_tokens or rates.max_output
            arguments["max_output_tokens"] = output
            cost = rates.most(request.input_bytes, output)  # no token is shorter than a byte
        call = Call(
            principal=principal,
            server=ServerName(place[0].name) if place is not None else None,
            tool=request.model,
            arguments=arguments,
            protocol=f"llm/{inbound.shape}",
            source=source,
            span=inbound.trace.span if inbound.trace is not None else None,
            sampled=inbound.trace is None or inbound.trace.sampled,
            cost=cost,
            # what the provider would run itself passes no tool server: nobody was asked whether the agent may
            objection=Code.HOSTED_TOOL if request.hosted else None,
        )
        flight = Flight(inbound.receive)
        outcome = await self._enforcement.admit(call)  # 5
        if isinstance(outcome, Refused):
            await reply.refusal(outcome)
        else:
            await self._forward(outcome, inbound, reply, flight)

    async def _forward(self, admitted: Admitted, inbound: _Inbound, reply: _Reply, flight: Flight) -> None:
        """Send an admitted call and relay its answer. INVARIANT: settles exactly once, whatever happens."""
        told = _Told()
        ended: CallResult | None = None
        words: Refused | None = None
        exchange: Exchange | None = None
        try:
            exchange = self._exchange(admitted, inbound)
            admitted.cancel = flight.stop
            with flight.lasting(admitted.call_timeout_s):
                async with exchange:  # 6
                    status = await self._relayed(exchange, admitted, inbound, reply, told)  # 7
                ended = _settled(admitted, told, exchange, status)  # 8
        except FlightStopped as stopped:
            ended = ended or _broken_off(admitted, told, exchange, stopped.code)
            words = failure(stopped.code)
        except AccreditError as error:
            level = logging.ERROR if error.code is Code.INTERNAL else logging.INFO
            _log.log(level, "call %s: %s %s", admitted.decision_id, error.code, error.cause)
            ended = _broken_off(admitted, told, exchange, error.code)
            words = failure(error.code, error=error)
        except asyncio.CancelledError:
            ended = ended or _broken_off(admitted, told, exchange, Code.CANCELLED)
            raise
        except Exception:  # noqa: BLE001 - a boundary: an admitted call must end in a settled outcome
            _log.exception("forwarding call %s failed", admitted.decision_id)
            if ended is None:
                ended = _broken_off(admitted, told, exchange, Code.INTERNAL)
                words = failure(Code.INTERNAL)
        finally:
            admitted.cancel = None
            self._enforcement.settle(admitted, ended or _broken_off(admitted, told, exchange, Code.CANCELLED))
        if words is not None and not reply.done:
            await self._last_words(reply, words)

    def _exchange(self, admitted: Admitted, inbound: _Inbound) -> Exchange:
        body = inbound.body
        if inbound.extra_usage:  # of the whole body this alone is ours, and what it adds to the answer is left out
            body = body.rstrip()[:-1] + (_INCLUDE if len(body.strip()) > 2 else _INCLUDE[1:])
        path = {"chat": "chat/completions"}.get(inbound.shape.value, inbound.shape.value)
        headers = {
            "Accept": "text/event-stream" if inbound.request.streamed else "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": f"{ABOUT_US['name']}/{ABOUT_US['version']}",
            **inbound.headers,
            **admitted.headers,
        }
        return self._upstream.exchange(
            f"{admitted.url.removesuffix('/')}/v1/{path}", headers, body,
            credential=admitted.headers, recheck=admitted.recheck,
        )  # fmt: skip

    async def _relayed(
        self, exchange: Exchange, admitted: Admitted, inbound: _Inbound, reply: _Reply, told: _Told
    ) -> int:
        head = await exchange.begun()
        status, kind = head.status, head.content_type
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in head.headers]
        headers.append((_DECISION, admitted.decision_id.encode()))
        if status == 200 and kind.startswith("text/event-stream"):
            await reply.begin(status, kind.encode("latin-1", "replace"), *headers)
            await self._streamed(exchange, admitted, inbound, reply, told)
            return status
        pieces = []
        while piece := await exchange.piece():
            pieces.append(piece)
        body = exchange.clean(b"".join(pieces))
        if status == 200:
            reader = extractor(inbound.shape, streamed=False)
            self._enforcement.asked(admitted, told.take([*reader.feed(body), *reader.close()]))
        length = (b"content-length", b"%d" % len(body))
        await reply.begin(status, kind.encode("latin-1", "replace"), length, *headers)
        await reply.part(body)
        await reply.end()
        return status

    async def _streamed(
        self, exchange: Exchange, admitted: Admitted, inbound: _Inbound, reply: _Reply, told: _Told
    ) -> None:
        """Frame by frame: a frame is whole, so a credential cannot stand across two."""
        frames, reader = SseFrames(), FrameExtractor(inbound.shape)
        while piece := await exchange.piece():
            out = []
            for frame in frames.feed(piece):
                if asked := told.take(reader.take(frame)):
                    self._enforcement.asked(admitted, asked)
                if not (inbound.extra_usage and usage_only(frame)):
                    out.append(exchange.clean(frame.raw))
            if out:
                await reply.part(b"".join(out))
        rest = frames.rest()
        self._enforcement.asked(admitted, told.take(reader.close(rest)))
        if rest:
            await reply.part(exchange.clean(rest))
        await reply.end()

    @staticmethod
    async def _last_words(reply: _Reply, words: Refused) -> None:
        """Tell the client why its call came to nothing, if it still listens; a stalled one is not waited for."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                if not reply.started:
                    await reply.refusal(words)
                    return
                error = reply.error(status_of(words.code), words.code.value, words.message)
                await reply.part(b"event: error\ndata: " + orjson.dumps(error) + b"\n\n")
                await reply.end()
        except TimeoutError:
            _log.info("a client did not take the end of its call: %s", words.code)


def _require_decidable(request: LlmRequest) -> None:
    """Refuse what could not be decided on as a whole: a policy must see every tool, and the model that answers."""
    if len(set(request.tools)) > _MAX_FACTS:
        raise InvalidInputError(Code.BODY_MALFORMED, f"more than {_MAX_FACTS} tools", hint="offer the model fewer")
    if request.other_models and not request.hosted:  # what hosted tools name goes the way of those
        raise InvalidInputError(
            Code.BODY_MALFORMED,
            "other models are named that may answer",
            hint="name one model, and ask anew if it fails",
        )


def _listed(api: str, models: Iterable[str]) -> dict[str, Any]:
    """The list of models as the provider's clients know it."""
    if api == "anthropic":
        data = [{"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
                for name in sorted(models)]  # fmt: skip
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return {"data": data, "has_more": False, **ends}
    return {
        "object": "list",
        "data": [{"id": name, "object": "model", "created": 0, "owned_by": api} for name in sorted(models)],
    }


def _cost(admitted: Admitted, told: _Told) -> int | None:
    """What was used, in nano-units; None: that was never told, or cannot be, so what was reserved counts."""
    used, rates = told.used, admitted.tool.rates
    if used is None or rates is None:
        return None
    if not 0 < used.input_tokens <= _MOST_TOKENS or not told.answered <= used.output_tokens <= _MOST_TOKENS:
        return None
    return rates.spent(used.input_tokens, used.output_tokens, used.cache_read_tokens, used.cache_write_tokens).nanos


def _at_least(admitted: Admitted, told: _Told) -> int:
    """What was reserved, or what was used if that is more."""
    reserved = admitted.call.cost.nanos if admitted.call.cost is not None else 0
    return max(_cost(admitted, told) or 0, reserved)


def _settled(admitted: Admitted, told: _Told, exchange: Exchange, status: int) -> CallResult:
    result = {"status": status, **told.record()}
    if status >= 300:  # a provider takes nothing for what it refuses
        return CallResult(CallEnd.TOOL_ERROR, size=exchange.received, result=result, cost_nanos=0)
    if told.broke is not None:  # the usage of its beginning is not that of the whole
        return CallResult(
            CallEnd.PROTOCOL_ERROR,
            size=exchange.received,
            result=result,
            cost_nanos=_at_least(admitted, told),
            tokens=told.tokens,
        )
    return CallResult(
        CallEnd.OK, size=exchange.received, result=result, cost_nanos=_cost(admitted, told), tokens=told.tokens
    )


def _broken_off(admitted: Admitted, told: _Told, exchange: Exchange | None, code: Code) -> CallResult:
    """Of an answer that was not read to its end the usage is not known: what was reserved counts, or more."""
    sent = exchange is not None and exchange.sent
    return CallResult(
        end_of(code),
        code=code,
        size=exchange.received if exchange is not None else 0,
        sent=sent,
        result={"status": None, **told.record()} if sent else None,
        cost_nanos=_at_least(admitted, told) if sent else None,
        tokens=told.tokens,
    )
