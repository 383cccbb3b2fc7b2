"""What a client carries between asking and coming back: where its call stands, sealed.

Bound to agent, user and request and expiring (DESIGN §3.11). It proves nothing and grants nothing: that a hold is used
once, and that a state leads to one call at most, are rows in a store and not the seal. A tool server judges for itself
what is brought back of its own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from accredit.kernel.canonical import Digest, digest
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, HoldId
from accredit.kernel.sealing import Sealer

__all__ = ["CarriedState", "open_state", "seal_state"]

_MAX_TEXT = 64 * 1024


@dataclass(frozen=True, slots=True)
class CarriedState:
    """Where a call stands that was answered with a question."""

    hold: HoldId | None = None
    """Waits for a person."""
    asked: tuple[str, ...] = ()
    """The names of what its tool server asked for."""
    state: str | None = None
    """The tool server's own state."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What was answered to the tool server, while a person has to let that through."""
    open: str | None = None
    """The call that its tool server goes on with (`opencalls.py`)."""
    name: str | None = None
    """Of a state that was brought back: known again however it is spelled."""
    expires_us: int = 0


def seal_state(
    sealer: Sealer, carried: CarriedState, *, agent: AgentId, user: str | None, request: Digest, expires_us: int
) -> str:
    """A text for the client to bring back, which tells it nothing. `user` is the verified user's key."""
    content = [carried.hold, expires_us, carried.asked, carried.state, carried.answers, carried.open]
    sealed = sealer.seal(orjson.dumps(content), belongs_to=_belonging(agent, user, request))
    return base64.urlsafe_b64encode(sealed).decode()


def open_state(
    sealer: Sealer, text: str, *, agent: AgentId, user: str | None, request: Digest, now: Instant
) -> CarriedState | Code:
    """What a state says; `hold_unknown` for all that was not sealed for these three, `hold_expired`."""
    if len(text) > _MAX_TEXT:
        return Code.HOLD_UNKNOWN
    try:
        sealed = base64.b64decode(text, altchars=b"-_", validate=True)
        content = orjson.loads(sealer.open(sealed, belongs_to=_belonging(agent, user, request)))
        hold, expires_us, asked, state, answers, open_ = content
    except (binascii.Error, ValueError, InvalidInputError):
        return Code.HOLD_UNKNOWN
    if now.wall_us >= expires_us:
        return Code.HOLD_EXPIRED
    name = digest("carried-state", sealed)
    own = HoldId(hold) if hold is not None else None
    return CarriedState(own, tuple(asked), state, answers, open_, name, expires_us)


def _belonging(agent: AgentId, user: str | None, request: Digest) -> bytes:
    return orjson.dumps(["hold-state", agent, user, request])
