"""Whether what an agent does goes with what it was asked: two counts of calls that have an effect. Pure.

off task    a tool whose name shares no word with the user's request
tainted     identifying values (addresses, links, accounts, and whatever stands in an argument that names a receiver or
            an object) that the session's results had and the request had not

Both are hints. An honest agent may send to whom it looked up, and "pay the bill" need not have the word "transfer" in
it; so they are counts that are compared with the agent's own baseline, and reasons to look, never to refuse: refusing
is for policies, which read where each argument came from (`policy/origins.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ["RequestMatch"]

_MOST_REQUEST: Final = 65_536
_MOST_HEARD: Final = 262_144
"""Characters of results that are remembered of one session."""
_MOST_VALUES: Final = 64
_LONGEST_VALUE: Final = 512
_WORD = re.compile(r"[^\W\d_]{3,}")
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_IDENTIFIES = re.compile(
    r"(?:^|[_.\-])(?:recipients?|to|cc|bcc|participants?|e?mails?|url|link|channel|user|account|iban|"
    r"file|event|id|name|address|phone|company|hotel|restaurant)(?:$|[_.\-])",
    re.IGNORECASE,
)
_LOOKS_IDENTIFYING = re.compile(
    r"\S+@\S+|(?:[a-z][a-z0-9+.-]{1,15}://|www\.)\S+|[A-Z]{2}[0-9]{2}[A-Z0-9]{8,40}", re.IGNORECASE
)
_ENDINGS: Final = ("ing", "ies", "ed", "es", "s", "e")


class RequestMatch:
    """One session, call by call."""

    def __init__(self, request: str = "") -> None:
        self._request = ""
        self._asked: set[str] = set()
        self.asked(request)
        self._heard: list[str] = []
        self._room = _MOST_HEARD
        self.off_task = 0
        self.tainted = 0

    def asked(self, request: str) -> None:
        """The user asks for that, or for that too."""
        text = request[: _MOST_REQUEST - len(self._request)].casefold()
        if text and text not in self._request:
            self._request = f"{self._request}\n{text}"
            self._asked.update(_stem(word) for word in _WORD.findall(text))

    @property
    def known(self) -> bool:
        """Whether anything is known of what the user asks."""
        return bool(self._request)

    def call(self, tool: str, arguments: Mapping[str, Any], *, effect: bool) -> None:
        """A call of a tool, by the name that its server gives it."""
        if not effect:
            return
        words = {_stem(word) for word in map(str.casefold, _PARTS.findall(tool)) if len(word) > 2}
        self.off_task += not words & self._asked
        heard = "\n".join(self._heard)
        self.tainted += sum(value not in self._request and value in heard for value in _identifying(arguments))

    def result(self, text: str) -> None:
        """What came back to the agent."""
        kept = text[: self._room].casefold()
        self._room -= len(kept)
        self._heard.append(kept)


def _identifying(arguments: Mapping[str, Any]) -> set[str]:
    """The values of a call that say whom or what it is about, in folded case; the first of very many."""
    found: set[str] = set()
    for path, value in _texts(arguments, ""):
        text = value.strip().casefold()
        if 3 <= len(text) <= _LONGEST_VALUE and (_LOOKS_IDENTIFYING.fullmatch(text) or _IDENTIFIES.search(path)):
            found.add(text)
        if len(found) == _MOST_VALUES:
            break
    return found


def _texts(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and depth < 8:
        for key, inner in value.items():
            yield from _texts(inner, str(key), depth + 1)
    elif isinstance(value, list | tuple) and depth < 8:
        for inner in value:
            yield from _texts(inner, path, depth + 1)
    elif isinstance(value, str):
        yield path, value


def _stem(word: str) -> str:
    """Enough of a stem that `sends`, `sending` and `send` are one."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word
