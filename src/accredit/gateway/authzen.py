"""AuthZEN Authorization API 1.0 as a bare ASGI app: evaluation, evaluations, search, metadata, access requests.

The API's text is the final one; access requests, for what a person has to approve, follow draft 1 of their profile.

Life of a request: 1 Host and Origin; 2 who is asking; 3 content type; 4 the body, bounded; 5 strict JSON, typed; 6 the
question, judged and on record; 7 the answer, with the caller's `X-Request-ID`. A denial is an answer (200); errors are
problem documents. What an answer says beside the decision is for the user: no policy is named.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from accredit.approvals.model import Hold, HoldState
from accredit.enforcement.advice import Adviser, Asker, Question, Search
from accredit.enforcement.model import Advice
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.jsonrpc import RpcError
from accredit.gateway.problems import PROBLEM, problem_document
from accredit.gateway.routing import read_head
from accredit.gateway.uploads import Uploads
from accredit.identity.metadata import challenge
from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest, digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    AttemptsLimitedError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
)
from accredit.kernel.ids import DecisionId, HoldId
from accredit.kernel.sealing import Sealer
from accredit.kernel.strictjson import parse_strict
from accredit.policy.model import ExternalName, Outcome

__all__ = ["AuthzenGateway"]

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_log = logging.getLogger("accredit.gateway")

_METADATA: Final = "/.well-known/authzen-configuration"
_ROOT: Final = "/access/v1/"
_REQUESTS: Final = f"{_ROOT}requests"
_MAX_BODY: Final = 256 * 1024
_UPLOAD_S: Final = 10.0
_MAX_TYPE: Final = 128
_MAX_ID: Final = 1024
_MAX_PROPERTIES: Final = 16 * 1024
_MAX_EVALUATIONS: Final = 100
_MAX_PAGE: Final = 1_000
_PAGE: Final = 100
_MAX_TOKEN: Final = 4096
_PAGE_US: Final = 3600 * 1_000_000
_REQUESTABLE_US: Final = 600 * 1_000_000
_KEPT_KEYS: Final = 10_000
_REQUEST_ID: Final = re.compile(rb"[\x20-\x7e]{1,256}")
_IDEMPOTENCY: Final = re.compile(r"[\x21-\x7e]{1,256}")
_SIGNATURE: Final = "dev.accredit/signature"
_SEMANTICS: Final = frozenset({"execute_all", "deny_on_first_deny", "permit_on_first_permit"})
_POLL_S: Final = 5
_CAPABILITY: Final = "urn:openid:authzen:capability:access-request"
_ERROR: Final = "urn:openid:authzen:access-request:error:"
_NOTHING: Mapping[str, Any] = {}


class _AccessRequestError(InvalidInputError):
    """A problem that the access request profile has a type for."""

    def __init__(self, name: str, status: int, message: str) -> None:
        super().__init__(Code.BODY_MALFORMED, message)
        self.type = f"{_ERROR}{name}"
        self.status = status


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    media_type: bytes = b"application/json"


@dataclass(frozen=True, slots=True)
class _Inbound:
    """A request whose asker is known and whose body was read."""

    asker: Asker
    source: str
    body: Mapping[str, Any]
    head: Mapping[str, str]


class AuthzenGateway:
    """The ASGI app, for every path below `/access/v1/` and the metadata."""

    def __init__(
        self,
        adviser: Adviser,
        *,
        public_url: str,
        sealer: Sealer,
        clock: Clock,
        allowed_hosts: Iterable[str] = (),
        max_body_bytes: int = _MAX_BODY,
    ) -> None:
        self._adviser = adviser
        self._public_url = public_url
        self._clock = clock
        self._addresses = HostAllowList(public_url, allowed_hosts)
        self._pages = sealer.derive("authzen-page")
        self._bindings = sealer.derive("authzen-binding")
        self._max_body_bytes = min(max_body_bytes, _MAX_BODY)
        self._uploads = Uploads(max_bytes=self._max_body_bytes, timeout_s=_UPLOAD_S)
        self._submitted: OrderedDict[tuple[str, str], Digest] = OrderedDict()
        """What was submitted under which idempotency key of whom."""
        self._serving: Mapping[str, Callable[[_Inbound], Awaitable[_Answer]]] = {
            f"{_ROOT}evaluation": self._evaluation,
            f"{_ROOT}evaluations": self._evaluations,
            f"{_ROOT}search/subject": self._search_subject,
            f"{_ROOT}search/resource": self._search_resource,
            f"{_ROOT}search/action": self._search_action,
            _REQUESTS: self._request_access,
        }

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is this app's."""
        return path.startswith(_ROOT) or path == _METADATA

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Serve one request. Nothing escapes but cancellation and what `send` itself raises."""
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        echoed = ((b"x-request-id", given[0]),) if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else ()
        try:
            answer = await self._serve(scope, receive, unnamed=bool(given) and not echoed)
        except AccreditError as error:
            answer = self._refusal(error, scope["path"])
        except Exception:  # noqa: BLE001 - the outermost boundary: logged, and answered without its text
            _log.exception("a request to the AuthZEN API failed")
            answer = _problem(500, Code.INTERNAL, Code.INTERNAL.meaning)
        if answer is None:
            return
        headers = [
            (b"content-type", answer.media_type),
            (b"content-length", b"%d" % len(answer.body)),
            (b"cache-control", b"no-store"),
            *answer.headers,
            *echoed,
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _serve(self, scope: _Scope, receive: _Receive, *, unnamed: bool) -> _Answer | None:
        if unnamed:  # it could not be given back as it came
            raise _malformed("`X-Request-ID` is one header of at most 256 visible characters")
        head = read_head(scope["headers"])  # 1
        self._addresses.check(head.get("host"), head.get("origin"))
        path, method = scope["path"], scope["method"]
        source: str = (scope.get("client") or ("",))[0]
        if path == _METADATA:
            return _json(self._metadata()) if method == "GET" else _not_allowed(b"GET")
        asker = self._adviser.authenticate(head.get("authorization"), path=path, source=source)  # 2
        if path.startswith(f"{_REQUESTS}/"):
            return self._access_request(asker, path, source) if method == "GET" else _not_allowed(b"GET")
        serving = self._serving.get(path)
        if serving is None:
            raise NotFoundError(Code.NOT_FOUND, "no such endpoint", hint=f"see {_METADATA}")
        if method != "POST":
            return _not_allowed(b"POST")
        if head.get("content-type", "").partition(";")[0].strip().lower() != "application/json":  # 3
            raise InvalidInputError(Code.BODY_MALFORMED, "the content type is not `application/json`")
        sender = asker.agent if isinstance(asker, Principal) else f"point/{asker.name}"
        body = await self._uploads.read(receive, head, sender=sender)  # 4
        if body is None:
            return None
        value = parse_strict(body, max_bytes=self._max_body_bytes)  # 5
        if not isinstance(value, dict):
            raise InvalidInputError(Code.BODY_MALFORMED, "the body is not a JSON object")
        if not self._adviser.still_valid(asker):  # the body may have taken its time
            raise UnauthenticatedError(Code.CREDENTIAL_REVOKED, "the credential is not valid any more")
        return await serving(_Inbound(asker, source, value, head))

    def _refusal(self, error: AccreditError, path: str) -> _Answer:
        if isinstance(error, UnauthenticatedError):
            # one constant text: why a credential is not accepted is for the record alone
            answer = _problem(401, Code.UNAUTHENTICATED, Code.UNAUTHENTICATED.meaning)
            try:
                header = challenge(self._public_url, path)
            except InvalidInputError:
                header = "Bearer"
            return _Answer(401, answer.body, ((b"www-authenticate", header.encode()),), answer.media_type)
        if isinstance(error, _AccessRequestError):
            return _problem(error.status, error.code, error.message, kind=error.type)
        more: tuple[tuple[bytes, bytes], ...] = error.headers if isinstance(error, RpcError) else ()
        if isinstance(error, AttemptsLimitedError):
            more = ((b"retry-after", b"%d" % error.retry_after_s),)
        answer = _problem(error.status, error.code, error.message)
        return _Answer(answer.status, answer.body, more, answer.media_type)

    def _metadata(self) -> dict[str, Any]:
        at = f"{self._public_url}{_ROOT}"
        return {
            "policy_decision_point": self._public_url,
            "access_evaluation_endpoint": f"{at}evaluation",
            "access_evaluations_endpoint": f"{at}evaluations",
            "search_subject_endpoint": f"{at}search/subject",
            "search_resource_endpoint": f"{at}search/resource",
            "search_action_endpoint": f"{at}search/action",
            "access_request_endpoint": f"{self._public_url}{_REQUESTS}",
            "capabilities": [_CAPABILITY],
        }

    # -- evaluation

    async def _evaluation(self, inbound: _Inbound) -> _Answer:
        return _json(await self._decided(inbound, _question(inbound.body)))

    async def _decided(self, inbound: _Inbound, question: Question, *, counted: bool = False) -> dict[str, Any]:
        advice = await self._adviser.evaluate(inbound.asker, question, source=inbound.source, counted=counted)  # 6
        return self._decision(inbound.asker, question, advice)  # 7

    async def _evaluations(self, inbound: _Inbound) -> _Answer:
        body = inbound.body
        items = body.get("evaluations", [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise _malformed("`evaluations` is not a list of objects")
        if not items:  # as the single endpoint
            return await self._evaluation(inbound)
        if len(items) > _MAX_EVALUATIONS:
            raise _malformed(f"`evaluations` has more than {_MAX_EVALUATIONS} members")
        options = body.get("options", _NOTHING)
        semantic = options.get("evaluations_semantic", "execute_all") if isinstance(options, dict) else None
        if not isinstance(semantic, str) or semantic not in _SEMANTICS:
            raise _malformed(f"`options.evaluations_semantic` is none of {', '.join(sorted(_SEMANTICS))}")
        for name in ("subject", "action", "resource", "context"):
            if not isinstance(body.get(name, _NOTHING), dict):
                raise _malformed(f"`{name}` is not an object")
        defaults = {name: body[name] for name in ("subject", "action", "resource", "context") if name in body}
        whole = [{**defaults, **item} for item in items]
        if semantic == "execute_all":
            self._adviser.count(inbound.asker, len(whole), source=inbound.source)  # or some would go on, unanswered
            judging = [self._one_of(inbound, each, counted=True) for each in whole]
            judged = await asyncio.gather(*judging, return_exceptions=True)
            for one in judged:
                if isinstance(one, BaseException):
                    raise one
            return _json({"evaluations": judged})
        answers: list[dict[str, Any]] = []
        for each in whole:
            answers.append(await self._one_of(inbound, each))
            if answers[-1]["decision"] is (semantic == "permit_on_first_permit"):
                break
        return _json({"evaluations": answers})

    async def _one_of(self, inbound: _Inbound, body: Mapping[str, Any], *, counted: bool = False) -> dict[str, Any]:
        """One of several: what is wrong with it alone denies it alone."""
        try:
            return await self._decided(inbound, _question(body), counted=counted)
        except (InvalidInputError, ForbiddenError) as error:
            said = {"status": error.status, "message": error.message}
            return {"decision": False, "context": {"reason": error.code.value, "error": said}}

    def _decision(self, asker: Asker, question: Question, advice: Advice) -> dict[str, Any]:
        context: dict[str, Any] = {"evaluation_id": advice.decision_id}
        if advice.allowed:
            if question.approval is not None:
                context["approval"] = {"id": question.approval}
            return {"decision": True, "context": context}
        context["reason"] = advice.code.value
        context["reason_user"] = {"en": advice.code.meaning}
        if advice.outcome is Outcome.HOLD:
            context["reason"] = "approval_required"
            if isinstance(asker, Principal) and advice.request is not None:
                context["access_request"] = self._requestable(asker, advice, advice.request)
        if question.approval is not None:
            context |= _after_approval(advice, requestable="access_request" in context)
        return {"decision": False, "context": context}

    # -- search

    async def _search_subject(self, inbound: _Inbound) -> _Answer:
        return await self._search(inbound, Search.SUBJECT)

    async def _search_resource(self, inbound: _Inbound) -> _Answer:
        return await self._search(inbound, Search.RESOURCE)

    async def _search_action(self, inbound: _Inbound) -> _Answer:
        return await self._search(inbound, Search.ACTION)

    async def _search(self, inbound: _Inbound, what: Search) -> _Answer:
        question = _question(inbound.body, looking_for=what)
        page = inbound.body.get("page", _NOTHING)
        if not isinstance(page, dict):
            raise _malformed("`page` is not an object")
        limit, after = page.get("limit"), None
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 0):
            raise _malformed("`page.limit` is not a number of results")
        asked = digest("authzen-search", orjson.dumps([what, _asked(inbound.body)], option=orjson.OPT_SORT_KEYS))
        if (token := page.get("token")) is not None and token != "":
            limit, after = self._page_opened(inbound.asker, token, asked, limit)
        size = min(_PAGE if limit is None else limit, _MAX_PAGE)
        found = await self._adviser.search(
            inbound.asker, what, question, limit=size, after=after, source=inbound.source
        )
        left = "" if found.judged_up_to is None else self._page_sealed(inbound.asker, asked, limit, found.judged_up_to)
        return _json(
            {
                "page": {"next_token": left, "count": len(found.found)},
                "context": {"evaluation_id": found.decision_id},
                "results": [_found(what, question, name) for name in found.found],
            }
        )

    def _page_sealed(self, asker: Asker, asked: Digest, limit: int | None, at: str) -> str:
        content = orjson.dumps([limit, at, self._clock.now().wall_us + _PAGE_US])
        return _text(self._pages.seal(content, belongs_to=_belonging(asker, asked)))

    def _page_opened(self, asker: Asker, token: Any, asked: Digest, limit: Any) -> tuple[int | None, str]:
        """Where the next page begins. A token of somebody else, or for another search, is none."""
        try:
            first, at, until_us = orjson.loads(self._pages.open(_sealed(token), belongs_to=_belonging(asker, asked)))
        except (ValueError, InvalidInputError) as error:
            raise _malformed("`page.token` belongs to no search like this one") from error
        if self._clock.now().wall_us >= until_us or limit not in {None, first}:
            raise _malformed("`page.token` is too old, or was for another `page.limit`")
        return first, at

    # -- what a person has to approve (access request profile)

    def _requestable(self, asker: Principal, advice: Advice, request: Digest) -> dict[str, Any]:
        until_us = self._clock.now().wall_us + _REQUESTABLE_US
        content = orjson.dumps([advice.decision_id, until_us])
        token = self._bindings.seal(content, belongs_to=_belonging(asker, request))
        return {
            "endpoint": f"{self._public_url}{_REQUESTS}",
            "expires_at": _moment(until_us),
            "binding_token": _text(token),
        }

    async def _request_access(self, inbound: _Inbound) -> _Answer:
        if "items" in inbound.body:
            raise _malformed("requests for several things at once are not taken", hint="send them one by one")
        question, asker = _question(inbound.body), inbound.asker
        denial = inbound.body.get("denial")
        if not isinstance(denial, dict) or not isinstance(asker, Principal):
            raise _AccessRequestError("invalid_denial_binding", 400, "`denial` does not bind the request to a denial")
        key = inbound.head.get("idempotency-key")
        if key is not None and not _IDEMPOTENCY.fullmatch(key):
            raise _malformed("`Idempotency-Key` is a text of at most 256 visible characters")
        denied = self._bound(question, inbound.source, asker, denial, key)
        advice = await self._adviser.ask_approval(asker, question, denied, source=inbound.source)
        if advice.hold is None:
            said = "no person can approve this now" if advice.outcome is Outcome.DENY else "this needs no approval"
            raise _AccessRequestError("not_requestable", 400, f"{said} ({advice.code.value})")
        answer = self._task(advice.hold)
        location = answer["task"]["status_endpoint"].encode()
        return _json(answer, 202 if advice.hold.state is HoldState.OPEN else 201, (b"location", location))

    def _bound(
        self, question: Question, source: str, asker: Principal, denial: Mapping[str, Any], key: str | None
    ) -> DecisionId:
        """The evaluation that a request is about, proven by the token that came with its denial."""
        request = self._adviser.request_of(asker, question, source=source)
        token, named = denial.get("binding_token"), denial.get("evaluation_id")
        try:
            belonging = _belonging(asker, request or Digest(""))
            evaluation, until_us = orjson.loads(self._bindings.open(_sealed(token), belongs_to=belonging))
        except (ValueError, InvalidInputError) as error:
            raise _AccessRequestError(
                "invalid_denial_binding", 400, "`denial.binding_token` was not given for exactly this"
            ) from error
        if named is not None and named != evaluation:
            raise _AccessRequestError("invalid_denial_binding", 400, "`denial.evaluation_id` is another's")
        if self._clock.now().wall_us >= until_us:
            raise _AccessRequestError("expired_denial", 410, "the denial is too old: evaluate again")
        if key is not None and request is not None:
            self._once(asker, key, request)
        return DecisionId(evaluation)

    def _once(self, asker: Principal, key: str, request: Digest) -> None:
        """Equal requests find the same hold anyway; a key that comes back with another is refused."""
        known = self._submitted.setdefault((asker.agent, key), request)
        if known != request:
            raise _AccessRequestError("duplicate_request", 409, "`Idempotency-Key` was used for another request")
        while len(self._submitted) > _KEPT_KEYS:
            self._submitted.popitem(last=False)

    def _access_request(self, asker: Asker, path: str, source: str) -> _Answer:
        hold = self._adviser.approval(asker, HoldId(path.removeprefix(f"{_REQUESTS}/")[:_MAX_TYPE]), source=source)
        if hold is None:
            raise _AccessRequestError("unknown_task", 404, "there is no such request of yours")
        more = ((b"retry-after", b"%d" % _POLL_S),) if hold.state is HoldState.OPEN else ()
        return _json(self._task(hold), 200, *more)

    def _task(self, hold: Hold) -> dict[str, Any]:
        task = {
            "id": hold.id,
            "status": _STATUS[hold.state],
            "status_endpoint": f"{self._public_url}{_REQUESTS}/{hold.id}",
            "expires_at": _moment(hold.expires_us),
        }
        if _STATUS[hold.state] != "approved":
            return {"task": task}
        until_us = hold.expires_us if hold.closed_us is None else hold.closed_us
        approval = {"id": hold.id, "approved_until": _moment(until_us)}
        return {"task": task, "result": {"mode": "reevaluate", "approval": approval}}


_STATUS: Final[Mapping[HoldState, str]] = {
    HoldState.OPEN: "pending",
    HoldState.GRANTED: "approved",
    HoldState.USED: "approved",
    HoldState.DENIED: "denied",
    HoldState.EXPIRED: "expired",
}


def _after_approval(advice: Advice, *, requestable: bool) -> dict[str, Any]:
    """What a caller who named an approval should do next (profile, Completion Semantics)."""
    match advice.standing:
        case HoldState.OPEN:
            return {"reason": "grant_pending", "next_action": "retry", "retry_after": _POLL_S}
        case HoldState.USED | HoldState.EXPIRED | HoldState.DENIED:
            return {"reason": "approval_expired", "next_action": "request" if requestable else "none"}
        case HoldState.GRANTED:
            return {"reason": "policy_denied", "next_action": "none"}
        case _:
            return {"reason": "approval_unverifiable", "next_action": "none"}


# -- reading


def _malformed(message: str, hint: str = "") -> InvalidInputError:
    return InvalidInputError(Code.BODY_MALFORMED, message, hint=hint)


def _question(body: Mapping[str, Any], *, looking_for: Search | None = None) -> Question:
    """The question in a body. What is looked for has no id: one that is sent is ignored, and an action altogether."""
    subject = _entity(body, "subject", sought=looking_for is Search.SUBJECT)
    resource = _entity(body, "resource", sought=looking_for is Search.RESOURCE)
    action: Mapping[str, Any] = _NOTHING
    name = ""
    if looking_for is not Search.ACTION:
        action = _object(body, "action")
        name = _string(action, "action", "name", _MAX_ID)
    context = body.get("context", _NOTHING)
    if not isinstance(context, Mapping):
        raise _malformed("`context` is not an object")
    approval = context.get("approval")
    named = approval.get("id") if isinstance(approval, dict) else None
    told = context.get(_SIGNATURE)
    if told is not None and (not isinstance(told, str) or not 0 < len(told) <= _MAX_TYPE):
        raise _malformed(f"`context[{_SIGNATURE}]` is no short text")
    kept = {key: value for key, value in context.items() if key not in {"approval", _SIGNATURE}}
    if kept and len(orjson.dumps(kept)) > _MAX_PROPERTIES:
        raise _malformed(f"`context` is longer than {_MAX_PROPERTIES} bytes")
    return Question(
        subject,
        name,
        resource,
        arguments=_properties(action, "action"),
        context=kept,
        approval=HoldId(named) if isinstance(named, str) and 0 < len(named) <= _MAX_TYPE else None,
        signature=told,
    )


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    if not isinstance(found, dict):
        raise _malformed(f"`{name}` is missing" if found is None else f"`{name}` is not an object")
    return found


def _string(found: Mapping[str, Any], owner: str, name: str, longest: int) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise _malformed(f"`{owner}.{name}` is not a text of 1 to {longest} characters")
    return value


def _entity(body: Mapping[str, Any], name: str, *, sought: bool) -> ExternalName:
    found = _object(body, name)
    return ExternalName(
        _string(found, name, "type", _MAX_TYPE),
        "" if sought else _string(found, name, "id", _MAX_ID),
        _properties(found, name),
    )


def _properties(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties: Any = found.get("properties")
    if properties is None:
        return _NOTHING
    if not isinstance(properties, dict):
        raise _malformed(f"`{name}.properties` is not an object")
    if len(orjson.dumps(properties)) > _MAX_PROPERTIES:
        raise _malformed(f"`{name}.properties` is longer than {_MAX_PROPERTIES} bytes")
    kept: Mapping[str, Any] = properties
    return kept


def _asked(body: Mapping[str, Any]) -> dict[str, Any]:
    """What of a search must stay the same from page to page."""
    return {name: body.get(name) for name in ("subject", "action", "resource", "context")}


# -- answering


def _json(value: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> _Answer:
    return _Answer(status, orjson.dumps(value), headers)


def _problem(status: int, code: Code, detail: str, *, kind: str = "") -> _Answer:
    return _Answer(status, problem_document(status, code, detail, kind=kind), (), PROBLEM)


def _not_allowed(method: bytes) -> _Answer:
    answer = _problem(405, Code.METHOD_UNKNOWN, f"only {method.decode()} is served here")
    return _Answer(405, answer.body, ((b"allow", method),), answer.media_type)


def _found(what: Search, question: Question, name: str) -> dict[str, str]:
    match what:
        case Search.SUBJECT:
            return {"type": question.subject.type, "id": name}
        case Search.RESOURCE:
            return {"type": question.resource.type, "id": name}
        case Search.ACTION:
            return {"name": name}


def _belonging(asker: Asker, about: Digest) -> bytes:
    """Whom a sealed text was given to, and about what: it opens for nobody and nothing else."""
    whom: Sequence[str | None]
    if isinstance(asker, Principal):
        whom = ("agent", asker.agent, asker.user.key if asker.user else None)
    else:
        whom = ("point", asker.name, None)
    return orjson.dumps([*whom, about])


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode()


def _sealed(text: Any) -> bytes:
    if not isinstance(text, str) or len(text) > _MAX_TOKEN:
        raise ValueError
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError from error


def _moment(at_us: int) -> str:
    """RFC 3339."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds")
