"""The two whose word about users and tickets counts in the sample fleet: a directory and a ticket desk."""

from __future__ import annotations

from typing import Any

from joserfc import jwk, jwt
from starlette.types import Receive, Scope, Send

from accredit.kernel.clock import Clock
from accredit.kernel.ids import IdSource

__all__ = ["Directory", "TicketDesk"]


class _Signer:
    """A key of its own and the claims every token has."""

    def __init__(self, url: str, kid: str, clock: Clock, ids: IdSource) -> None:
        self.url = url
        self._clock = clock
        self._ids = ids
        self._key = jwk.ECKey.generate_key("P-256", {"kid": kid, "alg": "ES256", "use": "sig"}, private=True)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public half, as registered with accredit."""
        return {"keys": [self._key.as_dict(private=False)]}

    def sign(self, typ: str, *, life_s: int, **claims: Any) -> str:
        now = self._clock.now().wall_s
        header = {"alg": "ES256", "typ": typ, "kid": self._key.kid}
        base = {"iss": self.url, "iat": now, "exp": now + life_s, "jti": self._ids.new("jti")}
        return jwt.encode(header, base | claims, self._key)


class Directory(_Signer):
    """The company's identity provider, as far as agents meet it."""

    def token_for(self, user: str, *, roles: list[str], audience: str) -> str:
        """What a signed-in user hands to an agent that acts for them."""
        return self.sign("at+jwt", life_s=900, sub=user, roles=roles, aud=audience)


class TicketDesk(_Signer):
    """The ticket system: says who works on which ticket, for which customer, and whether it is still open."""

    def __init__(self, url: str, kid: str, clock: Clock, ids: IdSource) -> None:
        super().__init__(url, kid, clock, ids)
        self._open: set[str] = set()

    def token_for(self, ticket: str, *, user: str, agent: str, customer: str, audience: str) -> str:
        """The signed task context of one ticket, for one agent working for one user."""
        self._open.add(ticket)
        return self.sign("task+jwt", life_s=600, sub=user, agent=agent, task=ticket, customer_id=customer, aud=audience)

    def close(self, ticket: str) -> None:
        self._open.discard(ticket)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """`GET /status/{ticket}` answers `{"open": bool}`."""
        if scope["type"] != "http":
            return  # a server takes a lifespan that ends at once for one that is not supported
        ticket = scope["path"].rpartition("/")[2]
        body = b'{"open":true}' if ticket in self._open else b'{"open":false}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
