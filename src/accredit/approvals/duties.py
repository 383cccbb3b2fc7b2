"""Who may vote on what: the one place where separation of duties is decided (DESIGN §4, §6). Pure.

The question is always about persons, never about accounts, roles or screens. Whoever asked for a thing, wrote it, owns
it or gains by it is on the asking side, and so is everybody who could be one of them:

    the bots they control, and whoever controls a bot among them;
    accounts that one of them created, linked or re-addressed less than 30 days ago, and accounts created by those.

Nobody on the asking side votes; nor does anybody who delegated a role to or from one of them in the life of the
request, or who stood behind the account of one of them in the last 30 days. A role counts if it was held before the
request was opened, in a way in which neither the asking side nor its delegates had a hand. A delegation counts if the
holder could have voted. One person fills one role, in their own name or another's.

The same function judges a vote when it is cast and every time anything rests on it later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from accredit.approvals.model import Parties, Vote
from accredit.kernel.ids import PersonId, TeamId
from accredit.registry.model import Role
from accredit.registry.organisation import Organisation

__all__ = ["Barred", "BarredReason", "Eligible", "account_makers", "barred", "duty"]

TIE_US: Final = 30 * 86_400_000_000


class BarredReason(StrEnum):
    """Why somebody does not vote."""

    UNKNOWN = "unknown"
    LEFT = "left"
    BOT = "bot"
    REQUESTER = "requester"
    AUTHOR = "author"
    OWNER = "owner"
    BENEFICIARY = "beneficiary"
    ASKING_SIDE = "asking-side"
    """Could be one of the parties: their bot, its controller, or an account they made lately."""
    DELEGATE = "delegate"
    ACCOUNT_TIE = "account-tie"
    ROLE_NOT_HELD = "role-not-held"
    ROLE_TOO_NEW = "role-too-new"
    ROLE_BY_PARTY = "role-by-party"
    VOTED = "voted"


_DETAILS: Final[Mapping[BarredReason, str]] = {
    BarredReason.UNKNOWN: "nobody is known by that id",
    BarredReason.LEFT: "whoever left the organisation does not vote",
    BarredReason.BOT: "a service account does not vote",
    BarredReason.REQUESTER: "who asked for it does not vote on it",
    BarredReason.AUTHOR: "who wrote part of it does not vote on it",
    BarredReason.OWNER: "its owner does not vote on it",
    BarredReason.BENEFICIARY: "who would gain by it does not vote on it",
    BarredReason.ASKING_SIDE: "the account could be a party's own: a bot, its controller, or made by one lately",
    BarredReason.DELEGATE: "a role was delegated to or from a party while this was open",
    BarredReason.ACCOUNT_TIE: "a party's account was created, linked or re-addressed by this person lately",
    BarredReason.ROLE_NOT_HELD: "the role is not held",
    BarredReason.ROLE_TOO_NEW: "the role is held only since the request was opened",
    BarredReason.ROLE_BY_PARTY: "the role was granted by somebody on the asking side",
    BarredReason.VOTED: "one person fills one role, in their own name or another's",
}


@dataclass(frozen=True, slots=True)
class Eligible:
    """May vote."""

    for_person: PersonId | None = None
    """Whose delegation the vote is cast under; None: in their own name."""


@dataclass(frozen=True, slots=True)
class Barred:
    """May not vote."""

    reason: BarredReason

    @property
    def detail(self) -> str:
        return _DETAILS[self.reason]


@dataclass(frozen=True, slots=True)
class _Case:
    """One request as it bears on persons."""

    organisation: Organisation
    opened_us: int
    barred: Mapping[PersonId, BarredReason]
    hands: frozenset[PersonId]
    """Whose grants do not count."""

    def of_person(self, person: PersonId) -> BarredReason | None:
        """What keeps a person from any vote on this request."""
        if (known := self.organisation.people.get(person)) is None:
            return BarredReason.UNKNOWN
        if known.bot:
            return BarredReason.BOT
        return BarredReason.LEFT if known.left else self.barred.get(person)

    def of_role(self, person: PersonId, role: Role, team: TeamId | None) -> BarredReason | None:
        """What is wrong with the way in which a person holds a role."""
        holds, before_us = self.organisation.holds_apart_from, self.opened_us
        if holds(person, role, team, before_us=before_us, hands=self.hands):
            return None
        if holds(person, role, team, before_us=before_us, hands=frozenset()):
            return BarredReason.ROLE_BY_PARTY
        held = holds(person, role, team, before_us=_ALWAYS_US, hands=frozenset())
        return BarredReason.ROLE_TOO_NEW if held else BarredReason.ROLE_NOT_HELD


_ALWAYS_US: Final = 2**63


def duty(
    organisation: Organisation,
    parties: Parties,
    person: PersonId,
    role: Role,
    team: TeamId | None,
    *,
    opened_us: int,
    now_us: int,
    others: Iterable[Vote] = (),
    cast: Vote | None = None,
) -> Eligible | Barred:
    """Whether a person may vote in a role on a request; `others` are the votes that count on it beside this one.

    With `cast`, an earlier vote of that person in that role is judged again: in the way it was cast, its delegation as
    of then, all else as of now.
    """
    case = _case(organisation, parties, opened_us=opened_us, now_us=now_us)
    if (reason := case.of_person(person)) is not None:
        return Barred(reason)
    taken = {one for vote in others for one in (vote.person, vote.for_person) if one is not None}
    if person in taken:
        return Barred(BarredReason.VOTED)
    own = case.of_role(person, role, team)
    if own is None and (cast is None or cast.for_person is None):
        return Eligible()
    if cast is not None and cast.for_person is None:
        return Barred(own or BarredReason.ROLE_NOT_HELD)
    at_us = now_us if cast is None else cast.at_us
    found = own or BarredReason.ROLE_NOT_HELD
    holders = sorted(
        delegation.holder
        for delegation in organisation.delegations_of(person)
        if delegation.to == person
        and delegation.role is role
        and delegation.since_us <= at_us < delegation.until_us
        and (cast is None or delegation.holder == cast.for_person)
    )
    for holder in holders:
        # no chains: the holder must hold the role themselves
        reason = case.of_person(holder) or case.of_role(holder, role, team)
        if reason is None and holder in taken:
            reason = BarredReason.VOTED
        if reason is None:
            return Eligible(holder)
        found = reason
    return Barred(found)


def barred(
    organisation: Organisation, parties: Parties, person: PersonId, *, opened_us: int, now_us: int
) -> BarredReason | None:
    """What keeps a person from any vote on a request, whatever roles they hold; None: nothing does."""
    return _case(organisation, parties, opened_us=opened_us, now_us=now_us).of_person(person)


def account_makers(organisation: Organisation, person: PersonId, *, now_us: int) -> frozenset[PersonId]:
    """Who could sign in as somebody: whoever created, linked or re-addressed the account in the last 30 days."""
    ties = organisation.ties_of(person)
    return frozenset(tie.by for tie in ties if tie.account == person and now_us - tie.at_us < TIE_US)


def _case(organisation: Organisation, parties: Parties, *, opened_us: int, now_us: int) -> _Case:
    asking = _asking_side(organisation, parties, now_us)
    barred: dict[PersonId, BarredReason] = {}
    for person in asking:
        for tie in organisation.ties_of(person):
            if tie.account == person and now_us - tie.at_us < TIE_US:
                barred[tie.by] = BarredReason.ACCOUNT_TIE
    delegates = {
        side
        for delegation in organisation.delegations
        if delegation.until_us >= opened_us and (delegation.holder in asking or delegation.to in asking)
        for side in (delegation.holder, delegation.to)
    }
    barred |= dict.fromkeys(delegates, BarredReason.DELEGATE)
    barred |= dict.fromkeys(asking, BarredReason.ASKING_SIDE)
    for named, reason in (
        (parties.beneficiaries, BarredReason.BENEFICIARY),
        (parties.owners, BarredReason.OWNER),
        (parties.authors, BarredReason.AUTHOR),
    ):
        barred |= dict.fromkeys(named, reason)
    if parties.requester is not None:
        barred[parties.requester] = BarredReason.REQUESTER
    return _Case(organisation, opened_us, barred, asking | delegates)


def _asking_side(organisation: Organisation, parties: Parties, now_us: int) -> frozenset[PersonId]:
    """The parties and every account that could be one of them."""
    found = set(parties.all)
    for party in parties.all:
        found |= organisation.controllers(party)
    fresh = found
    while fresh:
        made = {tie.account for person in fresh for tie in organisation.ties_by(person) if now_us - tie.at_us < TIE_US}
        fresh = (made | organisation.controlled_by(*fresh)) - found
        found |= fresh
    return frozenset(found)
