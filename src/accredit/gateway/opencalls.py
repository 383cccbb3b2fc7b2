"""Calls that a tool server of the era of sessions works on while its question waits for the agent's user.

Such a server asks in the middle of a call, and goes on with it once it is answered. So the call is kept open: for a
client with a session while it is asked on its stream, for one without until it comes back with its answers. What was
decided before ends with the question; the answer is decided anew, and goes to the server on that decision alone.

They live in this process, each for as long as a client is waited for, and end when their agent is not let in any more.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from accredit.gateway.elicitation import Asked
from accredit.gateway.relay import Answer, ServerAsk
from accredit.gateway.toolservers import ServerExchange
from accredit.identity.model import Principal
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.kernel.ids import AgentId, IdSource
from accredit.registry.model import ToolServer

__all__ = ["QUESTION", "GoingOn", "OpenCall", "OpenCalls", "Paused"]

QUESTION: Final = "question"
"""The name of such a question among answers: its server gives it none."""
_MOST: Final = 512
_MOST_OF_ONE: Final = 16
_UNANSWERED: Final[Mapping[str, Any]] = {"action": "cancel"}


@dataclass(slots=True, eq=False)
class OpenCall:
    """One call that goes on when its question is answered."""

    exchange: ServerExchange
    ask: ServerAsk
    server: ToolServer
    """As it was when it was asked."""
    principal: Principal
    until: float
    """On the loop's clock."""
    kept: bool = False
    """Whether it waits for its client to come back."""

    async def close(self) -> None:
        """Have nobody wait for it any more: its server is told."""
        await self.exchange.__aexit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Paused:
    """A question in the middle of a call."""

    asked: Asked
    call: OpenCall


class GoingOn:
    """The rest of an open call, as an exchange of its own: what is sent is the answer to the question."""

    def __init__(
        self, call: OpenCall, answers: Mapping[str, Any], server: ToolServer, recheck: Callable[[], None]
    ) -> None:
        """Of `server` as it is now.

        Raises:
            UnavailableError: it is another server now.
        """
        if server.place != call.server.place:
            raise UnavailableError(Code.SNAPSHOT_STALE, "the tool server moved while its question was open")
        self._inner = call.exchange
        self._ask = call.ask
        self._answer = answers.get(QUESTION, _UNANSWERED)
        self._recheck = recheck
        self._before = call.exchange.received
        self.sent = False

    @property
    def received(self) -> int:
        return self._inner.received - self._before

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def next(self) -> Answer | None:
        if not self.sent:
            await self._inner.respond(self._ask, {"result": self._answer}, self._checked)
        return await self._inner.next()

    def _checked(self) -> None:
        self._recheck()
        self.sent = True

    async def respond(self, ask: ServerAsk, said: Mapping[str, Any], recheck: Callable[[], None]) -> None:
        await self._inner.respond(ask, said, recheck)


@dataclass(slots=True)
class _Kept:
    call: OpenCall
    timer: asyncio.TimerHandle = field(repr=False)


class OpenCalls:
    """Those that wait for their client to come back, in one process."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._kept: dict[str, _Kept] = {}
        self._of: Counter[AgentId] = Counter()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, call: OpenCall) -> str:
        """Keep one until its time is over; the name by which it is taken.

        Raises:
            ConflictError: there are too many.
        """
        agent = call.principal.agent
        if len(self._kept) >= _MOST or self._of[agent] >= _MOST_OF_ONE:
            raise ConflictError(
                Code.CONCURRENCY_LIMITED,
                f"more than {_MOST_OF_ONE} calls of one agent, or {_MOST} in all, wait for an answer",
            )
        name = self._ids.new("opn")
        timer = asyncio.get_running_loop().call_at(call.until, self._end, name)
        self._kept[name] = _Kept(call, timer)
        self._of[agent] += 1
        call.kept = True
        return name

    def take(self, name: str) -> OpenCall | None:
        """Go on with one; None: it is over, or was gone on with."""
        kept = self._kept.pop(name, None)
        if kept is None:
            return None
        kept.timer.cancel()
        agent = kept.call.principal.agent
        self._of[agent] -= 1
        if not self._of[agent]:
            del self._of[agent]
        kept.call.kept = False
        return kept.call

    def changed(self, valid: Callable[[Principal], bool]) -> None:
        """End those whose agents are not let in any more."""
        for name in [name for name, kept in self._kept.items() if not valid(kept.call.principal)]:
            self._end(name)

    def _end(self, name: str) -> None:
        if (call := self.take(name)) is not None:
            closing = asyncio.get_running_loop().create_task(call.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """End all of them."""
        for name in list(self._kept):
            self._end(name)
        await asyncio.gather(*self._closing, return_exceptions=True)
