"""Which answer of a model a call follows from: the one that asked for that tool with those arguments. No I/O.

Only what one credential was told and what it then does are put together, so no agent can lend its call another's
reasons. What is remembered is bounded, and gone with the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from accredit.enforcement.model import AskedCall
from accredit.enforcement.naming import means, plain
from accredit.kernel.ids import CredentialId, DecisionId

__all__ = ["Reasons"]

_CREDENTIALS: Final = 2_048
_KEPT: Final = 64
"""Calls asked for and not made, of one credential."""
_LASTS_US: Final = 3_600_000_000
_LONGEST_ID: Final = 256
_MOST_ARGUMENTS: Final = 65_536


@dataclass(frozen=True, slots=True)
class _Asked:
    name: str
    decision: DecisionId
    boot_us: int


class Reasons:
    """What models asked agents to do a short while ago."""

    def __init__(self) -> None:
        self._told: OrderedDict[CredentialId, OrderedDict[tuple[str, bytes], _Asked]] = OrderedDict()
        self._named: OrderedDict[CredentialId, OrderedDict[str, _Asked]] = OrderedDict()
        """The same by the provider's names of the calls."""

    def told(self, credential: CredentialId, decision: DecisionId, asked: Iterable[AskedCall], boot_us: int) -> None:
        """A model, in the answer to that decision, asks this credential to make these calls."""
        for one in asked:
            if 0 < len(one.id) <= _LONGEST_ID:
                named = self._named.setdefault(credential, OrderedDict())
                self._named.move_to_end(credential)
                named[one.id] = _Asked(plain(one.name), decision, boot_us)
                named.move_to_end(one.id)
                if len(named) > _KEPT:
                    named.popitem(last=False)
            if len(one.arguments) > _MOST_ARGUMENTS:
                continue
            try:
                key = plain(one.name), _same(orjson.loads(one.arguments or "{}"))
            except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
                continue  # free text of a custom tool, or what no call would be let through with
            known = self._told.setdefault(credential, OrderedDict())
            self._told.move_to_end(credential)
            known[key] = _Asked(key[0], decision, boot_us)
            known.move_to_end(key)
            if len(known) > _KEPT:
                known.popitem(last=False)
        while len(self._told) > _CREDENTIALS:
            self._told.popitem(last=False)
        while len(self._named) > _CREDENTIALS:
            self._named.popitem(last=False)

    def of_results(self, credential: CredentialId, calls: Iterable[str], boot_us: int) -> DecisionId | None:
        """The newest answer, of the last hour, that asked for one of these calls, whose results come back."""
        known = self._named.get(credential)
        if known is None:
            return None
        found = [known[call] for call in calls if call in known and boot_us - known[call].boot_us <= _LASTS_US]
        return max(found, key=lambda one: one.boot_us).decision if found else None

    def of(
        self, credential: CredentialId, server: str, tool: str, arguments: Mapping[str, Any], boot_us: int
    ) -> DecisionId | None:
        """The newest answer, of the last hour, that asked for this call; None if none did.

        Names are understood as `enforcement/naming.py` tells.
        """
        known = self._told.get(credential)
        if known is None:
            return None
        given = _same(arguments)
        found = [
            asked
            for (name, wanted), asked in known.items()
            if wanted == given and boot_us - asked.boot_us <= _LASTS_US and means(name, plain(server), plain(tool))
        ]
        return max(found, key=lambda one: one.boot_us).decision if found else None


def _same(arguments: Any) -> bytes:
    """Equal for arguments that are equal, whatever the order of their members."""
    return orjson.dumps(_plain_numbers(arguments), option=orjson.OPT_SORT_KEYS)


def _plain_numbers(value: Any) -> Any:
    """`1.0` is written by some encoders where others write `1`."""
    match value:
        case float() if value.is_integer():
            return int(value) if abs(value) < 2**53 else value
        case dict():
            return {key: _plain_numbers(item) for key, item in value.items()}
        case list():
            return [_plain_numbers(item) for item in value]
        case _:
            return value
