"""How long records are kept: legal holds, erasures of a subject, and the schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Reason
from accredit.api.paging import MOST, After, Limit, page
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, optional_moment
from accredit.audit.erasing import Erasure
from accredit.audit.expiring import DuePlan
from accredit.audit.legal_holds import LegalHold
from accredit.audit.retention import KeptFor, RecordClass, kept
from accredit.audit.subjects import EVERY_SENSE, SubjectSense
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.legible import visible

__all__ = ["AskedErasure", "DueRow", "ErasureRow", "LegalHoldRow", "RetentionRow", "keeping"]

_Moment = Annotated[str, Field(min_length=10, max_length=40)]
"""ISO 8601 with its offset from UTC: `2026-03-01T00:00:00Z`."""


class _LegalHold(Form):
    matter: Annotated[str, Field(min_length=1, max_length=500)]
    """What it is about; it stands in the log, sealed. Name nobody here."""
    agent: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    subject: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """The id of a user or task, or a value that stands in what was sent; only keyed digests of it are kept."""
    incident: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    since: _Moment | None = None
    until: _Moment | None = None


class _Erasure(Form):
    subject: Annotated[str, Field(min_length=1, max_length=512)]
    """The id of a user or task, or a value that stands in what was sent; only keyed digests of it are kept."""
    senses: Annotated[list[Annotated[SubjectSense, Field(strict=False)]], Field(min_length=1, max_length=3)] | None = (
        None
    )
    """In which senses it is meant; every one, if left out."""
    basis: Annotated[str, Field(min_length=1, max_length=500)]
    """Why; it stands in the log, sealed. Name nobody here."""


@dataclass(frozen=True, slots=True)
class AskedErasure:
    """What an erasure would destroy, and the request that compliance decides."""

    id: str
    approval: str
    records: int
    parts: int
    agents: int
    first: str | None
    last: str | None
    kept: dict[str, int]
    """Records that are kept, by legal hold."""


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """An erasure that was signed off."""

    id: str
    state: str
    """running, scrubbing or ended."""
    basis: str
    by: str
    begun: str
    records: int
    parts: int
    """Whose keys were destroyed."""
    forgotten: int
    """Pseudonyms whose mapping was destroyed."""
    kept: dict[str, int]
    """Records that were kept, by legal hold."""
    erased: str | None
    copies_until: str | None
    """When the last backup that can hold a destroyed key is gone, if backups end as set."""
    ended: str | None


@dataclass(frozen=True, slots=True)
class RetentionRow:
    """How long a class of record is kept."""

    name: str
    what: str
    expires: str
    """parts: their keys are destroyed when the time is over; or never."""
    days: int
    minimum: int
    maximum: int | None
    because: list[str]


@dataclass(frozen=True, slots=True)
class DueRow:
    """What would go now of one class."""

    name: str
    days: int
    before: str
    records: int
    parts: int
    first: str | None
    kept: dict[str, int]
    """Records that a legal hold keeps, by hold."""
    whole: bool
    """False: there is more than was counted."""


@dataclass(frozen=True, slots=True)
class LegalHoldRow:
    """What must be kept, and by whose word."""

    id: str
    state: str
    """open or lifted."""
    matter: str
    agent: str | None
    subject: bool
    """Whether it means the records about one subject; whom, is not kept."""
    incident: str | None
    since: str | None
    until: str | None
    placed: str
    placed_by: str
    lifted: str | None
    lifted_by: str | None
    why_lifted: str


def keeping(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    acts, holds = plane.room.record_operations, plane.room.legal_holds

    @app.get("/api/v1/legal-holds", response_model=Items[LegalHoldRow])
    async def legal_holds(
        who: Who,
        limit: Limit = MOST,
        after: After = None,
        state: Annotated[Literal["open", "lifted", "all"], Query()] = "open",
    ) -> Json:
        asking.require_reader(who)
        found = (one for one in holds.all() if state == "all" or one.open is (state == "open"))
        some, following = page(found, lambda one: (one.id,), limit, after)
        return Json(Items([_hold(one) for one in some], following))

    @app.post("/api/v1/legal-holds", response_model=LegalHoldRow, status_code=201)
    async def legal_hold_place(who: Who, form: _LegalHold) -> Json:
        placed = await acts.place_hold(
            who,
            form.matter,
            agent=None if form.agent is None else asking.agent(form.agent).id,
            subject=form.subject,
            incident=form.incident,
            since_us=_moment_us(form.since),
            until_us=_moment_us(form.until),
        )
        return Json(_hold(placed), 201)

    @app.post("/api/v1/legal-holds/{hold}/lift", response_model=LegalHoldRow)
    async def legal_hold_lift(who: Who, hold: Named, form: Reason) -> Json:
        return Json(_hold(await acts.lift_hold(who, hold, form.reason)))

    @app.get("/api/v1/erasures", response_model=Items[ErasureRow])
    async def erasures(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        some, following = page(plane.room.erasures.all(), lambda one: (one.id,), limit, after)
        return Json(Items([_erasure(one, acts.copies_until_us(one)) for one in some], following))

    @app.post("/api/v1/erasures", response_model=AskedErasure, status_code=201)
    async def erasure_ask(who: Who, form: _Erasure) -> Json:
        senses = EVERY_SENSE if form.senses is None else frozenset(form.senses)
        plan, request = await acts.erase(who, form.subject, senses, form.basis)
        first, last = optional_moment(plan.first_us), optional_moment(plan.last_us)
        asked = AskedErasure(plan.id, request.id, plan.records, plan.parts, plan.agents, first, last, dict(plan.kept))
        return Json(asked, 201)

    @app.get("/api/v1/retention", response_model=Items[RetentionRow])
    async def retention(who: Who) -> Json:
        asking.require_reader(who)
        schedule = plane.room.expiries.schedule
        return Json(Items([_class(one, kept(one, schedule)) for one in schedule.classes]))

    @app.get("/api/v1/retention/plan", response_model=Items[DueRow])
    async def retention_plan(who: Who) -> Json:
        asking.require_reader(who)
        return Json(Items([_due(one) for one in await plane.room.expiries.plan()]))


def _class(one: RecordClass, times: KeptFor) -> RetentionRow:
    return RetentionRow(one.name, one.what, one.expires, times.days, times.minimum, times.maximum, list(times.because))


def _due(one: DuePlan) -> DueRow:
    first = optional_moment(one.first_us)
    return DueRow(one.name, one.days, moment(one.before_us), one.records, one.parts, first, dict(one.kept), one.whole)


def _moment_us(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
        if read.tzinfo is None:
            raise ValueError("without an offset")  # noqa: TRY301 - one refusal for every other form
        return round(read.timestamp() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            Code.BODY_MALFORMED,
            f"`{visible(text)}` is no moment",
            hint="write it with its offset, as `2026-03-01T00:00:00Z`",
        ) from error


def _hold(one: LegalHold) -> LegalHoldRow:
    return LegalHoldRow(
        id=one.id,
        state="open" if one.open else "lifted",
        matter=one.matter,
        agent=one.agent,
        subject=bool(one.subject),
        incident=one.incident,
        since=optional_moment(one.since_us),
        until=optional_moment(one.until_us),
        placed=moment(one.placed_us),
        placed_by=one.placed_by,
        lifted=optional_moment(one.lifted_us),
        lifted_by=one.lifted_by,
        why_lifted=one.why_lifted,
    )


def _erasure(one: Erasure, copies_until_us: int | None) -> ErasureRow:
    return ErasureRow(
        id=one.id,
        state=one.state,
        basis=one.basis,
        by=one.by,
        begun=moment(one.begun_us),
        records=one.records,
        parts=one.parts,
        forgotten=one.forgotten,
        kept=dict(one.kept),
        erased=optional_moment(one.erased_us),
        copies_until=optional_moment(copies_until_us),
        ended=optional_moment(one.ended_us),
    )
