"""Which answer of a model a call follows from: the one that asked for that tool with those arguments. No I/O.

Only what one agent was told and what it then does are put together, so no agent can lend its call another's reasons:

    1  what the same credential was told, for the same verified user and task where both are known
    2  what another credential of the agent was told in the same session, unless it was told to more than one

Of several equal calls the newest answer counts; within 1 one of the same session goes before any other. A call may name
itself by the provider's id: that picks among what the same agent was told, and only then may its arguments be others
than the model gave, of which its record tells. What is remembered is bounded and lasts an hour. A process that starts
reads it back from the log, where arguments and ids stand as keyed digests, names as granted tools that they can mean.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from accredit.enforcement.model import AskedCall
from accredit.enforcement.naming import means, meant_by, plain
from accredit.kernel.ids import AgentId, CredentialId, DecisionId, ServerName, ToolId

__all__ = ["LASTS_US", "MOST_ASKED", "FollowedAnswer", "JoinedBy", "Listener", "PastAnswer", "Reasons", "WantedCall"]

LASTS_US: Final = 3_600_000_000
MOST_ASKED: Final = 64
"""Calls asked for and not forgotten, of one credential; and of one answer, on record."""
_OF_SESSION: Final = 256
_PLACES: Final = 2_048
_MOST_TOOLS: Final = 8
"""That one name is taken to mean."""
_LONGEST_ID: Final = 256
_MOST_ARGUMENTS: Final = 65_536


class JoinedBy(StrEnum):
    """How a call was found to follow from an answer."""

    ARGUMENTS = "arguments"
    """The model gave these arguments."""
    CALL = "call"
    """The agent named it by the provider's id; the arguments are others than the model gave."""
    RESULT = "result"
    """Of a request to a model: it brings the result of a call that the answer asked for."""
    ANSWER = "answer"
    """It was decided about as a part of the answer."""


@dataclass(frozen=True, slots=True)
class FollowedAnswer:
    """The answer that a call follows from, by the decision on the request for it."""

    decision: DecisionId
    by: JoinedBy


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom a model's answer was told to, or who makes a call now."""

    agent: AgentId
    credential: CredentialId
    session: str | None
    """The one it is in, if it is in one."""
    user: str | None
    """Verified; as the pseudonym that is on record. So is the task."""
    task: str | None


@dataclass(frozen=True, slots=True)
class WantedCall:
    """A call that a model asked for, without anything that a model or an agent wrote but `name`."""

    tools: tuple[ToolId, ...]
    """Granted ones that its name can mean."""
    arguments: str | None
    """A keyed digest; None: they are none that a call could have."""
    call: str | None
    """A keyed digest of the provider's id."""
    name: str | None = None
    """As the agent told the model, made plain; None where it was read back."""

    def fact(self) -> list[Any]:
        """As it stands on record."""
        return [list(self.tools), self.arguments, self.call]

    @classmethod
    def read(cls, fact: Sequence[Any]) -> WantedCall:
        """What `fact` made."""
        tools, arguments, call = fact
        return cls(tuple(ToolId(tool) for tool in tools), arguments, call)

    def means(self, server: str, tool: str, own: ToolId) -> bool:
        """Whether it asks for that tool."""
        return own in self.tools or (self.name is not None and means(self.name, plain(server), plain(tool)))


@dataclass(frozen=True, slots=True)
class PastAnswer:
    """What an earlier process told somebody that a model asks for."""

    listener: Listener
    decision: DecisionId
    time_us: int
    """By the wall clock."""
    wanted: tuple[WantedCall, ...]


@dataclass(frozen=True, slots=True)
class _Told:
    listener: Listener
    decision: DecisionId
    boot_us: int
    wanted: WantedCall

    def suits(self, listener: Listener, boot_us: int) -> bool:
        """Of the last hour, and not told in the name of another user or task."""
        told = self.listener
        return (
            told.agent == listener.agent
            and boot_us - self.boot_us <= LASTS_US
            and (told.user is None or listener.user is None or told.user == listener.user)
            and (told.task is None or listener.task is None or told.task == listener.task)
        )


