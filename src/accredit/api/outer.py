"""Everything outside `/api/v1`: enrolment and tokens for agents, metadata, the log, health, and directories (SCIM).

These are small bare handlers: they are open to anybody who can reach the port, so each bounds what it reads, and
whoever is refused an identity here leaves a record.
"""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from accredit.api.chats import callback_routes
from accredit.api.outer_body import read_body
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json, problem, problem_of, refusal_of, unexpected, unrouted
from accredit.api.scim import scim_routes
from accredit.audit.tiles import parse_tile_path, read_tile
from accredit.identity.cards import CARD_KEYS_PATH
from accredit.identity.endpoint import TokenRefusal, TokenReply
from accredit.identity.metadata import authorization_server, protected_resource
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, InvalidInputError, UnauthenticatedError

__all__ = ["outer_api"]

_MAX_BODY = 64 * 1024


def _source(request: Request) -> str:
    return request.client.host if request.client else ""


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _invalid_request(code: Code, description: str) -> TokenRefusal:
    return TokenRefusal(400, "invalid_request", description, code)


def outer_api(plane: ControlPlane) -> Starlette:
    """The application that answers everything but `/api/v1` and `/mcp`."""

    def turned_away(request: Request, code: Code, *, credential: str | None = None, cause: str = "") -> None:
        plane.enforcer.turned_away(
            code, path=request.url.path, source=_source(request), credential=credential, cause=cause
        )

    async def enrol(request: Request) -> Response:
        try:
            return Json(
                await plane.enrolment.enrol_request(await read_body(request, _MAX_BODY), source=_source(request)), 201
            )
        except UnauthenticatedError as error:
            turned_away(request, error.code, cause=error.cause)
            return problem(401, Code.UNAUTHENTICATED, "the join token was not accepted", "ask for a new join token")
        except AccreditError as error:
            turned_away(request, error.code, cause=error.cause)
            return refusal_of(error)

    async def token(request: Request) -> Response:
        answer = await answered(request)
        if isinstance(answer, TokenRefusal):
            turned_away(request, answer.code, credential=answer.credential, cause=answer.cause)
        return Json(answer.body(), answer.status, {"pragma": "no-cache"})  # RFC 6749 §5.1

    async def answered(request: Request) -> TokenReply | TokenRefusal:
        if _media_type(request) != "application/x-www-form-urlencoded":
            return _invalid_request(Code.BODY_MALFORMED, "a token request is form-encoded")
        try:
            text = (await read_body(request, _MAX_BODY)).decode("ascii")
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=32, strict_parsing=True)
        except ValueError:
            return _invalid_request(Code.BODY_MALFORMED, "the form cannot be read")
        except InvalidInputError as error:
            return _invalid_request(error.code, error.message)
        form = dict(pairs)
        if len(form) != len(pairs):  # RFC 6749 §3.2: parameters must not be included more than once
            return _invalid_request(Code.BODY_DUPLICATE_KEYS, "a parameter is repeated")
        return await plane.tokens.token_request(form, _source(request))

    async def jwks(_: Request) -> Response:
        return Json(plane.signing.jwks())

    async def card_jwks(_: Request) -> Response:
        return Json(plane.room.interchange.card_keys())

    async def server_metadata(_: Request) -> Response:
        return Json(authorization_server(plane.public_url))

    async def resource_metadata(request: Request) -> Response:
        path = request.path_params.get("path", "")
        try:
            return Json(protected_resource(plane.public_url, f"/{path}" if path else ""))
        except InvalidInputError as error:
            return problem(404, Code.NOT_FOUND, error.message)

    async def checkpoint(_: Request) -> Response:
        newest = plane.log.latest_checkpoint()
        if newest is None:
            return problem(404, Code.NOT_FOUND, "no checkpoint has been published yet")
        return PlainTextResponse(newest, headers={"cache-control": "no-store"})

    async def tile(request: Request) -> Response:
        newest = plane.log.latest_checkpoint()
        if newest is None:
            return problem(404, Code.NOT_FOUND, "no checkpoint has been published yet")
        address = parse_tile_path(request.path_params["path"])
        size = int(newest.split(b"\n", 2)[1])
        content = await asyncio.to_thread(read_tile, plane.records, address, size=size)
        return Response(content, media_type="application/octet-stream")

    async def metrics(request: Request) -> Response:
        # what an installation is used for is not for everybody who reaches the port: a token of somebody with a role
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            who = plane.people.authenticate_operator(token.strip() if scheme.lower() == "bearer" else "")
        except UnauthenticatedError as error:
            turned_away(request, error.code, cause=error.cause)
            raise
        if not plane.registry.organisation.roles_of(who.person):
            turned_away(request, Code.NOT_AUTHORISED, credential=who.credential)
            raise ForbiddenError(
                Code.NOT_AUTHORISED, "metrics are for whoever holds a role", hint="ask an administrator"
            )
        document, media_type = plane.metrics(request.headers.get("accept", ""))
        return Response(document, headers={"cache-control": "no-store", "content-type": media_type})

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        trouble = plane.ready()
        return PlainTextResponse(f"{trouble or 'ok'}\n", 503 if trouble else 200)

    app = Starlette(
        routes=[
            Route("/enrol", enrol, methods=["POST"]),
            Route("/oauth/token", token, methods=["POST"]),
            Route("/oauth/jwks", jwks),
            Route(CARD_KEYS_PATH, card_jwks),
            Route("/.well-known/oauth-authorization-server", server_metadata),
            Route("/.well-known/oauth-protected-resource", resource_metadata),
            Route("/.well-known/oauth-protected-resource/{path:path}", resource_metadata),
            Route("/log/checkpoint", checkpoint),
            Route("/log/tile/{path:path}", tile),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/metrics", metrics),
            *scim_routes(plane),
            *callback_routes(plane),
        ],
        exception_handlers={AccreditError: problem_of, HTTPException: unrouted, Exception: unexpected},
    )
    app.router.redirect_slashes = False
    return app
