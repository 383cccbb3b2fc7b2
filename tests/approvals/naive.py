"""Who may vote, decided a second time and without cleverness: every path walked, nothing indexed, nothing shared.

Written from DESIGN §4 and §6, not from `approvals.duties`. Slow on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator

from accredit.approvals.model import Parties, Vote
from accredit.kernel.ids import PersonId, TeamId
from accredit.registry.model import Role
from accredit.registry.organisation import Organisation

MONTH_US = 30 * 24 * 3600 * 1_000_000


def in_group(organisation: Organisation, person: str, group: str, path: tuple[str, ...] = ()) -> bool:
    """Whether a person is in a group, whatever the way."""
    if group in path or group not in organisation.groups:
        return False
    found = organisation.groups[group]
    if any(member.person == person for member in found.members):
        return True
    return any(in_group(organisation, person, inner, (*path, group)) for inner, _ in found.groups)


def ways_into(
    organisation: Organisation, person: str, group: str, path: tuple[str, ...] = ()
) -> Iterator[list[tuple[int, frozenset[PersonId]]]]:
    """Every way without a loop in which a person is in a group: for each step since when, and by whom."""
    if group in path or group not in organisation.groups:
        return
    found = organisation.groups[group]
    for member in found.members:
        if member.person == person:
            yield [(member.since_us, member.by | found.by)]
    for inner, since_us in found.groups:
        for way in ways_into(organisation, person, inner, (*path, group)):
            yield [*way, (since_us, found.by)]


def controls(organisation: Organisation, person: str, bot: str) -> bool:
    """Whether a person or bot is among the direct controllers of a bot."""
    known = organisation.people.get(PersonId(bot))
    if known is None:
        return False
    return any(
        holder == person or (holder.startswith("group:") and in_group(organisation, person, holder[6:]))
        for holder in known.controllers
    )


def same_persons(organisation: Organisation, parties: Parties, now_us: int) -> set[str]:
    """The parties and every account that might be one of them, grown until nothing is added."""
    everybody: set[str] = {*organisation.people, *parties.all}
    everybody |= {member.person for group in organisation.groups.values() for member in group.members}
    everybody |= {
        holder
        for known in organisation.people.values()
        for holder in known.controllers
        if not holder.startswith("group:")
    }
    found: set[str] = set(parties.all)
    behind = set(found)
    while True:  # whoever controls a party, all the way up
        more = {one for one in everybody for bot in behind if controls(organisation, one, bot)} - behind
        if not more:
            break
        behind |= more
    found |= behind
    while True:  # their bots, and the accounts they made lately
        more = {
            one
            for one in everybody
            for party in found
            if (
                one in organisation.people
                and organisation.people[PersonId(one)].bot
                and controls(organisation, party, one)
            )
        }
        more |= {tie.account for tie in organisation.ties if tie.by in found and now_us - tie.at_us < MONTH_US}
        if more <= found:
            return found
        found |= more


def may_vote(
    organisation: Organisation,
    parties: Parties,
    person: PersonId,
    role: Role,
    team: TeamId | None,
    *,
    opened_us: int,
    now_us: int,
    others: tuple[Vote, ...] = (),
    cast: Vote | None = None,
) -> tuple[bool, PersonId | None]:
    """Whether, and for whom if not for themselves."""
    same = same_persons(organisation, parties, now_us)
    delegates: set[str] = set()
    for delegation in organisation.delegations:
        if delegation.until_us >= opened_us and (delegation.holder in same or delegation.to in same):
            delegates |= {delegation.holder, delegation.to}
    behind = {tie.by for tie in organisation.ties if tie.account in same and now_us - tie.at_us < MONTH_US}
    barred = same | delegates | behind
    spoken = {vote.person for vote in others} | {vote.for_person for vote in others}

    def free(who: PersonId) -> bool:
        known = organisation.people.get(who)
        return known is not None and not known.bot and not known.left and who not in barred

    def holds(who: PersonId) -> bool:
        for grant in organisation.grants:
            if grant.revoked_us is not None or grant.role is not role or grant.team not in {None, team}:
                continue
            given = (grant.since_us, grant.by)
            ways = [[given]] if grant.holder == who else []
            if grant.holder.startswith("group:"):
                ways = [[*way, given] for way in ways_into(organisation, who, grant.holder[6:])]
            for way in ways:
                if all(since_us < opened_us and not by & (same | delegates) for since_us, by in way):
                    return True
        return False

    if not free(person) or person in spoken:
        return False, None
    if (cast is None or cast.for_person is None) and holds(person):
        return True, None
    if cast is not None and cast.for_person is None:
        return False, None
    at_us = cast.at_us if cast else now_us
    found = sorted(
        delegation.holder
        for delegation in organisation.delegations
        if delegation.to == person and delegation.role is role
        and delegation.since_us <= at_us < delegation.until_us
        and free(delegation.holder) and holds(delegation.holder) and delegation.holder not in spoken
        and (cast is None or cast.for_person == delegation.holder)
    )  # fmt: skip
    return (True, found[0]) if found else (False, None)
