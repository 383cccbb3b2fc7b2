"""One installation for all tests of a module, served on loopback; each test brings its own agents and tool servers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import pytest

from tests.enforcement.place import WORKER, Place, place

_T = TypeVar("_T")


class Town:
    """A running installation between two turns of its event loop."""

    def __init__(self, runner: asyncio.Runner, at: Place) -> None:
        self._runner = runner
        self.at = at

    def run(self, story: Coroutine[Any, Any, _T]) -> _T:
        """Let the loop turn until the story is over; every wait is bounded."""

        async def bounded() -> _T:
            async with asyncio.timeout(60):
                return await story

        return self._runner.run(bounded())


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opened = place(tmp_path_factory.mktemp("town") / "data", WORKER, max_result_bytes=2**20)
        at = runner.run(stack.enter_async_context(opened))
        try:
            yield Town(runner, at)
        finally:
            runner.run(stack.aclose())
