"""Errors as RFC 9457 problem documents. An error nobody mapped is an internal error and keeps its text inside."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, AttemptsLimitedError, UnauthenticatedError

__all__ = ["Json", "problem", "problem_of", "refusal_of", "unexpected", "unrouted"]

_log = logging.getLogger("accredit.api")


class Json(Response):
    """A JSON answer that no cache keeps."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"cache-control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)


def problem(status: int, code: Code, detail: str, hint: str = "", **more: Any) -> Json:
    """A problem document (RFC 9457 §3.1); `code` is stable, `type` names it."""
    body = {
        "type": f"urn:accredit:code:{code}",
        "title": code.meaning,
        "status": status,
        "code": str(code),
        "detail": detail,
        **({"hint": hint} if hint else {}),
        **more,
    }
    answer = Json(body, status)
    answer.headers["content-type"] = "application/problem+json"
    if status == 401:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def refusal_of(error: AccreditError) -> Json:
    """The answer to an error the product raised on purpose."""
    if isinstance(error, UnauthenticatedError):
        # one constant text: what exactly was wrong is for the record, not for whoever is guessing
        return problem(401, Code.UNAUTHENTICATED, "the credential was not accepted", "run `accredit login LINK`")
    findings = [str(each) for each in getattr(error, "findings", ()) or getattr(error, "faults", ())]
    more = {"errors": findings} if findings else {}
    answer = problem(error.status, error.code, error.message, error.hint, exit_code=error.exit_code, **more)
    if isinstance(error, AttemptsLimitedError):
        answer.headers["retry-after"] = str(error.retry_after_s)
    return answer


async def problem_of(_: Request, error: Exception) -> Response:
    """`refusal_of` as a handler."""
    assert isinstance(error, AccreditError)  # noqa: S101 - registered for these alone
    return refusal_of(error)


async def unrouted(request: Request, error: Exception) -> Response:
    """The answer where no route takes this path or method."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for these alone
    if error.status_code == 405:
        answer = problem(405, Code.METHOD_UNKNOWN, f"this path does not take {request.method[:20]}")
        answer.headers["allow"] = ", ".join(_methods(request))
        return answer
    if error.status_code == 404:
        answer = problem(404, Code.NOT_FOUND, "there is no such path", "see /api/openapi.json")
    else:
        answer = problem(error.status_code, Code.BODY_MALFORMED, "the request cannot be read")
    answer.headers.update(error.headers or {})
    return answer


def _methods(request: Request) -> list[str]:
    """What a path takes: the framework names only the methods of the first route that has it."""
    return sorted({
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.path_regex.match(request.url.path)
        for method in route.methods or ()
    })  # fmt: skip


async def unexpected(_: Request, error: Exception) -> Response:
    """The answer to a mistake of ours."""
    _log.error("unhandled error", exc_info=error)
    return problem(500, Code.INTERNAL, "internal error")
