"""Where the value of an argument was seen before: `context.origin.<argument>`, `context.source.<argument>`.

How a value is matched. Text is normalised (NFKC, case folded) and cut into words: runs of letters and digits. A value
matches a text if its words, written together, are the same as those of a run of consecutive whole words in the text.
So `US13 3000 0012` matches `us1330000012`, and neither `Ann` in `Joanna` nor words that stand apart ever match. Written
together a value must have at least four characters; shorter ones match nothing, since everything contains them. Of a
value of more than eight words every eight in a row must be found.

An argument has the weakest origin of all the values in it, in this order:

unknown        seen nowhere, too short, or not looked at for its size
tool_result    in a result of an earlier call of this session
user_declared  in what the agent says its user asked, a model above all: the agent vouches for it
user_verified  in the claims of the verified task or user
constant       the tool's pinned schema leaves no choice of its own: `const`, an `enum`, a boolean, null

Of what comes from results the source tells more: the tools in whose results every such value of the argument was seen,
and, as `TOOL#FIELD`, the fields of which each was the whole. An address from the address book is not one from a mail
that somebody sent, and an account that a payment went to is not one that its subject talks about (bench/attacks.py
measures the difference). A field is named by the keys above it, lists left out: `items.sender`. It is one of the
structured content of a result, or of a text in it that is a JSON or YAML document of its own. Which fields there are
is the tool's word: one that lets others name its fields lets them choose.

Words of verified claims are compared as they are. Of results only keyed hashes are kept, for as long as the session
lasts. Nothing here asks who wrote a result: whoever can make a tool answer something can make it `tool_result` from
that tool, and nothing more.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import orjson
import yaml

__all__ = [
    "MOST_REMEMBERED",
    "MOST_RUNS",
    "ResultWords",
    "RoomLeft",
    "fields",
    "origins",
    "runs",
    "sources_of",
    "texts",
    "wanted_runs",
]

MOST_RUNS: Final = 50_000
"""Hashes kept of the results of one session; what comes later is `unknown`."""
_MOST_TEXT: Final = 65_536
"""Characters of one value that are looked at."""
_MOST_RESULT: Final = 32_768
"""Characters of one result that are remembered: it is done between calls, and must not hold them up."""
MOST_REMEMBERED: Final = 4_000_000
"""Hashes kept of all sessions together; beyond it what results say is `unknown`."""
_MOST_VALUES: Final = 2_000
_DEEPEST: Final = 32
_LONGEST_RUN: Final = 8
_LONGEST_WHOLE: Final = 64
"""Words of a field that is still compared whole."""
_LONGEST_FIELD: Final = 128
_STRUCTURED: Final = "structuredContent."
_BLOCK: Final = "content.text"
"""Where the texts of a tool's result stand (MCP, CallToolResult): it is no field of the tool's."""
_BRACKETS: Final = ("{", "[")
_KEYED: Final = re.compile(r"\s*(?:- +)*[^\s:#-][^:\n]{0,63}:\s")
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SHORTEST: Final = 4
_NONE: Final[frozenset[str]] = frozenset()
_WORD: Final = re.compile(r"[^\W_]+")
_STRENGTH: Final = ("unknown", "tool_result", "user_declared", "user_verified")


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text[:_MOST_TEXT]).casefold())


def runs(text: str) -> Iterator[str]:
    """Every run of one to eight whole words of a text, written together, that is long enough to match."""
    words = _words(text)
    for start in range(len(words)):
        run = ""
        for word in words[start : start + _LONGEST_RUN]:
            run += word
            if len(run) >= _SHORTEST:
                yield run


def wanted_runs(text: str) -> tuple[str, ...]:
    """The runs that a text must have to contain a value; empty if nothing can be said of it."""
    words = _words(text)
    if sum(map(len, words)) < _SHORTEST or len(text) > _MOST_TEXT:
        return ()
    if len(words) <= _LONGEST_RUN:
        return ("".join(words),)
    return tuple(
        run
        for at in range(len(words) - _LONGEST_RUN + 1)
        if len(run := "".join(words[at : at + _LONGEST_RUN])) >= _SHORTEST
    )


def sources_of(text: str, wanted: Iterable[str], results: Callable[[str], frozenset[str]]) -> frozenset[str]:
    """The tools in whose results a value was, and the fields (`TOOL#FIELD`) that were it whole; empty: in none.

    `wanted` are the runs that a text must have to contain it (`wanted_runs`), at least one.
    """
    where = frozenset[str].intersection(*map(results, wanted))
    if where and (whole := _whole(text)):
        where |= results(whole)
    return where


def texts(value: Any) -> Iterator[str]:
    """Every text and number in a value, keys left out, within bounds."""
    return (text for _, text in fields(value))


def fields(value: Any) -> Iterator[tuple[str, str]]:
    """The same, each after the name of its field: the keys above it, lists left out."""
    level, seen = [("", value)], 0
    for _ in range(_DEEPEST):
        below: list[tuple[str, Any]] = []
        for field, item in level:
            if seen >= _MOST_VALUES:
                return
            if isinstance(item, str):
                seen += 1
                yield field, item
            elif isinstance(item, Mapping):
                below += [(_below(field, key), inner) for key, inner in item.items()]
            elif isinstance(item, list | tuple):
                below += [(field, inner) for inner in item]
            elif isinstance(item, int | float) and not isinstance(item, bool):
                seen += 1
                yield field, repr(item)
        if not below:
            return
        level = below


def _below(field: str, key: Any) -> str:
    return f"{field}.{key}"[:_LONGEST_FIELD] if field else str(key)[:_LONGEST_FIELD]


def _document(text: str) -> list[tuple[str, str]]:
    """The fields of a text that is a JSON object or list, or a YAML document with keys."""
    try:
        if text.lstrip().startswith(_BRACKETS):
            return list(fields(orjson.loads(text)))
        return _of_yaml(text) if _KEYED.match(text) else []
    except (ValueError, yaml.YAMLError):
        return []


def _of_yaml(text: str) -> list[tuple[str, str]]:
    """From the parser's events: nothing is constructed, and what an alias stands for is not repeated."""
    found: list[tuple[str, str]] = []
    above: list[tuple[str, bool]] = []
    """Of each collection that is open: the name of its field, and whether it has keys."""
    key: str | None = None
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionEndEvent):
            above.pop()
        elif isinstance(event, yaml.NodeEvent):
            field, keyed = above[-1] if above else ("", False)
            if keyed and key is None:
                if not isinstance(event, yaml.ScalarEvent):  # a list as a key names no field
                    return []
                key = event.value
                continue
            name, key = _below(field, key) if keyed else field, None
            if isinstance(event, yaml.CollectionStartEvent):
                if len(above) >= _DEEPEST:
                    return []
                above.append((name, isinstance(event, yaml.MappingStartEvent)))
            elif isinstance(event, yaml.ScalarEvent) and len(found) < _MOST_VALUES:
                found.append((name, event.value))
    return found


