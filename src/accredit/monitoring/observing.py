"""What agents did in the last days, folded from the log: how much they touched, for whom, with whom, and unattended.

Nothing of it is kept: whoever starts reads the days of the window again, in batches and beside everything else, and
comes to the same. Only headers and bodies are read; users and tasks are known by their pseudonyms. Days are whole ones
since the epoch, UTC. What is kept of one agent is bounded, and so is what is kept of all.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from accredit.audit.model import StoredRecord
from accredit.audit.ports import LogReader
from accredit.audit.records import body_of, header_of, stored_record
from accredit.enforcement.model import CallEnd
from accredit.kernel.detector import Sensitive
from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import Effect, WriteScope
from accredit.registry.observation import CONSEQUENTIAL, WINDOW_DAYS, ObservedUse, SeenClass, UsedCaller, UsedTool
from accredit.registry.tiering import effect_level

__all__ = ["ObservedTraffic", "SeenUse", "WorkedWith", "use_in"]

_DAY_US: Final = 86_400_000_000
_DAYS: Final = max(WINDOW_DAYS)
_BATCH: Final = 500
_NOT_A_PERSON: Final = frozenset({Sensitive.IP_ADDRESS})
"""Kinds whose values are of nobody in particular: two of them are not two persons."""
_MOST_TOOLS: Final = 400
"""(Version, tool) pairs kept of one agent, the newest ones; a manifest has 200 tools at most."""
_MOST_PLACES: Final = 50
_MOST_CALLERS: Final = 50
_MOST_SUBJECTS: Final = 8
_MOST_TASKS: Final = 50_000
"""Tasks of all agents together, the newest ones."""
_MOST_OF_TASK: Final = 16
"""Agents kept of one task."""
_SLOTS: Final = 1_024
_EVIDENCE: Final = 5
_COUNT_BITS: Final = 40
_MOST_COUNTED: Final = (1 << _COUNT_BITS) - 1
_POSITION_BITS: Final = 44
_MOST_OPEN: Final = 20_000
_SECRET: Final = {kind.value: kind for kind in Sensitive}


@dataclass(frozen=True, slots=True)
class SeenUse:
    """A call of an agent as one record tells it: that it was let through, or how it ended."""

    position: int
    day: int
    agent: AgentId
    version: str
    tool: ToolId
    level: int
    """Effect from 1 to 4, as the tool was registered then."""
    decision_id: str
    ended: bool
    sent: bool = False
    attended: bool = False
    """Whether a person granted it."""
    user: str | None = None
    task: str | None = None
    callers: tuple[AgentId, ...] = ()
    detected: Mapping[str, int] = field(default_factory=dict)
    """Different values of each kind in what the agent was told."""


@dataclass(frozen=True, slots=True)
class WorkedWith:
    """Two agents that worked on the same things."""

    agents: tuple[AgentId, AgentId]
    """In order."""
    tasks: int
    """Tasks that both worked on."""
    handed_on: int
    """Pieces of work that one had from the other."""
    records: tuple[int, ...]


def use_in(record: StoredRecord) -> SeenUse | None:
    """What a record tells of use, if it does. Calls that were refused or held are none."""
    header = header_of(record)
    kind = header["kind"]
    if kind not in {"decision", "outcome"} or header["decision"] != "allow" or not header["tool"]:
        return None
    if not header["agent"] or not header["version"]:
        return None
    body = body_of(record)
    effect = Effect(header["effect"]) if header.get("effect") else None
    scope = WriteScope(header["scope"]) if header.get("scope") else None
    told = kind == "outcome" and body.get("end") != CallEnd.WITHHELD.value
    return SeenUse(
        position=record.seq,
        day=header["time"] // _DAY_US,
        agent=AgentId(header["agent"]),
        version=header["version"],
        tool=ToolId(header["tool"]),
        level=effect_level(effect, scope),
        decision_id=str(body.get("decision_id")),
        ended=kind == "outcome",
        sent=bool(body.get("sent")),
        attended=bool(body.get("grants")),
        user=body.get("user"),
        task=body.get("task"),
        callers=tuple(AgentId(hop[0]) for hop in body.get("hops") or ()),
        detected=(body.get("detected") or {}) if told else {},
    )


# -- what is kept


class _Days:
    """A count for each of the last days, and the newest records of them. Small: a fleet has tens of thousands."""

    __slots__ = ("_counts", "_records")

    def __init__(self) -> None:
        self._counts = array("Q")
        """Day and count in one number each."""
        self._records = array("Q")
        """Day and position in one number each, the newest ones."""

    def add(self, day: int, position: int, count: int = 1) -> None:
        counts = self._counts
        at = next((at for at in range(len(counts) - 1, -1, -1) if counts[at] >> _COUNT_BITS == day), None)
        if at is None:
            counts.append(day << _COUNT_BITS | min(count, _MOST_COUNTED))
        else:
            counts[at] = day << _COUNT_BITS | min((counts[at] & _MOST_COUNTED) + count, _MOST_COUNTED)
        self.show(day, position)
        if len(counts) > _DAYS:
            counts.pop(min(range(len(counts)), key=counts.__getitem__))

    def show(self, day: int, position: int) -> None:
        """Keep a record of that day as evidence."""
        self._records.append(day << _POSITION_BITS | position)
        if len(self._records) > _EVIDENCE:
            self._records.pop(0)

    def since(self, day: int) -> int:
        return sum(one & _MOST_COUNTED for one in self._counts if one >> _COUNT_BITS >= day)

    def shown(self, day: int) -> tuple[int, ...]:
        kept = (one for one in self._records if one >> _POSITION_BITS >= day)
        return tuple(one & ((1 << _POSITION_BITS) - 1) for one in kept)

    @property
    def newest(self) -> int:
        """Of its records; -1 without one."""
        return self._records[-1] & ((1 << _POSITION_BITS) - 1) if self._records else -1


class _Tool:
    __slots__ = ("alone", "attended", "executed", "last", "level")

    def __init__(self) -> None:
        self.level, self.last = 0, -1
        self.executed = _Days()
        self.alone: _Days | None = None
        self.attended: _Days | None = None

    def decided(self, one: SeenUse) -> None:
        """Of calls that change something for others: whether a person decided on it."""
        if one.level < CONSEQUENTIAL:
            return
        if one.attended:
            self.attended = self.attended or _Days()
            self.attended.add(one.day, one.position)
        else:
            self.alone = self.alone or _Days()
            self.alone.add(one.day, one.position)

    def counted(self, since: int) -> tuple[int, int, int]:
        """Executed, alone, attended."""
        days = (self.executed, self.alone, self.attended)
        executed, alone, attended = (0 if each is None else each.since(since) for each in days)
        return executed, alone, attended


class _Class:
    __slots__ = ("checked", "places", "subjects", "values")

    def __init__(self) -> None:
        self.checked = _Days()
        self.values: dict[int, int] = {}
        """By day: the most different values in one result."""
        self.subjects: dict[str, int] = {}
        """Tasks or users, with the newest day."""
        self.places: dict[tuple[str, ToolId], int] = {}


class _Use:
    __slots__ = ("callers", "classes", "in_part", "tools", "users")

    def __init__(self) -> None:
        self.tools: dict[tuple[str, ToolId], _Tool] = {}
        self.classes: dict[str, _Class] = {}
        self.callers: dict[AgentId, _Days] = {}
        self.users: array[int] | None = None
        """By slot: the newest day of a user whose pseudonym falls into it. Two may share one, so they are never
        counted as more than they are."""
        self.in_part = False


class ObservedTraffic:
    """The fold. Read in from one task; asked from any thread."""

    def __init__(self, records: LogReader) -> None:
        self._records = records
        self._agents: dict[AgentId, _Use] = {}
        self._tasks: OrderedDict[str, dict[AgentId, tuple[int, int]]] = OrderedDict()
        self._pending: OrderedDict[str, str] = OrderedDict()
        """By decision id: whom a call was for that has not ended."""
        self._alone = threading.Lock()
        self._position: int | None = None
        self._today = 0
        self._touched: set[AgentId] = set()

    # -- reading

    @property
    def behind(self) -> int | None:
        """How many records are not read yet; None: it has not begun."""
        return None if self._position is None else max(self._records.size() - self._position, 0)

    def catch_up(self, now_us: int, *, at_most: int) -> bool:
        """Read on, a bounded number of records; whether all were read. Blocks: to be called in a thread.

        Raises:
            UnavailableError: the log cannot be read; reading on goes on where it stopped.
        """
        today = now_us // _DAY_US
        if self._position is None:
            self._position = self._first_since((today - _DAYS + 1) * _DAY_US)
        self._expire(today)
        end = min(self._records.size(), self._position + at_most)
        while self._position < end:
            until = min(end, self._position + _BATCH)
            rows = self._records.rows(self._position, until)
            seen = [use_in(stored_record(self._records.stream, row, {})) for row in rows]
            self.add(one for one in seen if one is not None)
            self._position = until
        return self._position >= self._records.size()

    def _first_since(self, time_us: int) -> int:
        """The first record that is not older: times in a log only go on, but for a clock that was put right."""
        low, high = 0, self._records.size()
        while low < high:
            middle = (low + high) // 2
            row = next(iter(self._records.rows(middle, middle + 1)), None)
            if row is None or header_of(stored_record(self._records.stream, row, {}))["time"] >= time_us:
                high = middle
            else:
                low = middle + 1
        return low

    def add(self, seen: Iterable[SeenUse]) -> None:
        """Take these in, in the order of the log."""
        with self._alone:
            for one in seen:
                self._add(one)
                self._touched.add(one.agent)

    def touched(self) -> frozenset[AgentId]:
        """Agents of which something may be otherwise since this was last asked."""
        with self._alone:
            found, self._touched = frozenset(self._touched), set()
            return found

    def _add(self, one: SeenUse) -> None:
        use = self._agents.setdefault(one.agent, _Use())
        tool = use.tools.get((one.version, one.tool))
        if tool is None:
            if len(use.tools) >= _MOST_TOOLS:
                use.in_part = True
                del use.tools[min(use.tools, key=lambda key: (use.tools[key].last, key))]
            tool = use.tools[one.version, one.tool] = _Tool()
        tool.level, tool.last = max(tool.level, one.level), one.position
        if one.ended:
            if one.sent:
                tool.executed.add(one.day, one.position)
            self._detected(use, one)
            return
        tool.decided(one)
        whom = one.task or one.user
        if whom is not None:
            self._pending[one.decision_id] = whom
            if len(self._pending) > _MOST_OPEN:
                self._pending.popitem(last=False)
        if one.user is not None:
            if use.users is None:
                use.users = array("H", bytes(2 * _SLOTS))
            slot = int.from_bytes(sha256(one.user.encode()).digest()[:4], "big") % _SLOTS
            use.users[slot] = max(use.users[slot], one.day)
        for caller in one.callers:
            if caller not in use.callers and len(use.callers) >= _MOST_CALLERS:
                use.in_part = True
                del use.callers[min(use.callers, key=lambda key: (use.callers[key].newest, key))]
            use.callers.setdefault(caller, _Days()).add(one.day, one.position)
        if one.task is not None:
            of = self._tasks.setdefault(one.task, {})
            self._tasks.move_to_end(one.task)
            if one.agent in of or len(of) < _MOST_OF_TASK:
                of[one.agent] = (one.day, one.position)
            if len(self._tasks) > _MOST_TASKS:
                self._tasks.popitem(last=False)

    def _detected(self, use: _Use, one: SeenUse) -> None:
        whom = self._pending.pop(one.decision_id, None)
        persons: dict[str, int] = {}
        for name, count in one.detected.items():
            kind = _SECRET.get(name)
            if kind is None:
                continue
            of = use.classes.setdefault(kind.data_class, _Class())  # as many as kinds have classes
            if kind.checked:
                of.checked.add(one.day, one.position, count)
            else:
                of.checked.show(one.day, one.position)
            if kind not in _NOT_A_PERSON:
                persons[kind.data_class] = max(persons.get(kind.data_class, 0), count)
            of.places[one.version, one.tool] = one.day
            if len(of.places) > _MOST_PLACES:
                use.in_part = True
                del of.places[min(of.places, key=lambda key: (of.places[key], key))]
        for name, count in persons.items():
            of = use.classes[name]
            of.values[one.day] = max(of.values.get(one.day, 0), count)
            if whom is not None:
                of.subjects.pop(whom, None)
                of.subjects[whom] = one.day
                if len(of.subjects) > _MOST_SUBJECTS:
                    del of.subjects[next(iter(of.subjects))]

    def _expire(self, today: int) -> None:
        """Forget what no window reaches any more, once a day; whom that concerns may be otherwise now."""
        if today <= self._today:
            return
        with self._alone:
            self._today, since = today, today - _DAYS + 1
            for agent, use in list(self._agents.items()):
                self._touched.add(agent)
                for key, tool in list(use.tools.items()):
                    if not any(tool.counted(since)):
                        del use.tools[key]
                for name, of in list(use.classes.items()):
                    of.values = {day: count for day, count in of.values.items() if day >= since}
                    of.subjects = {whom: day for whom, day in of.subjects.items() if day >= since}
                    of.places = {place: day for place, day in of.places.items() if day >= since}
                    if not of.places:
                        del use.classes[name]
                use.callers = {caller: days for caller, days in use.callers.items() if days.since(since)}
                if not (use.tools or use.classes or use.callers):
                    del self._agents[agent]
            old = [task for task, of in self._tasks.items() if max(day for day, _ in of.values()) < since]
            for task in old:
                del self._tasks[task]

    # -- asking

    def agents(self) -> frozenset[AgentId]:
        """Those of which anything was seen."""
        with self._alone:
            return frozenset(self._agents)

    def use(self, agent: AgentId, now_us: int, *, days: int = _DAYS) -> ObservedUse:
        """What an agent did today and in the days before, as far as the log was read."""
        since = now_us // _DAY_US - days + 1
        with self._alone:
            use = self._agents.get(agent)
            if use is None:
                return ObservedUse(days)
            return ObservedUse(
                days,
                tuple(_classes(use, since)),
                tuple(_tools(use, since)),
                tuple(
                    UsedCaller(caller, of.since(since), of.shown(since))
                    for caller, of in sorted(use.callers.items())
                    if of.since(since)
                ),
                0 if use.users is None else sum(at >= since for at in use.users),
                use.in_part,
            )

    def worked_together(self, now_us: int) -> tuple[WorkedWith, ...]:
        """Every two agents that worked on the same tasks, or of which one had work from the other."""
        since = now_us // _DAY_US - _DAYS + 1
        tasks: dict[tuple[AgentId, AgentId], list[int]] = {}
        handed: dict[tuple[AgentId, AgentId], tuple[int, tuple[int, ...]]] = {}
        with self._alone:
            for of in self._tasks.values():
                if len(of) < 2:
                    continue
                late = sorted((agent, position) for agent, (day, position) in of.items() if day >= since)
                for number, (first, at) in enumerate(late):
                    for second, later in late[number + 1 :]:
                        tasks.setdefault((first, second), []).append(max(at, later))
            for agent, use in self._agents.items():
                for caller, days in use.callers.items():
                    if times := days.since(since):
                        pair = (min(agent, caller), max(agent, caller))
                        before = handed.get(pair, (0, ()))
                        handed[pair] = (before[0] + times, (*before[1], *days.shown(since)))
        return tuple(
            WorkedWith(
                pair,
                len(tasks.get(pair, ())),
                handed.get(pair, (0, ()))[0],
                tuple(sorted({*tasks.get(pair, ()), *handed.get(pair, (0, ()))[1]})[-_EVIDENCE:]),
            )
            for pair in sorted({*tasks, *handed})
            if pair[0] != pair[1]
        )


def _classes(use: _Use, since: int) -> Iterator[SeenClass]:
    for name, of in sorted(use.classes.items()):
        places = tuple(sorted(place for place, day in of.places.items() if day >= since))
        if places:
            subjects = sum(day >= since for day in of.subjects.values())
            values = max((count for day, count in of.values.items() if day >= since), default=0)
            records = tuple(dict.fromkeys(of.checked.shown(since)))
            yield SeenClass(name, of.checked.since(since), max(subjects, values), places, records)


def _tools(use: _Use, since: int) -> Iterator[UsedTool]:
    for (version, name), tool in sorted(use.tools.items()):
        executed, alone, attended = tool.counted(since)
        if executed or alone or attended:
            shown = [days.shown(since) for days in (tool.executed, tool.alone, tool.attended) if days is not None]
            yield UsedTool(version, name, tool.level, executed, alone, attended, next(filter(None, shown), ()))
