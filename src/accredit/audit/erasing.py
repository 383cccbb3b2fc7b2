"""Erases a subject from the log: destroys the data keys, and with them the salts, of every part that concerns them.

    1 asked      by one person; what it would destroy is counted, and another in compliance decides
    2 begun      the row says below which record everything is looked at
    3 batches    each is one control record, a tombstone, that destroys the keys it names in its own transaction
    4 forgotten  the last of them destroys the mapping of their pseudonyms too, unless something of theirs was held
    5 scrubbed   older copies in the store's files are gone
    6 ended      the row says what was done, and what was kept under which legal hold

INVARIANT: legal holds are looked at inside the very transaction that destroys, so none can be placed in between.
Killed anywhere, it goes on at the row: a batch that was recorded is done, one that was not did nothing.

kind      key          document
erasure   erasure id   how far it is, under keyed names only; never removed
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from accredit.audit.indexing import Concerned, SubjectIndex
from accredit.audit.legal_holds import LegalHoldKeeper, held_by
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, Row, StateView, SubjectStore, Write
from accredit.audit.records import PART_ERASED
from accredit.audit.subjects import SubjectKeys, SubjectSense
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import NotFoundError, UnavailableError
from accredit.kernel.ids import IdSource

__all__ = ["Erasure", "ErasurePlan", "ErasureState", "Erasures"]

ERASURE: Final = "erasure"
_BATCH: Final = 64
"""Records that concern them, each with what belongs to its call, in one transaction."""
_PARTS: Final = 1_000
"""Of which at most so many parts: a tombstone names each."""
_FORGET: Final = 256
_SYSTEM: Final = Actor(basis="system")
_log = logging.getLogger(__name__)


class ErasureState(StrEnum):
    """How far an erasure is."""

    RUNNING = "running"
    SCRUBBING = "scrubbing"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class ErasurePlan:
    """What an erasure would do now, as others judge it."""

    id: str
    names: frozenset[str]
    senses: tuple[str, ...]
    upto: int
    records: int
    parts: int
    agents: int
    first_us: int | None
    last_us: int | None
    kept: Mapping[str, int]
    """Records that would be kept, by legal hold."""

    def document(self) -> dict[str, Any]:
        """The same as canonical data."""
        return {
            "agents": self.agents,
            "first_us": self.first_us,
            "id": self.id,
            "kept": dict(self.kept),
            "last_us": self.last_us,
            "names": sorted(self.names),
            "parts": self.parts,
            "records": self.records,
            "senses": list(self.senses),
            "upto": self.upto,
        }


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure that was signed off."""

    id: str
    names: frozenset[str]
    basis: str
    """Why, in words: sealed in the log."""
    by: str
    """Who asked."""
    approved: str
    """The digest that was signed off."""
    begun_us: int
    upto: int
    state: ErasureState = ErasureState.RUNNING
    next: int = 0
    parts: int = 0
    records: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    """Records that were kept, by legal hold; one that is found in two ways counts twice."""
    forgotten: int = 0
    """Pseudonyms whose mapping was destroyed."""
    erased_us: int | None = None
    """When the last key was destroyed: what was copied before may hold it."""
    ended_us: int | None = None


