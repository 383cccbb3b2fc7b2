"""Policies: checking them, publishing them, and which are in force."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named
from accredit.api.paging import Limit
from accredit.api.people import AskedFor
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, dated, moment, optional_moment
from accredit.approvals.model import ApprovalRequest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.difference import MOST_ROWS, SliceChange, release_diff, slice_diff
from accredit.policy.junit import test_document
from accredit.policy.release import Release
from accredit.policy.simulating import Simulation
from accredit.policy.sources import Policy
from accredit.registry.authority import Act

__all__ = [
    "DiffShown",
    "FindingRow",
    "PublicationRow",
    "PublishedRelease",
    "PublishedTexts",
    "ReleaseShown",
    "RuleChangeRow",
    "SimulationShown",
    "TestRunShown",
    "policies",
    "simulation_shown",
]


class _Policies(Form):
    files: Annotated[dict[str, Annotated[str, Field(max_length=2**20)]], Field(max_length=5000)]


@dataclass(frozen=True, slots=True)
class FindingRow:
    """Something wrong with a policy."""

    path: str
    policy: str | None
    message: str
    fix: str
    rule: str
    severity: str
    """`refused`: nothing is published; `warning`: it is, and said."""


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release that is in force."""

    release: str
    policies: int
    basis: str


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """One time that a release was put in force."""

    number: int
    digest: str
    published: str
    by: str | None
    approved_by: list[str]
    basis: str
    in_force: bool


@dataclass(frozen=True, slots=True)
class ReleaseShown:
    """A release."""

    release: str
    engine: str
    policies: list[str]
    observed: dict[str, str]
    """Policies and files that are only observed, and until when."""
    counters: list[str]
    fault: str
    """Of the release in force: why the one published last was not taken over; empty if it was."""
    vkey: str
    """What releases are verified with."""


@dataclass(frozen=True, slots=True)
class PublishedTexts:
    """Everything kept of a release and the last time it was put in force."""

    release: str
    engine: str
    files: dict[str, str]
    agents: dict[str, str]
    publication: dict[str, Any]
    """Its number, author, approvers, rehearsal, and the signed note over all of it."""


@dataclass(frozen=True, slots=True)
class TestRunShown:
    """What came of a release's own cases."""

    __test__ = False

    passed: bool
    cases: list[dict[str, Any]]
    """Each with path, name, whether it passed, and if not why."""
    coverage: list[dict[str, Any]]
    determined: int
    """Policies that determined an outcome in some case,"""
    policies: int
    """of so many."""
    branch_share: float
    survivors: list[str] | None
    """With mutation: policies whose loss no case notices."""
    junit: str


@dataclass(frozen=True, slots=True)
class SimulationShown:
    """A simulation, running or over."""

    id: str
    state: str
    candidate: str | None
    base: str
    records: int
    looked_at: int
    fault: str
    report: dict[str, Any] | None
    """Of a candidate (schema `accredit/simulation/v1`)."""
    proof: dict[str, Any] | None
    """Of the past: whether every decision came out again exactly."""


@dataclass(frozen=True, slots=True)
class DiffShown:
    """What is different between two releases."""

    base: str
    candidate: str
    added: list[str]
    removed: list[str]
    observed: list[list[Any]]
    files: list[dict[str, Any]]
    """Each with path, change and a unified diff."""
    rules: list[RuleChangeRow]
    """Agents whose rules change, their own tools first, then what they hand on; the first thousand of those seen."""
    rules_total: int


@dataclass(frozen=True, slots=True)
class RuleChangeRow:
    """One agent and tool whose rules change, or what one agent hands on to another."""

    agent: str
    tool: str
    """`@delegate`: handing work on at all."""
    handed_on_to: list[str]
    """Set: these are the rules of handing the use of the tool on to the first of these, who may hand it on further."""
    handed_on_by: list[str]
    """Whose work reaches the tool by handing it on: it changes for them as well."""
    before: str
    after: str
    added: list[str]
    removed: list[str]
    observed: list[str]


class _Tested(_Policies):
    mutation: bool = False


