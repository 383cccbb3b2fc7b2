"""Simulations beside the calls: whoever stops the server does not wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from accredit.kernel.clock import ScriptedClock
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import RandomIds
from accredit.policy.release import Release
from accredit.policy.replay import Replayed, Reproduced
from accredit.policy.simulating import Simulations, SimulationState
from tests.policy.world import COPILOT, release, snapshot


class _Endless:
    """A past that is judged until whoever follows it gives up."""

    def __init__(self) -> None:
        self.began, self.over = threading.Event(), threading.Event()

    def size(self) -> int:
        return 10

    def first_since(self, since_us: int) -> int:
        return 0

    def replay(
        self,
        candidate: Release,
        start: int,
        stop: int,
        *,
        agents: frozenset[str] | None = None,
        versions: Mapping[str, Mapping[str, Any]] | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Replayed:
        try:
            while True:
                progress(start)
                self.began.set()
        finally:
            self.over.set()

    def reproduce(self, start: int, stop: int, *, progress: Callable[[int], None] = lambda _: None) -> Reproduced:
        self.replay(release(), start, stop, progress=progress)
        return Reproduced()


@pytest.mark.requirement("policy:replay:given-up")
def test_what_is_running_gives_up_when_the_server_stops() -> None:
    async def live() -> None:
        past = _Endless()
        simulations = Simulations(
            past, snapshot, lambda: {COPILOT.id: COPILOT}, clock=ScriptedClock(10**15), ids=RandomIds()
        )
        made = simulations.start(release())
        assert await asyncio.to_thread(past.began.wait, 20)
        assert made.state is SimulationState.RUNNING
        await simulations.close()
        assert await asyncio.to_thread(past.over.wait, 20)
        assert (made.state, made.report) == (SimulationState.FAILED, None)
        with pytest.raises(UnavailableError, match="the server is stopping"):
            await simulations.finished(made)

    asyncio.run(live())
