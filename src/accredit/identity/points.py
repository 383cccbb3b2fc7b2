"""Enforcement points: applications and gateways that ask us for decisions, each with a secret of its own.

What one may ask about is registered (`EnforcementPoint` manifests) by whoever may register issuers, since both let
somebody else's word count. Its secret is 256 random bits, shown once and kept as a hash; several can be alive, so that
it can be changed without a gap. Whatever is revoked stays so: the name is never used again.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.rows import ENFORCEMENT_KEY, secret_hash
from accredit.identity.tokens import MAX_TOKEN_BYTES, refused
from accredit.kernel.clock import BothClocks, Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError, UnauthenticatedError
from accredit.kernel.ids import IdSource
from accredit.registry.rows import ENFORCEMENT_POINT

__all__ = ["AskingPoint", "EnforcementPoints", "PointKey", "is_point_secret"]

_PREFIX: Final = "acce_"
_MAX_DAYS: Final = 365
_MAX_ALIVE: Final = 5
_MAX_KEPT: Final = 20
"""Keys of one point that are remembered, ended ones among them: the oldest of these go first."""


@dataclass(frozen=True, slots=True)
class AskingPoint:
    """A registered enforcement point, and the key it was recognised by."""

    name: str
    types: frozenset[str]
    """External types it may ask about."""
    servers: frozenset[str]
    """Names of tool servers whose tools it may ask about."""
    calls_per_minute: int
    reports: str | None = None
    """The environment of the agents whose use of tools and models it may report; None: of none."""
    revoked: bool = False
    key: str = ""
    """Id of the key; empty where nobody is asking."""
    hashed: str = field(default="", repr=False)
    """Under which that key is found."""


@dataclass(frozen=True, slots=True)
class PointKey:
    """One key of a point. The secret is set only where it was just made."""

    id: str
    point: str
    issued_us: int
    expires_us: int
    revoked: bool
    secret: str = field(default="", repr=False)


def is_point_secret(token: str) -> bool:
    """Whether a bearer token has the form of a point's secret rather than of an agent's token."""
    return token.startswith(_PREFIX)


class EnforcementPoints:
    """Every registered enforcement point and its keys, as of now."""

    def __init__(self, control: ControlLog, *, clock: Clock, ids: IdSource) -> None:
        self._control = control
        self._clock = clock
        self._ids = ids
        self._clocks = BothClocks(clock.now())
        self._points: dict[str, AskingPoint] = {}
        self._keys: dict[str, PointKey] = {}
        for kind in (ENFORCEMENT_POINT, ENFORCEMENT_KEY):
            for row in control.view.scan(kind):
                self._fold(row.kind, row.key, row.doc)
        control.subscribe(self._follow)

    def points(self) -> tuple[AskingPoint, ...]:
        """Every registration, revoked ones included, by name."""
        return tuple(point for _, point in sorted(self._points.items()))

    def keys(self, point: str) -> tuple[PointKey, ...]:
        """The keys of a point, oldest first."""
        found = [key for key in self._keys.values() if key.point == point]
        return tuple(sorted(found, key=lambda key: (key.issued_us, key.id)))

    def authenticate(self, secret: str) -> AskingPoint:
        """Whose secret that is. From memory; to be asked again after anything that takes time.

        Raises:
            UnauthenticatedError: unknown, expired or revoked, with a constant message.
        """
        if len(secret) > MAX_TOKEN_BYTES:
            raise refused(Code.TOKEN_OVERSIZED, f"{len(secret)} characters")
        return self._found(secret_hash(secret))

    def still_valid(self, asking: AskingPoint) -> bool:
        """Whether who was authenticated a moment ago still counts."""
        try:
            return self._found(asking.hashed).key == asking.key
        except UnauthenticatedError:
            return False

    def _found(self, hashed: str) -> AskingPoint:
        key = self._keys.get(hashed)
        if key is None:
            raise refused(Code.API_TOKEN_UNKNOWN, "no such key of an enforcement point")
        point = self._points.get(key.point)
        if not {(ENFORCEMENT_POINT, key.point), (ENFORCEMENT_KEY, hashed)}.isdisjoint(self._control.unproven):
            raise refused(Code.STATE_UNPROVEN, key.point, credential=key.id)
        if key.revoked or point is None or point.revoked:
            raise refused(Code.CREDENTIAL_REVOKED, key.point, credential=key.id)
        if self._ended(key, self._clock.now()):
            raise refused(Code.TOKEN_EXPIRED, key.point, credential=key.id)
        return replace(point, key=key.id, hashed=hashed)

    async def issue_key(self, point: str, *, days: int, actor: Actor) -> PointKey:
        """Make a key; its secret is in the answer and nowhere else.

        Raises:
            NotFoundError: no such point, or it was revoked.
            InvalidInputError: its life is too long or none.
            ConflictError: too many are alive.
        """
        if not 1 <= days <= _MAX_DAYS:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a key lives 1 to {_MAX_DAYS} days")
        secret = _PREFIX + urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()
        made: list[PointKey] = []

        def build(view: StateView) -> Change:
            row = view.get(ENFORCEMENT_POINT, point)
            if row is None or row.doc.get("revoked"):
                raise NotFoundError(Code.NOT_FOUND, f"there is no enforcement point `{point[:80]}`")
            now = self._clock.now()
            known = [(at, key) for at, key in self._keys.items() if key.point == point]
            if sum(not key.revoked and not self._ended(key, now) for _, key in known) >= _MAX_ALIVE:
                raise ConflictError(Code.CONFLICT, f"{_MAX_ALIVE} keys are alive already", hint="revoke some")
            over = sorted((key.issued_us, at) for at, key in known if key.revoked or self._ended(key, now))[
                : max(0, len(known) - _MAX_KEPT + 1)
            ]
            expires_us = now.wall_us + days * 86_400_000_000
            key = PointKey(self._ids.new("pky"), point, now.wall_us, expires_us, revoked=False, secret=secret)
            made.append(key)
            return Change(
                Facts("enforcement_key.issued"),
                (
                    Write(ENFORCEMENT_KEY, secret_hash(secret), _doc(key)),
                    *(Write(ENFORCEMENT_KEY, at, None) for _, at in over),
                ),
                actor,
                {"enforcement_point": point, "expires_us": expires_us, "key": key.id},
            )

        await self._control.transact(build)
        return made[-1]

    async def revoke_key(self, point: str, key_id: str, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End one key.

        Raises:
            NotFoundError: that point has no such key.
        """

        def build(view: StateView) -> Change | None:
            for row in view.scan(ENFORCEMENT_KEY):
                if row.doc["id"] == key_id and row.doc["point"] == point:
                    if row.doc["revoked"]:
                        return None
                    write = Write(ENFORCEMENT_KEY, row.key, {**row.doc, "revoked": True})
                    body = {"enforcement_point": point, "key": key_id}
                    return _narrowing("enforcement_key.revoked", write, actor, body, reason)
            raise NotFoundError(Code.NOT_FOUND, f"`{point[:80]}` has no key `{key_id[:80]}`")

        return await self._control.transact(build)

    async def revoke(self, point: str, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End a point and with it every key it has.

        Raises:
            NotFoundError: no such point.
        """

        def build(view: StateView) -> Change | None:
            row = view.get(ENFORCEMENT_POINT, point)
            if row is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no enforcement point `{point[:80]}`")
            if row.doc.get("revoked"):
                return None
            write = Write(ENFORCEMENT_POINT, point, {**row.doc, "revoked": True})
            return _narrowing("enforcement_point.revoked", write, actor, {"enforcement_point": point}, reason)

        return await self._control.transact(build)

    def _ended(self, key: PointKey, now: Instant) -> bool:
        return self._clocks.passed(key.expires_us, now)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            self._fold(write.kind, write.key, write.doc)

    def _fold(self, kind: str, key: str, doc: Mapping[str, Any] | None) -> None:
        if kind == ENFORCEMENT_POINT:
            self._points.pop(key, None)
            if doc is not None:
                types, servers = frozenset(doc["types"]), frozenset(doc["servers"])
                self._points[key] = AskingPoint(
                    key,
                    types,
                    servers,
                    doc["calls_per_minute"],
                    doc.get("reports"),
                    revoked=bool(doc.get("revoked")),
                )
        elif kind == ENFORCEMENT_KEY:
            self._keys.pop(key, None)
            if doc is not None:
                self._keys[key] = PointKey(
                    doc["id"], doc["point"], doc["issued_us"], doc["expires_us"], revoked=doc["revoked"]
                )


def _doc(key: PointKey) -> dict[str, Any]:
    return {
        "expires_us": key.expires_us,
        "id": key.id,
        "issued_us": key.issued_us,
        "point": key.point,
        "revoked": key.revoked,
    }


def _narrowing(kind: str, write: Write, actor: Actor, body: Mapping[str, Any], reason: str) -> Change:
    parts = (Part("text", {"reason": reason[:2000]}),) if reason else ()
    return Change(Facts(kind), (write,), actor, body, parts, narrowing=True)
