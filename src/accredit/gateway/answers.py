"""Answers on streams of sessions, kept for a moment: who lost the connection takes the answer up again.

2025-11-25, Streamable HTTP, "Resumability and Redelivery". What is kept is bounded, lives in this process, and belongs
to the session, user and task that asked: nobody else's `Last-Event-ID` leads to it. A call whose client is gone is
cancelled as soon as it is clear that it does not come back.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from accredit.gateway.flight import Flight, FlightStopped
from accredit.gateway.replies import Reply
from accredit.gateway.sessions import ClientSession
from accredit.gateway.sse import KEEP_ALIVE
from accredit.identity.model import Principal
from accredit.kernel.ids import IdSource

__all__ = ["KeptAnswer", "KeptAnswers"]

_KEPT_S: Final = 60.0
"""How long an answer is kept that nobody reads."""
_ALIVE_S: Final = 15.0
_LONGEST_S: Final = 24 * 3600.0
_MOST: Final = 4_096
_MOST_OF_ONE: Final = 16
_MOST_EVENTS: Final = 64
_MOST_BYTES: Final = 256 * 1024
"""Of one answer."""

_Key = tuple[bytes, str | None, str | None]


class KeptAnswer:
    """One answer, as far as it is written, and who reads it."""

    def __init__(self, own: str) -> None:
        self.own = own
        self.finished = False
        """Whether all of it is written."""
        self.turn = 0
        """Of the connection that is served; 0: that of the request itself."""
        self.changed = asyncio.Event()
        """Set whenever there is more to read, or another reads."""
        self._dropped = False
        self._back = 0
        self._moved = asyncio.Event()
        self._said = 0
        self._kept: deque[tuple[int, bytes]] = deque()
        self._room = _MOST_BYTES

    def frame(self, event: bytes) -> bytes:
        """Keep an event, under an id of its own: of what is too much the oldest is let go of."""
        self._said += 1
        framed = f"id: {self.own}-{self._said}\r\n".encode() + event
        self._kept.append((self._said, framed))
        self._room -= len(framed)
        while self._kept and (self._room < 0 or len(self._kept) > _MOST_EVENTS):
            self._room += len(self._kept.popleft()[1])
        self.changed.set()
        return framed

    def knows(self, last: int) -> bool:
        """Whether all events after that one are still here."""
        oldest = self._kept[0][0] if self._kept else self._said + 1
        return oldest - 1 <= last <= self._said

    def after(self, last: int) -> list[tuple[int, bytes]]:
        """The events after one, numbered."""
        return [each for each in self._kept if each[0] > last]

    def finish(self) -> None:
        """All of it is written."""
        self.finished = True
        self.changed.set()

    def read_again(self) -> int:
        """Somebody came back; the turn that is now theirs."""
        self._back += 1
        self.turn += 1
        self._moved.set()
        self.changed.set()
        return self.turn

    def read_no_more(self) -> None:
        """Whoever came back left."""
        self._back -= 1
        self._moved.set()

    def drop(self) -> None:
        """Nobody may read it any more."""
        self._dropped = True
        self._moved.set()
        self.finish()

    async def given_up(self) -> None:
        """The connection of the request is gone: wait until it is clear that nobody comes back for its answer."""
        while not self._dropped:
            self._moved.clear()
            try:
                async with asyncio.timeout(None if self._back else _KEPT_S):
                    await self._moved.wait()
            except TimeoutError:
                return


class KeptAnswers:
    """Those of one process."""

    def __init__(self, ids: IdSource) -> None:
        self._ids = ids
        self._known: dict[str, tuple[_Key, KeptAnswer]] = {}
        self._of: Counter[_Key] = Counter()
        self._expiring: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._known)

    @contextmanager
    def kept(self, session: ClientSession, principal: Principal, reply: Reply) -> Iterator[None]:
        """Keep what is answered within this, if it is a stream and there is room.

        It is kept a while longer, for whoever did not get the end.
        """
        key, answer = _owner(session, principal), None

        def keep() -> KeptAnswer | None:
            nonlocal answer
            if self._of[key] < _MOST_OF_ONE and len(self._known) < _MOST:
                answer = KeptAnswer(self._ids.new("ans"))
                self._known[answer.own] = key, answer
                self._of[key] += 1
            return answer

        reply.keep = keep
        try:
            yield
        finally:
            if answer is not None:
                answer.finish()
                if answer.own in self._known:
                    timer = asyncio.get_running_loop().call_later(_KEPT_S, self._drop, answer.own)
                    self._expiring[answer.own] = timer

    def find(self, session: ClientSession, principal: Principal, last: str) -> tuple[KeptAnswer, int] | None:
        """The answer that an event of that id belongs to, and the number of the event; None if this caller has none.

        None as well if what came after that event is not here any more.
        """
        own, _, number = last.rpartition("-")
        key, answer = self._known.get(own, (None, None))
        if answer is None or key != _owner(session, principal) or not number.isdecimal() or len(number) > 15:
            return None
        return (answer, int(number)) if answer.knows(int(number)) else None

    async def follow(self, answer: KeptAnswer, last: int, reply: Reply, flight: Flight) -> None:
        """Write an answer after an event until it is finished, or another reads it."""
        turn = answer.read_again()
        try:
            with flight.lasting(_LONGEST_S):
                await reply.part(KEEP_ALIVE)
                while answer.turn == turn:
                    answer.changed.clear()
                    if pending := answer.after(last):
                        last = pending[-1][0]
                        await reply.part(b"".join(framed for _, framed in pending))
                    if answer.finished:
                        break
                    try:
                        async with asyncio.timeout(_ALIVE_S):
                            await answer.changed.wait()
                    except TimeoutError:
                        await reply.part(KEEP_ALIVE)
        except FlightStopped:
            return
        finally:
            answer.read_no_more()
        await reply.end()

    def forget(self, session: ClientSession) -> None:
        """The session ended, and whoever is still answered in it is not."""
        for own in [own for own, (key, _) in self._known.items() if key[0] == session.nonce]:
            self._drop(own)

    def close(self) -> None:
        """Let go of all of them."""
        for own in list(self._known):
            self._drop(own)

    def _drop(self, own: str) -> None:
        key, answer = self._known.pop(own)
        self._of[key] -= 1
        if not self._of[key]:
            del self._of[key]
        if (timer := self._expiring.pop(own, None)) is not None:
            timer.cancel()
        answer.drop()


def _owner(session: ClientSession, principal: Principal) -> _Key:
    user, task = principal.user, principal.task
    return session.nonce, user.key if user else None, task.key if task else None
