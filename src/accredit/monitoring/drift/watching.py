"""The running of detectors: every finished session is compared with its agent's baseline, once and in its order.

Sessions are read on by their number. What detectors made of them is kept now and then, together with how far they were
read; whoever is killed between feeds the same sessions again to the same states and comes to the same, for what is
done with a session rests on nothing but the session, its agent's baseline and the alerts that were resolved by the time
it ended. An alarm that was told is known by its alert. Detectors are made when a session of their agent comes, and the
ones asked longest ago are let go of again.

Each detector is on its own: one that raises, answers with what is no number or keeps too much is stopped for that agent
and people are told; the others go on. INVARIANT: nothing that is stopped is so silently.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from accredit.audit.ports import Change, ControlLog
from accredit.kernel.clock import Clock
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.kernel.sealing import Sealer
from accredit.monitoring.baselines import BaselineKeeper
from accredit.monitoring.behaviour import FittedBaseline
from accredit.monitoring.drift.describing import described, differences
from accredit.monitoring.drift.fitted import MOST_SESSIONS, fitted_bytes, fitted_from, trimmed
from accredit.monitoring.drift.fleet import confirmed
from accredit.monitoring.drift.ports import DetectorFaultError, DetectorKind, DriftDetector, FittedStore, Reading
from accredit.monitoring.model import AlertKind, Deviation
from accredit.monitoring.profiles.model import SessionProfile
from accredit.monitoring.profiles.ports import KeptProfile, ProfileStore
from accredit.monitoring.rows import ALERT, BASELINE, fitted_baseline_from
from accredit.monitoring.service import Monitor
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, AgentState
from accredit.registry.rows import AGENT

__all__ = [
    "MOST_STATE_BYTES",
    "BehaviourWatch",
    "DetectorStanding",
    "DriftMatter",
    "detector_matter",
    "sessions_of",
]

MOST_STATE_BYTES: Final = 20_000
"""Of one detector of one agent."""
_SLICE: Final = 100
"""Sessions that one look takes from the store: what one thread does before calls go first again."""
_MOST_ROUND: Final = 20_000
_SAVE_US: Final = 30_000_000
_MOST_PENDING: Final = 1_000
"""States of detectors that were let go of and wait to be kept."""
_SAVED_TOGETHER: Final = 200
_RECENT: Final = 64
"""Sessions that are known again if they come under another number."""
_TRAIL: Final = 32
"""Statistics kept to be shown."""
_VIEWS: Final = 16
_SHOWN: Final = 5
"""Views of which an alert tells."""
_EXAMPLES: Final = 3
_TOLD_EACH: Final = 25
"""Agents of whose detector it is told that it was stopped; of more, it is told once for all."""
_MOST_NAME: Final = 80
_FORMAT: Final = 1
_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_log = logging.getLogger(__name__)


class DriftMatter:
    """The matters of alerts on behaviour."""

    SESSIONS: Final = "sessions"
    """Of drift: there is one alert of an agent, whichever detector saw it."""
    STATE: Final = "state unproven"
    """Of what is not watched: what detectors made of earlier sessions was changed; they began anew."""
    UNPROVEN: Final = "baseline unproven"
    """Of what is not watched: the sessions that were accepted are not there, or are others."""
    FEW: Final = "too few sessions"
    """Of what is not watched: none was accepted, and there are too few to propose."""


def detector_matter(name: str) -> str:
    """The matter of an alert on a detector that was stopped."""
    return f"detector {name}"


class _Run(msgspec.Struct, array_like=True):
    """One detector of an agent."""

    version: str
    state: bytes = b""
    """As it was last kept; empty: fresh from its baseline."""
    fed: int = 0
    stopped_us: int = 0
    """When the session ended that stopped it; 0: it goes on."""
    why: str = ""
    alarmed: bool = False
    threshold: float = 0.0
    trail: list[float] = []
    views: list[tuple[str, float, float]] = []
    since: int | None = None


class _State(msgspec.Struct, array_like=True):
    """What is kept of one agent."""

    format: int
    baseline: str
    number: int = 0
    """Of the newest session that is in it."""
    restarted_us: int = 0
    """When the alert was resolved after which its detectors began anew."""
    recent: list[str] = []
    runs: dict[str, _Run] = {}


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_State)


class _Watched:
    """An agent with its detectors."""

    __slots__ = ("changed", "detectors", "state")

    def __init__(self, state: _State) -> None:
        self.state = state
        self.detectors: dict[str, DriftDetector] = {}
        self.changed = False


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is known of an agent while some of its sessions are looked at."""

    doc: Mapping[str, Any]
    """Of the accepted baseline, which is read only where it is needed."""
    halted_us: int | None
    """Since when it does not run."""
    resolved: Mapping[str, int]
    """When the newest alert of each matter was resolved, of the agent or of all agents."""

    @property
    def baseline(self) -> str:
        return _baseline_name(self.doc)

    @property
    def accepted(self) -> FittedBaseline:
        found = fitted_baseline_from(self.doc)
        assert found is not None  # noqa: S101 - there is a document
        return found


