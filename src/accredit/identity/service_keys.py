"""Secrets of services that are registered here: shown once, kept as a hash, several alive so that one can be changed.

One such key is 256 random bits with a prefix that says whose kind it is. Whatever is revoked stays so.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.audit.model import Facts, Part, Receipt
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.rows import secret_hash
from accredit.identity.tokens import MAX_TOKEN_BYTES, refused
from accredit.kernel.clock import BothClocks, Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.kernel.ids import IdSource

__all__ = ["KeyForm", "ServiceKey", "ServiceKeys"]

_MAX_DAYS: Final = 365
_MAX_ALIVE: Final = 5
_MAX_KEPT: Final = 20
"""Keys of one service that are remembered, ended ones among them: the oldest of these go first."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """One key of a service. The secret is set only where it was just made."""

    id: str
    service: str
    """Its name."""
    issued_us: int
    expires_us: int
    revoked: bool
    by: str | None = None
    """Whoever made it, where that matters."""
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class KeyForm:
    """How keys of one kind of service are kept and told."""

    row: str
    """The kind of the keys' rows."""
    about: str
    """What the service is called in rows and records."""
    words: str
    """The same in plain words."""
    prefix: str
    """Of a secret."""
    id_prefix: str
    keeps_maker: bool = False
    """Whether it matters who made one."""


class ServiceKeys:
    """Every key of one kind, as of now. `counts` raises NotFoundError for whoever is not registered (any more)."""

    def __init__(
        self,
        control: ControlLog,
        form: KeyForm,
        *,
        counts: Callable[[StateView, str], object],
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._control = control
        self._form = form
        self._counts = counts
        self._clock = clock
        self._ids = ids
        self._clocks = BothClocks(clock.now())
        self._keys: dict[str, ServiceKey] = {}
        for row in control.view.scan(form.row):
            self._fold(row.key, row.doc)
        control.subscribe(self._follow)

    def all(self, service: str) -> tuple[ServiceKey, ...]:
        """The keys of a service, oldest first."""
        found = [key for key in self._keys.values() if key.service == service]
        return tuple(sorted(found, key=lambda key: (key.issued_us, key.id)))

    def recognised(self, secret: str) -> tuple[str, ServiceKey]:
        """Whose secret that is, and under which hash it is found. From memory.

        Raises:
            UnauthenticatedError: unknown, expired or revoked, with a constant message.
        """
        if len(secret) > MAX_TOKEN_BYTES:
            raise refused(Code.TOKEN_OVERSIZED, f"{len(secret)} characters")
        hashed = secret_hash(secret)
        return hashed, self.found(hashed)

    def found(self, hashed: str) -> ServiceKey:
        """The key of that hash, if it still counts. Raises as `recognised`."""
        key = self._keys.get(hashed)
        if key is None:
            raise refused(Code.API_TOKEN_UNKNOWN, f"no such key of {self._form.words}")
        if (self._form.row, hashed) in self._control.unproven:
            raise refused(Code.STATE_UNPROVEN, key.service, credential=key.id)
        if key.revoked:
            raise refused(Code.CREDENTIAL_REVOKED, key.service, credential=key.id)
        if self._ended(key, self._clock.now()):
            raise refused(Code.TOKEN_EXPIRED, key.service, credential=key.id)
        return key

    async def issue(self, service: str, *, days: int, actor: Actor) -> ServiceKey:
        """Make a key; its secret is in the answer and nowhere else.

        Raises:
            NotFoundError: the service is not registered, or was revoked.
            InvalidInputError: its life is too long or none.
            ConflictError: too many are alive.
        """
        if not 1 <= days <= _MAX_DAYS:
            raise InvalidInputError(Code.BODY_MALFORMED, f"a key lives 1 to {_MAX_DAYS} days")
        form = self._form
        secret = form.prefix + urlsafe_b64encode(self._ids.secret(32)).rstrip(b"=").decode()
        made: list[ServiceKey] = []

        def build(view: StateView) -> Change:
            self._counts(view, service)
            now = self._clock.now()
            known = [(at, key) for at, key in self._keys.items() if key.service == service]
            if sum(not key.revoked and not self._ended(key, now) for _, key in known) >= _MAX_ALIVE:
                raise ConflictError(Code.CONFLICT, f"{_MAX_ALIVE} keys are alive already", hint="revoke some")
            over = sorted((key.issued_us, at) for at, key in known if key.revoked or self._ended(key, now))[
                : max(0, len(known) - _MAX_KEPT + 1)
            ]
            expires_us = now.wall_us + days * 86_400_000_000
            maker = actor.person if form.keeps_maker else None
            key = ServiceKey(
                self._ids.new(form.id_prefix), service, now.wall_us, expires_us, revoked=False, by=maker, secret=secret
            )
            made.append(key)
            return Change(
                Facts(f"{form.row}.issued"),
                (Write(form.row, secret_hash(secret), self._doc(key)), *(Write(form.row, at, None) for _, at in over)),
                actor,
                {form.about: service, "expires_us": expires_us, "key": key.id},
            )

        await self._control.transact(build)
        return made[-1]

    async def revoke(self, service: str, key_id: str, *, actor: Actor, reason: str = "") -> Receipt | None:
        """End one key.

        Raises:
            NotFoundError: that service has no such key.
        """
        form = self._form

        def build(view: StateView) -> Change | None:
            for row in view.scan(form.row):
                if row.doc["id"] == key_id and row.doc[self._named] == service:
                    if row.doc["revoked"]:
                        return None
                    write = Write(form.row, row.key, {**row.doc, "revoked": True})
                    parts = (Part("text", {"reason": reason[:2000]}),) if reason else ()
                    body = {form.about: service, "key": key_id}
                    return Change(Facts(f"{form.row}.revoked"), (write,), actor, body, parts, narrowing=True)
            raise NotFoundError(Code.NOT_FOUND, f"`{service[:80]}` has no key `{key_id[:80]}`")

        return await self._control.transact(build)

    @property
    def _named(self) -> str:
        """The field of a row that names the service."""
        return self._form.about.rpartition("_")[2]

    def _doc(self, key: ServiceKey) -> dict[str, Any]:
        doc = {
            "expires_us": key.expires_us,
            "id": key.id,
            "issued_us": key.issued_us,
            self._named: key.service,
            "revoked": key.revoked,
        }
        return {**doc, "by": key.by} if self._form.keeps_maker else doc

    def _ended(self, key: ServiceKey, now: Instant) -> bool:
        return self._clocks.passed(key.expires_us, now)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == self._form.row:
                self._fold(write.key, write.doc)

    def _fold(self, key: str, doc: Mapping[str, Any] | None) -> None:
        self._keys.pop(key, None)
        if doc is not None:
            self._keys[key] = ServiceKey(
                doc["id"],
                doc[self._named],
                doc["issued_us"],
                doc["expires_us"],
                revoked=doc["revoked"],
                by=doc.get("by"),
            )
