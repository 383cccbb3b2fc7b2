"""Sessions of the older protocol era, without a table: the id we hand out is the session, sealed to its owner.

So any replica serves it and none has to remember it. A session grants nothing: every request proves its caller anew.
"""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from dataclasses import dataclass

import orjson

from accredit.identity.model import Principal
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.kernel.ids import IdSource, ServerName
from accredit.kernel.sealing import Sealer

__all__ = ["ClientSession", "SealedSessions"]

_LIFETIME_S = 24 * 3600
_MAX_TEXT = 256
_NONCE = 16
_MODES = {"form": 1, "url": 2}
_ENDED = 10_000


@dataclass(frozen=True, slots=True)
class ClientSession:
    """What a session id says to those who can open it."""

    nonce: bytes
    begun_s: int
    modes: frozenset[str] = frozenset()
    """How its user may be asked for something (elicitation)."""


class SealedSessions:
    """Issues and opens session ids, each bound to one credential of one agent and one endpoint."""

    def __init__(self, sealer: Sealer, clock: Clock, ids: IdSource) -> None:
        self._sealer = sealer.derive("mcp-session")
        self._clock = clock
        self._ids = ids
        # Ended here, so not served here again. Another replica may until the id expires, which harms nobody: the
        # session carries no right of its own.
        self._ended: OrderedDict[bytes, None] = OrderedDict()

    @staticmethod
    def _owner(principal: Principal, server: ServerName | None) -> bytes:
        return orjson.dumps([server, principal.agent, principal.credential])

    def issue(self, principal: Principal, server: ServerName | None, modes: frozenset[str] = frozenset()) -> str:
        """A new session id for this credential at this server; None: at `/mcp`, which is none of them."""
        said = sum(bit for mode, bit in _MODES.items() if mode in modes)
        content = self._clock.now().wall_s.to_bytes(8) + self._ids.secret(_NONCE) + bytes((said,))
        sealed = self._sealer.seal(content, belongs_to=self._owner(principal, server))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, text: str, principal: Principal, server: ServerName | None) -> ClientSession:
        """The session behind an id.

        Raises:
            NotFoundError: never issued, issued to somebody else or at another endpoint, ended, or too old.
        """
        unknown = NotFoundError(
            Code.SESSION_UNKNOWN, Code.SESSION_UNKNOWN.meaning, hint="send `initialize` to begin a new session"
        )
        if len(text) > _MAX_TEXT or not text.isascii():
            raise unknown
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            content = self._sealer.open(sealed, belongs_to=self._owner(principal, server))
        except (binascii.Error, InvalidInputError) as error:
            raise unknown from error
        said = content[8 + _NONCE :]
        modes = frozenset(mode for mode, bit in _MODES.items() if said and said[0] & bit)
        session = ClientSession(content[8 : 8 + _NONCE], int.from_bytes(content[:8]), modes)
        if session.nonce in self._ended or self._clock.now().wall_s - session.begun_s > _LIFETIME_S:
            raise unknown
        return session

    def end(self, session: ClientSession) -> None:
        """Serve this session no longer."""
        self._ended[session.nonce] = None
        if len(self._ended) > _ENDED:
            self._ended.popitem(last=False)
