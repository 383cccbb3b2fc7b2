"""Which votes on what is in force still stand for a newer version because nothing that they judged was widened. Pure.

A vote binds to digests, so any change of what its role judges voids it. Where every such change is one that nobody must
look at (`registry.changes`), the vote is carried over and bound to the new digests. INVARIANT: changes are counted from
the version a person last voted on, however many versions lie between: many small steps are one large one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from accredit.approvals.model import ApprovalRequest, Grounds, RoleNeed, Vote, VoteVerdict
from accredit.kernel.canonical import Digest
from accredit.registry.changes import FacetChange, material
from accredit.registry.model import Role

__all__ = ["Replacing", "eased", "immaterial"]


@dataclass(frozen=True, slots=True)
class Replacing:
    """What the version that is asked about would replace, and what it changes."""

    version: Digest
    """The one in force."""
    grounds: Grounds
    """Of the one in force, as of now."""
    since: Mapping[Digest, tuple[FacetChange, ...]]
    """By earlier version of the agent: what the new one changes against it. Of one that is missing nobody can say."""
    widened: tuple[str, ...] = ()
    """What the new one may do under the policies in force that the one in force may not, in plain words."""


def eased(
    fresh: ApprovalRequest,
    earlier: Sequence[ApprovalRequest],
    grounds: Grounds,
    replacing: Replacing | None,
    judged: Callable[[ApprovalRequest, RoleNeed, Grounds], Digest],
    *,
    but: Collection[Role],
    since_us: int,
) -> tuple[Vote, ...]:
    """Votes on the version in force, bound to the new one, of roles that need not look again (and are not in `but`).

    None if the tier is another, more is allowed, something is in excess, or an assessment was replaced.
    """
    base = _in_force(earlier, replacing)
    if base is None or replacing is None or replacing.widened or grounds.tier is not replacing.grounds.tier:
        return ()
    found: list[Vote] = []
    for need in fresh.needs:
        if need.role in but or need not in base.needs or (need.validation and grounds.excess):
            continue
        if need.assessment and fresh.assessment != base.assessment:
            continue
        held = judged(base, need, replacing.grounds)
        digest = judged(fresh, need, grounds)
        found += [
            replace(vote, judged=digest, carried_from=vote.carried_from or base.id)
            for vote in base.votes
            if vote.role is need.role
            and vote.verdict is VoteVerdict.APPROVE
            and vote.judged == held
            and vote.at_us >= since_us
            and not _to_look_at(vote, need, base, earlier, replacing)
        ]
    return tuple(found)


def immaterial(fresh: ApprovalRequest, earlier: Sequence[ApprovalRequest], replacing: Replacing | None) -> bool:
    """Whether nothing at all that the version changes must be looked at by anybody, against any version voted on."""
    base = _in_force(earlier, replacing)
    if base is None or replacing is None or replacing.widened or not fresh.votes:
        return False
    against = [_since(vote, base, earlier, replacing) for vote in fresh.votes]
    return all(changes is not None and not material(changes) for changes in against)


def _in_force(earlier: Sequence[ApprovalRequest], replacing: Replacing | None) -> ApprovalRequest | None:
    """The request under which the version in force came into force, the newest of them."""
    used = [
        one
        for one in earlier
        if replacing is not None and one.used_us is not None and one.subject.digest == replacing.version
    ]
    return max(used, key=lambda one: (one.used_us or 0, one.id), default=None)


def _since(
    vote: Vote, base: ApprovalRequest, earlier: Sequence[ApprovalRequest], replacing: Replacing
) -> tuple[FacetChange, ...] | None:
    """What changed since the version that a person saw when they cast the vote; None: it is not known."""
    on = vote.carried_from or base.id
    seen = next((one.subject.digest for one in earlier if one.id == on), None)
    return None if seen is None else replacing.since.get(seen)


def _to_look_at(
    vote: Vote, need: RoleNeed, base: ApprovalRequest, earlier: Sequence[ApprovalRequest], replacing: Replacing
) -> bool:
    changes = _since(vote, base, earlier, replacing)
    return changes is None or material(change for change in changes if change.facet in need.facets)
