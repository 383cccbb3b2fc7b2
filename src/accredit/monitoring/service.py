"""The rounds of monitoring: read what the log has new, compare what is in force, tell people, say what is to be done.

A round reads on from a cursor in bounded batches and is safe to repeat: alerts are found again by what they are about,
and know the newest record they count. The cursor is written now and then together with the counts, so whatever is
killed between reads some records once more and counts none of them twice. What an instance says of itself is looked at
when it is said and kept until the next round; one that was killed with it says it again with its next token.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, Final, TypeGuard

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, LogReader, StateView, Write
from accredit.audit.records import stored_record
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId, CredentialId, IdSource, ServerName, ToolId
from accredit.monitoring.alerts import Alerts
from accredit.monitoring.baselines import BaselineKeeper, destination_of
from accredit.monitoring.events.requests import FollowedRequests
from accredit.monitoring.events.watching import ImmediateEvents
from accredit.monitoring.model import (
    Alert,
    AlertDisposition,
    AlertKind,
    AlertState,
    Deviation,
    Posture,
    PresentTier,
    Remediation,
    RemediationKind,
    ReportedUse,
    ToolHistory,
    ToolUse,
    UnusedPermission,
)
from accredit.monitoring.novelty import (
    FOLDED,
    MANY,
    KnownBehaviour,
    SeenCall,
    SeenRefusal,
    SeenStranger,
    ghost,
    ghost_call,
    novelties,
    seen_in,
    stopped_call,
    used_after,
)
from accredit.monitoring.offers import SeenOffer, findings_of_offer, known_after, seen_offer
from accredit.monitoring.posture import (
    drift_in_force,
    drift_of_tier,
    drift_reported,
    posture_from,
    without_baseline,
)
from accredit.monitoring.remedy import POSTURE_KINDS, Remedy, remedy_for
from accredit.monitoring.reported import ReportedUses, SeenReport, findings, report_in
from accredit.monitoring.rows import ALERT, BASELINE, CALLERS, CURSOR, MONITORING, OFFER
from accredit.monitoring.tiers import TierRounds
from accredit.monitoring.usage import WINDOW_DAYS, YEAR_DAYS, tool_histories, unused_permissions, use_by_tool
from accredit.policy.config import RemediationRule
from accredit.registry.catalogue import Catalogue
from accredit.registry.items import ItemKind
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, AgentState, AgentVersion, Environment, Tier
from accredit.registry.rows import AGENT, SERVER, TOOL, VERSION
from accredit.registry.versions import version_from

__all__ = ["Monitor"]

_log = logging.getLogger("accredit.monitoring")

_BATCH: Final = 500
_MAX_READ: Final = 20_000
"""Records a round reads at most; the next one goes on."""
_MAX_CHECKED: Final = 1_000
_AT_ONCE: Final = 25
_MAX_LET_GO: Final = 100
_MAX_WRITES: Final = 200
_SAVE_US: Final = 60_000_000
_SAVE_RECORDS: Final = 20_000
_REMEMBERED: Final = 20_000
_VERSIONS: Final = 256
_DAY_US: Final = 86_400_000_000
_DOORS: Final = ("/mcp", "/llm/", "/http/", "/access/", "/otlp/")
"""Where agents and their programs come in."""
_RENEWED_US: Final = _DAY_US
"""How long before its end an answer that is still needed is given again."""

_UNTIL_APPROVED: Final = frozenset({AlertKind.POSTURE_ENDPOINT, AlertKind.POSTURE_TIER})
"""Whoever approves the agent anew has seen what changed."""
_GONE = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_CONTAINED = _GONE | {AgentState.QUARANTINED}


class Monitor:
    """Watches every agent of this installation. Used from one event loop."""

    def __init__(
        self,
        control: ControlLog,
        records: LogReader,
        baselines: BaselineKeeper,
        *,
        catalogue: Callable[[], Catalogue],
        agent_of: Callable[[CredentialId], AgentId | None],
        clock: Clock,
        ids: IdSource,
        tier_of: Callable[[Agent], PresentTier],
        opened: Callable[[int, str], Mapping[str, Any]] = lambda *_: {},
        rules: Callable[[], Sequence[RemediationRule]] = tuple,
        taken: Callable[[CredentialId], bool] = lambda _: False,
    ) -> None:
        """`rules` are those of the release in force, `[[remediation]]` of its `accredit.toml`.

        `opened` gives what a part of a record says, by position and name; nothing, if it is erased. Of reports it is
        for whoever looks into them, of calls to compare them with what their user asked.
        `taken` says whether a credential was revoked or locked.

        `tier_of` gives what an agent's version in force comes to now; it may raise what keeps that from being known.

        A version and its baseline come into force together, in one change: else what is in force between two steps of
        an activation would be drift.
        """
        self._control = control
        self._records = records
        self._baselines = baselines
        self._catalogue = catalogue
        self._agent_of = agent_of
        self._clock = clock
        self._ids = ids
        self._tier_of = tier_of
        self._opened = opened
        self._rules = rules
        self._taken = taken
        self._reported = ReportedUses(control)
        self._alerts = Alerts(control, ids, clock)
        self._events = ImmediateEvents(
            control, lambda agent, since, until: records.usage(since_day=since, until_day=until, agent=agent)
        )
        self._requests = FollowedRequests(opened, lambda: ids.secret(32))
        self._untold: deque[Deviation] = deque()
        """What the events showed and was not told of yet."""
        self._tiers = TierRounds(catalogue)
        self._tiers_unknown = False
        self._alone = asyncio.Lock()
        self._position = 0
        self._saved = 0
        self._saved_boot_us = clock.now().boot_us
        self._began_us = 0
        self._unchecked: set[AgentId] = set()
        self._repinned: set[ToolId] = set()
        self._moved: set[ServerName] = set()
        self._retired: set[AgentId] = set()
        self._said: OrderedDict[tuple[AgentId | None, AlertKind, str], Deviation] = OrderedDict()
        self._postures: OrderedDict[CredentialId, Posture] = OrderedDict()
        self._offers: dict[ServerName, SeenOffer] = {}
        """The newest look at each server that was not told of yet."""
        self._plain: set[tuple[AgentId, str | None, ToolId | None, tuple[str, ...], bool]] = set()
        """Allowed calls, by all that is judged of them, in which nothing was new."""
        self._versions: OrderedDict[str, AgentVersion] = OrderedDict()
        control.subscribe(self._follow)

    async def start(self) -> None:
        """Go on where the process before this one was; the first ever begins with what is recorded from now on.

        Raises:
            UnavailableError: the log cannot be read, or the beginning could not be made durable.
        """
        row = self._control.view.get(MONITORING, CURSOR)
        if row is not None:
            # a log put back from a copy is shorter than what was read: begin with all there is
            within = row.doc["position"] <= self._records.size()
            self._position = self._saved = row.doc["position"] if within else 0
            self._began_us = row.doc["began_us"]
        elif (MONITORING, CURSOR) not in self._control.unproven:  # else everything is read again: nothing is skipped
            self._position, self._began_us = self._records.size(), self._clock.now().wall_us
            await self._save()
        self._unchecked.update(self._baselines.agents())
        self._unchecked.update(agent.id for agent in self._catalogue().agents() if _needs_baseline(agent))

    async def close(self) -> None:
        """Write what is counted and not written yet.

        Raises:
            UnavailableError: it could not be made durable; it is counted again from the log.
        """
        async with self._alone:
            if self._uncounted or self._position - self._saved >= _BATCH:
                await self._save()

    @property
    def _uncounted(self) -> int:
        return self._alerts.uncounted + self._reported.uncounted + self._events.unwritten

    # -- the round

    async def round(self) -> tuple[Remediation, ...]:
        """Look at everything new; what is to be done about it, oldest first, until it is marked as remedied.

        Raises:
            UnavailableError: the log cannot be read, or an alert could not be made durable. The next round goes on
                where this one stopped.
        """
        async with self._alone:
            await self._read()
            await self._look_at_postures()
            await self._look_at_offers()
            await self._check()
            await self._check_tiers()
            await self._let_go()
            since_us = self._clock.now().boot_us - self._saved_boot_us
            if self._position - self._saved >= _SAVE_RECORDS or (self._uncounted and since_us >= _SAVE_US):
                await self._save()
            return self.open_remediations()

    @property
    def behind(self) -> int:
        """How many records are not read yet."""
        return max(self._records.size() - self._position, 0)

    async def _read(self) -> None:
        end = self._records.size()
        stop = min(end, self._position + _MAX_READ)
        self._requests.refill()
        await self._tell_events()
        while self._position < stop:
            until = min(stop, self._position + _BATCH)
            for seen in await asyncio.to_thread(self._seen, self._position, until):
                if isinstance(seen, SeenReport):
                    await self._look_at_report(seen)
                elif isinstance(seen, SeenStranger):
                    await self._look_at_stranger(seen)
                else:
                    for deviation in self._deviations(seen):
                        await self._tell(deviation)
                self._position = seen.position + 1
            await self._tell_events()
            self._position = until

    def _seen(self, start: int, stop: int) -> list[SeenCall | SeenRefusal | SeenReport | SeenStranger]:
        found: list[SeenCall | SeenRefusal | SeenReport | SeenStranger] = []
        for row in self._records.rows(start, stop):
            record = stored_record(self._records.stream, row, {})
            if record.seq > self._events.position:
                self._untold.extend(self._requests.take(record))
                self._untold.extend(self._events.take(record))
            seen = seen_in(record) or report_in(record)
            if seen is not None:
                found.append(seen)
        return found

    async def _tell_events(self) -> None:
        for agent in self._retired & self._events.known:
            self._events.forget(agent)
        self._retired.clear()
        while self._untold:
            await self._tell(self._untold[0])
            self._untold.popleft()

    async def _look_at_report(self, seen: SeenReport) -> None:
        agent = self._catalogue().agent(seen.agent) if seen.agent is not None else None
        if seen.agent is not None and agent is None:
            return
        for found in findings(seen, agent):
            deviation = found
            if self._alerts.told(deviation):
                continue
            if self._alerts.many(deviation.agent, deviation.kind):
                deviation = replace(deviation, matter=MANY)
                if self._alerts.told(deviation):
                    continue
            said = await asyncio.to_thread(self._opened, seen.position, "request")
            deviation = replace(deviation, evidence={**deviation.evidence, "said": dict(said)})
            environment = Environment(seen.environment)
            await self._alerts.open(deviation, self._remedy(deviation.kind, environment, None), environment)
        self._reported.count(seen)

    async def _look_at_stranger(self, seen: SeenStranger) -> None:
        """Tell of whoever comes to a door of agents, by where they come from: that stands in no record in clear."""
        said = await asyncio.to_thread(self._opened, seen.position, "request")
        source, path = said.get("source"), str(said.get("path", ""))
        if not source or not path.startswith(_DOORS):
            return
        matter = hmac.new(await self._salt(), str(source).encode(), sha256).hexdigest()[:24]
        evidence = {"code": seen.code, "record": seen.position, "said": {"path": path, "source": source}}
        deviation = Deviation(None, AlertKind.UNKNOWN_CALLER, matter, evidence, seen.time_us, seen.position)
        if self._alerts.told(deviation):
            return
        if self._alerts.many(None, deviation.kind):
            deviation = replace(deviation, matter=MANY)
            if self._alerts.told(deviation):
                return
        await self._alerts.open(deviation, self._remedy(deviation.kind, Environment.PRODUCTION, None), None)

    async def _salt(self) -> bytes:
        """What keeps addresses of callers from being guessed from what alerts call them."""

        def build(view: StateView) -> Change | None:
            if view.get(MONITORING, CALLERS) is not None:
                return None
            made = {"salt": self._ids.secret(32).hex()}
            return Change(Facts("monitoring.begun"), (Write(MONITORING, CALLERS, made),), Actor(), {})

        if self._control.view.get(MONITORING, CALLERS) is None:
            await self._control.transact(build)
        row = self._control.view.get(MONITORING, CALLERS)
        assert row is not None  # noqa: S101 - just written
        return bytes.fromhex(row.doc["salt"])

    async def note(self, deviation: Deviation) -> None:
        """Open an alert on what another room saw, unless one tells of it.

        Raises:
            UnavailableError: it could not be made durable; noting it again opens the same one.
        """
        async with self._alone:
            if self._alerts.told(deviation):
                return
            agent = None if deviation.agent is None else self._catalogue().agent(deviation.agent)
            environment = agent.environment if agent is not None else None
            # of an agent whose rows are not what they should be, what they make of its tier is worth nothing
            tier = None if agent is None or deviation.kind in POSTURE_KINDS else self._known_tier(agent)
            remedy = self._remedy(deviation.kind, environment or Environment.PRODUCTION, tier)
            await self._alerts.open(deviation, remedy, environment)

    async def over(self, agent: AgentId, kind: AlertKind, matter: str) -> None:
        """Resolve the alert on what another room knows not to be so any more; nothing if there is none.

        Raises:
            UnavailableError: it could not be made durable; repeating it completes it.
        """
        async with self._alone:
            standing = self._alerts.standing(agent, kind, matter)
            if standing is not None and standing.closed_us is None:
                await self._alerts.over(standing.id)

    def _deviations(self, seen: SeenCall | SeenRefusal) -> tuple[Deviation, ...]:
        if isinstance(seen, SeenRefusal):
            agent = self._agent_of(seen.credential)
            found = None if agent is None else self._catalogue().agent(agent)
            if found is None:
                return ()
            if found.state in _GONE:
                return (ghost(seen, found.id),)
            return (used_after(seen, found.id, "revoked or locked"),) if self._taken(seen.credential) else ()
        gone = self._catalogue().agent(seen.agent)
        late = gone is not None and gone.state in _GONE and seen.time_us > gone.since_us
        if late and seen.decision == "allow" and not seen.detected:
            return (ghost_call(seen),)
        if gone is not None and (stopped := stopped_call(seen, gone.since_us)) is not None:
            return (stopped,)
        key = (seen.agent, seen.version, seen.tool, seen.data, seen.detected)
        if seen.decision != "deny" and key in self._plain:
            return ()
        found_new = novelties(seen, self._known(seen))
        if not found_new and seen.decision != "deny":
            if len(self._plain) >= _REMEMBERED:
                self._plain.clear()
            self._plain.add(key)
        return found_new

    def _known(self, call: SeenCall) -> KnownBehaviour:
        """The approved sets, and what the version that was in force declares: approved too, or told of as a posture."""
        baseline, version = self._baselines.of(call.agent), self._version(call)
        tools = set(baseline.tools) if baseline else set()
        data = set(baseline.data) if baseline else set()
        masked: frozenset[str] = frozenset()
        if version is not None:
            tools |= self._granted(version)
            data |= version.data
            masked = next((grant.mask for grant in version.grants if grant.tool == call.tool), masked)
        return KnownBehaviour(
            tools,
            data,
            masked,
            baseline.destinations if baseline else frozenset(),
            # a baseline from before models had places tells nothing of where one is
            destination_of(self._catalogue(), call.tool)
            if baseline and call.tool and (baseline.places or call.tool in baseline.definitions)
            else None,
        )

    def _version(self, call: SeenCall) -> AgentVersion | None:
        if call.version is None:
            return None
        agent = self._catalogue().agent(call.agent)
        if agent is not None and agent.version.digest == call.version:
            return agent.version
        found = self._versions.get(call.version)
        if found is None:
            row = self._control.view.get(VERSION, call.version)
            if row is None:
                return None
            found = self._versions[call.version] = version_from(row.doc)
            if len(self._versions) > _VERSIONS:
                self._versions.popitem(last=False)
        return found

    async def _look_at_postures(self) -> None:
        while self._said:
            key = next(iter(self._said))
            await self._tell(self._said[key])
            self._said.pop(key, None)

    async def _look_at_offers(self) -> None:
        while self._offers:
            name = next(iter(self._offers))
            seen, server = self._offers[name], self._catalogue().server(name)
            row = self._control.view.get(OFFER, name)
            if server is not None and (OFFER, name) not in self._control.unproven:
                known = row.doc["known"] if row is not None else {}
                for deviation in findings_of_offer(server, seen, known):
                    await self._tell_of_server(deviation, server.environment)
                after = known_after(known, seen)
                if after != known:
                    await self._control.transact(partial(self._noting_offer, name, after))
            if self._offers.get(name) is seen:
                del self._offers[name]

    async def _tell_of_server(self, deviation: Deviation, environment: Environment) -> None:
        if self._alerts.told(deviation):
            return
        if self._alerts.many(None, deviation.kind):
            deviation = replace(deviation, matter=MANY)
            if self._alerts.told(deviation):
                return
        await self._alerts.open(deviation, self._remedy(deviation.kind, environment, None), environment)

    @staticmethod
    def _noting_offer(name: ServerName, known: Mapping[str, Any], _: StateView) -> Change:
        return Change(Facts("server.offer.seen"), (Write(OFFER, name, {"known": known}),), Actor(), {"server": name})

    async def _check(self) -> None:
        for name in list(self._moved):
            if (server := self._catalogue().server(name)) is not None:
                self._repinned.update(tool.id for tool in server.tools.values())
            self._moved.discard(name)
        if self._repinned:
            touched, self._repinned = self._repinned, set()
            self._unchecked.update(self._baselines.agents(with_any_of=touched))
        for number, agent in enumerate(sorted(self._unchecked)[:_MAX_CHECKED]):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # calls go first
            # taken off first: a change that comes while it is told of puts the agent on again
            self._unchecked.discard(agent)
            try:
                for deviation in self.check(agent):
                    await self._tell(deviation)
            except BaseException:
                self._unchecked.add(agent)
                raise

    async def _check_tiers(self) -> None:
        unknown = False
        for agent_id in self._tiers.take():
            await asyncio.sleep(0)  # calls go first
            agent = self._catalogue().agent(agent_id)
            if agent is None or not _needs_baseline(agent):
                continue
            try:
                await self._compare_tier(agent)
            except AccreditError as error:  # it may be of this agent alone
                self._tiers.again(agent_id)
                if not (unknown or self._tiers_unknown):
                    _log.warning("the tier of %s cannot be compared now: %s", agent_id, error.message)
                unknown = True
        self._tiers_unknown = unknown

    async def _compare_tier(self, agent: Agent) -> None:
        """Tell of a tier that rose, have its answer carried on while it stays so, and end the alert when it is over."""
        now_us = self._clock.now().wall_us
        risen = drift_of_tier(agent, self._tier_of(agent), now_us)
        for alert in self._alerts.live(agent.id, AlertKind.POSTURE_TIER):
            if risen is None or not _of_version_in_force(alert, agent):
                await self._alerts.over(alert.id)
            elif alert.remedied and now_us >= alert.last_us + (alert.for_s or 0) * 1_000_000 - _RENEWED_US:
                await self._alerts.renew(alert.id, at_us=now_us)
        if risen is not None:
            await self._tell(risen)

    async def _let_go(self) -> None:
        """What contains an agent already answers every alert that asks for that."""
        catalogue, done = self._catalogue(), 0
        for alert in self._alerts.unremedied():
            agent = None if alert.agent is None else catalogue.agent(alert.agent)
            state = None if agent is None else agent.state
            contained = _GONE if alert.remediation is RemediationKind.RESTRICT else _CONTAINED
            if state in contained and done < _MAX_LET_GO:
                await self._alerts.mark_remedied(alert.id, actor=Actor())
                done += 1

    async def _tell(self, deviation: Deviation) -> None:
        agent = None if deviation.agent is None else self._catalogue().agent(deviation.agent)
        if agent is None or self._alerts.told(deviation) or await self._before_our_time(deviation):
            return
        if deviation.kind is AlertKind.SHARED_KEY and self._same_places(deviation):
            return
        if deviation.kind in FOLDED and self._alerts.many(deviation.agent, deviation.kind):
            deviation = replace(deviation, matter=MANY)
            if self._alerts.told(deviation):
                return
        remedy = self._remedy(deviation.kind, agent.environment, self._known_tier(agent))
        await self._alerts.open(deviation, remedy, agent.environment)

    def _remedy(self, kind: AlertKind, environment: Environment, tier: Tier | None) -> Remedy:
        return remedy_for(kind, environment, tier, self._rules())

    def _same_places(self, deviation: Deviation) -> bool:
        """Whether the alert on this key that somebody resolved was on these networks: they belong together."""
        before = self._alerts.standing(deviation.agent, deviation.kind, deviation.matter)
        return before is not None and set(deviation.evidence["places"]) <= set(before.evidence.get("places", ()))

    def _known_tier(self, agent: Agent) -> Tier | None:
        """None as well if it cannot be computed: that counts as the highest, and keeps no alert from being opened."""
        if agent.environment is not Environment.PRODUCTION:
            return None
        try:
            return self._tier_of(agent).tier
        except AccreditError:
            return None

    async def _before_our_time(self, deviation: Deviation) -> bool:
        """Whether the roll-ups of the days before monitoring began show it already."""
        if deviation.kind not in {AlertKind.NEW_TOOL, AlertKind.FIRST_DENIAL}:
            return False
        began, tool = self._began_us // _DAY_US, deviation.tool or ""
        days = await asyncio.to_thread(lambda: self._records.usage(until_day=began, agent=deviation.agent, tool=tool))
        return any(day.usage.denies or deviation.kind is AlertKind.NEW_TOOL for day in days)

    async def _save(self) -> None:
        """Write the cursor with every count up to it, at once: what is read again counts nothing twice."""
        while True:
            # as long as some counts wait, the records they come from must be read again
            waiting = (self._alerts.uncounted, self._reported.uncounted, self._events.unwritten)
            last = max(waiting) <= _MAX_WRITES
            reached = self._position if last else self._saved
            await self._control.transact(partial(self._saving, reached))
            if last:
                break
        self._saved, self._saved_boot_us = reached, self._clock.now().boot_us

    def _saving(self, reached: int, _: StateView) -> Change:
        writes = (
            *self._alerts.writes_of_counts(_MAX_WRITES),
            *self._reported.writes(_MAX_WRITES),
            *self._events.writes(_MAX_WRITES),
        )
        if (MONITORING, CURSOR) not in self._control.unproven:
            writes = (*writes, Write(MONITORING, CURSOR, {"began_us": self._began_us, "position": reached}))
        return Change(Facts("monitoring.saved"), writes, Actor(), {"position": reached})

    def look_again(self, agents: Iterable[AgentId]) -> None:
        """Compare the tiers of these agents anew in the next rounds: something else was observed of them."""
        for agent in agents:
            self._tiers.again(agent)

    # -- posture

    def check(self, agent_id: AgentId) -> tuple[Deviation, ...]:
        """Compare what is in force of an agent with its baseline, now. Tells nobody; `round` does."""
        agent, at_us = self._catalogue().agent(agent_id), self._clock.now().wall_us
        if agent is None or agent.state in _GONE:
            return ()
        baseline = self._baselines.of(agent_id)
        if baseline is None or not baseline.open:
            return (without_baseline(agent, at_us),) if _needs_baseline(agent) else ()
        placed = {tool: place for tool in baseline.places if (place := destination_of(self._catalogue(), tool))}
        return drift_in_force(baseline, agent, self._pinned(baseline.definitions), placed, at_us)

    def note_posture(self, agent_id: AgentId, credential: CredentialId, said: Mapping[str, Any]) -> None:
        """Look at what an authenticated instance says of itself (`version`, `prompt`, `models`), for the next round.

        Raises:
            InvalidInputError: it is of another form.
        """
        now_us = self._clock.now().wall_us
        posture = posture_from(agent_id, credential, said, now_us)
        agent = self._catalogue().agent(agent_id)
        if agent is None:
            return
        self._postures[credential] = posture
        self._postures.move_to_end(credential)
        if len(self._postures) > _REMEMBERED:
            self._postures.popitem(last=False)
        baseline = self._baselines.of(agent_id)
        if baseline is None or not baseline.open:
            baseline = self._baselines.approved(agent, agent.version, at_us=now_us)
        for deviation in drift_reported(baseline, posture):
            key = (deviation.agent, deviation.kind, deviation.matter)
            if not self._alerts.told(deviation):
                self._said.setdefault(key, deviation)

    def note_offer(
        self, name: ServerName, offered: Mapping[str, Mapping[str, Any]], kinds: frozenset[ItemKind | None]
    ) -> None:
        """Look at all that a tool server lists now, for the next round; `kinds` are those that it has lists of."""
        server = self._catalogue().server(name)
        if server is not None:
            self._offers[name] = seen_offer(server, offered, kinds, self._clock.now().wall_us)

    def postures(self, agent: AgentId) -> tuple[Posture, ...]:
        """What instances of the agent last said of themselves to this process, by credential."""
        found = [posture for posture in self._postures.values() if posture.agent == agent]
        return tuple(sorted(found, key=lambda posture: posture.credential))

    def _pinned(self, tools: Mapping[ToolId, Digest]) -> dict[ToolId, Digest]:
        catalogue = self._catalogue()
        found = {name: catalogue.tool(name) for name in tools}
        return {name: tool.definition_digest for name, tool in found.items() if tool is not None}

    # -- alerts

    def open_remediations(self) -> tuple[Remediation, ...]:
        """What is to be done and not marked as done, for agents that run; oldest first."""
        due = [alert for alert in self._alerts.unremedied() if self._stands(alert)]
        return tuple(
            Remediation(
                alert=alert.id,
                agent=alert.agent,
                kind=alert.remediation if alert.closed_us is None else RemediationKind.LIFT,
                why=f"{alert.kind}: {alert.matter}",
                restriction=alert.restriction,
                tool=alert.tool,
                for_s=alert.for_s,
                calls_per_minute=alert.calls_per_minute,
                role=alert.role,
                until_approved=alert.kind in _UNTIL_APPROVED,
            )
            for alert in due
            if alert.agent is not None
        )

    def _stands(self, alert: Alert) -> bool:
        agent = None if alert.agent is None else self._catalogue().agent(alert.agent)
        if not _runs(agent):
            return False
        # approved anew since: what ended a restriction must not be followed by another
        anew = alert.kind is AlertKind.POSTURE_TIER and not _of_version_in_force(alert, agent)
        return alert.closed_us is not None or not anew

    async def mark_remedied(self, alert: str, *, actor: Actor) -> None:
        """Note that an alert's remediation was carried out. Repeating it changes nothing.

        Raises:
            NotFoundError: no such alert.
            UnavailableError: it could not be made durable.
        """
        await self._alerts.mark_remedied(alert, actor=actor)

    def alert(self, alert: str) -> Alert | None:
        """The alert of that id."""
        return self._alerts.get(alert)

    def alerts(
        self, *, agent: AgentId | None = None, state: AlertState | None = None, limit: int | None = None
    ) -> tuple[Alert, ...]:
        """Alerts, newest first."""
        return self._alerts.find(agent=agent, state=state, limit=limit)

    async def acknowledge(self, alert: str, operator: Operator, note: str = "") -> Alert:
        """Say that somebody looks after it.

        Raises:
            NotFoundError: no such alert.
            ConflictError: it is resolved.
            InvalidInputError: the note is too long.
            UnavailableError: it could not be made durable.
        """
        return await self._alerts.acknowledge(alert, operator, note)

    async def resolve(
        self, alert: str, operator: Operator, note: str = "", *, disposition: AlertDisposition | None = None
    ) -> Alert:
        """Say that it is over, and what it was. If it still is so, or is seen again, another alert opens.

        Raises:
            ConflictError: it is resolved already, or its remediation is about to be carried out.
            NotFoundError, InvalidInputError, UnavailableError: as `acknowledge`.
        """
        return await self._alerts.resolve(alert, operator, note, disposition=disposition, still_due=self._still_due)

    def _still_due(self, alert: Alert) -> bool:
        return not alert.remedied and self._stands(alert)

    # -- use

    def usage(self, agent: Agent, *, days: int = 30) -> tuple[ToolUse, ...]:
        """What the agent may call against what it called, today and in the days before.

        Raises:
            UnavailableError: the log cannot be read.
        """
        since = self._clock.now().wall_us // _DAY_US - days + 1
        return use_by_tool(self._granted(agent.version), self._records.usage(since_day=since, agent=agent.id))

    def unused(self, agent: Agent, *, days: int = 90) -> tuple[UnusedPermission, ...]:
        """What the agent may call and has not for so many days, longest idle first. Raises as `usage`."""
        baseline = self._baselines.of(agent.id)
        in_force_us = agent.registered_us if baseline is None else baseline.made_us
        return unused_permissions(
            self.usage(agent, days=YEAR_DAYS),
            today=self._clock.now().wall_us // _DAY_US,
            days=days,
            registered_day=agent.registered_us // _DAY_US,
            in_force_day=in_force_us // _DAY_US,
        )

    def histories(self, agents: Collection[AgentId]) -> dict[tuple[AgentId, ToolId], ToolHistory]:
        """What some agents made of each tool they called in a year, versions before the present one included.

        Raises:
            UnavailableError: the log cannot be read.
        """
        today = self._clock.now().wall_us // _DAY_US
        return tool_histories(
            self._records.tool_days(agents, since_day=today - YEAR_DAYS + 1, counted_since=today - WINDOW_DAYS + 1)
        )

    def reported(self, agent: AgentId) -> tuple[ReportedUse, ...]:
        """What was reported of the agent, ever: apart from what was measured, and proof of nothing."""
        return self._reported.of(agent)

    def _granted(self, version: AgentVersion) -> frozenset[ToolId]:
        """What a version may call here: its tools, and those of its models whose provider stands behind the gateway."""
        models = (grant.tool for grant in version.models if self._catalogue().tool(grant.tool) is not None)
        return frozenset(grant.tool for grant in version.grants).union(models)

    # -- following

    def _follow(self, change: Change) -> None:
        self._tiers.follow(change)
        self._reported.follow(change)
        self._events.follow(change)
        for write in change.writes:
            if write.kind in {AGENT, BASELINE}:
                self._unchecked.add(AgentId(write.key))
                self._plain.clear()
                if write.kind == AGENT and write.doc is not None and write.doc["state"] == AgentState.RETIRED:
                    self._retired.add(AgentId(write.key))
            elif write.kind == TOOL:
                self._repinned.add(ToolId(write.key))
            elif write.kind == SERVER:
                self._plain.clear()
                self._moved.add(ServerName(write.key))
            elif (
                write.kind == ALERT
                and write.doc is not None
                and write.doc["closed_us"] is not None
                and write.doc["agent"]
            ):
                self._unchecked.add(AgentId(write.doc["agent"]))  # what still is so is told anew
                self._tiers.again(AgentId(write.doc["agent"]))


def _of_version_in_force(alert: Alert, agent: Agent) -> bool:
    """Of a tier that rose: whether it is this version's, under this approval."""
    return alert.matter == agent.tier and alert.evidence.get("version") == agent.version.digest


def _runs(agent: Agent | None) -> TypeGuard[Agent]:
    return agent is not None and runs(agent.environment, agent.state)


def _needs_baseline(agent: Agent) -> bool:
    return agent.environment is Environment.PRODUCTION and _runs(agent)
