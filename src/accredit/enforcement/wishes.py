"""What an agent's users asked for, as its own requests to models tell: `user_declared` in `policy/origins.py`. No I/O.

The agent vouches for it, nobody else, so it is the weaker of the two words of a user. It is kept by credential, user
and task, and so speaks for no other instance and no other session; bounded, for an hour, and gone with the process.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final

from accredit.enforcement.sessions import SessionKey
from accredit.kernel.ids import CredentialId

__all__ = ["Wishes"]

_KEYS: Final = 2_048
_TEXTS: Final = 8
_MOST_TEXT: Final = 8_192
"""Characters of one request that are kept, the newest."""
_LASTS_US: Final = 3_600_000_000
_Key = tuple[CredentialId, SessionKey]


class Wishes:
    """The newest requests of users, by who passed them on."""

    def __init__(self) -> None:
        self._told: OrderedDict[_Key, deque[tuple[int, str]]] = OrderedDict()

    def told(self, credential: CredentialId, session: SessionKey, text: str, boot_us: int) -> None:
        """A model was asked this by a user, says the agent."""
        if not text:
            return
        key = (credential, session)
        known = self._told.setdefault(key, deque(maxlen=_TEXTS))
        self._told.move_to_end(key)
        kept = text[-_MOST_TEXT:]
        if not known or known[-1][1] != kept:
            known.append((boot_us, kept))
        while len(self._told) > _KEYS:
            self._told.popitem(last=False)

    def of(self, credential: CredentialId, session: SessionKey, boot_us: int) -> Iterator[str]:
        """What was asked within the last hour."""
        return (text for at, text in self._told.get((credential, session), ()) if boot_us - at <= _LASTS_US)
