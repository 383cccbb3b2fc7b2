"""Errors as RFC 9457 problem documents. An error nobody mapped is an internal error and keeps its text inside."""

from __future__ import annotations

import logging
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnauthenticatedError

__all__ = ["Json", "problem", "problem_of", "unexpected"]

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


async def problem_of(_: Request, error: Exception) -> Response:
    """The answer to an error the product raised on purpose."""
    assert isinstance(error, AccreditError)  # noqa: S101 - registered for these alone
    if isinstance(error, UnauthenticatedError):
        # one constant text: what exactly was wrong is for the record, not for whoever is guessing
        return problem(401, Code.UNAUTHENTICATED, "the credential was not accepted", "run `accredit login LINK`")
    findings = [str(each) for each in getattr(error, "findings", ()) or getattr(error, "faults", ())]
    more = {"errors": findings} if findings else {}
    return problem(error.status, error.code, error.message, error.hint, exit_code=error.exit_code, **more)


async def unexpected(_: Request, error: Exception) -> Response:
    """The answer to a mistake of ours."""
    _log.error("unhandled error", exc_info=error)
    return problem(500, Code.INTERNAL, "internal error")
