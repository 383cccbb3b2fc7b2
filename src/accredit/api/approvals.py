"""What waits for people: requests for sign-off, and held calls."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query
from pydantic import Field

from accredit.api.asking import Asking, Who
from accredit.api.forms import AnyRole, Form, Named, Nothing
from accredit.api.paging import After, Limit, page, since
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json
from accredit.api.shown import Items, moment, optional_moment
from accredit.approvals.assessment import RiskAssessment
from accredit.approvals.duties import Barred, Eligible, duty
from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Hold,
    HoldState,
    HoldVerdict,
    Obligation,
    Vote,
    VoteVerdict,
)
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ForbiddenError, NotFoundError
from accredit.kernel.ids import HoldId, ToolId
from accredit.kernel.money import Money
from accredit.registry.model import RestrictionKind, Role
from accredit.registry.organisation import Organisation

__all__ = [
    "ApprovalRow",
    "ApprovalShown",
    "ApprovalToJudge",
    "AttachedAssessment",
    "HoldGrantRow",
    "HoldNeedRow",
    "HoldRow",
    "HoldShown",
    "NeedRow",
    "ObligationRow",
    "OutlookRow",
    "PartiesShown",
    "StandingRow",
    "VoteRow",
    "approval_row",
    "approvals",
]


class _Obligation(Form):
    kind: Annotated[RestrictionKind, Field(strict=False)]
    tool: Annotated[str, Field(max_length=200)] | None = None
    calls_per_minute: Annotated[int, Field(ge=1, le=100_000)] | None = None
    cost_per_day: Annotated[str, Field(max_length=40)] | None = None
    """An amount, as `5 USD`."""
    role: AnyRole | None = None
    share_percent: Annotated[int, Field(ge=1, le=99)] | None = None
    days: Annotated[int, Field(ge=1, le=90)] | None = None

    def taken(self, who: Operator, role: Role) -> Obligation:
        return Obligation(
            self.kind,
            who.person,
            role,
            None if self.tool is None else ToolId(self.tool),
            self.calls_per_minute,
            None if self.cost_per_day is None else Money.parse(self.cost_per_day),
            self.role,
            self.share_percent,
            self.days,
        )


class _Vote(Form):
    role: AnyRole
    vote: Literal["approve", "reject", "abstain"]
    view_digest: Annotated[str, Field(max_length=80)]
    comment: Annotated[str, Field(max_length=4000)] = ""
    obligations: Annotated[tuple[_Obligation, ...], Field(max_length=20, strict=False)] = ()
    """Of an approval of an agent's version: under what it is given."""


class _Answer(Form):
    answer: Literal["approve", "deny"]
    view_digest: Annotated[str, Field(max_length=80)]
    reason: Annotated[str, Field(max_length=2000)] = ""
    role: Annotated[str, Field(max_length=64)] | None = None
    """Without one, in every role of theirs that it waits for."""


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """A request in a list."""

    id: str
    kind: str
    about: str
    agent: str | None
    agent_name: str | None
    """environment/name of the agent."""
    team: str | None
    tier: str | None
    state: str
    requester: str | None
    opened: str
    expires: str
    missing: list[str]
    """Roles that have not approved."""
    reminded: int
    """How many stages of reminding have come: at 50, 80, 90 and 95 percent of the time."""


@dataclass(frozen=True, slots=True)
class NeedRow:
    """One role a gate requires, and what it judges."""

    role: str
    facets: list[str]
    validation: bool
    assessment: bool
    comment: bool
    count: int
    """How many persons must approve in it."""
    template: str | None
    """Digest of the template the version is within, if that is why nobody else is asked."""


@dataclass(frozen=True, slots=True)
class ObligationRow:
    """Under what a version is approved, and by whose vote."""

    kind: str
    tool: str | None
    calls_per_minute: int | None
    cost_per_day: str | None
    role: str | None
    share_percent: int | None
    days: int | None
    by: str
    as_role: str


