"""Our own signing keys: made at the first start, sealed at rest, rotated without a failed call.

The next key is published from the start, so whoever caches the JWKS knows it before anything is signed with it; a
retired one stays until the last token it signed has expired. Agent cards are signed with keys of their own
(`cards.py`), of which a retired one stays for good: what it signed does not expire.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.access import MAX_LIFE_S
from accredit.identity.keys import SigningKey, VerifyingKey, agent_key, new_signing_key
from accredit.identity.tokens import SKEW_S
from accredit.kernel.canonical import canonical
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.kernel.ids import IdSource
from accredit.kernel.sealing import Sealer
from accredit.kernel.strictjson import parse_strict

__all__ = ["CARDS", "TOKENS", "KeyPurpose", "SigningKeys"]

_CURRENT: Final = "current"
_NEXT: Final = "next"
_RETIRED: Final = "retired"


@dataclass(frozen=True, slots=True)
class KeyPurpose:
    """What a set of keys signs. One key has one use."""

    kind: str
    """Of the rows that hold them."""
    sealed_as: str
    linger_us: int | None
    """How long a retired key is still published; None: for good."""


TOKENS: Final = KeyPurpose(rows.SIGNING_KEY, "identity/signing-keys", (MAX_LIFE_S + 2 * SKEW_S) * 1_000_000)
CARDS: Final = KeyPurpose(rows.CARD_KEY, "identity/card-keys", None)


class SigningKeys:
    """The keys that sign access tokens, or agent cards, and those that verify them."""

    def __init__(
        self, control: ControlLog, sealer: Sealer, *, clock: Clock, ids: IdSource, use: KeyPurpose = TOKENS
    ) -> None:
        self._use = use
        self._control = control
        self._sealer = sealer.derive(use.sealed_as)
        self._clock = clock
        self._ids = ids
        self._public: dict[str, tuple[VerifyingKey, str, int]] = {}
        self._current: SigningKey | None = None
        for row in control.view.scan(use.kind):
            self._fold(row.key, row.doc)
        control.subscribe(self._on_change)

    async def ensure(self, *, actor: Actor) -> None:
        """Make the first two keys if there are none."""
        current, following = self._new(), self._new()

        def build(view: StateView) -> Change | None:
            if next(view.scan(self._use.kind), None) is not None:
                return None
            now = self._clock.now()
            writes = (self._write(current, _CURRENT, now), self._write(following, _NEXT, now))
            return Change(
                Facts(f"{self._use.kind}.created"), writes, actor, {"current": current.kid, "next": following.kid}
            )

        await self._control.transact(build)

    async def rotate(self, *, actor: Actor) -> None:
        """Sign with the next key from now on, and publish another next one.

        Raises:
            UnavailableError: there is no next key.
        """
        fresh = self._new()

        def build(view: StateView) -> Change:
            now = self._clock.now()
            writes = [self._write(fresh, _NEXT, now)]
            used = ""
            for row in view.scan(self._use.kind):
                match row.doc["state"]:
                    case "next":
                        used = row.key
                        writes.append(Write(row.kind, row.key, {**row.doc, "state": _CURRENT, "since_us": now.wall_us}))
                    case "current":
                        # the private half is not kept once it has signed its last
                        retired = {**row.doc, "state": _RETIRED, "since_us": now.wall_us, "private": ""}
                        writes.append(Write(row.kind, row.key, retired))
                    case _ if self._use.linger_us is None:
                        continue
                    case _ if now.wall_us >= row.doc["since_us"] + self._use.linger_us:
                        writes.append(Write(row.kind, row.key, None))
            if not used:
                raise UnavailableError(Code.STATE_UNPROVEN, "there is no next signing key to rotate to")
            return Change(
                Facts(f"{self._use.kind}.rotated"), tuple(writes), actor, {"current": used, "next": fresh.kid}
            )

        await self._control.transact(build)

    def current(self) -> SigningKey:
        """The key to sign with.

        Raises:
            UnavailableError: none was made yet, or the sealing key is not the one it was sealed with.
        """
        if self._current is None:
            raise UnavailableError(Code.STATE_UNPROVEN, "there is no usable signing key", hint="run `accredit doctor`")
        return self._current

    def find(self, kid: str | None) -> VerifyingKey | None:
        """The key that tokens with exactly this `kid` verify under, while it still may have live tokens."""
        found = self._public.get(kid) if kid is not None else None
        return found[0] if found is not None and self._lives(found, self._clock.now()) else None

    def jwks(self) -> dict[str, Any]:
        """The public keys, as published (RFC 7517 §5)."""
        return {
            "keys": [{**key.jwk, "alg": key.algorithm, "kid": kid, "use": "sig"} for kid, key in self.keys().items()]
        }

    def keys(self) -> dict[str, VerifyingKey]:
        """The public keys that count now, by `kid`."""
        now = self._clock.now()
        return {kid: key[0] for kid, key in sorted(self._public.items()) if self._lives(key, now)}

    def _lives(self, key: tuple[VerifyingKey, str, int], now: Instant) -> bool:
        _, state, since_us = key
        return state != _RETIRED or self._use.linger_us is None or now.wall_us < since_us + self._use.linger_us

    def _new(self) -> SigningKey:
        return new_signing_key(self._ids.new("key"))

    def _write(self, key: SigningKey, state: str, now: Instant) -> Write:
        sealed = self._sealer.seal(key.private_jwk(), belongs_to=self._belonging(key.kid))
        doc = {
            "jwk": dict(key.public().jwk),
            "private": b64encode(sealed).decode(),
            "since_us": now.wall_us,
            "state": state,
        }
        return Write(self._use.kind, key.kid, doc)

    def _on_change(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == self._use.kind:
                self._fold(write.key, write.doc)

    def _fold(self, kid: str, doc: Mapping[str, Any] | None) -> None:
        if doc is None:
            self._public.pop(kid, None)
            return
        self._public[kid] = (agent_key(dict(doc["jwk"]), kid=kid), doc["state"], doc["since_us"])
        if doc["state"] == _CURRENT:
            self._current = self._opened(kid, doc)

    def _opened(self, kid: str, doc: Mapping[str, Any]) -> SigningKey | None:
        try:
            private = self._sealer.open(b64decode(doc["private"]), belongs_to=self._belonging(kid))
            key = SigningKey(kid, ECKey.import_key(parse_strict(private, max_bytes=1024)))
        except (AccreditError, JoseError, ValueError):
            return None  # whoever asks for it is told; verifying goes on
        return key if key.public().thumbprint == agent_key(dict(doc["jwk"])).thumbprint else None

    def _belonging(self, kid: str) -> bytes:
        return canonical({"kid": kid, "kind": self._use.kind})