class _Recent:
    """The newest calls that were asked for, by the digests of their arguments and ids."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: deque[_Told] = deque()
        self._by: dict[str, list[_Told]] = {}

    def add(self, told: _Told) -> None:
        self._kept.append(told)
        for key in (told.wanted.arguments, told.wanted.call):
            if key is not None:
                self._by.setdefault(key, []).append(told)
        if len(self._kept) > self._most:
            oldest = self._kept.popleft()
            for key in (oldest.wanted.arguments, oldest.wanted.call):
                if key is not None:
                    self._by[key].pop(0)  # they were added in the same order
                    if not self._by[key]:
                        del self._by[key]

    def of(self, digest: str) -> Sequence[_Told]:
        return self._by.get(digest, ())


class Reasons:
    """What models asked agents to do a short while ago.

    `fingerprint` gives a keyed digest of a text for a purpose.
    """

    def __init__(self, fingerprint: Callable[[str, str], str]) -> None:
        self._fingerprint = fingerprint
        self._of: OrderedDict[CredentialId, _Recent] = OrderedDict()
        self._in: OrderedDict[str, _Recent] = OrderedDict()
        """By session."""

    def wanted(
        self,
        agent: AgentId,
        asked: Iterable[AskedCall],
        granted: Callable[[], Iterable[tuple[ServerName, str, ToolId]]],
    ) -> list[WantedCall]:
        """What an answer asks for, as it is remembered and put on record."""
        found = []
        places: dict[tuple[ServerName, str], ToolId] | None = None
        for one in asked:
            if places is None:
                places = {(server, tool): own for server, tool, own in granted()}
            meant = meant_by(one.name, places)[:_MOST_TOOLS]
            call = self._digest(agent, "asked-call", one.id) if 0 < len(one.id) <= _LONGEST_ID else None
            arguments = self._arguments(agent, one.arguments)
            if arguments is not None or call is not None:
                tools = tuple(places[place] for place in meant)
                found.append(WantedCall(tools, arguments, call, plain(one.name)))
        return found

    def told(self, listener: Listener, decision: DecisionId, wanted: Iterable[WantedCall], boot_us: int) -> None:
        """A model, in the answer to that decision, asks whoever listens to make these calls."""
        for one in wanted:
            told = _Told(listener, decision, boot_us, one)
            _recent(self._of, listener.credential, MOST_ASKED).add(told)
            if listener.session is not None:
                _recent(self._in, listener.session, _OF_SESSION).add(told)

    def of_results(self, listener: Listener, calls: Sequence[str], boot_us: int) -> FollowedAnswer | None:
        """The newest answer that asked for one of these calls, whose results come back."""
        if not self._listened(listener):
            return None
        found = [
            told
            for call in calls[-MOST_ASKED:]
            for told in self._joined(
                listener, self._digest(listener.agent, "asked-call", call), boot_us, lambda _: True
            )
        ]
        newest = max(found, key=lambda told: told.boot_us, default=None)
        return FollowedAnswer(newest.decision, JoinedBy.RESULT) if newest is not None else None

    def of(
        self,
        listener: Listener,
        server: str,
        tool: str,
        own: ToolId,
        arguments: Mapping[str, Any],
        boot_us: int,
        *,
        call: str | None = None,
    ) -> FollowedAnswer | None:
        """The answer that asked for this call of a tool; None if none did.

        `call` is the provider's id, by the agent's word. Names are understood as `enforcement/naming.py` tells.
        """
        if not self._listened(listener):
            return None
        try:
            given = self._digest(listener.agent, "asked-arguments", _same(arguments))
        except (orjson.JSONEncodeError, RecursionError):  # no model can have given what has no JSON form
            given = None

        def asked(digest: str) -> list[_Told]:
            return self._joined(listener, digest, boot_us, lambda told: told.wanted.means(server, tool, own))

        if call is not None and 0 < len(call) <= _LONGEST_ID:
            named = asked(self._digest(listener.agent, "asked-call", call))
            if named:
                exact = given is not None and named[-1].wanted.arguments == given
                return FollowedAnswer(named[-1].decision, JoinedBy.ARGUMENTS if exact else JoinedBy.CALL)
        found = asked(given) if given is not None else []
        return FollowedAnswer(found[-1].decision, JoinedBy.ARGUMENTS) if found else None

    def _listened(self, listener: Listener) -> bool:
        return listener.credential in self._of or listener.session in self._in

    def _joined(self, listener: Listener, digest: str, boot_us: int, asks: Callable[[_Told], bool]) -> list[_Told]:
        """What may be joined, the best last."""

        def suitable(recent: _Recent | None) -> list[_Told]:
            known = recent.of(digest) if recent is not None else ()
            return [told for told in known if told.suits(listener, boot_us) and asks(told)]

        mine = suitable(self._of.get(listener.credential))
        if mine:
            here = [told for told in mine if told.listener.session == listener.session]
            return sorted(here or mine, key=lambda told: told.boot_us)
        others = suitable(self._in.get(listener.session)) if listener.session is not None else []
        # which of several instances it was that one more of them follows, nothing tells
        if len({told.listener.credential for told in others}) > 1:
            return []
        return sorted(others, key=lambda told: told.boot_us)

    def _arguments(self, agent: AgentId, text: str) -> str | None:
        if len(text) > _MOST_ARGUMENTS:
            return None
        try:
            return self._digest(agent, "asked-arguments", _same(orjson.loads(text or "{}")))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError, RecursionError):
            return None  # free text of a custom tool, or what no call would be let through with

    def _digest(self, agent: AgentId, what: str, text: str) -> str:
        """Equal for one agent alone: nobody can tell from the log that two agents were asked for the same."""
        return self._fingerprint(what, f"{agent}\0{text}")


def _recent(places: OrderedDict[Any, _Recent], place: Any, most: int) -> _Recent:
    known = places.setdefault(place, _Recent(most))
    places.move_to_end(place)
    if len(places) > _PLACES:
        places.popitem(last=False)
    return known


def _same(arguments: Any) -> str:
    """Equal for arguments that are equal, whatever the order of their members."""
    return orjson.dumps(_plain_numbers(arguments), option=orjson.OPT_SORT_KEYS).decode()


def _plain_numbers(value: Any) -> Any:
    """`1.0` is written by some encoders where others write `1`."""
    match value:
        case float() if value.is_integer():
            return int(value) if abs(value) < 2**53 else value
        case dict():
            return {key: _plain_numbers(item) for key, item in value.items()}
        case list():
            return [_plain_numbers(item) for item in value]
        case _:
            return value
