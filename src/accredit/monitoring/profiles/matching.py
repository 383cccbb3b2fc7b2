"""Whether what an agent does follows from what its user asked. Pure: request, calls and results in, counts out.

Two signs that somebody else took a session over, from the request, the calls and the results alone:

off-task  a call with an effect that the request does not speak of. Half, if it speaks of what is done but not of what
          it is done to, or the other way round; none, if all that the call names is in the request. A request that
          names one thing, by its form, does not speak of another of that form
tainted   a value in a call with an effect that names somebody or something, and that was in the result of an earlier
          call and nowhere in the request: whoever wrote the result chose whom or what the call is about. Half, if it
          was a field of a result by itself: a contact of the address book is not an address in somebody's letter

The name of a tool says what is done (its first word) and to what (the others). Words mean the same if their stems do,
or if a line of the table below has both. A value names by its form (a mail or web address, an account, a long number)
or by its key: a word of the table of keys, or one of the tool's own name (`hotel` of `reserve_hotel`). Whether it was
in a text is decided as for `context.origin` (`policy/origins.py`): whole words, written together, of at least four
characters.

Neither is proof: whoever asks to do what a file says gets calls that are both. The table is English; of a request in
another language, or without any known word, off-task is not judged. `bench/hijacks.py` measures how well the score
tells sessions that were taken over from others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from accredit.policy.origins import ResultWords, RoomLeft, fields, runs, sources_of, wanted_runs

__all__ = ["MatchedCall", "RequestMatch", "RequestWords", "TaintedValue", "match_call"]

_MOST_TEXT: Final = 16_384
"""Characters of all requests of a session that are looked at, the first ones."""
_MOST_NAMED: Final = 64
"""Values of one call that are looked at."""
_LONGEST_NAMED: Final = 512
"""Characters of a value that names something; a longer one is a text."""
_MOST_COUNTED: Final = 256
"""Different calls, and different values, that count in one session."""
_LONGEST_TOOL: Final = 256
_SHORTEST_STEM: Final = 3

_SAME: Final = (
    # what is done
    "send mail email message write tell notify forward reply respond contact inform text dm",
    "pay transfer send wire remit money bill rent refund reimburse owe payment transaction price",
    "book reserve reservation stay",
    "schedule plan calendar event appointment meeting remind recurring standing",
    "create make new add set write generate draft schedule remind",
    "add append insert include put attach",
    "update change edit modify adjust correct move reschedule postpone set reset",
    "delete remove cancel drop clear erase close",
    "invite add join member participant attendee guest colleague",
    "share give grant allow access",
    "post publish announce upload write reply",
    "buy order purchase checkout cart shop",
    "return exchange refund swap",
    "read open visit browse look check get fetch",
    "run execute start launch",
    # what it is done to
    "webpage page website site web article link url blog online",
    "file document doc folder note",
    "mail email inbox",
    "user account profile",
    "password credential secret",
    "channel room group chat slack",
)
"""Words of work that stand for each other, a line each. A word may be on several."""
_STOP: Final = "a all an and api by for from i in is it me my of on or please that the this to tool with you"
"""Words that say nothing of what is done."""
_ENGLISH: Final = (
    "the of and to for with my please you are this that can what from it have if how much many did does when where who"
    " which was were will would should could about there their they not any"
)
"""Two of these make a request English, if it has no word of the table."""
_KEYS: Final = (
    "recipient cc bcc email mail address user account iban payee beneficiary destination target url uri link website"
    " host domain endpoint webhook path file filename document folder channel room participant attendee guest member"
    " phone customer client id password"
)
"""Words of keys whose values name somebody or something; and `to`, where that is all of the key."""
_TO: Final = "to"
_ENDINGS: Final = "ations ation ings ing ements ement ments ment edly ed ies es s ly e"
_DOUBLED: Final = frozenset("sl")
"""Letters that may stand twice at the end of a stem: `pass`, `bill`."""

_WORD: Final = re.compile(r"[^\W\d_]+")
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WEB: Final = re.compile(r"(?:[a-z][a-z0-9+.-]{1,15}://|www\.)\S+", re.IGNORECASE)
_FORMS: Final = (
    _WEB,
    re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}"),
    re.compile(r"\b(?=[A-Z0-9-]*[0-9])(?=[A-Z0-9-]*[A-Z])[A-Z0-9-]{10,64}\b"),
    re.compile(r"\b\d{8,32}\b"),
)
"""What names by its form: a web address, a mail address, an account, a long number."""


_STOP_WORDS: Final = frozenset(_STOP.split())
_ENGLISH_WORDS: Final = frozenset(_ENGLISH.split())
_SUFFIXES: Final = tuple(_ENDINGS.split())


@lru_cache(maxsize=4_096)
def _stem(word: str) -> str:
    for ending in _SUFFIXES:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST_STEM:
            word = word[: -len(ending)] + ("y" if ending == "ies" else "")
            break
    if len(word) > _SHORTEST_STEM and word[-1] == word[-2] and word[-1] not in _DOUBLED:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > _SHORTEST_STEM else word


def _table() -> Mapping[str, frozenset[str]]:
    lines: dict[str, frozenset[str]] = {}
    for number, line in enumerate(_SAME):
        for word in line.split():
            stem = _stem(word)
            lines[stem] = lines.get(stem, frozenset()) | {f"={number}"}
    return lines


_LINES: Final = _table()
_KEY_STEMS: Final = frozenset(map(_stem, _KEYS.split()))
_OF_WEB: Final = frozenset(("webpage", "visit"))
"""What a request with a web address speaks of."""


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _meanings(words: Iterable[str]) -> frozenset[str]:
    """Stems, and the lines of the table that have them."""
    found: set[str] = set()
    for word in words:
        stem = _stem(word)
        found.add(stem)
        found |= _LINES.get(stem, frozenset())
    return frozenset(found)


def _name_words(name: str) -> list[str]:
    spaced = _HUMP.sub(" ", name[:_LONGEST_TOOL]).replace("_", " ")
    return _words(spaced)


class RequestWords:
    """What a user asked: the words and runs of words of the request, within bounds."""

    __slots__ = ("_english", "_forms", "_left", "_meanings", "_runs")

    def __init__(self, *texts: str) -> None:
        self._left = _MOST_TEXT
        self._meanings: frozenset[str] = frozenset()
        self._runs: set[str] = set()
        self._english: frozenset[str] = frozenset()
        self._forms: frozenset[int] = frozenset()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """The user asked this as well."""
        part = text[: self._left]
        self._left -= len(part)
        words = _words(part)
        self._english |= _ENGLISH_WORDS.intersection(words)
        self._meanings |= _meanings(word for word in words if word not in _STOP_WORDS)
        self._forms |= {number for number, form in enumerate(_FORMS) if form.search(part)}
        if _WEB.search(part):
            self._meanings |= _meanings(_OF_WEB)
        self._runs.update(runs(part))

    @property
    def said(self) -> bool:
        """Whether there is a request at all."""
        return self._left < _MOST_TEXT

    @property
    def judged(self) -> bool:
        """Whether its words are such that what it does not speak of can be told."""
        return len(self._english) > 1 or any(one.startswith("=") for one in self._meanings)

    def speaks_of(self, words: Iterable[str]) -> bool:
        """Whether any of these words, or one that means the same, is in it."""
        return not self._meanings.isdisjoint(_meanings(words))

    def names_others(self, text: str) -> bool:
        """Whether it names something of the same form as this value, which it does not contain."""
        return any(number in self._forms and form.fullmatch(text) for number, form in enumerate(_FORMS))

    def has(self, wanted: Iterable[str]) -> bool:
        """Whether it contains a value, by the runs of words that this takes."""
        return all(run in self._runs for run in wanted)


@dataclass(frozen=True, slots=True)
class TaintedValue:
    """A value that names somebody or something and came from results alone."""

    field: str
    """Keys above it, joined by points, lists left out."""
    whole: bool
    """Whether it was a field of a result by itself."""
    sources: frozenset[str]
    """Tools, and `TOOL#FIELD`, of the results it was in."""
    words: str
    """The value as it is compared. Data of the call: for no header, body or matter."""


@dataclass(frozen=True, slots=True)
class MatchedCall:
    """What of one call with an effect does not follow from the request."""

    off_task: float = 0.0
    """0, a half or 1."""
    tainted: tuple[TaintedValue, ...] = ()

    @property
    def mismatch(self) -> bool:
        """Whether it is both: not what was asked for, and about what somebody's text in a result names."""
        return self.off_task > 0 and any(not one.whole for one in self.tainted)


