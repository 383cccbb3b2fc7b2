"""Requests for sign-off from opening to use: the service behind every gate, and the only maker of clearances.

Rows of kind `approval` are the truth and follow the control log. What a request is worth is computed anew each time
somebody votes or acts on it, from the grounds, the organisation and the clock of that moment. INVARIANT: a clearance
rests on votes that could all be cast now; whatever cannot be shown to be so refuses.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.approvals.assessment import assessment_digest, read_assessment
from accredit.approvals.counting import Counted, carried, counted, judged, needs_of, obstacles
from accredit.approvals.duties import Barred, Eligible, account_makers, barred, duty
from accredit.approvals.easing import Replacing
from accredit.approvals.gates import USE_US, answer_us
from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Grounds,
    Obligation,
    Parties,
    RoleNeed,
    SubjectKind,
    Vote,
    VoteVerdict,
)
from accredit.approvals.obligations import check_obligations, restrictions_under
from accredit.approvals.outlook import RoleOutlook, outlook
from accredit.approvals.ports import GroundsSource, ReplacingSource
from accredit.approvals.reminders import reminder_due
from accredit.approvals.rows import APPROVAL, ASSESSMENT, PROPOSAL, approval_doc, obligation_doc, read_approval
from accredit.approvals.views import request_view
from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.clock import Clock, Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, IdSource, PersonId, TeamId
from accredit.registry.model import Agent, AgentVersion, Role
from accredit.registry.organisation import Organisation
from accredit.registry.proposals import Proposal
from accredit.registry.rows import GROUP, RESTRICTION, ROLE_GRANT, restriction_doc

__all__ = ["Approvals"]

_LIVE: Final = frozenset({ApprovalState.OPEN, ApprovalState.APPROVED})
_MAX_COMMENT: Final = 4_000
_MAX_OPEN: Final = 2_000
_MAX_OPEN_EACH: Final = 100
"""Of one person's asking."""
_MAX_SWEPT: Final = 100
_KEEP_US: Final = 90 * 86_400_000_000
"""How long a request is still told of after it ended without anything coming into force."""


@dataclass(frozen=True, slots=True)
class _Kept:
    request: ApprovalRequest
    deadline: Deadline


