"""Whether a model was told what was approved, and whether it is the one that was called that answered. Pure.

What a program tells a model is its approved prompt if one of the texts, or all of them with an empty line between, has
the approved digest: SHA-256 of the text in UTF-8. A prompt that is filled in anew for each request has another one each
time, and what was approved then is what it is made of: whoever looks at the alert knows.

A provider may answer with a dated edition of what was called (`gpt-4o` as `gpt-4o-2024-08-06`), or put its own name or
a path before it (`models/gemini-pro`). Everything else is another model: a smaller one of the family above all.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

__all__ = ["answers_as", "told_as_approved"]

_LONGEST: Final = 256
_EDITION: Final = re.compile(
    r"(?:[-@:.](?:[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{3,6}|latest|v[0-9]{1,2}(?:[:.][0-9]{1,2})?))+", re.ASCII
)
_LATEST: Final = re.compile(r"[-@:.]latest$", re.ASCII)


def told_as_approved(texts: Sequence[str], approved: str) -> bool | None:
    """Whether the model is told what was approved; None: it is told nothing."""
    if not texts:
        return None
    return any(_digest(text) == approved for text in texts) or _digest("\n\n".join(texts)) == approved


def _digest(text: str) -> str:
    return f"sha256:{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


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