@dataclass(frozen=True, slots=True)
class DetectorStanding:
    """How one detector of an agent stands."""

    detector: str
    version: str
    promise: str
    fed: int
    """Sessions since it began, or began anew."""
    stats: tuple[float, ...]
    """The statistic after each of the last sessions, oldest first."""
    threshold: float | None
    alarmed: bool
    views: tuple[tuple[str, float, float], ...]
    """(view, statistic, score) after the last session, most evident first."""
    since: int | None
    """How many sessions ago the change began, by the evidence so far."""
    stopped: str
    """Why it is not asked any more; empty: it is."""


class BehaviourWatch:
    """Runs every detector of this installation. Used from one event loop; the work is done in threads."""

    def __init__(
        self,
        control: ControlLog,
        profiles: ProfileStore,
        fitted: FittedStore,
        baselines: BaselineKeeper,
        monitor: Monitor,
        *,
        kinds: Sequence[DetectorKind],
        agent: Callable[[AgentId], Agent | None],
        sealer: Sealer,
        clock: Clock,
        in_memory: int = 10_000,
    ) -> None:
        """`in_memory` is for how many agents detectors are kept ready at most."""
        self._profiles = profiles
        self._fitted = fitted
        self._baselines = baselines
        self._monitor = monitor
        self._kinds = tuple(kinds)
        self._agent = agent
        self._sealer = sealer
        self._clock = clock
        self._in_memory = in_memory
        self._live: OrderedDict[AgentId, _Watched] = OrderedDict()
        self._pending: dict[AgentId, bytes] = {}
        self._gone: set[AgentId] = set()
        self._untold: list[Deviation] = []
        self._telling: set[AgentId] = set()
        """Agents of whom drift is among that."""
        self._standing_for: set[str] = set()
        """Agents with an alert on drift that is not resolved."""
        self._stopped: Counter[str] = Counter()
        self._over: dict[AgentId, float] = {}
        """Statistics at which a detector alarms that is weighed among all agents."""
        self._compared: set[str] = set()
        """Agents with an accepted baseline."""
        self._unproven: dict[AgentId, tuple[str, int]] = {}
        """By agent: the baseline that is not proven, and when an alert on that was last resolved then."""
        self._resolved: dict[AgentId | None, dict[str, int]] = {}
        self._position: int | None = None
        self._kept_position = 0
        self._saved_boot_us = 0
        self._alone = asyncio.Lock()
        self.finished: Counter[AgentId] = Counter()
        """How many sessions each agent finished, as far as they were read, since somebody last emptied it."""
        for alert in monitor.alerts()[::-1]:  # the oldest first
            self._note_resolved(alert.agent, alert.kind.value, alert.matter, alert.closed_us)
        for row in control.view.scan(BASELINE):
            self._note_baseline(row.key, row.doc)  # also of whoever was retired while nobody was there
        control.subscribe(self._follow)

    @property
    def kinds(self) -> Mapping[str, str]:
        """Names and versions of the detectors in use."""
        return {kind.name: kind.version for kind in self._kinds}

    # -- rounds

    async def round(self) -> int:
        """Feed what was finished since the last one, and tell of what is found; returns how many sessions there were.

        Raises:
            UnavailableError: profiles or states cannot be read or kept, or an alert not be made durable. The next
                round goes on where this one stopped.
        """
        async with self._alone:
            fed = 0
            watched = await asyncio.to_thread(lambda: self._profiles.watched)
            if self._position is None or watched != self._kept_position:
                # the first round, or profiles were made again from the log meanwhile: then so is all that follows
                self._live.clear()
                self._pending.clear()
                self._position = self._kept_position = watched
                self._saved_boot_us = self._clock.now().boot_us
            await self._tell()
            while fed < _MOST_ROUND:
                kept = await asyncio.to_thread(self._profiles.after, self._position, _SLICE)
                if not kept:
                    break
                await asyncio.to_thread(self._feed, kept, self._frames(kept))
                self._position = kept[-1].number
                self.finished.update(one.profile.agent for one in kept)
                fed += len(kept)
                await self._tell()
                if len(self._pending) >= _MOST_PENDING:
                    await self._save()
            await self._tell_of_stopped()
            if self._clock.now().boot_us - self._saved_boot_us >= _SAVE_US:
                await self._save()
            return fed

    async def close(self) -> None:
        """Keep what is not kept yet. Raises as `round`; what is not kept is made again from the profiles."""
        async with self._alone:
            if self._position is not None:
                await self._tell()
                await self._save()

    def standings(self, agent: AgentId) -> tuple[DetectorStanding, ...]:
        """How an agent's detectors stand. Blocks; to be called from a thread.

        Raises:
            UnavailableError: the states cannot be read.
        """
        accepted = self._baselines.accepted(agent)
        if accepted is None:
            return ()
        live = self._live.get(agent)
        state = live.state if live is not None else self._stored(agent, self._kept([agent]).get(agent))
        if state is None or state.baseline != _baseline_name(accepted):
            state = _State(_FORMAT, "")
        return tuple(self._standing(kind, state.runs.get(kind.name)) for kind in self._kinds)

    @staticmethod
    def _standing(kind: DetectorKind, run: _Run | None) -> DetectorStanding:
        run = run if run is not None and run.version == kind.version else _Run(kind.version)
        return DetectorStanding(
            kind.name,
            kind.version,
            kind.promise,
            run.fed,
            tuple(run.trail),
            run.threshold if run.fed else None,
            run.alarmed,
            tuple(run.views),
            run.since,
            run.why or kind.stopped or "",
        )

    @asynccontextmanager
    async def between_sessions(self) -> AsyncIterator[int]:
        """No session is looked at meanwhile; gives the number of the newest that was.

        Raises:
            UnavailableError: it cannot be told.
        """
        async with self._alone:
            yield await asyncio.to_thread(lambda: self._profiles.watched) if self._position is None else self._position

    # -- on the loop

    def _frames(self, kept: Iterable[KeptProfile]) -> dict[AgentId, _Frame]:
        found: dict[AgentId, _Frame] = {}
        for agent_id in {one.profile.agent for one in kept}:
            agent, accepted = self._agent(agent_id), self._baselines.accepted(agent_id)
            if agent is not None and agent.state not in _GONE and accepted is not None:
                halted_us = agent.since_us if not runs(agent.environment, agent.state) else None
                own, all_ = self._resolved.get(agent_id, {}), self._resolved.get(None, {})
                resolved = {name: max(own.get(name, 0), all_.get(name, 0)) for name in {*own, *all_}}
                found[agent_id] = _Frame(accepted, halted_us, resolved)
        return found

    async def _tell(self) -> None:
        while self._untold:
            await self._monitor.note(self._untold[0])
            del self._untold[0]
        self._telling.clear()

    async def _tell_of_stopped(self) -> None:
        """A kind of detector that is not asked at all any more is told of once, for all agents."""
        for kind in self._kinds:
            why = kind.stopped or (
                f"stopped for {self._stopped[kind.name]} agents" if self._stopped[kind.name] > _TOLD_EACH else None
            )
            if why is not None:
                evidence = {"detector": kind.name, "expected": "asked about every session", "seen": why}
                now_us = self._clock.now().wall_us
                matter = detector_matter(kind.name)
                await self._monitor.note(Deviation(None, AlertKind.UNWATCHED, matter, evidence, now_us))

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.doc is None:
                continue
            if write.kind == ALERT:
                doc = write.doc
                self._note_resolved(doc["agent"], doc["kind"], doc["matter"], doc["closed_us"])
            elif write.kind == BASELINE:
                self._note_baseline(write.key, write.doc)
            elif write.kind == AGENT and write.doc["state"] in _GONE:
                self._gone.add(AgentId(write.key))

    def _note_baseline(self, agent: str, doc: Mapping[str, Any]) -> None:
        behaviour = doc.get("behaviour")
        compared = doc["closed_us"] is None and behaviour is not None and behaviour["accepted"] is not None
        (self._compared.add if compared else self._compared.discard)(agent)
        if doc["closed_us"] is not None:
            self._gone.add(AgentId(agent))

    def _note_resolved(self, agent: str | None, kind: str, matter: str, closed_us: int | None) -> None:
        if kind == AlertKind.BEHAVIOUR_DRIFT and agent is not None:
            (self._standing_for.add if closed_us is None else self._standing_for.discard)(agent)
        if closed_us is None or kind not in {AlertKind.BEHAVIOUR_DRIFT, AlertKind.UNWATCHED}:
            return
        of = self._resolved.setdefault(None if agent is None else AgentId(agent), {})
        of[matter] = max(of.get(matter, 0), closed_us)
        if agent is None:  # of all agents: asked again, told again
            for one in self._kinds:
                if detector_matter(one.name) == matter:
                    self._stopped[one.name] = 0

    # -- in a thread

    def _feed(self, kept: Sequence[KeptProfile], frames: Mapping[AgentId, _Frame]) -> None:
        missing = [agent for agent in frames if agent not in self._live]
        stored = self._kept(missing) if missing else {}
        for one in kept:
            frame = frames.get(one.profile.agent)
            if frame is None or one.number <= frame.doc["after"]:
                continue
            if frame.halted_us is not None and one.profile.ended_us >= frame.halted_us:
                continue
            watched = self._watched(one.profile.agent, frame, stored)
            if one.number > watched.state.number:
                self._fed(one, frame, watched)
        while len(self._live) > self._in_memory:
            agent = next(iter(self._live))
            if self._live[agent].changed:
                self._pending[agent] = self._encoded(agent)
            del self._live[agent]

    def _kept(self, agents: Sequence[AgentId]) -> dict[AgentId, bytes]:
        found = {agent: self._pending[agent] for agent in agents if agent in self._pending}
        asked = [agent for agent in agents if agent not in found]
        return {**self._profiles.states(asked), **found} if asked else found

    def _watched(self, agent: AgentId, frame: _Frame, stored: Mapping[AgentId, bytes]) -> _Watched:
        found = self._live.get(agent)
        if found is None:
            state, kept = self._stored(agent, stored.get(agent)), bool(stored.get(agent))
            found = self._live[agent] = _Watched(state or _State(_FORMAT, frame.baseline))
            if kept and state is None:
                now_us = self._clock.now().wall_us
                evidence = {"expected": "what was kept of its detectors", "seen": "what is not that: they begin anew"}
                self._untold.append(Deviation(agent, AlertKind.UNWATCHED, DriftMatter.STATE, evidence, now_us))
        else:
            self._live.move_to_end(agent)
        if found.state.baseline != frame.baseline:
            found.state = _State(_FORMAT, frame.baseline)
            self._over.pop(agent, None)
            found.detectors.clear()
            found.changed = True
        return found

    def _stored(self, agent: AgentId, kept: bytes | None) -> _State | None:
        """What was kept of an agent; None if that is nothing, or not what was kept."""
        if not kept:
            return None
        try:
            state = _DECODER.decode(self._sealer.open(kept, belongs_to=agent.encode()))
        except (InvalidInputError, msgspec.MsgspecError):
            _log.warning("what was kept of the detectors of %s is not that: they begin anew", agent)
            return None
        return state if state.format == _FORMAT else None

    def _fed(self, one: KeptProfile, frame: _Frame, watched: _Watched) -> None:
        state, profile = watched.state, one.profile
        state.number = one.number
        watched.changed = True
        if profile.session in state.recent:
            return
        state.recent.append(profile.session)
        del state.recent[:-_RECENT]
        resolved_us = frame.resolved.get(DriftMatter.SESSIONS, 0)
        if resolved_us > state.restarted_us and profile.ended_us > resolved_us:
            # somebody looked into it: what comes now is compared anew
            state.restarted_us = resolved_us
            self._over.pop(profile.agent, None)
            state.runs = {name: run for name, run in state.runs.items() if run.stopped_us}
            watched.detectors.clear()
        baseline: tuple[SessionProfile, ...] | None = None
        for kind in self._kinds:
            run = self._run_of(kind, state, frame, profile)
            if run is None:
                continue
            detector = watched.detectors.get(kind.name)
            if detector is None:
                baseline = self._sessions_of(profile, frame) if baseline is None else baseline
                if baseline is None:
                    return
            try:
                if detector is None:
                    assert baseline is not None  # noqa: S101 - read just above
                    detector = watched.detectors[kind.name] = _fitted(kind, baseline, run)
                reading, threshold = detector.update(profile), detector.threshold
                _require_numbers(reading, threshold)
            except Exception as error:  # noqa: BLE001 - whatever a detector raises is its own failure
                self._stop(kind, watched, run, profile, _named(error))
                continue
            self._note(kind, frame, watched, run, profile, reading, threshold)

    def _run_of(self, kind: DetectorKind, state: _State, frame: _Frame, profile: SessionProfile) -> _Run | None:
        """Where a detector stands; None: it is not asked."""
        if kind.stopped is not None:
            return None
        run = state.runs.get(kind.name)
        if run is not None and run.stopped_us:
            again_us = frame.resolved.get(detector_matter(kind.name), 0)
            if not run.stopped_us <= again_us < profile.ended_us:
                return None
            run = None
        if run is None or run.version != kind.version:
            run = state.runs[kind.name] = _Run(kind.version)
        return run

    def _note(
        self,
        kind: DetectorKind,
        frame: _Frame,
        watched: _Watched,
        run: _Run,
        profile: SessionProfile,
        reading: Reading,
        threshold: float,
    ) -> None:
        run.fed += 1
        run.threshold = threshold
        if reading.stat > -math.inf:
            run.trail.append(reading.stat)
        del run.trail[:-_TRAIL]
        run.views = [(one.view[:_MOST_NAME], one.stat, one.score) for one in reading.views[:_VIEWS]]
        run.since = reading.since
        run.alarmed = reading.stat >= threshold
        if kind.e_detector:
            (self._over.update({profile.agent: reading.stat}) if run.alarmed else self._over.pop(profile.agent, None))
        # told once: by this very session, or by the next if an alert on earlier ones was resolved meanwhile
        told = profile.agent in self._standing_for or profile.agent in self._telling
        if run.alarmed and not told and self._counts(kind, profile.agent):
            self._telling.add(profile.agent)
            evidence = self._evidence(kind, frame, watched.state, run, profile, reading)
            self._untold.append(
                Deviation(
                    profile.agent,
                    AlertKind.BEHAVIOUR_DRIFT,
                    DriftMatter.SESSIONS,
                    evidence,
                    max(profile.ended_us, watched.state.restarted_us + 1),
                    profile.last,
                )
            )

    def _counts(self, kind: DetectorKind, agent: AgentId) -> bool:
        """Whether an alarm counts among all agents that are compared."""
        return not kind.e_detector or agent in confirmed(self._over, among=len(self._compared))

    def _stop(self, kind: DetectorKind, watched: _Watched, run: _Run, profile: SessionProfile, why: str) -> None:
        detector = watched.detectors.pop(kind.name, None)
        if kind.stopped is not None:  # the whole kind is, of which it is told once; another process goes on from here
            run.state = b"" if detector is None else detector.state()
            return
        run.stopped_us, run.why, run.state = max(profile.ended_us, 1), why, b""
        self._stopped[kind.name] += 1
        _log.warning("detector %s of %s is stopped: %s", kind.name, profile.agent, why)
        if self._stopped[kind.name] <= _TOLD_EACH:
            evidence = {"detector": kind.name, "expected": "a reading", "seen": why, "session": profile.session}
            matter = detector_matter(kind.name)
            self._untold.append(Deviation(profile.agent, AlertKind.UNWATCHED, matter, evidence, profile.ended_us))

    def _sessions_of(self, profile: SessionProfile, frame: _Frame) -> tuple[SessionProfile, ...] | None:
        """The sessions of the baseline; None if they are not proven, which is told."""
        agent, resolved_us = profile.agent, frame.resolved.get(DriftMatter.UNPROVEN, 0)
        if self._unproven.get(agent) == (frame.baseline, resolved_us):
            return None
        found = sessions_of(agent, frame.accepted, self._fitted, self._profiles)
        if found is not None:
            self._unproven.pop(agent, None)
            return found
        self._unproven[agent] = (frame.baseline, resolved_us)
        evidence = {"expected": frame.doc["digest"], "seen": "nothing of that digest", "session": profile.session}
        self._untold.append(Deviation(agent, AlertKind.UNWATCHED, DriftMatter.UNPROVEN, evidence, profile.ended_us))
        return None

    def _evidence(
        self,
        kind: DetectorKind,
        frame: _Frame,
        state: _State,
        run: _Run,
        profile: SessionProfile,
        reading: Reading,
    ) -> dict[str, Any]:
        """What people need to look into an alarm: what moved, since when, and sessions of both sides. No fractions."""
        agent, accepted = profile.agent, frame.accepted
        ago = min(reading.since or 0, run.fed - 1)
        newest = self._profiles.newest(agent, min(max(ago + 1, 8), MOST_SESSIONS))
        changed = [one.profile for one in newest if one.number <= state.number][::-1]
        changed = changed[-(ago + 1) :] or [profile]
        before = sessions_of(agent, accepted, self._fitted, self._profiles) or ()
        was, now = described(before), described(changed)
        views = [(one.view[:_MOST_NAME], one.stat) for one in reading.views[:_SHOWN]]
        about = dict.fromkeys(_number_of(view, {*was.spreads, *now.spreads}) for view, _ in views)
        numbers = {
            number: {
                side: _texts(found.spreads[number].document())
                for side, found in (("baseline", was), ("since", now))
                if number in found.spreads
            }
            for number in about
            if number
        }
        return {
            "baseline": accepted.digest,
            "detector": kind.name,
            "detector_version": kind.version,
            "examples_after": [one.session for one in (*changed[:1], *changed[1:][-_EXAMPLES + 1 :])],
            "examples_before": list(accepted.ids[-_EXAMPLES:]),
            "expected": f"below {run.threshold:.4g}",
            "numbers": numbers,
            "promise": kind.promise,
            "seen": f"{reading.stat:.4g}",
            "since_session": changed[0].session,
            "since_sessions": ago,
            "since_us": changed[0].began_us,
            "view": views[0][0] if views else "",
            "views": [[view, f"{stat:.4g}"] for view, stat in views],
            "words": list(differences(was, now))[:6],
        }

    # -- keeping

    async def _save(self) -> None:
        """Keep every state that changed, and how far sessions are in them; what was stopped meanwhile is told first."""
        assert self._position is not None  # noqa: S101 - a round has begun
        gone, self._gone = self._gone, set()
        try:
            await asyncio.to_thread(self._let_go, gone)
            changed = [agent for agent, watched in self._live.items() if watched.changed]
            for start in range(0, len(changed), _SAVED_TOGETHER):
                chosen = changed[start : start + _SAVED_TOGETHER]
                states = await asyncio.to_thread(self._encoded_all, chosen)
                await self._tell()
                # ahead of the position: each state knows the newest session that is in it
                await asyncio.to_thread(self._keep, states, self._kept_position)
                for agent in chosen:
                    self._live[agent].changed = False
            await asyncio.to_thread(self._keep, {**self._pending, **dict.fromkeys(gone, b"")}, self._position)
        except BaseException:
            self._gone |= gone
            raise
        self._kept_position = self._position
        self._pending.clear()
        self._saved_boot_us = self._clock.now().boot_us

    def _let_go(self, gone: Iterable[AgentId]) -> None:
        for agent in gone:
            for kept in (self._live, self._pending, self._unproven, self._resolved, self._over):
                kept.pop(agent, None)

    def _keep(self, states: Mapping[AgentId, bytes], watched: int) -> None:
        self._profiles.keep_states(states, watched=watched)

    def _encoded_all(self, agents: Iterable[AgentId]) -> dict[AgentId, bytes]:
        return {agent: self._encoded(agent) for agent in agents}

    def _encoded(self, agent: AgentId) -> bytes:
        watched = self._live[agent]
        for kind in self._kinds:
            run, detector = watched.state.runs.get(kind.name), watched.detectors.get(kind.name)
            if run is None or detector is None:
                continue
            try:
                run.state = _sound_state(detector.state())
            except Exception as error:  # noqa: BLE001 - whatever a detector raises is its own failure
                newest = self._profiles.newest(agent, 1)
                if newest:
                    self._stop(kind, watched, run, newest[0].profile, _named(error))
        encoded = self._sealer.seal(_ENCODER.encode(watched.state), belongs_to=agent.encode())
        for name in watched.detectors:
            watched.state.runs[name].state = b""  # the detector has it
        return encoded