class Approvals:
    """Every request for sign-off of this installation.

    `organisation` and `grounds` are asked on every vote and clearance, and raise rather than answer from rows that the
    log contradicts; `authors` names those who wrote an agent's newest version, and `replacing` says what that version
    changes. `steady` says whether the wall clock
    can be trusted: while it cannot, nothing is approved.
    """

    def __init__(
        self,
        control: ControlLog,
        ids: IdSource,
        clock: Clock,
        *,
        organisation: Callable[[], Organisation],
        grounds: GroundsSource,
        authors: Callable[[AgentId], frozenset[PersonId]],
        steady: Callable[[Instant], bool] = lambda _: True,
        replacing: ReplacingSource = lambda _: None,
    ) -> None:
        self._control = control
        self._replacing = replacing
        self._ids = ids
        self._clock = clock
        self._organisation = organisation
        self._grounds = grounds
        self._authors = authors
        self._steady = steady
        self._kept: dict[str, _Kept] = {}
        self._of_agent: defaultdict[AgentId, set[str]] = defaultdict(set)
        self._looked_at: dict[str, int] = {}
        """The position of the log at which the sweep last counted a request's votes."""
        self._lapsed: set[str] = set()
        """Requests during which the clock was set back and a role came about: nobody can say which was first."""
        self._alone = asyncio.Lock()
        """One vote or opening at a time, or one person could fill two roles."""
        now = clock.now()
        for row in control.view.scan(APPROVAL):
            self._keep(read_approval(row.doc), now)
        control.subscribe(self._follow)

    # -- asking

    async def open_version(self, agent: Agent, version: AgentVersion, operator: Operator) -> ApprovalRequest:
        """Ask for sign-off on a version; an earlier request about the agent that nobody used is superseded.

        Votes on what did not change are carried over, and on what changed in no way that must be looked at. If that is
        so of every change, the version is approved without another vote, and somebody on no side of it activates it.
        A live request for exactly this version is given back.

        Raises:
            ForbiddenError: `approval_blocked`: nobody could approve it.
            ConflictError: there are too many open requests.
            UnavailableError: it could not be made durable, or what it rests on cannot be shown.
        """
        owners = {agent.owner, agent.backup_owner, *_owners(version)} - {None}
        parties = Parties(
            operator.person, self._authors(agent.id), frozenset(PersonId(str(one)) for one in owners), frozenset()
        )
        return await self._open(
            Subject(SubjectKind.AGENT_VERSION.value, version.digest), agent.id, operator, parties,
            agent=agent.id, team=agent.team.id, content=None,
        )  # fmt: skip

    async def open_proposal(self, proposal: Proposal, operator: Operator) -> ApprovalRequest:
        """Ask for sign-off on a proposed change and keep its content. Raises as `open_version`."""
        parties = Parties(operator.person, proposal.authors, frozenset(), proposal.beneficiaries)
        return await self._open(
            Subject(SubjectKind(proposal.kind).value, proposal.digest), proposal.about, operator, parties,
            agent=None, team=proposal.team, content=proposal.content,
        )  # fmt: skip

    async def _open(
        self,
        subject: Subject,
        about: str,
        operator: Operator,
        parties: Parties,
        *,
        agent: AgentId | None,
        team: TeamId | None,
        content: Mapping[str, Any] | None,
    ) -> ApprovalRequest:
        async with self._alone:
            now = self._clock.now()
            live = [request for request in self._present_all(now, agent) if request.state in _LIVE]
            unused = [request for request in live if request.used_us is None]
            for one in unused:
                if one.subject == subject and (same := self.get(one.id)) and same.state in _LIVE:
                    return same
            self._require_room(operator.person, now)
            kind = SubjectKind(subject.kind)
            earlier = [request for request in live if request.subject.kind == kind and agent is not None]
            ended = [one for one in unused if one.subject == subject or one in earlier]
            opened_us = now.wall_us
            request = ApprovalRequest(
                id=self._ids.new("apr"),
                subject=subject,
                about=about,
                agent=agent,
                team=team,
                tier=None,
                needs=(),
                parties=parties,
                state=ApprovalState.OPEN,
                opened_us=opened_us,
                expires_us=opened_us,
                nonce=self._ids.secret(16).hex(),
            )
            self._require_proven()
            organisation, grounds = self._organisation(), self._grounds(request)
            request = replace(
                request,
                tier=grounds.tier,
                needs=needs_of(request, grounds, organisation, now_us=opened_us),
                expires_us=opened_us + answer_us(grounds.tier, subject.kind),
                assessment=next((one.assessment for one in reversed(earlier) if one.assessment), None),
            )
            if grounds.blocks or (kind is SubjectKind.AGENT_VERSION and grounds.tier is None):
                why = "; ".join(grounds.blocks) or "it has no risk tier"
                raise ForbiddenError(Code.APPROVAL_BLOCKED, f"nobody could approve this: {why[:1_000]}")
            replacing = self._replacing(request) if earlier and kind is SubjectKind.AGENT_VERSION else None
            request = carried(request, earlier[::-1], grounds, organisation, replacing=replacing)
            without_vote = not request.missing
            if without_vote:
                request = replace(
                    request, state=ApprovalState.APPROVED, decided_us=opened_us, expires_us=opened_us + USE_US
                )
            request_view(
                request, grounds, organisation, content=content, assessment=self._assessment(request)
            )  # refuses what could not be shown
            superseded = [replace(one, state=ApprovalState.SUPERSEDED, decided_us=opened_us) for one in ended]
            writes = [Write(APPROVAL, one.id, approval_doc(one)) for one in (request, *superseded)]
            if content is not None:
                writes.append(
                    Write(PROPOSAL, subject.digest, {"content": content, "nonce": self._ids.secret(16).hex()})
                )
            body = {
                "about": about,
                "carried": [{"from": vote.carried_from, "role": vote.role.value} for vote in request.votes],
                "expires_us": request.expires_us,
                "changed": _changed(replacing),
                "needs": [need.role.value for need in request.needs],
                "superseded": [one.id for one in superseded],
                "tier": request.tier.value if request.tier else None,
            }
            event = _event(replacing) if without_vote else "approval.opened"
            change = _change(event, _actor(operator), request, body, writes=writes)
            stored = [(one.id, self._kept[one.id].request) for one in superseded]
            if await self._control.transact(lambda view: change if _unchanged(view, stored) else None) is None:
                raise ConflictError(Code.CONFLICT, "a request about the same agent changed meanwhile")
            return request

    def _require_room(self, person: PersonId, now: Instant) -> None:
        waiting = [
            request for kept in self._kept.values() if (request := self._present(kept, now)).state is ApprovalState.OPEN
        ]
        mine = sum(request.parties.requester == person for request in waiting)
        if len(waiting) >= _MAX_OPEN or mine >= _MAX_OPEN_EACH:
            raise ConflictError(
                Code.CONFLICT, "there are too many open requests", hint="wait for answers, or withdraw some"
            )

    # -- reading

    def get(self, request_id: str) -> ApprovalRequest | None:
        """The request as it counts now; as it is on record, if what it rests on cannot be asked."""
        kept = self._kept.get(request_id)
        if kept is None:
            return None
        now = self._clock.now()
        present = self._present(kept, now)
        if present.state not in _LIVE or present.used_us is not None:
            return present
        try:
            found, _ = self._counted(kept, now)
        except AccreditError:
            return present
        return found.request

    def find(
        self,
        *,
        agent: AgentId | None = None,
        state: ApprovalState | None = None,
    ) -> tuple[ApprovalRequest, ...]:
        """Requests as they are on record, expired ones as such; oldest first. `get` says which votes count now."""
        return tuple(
            request for request in self._present_all(self._clock.now(), agent) if state in {None, request.state}
        )

    def of_agent(self, agent: AgentId) -> tuple[ApprovalRequest, ...]:
        """Everything that was asked about an agent and is still known, newest first."""
        return self.find(agent=agent)[::-1]

    def content(self, request: ApprovalRequest) -> Mapping[str, Any]:
        """What was proposed, exactly.

        Raises:
            NotFoundError: it is not kept (any more).
        """
        row = self._control.view.get(PROPOSAL, request.subject.digest)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"the content of request `{request.id[:80]}` is not kept")
        content: Mapping[str, Any] = row.doc["content"]
        return content

    def view(self, request_id: str) -> tuple[str, Digest]:
        """What a voter is to be shown, whole, and its digest; empty once there is nothing to vote on.

        Raises:
            NotFoundError: no such request.
            UnavailableError: what it rests on cannot be shown.
        """
        found, grounds = self._counted(self._known(request_id), self._clock.now())
        if found.request.state is not ApprovalState.OPEN:
            return "", Digest("")
        return self._view(found.request, grounds)

    def standing(self, request_id: str, operator: Operator) -> Mapping[Role, Eligible | Barred]:
        """How a person stands to every role the request still wants. Raises as `view`."""
        now = self._clock.now()
        found, _ = self._counted(self._known(request_id), now)
        request = found.request
        if request.state is not ApprovalState.OPEN:
            return {}
        return {need.role: self._duty(request, operator.person, need.role, now) for need in request.missing}

    def outlook(self, request_id: str) -> tuple[RoleOutlook, ...]:
        """Who could still vote in each role the request wants, and where too few can. Raises as `view`."""
        now = self._clock.now()
        found, _ = self._counted(self._known(request_id), now)
        if found.request.state is not ApprovalState.OPEN:
            return ()
        return outlook(found.request, self._organisation(), now_us=now.wall_us)

    # -- judging

    async def attach_assessment(self, request_id: str, operator: Operator, form: Mapping[str, Any]) -> Digest:
        """Attach a risk assessment, in the place of an earlier one: its digest, which later votes name.

        Raises:
            NotFoundError: no such request.
            InvalidInputError: the form is not right, or names somebody who cannot accept the risk.
            ConflictError: the request is not open, or its gate takes no assessment.
        """
        async with self._alone:
            kept, now = self._known(request_id), self._clock.now()
            self._require_proven()
            found, grounds = self._counted(kept, now)
            request = found.request
            self._require_open(request)
            if not any(need.assessment for need in request.needs):
                raise ConflictError(Code.CONFLICT, "this gate takes no risk assessment")
            assessment = read_assessment(form, policies=grounds.policies)
            accepter = self._duty(replace(request, votes=()), assessment.accepter, Role.BUSINESS_OWNER, now)
            if isinstance(accepter, Barred):
                raise InvalidInputError(
                    Code.ASSESSMENT_INVALID,
                    f"`acceptedBy` cannot accept the residual risk: {accepter.detail}",
                    hint="name a business owner of the team who stands on no side of the request",
                )
            nonce = self._ids.secret(16).hex()
            digest = assessment_digest(assessment, nonce=nonce)
            doc = {
                "agent": request.agent,
                "at_us": now.wall_us,
                "by": operator.person,
                "form": assessment.model_dump(by_alias=True),
                "nonce": nonce,
            }
            after = counted(replace(request, assessment=digest), grounds, self._organisation(), now_us=now.wall_us)
            await self._write(
                kept,
                "approval.assessed",
                operator,
                Counted(after.request, (*found.voided, *after.voided)),
                {"assessment": digest},
                also=(Write(ASSESSMENT, digest, doc), *self._replaced_assessment(request)),
            )
            return digest

    async def vote(
        self,
        request_id: str,
        operator: Operator,
        *,
        role: Role,
        verdict: VoteVerdict,
        view_digest: Digest,
        comment: str,
        obligations: Sequence[Obligation] = (),
    ) -> ApprovalRequest:
        """Record a person's vote in one role on what they were shown; returns the request after it.

        An approval of an agent's version may come with obligations, under which it is then approved by everybody.

        Raises:
            NotFoundError: no such request.
            ForbiddenError: `separation_of_duties`, or what is asked for can be approved by nobody (`approval_blocked`,
                `access_excess`, `assessment_required`).
            ConflictError: the request is over, the role has voted, or another view was judged.
            InvalidInputError: the comment is missing or too long, or an obligation cannot be kept to.
            UnavailableError: it could not be made durable, or what it rests on cannot be shown.
        """
        if len(comment) > _MAX_COMMENT:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"a comment has at most {_MAX_COMMENT} characters")
        async with self._alone:
            kept, now = self._known(request_id), self._clock.now()
            self._require_proven()
            self._require_roles(operator)
            self._require_steady(now)
            found, grounds = self._counted(kept, now)
            request = found.request
            self._require_open(request)
            need = next((one for one in request.missing if one.role is role), None)
            if need is None:
                raise ConflictError(Code.CONFLICT, f"the request waits for no vote by `{role.value}`")
            answer = self._duty(request, operator.person, role, now)
            if isinstance(answer, Barred):
                raise ForbiddenError(
                    Code.SEPARATION_OF_DUTIES, f"you may not vote on this as `{role.value}`: {answer.detail}"
                )
            text, digest = self._view(request, grounds)
            if view_digest != digest:
                raise ConflictError(
                    Code.CONFLICT, "what you were shown is not what is asked for now", hint="look at it again"
                )
            if verdict is VoteVerdict.APPROVE:
                self._require_approvable(request, need, grounds)
                self._require_accepter(request, need, operator.person, answer)
            given = tuple(replace(one, by=operator.person, as_role=role) for one in obligations)
            if given:
                self._require_obligable(request, grounds, verdict, given)
            if not comment.strip() and (verdict is not VoteVerdict.APPROVE or need.comment or given):
                raise InvalidInputError(Code.COMMENT_REQUIRED, f"this vote as `{role.value}` needs a comment")
            vote = Vote(
                role=role,
                person=operator.person,
                credential=operator.credential,
                verdict=verdict,
                comment=comment,
                judged=judged(request, need, grounds),
                view_digest=digest,
                at_us=now.wall_us,
                assessment=request.assessment if need.assessment else None,
                for_person=answer.for_person,
            )
            after = replace(request, votes=(*request.votes, vote), obligations=(*request.obligations, *given))
            if verdict is VoteVerdict.REJECT:
                after = replace(after, state=ApprovalState.REJECTED, decided_us=now.wall_us)
            elif not after.missing:
                after = replace(
                    after, state=ApprovalState.APPROVED, decided_us=now.wall_us, expires_us=now.wall_us + USE_US
                )
            body = {
                # two accounts that one person could sign in to may be one voter: an auditor is to see it
                "account_by": sorted(account_makers(self._organisation(), vote.person, now_us=now.wall_us)),
                "assessment": vote.assessment,
                "for": vote.for_person,
                "judged": vote.judged,
                "obligations": [obligation_doc(one) for one in given],
                "role": role.value,
                "state": after.state.value,
                "verdict": verdict.value,
                "view": digest,
            }
            shown = Part("text", {"comment": comment, "view": text})
            await self._write(kept, "approval.voted", operator, Counted(after, found.voided), body, parts=(shown,))
            return after

    async def withdraw(self, request_id: str, operator: Operator) -> ApprovalRequest:
        """Take back what was asked for and not put into force. Who may is the caller's to know.

        Raises:
            NotFoundError: no such request.
            ConflictError: it is over.
        """
        return await self._end(request_id, ApprovalState.WITHDRAWN, "approval.withdrawn", _actor(operator), "")

    async def lapse(self, request_id: str, why: str) -> ApprovalRequest:
        """Close an approved request that cannot be put into force. Raises as `withdraw`."""
        return await self._end(request_id, ApprovalState.EXPIRED, "approval.lapsed", Actor(basis="system"), why)

    async def _end(self, request_id: str, state: ApprovalState, kind: str, actor: Actor, why: str) -> ApprovalRequest:
        async with self._alone:
            kept, now = self._known(request_id), self._clock.now()
            present = self._present(kept, now)
            if present.state not in _LIVE or present.used_us is not None:
                raise ConflictError(Code.CONFLICT, f"the request is {present.state.value} already")
            after = replace(kept.request, state=state, decided_us=now.wall_us)
            parts = (Part("text", {"why": why[:_MAX_COMMENT]}),) if why else ()
            change = _change(kind, actor, after, {}, writes=self._ending(after), parts=parts)
            if await self._control.transact(_unless_changed(kept.request, change)) is None:
                raise ConflictError(Code.CONFLICT, "the request changed meanwhile")
            return after

    # -- acting on it

    def clearance(self, request_id: str, *, operator: Operator) -> Clearance:
        """The sign-off, with everything it rests on checked again now. Answers from memory.

        That of an agent's version can be had again once it is in force; any other is for one use.

        Raises:
            ForbiddenError: `clearance_required`: it is not there or does not hold (any more); says what is missing.
            UnavailableError: what it rests on cannot be shown.
        """
        kept = self._kept.get(request_id)
        if kept is None:
            raise self._unproven_or(_not_cleared("there is no such request"))
        now = self._clock.now()
        self._require_proven()
        self._require_roles(operator)
        self._require_steady(now)
        if kept.request.subject.kind == SubjectKind.ROLE_GRANT:
            self._require_none_ahead(now)
        present = self._present(kept, now)
        if present.state is not ApprovalState.APPROVED:
            raise _not_cleared(f"the request is {present.state.value}{_missing(present)}")
        version = present.subject.kind == SubjectKind.AGENT_VERSION
        if present.used_us is not None and not version:
            raise _not_cleared("it was put into force already")
        grounds = self._grounds(kept.request)
        found = counted(present, grounds, self._organisation(), now_us=now.wall_us)
        if found.request.missing:
            why = "; ".join(f"{one.vote.role.value}: {one.why}" for one in found.voided)
            raise _not_cleared(f"votes do not count any more: {why}{_missing(found.request)}")
        against = [each for need in found.request.needs for each in obstacles(found.request, need, grounds)]
        if against:
            raise _not_cleared("; ".join(dict.fromkeys(against))[:1_000])
        if faults := self._assessment_faults(found.request, grounds):
            raise _not_cleared(faults)
        self._require_other_hand(found.request, operator, now)
        votes = found.request.approvals
        return Clearance(
            present.subject,
            Basis.APPROVALS,
            tuple(vote.person for vote in votes),
            ",".join(vote.credential for vote in votes),
            tuple(vote.for_person for vote in votes if vote.for_person is not None),
        )

    async def mark_used(self, request_id: str, *, actor: Actor) -> None:
        """Note that what was approved is in force; nothing if that was noted before.

        Raises:
            ForbiddenError: `clearance_required`: it is not approved.
            UnavailableError: it could not be made durable.
        """
        now = self._clock.now()

        def build(view: StateView) -> Change | None:
            writes = self.writes_to_use(view, request_id, now.wall_us)
            if not writes:
                return None
            doc = writes[0].doc
            assert doc is not None  # noqa: S101 - a use removes no request
            return _change("approval.used", actor, read_approval(doc), {}, writes=writes)

        await self._control.transact(build)

    def writes_to_use(self, view: StateView, request_id: str, now_us: int) -> tuple[Write, ...]:
        """What notes, within another change, that it is in force, and brings its obligations into force with it.

        Raises as `mark_used`.
        """
        row = view.get(APPROVAL, request_id)
        request = None if row is None else read_approval(row.doc)
        if request is None or request.state is not ApprovalState.APPROVED:
            raise _not_cleared("the request is not approved")
        if request.used_us is not None:
            return ()
        used = replace(request, used_us=now_us)
        under = () if request.agent is None else restrictions_under(request, request.agent, now_us)
        return (
            *self._ending(used),
            *(Write(RESTRICTION, one.id, restriction_doc(one, salt=request.nonce)) for one in under),
        )

    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> tuple[Write, ...]:
        """What withdraws, within another change, every request about an agent that nobody used."""
        found = [
            read_approval(row.doc) for one in sorted(self._of_agent.get(agent, ())) if (row := view.get(APPROVAL, one))
        ]
        return tuple(
            write
            for request in found
            if request.state in _LIVE and request.used_us is None
            for write in self._ending(replace(request, state=ApprovalState.WITHDRAWN, decided_us=now_us))
        )

    async def sweep(self) -> tuple[ApprovalRequest, ...]:
        """Record what ran out and which votes do not count any more; those requests. To be called now and then.

        Nothing depends on it: what counts is computed whenever it matters. A round is bounded, the next goes on.

        Raises:
            UnavailableError: the records could not be made durable.
        """
        now, position = self._clock.now(), self._control.position
        swept: list[ApprovalRequest] = []
        for request_id in list(self._kept):
            if len(swept) == _MAX_SWEPT:
                break
            async with self._alone:
                kept = self._kept.get(request_id)
                if kept is not None and (after := await self._swept(kept, now, position)) is not None:
                    swept.append(after)
        return tuple(swept)

    async def _swept(self, kept: _Kept, now: Instant, position: int) -> ApprovalRequest | None:
        request = kept.request
        if request.state not in _LIVE or request.used_us is not None:
            over_us = request.used_us if request.used_us is not None else request.decided_us
            if (request.used_us is None or request.agent is None) and now.wall_us - (over_us or 0) >= _KEEP_US:
                writes = (Write(APPROVAL, request.id, None), *self._replaced_assessment(request))
                change = _change("approval.removed", Actor(basis="system"), request, {}, writes=writes)
                await self._control.transact(_unless_changed(request, change))
            return None
        if self._present(kept, now).state is ApprovalState.EXPIRED:
            after = replace(request, state=ApprovalState.EXPIRED, decided_us=now.wall_us)
            change = _change("approval.expired", Actor(basis="system"), after, {}, writes=self._ending(after))
            return after if await self._control.transact(_unless_changed(request, change)) is not None else None
        if self._looked_at.get(request.id) == position:
            return None
        self._looked_at[request.id] = position
        try:
            self._require_proven()
            found, _ = self._counted(kept, now)
        except AccreditError:
            return None  # nothing can be said of it now; nothing rests on this
        if not found.voided:
            return None
        await self._write(kept, "approval.voided", None, found, {})
        return found.request

    async def remind(self) -> int:
        """Tell whoever is due to be told of requests that wait, once each; how many. To be called now and then.

        A reminder is a record that others follow to deliver it. INVARIANT: it counts no vote and ends nothing.

        Raises:
            UnavailableError: the records could not be made durable.
        """
        made = 0
        for request_id in list(self._kept):
            if made == _MAX_SWEPT:
                break
            async with self._alone:
                kept = self._kept.get(request_id)
                made += kept is not None and await self._reminded(kept, self._clock.now())
        return made

    async def _reminded(self, kept: _Kept, now: Instant) -> bool:
        if self._present(kept, now).state is not ApprovalState.OPEN:
            return False
        try:
            found, grounds = self._counted(kept, now)
            due = reminder_due(found.request, grounds.rule, self._organisation(), now_us=now.wall_us)
        except AccreditError:
            return False  # what it rests on cannot be known now: the next round asks again
        if due is None:
            return False
        after = replace(kept.request, reminded=due.stage, told=due.to)
        body = {
            "roles": [role.value for role in due.roles],
            "stage": due.stage,
            "to": list(due.to),
            "urgency": due.urgency.value,
        }
        change = _change("approval.reminded", Actor(basis="system"), after, body, writes=self._ending(after))
        return await self._control.transact(_unless_changed(kept.request, change)) is not None

    # -- what must hold

    def _require_open(self, request: ApprovalRequest) -> None:
        if request.state is not ApprovalState.OPEN:
            raise ConflictError(Code.CONFLICT, f"the request is {request.state.value}", hint="ask again, if need be")

    def _require_approvable(self, request: ApprovalRequest, need: RoleNeed, grounds: Grounds) -> None:
        if need.validation and grounds.excess:
            raise ForbiddenError(
                Code.ACCESS_EXCESS, f"the access validation found too much: {'; '.join(grounds.excess)[:1_000]}"
            )
        if against := obstacles(request, need, grounds):
            raise ForbiddenError(Code.APPROVAL_BLOCKED, f"nobody can approve this: {'; '.join(against)[:1_000]}")
        if need.assessment and (faults := self._assessment_faults(request, grounds)):
            raise ForbiddenError(Code.ASSESSMENT_REQUIRED, faults)

    def _require_obligable(
        self, request: ApprovalRequest, grounds: Grounds, verdict: VoteVerdict, given: Sequence[Obligation]
    ) -> None:
        if verdict is not VoteVerdict.APPROVE or request.subject.kind != SubjectKind.AGENT_VERSION:
            raise InvalidInputError(
                Code.BODY_MALFORMED, "only the approval of an agent's version comes with obligations"
            )
        check_obligations(given, request.obligations, grounds.tools)

    def _require_accepter(self, request: ApprovalRequest, need: RoleNeed, person: PersonId, answer: Eligible) -> None:
        # a residual risk is accepted by whoever the assessment names and nobody else: it is their vote that says so
        if not need.assessment or need.role is not Role.BUSINESS_OWNER:
            return
        assessment = self._assessment(request)
        named = None if assessment is None else assessment["form"]["acceptedBy"]
        given = {one for vote in request.approvals if vote.role is need.role for one in (vote.person, vote.for_person)}
        if named is not None and (named in given or request.wanted(need) > 1):
            return  # of several business owners, one is who accepts it
        if named is None or named not in {person, answer.for_person}:
            raise ForbiddenError(
                Code.ASSESSMENT_REQUIRED, "the assessment names somebody else as who accepts the residual risk",
                hint="they vote on it, or an assessment that names you is attached",
            )  # fmt: skip

    def _require_other_hand(self, request: ApprovalRequest, operator: Operator, now: Instant) -> None:
        # nobody voted on this version itself: whoever puts it into force is the second person
        if any(vote.carried_from is None and vote.verdict is VoteVerdict.APPROVE for vote in request.votes):
            return
        against = barred(
            self._organisation(), request.parties, operator.person, opened_us=request.opened_us, now_us=now.wall_us
        )
        if against is not None:
            raise ForbiddenError(
                Code.SEPARATION_OF_DUTIES,
                f"nobody voted on this version, so you may not put it into force: {Barred(against).detail}",
                hint="a team lead or operator who neither wrote nor asked for it, nor owns it, activates it",
            )

    def _require_proven(self) -> None:
        # any row that the log contradicts could be the one that would have barred somebody or raised the tier
        if self._control.unproven:
            raise UnavailableError(
                Code.STATE_UNPROVEN, "stored state is not what the audit log proves: nothing is approved"
            )

    def _require_steady(self, now: Instant) -> None:
        if not self._steady(now):
            raise UnavailableError(Code.CLOCK_UNCONFIRMED, "the wall clock stepped: nothing is approved")

    def _require_none_ahead(self, now: Instant) -> None:
        # a process that starts with the clock set back sees no step; a role that came about then would pass for older
        # than a request which was open before it, also in the next process, whose clock is right again
        ahead = [kept.request for kept in self._kept.values() if kept.request.opened_us > now.wall_us]
        if live := sorted(one.id for one in ahead if one.state in _LIVE and one.used_us is None):
            raise UnavailableError(
                Code.CLOCK_UNCONFIRMED,
                f"the wall clock stands before the opening of request `{live[0]}`: no role comes about",
            )

    def _require_roles(self, operator: Operator) -> None:
        if operator.basis != Basis.ROLES:
            raise ForbiddenError(Code.TWO_PERSONS_REQUIRED, "one person alone signs nothing off")

    def _assessment(self, request: ApprovalRequest) -> Mapping[str, Any] | None:
        row = None if request.assessment is None else self._control.view.get(ASSESSMENT, request.assessment)
        return None if row is None else row.doc

    def _assessment_faults(self, request: ApprovalRequest, grounds: Grounds) -> str:
        """What is wrong with the assessment its gate asks for, empty if nothing is."""
        if not any(need.assessment for need in request.needs):
            return ""
        doc = self._assessment(request)
        if doc is None or doc["agent"] != request.agent:
            return "no risk assessment is attached"
        named = {one["policy"] for risk in doc["form"]["risks"] for one in risk["mitigations"]} - {None}
        gone = sorted(named - grounds.policies)
        return f"the risk assessment counts on policies that are not in force: {', '.join(gone)[:500]}" if gone else ""

    def _replaced_assessment(self, request: ApprovalRequest) -> tuple[Write, ...]:
        """What removes the assessment of a request that gets another or goes; one that others name stays."""
        named = [kept.request.assessment for kept in self._kept.values() if kept.request.id != request.id]
        replaced = request.assessment
        return () if replaced is None or replaced in named else (Write(ASSESSMENT, replaced, None),)

    def _unproven_or(self, error: AccreditError) -> AccreditError:
        if self._control.unproven:
            return UnavailableError(Code.STATE_UNPROVEN, "stored state is not what the audit log proves")
        return error

    # -- counting

    def _duty(self, request: ApprovalRequest, person: PersonId, role: Role, now: Instant) -> Eligible | Barred:
        return duty(
            self._organisation(), request.parties, person, role, request.team,
            opened_us=request.opened_us, now_us=now.wall_us, others=request.votes,
        )  # fmt: skip

    def _counted(self, kept: _Kept, now: Instant) -> tuple[Counted, Grounds]:
        """The request on present grounds, and these. Expired if what it came back to waiting for is over as well."""
        present = self._present(kept, now)
        if present.state not in _LIVE:
            return Counted(present), Grounds()
        grounds = self._grounds(kept.request)
        found = counted(present, grounds, self._organisation(), now_us=now.wall_us)
        reopened = found.request
        if reopened.state is ApprovalState.OPEN and now.wall_us >= reopened.expires_us:
            found = replace(found, request=replace(reopened, state=ApprovalState.EXPIRED, decided_us=now.wall_us))
        return found, grounds

    def _view(self, request: ApprovalRequest, grounds: Grounds) -> tuple[str, Digest]:
        version = request.subject.kind == SubjectKind.AGENT_VERSION
        content = None if version else self.content(request)
        return request_view(
            request, grounds, self._organisation(), content=content, assessment=self._assessment(request)
        )

    async def _write(
        self,
        kept: _Kept,
        kind: str,
        operator: Operator | None,
        after: Counted,
        body: Mapping[str, Any],
        *,
        also: Iterable[Write] = (),
        parts: tuple[Part, ...] = (),
    ) -> None:
        voided = [{"person": one.vote.person, "role": one.vote.role.value, "why": one.why} for one in after.voided]
        writes = (*self._ending(after.request), *also)
        actor = _actor(operator) if operator else Actor(basis="system")
        change = _change(kind, actor, after.request, {**body, "voided": voided}, writes=writes, parts=parts)
        if await self._control.transact(_unless_changed(kept.request, change)) is None:
            raise ConflictError(Code.CONFLICT, "the request changed meanwhile", hint="look at it again")

    def _ending(self, request: ApprovalRequest) -> tuple[Write, ...]:
        """The request's row, and its content removed if nobody will need it again."""
        row = Write(APPROVAL, request.id, approval_doc(request))
        over = request.state not in _LIVE or request.used_us is not None
        if over and request.agent is None and self._control.view.get(PROPOSAL, request.subject.digest) is not None:
            return (row, Write(PROPOSAL, request.subject.digest, None))
        return (row,)

    # -- what is kept in memory

    def _known(self, request_id: str) -> _Kept:
        kept = self._kept.get(request_id)
        if kept is None:
            raise self._unproven_or(NotFoundError(Code.NOT_FOUND, f"there is no request `{request_id[:80]}`"))
        return kept

    def _present(self, kept: _Kept, now: Instant) -> ApprovalRequest:
        """The request as both clocks have it."""
        request = kept.request
        if request.state not in _LIVE or request.used_us is not None:
            return request
        over = kept.deadline.passed(now) or request.id in self._lapsed
        return replace(request, state=ApprovalState.EXPIRED) if over else request

    def _present_all(self, now: Instant, agent: AgentId | None) -> Sequence[ApprovalRequest]:
        kept = self._kept.values() if agent is None else [self._kept[one] for one in self._of_agent.get(agent, ())]
        present = [self._present(one, now) for one in kept]
        return sorted(present, key=lambda request: (request.opened_us, request.id))

    def _follow(self, change: Change) -> None:
        now = self._clock.now()
        for write in change.writes:
            if write.kind == APPROVAL:
                before = self._forget(write.key)
                if write.doc is not None:
                    self._keep(read_approval(write.doc), now, before)
            elif write.kind in {GROUP, ROLE_GRANT}:
                # a role that came about now says when: if that is before a request which is open already, the clock
                # was set back, and by time alone the role would pass for the older of the two
                self._lapsed |= {one for one, kept in self._kept.items() if now.wall_us < kept.request.opened_us}

    def _keep(self, request: ApprovalRequest, now: Instant, before: _Kept | None = None) -> None:
        if before is not None and before.request.expires_us == request.expires_us:
            deadline = before.deadline
        else:
            # boot time does not survive a restart: what is left is known by the wall clock, at most one full term
            left_us = min(max(request.expires_us - now.wall_us, 0), max(answer_us(request.tier), USE_US))
            deadline = Deadline(request.expires_us, now.boot_us + left_us)
        self._kept[request.id] = _Kept(request, deadline)
        if request.state not in _LIVE:
            self._lapsed.discard(request.id)
            self._looked_at.pop(request.id, None)
        if request.agent is not None:
            self._of_agent[request.agent].add(request.id)

    def _forget(self, request_id: str) -> _Kept | None:
        kept = self._kept.pop(request_id, None)
        if kept is not None and kept.request.agent is not None:
            held = self._of_agent[kept.request.agent]
            held.discard(request_id)
            if not held:
                del self._of_agent[kept.request.agent]
        return kept


