"""Whether a statement is somebody's own words, or a text that was there before. Pure.

What counts is the words, in whatever order, case, punctuation or accents: a copy that was shuffled, or to which a word
was added, is a copy. Letters that only look like others do not make another text of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.legible import visible

__all__ = ["MOST_CHARACTERS", "check_own_words", "copied"]

MOST_CHARACTERS: Final = 2_000
_ALIKE_PERCENT: Final = 80
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
"""Scripts that set no spaces count each character."""
_LOOKS_LIKE: Final = {
    **dict(zip(map(ord, "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458"), "aeopcyxsij", strict=True)),
    **dict(zip(map(ord, "\u043a\u043c\u0442\u043d\u0432\u0501\u051b\u051d"), "kmthbdqw", strict=True)),
    **dict(zip(map(ord, "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"), "aeikvoptux", strict=True)),
}
"""Small letters of Cyrillic and Greek that pass for Latin ones."""


def check_own_words(text: str, others: Iterable[str], *, fewest_words: int) -> str:
    """The text as it is kept, if it is somebody's own.

    Raises:
        InvalidInputError: `own_words_required`: it is too short, too long, hides something, or is a copy.
    """
    told = text.strip()
    if len(told) > MOST_CHARACTERS or visible(told.replace("\n", " ")) != told.replace("\n", " "):
        raise InvalidInputError(Code.OWN_WORDS_REQUIRED, f"write visible text of at most {MOST_CHARACTERS} characters")
    if len(set(_words(told))) < fewest_words:
        raise InvalidInputError(
            Code.OWN_WORDS_REQUIRED, f"say it in at least {fewest_words} different words of your own"
        )
    if any(copied(told, other) for other in others):
        raise InvalidInputError(
            Code.OWN_WORDS_REQUIRED, "this is what was there before; say in your own words how it is now"
        )
    return told


def copied(text: str, other: str) -> bool:
    """Whether nearly all words of the longer of two texts are those of the other."""
    mine, theirs = Counter(_words(text)), Counter(_words(other))
    if not mine or not theirs:
        return False
    common = (mine & theirs).total()
    return common * 100 >= _ALIKE_PERCENT * max(mine.total(), theirs.total())


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", text.casefold()).casefold()
    plain = unicodedata.normalize("NFC", "".join(one for one in folded if not unicodedata.combining(one)))
    return _WORD.findall(plain.translate(_LOOKS_LIKE))
