"""Stores of memory and knowledge: what is in them, what agents keep there, purges and reviews of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Nothing
from accredit.api.paging import MOST, After, Limit, page
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, optional_moment
from accredit.kernel.canonical import Digest
from accredit.kernel.legible import visible
from accredit.lifecycle.store_reviews import ReviewedItem
from accredit.lifecycle.store_rows import outcome_doc
from accredit.lifecycle.stored import Purge, PurgeState, Review, ReviewVerdict, Scan
from accredit.registry.model import Store

__all__ = [
    "DecidedRow",
    "HoldingRow",
    "PurgeRow",
    "ReviewItemRow",
    "ReviewRow",
    "ScanRow",
    "StoreRow",
    "VerifiedRow",
    "stores",
]

_Namespace = Annotated[str, Field(min_length=1, max_length=128)]


class _Scan(Form):
    namespace: _Namespace


class _Kept(Form):
    agent: Annotated[str, Field(min_length=1, max_length=200)]
    store: Annotated[str, Field(min_length=1, max_length=63)]
    namespace: _Namespace


class _Decision(Form):
    item: Annotated[str, Field(min_length=1, max_length=2_000)]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    verdict: Annotated[ReviewVerdict, Field(strict=False)]
    to: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class _Clean(Form):
    verdict: Annotated[ReviewVerdict, Field(strict=False)]


@dataclass(frozen=True, slots=True)
class StoreRow:
    """A registered store."""

    name: str
    environment: str
    adapter: str
    location: str
    credential: str | None
    namespaces: list[str]
    shared: bool
    owner_field: str | None
    subject_field: str | None


@dataclass(frozen=True, slots=True)
class HoldingRow:
    """A namespace as its store tells of it, with the newest scan."""

    namespace: str
    items: int
    bytes: int | None
    scanned: str | None
    """When, if the newest scan has ended."""
    flagged: int | None
    """Items with any finding, of the newest scan."""


@dataclass(frozen=True, slots=True)
class ScanRow:
    """What a namespace was found to hold: kinds and counts, never values."""

    store: str
    namespace: str
    detector: str
    state: str
    """running or ended."""
    items: int
    flagged: int
    cut: int
    """Items of which not all was looked at."""
    findings: dict[str, int]
    """Items by kind of value."""
    begun: str
    ended: str | None


@dataclass(frozen=True, slots=True)
class PurgeRow:
    """A planned, running or ended purge."""

    id: str
    agent: str
    store: str
    namespace: str
    state: str
    delete: int
    counts: dict[str, int]
    plan: str
    planned: str
    approval: str | None
    """The request that other persons decide, while it waits for them."""
    deleted: int
    why: str
    certified: bool | None
    open: list[str]
    outcome: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """What a store says of an ended purge now."""

    id: str
    left: int
    """Items it would delete now."""
    residual: str
    """As it was looked for when the purge ended."""
    certified: bool


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """The review of an agent's part in shared knowledge."""

    id: str
    agent: str
    store: str
    namespace: str
    begun: str
    decided: int
    clean: str | None
    """What was decided on every item in which nothing was found."""


@dataclass(frozen=True, slots=True)
class ReviewItemRow:
    """One item as it is decided on."""

    item: str
    digest: str
    text: str
    fields: dict[str, str]
    whole: bool
    flagged: dict[str, int]
    mine: bool
    verdict: str | None
    alone: bool


@dataclass(frozen=True, slots=True)
class DecidedRow:
    """A decision on one item."""

    digest: str
    verdict: str
    to: str | None


