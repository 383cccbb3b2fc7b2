"""Lets parts go when their time is over: data keys destroyed, a tombstone for each batch. Envelopes stay.

Each class goes through the log once, oldest first, and its row says how far. What a legal hold keeps is passed over and
gone through again once that hold is lifted. INVARIANT: legal holds are looked at inside the very transaction that
destroys. Killed anywhere, it goes on at the row.

kind        key     document
retention   class   how far the class is
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from accredit.audit.indexing import Concerned, SubjectIndex
from accredit.audit.legal_holds import LegalHoldKeeper, held_by
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, SubjectStore, Write
from accredit.audit.records import PART_ERASED, header_of
from accredit.audit.retention import Expiry, RecordClass, Schedule, class_of, kept
from accredit.kernel.clock import Clock
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import IdSource

__all__ = ["DuePlan", "Expiries"]

RETENTION: Final = "retention"
_DAY_US: Final = 86_400_000_000
_BATCH: Final = 2_048
"""Records that are looked at for one transaction."""
_PARTS: Final = 1_000
_BATCHES: Final = 16
"""Of one round: what is left waits for the next."""
_COUNTED: Final = 100_000
_SYSTEM: Final = Actor(basis="system")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DuePlan:
    """What would go now of one class."""

    name: str
    days: int
    before_us: int
    records: int
    parts: int
    first_us: int | None
    kept: Mapping[str, int]
    """Records that a legal hold keeps."""
    whole: bool
    """False: there is more than was counted."""


@dataclass(frozen=True, slots=True)
class _Progress:
    name: str
    next: int = 0
    parts: int = 0
    behind: int | None = None
    """The first record that was passed over."""
    holds: tuple[str, ...] = ()
    """Why records were passed over since."""
    unscrubbed: bool = False


@dataclass(slots=True)
class _Page:
    due: list[Concerned] = field(default_factory=list)
    following: int = 0
    ends: bool = False
    """Nothing behind it is due."""
    by_subject: bool = False
    """Whether it was looked up whom each record concerns."""


class Expiries:
    """Plans and carries out the schedule; `schedule` is checked. `round` is for one task at a time."""

    def __init__(
        self,
        control: ControlLog,
        store: SubjectStore,
        index: SubjectIndex,
        holds: LegalHoldKeeper,
        schedule: Schedule,
        *,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._control = control
        self._store = store
        self._index = index
        self._holds = holds
        self.schedule = schedule
        self._clock = clock
        self._ids = ids

    def _expiring(self) -> list[RecordClass]:
        return [one for one in self.schedule.classes if one.expires is Expiry.PARTS]

    async def plan(self) -> tuple[DuePlan, ...]:
        """What would go now, and what legal holds keep of it. Nothing is erased.

        Raises:
            ConflictError: what must be kept is not known.
            UnavailableError: the log cannot be read.
        """
        return await asyncio.to_thread(lambda: tuple(map(self._planned, self._expiring())))

    def _planned(self, one: RecordClass) -> DuePlan:
        progress, days = self._progress(one.name, self._control.view), kept(one, self.schedule).days
        before_us = self._clock.now().wall_us - days * _DAY_US
        at, counted, parts, first_us = progress.next, 0, 0, None
        holding: Counter[str] = Counter()
        started = at
        while at - started < _COUNTED:
            page = self._page(one, at, before_us)
            for each in page.due:
                if why := self._holding(each):
                    holding.update(why)
                    continue
                counted, parts = counted + 1, parts + len(each.parts)
                first_us = each.time_us if first_us is None else first_us
            at = page.following
            if page.ends:
                return DuePlan(one.name, days, before_us, counted, parts, first_us, dict(holding), whole=True)
        return DuePlan(one.name, days, before_us, counted, parts, first_us, dict(holding), whole=False)

    def _progress(self, name: str, view: StateView) -> _Progress:
        """How far a class is; back where a hold that is not in force any more kept something."""
        row = view.get(RETENTION, name)
        if row is None:
            return _Progress(name)
        doc = row.doc
        found = _Progress(name, doc["next"], doc["parts"], doc["behind"], tuple(doc["holds"]), doc["unscrubbed"])
        if found.behind is not None and not {hold.id for hold in self._holds.open(view)}.issuperset(found.holds):
            return replace(found, next=min(found.next, found.behind), behind=None, holds=())
        return found

    def _page(self, one: RecordClass, start: int, before_us: int) -> _Page:
        """What is due of the next records; blocking."""
        page = _Page(following=start, by_subject=any(hold.subject for hold in self._holds.open()))
        if page.by_subject:
            self._index.catch_up()
        size = self._store.size()
        parts = 0
        for record in self._store.records(start, min(start + _BATCH, size)):
            header = header_of(record)
            if header["time"] >= before_us:
                page.ends = True
                return page
            names = tuple(part.name for part in record.parts if part.wrapped_key is not None)
            if record.outbox_id is None and names and class_of(header["kind"], self.schedule).name == one.name:
                if parts + len(names) > _PARTS:
                    return page
                parts += len(names)
                whom = self._index.whom(record) if page.by_subject else frozenset()
                page.due.append(Concerned(record.seq, header["agent"], header["time"], whom, names))
            page.following = record.seq + 1
        page.ends = page.following >= size
        return page

    def _holding(self, one: Concerned, view: StateView | None = None) -> list[str]:
        return [
            hold.id
            for hold in self._holds.open(view)
            if held_by(hold, agent=one.agent, subjects=one.names, at_us=one.time_us, agentless=one.agent is None)
        ]

    async def round(self) -> None:
        """Let go what is due, a bounded part of it.

        Raises:
            ConflictError: what must be kept is not known: nothing was erased.
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        for one in self._expiring():
            before_us = self._clock.now().wall_us - kept(one, self.schedule).days * _DAY_US
            for _ in range(_BATCHES):
                start = self._progress(one.name, self._control.view).next
                page = await asyncio.to_thread(self._page, one, start, before_us)
                if page.following > start:
                    await self._let_go(one, page, start, before_us)
                if page.ends:
                    break
            await self._scrub(one.name)

    async def _let_go(self, one: RecordClass, page: _Page, start: int, before_us: int) -> None:
        def build(view: StateView) -> Change | None:
            before = self._progress(one.name, view)
            if before.next != start:
                return None  # a hold was lifted meanwhile: the next page begins further back
            if not page.by_subject and any(hold.subject for hold in self._holds.open(view)):
                return None  # whom it concerns was not looked up, for no hold asked then
            if not page.due and page.following - start < _BATCH:
                return None  # not worth a record
            erased: list[dict[str, Any]] = []
            after = replace(before, next=page.following)
            for each in page.due:
                if why := self._holding(each, view):
                    behind = each.seq if after.behind is None else after.behind
                    after = replace(after, behind=behind, holds=tuple(sorted({*after.holds, *why})))
                else:
                    erased += [{"part": part, "seq": each.seq} for part in each.parts]
            after = replace(after, parts=after.parts + len(erased), unscrubbed=after.unscrubbed or bool(erased))
            body: dict[str, Any] = {"class": one.name, "before": before_us}
            if not erased:
                return self._change("retention.continued", after, body)
            return self._change(PART_ERASED, after, {**body, "erased": erased})

        await self._control.transact(build)

    async def _scrub(self, name: str) -> None:
        progress = self._progress(name, self._control.view)
        if not progress.unscrubbed:
            return
        try:
            await asyncio.to_thread(self._store.scrub)
        except UnavailableError as error:
            _log.warning("what expired is overwritten later: %s", error.message)
            return
        await self._control.transact(
            lambda view: self._change(
                "retention.scrubbed", replace(self._progress(name, view), unscrubbed=False), {"class": name}
            )
        )

    def _change(self, kind: str, progress: _Progress, body: Mapping[str, Any]) -> Change:
        doc = {
            "behind": progress.behind,
            "holds": list(progress.holds),
            "next": progress.next,
            "parts": progress.parts,
            "unscrubbed": progress.unscrubbed,
        }
        return Change(Facts(kind), (Write(RETENTION, progress.name, doc),), _SYSTEM, body)
