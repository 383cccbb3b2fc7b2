"""Sessions: what one agent did for one user and task lately, counted by us.

A session is a window of activity that ends after idle time. Its key is made of verified things only; a client's run
label neither joins nor splits sessions (DESIGN §3.15). Facts include the call being decided and every call in flight,
so that two calls at once cannot both be "the fifth"; a call that is refused or never sent gives its share back.
No clock, no lock: readings are handed in, and one event loop owns a ledger.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from accredit.identity.model import Principal
from accredit.kernel.clock import Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, IdSource, ToolId

__all__ = ["SessionKey", "SessionLedger", "SessionTurn"]

_SWEPT = 2  # more than one per newcomer, so that ended ones leave faster than new ones come


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
    session: Mapping[str, str | int]
    """`context.session`: id, calls, calls_of_tool, denied, seconds."""
    instance: Mapping[str, int]
    """`context.instance`: calls of this credential, whatever the user and task."""
    elapsed_us: int
    """Since the session's first call: what the run timeout is measured on."""


class _Activity:
    """Counts of one session or instance."""

    __slots__ = ("calls", "denied", "first_us", "id", "in_flight", "last_us", "tools")

    def __init__(self, new_id: str, now_us: int) -> None:
        self.id = new_id
        self.calls = 0
        self.denied = 0
        self.tools: dict[ToolId, int] = {}
        self.in_flight: dict[int, int] = {}
        """Turn number -> begun at, oldest first."""
        self.first_us: int | None = None
        """When the first call that stands was begun."""
        self.last_us = now_us
        """When it was last active: a refused call is no activity, or hammering would keep a session from ending."""

    def begin(self, number: int, tool: ToolId, now_us: int) -> None:
        self.in_flight[number] = now_us
        self.calls += 1
        self.tools[tool] = self.tools.get(tool, 0) + 1

    def commit(self, number: int, now_us: int) -> None:
        begun_us = self.in_flight.pop(number)
        self.first_us = begun_us if self.first_us is None else min(self.first_us, begun_us)
        self.last_us = now_us

    def give_back(self, number: int, tool: ToolId) -> None:
        del self.in_flight[number]
        self.calls -= 1
        self.tools[tool] -= 1
        if not self.tools[tool]:
            del self.tools[tool]

    def started_us(self) -> int:
        """When the oldest call that stands or is in flight was begun."""
        oldest = next(iter(self.in_flight.values()), self.last_us)
        return oldest if self.first_us is None else min(self.first_us, oldest)

    def ended(self, now_us: int, idle_us: int) -> bool:
        """Idle for long enough, or all it ever held was given back."""
        return not self.in_flight and (now_us - self.last_us >= idle_us or not (self.calls or self.denied))


_Key = TypeVar("_Key", bound=Hashable)


class _Activities(Generic[_Key]):
    """Live activities by key; as calls come, a sweep goes round and drops the ended ones."""

    def __init__(self, ids: IdSource, prefix: str, *, idle_us: int, capacity: int) -> None:
        self._ids = ids
        self._prefix = prefix
        self._idle_us = idle_us
        self._capacity = capacity
        self._live: OrderedDict[_Key, _Activity] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def at(self, key: _Key, now_us: int) -> _Activity:
        """The live activity of a key, or a new one.

        Raises:
            UnavailableError: more are live than may be kept; forgetting one would hand its agent fresh counts.
        """
        self._sweep(now_us)
        found = self._live.pop(key, None)
        if found is None or found.ended(now_us, self._idle_us):
            if len(self._live) >= self._capacity:
                raise UnavailableError(
                    Code.LIMITS_UNAVAILABLE,
                    f"{self._capacity} sessions are live and no more are kept",
                    hint="raise the ledger's capacity",
                )
            found = _Activity(self._ids.new(self._prefix), now_us)
        self._live[key] = found
        return found

    def _sweep(self, now_us: int) -> None:
        for key in list(islice(self._live, _SWEPT)):
            activity = self._live[key]
            if activity.ended(now_us, self._idle_us):
                del self._live[key]
            else:
                self._live.move_to_end(key)


class SessionLedger:
    """Every live session of this process, in bounded memory."""

    def __init__(self, ids: IdSource, *, idle_s: float = 1800, capacity: int = 200_000) -> None:
        idle_us = int(idle_s * 1_000_000)
        self._sessions: _Activities[SessionKey] = _Activities(ids, "ses", idle_us=idle_us, capacity=capacity)
        self._instances: _Activities[CredentialId] = _Activities(ids, "ins", idle_us=idle_us, capacity=capacity)
        self._turns: dict[int, tuple[_Activity, _Activity]] = {}
        self._number = 0

    def __len__(self) -> int:
        """How many sessions are remembered."""
        return len(self._sessions)

    def begin(self, key: SessionKey, *, credential: CredentialId, tool: ToolId, now: Instant) -> SessionTurn:
        """Count one call that is about to be decided, and tell the facts with it counted.

        Raises:
            UnavailableError: the ledger is full of live sessions.
        """
        now_us = now.boot_us
        session = self._sessions.at(key, now_us)
        instance = self._instances.at(credential, now_us)
        self._number += 1
        number = self._number
        session.begin(number, tool, now_us)
        instance.begin(number, tool, now_us)
        self._turns[number] = (session, instance)
        elapsed_us = now_us - session.started_us()
        facts: dict[str, str | int] = {
            "id": session.id,
            "calls": session.calls,
            "calls_of_tool": session.tools[tool],
            "denied": session.denied,
            "seconds": elapsed_us // 1_000_000,
        }
        return SessionTurn(number, key, credential, tool, facts, {"calls": instance.calls}, elapsed_us)

    def commit(self, turn: SessionTurn, now: Instant) -> bool:
        """The call was sent and has ended: its counts stand. False, and nothing done, the second time."""
        activities = self._turns.pop(turn.number, None)
        for activity in activities or ():
            activity.commit(turn.number, now.boot_us)
        return activities is not None

    def give_back(self, turn: SessionTurn, *, denied: bool = False) -> bool:
        """The call was refused (`denied` if by a decision) or never sent: its counts are undone.

        False, and nothing done, the second time.
        """
        activities = self._turns.pop(turn.number, None)
        for activity in activities or ():
            activity.give_back(turn.number, turn.tool)
            activity.denied += denied
        return activities is not None
