"""Who holds which role, through which groups, and who stands behind which account: immutable, answered from indexes.

This module says what is; whether somebody may vote is decided in `approvals.duties`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from accredit.kernel.ids import PersonId, TeamId
from accredit.registry.model import Person, Role

__all__ = ["AccountTie", "Delegation", "Group", "Membership", "Organisation", "RoleGrant", "RoleHeld"]

_GROUP = "group:"
_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class RoleGrant:
    """A role given to a person or a group."""

    id: str
    role: Role
    holder: str
    """A person's id, or `group:NAME`."""
    team: TeamId | None
    """Of team leads and business owners: the one team it is for; None: every team."""
    by: frozenset[PersonId]
    """Who asked for it and who approved it."""
    since_us: int
    revoked_us: int | None = None


@dataclass(frozen=True, slots=True)
class Membership:
    """One person's place in a group."""

    person: PersonId
    by: frozenset[PersonId]
    since_us: int


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of persons and of other groups."""

    name: str
    members: tuple[Membership, ...]
    groups: tuple[tuple[str, int], ...] = ()
    """(Name, since when)."""
    by: frozenset[PersonId] = frozenset()
    """Who asked for and approved its present composition."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """A role-holder's word that somebody else may vote in their place, for a time."""

    id: str
    holder: PersonId
    to: PersonId
    role: Role
    since_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class AccountTie:
    """Somebody created, linked or re-addressed an account: they could be behind it."""

    account: PersonId
    by: PersonId
    at_us: int


@dataclass(frozen=True, slots=True)
class RoleHeld:
    """One way in which a person holds a role."""

    grant: str
    since_us: int
    """When the last of what it rests on came about: the grant, or a membership on the way."""
    by: frozenset[PersonId]
    """Everybody who had a hand in any of it."""


