"""Reports of use past this path: who may send them, what of them is on record, and what they never are.

    1 the sender is counted        3 what passed this path is left out      5 one record; the rest counted
    2 whose use each is            4 matched with what is registered

The numbers stand where the steps are done. INVARIANT: a report is on record as `reported` and nowhere else. It
reserves, settles and counts nothing, opens no session and stands in no roll-up, so no baseline, tier, limit or
automatic answer can rest on it. In header and body stands only what we know ourselves (who sent it, when it came,
which registered tool is meant, how often); every word and number of the sender's is in the sealed part.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.audit.model import Entry, Facts, Part
from accredit.audit.ports import AuditLog
from accredit.enforcement.advice import Adviser, Asker
from accredit.enforcement.passed import PassedCalls
from accredit.enforcement.reported import (
    Attributed,
    ForAnotherError,
    MatchedUse,
    RegisteredNames,
    Report,
    Said,
    SpanRef,
    UseKind,
    speaker,
)
from accredit.enforcement.snapshot import Snapshot
from accredit.identity.model import Principal
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, AttemptsLimitedError, ForbiddenError, UnavailableError
from accredit.kernel.ids import ToolId
from accredit.kernel.sealing import Sealer
from accredit.limits.model import LimitRefusal
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent

__all__ = ["REPORTED", "Reports", "TakenReport"]

_log = logging.getLogger("accredit.enforcement")

REPORTED: Final = "reported"
_MINUTE_US: Final = 60_000_000
_MOST_KEYS: Final = 2_000
"""Different uses that are told apart in one minute."""
_MOST_UNKNOWN: Final = 20
"""Names that nobody registered, of one sender in one minute."""
_MOST_SPANS: Final = 16_384
"""Spans remembered, so that one that is sent again is not counted again."""
_SAMPLES: Final = 5
_AT_A_TIME: Final = 250
_MOST_NESTED: Final = 8
_MANY: Final = "many"

_Seen = tuple[str, SpanRef, UseKind, int]
"""Sender, place, and what: its name by a hash of this process, for a name may be long."""


@dataclass(frozen=True, slots=True)
class TakenReport:
    """What became of a report."""

    recorded: int = 0
    passed: int = 0
    """Spans of calls that passed this path: on record as what they were."""
    repeated: int = 0
    """Spans that were sent before."""
    refused: int = 0
    """Spans in the name of an agent that the sender may not speak for."""


@dataclass(frozen=True, slots=True)
class _Key:
    """Uses that are counted together."""

    sender: str
    """The credential."""
    agent: str | None
    environment: str
    used: UseKind
    tool: str | None
    granted: bool
    unknown_tool: str | None = None
    """Keyed fingerprints of names that nobody registered; `many` where there are too many."""
    unknown_agent: str | None = None


@dataclass(slots=True)
class _Tally:
    """What was said of one key."""

    version: str | None
    point: str | None
    count: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    named: dict[str, Any] = field(default_factory=dict)
    spans: list[str] = field(default_factory=list)

    def add(self, said: Said, named: dict[str, Any]) -> None:
        self.count += 1
        self.failed += said.failed
        self.input_tokens += said.input_tokens
        self.output_tokens += said.output_tokens
        self.named = self.named or named
        if len(self.spans) < _SAMPLES:
            trace, span = said.place
            self.spans.append(f"{trace.hex()}-{span.hex()}")

    def merge(self, other: _Tally) -> None:
        self.count += other.count
        self.failed += other.failed
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.spans += other.spans[: _SAMPLES - len(self.spans)]


class Reports:
    """Takes reports of agents and collectors. Used from one event loop."""

    def __init__(
        self,
        passed: PassedCalls,
        adviser: Adviser,
        *,
        audit: AuditLog,
        attempt: Callable[[Asker, str], LimitRefusal | None],
        snapshot: Callable[[], Snapshot],
        gateway_host: str,
        sealer: Sealer,
        clock: Clock,
    ) -> None:
        self._passed = passed
        self._adviser = adviser
        self._audit = audit
        self._attempt = attempt
        self._snapshot = snapshot
        self._gateway_host = gateway_host
        self._sealer = sealer.derive("fingerprints")
        self._clock = clock
        self._alone = asyncio.Lock()
        self._minute = -1
        self._told: set[_Key] = set()
        """Of this minute: those that have a record of their own."""
        self._rest: dict[_Key, _Tally] = {}
        self._rest_minute = -1
        """In which the first of them was counted."""
        self._unknown: defaultdict[str, set[str]] = defaultdict(set)
        self._seen: OrderedDict[_Seen, None] = OrderedDict()
        self._names: dict[str, tuple[Catalogue, RegisteredNames]] = {}
        self.totals: Counter[str] = Counter()
        """Spans since the process began, by what became of them."""

    def authenticate(self, authorization: str | None, *, path: str, source: str) -> Asker:
        """Who is sending: the same who may ask for decisions, each with the same credential.

        Raises:
            UnauthenticatedError: nobody was proven.
        """
        return self._adviser.authenticate(authorization, path=path, source=source)

    def still_valid(self, asker: Asker) -> bool:
        """Whether who was authenticated a moment ago still counts."""
        return self._adviser.still_valid(asker)

    async def take(self, sender: Asker, report: Report, *, path: str, source: str) -> TakenReport:
        """Put on record what a report says. Of equal uses the first in a minute is durable before this returns.

        Raises:
            ForbiddenError: an enforcement point that is not registered to report.
            AttemptsLimitedError: it reports too often.
            UnavailableError: not all of it could be put on record; it may be sent again, and what was is counted twice.
        """
        self._count(sender, source)  # 1
        async with self._alone:
            return await self._take(sender, report, path, source)

    async def _take(self, sender: Asker, report: Report, path: str, source: str) -> TakenReport:
        snapshot, now = self._snapshot(), self._clock.now()
        catalogue = snapshot.catalogue
        own: Agent | None = None
        if isinstance(sender, Principal):
            own = catalogue.agent(sender.agent)
            if own is None:
                raise UnavailableError(Code.STATE_UNPROVEN, "what is stored of this agent is not proven")
            environment, credential, point = own.environment.value, str(sender.credential), None
        else:
            if sender.reports is None:
                raise ForbiddenError(
                    Code.NOT_AUTHORISED,
                    f"the enforcement point `{sender.name}` is not registered to report",
                    hint="name the environment of its agents as `reports` in its manifest",
                )
            environment, credential, point = sender.reports, sender.key, sender.name
        if snapshot.unproven:  # whom a name belongs to cannot be told
            raise UnavailableError(Code.STATE_UNPROVEN, "what is stored is not proven")
        self._turn(now)
        said, refused = await self._attributed(report, own, environment, snapshot)  # 2
        if refused:
            self._adviser.turned_away(
                Code.REPORT_FOR_ANOTHER, path=path, source=source, credential=credential, cause=f"{refused} spans"
            )
        passed = self._passed_here(report, said)  # 3
        tallies: dict[_Key, _Tally] = {}
        names = set(self._unknown[credential])
        fresh: dict[_Seen, None] = {}
        repeated = passed_here = 0
        inner = self._nested(report, said)
        for number, (one, whose, use) in enumerate(said):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # calls go first
            seen: _Seen = (credential, one.place, one.used, hash(one.name))
            if seen in self._seen or seen in fresh:
                repeated += 1
                continue
            fresh[seen] = None
            if passed[number]:
                passed_here += 1
                continue
            if number in inner:
                continue
            if one.used is UseKind.NOTHING and not whose.unregistered:
                continue
            key = self._key(credential, environment, one, whose, use, names, len(tallies))  # 4
            tally = tallies.setdefault(key, _Tally(whose.agent.version.digest if whose.agent else None, point))
            tally.add(one, _named(one, whose))
        await self._write(tallies, now)
        self._unknown[credential] = names
        self._seen.update(fresh)
        while len(self._seen) > _MOST_SPANS:
            self._seen.popitem(last=False)
        recorded = sum(tally.count for tally in tallies.values())
        taken = TakenReport(recorded, passed_here, repeated, refused)
        self.totals.update(recorded=recorded, passed=taken.passed, repeated=repeated, refused=refused)
        self.totals["invalid"] += report.invalid
        return taken

    def _count(self, sender: Asker, source: str) -> None:
        limited = self._attempt(sender, source)
        if limited is not None and limited.code is Code.ATTEMPTS_LIMITED:
            raise AttemptsLimitedError(limited.detail, retry_after_s=limited.retry_after_s)
        if limited is not None:
            raise UnavailableError(limited.code, limited.detail)

    def _names_in(self, environment: str, catalogue: Catalogue) -> RegisteredNames:
        known = self._names.get(environment)
        if known is None or known[0] is not catalogue:
            known = self._names[environment] = (catalogue, RegisteredNames(catalogue, environment, self._gateway_host))
        return known[1]

    async def _attributed(
        self, report: Report, own: Agent | None, environment: str, snapshot: Snapshot
    ) -> tuple[list[tuple[Said, Attributed, MatchedUse]], int]:
        found: list[tuple[Said, Attributed, MatchedUse]] = []
        refused = 0
        names = self._names_in(environment, snapshot.catalogue)
        for number, one in enumerate(report.said):
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
            try:
                whose = speaker(one, own, environment, snapshot.catalogue)
            except ForAnotherError:
                refused += 1
                continue
            nothing = one.used is UseKind.NOTHING
            use = MatchedUse(None, granted=True) if nothing else names.matched(one, whose.agent)
            found.append((one, whose, use))
        return found, refused

    def _passed_here(self, report: Report, said: list[tuple[Said, Attributed, MatchedUse]]) -> list[bool]:
        """Of each use, in order, whether it is of a call that passed this path."""
        tools = {one.place: use.id for one, _, use in said}
        for agent in {whose.agent.id for _, whose, _ in said if whose.agent is not None}:
            self._passed.learn(agent, report.parents, tools)
        return [
            whose.agent is not None
            and (
                self._passed.by_decision(whose.agent.id, one.decision, use.id)
                or self._passed.by_place(whose.agent.id, one.place, use.id)
            )
            for one, whose, use in said
        ]

    @staticmethod
    def _nested(report: Report, said: list[tuple[Said, Attributed, MatchedUse]]) -> set[int]:
        """Uses right within a use of the same: a framework's `execute_tool` and the `tools/call` that it makes.

        One that is within itself, however far round, is within nothing.
        """
        uses = {(one.place, one.used, one.name) for one, _, _ in said}

        def inner(one: Said) -> bool:
            at, steps = one.place, 0
            while (above := report.parents.get(at)) is not None and (above, one.used, one.name) in uses:
                at, steps = above, steps + 1
                if steps > _MOST_NESTED:
                    return False
            return steps > 0

        return {number for number, (one, _, _) in enumerate(said) if one.used is not UseKind.NOTHING and inner(one)}

    def _key(
        self,
        credential: str,
        environment: str,
        one: Said,
        whose: Attributed,
        use: MatchedUse,
        names: set[str],
        others: int,
    ) -> _Key:
        tool: ToolId | None = use.tool.id if use.tool is not None else None
        unknown_tool = None
        if one.used is not UseKind.NOTHING and tool is None and use.known is None:
            unknown_tool = self._fingerprint(one.used.value, one.name, names)
        unknown_agent = self._fingerprint("agent", whose.unregistered, names) if self._nobody(whose) else None
        key = _Key(
            credential,
            whose.agent.id if whose.agent is not None else None,
            environment,
            one.used,
            tool or use.known,
            use.granted,
            unknown_tool,
            unknown_agent,
        )
        if key in self._told or key in self._rest or len(self._told) + others < _MOST_KEYS:
            return key
        unknown = _MANY if unknown_tool is not None else None
        return _Key(credential, key.agent, environment, one.used, None, use.granted, unknown, unknown_agent and _MANY)

    @staticmethod
    def _nobody(whose: Attributed) -> bool:
        return whose.agent is None or bool(whose.unregistered)

    def _fingerprint(self, what: str, text: str, names: set[str]) -> str:
        """As the path of a call has it, so that a name is the same in both."""
        found = self._sealer.fingerprint(f"{what}\0{text}".encode("utf-8", "surrogatepass"))
        if found not in names and len(names) >= _MOST_UNKNOWN:
            return _MANY
        names.add(found)
        return found

    # -- records

    async def _write(self, tallies: dict[_Key, _Tally], now: Instant) -> None:
        """5: the first of a key in a minute at once; the rest when the minute is over."""
        first = {key: tally for key, tally in tallies.items() if key not in self._told}
        if first:
            written = await asyncio.gather(
                *(self._audit.append(_entry(key, tally, now)) for key, tally in first.items()), return_exceptions=True
            )
            self._told.update(
                key for key, one in zip(first, written, strict=True) if not isinstance(one, BaseException)
            )
            failed = next((one for one in written if isinstance(one, BaseException)), None)
            if failed is not None:
                raise failed
        for key, tally in tallies.items():
            if key in first:
                continue
            if not self._rest:
                self._rest_minute = self._minute
            if key in self._rest:
                self._rest[key].merge(tally)
            else:
                self._rest[key] = tally

    def _turn(self, now: Instant) -> None:
        minute = now.wall_us // _MINUTE_US
        if minute != self._minute:
            self._minute = minute
            self._told.clear()
            self._unknown.clear()

    async def tick(self, *, closing: bool = False) -> None:
        """Record what was counted in minutes that are over, or all of it. To be called every few seconds."""
        now = self._clock.now()
        if not self._rest or (now.wall_us // _MINUTE_US == self._rest_minute and not closing):
            return
        due, self._rest = self._rest, {}
        for key, tally in due.items():
            try:
                await self._audit.append(_entry(key, tally, now))
            except AccreditError as error:
                _log.error("%d reported uses were not recorded: %s", tally.count, error.code)


def _named(one: Said, whose: Attributed) -> dict[str, Any]:
    named = {
        "agent": whose.unregistered or one.agent_name,
        "agent_id": one.agent_id,
        "name": one.name,
        "provider": one.provider,
        "server": one.server_address,
        "service": one.service_name,
    }
    return {key: value for key, value in named.items() if value}


def _entry(key: _Key, tally: _Tally, now: Instant) -> Entry:
    said = {
        **tally.named,
        "failed": tally.failed,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "spans": tally.spans,
    }
    return Entry(
        Facts(REPORTED, agent=key.agent, version=tally.version, environment=key.environment, tool=key.tool),
        now.wall_us,
        {
            "count": tally.count,
            "credential": key.sender,
            "granted": key.granted,
            "point": tally.point,
            "unknown_agent": key.unknown_agent,
            "unknown_tool": key.unknown_tool,
            "used": key.used.value,
        },
        (Part("request", said),),
        refused=True,  # kept short: a report is worth no more room than a refusal
    )
