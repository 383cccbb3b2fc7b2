"""What the rules of immediate events remember of each agent, and what they find. Fed with records, in their order.

What is remembered is bounded: the newest agents, and of each the newest keys and tools. All of it but the habits goes
with the process: statistics begin at nothing again, which can only delay what they find. A record that is read again
after a failure counts once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.audit.model import StoredRecord, UsageDay
from accredit.audit.ports import Change, ControlLog, Write
from accredit.kernel.ids import AgentId, CredentialId, ToolId
from accredit.monitoring.events.facts import CallMade, CallReturned, MoreRefusals, made_in
from accredit.monitoring.events.habits import NO_HABITS, Habits, habits_doc, habits_from
from accredit.monitoring.events.loops import goes_round
from accredit.monitoring.events.places import NO_VISITS, Visits, visited
from accredit.monitoring.events.rises import ONE_IN, Rise, rise_over
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.novelty import UNREGISTERED
from accredit.monitoring.rows import HABITS

__all__ = ["HISTORY_DAYS", "ImmediateEvents"]

HISTORY_DAYS: Final = 30
_DAY_US: Final = 86_400_000_000
_HOUR_US: Final = 3_600_000_000
_AGENTS: Final = 20_000
_TOOLS: Final = 64
_KEYS: Final = 64


@dataclass(slots=True)
class _Statistic:
    """One running test."""

    rise: Rise | None
    value: float = 0.0
    began_us: int = 0
    """When it last left nothing."""
    hits: int = 0

    def step(self, at_us: int, *, hit: bool, count: int = 1) -> bool:
        """Whether it alarms; then it begins anew."""
        if self.rise is None:
            return False
        if self.value <= 0.0:
            self.began_us, self.hits = at_us, 0
        self.value = self.rise.step(self.value, hit=hit, count=count)
        self.hits += count if hit else 0
        if not self.rise.alarms(self.value):
            return False
        self.value = 0.0
        return True

    def go_on(self, before: _Statistic) -> None:
        """What another day bounds otherwise is not over."""
        self.value, self.began_us, self.hits = before.value, before.began_us, before.hits

    def evidence(self) -> dict[str, Any]:
        rise = self.rise
        assert rise is not None  # noqa: S101 - it alarmed
        return {
            "false_alarms": f"1 in {ONE_IN:,} calls",
            "seen": f"{self.hits} of the calls since it began",
            "since_us": self.began_us,
            "usual": f"{rise.p0 * 100:.1f} % at most",
        }


@dataclass(slots=True)
class _Watched:
    """One agent, on one day."""

    day: int
    refusals: _Statistic
    again: _Statistic
    errors: OrderedDict[ToolId | None, _Statistic] = field(default_factory=OrderedDict)
    history: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By tool: errors, and calls let through, in the days before."""
    visits: OrderedDict[CredentialId, Visits] = field(default_factory=OrderedDict)


