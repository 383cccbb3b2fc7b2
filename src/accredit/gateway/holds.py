"""The state of a hold as a client carries it: names the hold, opens for its agent and user alone, and expires."""

from __future__ import annotations

import base64
import binascii

import orjson

from accredit.identity.model import Principal
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import HoldId
from accredit.kernel.sealing import Sealer

__all__ = ["SealedHoldStates"]

_MAX_TEXT = 1024


class SealedHoldStates:
    """`HoldStates` by authenticated encryption. The request a hold is for is the hold's own record, checked there."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer.derive("mcp-hold-state")
        self._clock = clock

    @staticmethod
    def _owner(principal: Principal) -> bytes:
        return orjson.dumps([principal.agent, principal.user.key if principal.user else None])

    def seal(self, hold: HoldId, principal: Principal, expires_us: int) -> str:
        """A text that names the hold to nobody but us."""
        sealed = self._sealer.seal(orjson.dumps([hold, expires_us]), belongs_to=self._owner(principal))
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, state: str, principal: Principal) -> HoldId:
        """The hold that a state names.

        Raises:
            InvalidInputError: `hold_unknown` for anything we did not seal for this agent and user, `hold_expired`.
        """
        if len(state) > _MAX_TEXT:
            raise InvalidInputError(Code.HOLD_UNKNOWN, Code.HOLD_UNKNOWN.meaning)
        try:
            sealed = base64.b64decode(state, altchars=b"-_", validate=True)
            hold, expires_us = orjson.loads(self._sealer.open(sealed, belongs_to=self._owner(principal)))
        except (binascii.Error, ValueError, InvalidInputError) as error:
            raise InvalidInputError(Code.HOLD_UNKNOWN, Code.HOLD_UNKNOWN.meaning) from error
        if self._clock.now().wall_us >= expires_us:
            raise InvalidInputError(Code.HOLD_EXPIRED, Code.HOLD_EXPIRED.meaning)
        return HoldId(hold)
