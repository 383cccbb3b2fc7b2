"""Whether the model that answered is the one that was called, by the names that providers give them. Pure.

A provider may answer with a dated edition of what was called (`gpt-4o` as `gpt-4o-2024-08-06`), or put its own name or
a path before it (`models/gemini-pro`). Everything else is another model: a smaller one of the family above all.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["answers_as"]

_LONGEST: Final = 256
_EDITION: Final = re.compile(
    r"(?:[-@:.](?:[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{3,6}|latest|v[0-9]{1,2}(?:[:.][0-9]{1,2})?))+", re.ASCII
)
_LATEST: Final = re.compile(r"[-@:.]latest$", re.ASCII)


def answers_as(called: str, answered: str) -> bool:
    """Whether that name is the called model's, or of an edition of it."""
    if len(answered) > _LONGEST:
        return False
    wanted, given = _plain(called), _plain(answered)
    if given == wanted:
        return True
    wanted = _LATEST.sub("", wanted)
    return given == wanted or (given.startswith(wanted) and _EDITION.fullmatch(given, len(wanted)) is not None)


def _plain(name: str) -> str:
    return name.strip().casefold().rpartition("/")[2]
