"""Detectors at work over a fleet under watch: profiles, what is kept of them, and processes that can be killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, SeededIds
from accredit.kernel.sealing import AesGcmSealer
from accredit.monitoring.behaviour import Behaviour, FittedBaseline, LearningSource
from accredit.monitoring.drift.fitted import fitted_bytes, measured_views, trimmed
from accredit.monitoring.drift.ports import DetectorKind, DriftDetector, Reading, ViewReading
from accredit.monitoring.drift.watching import BehaviourWatch
from accredit.monitoring.model import Alert, AlertKind
from accredit.monitoring.profiles.model import CallOutcome, Feature, ProfiledCall, SessionProfile
from accredit.monitoring.profiles.ports import KeptProfile, Progress
from accredit.monitoring.rows import BASELINE, baseline_doc
from accredit.storage.memory.fitted import MemoryFittedStore
from tests.monitoring.watch import KilledError, Watch


class Shelf:
    """A `ProfileStore` in lists, whose process can die at a chosen write."""

    def __init__(self) -> None:
        self.kept: list[SessionProfile] = []
        self.states_kept: dict[AgentId, bytes] = {}
        self.watched_upto = 0
        self.progress = Progress()
        self.writes = 0
        self.dies_at: int | None = None

    def keep(self, profiles: Sequence[SessionProfile], progress: Progress) -> None:
        self.kept.extend(profiles)
        self.progress = progress

    def after(self, number: int, limit: int) -> Sequence[KeptProfile]:
        chosen = self.kept[number : number + limit]
        return [KeptProfile(number + at + 1, one) for at, one in enumerate(chosen)]

    def newest(self, agent: AgentId, limit: int, *, since_us: int = 0) -> Sequence[KeptProfile]:
        found = [KeptProfile(at + 1, one) for at, one in enumerate(self.kept) if one.agent == agent]
        return [one for one in reversed(found) if one.profile.ended_us >= since_us][:limit]

    def find(self, agent: AgentId, session: str) -> KeptProfile | None:
        return next((one for one in self.newest(agent, 10_000) if one.profile.session == session), None)

    def counts(self) -> Mapping[AgentId, int]:
        return Counter(one.agent for one in self.kept)

    def forget(self, agents: Sequence[AgentId]) -> None:
        raise NotImplementedError

    def sweep(self, *, before_us: int, most: int) -> int:
        raise NotImplementedError

    def clear(self) -> None:
        self.kept, self.states_kept, self.watched_upto = [], {}, 0

    def states(self, agents: Sequence[AgentId]) -> Mapping[AgentId, bytes]:
        return {agent: self.states_kept[agent] for agent in agents if agent in self.states_kept}

    @property
    def watched(self) -> int:
        return self.watched_upto

    def keep_states(self, states: Mapping[AgentId, bytes], *, watched: int) -> None:
        self.writes += 1
        if self.dies_at == self.writes:
            raise KilledError
        for agent, state in states.items():
            if state:
                self.states_kept[agent] = state
            else:
                self.states_kept.pop(agent, None)
        self.watched_upto = watched


class Summing:
    """A CUSUM of the calls of a session over the baseline's mean: all that a test needs to see."""

    def __init__(self, threshold: float = 20.0) -> None:
        self.threshold = threshold
        self.mean = self.sum = 0.0
        self.seen = self.since = 0

    def fit(self, sessions: Sequence[SessionProfile]) -> None:
        calls = [one.features[Feature.CALLS] for one in sessions]
        self.mean = sum(calls) / max(1, len(calls))
        self.sum, self.seen, self.since = 0.0, 0, 0

    def update(self, session: SessionProfile) -> Reading:
        score = session.features[Feature.CALLS] - self.mean - 1
        self.seen += 1
        self.sum = max(0.0, self.sum + score)
        if not self.sum:
            self.since = self.seen
        since = self.seen - self.since - 1 if self.sum else None
        return Reading(score, self.sum, (ViewReading(Feature.CALLS, self.sum, score),), since)

    def state(self) -> bytes:
        return msgspec.msgpack.encode([self.mean, self.sum, self.seen, self.since])

    def restore(self, state: bytes) -> None:
        try:
            self.mean, self.sum, self.seen, self.since = msgspec.msgpack.decode(state)
        except msgspec.MsgspecError as error:
            raise InvalidInputError(Code.STATE_UNPROVEN, "no state") from error