@dataclass(frozen=True, slots=True)
class VoteRow:
    """One person's statement in one role."""

    role: str
    person: str
    credential: str
    verdict: str
    comment: str
    judged: str
    view_digest: str
    at: str
    assessment: str | None
    for_person: str | None
    carried_from: str | None


@dataclass(frozen=True, slots=True)
class PartiesShown:
    """Who stands on the asking side; none of them votes."""

    requester: str | None
    authors: list[str]
    owners: list[str]
    beneficiaries: list[str]


@dataclass(frozen=True, slots=True)
class StandingRow:
    """Whether whoever asks may vote in a role."""

    role: str
    may: bool
    why: str
    """If not: what is in the way."""
    for_person: str | None
    """In whose place it would be, when in another's."""


@dataclass(frozen=True, slots=True)
class OutlookRow:
    """Who could still vote in a role."""

    role: str
    wanted: int
    could: list[str]
    short: bool
    """Whether too few can, as things stand."""
    said: str


@dataclass(frozen=True, slots=True)
class ApprovalShown(ApprovalRow):
    """A request whole."""

    subject: str
    """Digest of what is signed off."""
    needs: list[NeedRow]
    parties: PartiesShown
    votes: list[VoteRow]
    """Those that count now."""
    obligations: list[ObligationRow]
    assessment: str | None
    decided: str | None
    used: str | None


@dataclass(frozen=True, slots=True)
class ApprovalToJudge(ApprovalShown):
    """The same with what a voter is to be shown, and how the asker stands to it."""

    view: str
    """Empty where there is nothing to vote on."""
    view_digest: str
    standing: list[StandingRow]
    outlook: list[OutlookRow]
    obstacle: str | None
    """Why nothing can be judged at present, if so."""


