"""Enforcement points: applications and gateways that ask us for decisions, each with a secret of its own.

What one may ask about is registered (`EnforcementPoint` manifests) by whoever may register issuers, since both let
somebody else's word count. Whatever is revoked stays so: the name is never used again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.rows import ENFORCEMENT_KEY
from accredit.identity.service_keys import KeyForm, ServiceKey, ServiceKeys
from accredit.identity.tokens import refused
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError, UnauthenticatedError
from accredit.kernel.ids import IdSource
from accredit.registry.rows import ENFORCEMENT_POINT

__all__ = ["AskingPoint", "EnforcementPoints", "is_point_secret"]

_PREFIX: Final = "acce_"
_KEYS: Final = KeyForm(ENFORCEMENT_KEY, "enforcement_point", "an enforcement point", _PREFIX, "pky")


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


def is_point_secret(token: str) -> bool:
    """Whether a bearer token has the form of a point's secret rather than of an agent's token."""
    return token.startswith(_PREFIX)


class EnforcementPoints:
    """Every registered enforcement point and its keys, as of now."""

    def __init__(self, control: ControlLog, *, clock: Clock, ids: IdSource) -> None:
        self._control = control
        self._keys = ServiceKeys(control, _KEYS, counts=_require_registered, clock=clock, ids=ids)
        self._points: dict[str, AskingPoint] = {}
        for row in control.view.scan(ENFORCEMENT_POINT):
            self._fold(row.key, row.doc)
        control.subscribe(self._follow)

    def points(self) -> tuple[AskingPoint, ...]:
        """Every registration, revoked ones included, by name."""
        return tuple(point for _, point in sorted(self._points.items()))

    def keys(self, point: str) -> tuple[ServiceKey, ...]:
        """The keys of a point, oldest first."""
        return self._keys.all(point)

    def authenticate(self, secret: str) -> AskingPoint:
        """Whose secret that is. From memory; to be asked again after anything that takes time.

        Raises:
            UnauthenticatedError: unknown, expired or revoked, with a constant message.
        """
        hashed, key = self._keys.recognised(secret)
        return self._point_of(hashed, key)

    def still_valid(self, asking: AskingPoint) -> bool:
        """Whether who was authenticated a moment ago still counts."""
        try:
            key = self._keys.found(asking.hashed)
            return self._point_of(asking.hashed, key).key == asking.key
        except UnauthenticatedError:
            return False

    def _point_of(self, hashed: str, key: ServiceKey) -> AskingPoint:
        point = self._points.get(key.service)
        if (ENFORCEMENT_POINT, key.service) in self._control.unproven:
            raise refused(Code.STATE_UNPROVEN, key.service, credential=key.id)
        if point is None or point.revoked:
            raise refused(Code.CREDENTIAL_REVOKED, key.service, credential=key.id)
        return replace(point, key=key.id, hashed=hashed)

    async def issue_key(self, point: str, *, days: int, actor: Actor) -> ServiceKey:
        """Make a key; its secret is in the answer and nowhere else. Raises as `ServiceKeys.issue`."""
        return await self._keys.issue(point, days=days, actor=actor)

    async def revoke_key(self, point: str, key_id: str, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End one key. Raises as `ServiceKeys.revoke`."""
        return await self._keys.revoke(point, key_id, actor=actor, reason=reason)

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
            parts = (Part("text", {"reason": reason[:2000]}),) if reason else ()
            body = {"enforcement_point": point}
            return Change(Facts("enforcement_point.revoked"), (write,), actor, body, parts, narrowing=True)

        return await self._control.transact(build)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == ENFORCEMENT_POINT:
                self._fold(write.key, write.doc)

    def _fold(self, key: str, doc: Mapping[str, Any] | None) -> None:
        self._points.pop(key, None)
        if doc is not None:
            types, servers = frozenset(doc["types"]), frozenset(doc["servers"])
            self._points[key] = AskingPoint(
                key, types, servers, doc["calls_per_minute"], doc.get("reports"), revoked=bool(doc.get("revoked"))
            )


def _require_registered(view: StateView, point: str) -> None:
    row = view.get(ENFORCEMENT_POINT, point)
    if row is None or row.doc.get("revoked"):
        raise NotFoundError(Code.NOT_FOUND, f"there is no enforcement point `{point[:80]}`")
