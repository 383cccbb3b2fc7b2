"""The sessions of a baseline as bytes: what is kept of them, and the digest that proves it.

The digest covers the encoding before compression, which is the same for the same sessions: MessagePack with the names
of every mapping in order, numbers as they are.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import msgspec

from accredit.kernel.canonical import Digest, digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["MOST_SESSIONS", "fitted_bytes", "fitted_digest", "fitted_from", "measured_views", "trimmed"]

MOST_SESSIONS: Final = 200
"""Sessions of one baseline."""
_MOST_CALLS: Final = 6_000
"""Calls of one baseline: with so many in few sessions, later ones of each session are left off."""
_MOST_BYTES: Final = 64 * 1024 * 1024
_DOMAIN: Final = "fitted-sessions"
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic", enc_hook=dict)
_DECODER: Final = msgspec.msgpack.Decoder(tuple[SessionProfile, ...])


def trimmed(sessions: Sequence[SessionProfile]) -> tuple[SessionProfile, ...]:
    """Sessions as a baseline has them: at most so many, and of very long ones the first calls. Features stay whole."""
    chosen = tuple(sessions)[-MOST_SESSIONS:]
    most = max(1, _MOST_CALLS // max(1, len(chosen)))
    if sum(len(one.calls) for one in chosen) <= _MOST_CALLS:
        return chosen
    return tuple(replace(one, calls=one.calls[:most]) if len(one.calls) > most else one for one in chosen)


def fitted_bytes(sessions: Sequence[SessionProfile]) -> tuple[Digest, bytes]:
    """The digest of sessions, and what is kept of them."""
    encoded = _ENCODER.encode(tuple(sessions))
    return digest(_DOMAIN, encoded), zlib.compress(encoded, 6)


def fitted_digest(sessions: Sequence[SessionProfile]) -> Digest:
    """Their digest alone."""
    return digest(_DOMAIN, _ENCODER.encode(tuple(sessions)))


def fitted_from(kept: bytes, expected: Digest) -> tuple[SessionProfile, ...]:
    """The sessions that were kept under a digest.

    Raises:
        InvalidInputError: these are others, or none (`state_unproven`).
    """
    try:
        unpacking = zlib.decompressobj()
        encoded = unpacking.decompress(kept, _MOST_BYTES)
        if unpacking.eof and digest(_DOMAIN, encoded) == expected:
            return _DECODER.decode(encoded)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise _unproven(repr(error)) from error
    raise _unproven("another digest")


def measured_views(sessions: Sequence[SessionProfile]) -> dict[str, int]:
    """In how many of the sessions each number was measured."""
    counted: Counter[str] = Counter(name for one in sessions for name in one.features)
    return dict(sorted(counted.items()))


def _unproven(cause: str) -> InvalidInputError:
    return InvalidInputError(
        Code.STATE_UNPROVEN, "the sessions of a baseline are not those that were accepted", cause=cause[:400]
    )
