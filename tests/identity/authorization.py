"""An authorization server for tests, strict about everything a client may get wrong; nothing in it is ours.

In memory it is a `TokenPost`; `application()` is the same over HTTP, with a page where people consent.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from accredit.identity.upstreams import TokenForm

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass
class Client:
    """A registered client."""

    id: str
    method: str
    secret: str = ""
    key: ECKey | None = None
    grants: frozenset[str] = frozenset()
    redirect_uri: str = ""
    scope: str = "crm.read crm.write"


@dataclass
class AuthorizationServer:
    """Give it clients; it remembers what it was asked and what it gave."""

    issuer: str
    now_s: Callable[[], int]
    clients: dict[str, Client] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    given: list[str] = field(default_factory=list)
    """Access tokens, in order."""
    subjects: list[dict[str, Any]] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)
    """What its answers say besides, or instead."""
    failing: tuple[int, bytes] | None = None
    before: Callable[[], Coroutine[Any, Any, object]] | None = None
    life_s: int = 300
    word: Callable[[int], str] = lambda number: f"access-canary-{number:04d}-Zq8/x+y~w.v=="

    def __post_init__(self) -> None:
        self._count = itertools.count(1)
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh: dict[str, str] = {}
        self._spent: set[str] = set()
        self._jtis: set[str] = set()

    @property
    def token_endpoint(self) -> str:
        return f"{self.issuer}/token"

    async def __call__(self, form: TokenForm) -> tuple[int, bytes]:
        """As a `TokenPost`."""
        return await self.answer(form.url, dict(form.fields), {k.lower(): v for k, v in form.headers.items()})

    async def answer(self, url: str, fields: dict[str, str], headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.asked.append({**fields, "url": url, "authorization": headers.get("authorization", "")})
        if self.before is not None:
            await self.before()
        if self.failing is not None:
            return self.failing
        client = self._client(fields, headers)
        if client is None:
            # echoes what it was sent, as some do
            return 401, orjson.dumps({"error": "invalid_client", "error_description": f"{fields} {headers}"})
        if url == f"{self.issuer}/revoke":
            self.revoked.append(fields["token"])
            self._refresh.pop(fields["token"], None)
            return 200, b""
        if url != self.token_endpoint or fields.get("grant_type") not in client.grants:
            return 400, orjson.dumps({"error": "unauthorized_client"})
        if set(fields.get("scope", "").split()) - set(client.scope.split()):
            return 400, orjson.dumps({"error": "invalid_scope"})
        answer = {
            "client_credentials": lambda *_: {},
            _EXCHANGE: self._exchanged,
            "authorization_code": self._code,
            "refresh_token": self._refreshed,
        }[fields["grant_type"]](client, fields)
        if answer is None:
            return 400, orjson.dumps({"error": "invalid_grant", "error_description": str(fields)})
        token = self.word(next(self._count))
        self.given.append(token)
        reply = {"access_token": token, "token_type": "Bearer", "expires_in": self.life_s, **answer, **self.more}
        return 200, orjson.dumps({name: value for name, value in reply.items() if value is not None})

    def _client(self, fields: dict[str, str], headers: Mapping[str, str]) -> Client | None:
        scheme, _, pair = headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, secret = base64.b64decode(pair, validate=True).decode().partition(":")
            known = self.clients.get(unquote_plus(name))
            fits = known and known.method == "client_secret_basic" and unquote_plus(secret) == known.secret
            return known if fits and not {"client_id", "client_secret"} & set(fields) else None
        known = self.clients.get(fields.get("client_id", ""))
        if known is None:
            return None
        if "client_assertion" in fields:
            return known if known.method == "private_key_jwt" and self._asserted(known, fields) else None
        if known.method == "none":
            return known if "client_secret" not in fields else None
        return known if known.method == "client_secret_post" and fields.get("client_secret") == known.secret else None

    def _asserted(self, client: Client, fields: dict[str, str]) -> bool:
        claims = self._signed(client, fields["client_assertion"])
        if claims is None or fields.get("client_assertion_type") != _ASSERTION:
            return False
        return claims.get("iss") == claims.get("sub") == client.id

    def _signed(self, client: Client, token: str) -> dict[str, Any] | None:
        assert client.key is not None
        try:
            claims = jwt.decode(token, client.key, algorithms=["ES256"]).claims
        except (JoseError, ValueError):
            return None
        now = self.now_s()
        fresh = claims.get("jti") not in self._jtis and now - 60 <= claims.get("iat", 0) <= now < claims.get("exp", 0)
        self._jtis.add(claims.get("jti", ""))
        return claims if fresh and claims.get("aud") in {self.issuer, self.token_endpoint} else None

    def _exchanged(self, client: Client, fields: dict[str, str]) -> dict[str, Any] | None:
        claims = self._signed(client, fields.get("subject_token", ""))
        if claims is None or fields.get("subject_token_type") != "urn:ietf:params:oauth:token-type:jwt":
            return None
        self.subjects.append(claims)
        return {"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}

    # -- people

    def consent(self, query: Mapping[str, str], *, user: str) -> str:
        """What a consenting user's browser is sent back to."""
        client = self.clients[query["client_id"]]
        assert query["response_type"] == "code"
        assert query["redirect_uri"] == client.redirect_uri
        assert query["code_challenge_method"] == "S256"
        assert len(query["code_challenge"]) == 43
        assert len(query["state"]) >= 32
        code = f"code-{next(self._count)}-{user}"
        self._codes[code] = {"challenge": query["code_challenge"], "client": client.id, "uri": query["redirect_uri"]}
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state'], 'iss': self.issuer})}"

    def _code(self, client: Client, fields: dict[str, str]) -> dict[str, Any] | None:
        known = self._codes.pop(fields.get("code", ""), None)
        digest = hashlib.sha256(fields.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if known != {"challenge": challenge, "client": client.id, "uri": fields.get("redirect_uri")}:
            return None
        return {"refresh_token": self._new_refresh(client)}

    def _new_refresh(self, client: Client) -> str:
        token = f"refresh-canary-{next(self._count):04d}"
        self._refresh[token] = client.id
        return token

    def _refreshed(self, client: Client, fields: dict[str, str]) -> dict[str, Any] | None:
        token = fields.get("refresh_token", "")
        if token in self._spent:  # RFC 9700 §4.14.2: whoever shows a spent one ends them all
            self._refresh.clear()
            return None
        if self._refresh.pop(token, None) != client.id:
            return None
        self._spent.add(token)
        return {"refresh_token": self._new_refresh(client)}

    # -- over HTTP

    def application(self) -> Starlette:
        async def token(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0]
            assert kind == "application/x-www-form-urlencoded"
            pairs = parse_qsl((await request.body()).decode(), strict_parsing=True)
            assert len(dict(pairs)) == len(pairs)
            url = f"{self.issuer}{request.url.path}"
            status, body = await self.answer(url, dict(pairs), dict(request.headers))
            return Response(body, status, media_type="application/json")

        async def authorize(request: Request) -> Response:
            return RedirectResponse(self.consent(dict(request.query_params), user="dana"), 302)

        routes = [Route("/token", token, methods=["POST"]), Route("/revoke", token, methods=["POST"])]
        return Starlette(routes=[*routes, Route("/authorize", authorize)])


async def never() -> None:
    """A server that hangs."""
    await asyncio.Event().wait()
