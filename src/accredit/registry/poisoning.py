"""Signs that a tool's definition speaks to the model behind its reader's back, or passes for another tool.

A flag is a reason to look, not a finding of guilt: words are words. What is pinned is what was looked at, so the time
to look is registration: a model reads every description and text of a schema as if it were told so. Pure.

hidden        characters that show nothing or deceive the eye, control sequences, comments, text pushed out of sight
instruction   text that tells its reader what to do, rather than what the tool does
secrecy       text that says what a user must not be told
exfiltration  text that asks for keys, prompts or conversations, or for files that hold them
other-tool    text that names a tool of another server
lookalike     a name that reads like the name of another tool
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from accredit.kernel.ids import ToolId, tool_name
from accredit.kernel.legible import visible

__all__ = ["ToolNames"]

_MOST_TEXT: Final = 65_536
_DEEPEST: Final = 64
_SHORTEST_NAME: Final = 6
"""Shorter names of tools are words of every language."""
_WORDS: Final = re.compile(r"[\w.-]{6,128}")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OUT_OF_SIGHT: Final = re.compile(r"(?:[ \t]{40}|(?:[ \t]?\n){12})")
_COMMENT: Final = re.compile(r"<!--|\]\(#|^\[//\]:", re.MULTILINE)


def _any(*words: str) -> str:
    return f"(?:{'|'.join(words)})"


def _near(*steps: str, apart: int = 40) -> str:
    """These words in this order in one sentence, with at most so many characters between each two."""
    between = rf"\b[^.!?]{{0,{apart}}}\b"
    return rf"\b{between.join(steps)}\b"


def _matches(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE | re.DOTALL)


_MARKUP: Final = _matches(
    r"<\s{0,4}/?\s{0,4}"
    + _any("important", "system", "instructions?", "secret", "hidden", "admin", "assistant")
    + r"\b"
)
_TELLS: Final = _matches(
    _near(
        _any("ignore", "disregard", "forget", "override"),
        _any("previous", "prior", "above", "earlier", "all", "system"),
    ),
    _near(
        _any("before", "after", "instead of", "whenever", "(?:each|every) time"),
        _any("us(?:e|ing)", "call(?:ing)?", "invoking", "running"),
        _any("this", "any", "other", "another", "the"),
        "tools?",
    ),
    _near("you", _any("must", "have to", "are required to", "(?:should|will) always"), apart=1),
    _near(_any("system prompt", "as an ai", "new instructions?", "developer mode")),
)
_HIDES: Final = _matches(
    _near(
        _any("do not", "don't", "never", "without"),
        _any("tell(?:ing)?", "mention(?:ing)?", "show", "reveal", "inform(?:ing)?", "notify", "display"),
        apart=24,
    ),
    _near("users?", _any("must", "should", "need"), "not", _any("know", "see", "be told", "notice"), apart=16),
)
_TAKES: Final = _matches(
    r"(?:~|\$home|/root|/home/[^\s/]{1,32})/\."
    + _any("ssh", "aws", "config", "kube", "gnupg", "netrc", "cursor")
    + r"\b",
    r"\bid_(?:rsa|ed25519)\b|\bmcp\.json\b|(?:^|[\s\"'`/])\.env\b",
    _near(
        _any("read", "send", "include", "pass", "append", "attach", "provide", "paste", "forward", "upload", "collect"),
        _any("api[ _-]?keys?", "private keys?", "credentials?", "passwords?", "secrets?", "access tokens?")[:-1]
        + "|conversation|chat history|system prompt|environment variables?)",
        apart=48,
    ),
)
_ALIKE: Final = str.maketrans(
    dict(
        zip(
            "01|53\u20ac$@\u0430\u0501\u0435\u04bb\u0456\u0458\u043a\u043e\u0440\u0441\u0455\u0442\u0443\u0445\u04cf"
            "\u03b1\u03b2\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u0131\u0251\u0261",
            "ollseesaadehljkopcstyxlabelkvoptuxlag",
            strict=True,
        )
    )
    | {"i": "l"}
)
"""Digits, signs and letters of other scripts, as the Latin letters they are taken for; `i` and `l` are one."""


class ToolNames:
    """The names of all registered tools, to hold a definition against."""

    def __init__(self, tools: Iterable[ToolId]) -> None:
        self._servers: dict[str, set[str]] = {}
        self._looks: dict[str, set[str]] = {}
        for tool in tools:
            server, name = tool.partition("/")[0], tool_name(tool)
            self._servers.setdefault(name, set()).add(server)
            self._looks.setdefault(_skeleton(name), set()).add(name)
        self._distinctive = {
            name.casefold(): servers
            for name, servers in self._servers.items()
            if len(name) >= _SHORTEST_NAME and not name.isalpha()
        }

    def flags(self, definition: Mapping[str, Any], tool: ToolId) -> tuple[str, ...]:
        """What is noticeable about the definition of a tool, sorted."""
        found: set[str] = set()
        own, server = tool_name(tool), tool.partition("/")[0]
        if self._looks.get(_skeleton(own), {own}) - {own}:
            found.add("lookalike")
        left = _MOST_TEXT
        for text in _texts(definition):
            found.update(_flags(text[:left]))
            words = set(_WORDS.findall(unicodedata.normalize("NFKC", text[:left]).casefold()))
            if any(server not in self._distinctive[word] for word in words & self._distinctive.keys()):
                found.add("other-tool")
            left -= len(text)
            if left <= 0:
                found.add("hidden")  # nobody reads that much
                break
        return tuple(sorted(found))


def _flags(text: str) -> Iterator[str]:
    plain = unicodedata.normalize("NFKC", text)
    if visible(text.replace("\u00a0", " ")) != text.replace("\u00a0", " ") or _CONTROLS.search(text):
        yield "hidden"
    if _OUT_OF_SIGHT.search(text) or _COMMENT.search(text):
        yield "hidden"
    if _MARKUP.search(plain) or _TELLS.search(plain):
        yield "instruction"
    if _HIDES.search(plain):
        yield "secrecy"
    if _TAKES.search(plain):
        yield "exfiltration"


def _texts(value: Any, depth: int = _DEEPEST) -> Iterator[str]:
    """Every text of a definition, names of arguments and allowed values included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and depth:
        for key, item in value.items():
            yield str(key)
            yield from _texts(item, depth - 1)
    elif isinstance(value, list) and depth:
        for item in value:
            yield from _texts(item, depth - 1)


def _skeleton(name: str) -> str:
    """What a name looks like at a glance."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(_ALIKE).replace("rn", "m").replace("vv", "w")
    return "".join(character for character in plain if character.isalnum())
