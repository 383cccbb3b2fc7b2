"""Sessions out of the records of the log, until they are finished. Pure: records come in order, time is handed in.

A session is the one that the record of a decision names (`enforcement/sessions.py`). What was refused before it had one
counts for the session that its agent has for the same user and task, or for one of its own. It is finished when it was
idle for as long as the ledger's sessions are and no call of it is open, or its last one is open for a day.

INVARIANT: what is finished, and in which order, follows from the records and from times alone that are not before them:
sessions finish in the order in which they fall due. So whoever reads the log again comes to the same profiles, with the
same numbers.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, DecisionId
from accredit.monitoring.profiles.matching import RequestMatch
from accredit.monitoring.profiles.model import CallOutcome, Feature, ProfiledCall, SessionProfile
from accredit.monitoring.profiles.reading import SeenAsk, SeenEnd, answer_of
from accredit.monitoring.profiles.shapes import values_of
from accredit.policy.origins import RoomLeft

__all__ = ["OpenSessions", "ToolFacts"]

ToolFacts = Callable[[Digest], tuple[str, Mapping[str, Any]]]
"""Of a pinned definition: the tool's name at its server, and its input schema."""

_MOST_CALLS: Final = 512
_MOST_OPEN: Final = 50_000
_MOST_SEEN: Final = 4_096
_MOST_HEARD: Final = 1_000_000
"""Hashes of results that are remembered of all sessions together."""
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 86_400_000_000
_NANO: Final = 1e9
_MICRO: Final = 1e6

_NO_SCHEMA: Final[Mapping[str, Any]] = {}
_Place = tuple[AgentId, str | None, str | None]


class _Session:
    """What is known of a session that goes on."""

    __slots__ = (
        "agent", "answer_bytes", "answers", "arguments", "asked", "began_us", "calls", "cost", "cut", "declined",
        "due_us", "empty", "ended_us", "errors", "executed", "first", "id", "in_part", "last", "latency", "match",
        "models", "number", "open", "outcomes", "place", "reasoned", "reasoning", "repeats", "results", "seen",
        "tokens", "tool_calls", "tools", "touched", "version",
    )  # fmt: skip

    def __init__(self, id_: str, place: _Place, ask: SeenAsk, number: int, match: RequestMatch) -> None:
        self.id, self.place, self.agent, self.number = id_, place, ask.agent, number
        self.version: Digest | None = ask.version
        self.first = self.last = ask.position
        self.began_us = self.ended_us = self.due_us = ask.time_us
        self.calls: list[ProfiledCall] = []
        self.outcomes: dict[CallOutcome, int] = defaultdict(int)
        self.open: dict[DecisionId, tuple[int | None, SeenAsk]] = {}
        """Calls that did not end yet, with their place among those kept."""
        self.tools: set[str] = set()
        self.touched: set[str] = set()
        self.seen: set[bytes] = set()
        self.repeats = self.arguments = self.results = self.cost = self.latency = 0
        self.executed = self.errors = self.tool_calls = self.reasoned = 0
        self.answers = self.declined = self.empty = self.cut = self.answer_bytes = self.reasoning = 0
        self.tokens: int | None = None
        self.models = False
        self.match = match
        self.asked = False
        self.in_part = False


