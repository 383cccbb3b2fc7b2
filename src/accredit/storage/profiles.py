"""A profile as bytes: small arrays, the same for the same profile."""

from __future__ import annotations

import zlib
from typing import Final

import msgspec

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import CallOutcome, ProfiledCall, ProfiledValue, SessionProfile

__all__ = ["packed", "unpacked"]

_LARGEST: Final = 8_388_608


class _Packed(msgspec.Struct, array_like=True):
    session: str
    version: str | None
    first: int
    last: int
    began_us: int
    ended_us: int
    in_part: bool
    features: list[tuple[str, float]]
    names: list[str]
    """Tools, paths and classes, each once."""
    calls: list[tuple[int, CallOutcome, list[tuple[int, int]]]]
    """(tool, outcome, [(path, class), …]) by their place in the names."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Packed)


def packed(profile: SessionProfile) -> bytes:
    """All of a profile but its agent."""
    names: dict[str, int] = {}

    def at(name: str) -> int:
        return names.setdefault(name, len(names))

    calls = [
        (at(call.tool), call.outcome, [(at(value.path), at(value.kind)) for value in call.values])
        for call in profile.calls
    ]
    made = _Packed(
        profile.session,
        profile.version,
        profile.first,
        profile.last,
        profile.began_us,
        profile.ended_us,
        profile.in_part,
        sorted(profile.features.items()),
        list(names),
        calls,
    )
    return zlib.compress(_encoder.encode(made), 3)


def unpacked(agent: AgentId, stored: bytes) -> SessionProfile:
    """The profile again.

    Raises:
        UnavailableError: it was not written here; what was made of the log can be made again.
    """
    try:
        found = _decoder.decode(zlib.decompressobj().decompress(stored, _LARGEST))
        names = found.names
        calls = tuple(
            ProfiledCall(names[tool], outcome, tuple(ProfiledValue(names[path], names[kind]) for path, kind in values))
            for tool, outcome, values in found.calls
        )
    except (zlib.error, msgspec.MsgspecError, IndexError) as error:
        raise UnavailableError(
            Code.STATE_UNPROVEN, "a stored session profile cannot be read", hint="accredit monitor rebuild"
        ) from error
    return SessionProfile(
        agent=agent,
        session=found.session,
        version=None if found.version is None else Digest(found.version),
        first=found.first,
        last=found.last,
        began_us=found.began_us,
        ended_us=found.ended_us,
        calls=calls,
        features=dict(found.features),
        in_part=found.in_part,
    )
