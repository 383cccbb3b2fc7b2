"""Something that lives on an event loop of its own, in a thread, for tests that do not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

__all__ = ["living"]

_T = TypeVar("_T")
_PATIENCE_S = 60


@contextlib.contextmanager
def living(entered: AbstractAsyncContextManager[_T]) -> Iterator[tuple[_T, asyncio.AbstractEventLoop]]:
    """What the context gives, and the loop it lives on until this one ends."""
    ready = threading.Event()
    over: list[asyncio.Event] = []
    made: list[tuple[_T, asyncio.AbstractEventLoop]] = []
    failed: list[BaseException] = []

    async def lives() -> None:
        async with entered as given:
            over.append(asyncio.Event())
            made.append((given, asyncio.get_running_loop()))
            ready.set()
            await over[0].wait()

    def running() -> None:
        try:
            asyncio.run(lives())
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=running, name="living")
    thread.start()
    try:
        assert ready.wait(_PATIENCE_S), "it did not start"
        if not made:
            raise failed[0]
        yield made[0]
    finally:
        if made:
            made[0][1].call_soon_threadsafe(over[0].set)
        thread.join(_PATIENCE_S)
    if failed:
        raise failed[0]