class OpenSessions:
    """All sessions that are not finished. Not thread safe."""

    def __init__(self, *, idle_us: int, hashed: Callable[[str], str], key: bytes, tool_facts: ToolFacts) -> None:
        """`key` is for what is remembered of results, `hashed` for what is kept of names."""
        self._idle_us = idle_us
        self._key, self._room = key, RoomLeft(_MOST_HEARD)
        self._hashed = hashed
        self._tool_facts = tool_facts
        self._live: dict[tuple[AgentId, str], _Session] = {}
        self._at: dict[_Place, str] = {}
        """The session that an agent has for a user and task."""
        self._of: dict[DecisionId, tuple[AgentId, str]] = {}
        self._due: list[tuple[int, int, AgentId, str]] = []
        """A heap of when sessions may fall due; what is there twice counts once."""
        self._now_us = 0
        self._begun = 0

    @property
    def until_us(self) -> int:
        """Sessions that fell due until then are finished."""
        return self._now_us

    @property
    def open_from(self) -> int | None:
        """Seq of the oldest record of a session that is not finished."""
        return min((one.first for one in self._live.values()), default=None)

    def __len__(self) -> int:
        return len(self._live)

    # -- what is read

    def add(self, step: SeenAsk | SeenEnd) -> list[SessionProfile]:
        """One more record; the sessions that were over before it, in the order in which they fell due."""
        finished = self.finished(step.time_us)
        if isinstance(step, SeenAsk):
            self._ask(step)
        else:
            self._end(step)
        if len(self._live) > _MOST_OPEN:
            oldest = min(self._live.values(), key=lambda one: (one.due_us, one.number))
            finished.append(self._finish(oldest))
        return finished

    def finished(self, now_us: int) -> list[SessionProfile]:
        """The sessions that are over by then, in the order in which they fell due. Time that goes back is ignored."""
        self._now_us = max(self._now_us, now_us)
        found = []
        while self._due and self._due[0][0] <= self._now_us:
            due_us, _, agent, name = heapq.heappop(self._due)
            one = self._live.get((agent, name))
            if one is None or one.due_us != due_us:
                continue
            found.append(self._finish(one))
        return found

    def _ask(self, ask: SeenAsk) -> None:
        place = ask.agent, ask.user, ask.task
        name = ask.session or self._at.get(place) or f"refused-{ask.decision}"
        one = self._live.get((ask.agent, name))
        if one is None:
            self._begun += 1
            one = self._live[ask.agent, name] = _Session(
                name, place, ask, self._begun, RequestMatch(None, key=self._key, room=self._room)
            )
        self._at[place] = name
        outcome = {"allow": CallOutcome.UNKNOWN, "hold": CallOutcome.HELD}.get(ask.outcome, CallOutcome.DENIED)
        if ask.ran_elsewhere and outcome is CallOutcome.UNKNOWN:
            outcome = CallOutcome.OK
        at = self._call(one, ask, outcome)
        if outcome is CallOutcome.UNKNOWN:
            one.open[ask.decision] = at, ask
            self._of[ask.decision] = ask.agent, one.id
        one.touched.update(ask.data if outcome is not CallOutcome.DENIED else ())
        self._touch(one, ask.position, ask.time_us)

    def _call(self, one: _Session, ask: SeenAsk, outcome: CallOutcome) -> int | None:
        one.outcomes[outcome] += 1
        one.models |= ask.model
        one.tools.add(ask.tool) if len(one.tools) < _MOST_SEEN else None
        values: tuple[Any, ...] = ()
        if ask.arguments is None:
            one.in_part = True
        elif ask.model:
            asked = ask.arguments.get("user_text")
            if isinstance(asked, str) and asked:
                one.match.asked(asked)
                one.asked = True
            one.arguments += int(ask.arguments.get("input_bytes") or 0)
        else:
            one.tool_calls += 1
            one.reasoned += ask.reasoned
            name, schema = (ask.tool, _NO_SCHEMA) if ask.definition is None else self._tool_facts(ask.definition)
            values = values_of(ask.arguments, self._hashed, schema)
            written = orjson.dumps(ask.arguments, option=orjson.OPT_SORT_KEYS)
            one.arguments += len(written)
            digest = blake2b(ask.tool.encode() + b"\0" + written, digest_size=12).digest()
            one.repeats += digest in one.seen
            one.seen.add(digest) if len(one.seen) < _MOST_SEEN else None
            if one.asked and outcome is not CallOutcome.DENIED:
                one.match.call(name, effect=ask.acts, arguments=ask.arguments)
        if len(one.calls) == _MOST_CALLS:
            return None
        one.calls.append(ProfiledCall(ask.tool, outcome, values))
        return len(one.calls) - 1

    def _end(self, end: SeenEnd) -> None:
        named = self._of.pop(end.decision, None)
        one = None if named is None else self._live.get(named)
        if one is None:  # it was finished long ago, or never begun here
            return
        at, ask = one.open.pop(end.decision)
        outcome = CallOutcome.OK if end.well else CallOutcome.ERROR
        one.outcomes[CallOutcome.UNKNOWN] -= 1
        one.outcomes[outcome] += 1
        if at is not None:
            kept = one.calls[at]
            one.calls[at] = ProfiledCall(kept.tool, outcome, kept.values)
        one.executed += 1
        one.errors += not end.well
        one.results += end.size
        one.cost += end.cost_nanos
        one.latency += end.duration_us
        one.touched.update(end.data)
        if ask.model:
            self._answered(one, end)
        elif one.asked and (result := end.result()) is not None:
            one.match.result(ask.tool, result)
        self._touch(one, end.position, end.time_us)

    def _answered(self, one: _Session, end: SeenEnd) -> None:
        result = end.result()
        if result is None:
            one.in_part = True
            return
        answer = answer_of(result)
        one.answers += 1
        one.declined += answer.declined
        one.cut += answer.cut
        one.empty += end.well and not (answer.text_bytes or answer.calls or answer.declined)
        one.answer_bytes = answer.text_bytes
        one.reasoning += answer.reasoning_bytes
        if answer.tokens is not None:
            one.tokens = (one.tokens or 0) + answer.tokens

    def _touch(self, one: _Session, position: int, time_us: int) -> None:
        one.last = max(one.last, position)
        one.ended_us = max(one.ended_us, time_us)
        due_us = one.ended_us + (max(self._idle_us, _DAY_US) if one.open else self._idle_us)
        if due_us != one.due_us:
            one.due_us = due_us
            heapq.heappush(self._due, (due_us, one.number, one.agent, one.id))

    # -- what comes of it

    def _finish(self, one: _Session) -> SessionProfile:
        del self._live[one.agent, one.id]
        for decision in one.open:
            self._of.pop(decision, None)
        if self._at.get(one.place) == one.id:
            del self._at[one.place]
        return SessionProfile(
            agent=one.agent,
            session=one.id,
            version=one.version,
            first=one.first,
            last=one.last,
            began_us=one.began_us,
            ended_us=one.ended_us,
            calls=tuple(one.calls),
            features={name.value: float(value) for name, value in _features(one)},
            in_part=one.in_part,
        )


