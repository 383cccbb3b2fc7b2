"""Whether a task is still open, as its issuer says, at most 30 s ago; whatever is older counts as not known.

Refreshed in the background so that no call waits for it. What is watched is what live tokens name: a task is dropped
when the last of them has expired.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from accredit.identity.model import Issuer
from accredit.identity.ports import StatusFetch
from accredit.kernel.clock import Clock, Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError
from accredit.kernel.strictjson import parse_strict

__all__ = ["TaskStatus", "TaskWatch"]

FRESH_S: Final = 30
_DUE_S: Final = 15
_ANSWER_S: Final = 5
_PERIOD_S: Final = 5
_MAX_ANSWER: Final = 1024
_MAX_WATCHED: Final = 50_000
_AT_ONCE: Final = 16


@dataclass(slots=True)
class TaskWatch:
    """One watched task. `open` is its last known state, good until `fresh`."""

    url: str
    until: Deadline
    open: bool = False
    fresh: Deadline = Deadline(0, 0)  # noqa: RUF009 - a frozen value: never known
    due: Deadline = Deadline(0, 0)  # noqa: RUF009 - a frozen value: at once

    def is_open(self, now: Instant) -> bool:
        """Whether the issuer said so at most 30 s ago."""
        return self.open and not self.fresh.passed(now)

    def refusal(self, now: Instant) -> Code | None:
        """Why the task does not count now; None if it is open."""
        if self.fresh.passed(now):
            return Code.TASK_STATUS_STALE
        return None if self.open else Code.TASK_CLOSED


class TaskStatus:
    """Watches the tasks that live tokens name."""

    def __init__(self, fetch: StatusFetch, *, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._watched: dict[tuple[str, str], TaskWatch] = {}
        self._wanted = asyncio.Event()

    def watch(self, issuer: Issuer, task: str, *, until: Deadline) -> TaskWatch:
        """Keep the state of a task known until then; asks for it soon, not now. Beyond 50,000 it stays unknown."""
        found = self._watched.get((issuer.id, task))
        if found is not None:
            found.until = Deadline(max(found.until.wall_us, until.wall_us), max(found.until.boot_us, until.boot_us))
            return found
        # the host stands before the placeholder, and nothing of the task id survives quoting as a delimiter
        found = TaskWatch(issuer.status_url.replace("{task}", quote(task, safe="")), until)
        if len(self._watched) < _MAX_WATCHED:
            self._watched[issuer.id, task] = found
            self._wanted.set()
        return found

    async def confirm(self, issuer: Issuer, task: str, *, until: Deadline) -> TaskWatch:
        """Watch a task and ask for its state now unless it is known."""
        watch = self.watch(issuer, task, until=until)
        if watch.fresh.passed(self._clock.now()):
            await self._ask(watch)
        return watch

    async def refresh(self) -> None:
        """Ask once for everything that is due, and drop what no live token names any more."""
        self._wanted.clear()
        now = self._clock.now()
        for key in [key for key, watch in self._watched.items() if watch.until.passed(now)]:
            del self._watched[key]
        room = asyncio.Semaphore(_AT_ONCE)

        async def ask(watch: TaskWatch) -> None:
            async with room:
                await self._ask(watch)

        await asyncio.gather(*(ask(watch) for watch in self._watched.values() if watch.due.passed(now)))

    async def run(self) -> None:
        """Refresh until cancelled."""
        while True:
            await self.refresh()
            try:
                await asyncio.wait_for(self._wanted.wait(), _PERIOD_S)
            except TimeoutError:
                continue

    async def _ask(self, watch: TaskWatch) -> None:
        asked = self._clock.now()  # the answer is as old as the question
        watch.due = Deadline.after(asked, _DUE_S)
        try:
            async with asyncio.timeout(_ANSWER_S):
                answer = await self._fetch(watch.url)
            is_open = _read(answer)
        except (AccreditError, OSError, TimeoutError):
            return  # what was known stays known until it is 30 s old, and no longer
        watch.open, watch.fresh = is_open, Deadline.after(asked, FRESH_S)


def _read(answer: bytes) -> bool:
    status = parse_strict(answer, max_bytes=_MAX_ANSWER, max_depth=4)
    if not isinstance(status, dict) or not isinstance(status.get("open"), bool):
        raise InvalidInputError(Code.BODY_MALFORMED, "a task's status is not `{open: bool}`")
    return bool(status["open"])