class Kind:
    """A `DetectorKind` of a test."""

    promise = "none, it is a test's"

    def __init__(
        self,
        make: Callable[[], DriftDetector] = Summing,
        name: str = "summing",
        version: str = "1",
        *,
        e_detector: bool = False,
    ) -> None:
        self.e_detector = e_detector
        self.made = make
        self.name, self.version = name, version
        self.stopped: str | None = None

    def make(self) -> DriftDetector:
        return self.made()


def profile(agent: AgentId, number: int, calls: float = 4.0, *, at_us: int = 0, **changes: object) -> SessionProfile:
    """A session of so many calls; unlike the record it is of, `at_us` is when it ended."""
    made = SessionProfile(
        agent=agent,
        session=f"ses_{number}",
        version=None,
        first=number * 10,
        last=number * 10 + 9,
        began_us=max(at_us - 1_000_000, 0),
        ended_us=at_us,
        calls=tuple(ProfiledCall("crm/read_customer", CallOutcome.OK) for _ in range(int(calls))),
        features={Feature.CALLS.value: calls, Feature.HOUR.value: 9.5},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Drift:
    """One agent in production, its baseline accepted, and the running of its detectors."""

    def __init__(self, *kinds: DetectorKind, baseline: int = 20, in_memory: int = 10) -> None:
        self.watch = Watch()
        self.watch.activate()
        self.shelf, self.fitted = Shelf(), MemoryFittedStore()
        self.kinds: tuple[DetectorKind, ...] = kinds or (Kind(),)
        self.in_memory = in_memory
        self.accept(self.watch.id, [profile(self.watch.id, -one) for one in range(baseline, 0, -1)])
        self.restart()

    def accept(self, agent: AgentId, sessions: Sequence[SessionProfile], *, after: int = 0) -> FittedBaseline:
        """Make sessions the agent's accepted behaviour."""
        chosen = trimmed(sessions)
        digest, kept = fitted_bytes(chosen)
        self.fitted.put(digest, kept)
        accepted = FittedBaseline(
            digest=digest,
            ids=tuple(one.session for one in chosen),
            first_us=1,
            last_us=2,
            views=measured_views(chosen),
            source=LearningSource.TRIAL,
            version=Digest("sha256:" + "0" * 64),
            left_out=0,
            proposed_us=3,
            proposed_by=None,
            after=after,
            accepted_us=4,
        )
        baseline = self.watch.baselines.of(agent)
        assert baseline is not None
        made = replace(baseline, behaviour=Behaviour(accepted=accepted))
        self.watch.fleet.put(BASELINE, agent, baseline_doc(made))
        return accepted

    def restart(self) -> None:
        """Another process. Only what was kept goes on."""
        self.watch.restart()
        self.running = BehaviourWatch(
            self.watch.control,
            self.shelf,
            self.fitted,
            self.watch.baselines,
            self.watch.monitor,
            kinds=self.kinds,
            agent=self.watch.fleet.registry.get,
            sealer=AesGcmSealer(bytes(32), SeededIds(9)),
            clock=self.watch.clock,
            in_memory=self.in_memory,
        )

    def finish(self, *profiles: SessionProfile) -> None:
        """Sessions end, and their profiles are kept."""
        self.shelf.keep(profiles, Progress())

    def sessions(self, *calls: float) -> None:
        """Sessions of so many calls each, a minute apart."""
        for each in calls:
            self.watch.clock.advance(60)
            at_us = self.watch.clock.now().wall_us
            self.finish(profile(self.watch.id, len(self.shelf.kept) + 1, each, at_us=at_us))

    def round(self) -> int:
        return asyncio.run(self.running.round())

    def close(self) -> None:
        asyncio.run(self.running.close())

    def alerts(self, kind: AlertKind = AlertKind.BEHAVIOUR_DRIFT) -> list[Alert]:
        return [one for one in self.watch.monitor.alerts() if one.kind is kind][::-1]

    def stats(self, agent: AgentId | None = None, kind: int = 0) -> tuple[float, ...]:
        found = self.running.standings(agent or self.watch.id)
        return found[kind].stats if found else ()