def stores(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    acts, service, reviews = plane.room.store_operations, plane.room.stores, plane.room.store_reviews

    @app.get("/api/v1/stores", response_model=Items[StoreRow])
    async def store_list(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(plane.registry.stores.values(), lambda one: (one.name,), limit, after)
        return Json(Items([_store(one) for one in found], following))

    @app.get("/api/v1/stores/{name}/namespaces", response_model=Items[HoldingRow])
    async def store_namespaces(who: Who, name: Named) -> Json:
        found = await acts.inventory(who, name)
        rows = []
        for one in found.holdings[:1_000]:
            scan = service.scan_of(name, one.namespace)
            ended = scan.ended_us if scan else None
            rows.append(
                HoldingRow(one.namespace, one.items, one.bytes, optional_moment(ended), scan.flagged if scan else None)
            )
        return Json(Items(rows))

    @app.post("/api/v1/stores/{name}/scan", response_model=ScanRow)
    async def store_scan(who: Who, name: Named, form: _Scan) -> Json:
        return Json(_scan(await acts.scan(who, name, form.namespace)))

    @app.get("/api/v1/store-scans", response_model=Items[ScanRow])
    async def store_scans(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(service.scans(), lambda one: (one.store, one.namespace), limit, after)
        return Json(Items([_scan(one) for one in found], following))

    @app.get("/api/v1/store-purges", response_model=Items[PurgeRow])
    async def store_purges(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(service.purges(), lambda one: (one.id,), limit, after)
        return Json(Items([_purge(one) for one in found], following))

    @app.post("/api/v1/store-purges", response_model=PurgeRow, status_code=201)
    async def store_plan(who: Who, form: _Kept) -> Json:
        agent = asking.agent(form.agent)
        return Json(_purge(await acts.plan(who, agent.id, form.store, form.namespace)), 201)

    @app.get("/api/v1/store-purges/{purge}", response_model=PurgeRow)
    async def store_purge_get(who: Who, purge: Named) -> Json:
        asking.require_reader(who)
        return Json(_purge(service.purge_of(purge)))

    @app.post("/api/v1/store-purges/{purge}/run", response_model=PurgeRow)
    async def store_purge(who: Who, purge: Named, form: Nothing) -> Json:
        del form
        return Json(_purge(await acts.purge(who, purge)))

    @app.post("/api/v1/store-purges/{purge}/verify", response_model=VerifiedRow)
    async def store_verify(who: Who, purge: Named, form: Nothing) -> Json:
        del form
        found, left = await acts.verify(who, purge)
        outcome = found.outcome
        assert outcome is not None  # noqa: S101 - an ended purge has one
        return Json(VerifiedRow(found.id, left, outcome.residual.value, outcome.certified and not left))

    @app.get("/api/v1/store-reviews", response_model=Items[ReviewRow])
    async def store_reviews(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(reviews.find(), lambda one: (one.id,), limit, after)
        return Json(Items([_review(one) for one in found], following))

    @app.post("/api/v1/store-reviews", response_model=ReviewRow, status_code=201)
    async def store_review_begin(who: Who, form: _Kept) -> Json:
        agent = asking.agent(form.agent)
        return Json(_review(await acts.begin_review(who, agent.id, form.store, form.namespace)), 201)

    @app.get("/api/v1/store-reviews/{review}/items", response_model=Items[ReviewItemRow])
    async def store_review_items(
        who: Who, review: Named, after: Annotated[str | None, Query(max_length=2_000)] = None
    ) -> Json:
        found, following = await acts.review_items(who, review, after)
        return Json(Items([_item(one) for one in found], following))

    @app.post("/api/v1/store-reviews/{review}/decide", response_model=DecidedRow)
    async def store_review_decide(who: Who, review: Named, form: _Decision) -> Json:
        to = asking.agent(form.to).id if form.to is not None else None
        kept = await acts.decide(who, review, form.item, Digest(form.digest), form.verdict, to)
        return Json(DecidedRow(kept.item, kept.verdict.value, kept.to))

    @app.post("/api/v1/store-reviews/{review}/clean", response_model=ReviewRow)
    async def store_review_clean(who: Who, review: Named, form: _Clean) -> Json:
        return Json(_review(await acts.decide_clean(who, review, form.verdict)))


def _store(one: Store) -> StoreRow:
    return StoreRow(
        one.name,
        one.environment,
        one.adapter,
        one.location,
        one.credential,
        list(one.namespaces),
        one.shared,
        one.owner_field,
        one.subject_field,
    )


def _scan(one: Scan) -> ScanRow:
    return ScanRow(
        one.store,
        one.namespace,
        one.detector,
        "running" if one.ended_us is None else "ended",
        one.items,
        one.flagged,
        one.cut,
        {each.kind: each.items for each in one.findings},
        moment(one.begun_us),
        optional_moment(one.ended_us),
    )


def _purge(one: Purge) -> PurgeRow:
    counts = {name.value: count for name, count in sorted(one.counts.of.items())}
    return PurgeRow(
        id=one.id,
        agent=one.selector.agent,
        store=one.selector.store,
        namespace=one.selector.namespace,
        state=one.state,
        delete=counts.get("delete", 0),
        counts=counts,
        plan=one.plan,
        planned=moment(one.planned_us),
        approval=one.request if one.state is PurgeState.ASKED else None,
        deleted=one.deleted,
        why=one.why,
        certified=None if one.outcome is None else one.outcome.certified,
        open=[] if one.outcome is None else list(one.outcome.open),
        outcome=None if one.outcome is None else outcome_doc(one.outcome),
    )


def _review(one: Review) -> ReviewRow:
    return ReviewRow(
        one.id,
        one.agent,
        one.store,
        one.namespace,
        moment(one.begun_us),
        one.decided,
        one.bulk.value if one.bulk else None,
    )


def _item(one: ReviewedItem) -> ReviewItemRow:
    return ReviewItemRow(
        item=one.item.id,
        digest=one.item.digest,
        text=visible(one.item.text),
        fields={visible(name): visible(value) for name, value in one.item.fields.items()},
        whole=one.item.whole,
        flagged=dict(one.flagged),
        mine=one.mine,
        verdict=one.verdict.value if one.verdict else None,
        alone=one.alone,
    )