def _owners(version: AgentVersion) -> tuple[str | None, str | None]:
    """Those that the version itself names: a version may hand an agent over."""
    spec = version.manifest["spec"]
    return spec.get("owner"), spec.get("backupOwner")


def _actor(operator: Operator) -> Actor:
    return Actor(person=operator.person, credential=operator.credential, basis=operator.basis)


def _change(
    kind: str,
    actor: Actor,
    request: ApprovalRequest,
    body: Mapping[str, Any],
    *,
    writes: Iterable[Write],
    parts: tuple[Part, ...] = (),
) -> Change:
    version = request.subject.digest if request.subject.kind == SubjectKind.AGENT_VERSION else None
    return Change(
        facts=Facts(kind=kind, agent=request.agent, version=version),
        writes=tuple(writes),
        actor=actor,
        body={
            **body,
            "request": request.id,
            "subject": {"digest": request.subject.digest, "kind": request.subject.kind},
        },
        parts=parts,
    )


def _changed(replacing: Replacing | None) -> list[dict[str, str | bool]]:
    """What the version changes against the one in force: the kinds of changes; names stand in the versions' rows."""
    changes = () if replacing is None else replacing.since.get(replacing.version, ())
    kinds = {(change.facet, change.material, change.rule.value, change.why): None for change in changes}
    return [{"facet": facet, "material": needed, "rule": rule, "why": why} for facet, needed, rule, why in kinds]


def _event(replacing: Replacing | None) -> str:
    """What a version is on record as that nobody has to vote on."""
    changes = () if replacing is None else replacing.since.get(replacing.version, ())
    return "change.within_envelope" if any(one.within for one in changes) else "change.non_material"


def _unchanged(view: StateView, stored: Iterable[tuple[str, ApprovalRequest]]) -> bool:
    return all(
        (row := view.get(APPROVAL, request_id)) is not None and read_approval(row.doc) == request
        for request_id, request in stored
    )


def _unless_changed(before: ApprovalRequest, change: Change) -> Callable[[StateView], Change | None]:
    return lambda view: change if _unchanged(view, [(before.id, before)]) else None


def _missing(request: ApprovalRequest) -> str:
    wanted = [(request.wanted(need), need.role.value) for need in request.missing]
    roles = ", ".join(f"`{role}`" if count == 1 else f"{count} persons as `{role}`" for count, role in wanted)
    return f"; it lacks the approval of {roles}" if roles else ""


def _not_cleared(why: str) -> ForbiddenError:
    return ForbiddenError(Code.CLEARANCE_REQUIRED, f"the sign-off needed here does not hold: {why}")
