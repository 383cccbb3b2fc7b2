"""Which votes of a request count at this moment, and what is still missing. Pure.

A vote counts while what its role judges has the digests it had when it was cast, and while whoever cast it could still
cast it. Nothing is cached: whoever asks gets the answer for the grounds and the organisation handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from accredit.approvals.duties import Barred, barred, duty
from accredit.approvals.easing import Replacing, eased, immaterial
from accredit.approvals.gates import answer_us, carry_us, gate, stricter, template_gate
from accredit.approvals.model import ApprovalRequest, ApprovalState, Grounds, RoleNeed, SubjectKind, Vote, VoteVerdict
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.ids import PersonId
from accredit.registry.model import Role, Tier
from accredit.registry.organisation import Organisation

__all__ = ["Counted", "Voided", "carried", "counted", "judged", "needs_of", "obstacles"]

_LIVE = frozenset({ApprovalState.OPEN, ApprovalState.APPROVED})


@dataclass(frozen=True, slots=True)
class Voided:
    """A vote that does not count any more."""

    vote: Vote
    why: str


@dataclass(frozen=True, slots=True)
class Counted:
    """A request as it stands on present grounds."""

    request: ApprovalRequest
    """With the tier, the needs and the votes that count; open if a need is unmet."""
    voided: tuple[Voided, ...] = ()


def judged(request: ApprovalRequest, need: RoleNeed, grounds: Grounds) -> Digest:
    """The digest over all that a role judges: what a vote binds to."""
    version = request.subject.kind == SubjectKind.AGENT_VERSION
    quarantined = {} if grounds.quarantined_us is None else {"quarantined_us": grounds.quarantined_us}
    return digest_value(
        "judged",
        quarantined
        | {
            "assessment": request.assessment if need.assessment else None,
            "facets": {facet: grounds.facets.get(facet) for facet in need.facets},
            "kind": request.subject.kind,
            "role": need.role.value,
            "subject": None if version else request.subject.digest,
            "tier": grounds.tier.value if grounds.tier else None,
            "validation": grounds.validation if need.validation else None,
        }
        | ({} if need.template is None else {"template": need.template}),
    )


def needs_of(
    request: ApprovalRequest, grounds: Grounds, organisation: Organisation, *, now_us: int
) -> tuple[RoleNeed, ...]:
    """The roles that must approve a request on present grounds.

    INVARIANT: a template spares nobody's word who could not have given it on this very request: if one of those who
    approved it stands on the asking side, could be somebody there, or has left, the whole gate is asked.
    """
    kind = SubjectKind(request.subject.kind)
    if kind is SubjectKind.AGENT_VERSION and grounds.tier is Tier.MEDIUM:
        for one in grounds.templates:
            if one.by and now_us < one.expires_us and not any(
                barred(organisation, request.parties, person, opened_us=request.opened_us, now_us=now_us)
                for person in one.by
            ):  # fmt: skip
                return template_gate(one.digest, grounds.template_rule)
    return gate(kind, grounds.tier, grounds.rule)


def obstacles(request: ApprovalRequest, need: RoleNeed, grounds: Grounds) -> tuple[str, ...]:
    """What keeps anybody from approving in a role, in plain words."""
    found = [*grounds.blocks]
    if request.subject.kind == SubjectKind.AGENT_VERSION:
        found += [] if grounds.tier else ["it has no risk tier"]
        found += [f"facet `{facet}` is not known" for facet in need.facets if facet not in grounds.facets]
    if need.validation:
        found += grounds.excess
        found += [] if grounds.validation else ["there is no access validation"]
    return tuple(found)


def counted(request: ApprovalRequest, grounds: Grounds, organisation: Organisation, *, now_us: int) -> Counted:
    """The request on present grounds. One that is over stays as it is."""
    if request.state not in _LIVE:
        return Counted(request)
    needs = needs_of(request, grounds, organisation, now_us=now_us)
    if request.tier is grounds.tier:
        # a rule that asks for less now is for what is asked from now on
        needs = stricter(needs, request.needs)
        needs = (*needs, *(one for one in request.needs if one.role not in {need.role for need in needs}))
    present = replace(request, tier=grounds.tier, needs=needs)
    wanted = {need.role: need for need in needs}
    standing: list[Vote] = []
    voided: list[Voided] = []
    for vote in request.votes:
        need = wanted.get(vote.role)
        if need is None:
            voided.append(Voided(vote, "the gate does not ask for this role"))
        elif vote.judged != judged(present, need, grounds):
            voided.append(Voided(vote, "what the role judges has changed"))
        else:
            standing.append(vote)
    kept: list[Vote] = []
    for vote in standing:
        answer = duty(
            organisation, request.parties, vote.person, vote.role, request.team,
            opened_us=request.opened_us, now_us=now_us, cast=vote,
            others=[other for other in standing if other is not vote],
        )  # fmt: skip
        if isinstance(answer, Barred):
            voided.append(Voided(vote, answer.detail))
        else:
            kept.append(vote)
    present = replace(present, votes=tuple(kept))
    if present.missing:
        expires_us = request.opened_us + answer_us(grounds.tier, request.subject.kind)
        present = replace(present, state=ApprovalState.OPEN, decided_us=None, expires_us=expires_us)
    return Counted(present, tuple(voided))


def carried(
    fresh: ApprovalRequest,
    earlier: Sequence[ApprovalRequest],
    grounds: Grounds,
    organisation: Organisation,
    *,
    replacing: Replacing | None = None,
) -> ApprovalRequest:
    """A new request with the votes of earlier ones that judged exactly what stands in it too, newest first.

    Votes on the version in force stand as well where nothing they judged needs another look (`easing.py`).
    INVARIANT: a new version with any change that does is never approved by old votes alone; if they would do, none is
    carried over. What a vote was under it stays under: the obligations of a request come along with any of its votes.
    """
    since_us = fresh.opened_us - carry_us(grounds.tier)
    votes: list[Vote] = []
    for need in fresh.needs:
        digest = judged(fresh, need, grounds)
        found = [
            replace(vote, carried_from=vote.carried_from or request.id)
            for request in earlier
            if request.subject != fresh.subject
            for vote in request.votes
            if vote.role is need.role
            and vote.verdict is VoteVerdict.APPROVE
            and vote.judged == digest
            and vote.at_us >= since_us
        ]
        newest = {vote.person: vote for vote in sorted(found, key=lambda vote: vote.at_us)}
        votes += list(newest.values())[-need.count :]
    others = {vote.role for vote in votes}
    votes += eased(fresh, earlier, grounds, replacing, judged, but=others, since_us=since_us)
    trial = counted(replace(fresh, votes=tuple(votes)), grounds, organisation, now_us=fresh.opened_us).request
    if not trial.missing and not immaterial(trial, earlier, replacing):
        return replace(fresh, votes=())
    # by the vote and not by the request it was cast on, which may be over and out of sight for long
    kept = {_cast(vote) for vote in trial.votes}
    holding = [request for request in earlier if any(_cast(vote) in kept for vote in request.votes)]
    under = {one: None for request in holding for one in request.obligations}
    return replace(trial, obligations=tuple(under))


def _cast(vote: Vote) -> tuple[PersonId, Role, int]:
    """What a vote keeps wherever it is carried."""
    return vote.person, vote.role, vote.at_us
