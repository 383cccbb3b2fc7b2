"""HTTP APIs as a bare ASGI app at `/http/{server}/…`: an operation is a tool, what a request says are its arguments.

Life of a request: 1 headers once, Host and Origin; 2 who is calling; 3 the server; 4 the body, bounded in size and in
time, strict JSON; 5 the operation and its arguments; 6 `EnforcementPoint.admit`; 7 upstream, written anew from the
arguments; 8 the answer, masked, and settled. What is refused is a problem document with the decision's id; an answer of
the API itself carries that id in `accredit-decision`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from accredit.enforcement.model import Admitted, Call, CallEnd, CallResult, Refused
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.flight import Flight
from accredit.gateway.forwarding import Ending, forward, tell_last_words
from accredit.gateway.httproutes import MatchedOperation, Routes, read_arguments, rendered
from accredit.gateway.jsonrpc import RpcError
from accredit.gateway.masking import masked_result
from accredit.gateway.ports import EnforcementPoint
from accredit.gateway.problems import PROBLEM, problem_document, refusal_problem, status_of
from accredit.gateway.relay import ABOUT_US
from accredit.gateway.routing import read_head
from accredit.gateway.tracing import TRACEPARENT, TraceParent, trace_parent
from accredit.gateway.uploads import Uploads
from accredit.gateway.upstream import Exchange, HttpAnswer, Upstream
from accredit.identity.metadata import challenge
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import ServerName, check_name
from accredit.kernel.strictjson import parse_strict
from accredit.registry.model import ToolServer
from accredit.registry.openapi import route_of

__all__ = ["HttpGateway"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("accredit.gateway")

_ROOT: Final = "/http/"
_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")
_ALLOW: Final = ((b"allow", ", ".join(_METHODS).encode()),)
_MAX_TARGET: Final = 8_192
_MAX_ROUTES: Final = 512
_MAX_TOOL_NAME: Final = 256
_LAST_WORDS_S: Final = 1.0
_ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    # what an API answers is data: at this origin stands the console, and nothing of it may run there
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"x-content-type-options", b"nosniff"),
)
_DECISION: Final = b"accredit-decision"
_HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json, */*;q=0.5",
    "Accept-Encoding": "identity",
    "User-Agent": f"{ABOUT_US['name']}/{ABOUT_US['version']}",
}


@dataclass(frozen=True, slots=True)
class _Inbound:
    """A request whose caller and operation are known."""

    principal: Principal
    server: ToolServer
    found: MatchedOperation | None
    tool: str
    """The operation's name; of none that is registered, what was asked for."""
    arguments: Mapping[str, Any]
    source: str
    trace: TraceParent | None
    receive: _Receive


