"""Text that agents, tools or requesters supplied, as it may be shown to people: nothing in it deceives the eye."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["visible"]

_ABOVE_ASCII = re.compile(r"[^\x00-\x7e]")
_DECEIVING = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs", "Me"})
"""Categories of controls, bidi and zero-width characters, tags and spaces that are not the space."""
_UNSEEN = re.compile(
    r"[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Letters and marks by category that show nothing all the same."""


def visible(text: str) -> str:
    """The text with every character that shows nothing, or could deceive the eye, spelled as JSON escapes it.

    Control characters of ASCII are not among them: in JSON they are escaped already.
    """
    return _ABOVE_ASCII.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) not in _DECEIVING and not _UNSEEN.match(character):
        return character
    code_units = character.encode("utf-16-be")
    return "".join(f"\\u{code_units[at : at + 2].hex()}" for at in range(0, len(code_units), 2))