def sessions_of(
    agent: AgentId, baseline: FittedBaseline, fitted: FittedStore, profiles: ProfileStore
) -> tuple[SessionProfile, ...] | None:
    """The sessions that a baseline is made of; None if neither what was kept nor the profiles prove them. Blocks.

    Raises:
        UnavailableError: they cannot be read.
    """
    kept = fitted.get(baseline.digest)
    if kept is not None:
        try:
            return fitted_from(kept, baseline.digest)
        except InvalidInputError as error:
            _log.warning("the baseline of %s is not what was kept of it: %s", agent, error.cause)
    found = [profiles.find(agent, session) for session in baseline.ids]
    sessions = trimmed([one.profile for one in found if one is not None])
    digest, made = fitted_bytes(sessions)
    if digest != baseline.digest:
        return None
    fitted.put(digest, made)
    return sessions


def _baseline_name(accepted: Mapping[str, Any]) -> str:
    return f"{accepted['digest']} {accepted['after']}"


def _fitted(kind: DetectorKind, baseline: Sequence[SessionProfile], run: _Run) -> DriftDetector:
    detector = kind.make()
    if run.state:
        detector.restore(run.state)
        run.state = b""
    else:
        detector.fit(baseline)
    return detector


def _number_of(view: str, numbers: Iterable[str]) -> str:
    """The number of a session that a view is about, by its name; empty: it is about what was called."""
    # `calls higher`, `calls for the rest`, `hour-east lower`
    found = (one for one in numbers if view == one or view.startswith((f"{one} ", f"{one}-")))
    return max(found, key=len, default="")