def match_call(
    tool: str,
    arguments: Mapping[str, Any],
    request: RequestWords,
    results: Callable[[str], frozenset[str]],
) -> MatchedCall:
    """Compare one call that has an effect; `tool` is its name at its server.

    `results` says where in earlier results of the session something was (`ResultWords.sources`).
    """
    words = [word for word in _name_words(tool) if word not in _STOP_WORDS] or ["tool"]
    asked, others, tainted = 0, False, list[TaintedValue]()
    named = list(_named(words, arguments))
    for field, text in named:
        wanted = wanted_runs(text)
        if not wanted:
            continue
        if request.has(wanted):
            asked += 1
            continue
        others = others or request.names_others(text)
        if sources := sources_of(text, wanted, results):
            whole = any("#" in one for one in sources)
            tainted.append(TaintedValue(field, whole, sources, wanted[0]))
    if not request.judged or (named and asked == len(named)):
        return MatchedCall(0.0, tuple(tainted))
    done = request.speaks_of(words[:1])
    to_what = not others and (request.speaks_of(words[1:]) if len(words) > 1 else done)
    return MatchedCall(((not done) + (not to_what)) / 2, tuple(tainted))


def _named(words: list[str], arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The values of a call that name somebody or something, and their fields."""
    own, found = frozenset(map(_stem, words[1:])), 0
    for field, value in fields(arguments):
        text = value.strip()
        if not text or len(text) > _LONGEST_NAMED:
            continue
        key = field.rpartition(".")[2]
        stems = frozenset(map(_stem, _name_words(key)))
        if (
            key.casefold() == _TO
            or not stems.isdisjoint(_KEY_STEMS)
            or not stems.isdisjoint(own)
            or any(form.fullmatch(text) for form in _FORMS)
        ):
            yield field, text
            found += 1
            if found >= _MOST_NAMED:
                return


class RequestMatch:
    """The running comparison of one session. What it keeps of texts are hashes keyed by `key`, within bounds.

    Without a request nothing counts: the agent may have been asked anything.
    """

    def __init__(self, request: str | None, *, key: bytes, room: RoomLeft | None = None) -> None:
        self._request = RequestWords(*(() if request is None else (request,)))
        self._results = ResultWords(key, room)
        self._calls: dict[bytes, float] = {}
        self._values: dict[bytes, float] = {}

    def asked(self, request: str) -> None:
        """The user asked this as well, before the calls to come."""
        self._request.add(request)

    def call(self, tool: str, *, effect: bool, arguments: Mapping[str, Any]) -> MatchedCall:
        """The next call, by the tool's name at its server; what does the same again counts once."""
        if not effect or not self._request.said:
            return MatchedCall()
        found = match_call(tool, arguments, self._request, self._results.sources)
        _count(self._calls, _hash(tool, fields(arguments)), found.off_task)
        for one in found.tainted:
            _count(self._values, _hash(tool, one.words), 0.5 if one.whole else 1.0)
        return found

    def result(self, tool: str, result: Any) -> None:
        """What the call before was answered: a text, or the value it stands for."""
        self._results.add(result, tool)

    @property
    def off_task(self) -> float:
        """How many different calls the request does not speak of, in halves."""
        return sum(self._calls.values())

    @property
    def tainted(self) -> float:
        """How many different values came from results alone, in halves."""
        return sum(self._values.values())

    @property
    def score(self) -> float:
        """Both together: the larger, the less the session follows from its request."""
        return self.off_task + self.tainted


def _count(counted: dict[bytes, float], what: bytes, weight: float) -> None:
    if weight and (what in counted or len(counted) < _MOST_COUNTED):
        counted[what] = max(counted.get(what, 0.0), weight)


def _hash(tool: str, about: str | Iterable[tuple[str, str]]) -> bytes:
    said = repr((tool, about if isinstance(about, str) else list(about)))
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest()