class Erasures:
    """Counts, begins and carries out erasures. Who may, and who signs off, is for its callers.

    `at` is called between any two steps, for fault tests.
    """

    def __init__(
        self,
        control: ControlLog,
        index: SubjectIndex,
        store: SubjectStore,
        holds: LegalHoldKeeper,
        names: SubjectKeys,
        *,
        clock: Clock,
        ids: IdSource,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._index = index
        self._store = store
        self._holds = holds
        self._names = names
        self._clock = clock
        self._ids = ids
        self._at = at
        self._turn = asyncio.Lock()

    def all(self) -> tuple[Erasure, ...]:
        """Every erasure that was signed off, in the order of their ids."""
        return tuple(_erasure_from(row) for row in self._control.view.scan(ERASURE))

    def get(self, erasure: str) -> Erasure:
        """One of them.

        Raises:
            NotFoundError: there is none of that id, or it is not signed off.
        """
        row = self._control.view.get(ERASURE, erasure)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no erasure `{erasure[:80]}` that was signed off")
        return _erasure_from(row)

    async def plan(self, value: str, senses: frozenset[SubjectSense]) -> ErasurePlan:
        """Find everything that concerns a subject, and count it. Nothing is erased.

        Raises:
            InvalidInputError: the value means nobody.
            ConflictError: what must be kept is not known.
            UnavailableError: the log cannot be read.
        """
        return await asyncio.to_thread(self._planned, value, senses)

    def _planned(self, value: str, senses: frozenset[SubjectSense]) -> ErasurePlan:
        names = self._names.keys(value, senses)
        upto = self._index.catch_up()
        if SubjectSense.VALUE in senses:
            self._index.search(value, upto=upto)
        seen: set[int] = set()
        agents: set[str | None] = set()
        times: list[int] = []
        parts, kept = 0, Counter[str]()
        for page, _ in self._index.pages(names, 0, upto, _BATCH):
            for one in page:
                if one.seq in seen or not one.parts:
                    continue
                seen.add(one.seq)
                holding = self._holding(one)
                kept.update(holding)
                parts += 0 if holding else len(one.parts)
                agents.add(one.agent)
                times = [min([*times[:1], one.time_us]), max([*times[1:], one.time_us])]
        return ErasurePlan(
            self._ids.new("ers"),
            names,
            tuple(sorted(senses)),
            upto,
            len(seen),
            parts,
            len(agents - {None}),
            times[0] if times else None,
            times[1] if times else None,
            dict(kept),
        )

    def _holding(self, one: Concerned, view: StateView | None = None) -> list[str]:
        return [
            hold.id
            for hold in self._holds.open(view)
            if held_by(hold, agent=one.agent, subjects=one.names, at_us=one.time_us, agentless=one.agent is None)
        ]

    async def begin(self, plan: Mapping[str, Any], *, basis: str, by: str, approved: str, actor: Actor) -> None:
        """Put a plan that was signed off into force; again changes nothing."""

        def build(view: StateView) -> Change | None:
            if view.get(ERASURE, plan["id"]) is not None:
                return None
            erasure = Erasure(
                id=plan["id"],
                names=frozenset(plan["names"]),
                basis=basis,
                by=by,
                approved=approved,
                begun_us=self._clock.now().wall_us,
                upto=plan["upto"],
            )
            return self._change("erasure.begun", erasure, actor, {})

        await self._control.transact(build)
        self._at("begun")

    async def round(self) -> None:
        """Carry on with every erasure that has not ended, as far as that goes now.

        Raises:
            ConflictError: what must be kept is not known: nothing was erased.
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        async with self._turn:
            for erasure in self.all():
                await self._carry_out(erasure)

    async def _carry_out(self, erasure: Erasure) -> None:
        while erasure.state is ErasureState.RUNNING:
            found = await asyncio.to_thread(self._next_page, erasure)
            erasure = await self._erase(erasure, found)
            self._at("batch")
        if erasure.state is ErasureState.SCRUBBING:
            try:
                await asyncio.to_thread(self._scrubbed, erasure)
            except UnavailableError as error:
                _log.warning("erasure %s waits for its last step: %s", erasure.id, error.message)
                return
            self._at("scrubbed")
            ended = replace(erasure, state=ErasureState.ENDED, ended_us=self._clock.now().wall_us)
            await self._control.transact(lambda _: self._change("erasure.ended", ended, _SYSTEM, _counts(ended)))
            self._at("ended")

    def _next_page(self, erasure: Erasure) -> tuple[list[Concerned], int] | None:
        # what arrived since it was planned and was not looked at then
        self._index.catch_up()
        return next(self._index.pages(erasure.names, erasure.next, erasure.upto, _BATCH), None)

    async def _erase(self, before: Erasure, found: tuple[list[Concerned], int] | None) -> Erasure:
        pseudonyms: Sequence[str] = ()
        if found is None and not before.kept:
            pseudonyms = await asyncio.to_thread(self._index.pseudonyms_of, before.names)
        after: list[Erasure] = []

        def build(view: StateView) -> Change:
            now_us = self._clock.now().wall_us
            if found is None:
                # whatever was held meanwhile keeps the mapping as well
                some = tuple(pseudonyms[:_FORGET])
                left = len(pseudonyms) > _FORGET
                after[:] = [
                    replace(
                        before,
                        state=ErasureState.RUNNING if left else ErasureState.SCRUBBING,
                        forgotten=before.forgotten + len(some),
                        erased_us=now_us,
                    )
                ]
                return self._change(PART_ERASED, after[0], _SYSTEM, {"erased": [], "forgotten": list(some)})
            page, following = found
            erased: list[dict[str, Any]] = []
            kept, records = Counter(before.kept), before.records
            for one in page:
                if not one.parts:
                    continue
                if holding := self._holding(one, view):
                    kept.update(holding)
                    continue
                if len(erased) + len(one.parts) > _PARTS:
                    following = before.next  # the rest of the page is looked at again: what is erased has no parts
                    break
                erased += [{"part": part, "seq": one.seq} for part in one.parts]
                records += 1
            if following == before.next:
                kept = Counter(before.kept)  # counted when the page is done
            after[:] = [
                replace(
                    before, next=following, parts=before.parts + len(erased), records=records, kept=dict(kept),
                    erased_us=now_us if erased else before.erased_us,
                )
            ]  # fmt: skip
            kind = PART_ERASED if erased else "erasure.continued"
            return self._change(kind, after[0], _SYSTEM, {"erased": erased} if erased else {})

        await self._control.transact(build)
        return after[0]

    def _scrubbed(self, erasure: Erasure) -> None:
        if not erasure.kept:
            self._index.forget(erasure.names, erasure.upto)
        self._store.scrub()

    def _change(self, kind: str, erasure: Erasure, by: Actor, body: Mapping[str, Any]) -> Change:
        doc = _erasure_doc(erasure, nonce=self._ids.secret(16).hex())
        return Change(Facts(kind), (Write(ERASURE, erasure.id, doc),), by, {"erasure": erasure.id, **body})


def _counts(erasure: Erasure) -> dict[str, Any]:
    return {
        "destroyed": erasure.parts,
        "forgotten": erasure.forgotten,
        "kept": [[hold, count] for hold, count in sorted(erasure.kept.items())],
        "records": erasure.records,
    }


def _erasure_doc(erasure: Erasure, *, nonce: str) -> dict[str, Any]:
    return {
        "approved": erasure.approved,
        "basis": erasure.basis,
        "begun_us": erasure.begun_us,
        "by": erasure.by,
        "ended_us": erasure.ended_us,
        "erased_us": erasure.erased_us,
        "forgotten": erasure.forgotten,
        "kept": dict(erasure.kept),
        "names": sorted(erasure.names),
        "next": erasure.next,
        "nonce": nonce,
        "parts": erasure.parts,
        "records": erasure.records,
        "state": erasure.state.value,
        "upto": erasure.upto,
    }


def _erasure_from(row: Row) -> Erasure:
    doc = row.doc
    return Erasure(
        id=row.key,
        names=frozenset(doc["names"]),
        basis=doc["basis"],
        by=doc["by"],
        approved=doc["approved"],
        begun_us=doc["begun_us"],
        upto=doc["upto"],
        state=ErasureState(doc["state"]),
        next=doc["next"],
        parts=doc["parts"],
        records=doc["records"],
        kept=dict(doc["kept"]),
        forgotten=doc["forgotten"],
        erased_us=doc["erased_us"],
        ended_us=doc["ended_us"],
    )