class _Simulated(_Policies):
    days: Annotated[int, Field(ge=1, le=3650)] = 30
    agents: Annotated[list[Annotated[str, Field(max_length=200)]] | None, Field(max_length=1000)] = None


class _Proven(Form):
    days: Annotated[int, Field(ge=1, le=3650)] = 30


class _Compared(Form):
    base: Annotated[str | None, Field(max_length=80)] = None
    """A release; None: the one in force."""
    candidate: Annotated[str | None, Field(max_length=80)] = None
    files: Annotated[dict[str, Annotated[str, Field(max_length=2**20)]] | None, Field(max_length=5000)] = None


class _RollBack(Form):
    release: Annotated[str, Field(min_length=1, max_length=80)]


class _Mode(Form):
    policy: Annotated[str, Field(min_length=1, max_length=300)]
    """A policy's id, or the path of a file."""
    until: Annotated[datetime | None, Field(strict=False)] = None
    """Until when it is only observed; None: it is enforced."""


def policies(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""

    @app.post("/api/v1/policy/lint", response_model=Items[FindingRow])
    async def policy_lint(who: Who, form: _Policies) -> Json:
        asking.require_reader(who)
        found = await asyncio.to_thread(plane.releases.lint, form.files)
        return Json(Items([FindingRow(**asdict(one)) for one in found]))

    @app.post("/api/v1/policy/test", response_model=TestRunShown)
    async def policy_test(who: Who, form: _Tested) -> Json:
        asking.require_reader(who)
        release = await asyncio.to_thread(plane.releases.candidate, form.files)
        run = await plane.rehearsals.tested(release, mutation=form.mutation)
        return Json(TestRunShown(**test_document(run)))

    @app.post("/api/v1/policy/simulate", response_model=SimulationShown, status_code=202)
    async def policy_simulate(who: Who, form: _Simulated) -> Json:
        asking.require(Act.PUBLISH_POLICY, who)
        release = await asyncio.to_thread(plane.releases.candidate, form.files)
        named = None if form.agents is None else frozenset(str(asking.agent(name).id) for name in form.agents)
        return Json(simulation_shown(plane.simulations.start(release, days=form.days, agents=named)), 202)

    @app.post("/api/v1/policy/replay", response_model=SimulationShown, status_code=202)
    async def policy_replay(who: Who, form: _Proven) -> Json:
        if not asking.sees_all(who):
            asking.seen_agent(who, None)
        return Json(simulation_shown(plane.simulations.start(None, days=form.days)), 202)

    @app.get("/api/v1/policy/simulations/{simulation}", response_model=SimulationShown)
    async def policy_simulation(who: Who, simulation: Named) -> Json:
        asking.seen_agent(who, None)
        return Json(simulation_shown(plane.simulations.get(simulation)))

    @app.post("/api/v1/policy/diff", response_model=DiffShown)
    async def policy_diff(who: Who, form: _Compared) -> Json:
        asking.require_reader(who)
        base = plane.releases.current if form.base is None else plane.releases.read(form.base)
        if (form.files is None) is (form.candidate is None):
            raise InvalidInputError(
                Code.BODY_MALFORMED, "compare with either `files` or a `candidate`", hint="name one of them"
            )
        if form.candidate is not None:
            candidate = plane.releases.read(form.candidate)
        else:
            candidate = await asyncio.to_thread(plane.releases.candidate, form.files or {})
        found = await asyncio.to_thread(release_diff, base, candidate)
        snapshot = plane.snapshots.current
        before, after = (snapshot.policy.with_release(each) for each in (base, candidate))
        seen, fleet = asking.visible(who), list(snapshot.catalogue.agents())
        changed = await asyncio.to_thread(slice_diff, before, after, seen, fleet=fleet)
        return Json(
            DiffShown(
                base=found.base,
                candidate=found.candidate,
                added=list(found.added),
                removed=list(found.removed),
                observed=[[name, optional_moment(old), optional_moment(new)] for name, old, new in found.observed],
                files=[asdict(one) for one in found.files],
                rules=[_rule(one, asking) for one in changed[:MOST_ROWS]],
                rules_total=len(changed),
            )
        )

    waits: Final[dict[int | str, dict[str, Any]]] = {
        202: {"model": AskedFor, "description": "it waits for the sign-off of a second person"}
    }

    def published(who: Who, made: str | ApprovalRequest) -> Json:
        if isinstance(made, ApprovalRequest):
            return Json(AskedFor(made.id, made.state), 202)
        return Json(PublishedRelease(made, len(_policies_of(plane.releases.current)), who.basis))

    @app.post("/api/v1/policy/publish", response_model=PublishedRelease, responses=waits)
    async def policy_publish(who: Who, form: _Policies) -> Json:
        return published(who, await plane.room.operations.publish(who, form.files))

    @app.post("/api/v1/policy/rollback", response_model=PublishedRelease, responses=waits)
    async def policy_rollback(who: Who, form: _RollBack) -> Json:
        return published(who, await plane.room.operations.roll_back(who, form.release))

    @app.post("/api/v1/policy/mode", response_model=PublishedRelease, responses=waits)
    async def policy_mode(who: Who, form: _Mode) -> Json:
        return published(who, await plane.room.operations.set_mode(who, form.policy, _until_us(form.until)))

    @app.get("/api/v1/policy/release", response_model=ReleaseShown)
    async def policy_release(who: Who) -> Json:
        asking.require_reader(who)
        current = plane.releases.current
        return Json(
            ReleaseShown(
                release=current.digest,
                engine=current.engine,
                policies=[one.id for one in _policies_of(current)],
                observed={name: moment(until_us) for name, until_us in sorted(current.config.observe.items())},
                counters=[one.name for one in current.config.counters],
                fault=plane.releases.fault,
                vkey=plane.releases.vkey,
            )
        )

    @app.get("/api/v1/policy/releases", response_model=Items[PublicationRow])
    async def policy_history(who: Who, limit: Limit = 50, after: Annotated[int | None, Query(ge=1)] = None) -> Json:
        asking.require_reader(who)
        rows = [row for row in plane.releases.history() if after is None or row["number"] < after]
        following = str(rows[limit - 1]["number"]) if len(rows) > limit else None
        return Json(Items([PublicationRow(**row) for row in rows[:limit]], following))

    @app.get("/api/v1/policy/releases/{release}", response_model=PublishedTexts)
    async def policy_texts(who: Who, release: Named) -> Json:
        asking.require_reader(who)
        texts, publication = plane.releases.find(release)
        return Json(
            PublishedTexts(
                release=publication["release"],
                engine=texts["engine"],
                files=dict(texts["files"]),
                agents=dict(texts["agents"]),
                publication=dated(publication),
            )
        )


def _rule(one: SliceChange, asking: Asking) -> RuleChangeRow:
    return RuleChangeRow(
        agent=asking.name(one.agent) or one.agent,
        tool=one.tool,
        handed_on_to=[asking.name(each) or each for each in (one.callee, *one.onward) if each is not None],
        handed_on_by=sorted(asking.name(each) or each for each in one.through),
        before=one.before.outcome,
        after=one.after.outcome,
        added=list(one.added),
        removed=list(one.removed),
        observed=list(one.observed),
    )


def _policies_of(release: Release) -> tuple[Policy, ...]:
    return (*release.policies, *release.external.policies)


def simulation_shown(one: Simulation) -> SimulationShown:
    """A simulation as it is shown."""
    proof = one.proof
    return SimulationShown(
        id=one.id,
        state=one.state.value,
        candidate=one.candidate,
        base=one.base,
        records=one.records,
        looked_at=one.looked_at,
        fault=one.fault,
        report=None if one.report is None else one.report.document(),
        proof=None if proof is None else {**asdict(proof), "exact": proof.exact},
    )


def _until_us(until: datetime | None) -> int | None:
    if until is not None and until.tzinfo is None:
        raise InvalidInputError(Code.BODY_MALFORMED, "`until` names no zone", hint="write it with an offset or `Z`")
    return None if until is None else int(until.timestamp()) * 1_000_000