class ImmediateEvents:
    """Every agent of this installation. Used by one thread at a time.

    `history` gives the daily roll-ups of an agent from one day on to before another.
    """

    def __init__(self, control: ControlLog, history: Callable[[AgentId, int, int], Iterable[UsageDay]]) -> None:
        self._control = control
        self._history = history
        self._agents: OrderedDict[AgentId, _Watched] = OrderedDict()
        self._habits: dict[AgentId, Habits] = {}
        self._unwritten: set[AgentId] = set()
        self._position = -1
        for row in control.view.scan(HABITS):
            self._habits[AgentId(row.key)] = habits_from(row.doc)

    @property
    def known(self) -> frozenset[AgentId]:
        """Agents of which habits are remembered."""
        return frozenset(self._habits)

    @property
    def position(self) -> int:
        """Of the newest record that was taken; -1: none was."""
        return self._position

    def take(self, record: StoredRecord) -> tuple[Deviation, ...]:
        """What one more record shows; nothing if it was taken before.

        Raises:
            UnavailableError: the log cannot be read; the record was not taken.
        """
        if record.seq <= self._position:
            return ()
        made = made_in(record)
        if made is None:
            self._position = record.seq
            return ()
        watched = self._watched(made.agent, made.time_us // _DAY_US)
        self._position = record.seq
        match made:
            case CallMade():
                return tuple(self._made(made, watched))
            case CallReturned():
                return tuple(self._returned(made, watched))
            case MoreRefusals():
                return tuple(self._refused(made, watched, made.count))

    def _watched(self, agent: AgentId, day: int) -> _Watched:
        found = self._agents.get(agent)
        if found is not None and found.day >= day:
            self._agents.move_to_end(agent)
            return found
        denies, calls, tools = 0, 0, dict[str, tuple[int, int]]()
        for one in self._history(agent, day - HISTORY_DAYS, day):
            use = one.usage
            denies, calls = denies + use.denies, calls + use.allows + use.denies + use.holds
            errors, before = tools.get(one.tool, (0, 0))
            tools[one.tool] = (errors + use.errors, before + use.allows)
        habits = self._habits.get(agent, NO_HABITS)
        made = _Watched(
            day, _Statistic(rise_over(denies, calls)), _Statistic(rise_over(habits.again, habits.calls)), history=tools
        )
        if found is not None:  # a day goes by: what was going on goes on
            made.refusals.go_on(found.refusals)
            made.again.go_on(found.again)
            made.visits = found.visits
        self._agents[agent] = made
        self._agents.move_to_end(agent)
        if len(self._agents) > _AGENTS:
            self._agents.popitem(last=False)
        return made

    def _made(self, call: CallMade, watched: _Watched) -> Iterable[Deviation]:
        if call.refused:
            yield from self._refused(call, watched, 1)
        else:
            watched.refusals.step(call.time_us, hit=False)
        if call.other_prompt and call.version is not None and call.decision == "allow":
            evidence = {"expected": "a text with the approved digest", "seen": "others, in the request to a model"}
            yield _found(call, AlertKind.POSTURE_INSTRUCTIONS, call.version, evidence)
        if goes_round(call):
            seen = f"{call.circle} calls in turn, {call.turns} times" if call.turns > 1 else f"{call.repeats + 1} times"
            yield _found(call, AlertKind.LOOP, call.tool or UNREGISTERED, {"seen": seen, "session": call.session})
        again = call.repeats > 0 and not call.waits
        if watched.again.step(call.time_us, hit=again):
            yield _found(call, AlertKind.RETRY_RISE, "calls", watched.again.evidence())
        yield from self._hours(call, again=again)
        yield from self._places(call, watched)

    def _refused(self, call: CallMade | MoreRefusals, watched: _Watched, count: int) -> Iterable[Deviation]:
        if watched.refusals.step(call.time_us, hit=True, count=count):
            yield _found(call, AlertKind.DENIAL_BURST, "calls", watched.refusals.evidence())

    def _returned(self, end: CallReturned, watched: _Watched) -> Iterable[Deviation]:
        if end.other_model and end.tool is not None:
            evidence = {"expected": end.tool, "seen": "another model, which the result of the record names"}
            yield _found(end, AlertKind.POSTURE_ANSWER, end.tool, evidence)
        test = watched.errors.get(end.tool)
        if test is None:
            errors, calls = watched.history.get(end.tool or "", (0, 0))
            test = watched.errors[end.tool] = _Statistic(rise_over(errors, calls))
            if len(watched.errors) > _TOOLS:
                watched.errors.popitem(last=False)
        watched.errors.move_to_end(end.tool)
        if test.step(end.time_us, hit=end.failed):
            yield _found(end, AlertKind.ERROR_RISE, end.tool or UNREGISTERED, test.evidence())

    def _hours(self, call: CallMade, *, again: bool) -> Iterable[Deviation]:
        before = self._habits.get(call.agent, NO_HABITS)
        if call.decision != "deny" and before.usual(call.time_us) is False:
            hour = call.time_us % _DAY_US // _HOUR_US
            usual = [f"{one:02d}:00" for one, day in enumerate(before.hours) if day >= 0]
            evidence = {"expected": usual, "seen": f"{hour:02d}:00 UTC"}
            yield _found(call, AlertKind.NEW_HOURS, f"{hour:02d}:00", evidence)
        after = before.seen(call.time_us)
        if after is not before:
            self._unwritten.add(call.agent)
        self._habits[call.agent] = after.counted(again=again)

    def _places(self, call: CallMade, watched: _Watched) -> Iterable[Deviation]:
        if not call.credential:
            return
        visits = visited(watched.visits.get(call.credential, NO_VISITS), call.place, call.time_us)
        watched.visits[call.credential] = visits
        watched.visits.move_to_end(call.credential)
        if len(watched.visits) > _KEYS:
            watched.visits.popitem(last=False)
        if visits.at_once:
            watched.visits[call.credential] = NO_VISITS
            evidence = {"places": list(visits.places), "seen": f"{len(visits.seen)} networks by turns"}
            yield _found(call, AlertKind.SHARED_KEY, call.credential, evidence)

    # -- habits, as rows

    @property
    def unwritten(self) -> int:
        """Of how many agents habits are not written yet."""
        return len(self._waiting())

    def writes(self, limit: int) -> tuple[Write, ...]:
        """Habits that are not written yet, and the removal of those that are forgotten."""
        return tuple(
            Write(HABITS, one, habits_doc(self._habits[one]) if one in self._habits else None)
            for one in self._waiting()[:limit]
        )

    def forget(self, agent: AgentId) -> None:
        """It is retired: nothing of it is remembered any more."""
        self._agents.pop(agent, None)
        if self._habits.pop(agent, None) is not None:
            self._unwritten.add(agent)

    def follow(self, change: Change) -> None:
        """Note what is written. To be told of every change."""
        for write in change.writes:
            if write.kind == HABITS:
                self._unwritten.discard(AgentId(write.key))

    def _waiting(self) -> list[AgentId]:
        unproven = self._control.unproven  # what the log contradicts cannot be written over
        return [one for one in sorted(self._unwritten) if (HABITS, one) not in unproven]


def _found(
    call: CallMade | CallReturned | MoreRefusals, kind: AlertKind, matter: str, evidence: Mapping[str, Any]
) -> Deviation:
    return Deviation(
        call.agent, kind, matter, {**evidence, "record": call.position}, call.time_us, call.position, call.tool
    )