def _whole(text: str) -> str:
    """All words of a text, told apart from a run of them; empty if they are too few, or too many, to match."""
    words = _words(text)
    said = "".join(words)
    return f"={said}" if len(said) >= _SHORTEST and len(words) <= _LONGEST_WHOLE else ""


class RoomLeft:
    """How many hashes all sessions together may still keep."""

    __slots__ = ("left",)

    def __init__(self, left: int = MOST_REMEMBERED) -> None:
        self.left = left


class ResultWords:
    """What the results of one session said, as keyed hashes, and where: of runs of words, and of whole fields."""

    __slots__ = ("_key", "_room", "_seen")

    def __init__(self, key: bytes, room: RoomLeft | None = None) -> None:
        self._key = key
        self._room = room or RoomLeft()
        self._seen: dict[bytes, frozenset[str]] = {}

    def __del__(self) -> None:
        self._room.left += len(self._seen)

    def add(self, result: Any, tool: str) -> None:
        """Take in one result of a tool."""
        one, left = frozenset({tool}), _MOST_RESULT
        for field, text in fields(result):
            if left <= 0:
                return
            itself = "" if field == _BLOCK or len(text) > left else field.removeprefix(_STRUCTURED)
            inside = _document(text) if len(text) <= left else []
            # what JSON escapes would be other words; what stands in no field of YAML is said all the same
            told = inside if inside and text.lstrip().startswith(_BRACKETS) else [(itself, text[:left]), *inside]
            for name, part in told:
                for run in runs(part):
                    self._put(run, one)
                if name and (whole := _whole(part)):
                    self._put(whole, frozenset({f"{tool}#{name}"}))
            left -= len(text)

    def _put(self, what: str, where: frozenset[str]) -> None:
        hashed = self._hash(what)
        known = self._seen.get(hashed)
        if known is not None:
            if not where <= known:
                self._seen[hashed] = known | where
        elif len(self._seen) < MOST_RUNS and self._room.left > 0:
            self._seen[hashed] = where
            self._room.left -= 1

    def sources(self, what: str) -> frozenset[str]:
        """The tools in whose results this run of words was; the fields that were this whole."""
        return self._seen.get(self._hash(what), _NONE)

    def _hash(self, run: str) -> bytes:
        return hashlib.blake2b(run.encode("utf-8", "surrogatepass"), key=self._key, digest_size=8).digest()


def origins(
    arguments: Mapping[str, Any],
    schema: Mapping[str, Any],
    *,
    verified: Iterable[str],
    declared: Iterable[str],
    results: Callable[[str], frozenset[str]],
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Origin and sources of each top-level argument.

    `schema` is the pinned input schema; `verified` and `declared` are the texts of the verified claims and of the
    agent's own; `results` says where in earlier results of the session something was (`ResultWords.sources`).
    """
    properties = schema.get("properties")
    known = properties if isinstance(properties, Mapping) else {}
    by_claims = {run for text in verified for run in runs(text)}
    by_agent: set[str] | None = None
    found: dict[str, str] = {}
    sources: dict[str, list[str]] = {}
    for name, value in arguments.items():
        sources[name] = []
        if _fixed(known.get(name), value):
            found[name] = "constant"
            continue
        weakest, shared = len(_STRENGTH) - 1, None
        said = list(texts(value))
        if not said or len(said) >= _MOST_VALUES:
            weakest = 0
        for text in said:
            wanted = wanted_runs(text)
            if not wanted:
                weakest = 0
            elif all(run in by_claims for run in wanted):
                continue
            else:
                if by_agent is None:
                    by_agent = {run for one in declared for run in runs(one)}
                if all(run in by_agent for run in wanted):
                    weakest = min(weakest, 2)
                else:
                    where = sources_of(text, wanted, results)
                    weakest = min(weakest, 1 if where else 0)
                    shared = where if shared is None else shared & where
            if not weakest:
                break
        found[name] = _STRENGTH[weakest]
        if weakest == 1 and shared:
            sources[name] = sorted(shared)
    return found, sources


def _fixed(schema: Any, value: Any) -> bool:
    """Whether the schema leaves no choice that somebody's text could have made."""
    if value is None or isinstance(value, bool):
        return True
    return isinstance(schema, Mapping) and ("const" in schema or "enum" in schema)
