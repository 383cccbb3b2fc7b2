"""Sessions: what one agent did for one user and task lately, counted by us.

A session is a window of activity that ends after idle time. Its key is made of verified things only; a client's run
label neither joins nor splits sessions (DESIGN §3.15). Facts include the call being decided and every call in flight,
so that two calls at once cannot both be "the fifth"; a call that is refused or never sent gives its share back.

What a session touched is counted from the moment a call is on its way (`data`, `spend`, counters), since a call beside
it must not pass as if it had not been; what it has done (`used`) only once that ended well. Data classes that a result
turned out to have beyond those registered of its tool are counted from its end. The data classes that an instance ever
touched outlive its sessions: they are those of its own calls and, from before a start, of its agent's.

Counters with a window outlive sessions too: waiting until a session ends does not begin an hour anew.
No clock, no lock: readings are handed in, and one event loop owns a ledger.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Generic, TypeVar

from accredit.enforcement.repetition import Repetition, Tail, same_call
from accredit.identity.model import Principal
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, IdSource, ToolId
from accredit.kernel.shares import SharedRoom
from accredit.policy.config import Counter, CounterScope
from accredit.policy.measured import amount_of, fact_of
from accredit.policy.origins import ResultWords, RoomLeft

__all__ = ["PastActivity", "SessionKey", "SessionLedger", "SessionTurn"]

_SWEPT = 2  # more than one per newcomer, so that ended ones leave faster than new ones come
_SWEPT_IF_FULL = 256  # before an agent is refused
_MOST_COUNTED = 1_000_000
"""Calls that all counters together remember."""
_NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Whose activity: nothing in it can be chosen by the agent alone."""

    agent: AgentId
    user: str | None
    task: str | None

    @classmethod
    def of(cls, principal: Principal) -> SessionKey:
        """The key of a verified caller."""
        user, task = principal.user, principal.task
        return cls(principal.agent, user.key if user else None, task.key if task else None)


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """One call's tentative place in its session: to be committed or given back, once."""

    number: int
    key: SessionKey
    credential: CredentialId
    tool: ToolId
    session: Mapping[str, Any]
    """`context.session`: id, calls, calls_of_tool, denied, seconds, since_last, used, data, spend, and the counters."""
    instance: Mapping[str, Any]
    """`context.instance`: calls and data classes of this credential, whatever the user and task."""
    elapsed_us: int
    """Since the session's first call: what the run timeout is measured on."""
    repetition: Repetition = field(default_factory=Repetition)
    """How it repeats what the session did before."""


@dataclass(frozen=True, slots=True)
class PastActivity:
    """One call that an earlier process let through, as the log tells it."""

    key: SessionKey
    credential: CredentialId
    session: str
    tool: ToolId
    data: frozenset[str]
    time_us: int
    """By the wall clock."""
    ended_well: bool
    cost_nanos: int
    arguments: Mapping[str, Any] | None
    """None if they are not needed, or cannot be opened any more."""


