"""The state a client carries between asking and coming back: a hold's id, sealed.

Bound to agent, user and request and expiring (DESIGN §3.11). It proves nothing and grants nothing: single use is a row
in the store, not the seal.
"""

from __future__ import annotations

import base64
import binascii

import orjson

from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, HoldId
from accredit.kernel.sealing import Sealer

__all__ = ["open_state", "seal_state"]

_MAX_TEXT = 1024


def seal_state(
    sealer: Sealer, hold: HoldId, *, agent: AgentId, user: str | None, request: Digest, expires_us: int
) -> str:
    """A text for the client to bring back, which tells it nothing. `user` is the verified user's key."""
    sealed = sealer.seal(orjson.dumps([hold, expires_us]), belongs_to=_belonging(agent, user, request))
    return base64.urlsafe_b64encode(sealed).decode()


def open_state(
    sealer: Sealer, text: str, *, agent: AgentId, user: str | None, request: Digest, now: Instant
) -> HoldId | Code:
    """The hold a state names; `hold_unknown` for all that was not sealed for these three, `hold_expired`."""
    if len(text) > _MAX_TEXT:
        return Code.HOLD_UNKNOWN
    try:
        sealed = base64.b64decode(text, altchars=b"-_", validate=True)
        hold, expires_us = orjson.loads(sealer.open(sealed, belongs_to=_belonging(agent, user, request)))
    except (binascii.Error, ValueError, InvalidInputError):
        return Code.HOLD_UNKNOWN
    return Code.HOLD_EXPIRED if now.wall_us >= expires_us else HoldId(hold)


def _belonging(agent: AgentId, user: str | None, request: Digest) -> bytes:
    return orjson.dumps(["hold-state", agent, user, request])