class _Reply:
    """The one answer to a request."""

    def __init__(self, send: _Send) -> None:
        self._send = send
        self.started = False

    async def send(self, status: int, kind: bytes, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        bodiless = status in {204, 304}
        given = [*_ALWAYS, *headers]
        if not bodiless:
            given += [(b"content-length", b"%d" % len(body)), *([(b"content-type", kind)] if kind else [])]
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": given})
        await self._send({"type": "http.response.body", "body": b"" if bodiless else body})

    async def problem(self, error: AccreditError) -> None:
        status = error.status if error.status != 403 else status_of(error.code)
        headers = error.headers if isinstance(error, RpcError) else ()
        body = problem_document(status, error.code, error.message, hint=error.hint)
        await self.send(status, PROBLEM, body, *headers)

    async def refusal(self, refused: Refused) -> None:
        status, body = refusal_problem(refused)
        wait = refused.retry_after_s
        headers = [(b"retry-after", b"%d" % max(1, round(wait + 0.5)))] if wait is not None else []
        if refused.decision_id is not None:
            headers.append((_DECISION, refused.decision_id.encode()))
        await self.send(status, PROBLEM, body, *headers)


class HttpGateway:
    """The ASGI app, for every path below `/http/`."""

    def __init__(
        self,
        enforcement: EnforcementPoint,
        upstream: Upstream,
        *,
        public_url: str,
        allowed_hosts: Iterable[str] = (),
        max_body_bytes: int = 2**20,
        upload_timeout_s: float = 10.0,
    ) -> None:
        self._enforcement = enforcement
        self._upstream = upstream
        self._public_url = public_url
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._max_body_bytes = max_body_bytes
        self._uploads = Uploads(max_bytes=max_body_bytes, timeout_s=upload_timeout_s)
        self._routes: dict[tuple[ServerName, frozenset[str]], Routes] = {}

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one request. Nothing escapes but cancellation and what `send` itself raises."""
        reply = _Reply(send)
        try:
            await self._serve(scope, receive, reply)
        except AccreditError as error:
            if not reply.started:
                await reply.problem(error)
        except Exception:  # noqa: BLE001 - the outermost boundary: logged, and answered without its text
            _log.exception("a request to an HTTP API failed")
            if not reply.started:
                await reply.send(500, PROBLEM, problem_document(500, Code.INTERNAL, Code.INTERNAL.meaning))

    async def _serve(self, scope: _Scope, receive: _Receive, reply: _Reply) -> None:
        head = read_head(scope["headers"])  # 1
        self._addresses.check(head.get("host"), head.get("origin"))
        method: str = scope["method"]
        if method not in _METHODS:
            body = problem_document(405, Code.METHOD_UNKNOWN, f"served are {', '.join(_METHODS)}")
            await reply.send(405, PROBLEM, body, *_ALLOW)
            return
        raw_path, query = _target(scope)
        source: str = (scope.get("client") or ("",))[0]
        name, _, rest = raw_path.removeprefix(_ROOT).partition("/")
        try:  # 2
            principal = self._enforcement.authenticate(head.get("authorization"), path=raw_path, source=source)
        except UnauthenticatedError:
            await self._challenge(reply, name)
            return
        except ForbiddenError as error:
            raise ForbiddenError(Code.NOT_AUTHORISED, Code.NOT_AUTHORISED.meaning) from error
        try:  # 3
            server = self._server(name)
        except AccreditError as error:
            self._enforcement.turned_away(error.code, path=raw_path, source=source, credential=principal.credential)
            raise
        upload = await self._uploads.read(receive, head, sender=principal.agent)  # 4
        if upload is None:
            return
        sent = {"body": self._value(head, upload)} if upload else {}
        if self._enforcement.still_valid(principal) is not None:  # the body may have taken its time
            await self._challenge(reply, name)
            return
        found = self._routes_of(server).find(method, f"/{rest}")  # 5
        arguments = read_arguments(found, query, head, sent) if found is not None else {}
        tool = found.tool.name if found is not None else f"{method} /{rest}"[:_MAX_TOOL_NAME]
        trace = trace_parent(head.get(TRACEPARENT))
        await self._call(_Inbound(principal, server, found, tool, arguments, source, trace, receive), reply)

    def _server(self, name: str) -> ToolServer:
        try:
            server = self._enforcement.server(ServerName(check_name(name, "tool server")))
        except InvalidInputError as error:
            raise NotFoundError(
                Code.SERVER_UNKNOWN,
                Code.SERVER_UNKNOWN.meaning,
                hint="it is `/http/`, a server's name, its own path",
            ) from error
        if server.local:
            raise NotFoundError(Code.SERVER_LOCAL, Code.SERVER_LOCAL.meaning, hint=Code.SERVER_LOCAL.remedy)
        if server.protocol != "http":
            raise NotFoundError(Code.SERVER_UNKNOWN, f"`{name}` is no HTTP API", hint="see `accredit server list`")
        return server

    def _value(self, head: Mapping[str, str], body: bytes) -> Any:
        kind = head.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise InvalidInputError(Code.BODY_MALFORMED, "the content type is not `application/json`")
        return parse_strict(body, max_bytes=self._max_body_bytes)

    def _routes_of(self, server: ToolServer) -> Routes:
        key = server.name, frozenset(tool.definition_digest for tool in server.tools.values())
        known = self._routes.get(key)
        if known is None:
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            known = self._routes[key] = Routes(server.tools.values())
        return known

    async def _challenge(self, reply: _Reply, name: str) -> None:
        # one constant text: why a token is not accepted is for the record alone
        try:
            told = challenge(self._public_url, f"{_ROOT}{name}")
        except InvalidInputError:
            told = "Bearer"
        code = Code.UNAUTHENTICATED
        body = problem_document(401, code, code.meaning, hint=code.remedy)
        await reply.send(401, PROBLEM, body, (b"www-authenticate", told.encode()))

    # -- one call

    async def _call(self, inbound: _Inbound, reply: _Reply) -> None:
        call = Call(
            principal=inbound.principal,
            server=inbound.server.name,
            tool=inbound.tool,
            arguments=inbound.arguments,
            protocol="http/1.1",
            source=inbound.source,
            span=inbound.trace.span if inbound.trace is not None else None,
            sampled=inbound.trace is None or inbound.trace.sampled,
        )
        flight = Flight(inbound.receive)
        outcome = await self._enforcement.admit(call)  # 6
        if isinstance(outcome, Refused):
            await reply.refusal(outcome)
        else:
            await self._forward(outcome, reply, flight, inbound.trace)

    async def _forward(self, admitted: Admitted, reply: _Reply, flight: Flight, trace: TraceParent | None) -> None:
        async def relay(exchange: Exchange, end: Ending) -> None:
            async with exchange:  # 7
                answer, ended = _checked(await exchange.whole(), exchange, admitted)
                self._enforcement.inspect(admitted, ended.result or {})
            end(ended)
            told = ((name.encode(), value.encode("latin-1")) for name, value in answer.headers)
            await reply.send(  # 8
                answer.status,
                answer.content_type.encode("latin-1"),
                answer.body,
                (_DECISION, admitted.decision_id.encode()),
                *told,
            )

        words = await forward(self._enforcement, admitted, flight, lambda: self._exchange(admitted, trace), relay)
        if words is not None and not reply.started:
            await tell_last_words(words, reply.refusal)

    def _exchange(self, admitted: Admitted, trace: TraceParent | None) -> Exchange:
        route = route_of(admitted.tool.definition)
        if route is None:  # pinned when the server still spoke MCP
            raise UnavailableError(Code.DEFINITION_CHANGED, Code.DEFINITION_CHANGED.meaning)
        request = rendered(route, admitted.call.arguments)
        if request.headers.keys() & {name.lower() for name in admitted.headers}:
            # two headers of one name, one of them the agent's: which of them counts would be the API's to say
            raise UnavailableError(
                Code.UPSTREAM_CREDENTIAL, "an argument has the name of the header that the credential goes into"
            )
        parent = admitted.traceparent or (trace.text if trace is not None else None)
        traced = {TRACEPARENT: parent} if parent is not None else {}
        return self._upstream.exchange(
            f"{admitted.url.removesuffix('/')}{request.target}",
            {**_HEADERS, **request.headers, **traced, **admitted.headers},
            request.body,
            credential=admitted.headers,
            recheck=admitted.recheck,
            method=request.method,
        )


def _target(scope: _Scope) -> tuple[str, str]:
    """Path and query as they came: what a decoded path says has more than one reading."""
    raw, query = scope.get("raw_path") or scope["path"].encode(), scope.get("query_string", b"")
    if len(raw) + len(query) > _MAX_TARGET:
        raise InvalidInputError(Code.BODY_MALFORMED, f"the address is longer than {_MAX_TARGET} bytes")
    try:
        return raw.decode("ascii"), query.decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInputError(Code.BODY_MALFORMED, "the address is not ASCII") from error


def _checked(answer: HttpAnswer, exchange: Exchange, admitted: Admitted) -> tuple[HttpAnswer, CallResult]:
    """The answer as the agent gets it, and how the call ended.

    Raises:
        UnavailableError: `result_unmaskable`.
    """
    body, headers = answer.body, answer.headers
    if admitted.masked:
        headers = ()  # each could carry what the mask takes away
        if body:
            text = body.decode("utf-8", "surrogateescape")
            block = masked_result({"content": [{"type": "text", "text": text}]}, admitted.masked)["content"][0]
            body = block["text"].encode()
    kind = answer.content_type
    kept: Any = body.decode("utf-8", "replace")
    if "json" in kind:
        with contextlib.suppress(orjson.JSONDecodeError):  # else it stays the text it is
            kept = orjson.loads(body) if body else None
    end = CallEnd.OK if answer.status < 400 else CallEnd.TOOL_ERROR
    ended = CallResult(end, size=exchange.received, result={"status": answer.status, "body": kept})
    return HttpAnswer(answer.status, kind, headers, body), ended
