"""Which of people's credentials count right now, and what their holders' acts rest on. From memory, on every use.

Nothing that happened to a credential, or to the person behind it, has to be carried out on it: a person who left is
refused because they left, whether or not somebody ended their tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from accredit.identity import rows
from accredit.identity.model import ApiToken, Operator, TokenKind
from accredit.identity.state import IdentityState
from accredit.kernel.clearance import Basis
from accredit.kernel.clock import BothClocks, Instant
from accredit.kernel.codes import Code
from accredit.kernel.ids import PersonId
from accredit.registry.model import Role
from accredit.registry.organisation import Organisation

__all__ = ["Recognition"]

_IDLE_US: Final = 30 * 60_000_000


class Recognition:
    """Judges tokens and sessions; `key` is the hash of a secret throughout."""

    def __init__(self, state: IdentityState, organisation: Callable[[], Organisation], *, began: Instant) -> None:
        """`began` is when this process did."""
        self._state = state
        self._organisation = organisation
        self._clocks = BothClocks(began)
        self._used: dict[str, Instant] = {}

    # -- credentials

    def refusal(self, key: str, token: ApiToken, now: Instant) -> Code | None:
        """Why that token or session does not count now; None if it does."""
        if token.revoked:
            return Code.CREDENTIAL_REVOKED
        session = token.kind is TokenKind.SESSION
        if self.passed(token.expires_us, now) or (session and self.idle(key, token, now)):
            return Code.TOKEN_EXPIRED
        if not self._state.proven(rows.API_TOKEN, key):
            return Code.STATE_UNPROVEN
        if session and (known := self._organisation().people.get(token.person)) is not None and known.bot:
            return Code.NOT_AUTHORISED
        return self.person_refusal(token.person)

    def stands(self, operator: Operator, now: Instant) -> bool:
        """Whether the credential that an operator was recognised by counts still."""
        return any(
            token.id == operator.credential and token.person == operator.person
            for key, token in self._state.keyed_api_tokens()
            if self.refusal(key, token, now) is None
        )

    def idle(self, key: str, session: ApiToken, now: Instant) -> bool:
        """Whether a session was not used for too long, by either clock."""
        used = self._used.get(key)
        if used is None:  # not since this process began
            return self.passed(max(session.used_us, session.issued_us) + _IDLE_US, now)
        return max(now.wall_us - used.wall_us, now.boot_us - used.boot_us) >= _IDLE_US

    def note_use(self, key: str, now: Instant) -> None:
        """A session was used."""
        self._used[key] = now

    def last_use_us(self, key: str) -> int | None:
        """When a session was last used since this process began."""
        found = self._used.get(key)
        return None if found is None else found.wall_us

    def forget_ended(self) -> None:
        """Keep in mind the use of sessions alone that have not ended."""
        for key in [key for key in self._used if (found := self._state.api_token(key)) is None or found.revoked]:
            del self._used[key]

    # -- their holders

    def person_refusal(self, person: PersonId) -> Code | None:
        """Why nothing of that person counts; None if they are there."""
        if not self._state.proven(rows.PERSON, person):
            return Code.STATE_UNPROVEN
        known = self._organisation().people.get(person)
        if known is None:
            return Code.CREDENTIAL_REVOKED
        return Code.PERSON_LEFT if known.left else None

    def is_admin(self, person: PersonId) -> bool:
        return bool(self._organisation().held(person, Role.ADMIN, None))

    def basis(self, person: PersonId) -> Basis:
        """What that person's acts rest on: alone, and the administrator, or else no more than their roles."""
        return Basis.SINGLE_ADMIN if self._state.bootstrapping and self.is_admin(person) else Basis.ROLES

    # -- time

    def passed(self, at_us: int, now: Instant) -> bool:
        """Whether a moment is over by the later of both clocks: a wall clock set back revives nothing."""
        return self._clocks.passed(at_us, now)

    def surely_us(self, now: Instant) -> int:
        """The present by the slower of both clocks: a wall clock that leaps ahead makes nothing long over."""
        return self._clocks.surely_us(now)
