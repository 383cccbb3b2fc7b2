"""Simulations as people ask for them: one runs at a time, beside the calls, and tells how far it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, NotFoundError, UnavailableError
from accredit.kernel.ids import IdSource
from accredit.policy.difference import release_diff, slice_diff
from accredit.policy.release import Release
from accredit.policy.replay import Replayed, Reproduced
from accredit.policy.simulation import SimulationReport, simulation_report
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry.model import Agent

__all__ = ["PastCalls", "Simulation", "SimulationState", "Simulations"]

DEFAULT_DAYS: Final = 30
_KEPT: Final = 32
_WAITING: Final = 4
_DAY_US: Final = 86_400_000_000
_FRESH_US: Final = _DAY_US
_log = logging.getLogger(__name__)


class PastCalls(Protocol):
    """The recorded calls, for whoever judges them again. Everything blocks; progress is told in records."""

    def size(self) -> int: ...

    def first_since(self, since_us: int) -> int: ...

    def replay(
        self,
        candidate: Release,
        start: int,
        stop: int,
        *,
        agents: frozenset[str] | None = None,
        versions: Mapping[str, Mapping[str, Any]] | None = None,
        progress: Callable[[int], None] = ...,
    ) -> Replayed: ...

    def reproduce(self, start: int, stop: int, *, progress: Callable[[int], None] = ...) -> Reproduced: ...


class SimulationState(StrEnum):
    """How far it is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class Simulation:
    """One simulation, running or over."""

    id: str
    candidate: Digest | None
    """None: the past is proven, by what was in force then."""
    base: Digest
    since_us: int
    agents: frozenset[str] | None
    at_us: int
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Documents of versions that agents are judged by instead of their own, by agent id."""
    state: SimulationState = SimulationState.RUNNING
    records: int = 0
    """To be looked at,"""
    looked_at: int = 0
    """and so many were."""
    report: SimulationReport | None = None
    proof: Reproduced | None = None
    fault: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Simulations:
    """Runs simulations and keeps the latest. Used from one event loop."""

    def __init__(
        self,
        past: PastCalls,
        snapshot: Callable[[], PolicySnapshot],
        fleet: Callable[[], Mapping[str, Agent]],
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._past = past
        self._snapshot = snapshot
        self._fleet = fleet
        self._clock = clock
        self._ids = ids
        self._one_at_a_time = asyncio.Lock()
        self._kept: OrderedDict[str, Simulation] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def past(self) -> PastCalls:
        """What is replayed."""
        return self._past

    def get(self, simulation: str) -> Simulation:
        """One of the latest.

        Raises:
            NotFoundError: there is none, or none any more.
        """
        found = self._kept.get(simulation)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no simulation `{simulation[:80]}` any more")
        return found

    def start(
        self,
        candidate: Release | None,
        *,
        days: int = DEFAULT_DAYS,
        agents: frozenset[str] | None = None,
        versions: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Simulation:
        """Begin to simulate a candidate on what these agents (or all) did in the last days; None proves the past.

        Agents named in `versions` are judged by those, as `ShardedHistory.replay` does.

        Raises:
            ConflictError: too many wait already.
        """
        if len(self._running) > _WAITING:
            raise ConflictError(
                Code.BUSY, f"{len(self._running)} simulations are running or waiting", hint=Code.BUSY.remedy
            )
        now_us = self._clock.now().wall_us
        made = Simulation(
            id=self._ids.new("sim"),
            candidate=None if candidate is None else candidate.digest,
            base=self._snapshot().release.digest,
            since_us=max(0, now_us - days * _DAY_US),
            agents=agents,
            at_us=now_us,
            versions=versions or {},
        )
        self._kept[made.id] = made
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        task = asyncio.create_task(self._run(made, candidate), name=f"simulation {made.id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return made

    async def report(self, candidate: Release, *, at_once: int) -> SimulationReport:
        """The newest report on exactly this candidate against what is in force, all agents asked; made if it is short.

        Raises:
            ConflictError: there is none, and more than `at_once` records would have to be looked at.
            UnavailableError: it failed.
        """
        base, now_us = self._snapshot().release.digest, self._clock.now().wall_us
        for known in reversed(self._kept.values()):
            fits = (known.candidate, known.base, known.agents) == (candidate.digest, base, None) and not known.versions
            if fits and known.report is not None and now_us - known.at_us < _FRESH_US:
                return known.report
        since_us = max(0, now_us - DEFAULT_DAYS * _DAY_US)
        if await asyncio.to_thread(lambda: self._past.size() - self._past.first_since(since_us)) > at_once:
            raise ConflictError(
                Code.REHEARSAL_REQUIRED,
                "history is long, and no simulation of this very release is at hand",
                hint="run `accredit policy simulate --candidate DIRECTORY`, then publish it",
            )
        return await self.finished(self.start(candidate))

    async def finished(self, simulation: Simulation) -> SimulationReport:
        """The report, once it is there.

        Raises:
            UnavailableError: it failed.
        """
        await simulation.over.wait()
        if simulation.report is None:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, f"the simulation failed: {simulation.fault}")
        return simulation.report

    async def close(self) -> None:
        """Give up what is running."""
        for task in self._running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, made: Simulation, candidate: Release | None) -> None:
        try:
            async with self._one_at_a_time:
                base, fleet = self._snapshot(), self._fleet()
                made.base = base.release.digest
                if candidate is None:
                    made.proof = await asyncio.to_thread(self._proven, made)
                else:
                    made.report = await asyncio.to_thread(self._simulated, made, candidate, base, fleet)
                made.state = SimulationState.DONE
        except asyncio.CancelledError:
            made.state, made.fault = SimulationState.FAILED, "the server is stopping"
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            made.state = SimulationState.FAILED
            made.fault = error.message if isinstance(error, AccreditError) else "internal error"
            _log.exception("simulation %s failed", made.id)
        finally:
            made.over.set()

    def _window(self, made: Simulation) -> tuple[int, int, Callable[[int], None]]:
        start, stop = self._past.first_since(made.since_us), self._past.size()
        made.records = stop - start

        def told(looked_at: int) -> None:
            if made.over.is_set():  # a thread cannot be cancelled: it gives up when it tells how far it is
                raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the simulation was given up")
            made.looked_at = looked_at

        return start, stop, told

    def _proven(self, made: Simulation) -> Reproduced:
        start, stop, told = self._window(made)
        return self._past.reproduce(start, stop, progress=told)

    def _simulated(
        self, made: Simulation, candidate: Release, base: PolicySnapshot, fleet: Mapping[str, Agent]
    ) -> SimulationReport:
        start, stop, told = self._window(made)
        asked = [agent for name, agent in fleet.items() if made.agents is None or name in made.agents]
        changed = slice_diff(base, base.with_release(candidate), asked, fleet=fleet.values())
        found = self._past.replay(candidate, start, stop, agents=made.agents, versions=made.versions, progress=told)
        made.looked_at = made.records
        return simulation_report(
            release_diff(base.release, candidate),
            changed,
            found,
            fleet,
            since_us=made.since_us,
            until_seq=stop,
            agents=made.agents,
        )
