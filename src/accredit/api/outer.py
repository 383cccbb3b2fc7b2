"""Everything outside `/api/v1`: enrolment and tokens for agents, metadata, the log's checkpoint and tiles, health.

These are small bare handlers: they are open to anybody who can reach the port, so each bounds what it reads.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from accredit.api.plane import ControlPlane
from accredit.api.problems import Json, problem, problem_of, unexpected
from accredit.audit.tiles import parse_tile_path, read_tile
from accredit.identity.metadata import authorization_server, protected_resource
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError

__all__ = ["outer_api"]

_MAX_BODY = 64 * 1024


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > _MAX_BODY:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"a body here has at most {_MAX_BODY} bytes")
    return bytes(found)


def _source(request: Request) -> str:
    return request.client.host if request.client else ""


def outer_api(plane: ControlPlane) -> Starlette:
    """The application that answers everything but `/api/v1` and `/mcp`."""

    async def enrol(request: Request) -> Response:
        return Json(await plane.enrolment.enrol_request(await _body(request), source=_source(request)), 201)

    async def token(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
            return problem(415, Code.BODY_MALFORMED, "a token request is form-encoded (RFC 6749 §4)")
        try:
            pairs = parse_qsl((await _body(request)).decode("ascii"), keep_blank_values=True, max_num_fields=32,
                              strict_parsing=True)  # fmt: skip
        except ValueError:
            return Json({"error": "invalid_request", "code": Code.BODY_MALFORMED.value}, 400)
        form = dict(pairs)
        if len(form) != len(pairs):  # RFC 6749 §3.2: parameters must not be included more than once
            return Json({"error": "invalid_request", "code": Code.BODY_DUPLICATE_KEYS.value}, 400)
        answer = await plane.tokens.token_request(form, _source(request))
        return Json(answer.body(), answer.status)

    async def jwks(_: Request) -> Response:
        return Json(plane.signing.jwks())

    async def server_metadata(_: Request) -> Response:
        return Json(authorization_server(plane.public_url))

    async def resource_metadata(request: Request) -> Response:
        path = request.path_params.get("path", "")
        return Json(protected_resource(plane.public_url, f"/{path}" if path else ""))

    async def checkpoint(_: Request) -> Response:
        newest = plane.log.latest_checkpoint()
        if newest is None:
            return problem(404, Code.NOT_FOUND, "no checkpoint has been published yet")
        return PlainTextResponse(newest, headers={"cache-control": "no-store"})

    async def tile(request: Request) -> Response:
        newest = plane.log.latest_checkpoint()
        if newest is None:
            return problem(404, Code.NOT_FOUND, "no checkpoint has been published yet")
        address = parse_tile_path(f"tile/{request.path_params['path']}")
        size = int(newest.split(b"\n", 2)[1])
        content = await asyncio.to_thread(read_tile, plane.records, address, size=size)
        return Response(content, media_type="application/octet-stream")

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        trouble = plane.ready()
        return PlainTextResponse(f"{trouble or 'ok'}\n", 503 if trouble else 200)

    return Starlette(
        routes=[
            Route("/enrol", enrol, methods=["POST"]),
            Route("/oauth/token", token, methods=["POST"]),
            Route("/oauth/jwks", jwks),
            Route("/.well-known/oauth-authorization-server", server_metadata),
            Route("/.well-known/oauth-protected-resource", resource_metadata),
            Route("/.well-known/oauth-protected-resource/{path:path}", resource_metadata),
            Route("/log/checkpoint", checkpoint),
            Route("/log/tile/{path:path}", tile),
            Route("/healthz", alive),
            Route("/readyz", ready),
        ],
        exception_handlers={AccreditError: problem_of, Exception: unexpected},
    )