class _Activity:
    """Counts of one session or instance."""

    __slots__ = (
        "calls",
        "classes",
        "denied",
        "first_us",
        "handed",
        "id",
        "in_flight",
        "last_us",
        "results",
        "spent",
        "sums",
        "tail",
        "tools",
        "used",
    )

    def __init__(self, new_id: str, now_us: int) -> None:
        self.id = new_id
        self.calls = 0
        self.denied = 0
        self.handed = 0
        """How often work was handed on in it."""
        self.tools: dict[ToolId, int] = {}
        self.classes: dict[ToolId, frozenset[str]] = {}
        """Data classes of each tool called."""
        self.used: set[ToolId] = set()
        """Tools of which a call ended well."""
        self.spent = 0
        """Nano-units, of calls that stand or are in flight."""
        self.sums: dict[Counter, Decimal] = {}
        """Of counters that last as long as the session."""
        self.results: ResultWords | None = None
        self.tail = Tail()
        self.in_flight: dict[int, int] = {}
        """Turn number -> begun at, oldest first."""
        self.first_us: int | None = None
        """When the first call that stands was begun."""
        self.last_us = now_us
        """When it was last active: a refused call is no activity, or hammering would keep a session from ending."""

    def begin(self, number: int, tool: ToolId, data: frozenset[str], cost_nanos: int, now_us: int) -> None:
        self.in_flight[number] = now_us
        self.calls += 1
        self.tools[tool] = self.tools.get(tool, 0) + 1
        self.classes[tool] = self.classes[tool] | data if tool in self.classes else data
        self.spent += cost_nanos

    def commit(self, number: int, tool: ToolId, now_us: int, *, ended_well: bool) -> None:
        begun_us = self.in_flight.pop(number)
        self.first_us = begun_us if self.first_us is None else min(self.first_us, begun_us)
        self.last_us = now_us
        if ended_well:
            self.used.add(tool)

    def give_back(self, number: int, tool: ToolId, cost_nanos: int) -> None:
        del self.in_flight[number]
        self.calls -= 1
        self.spent -= cost_nanos
        self.tools[tool] -= 1
        if not self.tools[tool]:
            del self.tools[tool]
            del self.classes[tool]

    def touched(self) -> set[str]:
        """Data classes of every call that stands or is in flight."""
        return set().union(*self.classes.values())

    def started_us(self) -> int:
        """When the oldest call that stands or is in flight was begun."""
        oldest = next(iter(self.in_flight.values()), self.last_us)
        return oldest if self.first_us is None else min(self.first_us, oldest)

    def ended(self, now_us: int, idle_us: int) -> bool:
        """Idle for long enough, or all it ever held was given back."""
        return not self.in_flight and (
            now_us - self.last_us >= idle_us or not (self.calls or self.denied or self.handed)
        )


_Key = TypeVar("_Key", bound=Hashable)