def _features(one: _Session) -> Iterator[tuple[Feature, float]]:
    """What was measured; what rests on a part that was erased is left out."""
    many = sum(one.outcomes.values())
    yield Feature.CALLS, many
    yield Feature.TOOLS, len(one.tools)
    yield Feature.DENIED, one.outcomes[CallOutcome.DENIED]
    yield Feature.HELD, one.outcomes[CallOutcome.HELD]
    yield Feature.DATA_CLASSES, len(one.touched)
    yield Feature.HOUR, one.began_us % _DAY_US / _HOUR_US
    yield Feature.SECONDS, (one.ended_us - one.began_us) / _MICRO
    if one.executed:
        yield Feature.ERRORS, one.errors / one.executed
        yield Feature.RESULT_BYTES, one.results
        yield Feature.COST, one.cost / _NANO
        yield Feature.LATENCY, one.latency / _MICRO
    if one.in_part:
        return
    yield Feature.ARGUMENT_BYTES, one.arguments
    yield Feature.REPEATS, one.repeats
    if one.tool_calls and one.models:
        yield Feature.REASONED, one.reasoned / one.tool_calls
    if one.tokens is not None:
        yield Feature.TOKENS, one.tokens
    if one.answers:
        yield Feature.ANSWER_BYTES, one.answer_bytes
        yield Feature.REASONING_BYTES, one.reasoning
        yield Feature.REFUSALS, one.declined / one.answers
        yield Feature.EMPTY, one.empty / one.answers
        yield Feature.TRUNCATED, one.cut / one.answers
    if one.asked:
        yield Feature.OFF_TASK, one.match.off_task
        yield Feature.TAINTED, one.match.tainted
