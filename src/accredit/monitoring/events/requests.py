"""Calls with an effect that do not follow from what the user asked, as records tell. No I/O of its own.

What a user asked stands in three places, and where it stands in none nothing is said:

1  the agent's requests to models, through the gateway: the user's text in them
2  what the agent declares with a call: the text `request` of its claims
3  the verified claims of its task: the text `request` of them

It is known by credential, user and task, like the origins of arguments (`enforcement/wishes.py`), for an hour. From
then on results are remembered as `policy/origins.py` does, and each call with an effect is compared
(`profiles/matching.py`). Told of is what is both: not what was asked for, or only half of it, and about somebody or
something that only a text within a result names. Parts of records are opened for that; what was erased says nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote

from accredit.audit.model import StoredRecord
from accredit.audit.records import body_of, header_of
from accredit.kernel.ids import AgentId, ToolId
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.profiles.matching import MatchedCall, RequestWords, match_call
from accredit.policy.origins import ResultWords, RoomLeft
from accredit.registry.model import Effect

__all__ = ["FollowedRequests"]

_LASTS_US: Final = 3_600_000_000
_SESSIONS: Final = 2_048
_REQUESTS: Final = 8
_MOST_REQUEST: Final = 8_192
_OPEN: Final = 20_000
_MOST_REMEMBERED: Final = 1_000_000
"""Hashes of all results together."""
_ALLOWANCE: Final = 200_000
"""Characters of results that one round looks at; what is left out taints nothing."""
_MOST_OPENED: Final = 2_000
"""Parts of records that one round opens; what is left out says nothing, and ends what it could have changed."""
_MODEL: Final = "llm/"
_ASKED: Final = "request"

_Key = tuple[AgentId, str, str | None, str | None]


@dataclass(slots=True)
class _Followed:
    """What one user asked one instance for, and what results said since."""

    results: ResultWords
    asked: deque[str] = field(default_factory=lambda: deque(maxlen=_REQUESTS))
    at_us: int = 0
    words: RequestWords = field(default_factory=RequestWords)

    def add(self, text: str, at_us: int) -> None:
        self.at_us = max(self.at_us, at_us)
        kept = text[-_MOST_REQUEST:]
        if kept and kept not in self.asked:
            self.asked.append(kept)
            self.words = RequestWords(*self.asked)


class FollowedRequests:
    """The requests that are being worked on. Used by one thread at a time.

    `opened` gives what a part of a record says, by position and name; nothing if it cannot be opened any more.
    `secret` gives the key of the hashes kept of one session's results.
    """

    def __init__(self, opened: Callable[[int, str], Mapping[str, Any]], secret: Callable[[], bytes]) -> None:
        self._open_part = opened
        self._secret = secret
        self._room = RoomLeft(_MOST_REMEMBERED)
        self._sessions: OrderedDict[_Key, _Followed] = OrderedDict()
        self._looked_at: OrderedDict[str, None] = OrderedDict()
        """Sessions whose first call was looked at for a request."""
        self._open: OrderedDict[str, tuple[_Key, str]] = OrderedDict()
        """By decision: whose call it is, and of which tool."""
        self._left = _ALLOWANCE
        self._parts_left = _MOST_OPENED

    def refill(self) -> None:
        """Another round begins."""
        self._left, self._parts_left = _ALLOWANCE, _MOST_OPENED

    def take(self, record: StoredRecord) -> Iterator[Deviation]:
        """What one more record shows."""
        header = header_of(record)
        if header["kind"] == "outcome":
            self._ended(record)
        elif header["kind"] == "decision" and header["agent"] and header["tool"]:
            yield from self._decided(record, header)

    def _decided(self, record: StoredRecord, header: Mapping[str, Any]) -> Iterator[Deviation]:
        body, at_us = body_of(record), header["time"]
        agent, tool = AgentId(header["agent"]), ToolId(header["tool"])
        key: _Key = (agent, str(body.get("credential")), body.get("user"), body.get("task"))
        if self._parts_left <= 0:
            self._sessions.pop(key, None)  # it may be asked something else by now
            return
        if str(body.get("protocol")).startswith(_MODEL):
            text = self._opened(record.seq, "arguments").get("user_text") if header["decision"] == "allow" else None
            if isinstance(text, str) and text:
                self._follow(key, text, at_us)
            return
        for text in self._stated(record, body):
            self._follow(key, text, at_us)
        followed = self._sessions.get(key)
        if followed is None or at_us - followed.at_us > _LASTS_US:
            return
        name = unquote(tool.partition("/")[2])
        if header["effect"] not in {None, Effect.READ.value}:
            found = match_call(name, self._opened(record.seq, "arguments"), followed.words, followed.results.sources)
            if found.mismatch and header["decision"] != "deny":
                yield _mismatch(found, agent, tool, record.seq, at_us)
        self._open[str(body.get("decision_id"))] = key, tool
        if len(self._open) > _OPEN:
            self._open.popitem(last=False)

    def _stated(self, record: StoredRecord, body: Mapping[str, Any]) -> Iterator[str]:
        """What the first call of a session states as its request, by its agent or its task."""
        session = body.get("session")
        if session is None or session in self._looked_at:
            return
        self._looked_at[session] = None
        if len(self._looked_at) > _SESSIONS:
            self._looked_at.popitem(last=False)
        context = self._opened(record.seq, "context")
        for place in ("declared", "task"):
            said = context.get(place)
            text = said.get(_ASKED) if isinstance(said, Mapping) else None
            if isinstance(text, str) and text:
                yield text

    def _follow(self, key: _Key, text: str, at_us: int) -> None:
        followed = self._sessions.get(key)
        if followed is None or at_us - followed.at_us > _LASTS_US:
            followed = self._sessions[key] = _Followed(ResultWords(self._secret(), self._room))
        followed.add(text, at_us)
        self._sessions.move_to_end(key)
        if len(self._sessions) > _SESSIONS:
            self._sessions.popitem(last=False)

    def _opened(self, position: int, part: str) -> Mapping[str, Any]:
        self._parts_left -= 1
        return self._open_part(position, part)

    def _ended(self, record: StoredRecord) -> None:
        found = self._open.pop(str(body_of(record).get("decision_id")), None)
        followed = None if found is None else self._sessions.get(found[0])
        if found is None or followed is None or self._left <= 0 or self._parts_left <= 0:
            return
        result = self._opened(record.seq, "result")
        self._left -= len(repr(result))
        followed.results.add(result, found[1])


def _mismatch(found: MatchedCall, agent: AgentId, tool: ToolId, position: int, at_us: int) -> Deviation:
    evidence = {
        "fields": sorted({one.field for one in found.tainted if not one.whole}),
        "record": position,
        "seen": "none of it was asked for" if found.off_task >= 1 else "it was asked for in part",
        "sources": sorted({source for one in found.tainted for source in one.sources}),
    }
    return Deviation(agent, AlertKind.TASK_MISMATCH, tool, evidence, at_us, position, tool)
