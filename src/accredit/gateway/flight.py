"""A call in flight and the ways to end it from outside: time is up, the client left or cancelled, a revocation.

All of them cancel the one task that serves the request and say why. That needs no task per call: the deadline is a
timer, and the client's leaving is watched only for calls that are still out after a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from accredit.kernel.codes import Code

__all__ = ["Flight", "FlightStopped"]

# Most calls are back sooner; for them a watching task would be the dearest part of the relay.
_PATIENCE_S = 0.02


class FlightStopped(Exception):  # noqa: N818 - an end, not an error: it never leaves this room
    """The call was ended from outside."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.value)
        self.code = code


class Flight:
    """Within `with flight:` the current task can be stopped for a reason; leaving it then raises `FlightStopped`."""

    __slots__ = ("_cancelling", "_deadline_s", "_loop", "_receive", "_task", "_timers", "_watcher", "reason")

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._timers: tuple[asyncio.TimerHandle, ...] = ()
        self._watcher: asyncio.Task[None] | None = None
        self._deadline_s = 0.0
        self.reason: Code | None = None

    def lasting(self, deadline_s: float) -> Self:
        """Set the time the call may take."""
        self._deadline_s = deadline_s
        return self

    def stop(self, code: Code) -> None:
        """End the call; the first reason counts. A flight that has not begun ends when it does."""
        if self.reason is not None:
            return
        self.reason = code
        # By way of the loop: a task that stops itself must not carry the cancellation out of the flight.
        self._loop.call_soon(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.stop(Code.CANCELLED)

    def _start_watching(self) -> None:
        self._watcher = self._loop.create_task(self._watch())

    def __enter__(self) -> Self:
        if self.reason is not None:
            raise FlightStopped(self.reason)
        self._task = asyncio.current_task(self._loop)
        self._cancelling = self._task.cancelling() if self._task is not None else 0
        self._timers = (
            self._loop.call_later(self._deadline_s, self.stop, Code.CALL_TIMEOUT),
            self._loop.call_later(_PATIENCE_S, self._start_watching),
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        for timer in self._timers:
            timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self.reason is None or error is None or task is None:
            return
        # as asyncio.timeout does: only if nobody else wants this task to end as well
        if task.cancelling() > self._cancelling and task.uncancel() > self._cancelling:
            return
        raise FlightStopped(self.reason) from error