class _Activities(Generic[_Key]):
    """Live activities by key; as calls come, a sweep goes round and drops the ended ones."""

    def __init__(self, ids: IdSource, prefix: str, *, idle_us: int, capacity: int) -> None:
        self._ids = ids
        self._prefix = prefix
        self._idle_us = idle_us
        self._room = SharedRoom(capacity)
        self._live: OrderedDict[_Key, tuple[AgentId, _Activity]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def at(self, key: _Key, agent: AgentId, now_us: int) -> _Activity:
        """The live activity of a key, or a new one.

        Raises:
            UnavailableError: the agent has more than may be kept; forgetting one would hand it fresh counts.
        """
        self._sweep(now_us)
        found = self._live.get(key)
        if found is not None and not found[1].ended(now_us, self._idle_us):
            self._live.move_to_end(key)
            return found[1]
        if found is not None:
            self._drop(key)
        if not self._take(agent, now_us):
            raise UnavailableError(
                Code.LIMITS_UNAVAILABLE,
                "the agent has as many sessions as there is room for",
                hint="they end when they are idle",
            )
        made = _Activity(self._ids.new(self._prefix), now_us)
        self._live[key] = agent, made
        return made

    def _take(self, agent: AgentId, now_us: int) -> bool:
        if self._room.take(agent):
            return True
        self._sweep(now_us, _SWEPT_IF_FULL)
        return self._room.take(agent)

    def current(self, key: _Key, now_us: int) -> str | None:
        """The id of the live activity of a key; None if there is none."""
        found = self._live.get(key)
        return None if found is None or found[1].ended(now_us, self._idle_us) else found[1].id

    def begin_as(self, known_id: str, key: _Key, now_us: int) -> _Activity:
        """The live activity of a key begun anew under an id it had before."""
        made = _Activity(known_id, now_us)
        self._live[key] = self._live[key][0], made
        return made

    def _sweep(self, now_us: int, many: int = _SWEPT) -> None:
        for key in list(islice(self._live, many)):
            if self._live[key][1].ended(now_us, self._idle_us):
                self._drop(key)
            else:
                self._live.move_to_end(key)

    def _drop(self, key: _Key) -> None:
        agent, _ = self._live.pop(key)
        self._room.give(agent)


@dataclass(frozen=True, slots=True)
class _TaskScope:
    """An agent's task, whatever the user."""

    agent: AgentId
    task: str | None


_Scope = SessionKey | _TaskScope


class _Counted:
    """What one counter holds for one key: calls, oldest first, and their sum."""

    __slots__ = ("entries", "total")

    def __init__(self) -> None:
        self.entries: deque[tuple[int, int, Decimal]] = deque()
        """(begun at, turn number, amount); in the order they were begun."""
        self.total = Decimal(0)


class _Counters:
    """Every counter with a window, of every key, in bounded memory."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Counter, _Scope], _Counted] = OrderedDict()
        self._room = SharedRoom(_MOST_COUNTED)

    def total(self, counter: Counter, key: _Scope, now_us: int) -> Decimal:
        held = self._held.get((counter, key))
        if held is None:
            return Decimal(0)
        self._prune((counter, key), held, now_us)
        return held.total

    def add(self, counter: Counter, key: _Scope, number: int, amount: Decimal, at_us: int) -> None:
        """Raises UnavailableError: forgetting a call would hand its agent fresh counts."""
        self._sweep(at_us)
        if not self._room.take(key.agent):
            raise UnavailableError(
                Code.LIMITS_UNAVAILABLE,
                "counters remember as many calls of the agent as there is room for",
                hint="declare fewer counters, or shorter windows",
            )
        held = self._held.setdefault((counter, key), _Counted())
        held.entries.append((at_us, number, amount))
        held.total += amount

    def take_back(self, counter: Counter, key: _Scope, number: int) -> None:
        held = self._held.get((counter, key))
        for entry in reversed(held.entries) if held is not None else ():
            if entry[1] == number and held is not None:
                held.entries.remove(entry)
                held.total -= entry[2]
                self._room.give(key.agent)
                return

    def _prune(self, where: tuple[Counter, _Scope], held: _Counted, now_us: int) -> None:
        window_us = where[0].window_us
        while window_us is not None and held.entries and now_us - held.entries[0][0] >= window_us:
            held.total -= held.entries.popleft()[2]
            self._room.give(where[1].agent)
        if not held.entries:
            self._held.pop(where, None)

    def _sweep(self, now_us: int) -> None:
        for where in list(islice(self._held, _SWEPT)):
            self._held.move_to_end(where)
            self._prune(where, self._held[where], now_us)


@dataclass(frozen=True, slots=True)
class _Begun:
    """Where a turn counts."""

    session: _Activity
    instance: _Activity
    cost_nanos: int
    counted: list[tuple[Counter, _Scope, Decimal]]
    """What it added to which counter."""


class SessionLedger:
    """Every live session of this process, in bounded memory."""

    def __init__(self, ids: IdSource, *, idle_s: float = 1800, capacity: int = 200_000) -> None:
        idle_us = int(idle_s * 1_000_000)
        self.idle_us = idle_us
        self._ids = ids
        self._sessions: _Activities[SessionKey] = _Activities(ids, "ses", idle_us=idle_us, capacity=capacity)
        self._instances: _Activities[CredentialId] = _Activities(ids, "ins", idle_us=idle_us, capacity=capacity)
        self._counters = _Counters()
        self._room = RoomLeft()
        self._key = ids.secret(32)
        """Of the numbers by which calls are known to be the same: whoever sees one learns nothing."""
        self._tainted: defaultdict[CredentialId, set[str]] = defaultdict(set)
        """Data classes each instance touched and that stand, for good: one entry per credential that made a call."""
        self._inherited: dict[AgentId, frozenset[str]] = {}
        self._turns: dict[int, _Begun] = {}
        self._number = 0

    def __len__(self) -> int:
        """How many sessions are remembered."""
        return len(self._sessions)

    def current(self, key: SessionKey, now: Instant) -> str | None:
        """The id of the session that a call of that key would be in; None if it would begin one."""
        return self._sessions.current(key, now.boot_us)

    def begin(
        self,
        key: SessionKey,
        *,
        credential: CredentialId,
        tool: ToolId,
        now: Instant,
        data: frozenset[str] = frozenset(),
        cost_nanos: int = 0,
        counters: Iterable[Counter] = (),
        arguments: Mapping[str, Any] | None = None,
        repeated: bool = True,
    ) -> SessionTurn:
        """Count one call that is about to be decided, and tell the facts with it counted.

        `data` are the classes of what its result shows; they are told to later calls, not to this one. What is not to
        be known again as the same call (`repeated`) is no part of what the session repeats.

        Raises:
            UnavailableError: the agent has as many live sessions, or counted calls, as there is room for.
            InvalidInputError: an argument that a counter sums is no number that can be counted.
        """
        now_us = now.boot_us
        matching = [counter for counter in counters if tool in counter.tools]
        amounts = [(counter, amount_of(counter, arguments or {})) for counter in matching]
        session = self._sessions.at(key, key.agent, now_us)
        instance = self._instances.at(credential, key.agent, now_us)
        idle_us = now_us - session.last_us
        known = bool(session.calls)
        touched = session.touched()
        held = self._inherited.get(key.agent, frozenset()) | self._tainted.get(credential, set()) | instance.touched()
        self._number += 1
        number = self._number
        session.begin(number, tool, data, cost_nanos, now_us)
        instance.begin(number, tool, data, 0, now_us)
        begun = self._turns[number] = _Begun(session, instance, cost_nanos, [])
        try:
            for counter, amount in amounts:
                self._count(counter, key, begun, number, amount, now_us)
            elapsed_us = now_us - session.started_us()
            facts: dict[str, Any] = {
                "id": session.id,
                "calls": session.calls,
                "calls_of_tool": session.tools[tool],
                "denied": session.denied,
                "seconds": elapsed_us // 1_000_000,
                "used": sorted(session.used),
                "data": sorted(touched),
                "spend": fact_of((Decimal(session.spent) / _NANO).quantize(Decimal("0.0001"), "ROUND_UP")),
            }
            if known:
                facts["since_last"] = idle_us // 1_000_000
            for counter in counters:
                if counter.window_us is None:
                    total = session.sums.get(counter, Decimal(0))
                else:
                    total = self._counters.total(counter, _scope(counter, key), now_us)
                facts[counter.name] = fact_of(total)
        except BaseException:
            self._undo(number, tool)
            raise
        again = same_call(tool, arguments, self._key) if arguments is not None and repeated else None
        return SessionTurn(
            number,
            key,
            credential,
            tool,
            facts,
            {"calls": instance.calls, "data": sorted(held)},
            elapsed_us,
            session.tail.add(again) if again is not None else Repetition(),
        )

    def _count(
        self, counter: Counter, key: SessionKey, begun: _Begun, number: int, amount: Decimal, at_us: int
    ) -> None:
        where = _scope(counter, key)
        if counter.window_us is None:
            begun.session.sums[counter] = begun.session.sums.get(counter, Decimal(0)) + amount
        else:
            self._counters.add(counter, where, number, amount, at_us)
        begun.counted.append((counter, where, amount))

    def commit(self, turn: SessionTurn, now: Instant, *, ended_well: bool = True) -> bool:
        """The call was sent and has ended: its counts stand. False, and nothing done, the second time."""
        begun = self._turns.pop(turn.number, None)
        if begun is None:
            return False
        self._tainted[turn.credential] |= begun.session.classes.get(turn.tool, frozenset())
        for activity in (begun.session, begun.instance):
            activity.commit(turn.number, turn.tool, now.boot_us, ended_well=ended_well)
        return True

    def give_back(self, turn: SessionTurn, *, denied: bool = False) -> bool:
        """The call was refused (`denied` if by a decision) or never sent: its counts are undone.

        False, and nothing done, the second time.
        """
        begun = self._turns.get(turn.number)
        if begun is None:
            return False
        self._undo(turn.number, turn.tool)
        for activity in (begun.session, begun.instance):
            activity.denied += denied
        return True

    def _undo(self, number: int, tool: ToolId) -> None:
        begun = self._turns.pop(number)
        begun.session.give_back(number, tool, begun.cost_nanos)
        begun.instance.give_back(number, tool, 0)
        for counter, where, amount in begun.counted:
            if counter.window_us is None:
                begun.session.sums[counter] -= amount
            else:
                self._counters.take_back(counter, where, number)

    def handed_on(self, key: SessionKey, now: Instant, *, passed: bool) -> str:
        """The id of the session that work is handed on in. Handing on is activity, and no call; refused it is neither.

        Raises:
            UnavailableError: the agent has as many live sessions as there is room for.
        """
        session = self._sessions.at(key, key.agent, now.boot_us)
        if passed:
            session.handed += 1
            session.last_us = now.boot_us
        return session.id

    # -- results

    def results(self, turn: SessionTurn) -> ResultWords | None:
        """What results of the turn's session said; None if none was remembered."""
        begun = self._turns.get(turn.number)
        return begun.session.results if begun is not None else None

    def remember(self, turn: SessionTurn, result: Any) -> None:
        """Keep what a call answered, for the origins of later arguments. To be called before the turn is committed."""
        begun = self._turns.get(turn.number)
        if begun is None:
            return
        if begun.session.results is None:
            begun.session.results = ResultWords(self._ids.secret(32), self._room)
        begun.session.results.add(result, turn.tool)

    def touch(self, turn: SessionTurn, data: frozenset[str]) -> None:
        """Count data classes that a call's result turned out to have. To be called before the turn is committed."""
        begun = self._turns.get(turn.number)
        if begun is not None:
            for activity in (begun.session, begun.instance):
                activity.classes[turn.tool] |= data

    # -- what an earlier process left

    def restore(
        self,
        past: Iterable[PastActivity],
        now: Instant,
        *,
        counters: Collection[Counter] = (),
        touched: Mapping[AgentId, frozenset[str]],
    ) -> None:
        """Take over calls that earlier processes let through, oldest first.

        `touched` are the data classes each agent ever reached: which of its instances did is not told so far back, so
        all of them count as having.
        """
        self._inherited = dict(touched)
        for call in past:
            at_us = now.boot_us - (now.wall_us - call.time_us)
            live = now.boot_us - at_us < self.idle_us
            begun = self._restored(call, at_us) if live else None
            for counter in counters:
                if call.tool not in counter.tools or call.arguments is None:
                    continue
                try:
                    amount = amount_of(counter, call.arguments)
                except InvalidInputError:  # let through when nobody counted it
                    continue
                if counter.window_us is not None and now.boot_us - at_us < counter.window_us:
                    self._number += 1
                    self._counters.add(counter, _scope(counter, call.key), self._number, amount, at_us)
                elif counter.window_us is None and begun is not None:
                    begun.sums[counter] = begun.sums.get(counter, Decimal(0)) + amount

    def _restored(self, call: PastActivity, at_us: int) -> _Activity:
        session = self._sessions.at(call.key, call.key.agent, at_us)
        instance = self._instances.at(call.credential, call.key.agent, at_us)
        if session.id != call.session:
            session = self._sessions.begin_as(call.session, call.key, at_us)
        self._number += 1
        session.begin(self._number, call.tool, call.data, call.cost_nanos, at_us)
        instance.begin(self._number, call.tool, call.data, 0, at_us)
        for activity in (session, instance):
            activity.commit(self._number, call.tool, at_us, ended_well=call.ended_well)
        self._tainted[call.credential] |= call.data
        return session


def _scope(counter: Counter, key: SessionKey) -> _Scope:
    """Over what a counter with a window is kept: everything of the session's key, or of the agent's task."""
    return _TaskScope(key.agent, key.task) if counter.per is CounterScope.TASK else key
