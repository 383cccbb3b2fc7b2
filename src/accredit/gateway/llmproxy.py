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
from typing import Any, Final, TypeVar

import orjson

from accredit.enforcement.model import Admitted, AskedCall, Call, CallEnd, CallResult, Refused
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.flight import Flight
from accredit.gateway.forwarding import Ending, forward, tell_last_words
from accredit.gateway.jsonrpc import RpcError
from accredit.gateway.llm.events import (
    MALFORMED,
    OVERSIZED,
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
from accredit.gateway.llm.gate import AnswerGate, opaque
from accredit.gateway.llm.gating import WeighedAnswer, gate_for
from accredit.gateway.llm.lenient import load_mapping
from accredit.gateway.llm.requests import LlmRequest, read_llm_request
from accredit.gateway.llm.shapes import LlmShape
from accredit.gateway.ports import EnforcementPoint
from accredit.gateway.problems import status_of
from accredit.gateway.refusals import end_of
from accredit.gateway.relay import ABOUT_US
from accredit.gateway.routing import read_head
from accredit.gateway.tracing import TRACEPARENT, TraceParent, trace_parent
from accredit.gateway.uploads import Uploads
from accredit.gateway.upstream import Exchange, HttpAnswer, Upstream
from accredit.identity.model import Principal
from accredit.kernel.canonical import digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import ServerName
from accredit.kernel.strictjson import parse_strict
from accredit.registry.model import Tool, ToolServer

__all__ = ["LlmGateway"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_T = TypeVar("_T")
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
    unread: bool = False
    """Whether some of it could not be read."""
    weighed: WeighedAnswer | None = None
    """Set where the tool calls of the answer are decided before the agent sees them."""
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
                    asked.append(AskedCall(name, arguments, identity))
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
                    self.unread = self.unread or code in {MALFORMED, OVERSIZED}
                case _:
                    pass
        return asked

    def _keep(self, where: list[str], text: str) -> None:
        if self.left > 0:
            where.append(text[: self.left])
            self.left -= len(text)

    @property
    def tokens(self) -> tuple[int, int] | None:
        """Input and output so far; None if nothing was said of them."""
        return (self.used.input_tokens, self.used.output_tokens) if self.used is not None else None

    @property
    def answered(self) -> bool:
        """Whether anything was put out that a model counts."""
        return bool(self.text or self.reasoning or self.tools)

    @property
    def said(self) -> dict[str, Any]:
        """What the model said and asked for: what secrets and personal data may stand in."""
        return {
            "reasoning": "".join(self.reasoning),
            "text": "".join(self.text),
            "declined": "".join(self.declined),
            "tools": self.tools,
        }

    def record(self) -> dict[str, Any]:
        """As it goes into the outcome's sealed part."""
        used = self.used
        return {
            "id": self.named.id if self.named else None,
            "model": self.named.model if self.named else None,
            **self.said,
            "weighed": self.weighed.calls if self.weighed is not None else None,
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

    async def broken_off(self, words: Refused) -> None:
        """Say why there is no answer, or no more of it."""
        if not self.started:
            await self.refusal(words)
            return
        error = self.error(status_of(words.code), words.code.value, words.message)
        await self.part(b"event: error\ndata: " + orjson.dumps(error) + b"\n\n")
        await self.end()


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


class _PacedAnswer:
    """The answer of a provider, which has so long to begin, and so long for each piece after that.

    Only waiting for the provider counts, not what the agent takes to read.
    """

    def __init__(self, exchange: Exchange, *, first_byte_s: float, idle_s: float) -> None:
        self._exchange = exchange
        self._clock = asyncio.get_running_loop().time
        self._idle_s = idle_s
        self._code = Code.FIRST_BYTE_TIMEOUT
        self._until = self._clock() + first_byte_s

    async def begun(self) -> HttpAnswer:
        """As `Exchange.begun`.

        Raises:
            UnavailableError: `first_byte_timeout` besides.
        """
        return await self._in_time(self._exchange.begun())

    async def piece(self) -> bytes:
        """As `Exchange.piece`.

        Raises:
            UnavailableError: `first_byte_timeout` or `idle_timeout` besides.
        """
        found = await self._in_time(self._exchange.piece())
        self._code, self._until = Code.IDLE_TIMEOUT, self._clock() + self._idle_s
        return found

    async def _in_time(self, waiting: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout_at(self._until):
                return await waiting
        except TimeoutError:
            raise UnavailableError(self._code, self._code.meaning, hint=self._code.remedy) from None


class LlmGateway:
    """The ASGI app, for every path below `/llm/`."""

    def __init__(
        self, enforcement: EnforcementPoint, upstream: Upstream, *, public_url: str, allowed_hosts: Iterable[str] = (),
        upload_timeout_s: float = 30.0, first_byte_timeout_s: float = 300.0, idle_timeout_s: float = 120.0,
    ) -> None:  # fmt: skip
        self._enforcement = enforcement
        self._upstream = upstream
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._uploads = Uploads(max_bytes=_MAX_BODY, timeout_s=upload_timeout_s)
        self._first_byte_timeout_s = first_byte_timeout_s
        self._idle_timeout_s = idle_timeout_s

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
        body = await self._uploads.read(receive, head, sender=principal.agent)  # 3
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
            output = request.max_output_tokens or rates.max_output * request.choices
            output = 0 if inbound.shape is LlmShape.EMBEDDINGS else output
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
            system_texts=request.system_texts,
            results=tuple(name for name, _ in request.results),
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
        told = _Told()
        if admitted.tool_calls is not None:
            told.weighed = WeighedAnswer(self._enforcement, admitted, admitted.tool_calls)

        async def relay(exchange: Exchange, end: Ending) -> None:
            async with exchange:  # 6
                status = await self._relayed(exchange, admitted, inbound, reply, told)  # 7
            end(_settled(admitted, told, exchange, status))  # 8

        words = await forward(
            self._enforcement,
            admitted,
            flight,
            lambda: self._exchange(admitted, inbound),
            relay,
            lambda code, exchange: _broken_off(admitted, told, exchange, code),
        )
        if words is not None and not reply.done:
            await tell_last_words(words, reply.broken_off)

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
        answer = _PacedAnswer(exchange, first_byte_s=self._first_byte_timeout_s, idle_s=self._idle_timeout_s)
        head = await answer.begun()
        status, kind = head.status, head.content_type
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in head.headers]
        headers.append((_DECISION, admitted.decision_id.encode()))
        if status < 300 and kind.startswith("text/event-stream"):

            async def begin() -> None:
                await reply.begin(status, kind.encode("latin-1", "replace"), *headers)

            await self._streamed(answer, exchange, admitted, inbound, reply, told, begin)
            return status
        pieces = []
        while piece := await answer.piece():
            pieces.append(piece)
        body = await exchange.cleaned(b"".join(pieces))
        if status < 300:  # whatever clients take for an answer
            reader = extractor(inbound.shape, streamed=False)
            asked = told.take([*reader.feed(body), *reader.close()])
            self._inspect(admitted, told)
            if asked and told.weighed is None:
                self._enforcement.asked(admitted, asked)
            if told.weighed is not None and (gate := gate_for(inbound.shape, told.weighed)) is not None:
                body = await exchange.cleaned(await _gated(gate, body))
        length = (b"content-length", b"%d" % len(body))
        await reply.begin(status, kind.encode("latin-1", "replace"), length, *headers)
        await reply.part(body)
        await reply.end()
        return status

    async def _streamed(
        self,
        answer: _PacedAnswer,
        exchange: Exchange,
        admitted: Admitted,
        inbound: _Inbound,
        reply: _Reply,
        told: _Told,
        begin: Callable[[], Awaitable[None]],
    ) -> None:
        """Frame by frame: a frame is whole, so a credential cannot stand across two.

        Where the agent may be told nothing that was not looked at, all of it is kept until that is done.
        """
        kept: list[bytes] | None = [] if self._enforcement.withholds(admitted) else None
        if kept is None:
            await begin()
        frames, reader = SseFrames(), FrameExtractor(inbound.shape)
        gate = gate_for(inbound.shape, told.weighed) if told.weighed is not None else None
        while piece := await answer.piece():
            out = []
            for frame in frames.feed(piece):
                self._asked(admitted, told, reader.take(frame))
                if not (inbound.extra_usage and usage_only(frame)):
                    passed = frame.raw if gate is None else await gate.frame(frame)
                    out.append(await exchange.cleaned(passed))
            if kept is not None:
                kept += out
            elif passing := b"".join(out):
                await reply.part(passing)
        rest = frames.rest()
        self._asked(admitted, told, reader.close(rest))
        if gate is not None and rest.strip():
            # a client that reads by lines takes data without the blank line after it
            whole = rest + b"\n\n"
            passed = b"".join([await gate.frame(frame) for frame in SseFrames().feed(whole)])
            rest = rest if passed == whole else passed
        if kept is not None:
            told.unread = told.unread or bool(rest.strip() and told.broke is not None)
            self._inspect(admitted, told)
            await begin()
            await reply.part(b"".join(kept))
        if rest:
            await reply.part(await exchange.cleaned(rest))
        await reply.end()

    def _inspect(self, admitted: Admitted, told: _Told) -> None:
        """Look at what an answer says; what could not be read was not looked at."""
        self._enforcement.inspect(admitted, told.said)
        if told.unread and self._enforcement.withholds(admitted):
            raise UnavailableError(
                Code.RESULT_UNDECLARED,
                "some of the answer could not be read, so nobody knows what data it holds",
                hint="ask again: the provider sent what is not of its own API",
            )

    def _asked(self, admitted: Admitted, told: _Told, events: Iterable[LlmEvent]) -> None:
        """Remember what an answer says. Where its calls are decided, whoever decides tells which are shown."""
        asked = told.take(events)
        if asked and told.weighed is None:
            self._enforcement.asked(admitted, asked)


async def _gated(gate: AnswerGate, body: bytes) -> bytes:
    """A whole answer without the calls that are withheld; the very bytes if there are none."""
    answer = load_mapping(body)
    if answer is None:
        raise opaque("the answer is not a JSON object")
    copied = dict(answer)
    return orjson.dumps(copied) if await gate.whole(copied) else body


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
    # an answer that was withheld was read to its end, so its usage is known
    known = code is Code.RESULT_UNDECLARED and told.broke is None
    cost = _cost(admitted, told) if known else _at_least(admitted, told)
    return CallResult(
        end_of(code),
        code=code,
        size=exchange.received if exchange is not None else 0,
        sent=sent,
        result={"status": None, **told.record()} if sent else None,
        cost_nanos=cost if sent else None,
        tokens=told.tokens,
    )