@dataclass(frozen=True)
class Organisation:
    """People, groups, roles, delegations and account ties of one moment."""

    people: Mapping[PersonId, Person] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    grants: tuple[RoleGrant, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    ties: tuple[AccountTie, ...] = ()

    def held(self, person: PersonId, role: Role, team: TeamId | None) -> tuple[RoleHeld, ...]:
        """Every way in which a person holds a role for a team; grants for every team count for each."""
        return tuple(
            RoleHeld(grant.id, max(grant.since_us, since_us), grant.by | by)
            for holder, since_us, by in self._reach(person)
            for grant in self._grants_of.get((holder, role), ())
            if grant.team is None or grant.team == team
        )

    def holds_apart_from(
        self, person: PersonId, role: Role, team: TeamId | None, *, before_us: int, hands: frozenset[PersonId]
    ) -> bool:
        """Whether a person holds a role for a team in some way that is older and in which none of `hands` had part.

        A way is good if every step of it is, so only good steps are followed: no way hides a better one.
        """

        def good(since_us: int, by: frozenset[PersonId]) -> bool:
            return since_us < before_us and hands.isdisjoint(by)

        holders = [str(person)]
        waiting = [
            name
            for name, member in self._memberships.get(person, ())
            if good(member.since_us, member.by) and hands.isdisjoint(self.groups[name].by)
        ]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue  # groups may contain each other
            seen.add(name)
            holders.append(_GROUP + name)
            waiting += [outer for outer, since_us in self._outer.get(name, ()) if good(since_us, self.groups[outer].by)]
        return any(
            (grant.team is None or grant.team == team) and good(grant.since_us, grant.by)
            for holder in holders
            for grant in self._grants_of.get((holder, role), ())
        )

    def roles_of(self, person: PersonId) -> frozenset[tuple[Role, TeamId | None]]:
        """What a person holds, directly or through groups."""
        holders = {holder for holder, _, _ in self._reach(person)}
        return frozenset((grant.role, grant.team) for grant in self._live if grant.holder in holders)

    def holders(self, role: Role, team: TeamId | None = None) -> frozenset[PersonId]:
        """Everybody who holds a role for a team; people who left and bots are not among them."""
        found: set[PersonId] = set()
        for grant in self._live:
            if grant.role is role and (grant.team is None or grant.team == team):
                found |= self.persons(grant.holder)
        return frozenset(
            person for person in found if (known := self.people.get(person)) and not known.left and not known.bot
        )

    def persons(self, holder: str) -> frozenset[PersonId]:
        """The persons behind a holder: itself, or everybody in that group and the groups in it."""
        if not holder.startswith(_GROUP):
            return frozenset({PersonId(holder)})
        found: set[PersonId] = set()
        seen: set[str] = set()
        waiting = [holder.removeprefix(_GROUP)]
        while waiting:
            name = waiting.pop()
            group = self.groups.get(name)
            if name in seen or group is None:
                continue  # groups may contain each other
            seen.add(name)
            found |= {member.person for member in group.members}
            waiting += [inner for inner, _ in group.groups]
        return frozenset(found)

    def controlled_by(self, *persons: PersonId) -> frozenset[PersonId]:
        """The bots that any of some persons control, through groups and through other bots as well."""
        found: set[PersonId] = set()
        groups: set[str] = set()
        waiting = set(persons)
        while waiting:
            fresh: set[PersonId] = set()
            inside: set[str] = set()
            if len(waiting) > len(self.groups):  # then nearly every group has one of them among its first members
                fresh.update(*(bots for holder, bots in self._bots_of.items() if holder in waiting))
                groups_of = self.groups.items()
                inside.update(name for name, group in groups_of if any(one.person in waiting for one in group.members))
            else:
                for person in waiting:
                    fresh.update(self._bots_of.get(person, ()))
                    inside.update([name for name, _ in self._memberships.get(person, ())])
            while inside := inside - groups:  # groups may contain each other
                groups |= inside
                fresh.update(*(self._bots_of.get(_GROUP + name, ()) for name in inside))
                inside = {outer for name in inside for outer, _ in self._outer.get(name, ())}
            waiting = fresh - found
            found |= fresh
        return frozenset(found)

    def controllers(self, bot: PersonId) -> frozenset[PersonId]:
        """The persons and bots that control an account, all the way up; empty for a person's own."""
        found: set[PersonId] = set()
        waiting = [bot]
        while waiting:
            known = self.people.get(waiting.pop())
            for holder in known.controllers if known else ():
                for person in self.persons(holder):
                    if person not in found:
                        found.add(person)
                        waiting.append(person)
        return frozenset(found)

    def ties_of(self, person: PersonId) -> Sequence[AccountTie]:
        """Every tie in which a person stands on either side."""
        return self._ties_of.get(person, ())

    def ties_by(self, person: PersonId) -> Sequence[AccountTie]:
        """Every tie of an account that a person created, linked or re-addressed."""
        return self._ties_by.get(person, ())

    def delegations_of(self, person: PersonId) -> Sequence[Delegation]:
        """Every delegation in which a person stands on either side, over ones included."""
        return self._delegations_of.get(person, ())

    def _reach(self, person: PersonId) -> list[tuple[str, int, frozenset[PersonId]]]:
        """The person and every group it is in: (holder, since when, by whom).

        A group reached on several ways counts by each way that is not later than one seen before.
        """
        found: list[tuple[str, int, frozenset[PersonId]]] = [(person, 0, frozenset())]
        best: dict[str, int] = {}
        waiting = [
            (name, member.since_us, member.by | self.groups[name].by)
            for name, member in self._memberships.get(person, ())
        ]
        while waiting:
            name, since_us, by = waiting.pop()
            if name in best and best[name] <= since_us:
                continue
            best[name] = since_us
            found.append((_GROUP + name, since_us, by))
            waiting += [
                (outer, max(since_us, inner_us), by | self.groups[outer].by)
                for outer, inner_us in self._outer.get(name, ())
            ]
        return found

    @cached_property
    def _live(self) -> tuple[RoleGrant, ...]:
        return tuple(grant for grant in self.grants if grant.revoked_us is None)

    @cached_property
    def _grants_of(self) -> Mapping[tuple[str, Role], list[RoleGrant]]:
        return _indexed(((grant.holder, grant.role), grant) for grant in self._live)

    @cached_property
    def _memberships(self) -> Mapping[PersonId, list[tuple[str, Membership]]]:
        found: defaultdict[PersonId, list[tuple[str, Membership]]] = defaultdict(list)
        for group in self.groups.values():
            name = group.name
            for member in group.members:
                found[member.person].append((name, member))
        return found

    @cached_property
    def _outer(self) -> Mapping[str, list[tuple[str, int]]]:
        return _indexed(
            (inner, (group.name, since_us)) for group in self.groups.values() for inner, since_us in group.groups
        )

    @cached_property
    def _bots_of(self) -> Mapping[str, list[PersonId]]:
        return _indexed((holder, bot.id) for bot in self.people.values() if bot.bot for holder in bot.controllers)

    @cached_property
    def _ties_of(self) -> Mapping[PersonId, list[AccountTie]]:
        found: defaultdict[PersonId, list[AccountTie]] = defaultdict(list)
        for tie in self.ties:
            found[tie.account].append(tie)
            if tie.by != tie.account:
                found[tie.by].append(tie)
        return found

    @cached_property
    def _ties_by(self) -> Mapping[PersonId, list[AccountTie]]:
        found: defaultdict[PersonId, list[AccountTie]] = defaultdict(list)
        for tie in self.ties:
            found[tie.by].append(tie)
        return found

    @cached_property
    def _delegations_of(self) -> Mapping[PersonId, list[Delegation]]:
        return _indexed((side, one) for one in self.delegations for side in {one.holder, one.to})


def _indexed(pairs: Iterable[tuple[_K, _V]]) -> dict[_K, list[_V]]:
    found: defaultdict[_K, list[_V]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return dict(found)