def _require_numbers(reading: Any, threshold: Any) -> None:
    if not isinstance(reading, Reading):
        raise DetectorFaultError("no reading")
    # no evidence at all has no logarithm
    numbers = [threshold, reading.score, 0.0 if reading.stat == -math.inf else reading.stat]
    for view in reading.views[:_VIEWS]:
        if not isinstance(view.view, str):
            raise DetectorFaultError("a view without a name")
        numbers += (view.stat, view.score)
    if not all(isinstance(one, float | int) and math.isfinite(one) for one in numbers):
        raise DetectorFaultError("a number that is not finite")
    if reading.since is not None and (not isinstance(reading.since, int) or reading.since < 0):
        raise DetectorFaultError("no number of sessions")


def _sound_state(state: Any) -> bytes:
    if not isinstance(state, bytes):
        raise DetectorFaultError("no state")
    if len(state) > MOST_STATE_BYTES:
        raise DetectorFaultError(f"a state of more than {MOST_STATE_BYTES} bytes")
    return state


def _named(error: Exception) -> str:
    """What went wrong, without any text that is not ours."""
    return str(error) if isinstance(error, DetectorFaultError) else type(error).__name__[:_MOST_NAME]


def _texts(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Fractions as text: alerts are documents without any."""
    return {name: one if isinstance(one, int) else f"{one:.4g}" for name, one in numbers.items()}
