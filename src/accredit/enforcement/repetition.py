"""Whether a session does the same again: how often the present call was made before, and whether calls go in a circle.

A call is the same if its tool and its arguments are. Only the last calls of a session count, refused ones too: whoever
goes round in circles is often refused. What is kept of a call are a few bytes of a keyed digest.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from accredit.kernel.ids import ToolId

__all__ = ["Repetition", "Tail", "same_call"]

_KEPT: Final = 32
_LONGEST_CIRCLE: Final = 4
_MOST_ARGUMENTS: Final = 65_536
_AS_TEXT: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


@dataclass(frozen=True, slots=True)
class Repetition:
    """How a call repeats what its session did in its last calls."""

    repeats: int = 0
    """How many of them were the same call."""
    circle: int = 0
    """How many different calls come round in turn, from 2 to 4; 0: none do."""
    turns: int = 0
    """How often they came round, this time included."""


def same_call(tool: ToolId, arguments: Mapping[str, Any], key: bytes) -> int | None:
    """A number that the same call has again; None: its arguments are too large, or have no form, to be compared."""
    try:
        text = orjson.dumps(arguments, option=_AS_TEXT)
    except (TypeError, RecursionError):
        return None
    if len(text) > _MOST_ARGUMENTS:
        return None
    hashed = blake2b(text, key=key[:64], person=b"same-call", digest_size=8)
    hashed.update(b"\0" + tool.encode())
    return int.from_bytes(hashed.digest(), "big")


class Tail:
    """The last calls of one session."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls = array("Q")

    def add(self, call: int) -> Repetition:
        """One more call, by its number (`same_call`)."""
        repeats = self._calls.count(call)
        self._calls.append(call)
        if len(self._calls) > _KEPT:
            del self._calls[0]
        for length in range(2, _LONGEST_CIRCLE + 1):
            turns = self._turns(length)
            if turns > 1:
                return Repetition(repeats, length, turns)
        return Repetition(repeats)

    def _turns(self, length: int) -> int:
        """How often the newest calls, so many, came round in the same order; 1 if they are no circle."""
        newest = self._calls[-length:]
        if len(newest) < length or len(set(newest)) < 2:
            return 1
        turns = 1
        while self._calls[-length * (turns + 1) : -length * turns] == newest:
            turns += 1
        return turns
