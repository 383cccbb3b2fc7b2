"""Access tokens for tool servers, each kept until shortly before it ends: one request for it at a time.

Nothing of this is stored: a process that starts anew asks anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

from accredit.identity.oauthclient import UpstreamToken
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError

__all__ = ["LeaseKey", "TokenLeases"]

_V = TypeVar("_V")
_CAPACITY: Final = 10_000
_EARLY_US: Final = 30_000_000
"""A token is not used in its last 30 s, or the last tenth of a short life: calls take their time, clocks differ."""
_AGAIN_US: Final = 1_000_000
"""A server that gave no token is not asked again by every call."""
_RENEWED_US: Final = 5_000_000
"""Nor is it for a token that is refused as soon as it is given."""


class LeaseKey(NamedTuple):
    """Whose token it is."""

    credential: str
    version: int
    agent: str = ""
    """Empty: not one agent's."""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class _Held:
    access: str = field(repr=False)
    since_us: int
    until_us: int


class TokenLeases:
    """Keeps them in memory. Used from one event loop."""

    def __init__(self, clock: Clock, *, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        self._held: OrderedDict[LeaseKey, _Held] = OrderedDict()
        self._failed: OrderedDict[LeaseKey, tuple[int, AccreditError]] = OrderedDict()
        self._asking: dict[LeaseKey, asyncio.Task[str]] = {}

    async def get(self, key: LeaseKey, ask: Callable[[], Awaitable[UpstreamToken]]) -> str:
        """The token of that key, asked for if there is none.

        Raises:
            UnavailableError: it was not given, or taken back meanwhile.
        """
        held = self._held.get(key)
        if held is not None and self._clock.now().boot_us < held.until_us:
            self._held.move_to_end(key)
            return held.access
        return await self._asked(key, ask)

    async def other_than(self, spent: str, key: LeaseKey, ask: Callable[[], Awaitable[UpstreamToken]]) -> str | None:
        """A token other than one that a tool server refused; None if that one was given just now. Raises as `get`."""
        held, now_us = self._held.get(key), self._clock.now().boot_us
        if held is not None and held.access != spent and now_us < held.until_us:
            return held.access
        if held is not None and held.access == spent:
            if now_us - held.since_us < _RENEWED_US:
                return None
            del self._held[key]
        fresh = await self._asked(key, ask)
        return fresh if fresh != spent else None

    def kept(self) -> tuple[LeaseKey, ...]:
        """Whose tokens are kept or on their way now."""
        return (*self._held, *(key for key in self._asking if key not in self._held))

    def drop(self, chosen: Callable[[LeaseKey], bool]) -> list[tuple[LeaseKey, str]]:
        """Forget tokens, those on their way included; gives what was forgotten."""
        for key in [key for key in self._asking if chosen(key)]:
            del self._asking[key]  # whoever waits for it gets nothing
        for key in [key for key in self._failed if chosen(key)]:
            del self._failed[key]
        return [(key, self._held.pop(key).access) for key in [key for key in self._held if chosen(key)]]

    async def _asked(self, key: LeaseKey, ask: Callable[[], Awaitable[UpstreamToken]]) -> str:
        failed = self._failed.get(key)
        if failed is not None and self._clock.now().boot_us - failed[0] < _AGAIN_US:
            error = failed[1]
            raise UnavailableError(error.code, error.message, hint=error.hint, cause=error.cause)
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.get_running_loop().create_task(self._ask(key, ask))
            task.add_done_callback(_looked_at)
        return await asyncio.shield(task)  # who waits may leave; the others get it all the same

    async def _ask(self, key: LeaseKey, ask: Callable[[], Awaitable[UpstreamToken]]) -> str:
        task, began_us = asyncio.current_task(), self._clock.now().boot_us
        try:
            given = await ask()
        except AccreditError as error:
            if self._asking.get(key) is task:
                del self._asking[key]
                # of a server alone: what a person has not done yet may be done at any moment
                if error.code is Code.UPSTREAM_TOKEN:
                    _keep(self._failed, key, (self._clock.now().boot_us, error), self._capacity)
            raise
        except BaseException:
            if self._asking.get(key) is task:
                del self._asking[key]
            raise
        if self._asking.get(key) is not task:
            raise UnavailableError(Code.UPSTREAM_TOKEN, Code.UPSTREAM_TOKEN.meaning, cause="taken back meanwhile")
        del self._asking[key]
        self._failed.pop(key, None)
        life_us = given.life_s * 1_000_000
        until_us = began_us + life_us - min(_EARLY_US, life_us // 10)
        _keep(self._held, key, _Held(given.access, began_us, until_us), self._capacity)
        return given.access


def _keep(kept: OrderedDict[LeaseKey, _V], key: LeaseKey, value: _V, capacity: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > capacity:
        kept.popitem(last=False)


def _looked_at(task: asyncio.Task[str]) -> None:
    if not task.cancelled():
        task.exception()  # who waited for it was told; that nobody did is no news