@dataclass(frozen=True, slots=True)
class AttachedAssessment:
    """A risk assessment that later votes name."""

    assessment: str


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A held call in a list."""

    id: str
    agent: str
    agent_name: str | None
    """environment/name of the agent."""
    tool: str
    state: str
    roles: list[str]
    opened: str
    expires: str


@dataclass(frozen=True, slots=True)
class HoldNeedRow:
    """A policy that holds the call, and the role that lets it through."""

    policy: str
    role: str


@dataclass(frozen=True, slots=True)
class HoldGrantRow:
    """What one person gave for one policy."""

    policy: str
    role: str
    person: str
    basis: str


@dataclass(frozen=True, slots=True)
class HoldShown(HoldRow):
    """A held call whole."""

    view: str
    view_digest: str
    waits_for: list[HoldNeedRow]
    grants: list[HoldGrantRow]


def approvals(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    desk, operations = plane.room.approvals, plane.room.operations

    def known(request: str) -> ApprovalRequest:
        found = desk.get(request)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no request `{request[:80]}`")
        return found

    def concerns(request: ApprovalRequest, who: Operator) -> bool:
        """Whoever sees everything, stands on the asking side, was told of it, or votes in another's place."""
        if asking.sees_all(who) or who.person in request.parties.all or who.person in request.told:
            return True
        agent = None if request.agent is None else plane.snapshots.current.catalogue.agent(request.agent)
        return (agent is not None and asking.may_see(who, agent)) or _may_vote(
            request, who, plane.registry.organisation, plane.clock.now().wall_us
        )

    @app.get("/api/v1/approvals", response_model=Items[ApprovalRow])
    async def approvals(
        who: Who,
        state: ApprovalState | Literal["all"] = ApprovalState.OPEN,
        agent: Annotated[str | None, Query(max_length=200)] = None,
        mine: bool = False,  # noqa: FBT001, FBT002 - a parameter of the address
        limit: Limit = 200,
        after: After = None,
    ) -> Json:
        named = asking.seen(who, agent).id if agent else None
        found = desk.find(agent=named, state=None if state == "all" else ApprovalState(state))
        organisation, now_us = plane.registry.organisation, plane.clock.now().wall_us
        wanted = (one for one in found if (_may_vote(one, who, organisation, now_us) if mine else concerns(one, who)))
        chosen, following = await asyncio.to_thread(
            page, wanted, lambda one: (since(one.opened_us), one.id), limit, after, newest_first=True
        )
        return Json(Items([approval_row(one, asking) for one in chosen], following))

    @app.get("/api/v1/approvals/{approval}", response_model=ApprovalToJudge)
    async def approval(who: Who, approval: Named) -> Json:
        request = known(approval)
        if not concerns(request, who):
            raise ForbiddenError(Code.NOT_AUTHORISED, "this request does not concern you")
        view, view_digest, obstacle = "", Digest(""), None
        standing: list[StandingRow] = []
        outlook: list[OutlookRow] = []
        try:
            view, view_digest = desk.view(request.id)
            standing = [_standing(role, answer) for role, answer in desk.standing(request.id, who).items()]
            outlook = [
                OutlookRow(one.role, one.wanted, list(one.could), one.short, one.said)
                for one in desk.outlook(request.id)
            ]
        except AccreditError as error:  # what it rests on moved, or cannot be shown: nobody can vote, anybody can look
            obstacle = error.message
        return Json(ApprovalToJudge(
            **_fields(request, asking), view=view, view_digest=view_digest, standing=standing, outlook=outlook,
            obstacle=obstacle,
        ))  # fmt: skip

    @app.post("/api/v1/approvals/{approval}/vote", response_model=ApprovalShown)
    async def approval_vote(who: Who, approval: Named, form: _Vote) -> Json:
        after = await operations.vote(
            who, approval, form.role, VoteVerdict(form.vote), Digest(form.view_digest), form.comment,
            [one.taken(who, form.role) for one in form.obligations],
        )  # fmt: skip
        return Json(ApprovalShown(**_fields(after, asking)))

    @app.post("/api/v1/approvals/{approval}/assessment", response_model=AttachedAssessment, status_code=201)
    async def approval_assess(who: Who, approval: Named, form: RiskAssessment) -> Json:
        return Json(AttachedAssessment(await operations.assess(who, approval, form.model_dump(by_alias=True))), 201)

    @app.post("/api/v1/approvals/{approval}/withdraw", response_model=ApprovalShown)
    async def approval_withdraw(who: Who, approval: Named, _: Nothing | None = None) -> Json:
        return Json(ApprovalShown(**_fields(await operations.withdraw(who, approval), asking)))

    # -- held calls

    @app.get("/api/v1/holds", response_model=Items[HoldRow])
    async def holds(
        who: Who, state: HoldState | Literal["all"] = HoldState.OPEN, limit: Limit = 200, after: After = None
    ) -> Json:
        found = plane.holds.find(state=None if state == "all" else HoldState(state))
        if not asking.sees_all(who):
            own = {one.id for one in asking.visible(who)}
            found = tuple(one for one in found if one.agent in own)
        chosen, following = page(found, lambda one: (since(one.opened_us), one.id), limit, after)
        return Json(Items([_hold_row(one, asking) for one in chosen], following))

    @app.get("/api/v1/holds/{hold}", response_model=HoldShown)
    async def hold(who: Who, hold: Named) -> Json:
        found = plane.holds.get(HoldId(hold))
        if found is None:
            raise NotFoundError(Code.HOLD_UNKNOWN, f"there is no hold `{hold[:80]}`")
        asking.seen_agent(who, found.agent)
        row = _hold_row(found, asking)
        return Json(HoldShown(
            row.id, row.agent, row.agent_name, row.tool, row.state, row.roles, row.opened, row.expires,
            view=found.view,
            view_digest=found.view_digest,
            waits_for=[HoldNeedRow(need.policy, need.role) for need in found.missing],
            grants=[HoldGrantRow(one.policy, one.role, one.person, one.basis) for one in found.grants],
        ))  # fmt: skip

    @app.post("/api/v1/holds/{hold}/answer", response_model=HoldRow)
    async def hold_answer(who: Who, hold: Named, form: _Answer) -> Json:
        after = await operations.answer_hold(
            who,
            HoldId(hold),
            HoldVerdict(form.answer),
            view_digest=Digest(form.view_digest),
            role=form.role,
            reason=form.reason,
        )
        return Json(_hold_row(after, asking))


def _may_vote(request: ApprovalRequest, who: Operator, organisation: Organisation, now_us: int) -> bool:
    """Whether somebody may vote on a request in some role, by the votes on record."""
    return request.state is ApprovalState.OPEN and any(
        isinstance(
            duty(
                organisation,
                request.parties,
                who.person,
                need.role,
                request.team,
                opened_us=request.opened_us,
                now_us=now_us,
                others=request.votes,
            ),
            Eligible,
        )
        for need in request.missing
    )


def approval_row(one: ApprovalRequest, asking: Asking) -> ApprovalRow:
    """A request in a list."""
    return ApprovalRow(
        id=one.id,
        kind=one.subject.kind,
        about=one.about,
        agent=one.agent,
        agent_name=asking.name(one.agent),
        team=one.team,
        tier=one.tier,
        state=one.state,
        requester=one.parties.requester,
        opened=moment(one.opened_us),
        expires=moment(one.expires_us),
        missing=[need.role for need in one.missing],
        reminded=one.reminded,
    )


def _fields(one: ApprovalRequest, asking: Asking) -> dict[str, Any]:
    """Of a request whole."""
    row = approval_row(one, asking)
    parties = one.parties
    return {name: getattr(row, name) for name in ApprovalRow.__dataclass_fields__} | {
        "subject": one.subject.digest,
        "needs": [
            NeedRow(
                need.role, list(need.facets), need.validation, need.assessment, need.comment, need.count, need.template
            )
            for need in one.needs
        ],
        "obligations": [_obligation(each) for each in one.obligations],
        "parties": PartiesShown(
            parties.requester, sorted(parties.authors), sorted(parties.owners), sorted(parties.beneficiaries)
        ),
        "votes": [_vote(vote) for vote in one.votes],
        "assessment": one.assessment,
        "decided": optional_moment(one.decided_us),
        "used": optional_moment(one.used_us),
    }


def _obligation(one: Obligation) -> ObligationRow:
    cost = None if one.cost_per_day is None else str(one.cost_per_day)
    return ObligationRow(
        kind=one.kind,
        tool=one.tool,
        calls_per_minute=one.calls_per_minute,
        cost_per_day=cost,
        role=one.role,
        share_percent=one.share_percent,
        days=one.days,
        by=one.by,
        as_role=one.as_role,
    )


def _vote(one: Vote) -> VoteRow:
    return VoteRow(
        role=one.role,
        person=one.person,
        credential=one.credential,
        verdict=one.verdict,
        comment=one.comment,
        judged=one.judged,
        view_digest=one.view_digest,
        at=moment(one.at_us),
        assessment=one.assessment,
        for_person=one.for_person,
        carried_from=one.carried_from,
    )


def _standing(role: Role, answer: Eligible | Barred) -> StandingRow:
    if isinstance(answer, Barred):
        return StandingRow(role, may=False, why=answer.detail, for_person=None)
    return StandingRow(role, may=True, why="", for_person=answer.for_person)


def _hold_row(one: Hold, asking: Asking) -> HoldRow:
    return HoldRow(
        id=one.id,
        agent=one.agent,
        agent_name=asking.name(one.agent),
        tool=one.tool,
        state=one.state,
        roles=sorted({need.role for need in one.needs}),
        opened=moment(one.opened_us),
        expires=moment(one.expires_us),
    )
