"""What directories say of people, and what it gives: exactly what a mapping says that two persons signed off. Pure.

A directory is whoever provisions users and groups here (SCIM). Its groups give nothing by themselves. A mapping says
for a group by its name: the group of ours that its members are, and whom roles are given to as to any group; the roles
that its members have as users that agents act for; the tools they have a right to.

INVARIANT: all of it only narrows what agents may do. A role that a mapping names counts, of the users of that
directory's issuer, for those alone whom the directory has in the group, whatever their token says. A tool that a
mapping names is used by agents of those owners alone who have the right to it, and for those users alone: no agent
stands above whoever it acts for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from accredit.audit.ports import StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId, TeamId, ToolId
from accredit.registry import rows
from accredit.registry.model import Agent, Restriction, RestrictionKind

__all__ = [
    "DIRECTORY_KINDS",
    "DirectoryGroup",
    "DirectoryRule",
    "DirectoryUser",
    "Entitlements",
    "MappedGroup",
    "directory_doc",
    "directory_from",
    "directory_group_doc",
    "directory_user_doc",
    "right_lost",
]

DIRECTORY_KINDS: Final = frozenset({rows.DIRECTORY, rows.DIRECTORY_GROUP, rows.DIRECTORY_USER})
_OWNER: Final = "right/owner/"
_USER: Final = "right/user/"
_EVER_US: Final = 253_370_764_800_000_000  # the year 9999: what is shown of it is a date
_MAX_NESTED: Final = 1_000


@dataclass(frozen=True, slots=True)
class MappedGroup:
    """What one group of a directory gives to those in it."""

    name: str
    """The directory's name of it (`displayName`); letter case does not count."""
    group: str | None = None
    """The group of ours whose members they are."""
    team: TeamId | None = None
    """The team whose people they are."""
    user_roles: frozenset[str] = frozenset()
    """Roles that they have where an agent acts for them."""
    tools: frozenset[ToolId] = frozenset()
    """Tools that they have a right to."""


@dataclass(frozen=True, slots=True)
class DirectoryRule:
    """A directory, and what its groups give."""

    name: str
    issuer: str | None
    """The registration of the issuer whose users these are; None: of none."""
    subject: str
    """Which attribute of a user is the `sub` of that issuer's tokens: externalId, id or userName."""
    groups: tuple[MappedGroup, ...]
    by: frozenset[PersonId] = frozenset()
    """Who asked for this mapping and who approved it."""


@dataclass(frozen=True, slots=True)
class DirectoryUser:
    """A user as the directory says."""

    id: str
    directory: str
    person: PersonId | None
    """Who it is here; None: nobody, for it was never active, or whose it was has left and it was taken away."""
    resource: Mapping[str, Any] = field(hash=False)
    created_us: int = 0
    changed_us: int = 0
    deleted: bool = False
    """The directory took it away: kept is what tokens call it, until somebody is called so again."""

    @property
    def active(self) -> bool:
        return not self.deleted and bool(self.resource.get("active", True))

    def subject(self, attribute: str) -> str:
        """What tokens call it; empty: nothing."""
        return self.id if attribute == "id" else str(self.resource.get(attribute, ""))


@dataclass(frozen=True, slots=True)
class DirectoryGroup:
    """A group as the directory says."""

    id: str
    directory: str
    resource: Mapping[str, Any] = field(hash=False)
    created_us: int = 0
    changed_us: int = 0

    @property
    def name(self) -> str:
        return str(self.resource["displayName"])

    @property
    def members(self) -> tuple[str, ...]:
        """Ids of users and groups; some may be gone."""
        return tuple(one["value"] for one in self.resource.get("members", ()))


def directory_doc(rule: DirectoryRule) -> dict[str, Any]:
    """A directory's row, under its name."""
    return {
        "by": sorted(rule.by),
        "groups": [
            {
                "group": one.group,
                "name": one.name,
                "team": one.team,
                "tools": sorted(one.tools),
                "user_roles": sorted(one.user_roles),
            }
            for one in sorted(rule.groups, key=lambda one: one.name)
        ],
        "issuer": rule.issuer,
        "subject": rule.subject,
    }


def directory_from(key: str, doc: Mapping[str, Any]) -> DirectoryRule:
    return DirectoryRule(
        key,
        doc["issuer"],
        doc["subject"],
        tuple(
            MappedGroup(
                one["name"],
                one["group"],
                None if one["team"] is None else TeamId(one["team"]),
                frozenset(one["user_roles"]),
                frozenset(ToolId(tool) for tool in one["tools"]),
            )
            for one in doc["groups"]
        ),
        frozenset(PersonId(one) for one in doc["by"]),
    )


def directory_user_doc(user: DirectoryUser, *, salt: str) -> dict[str, Any]:
    """A user's row, under the id; the salt keeps what it says from being guessed by the row's digest."""
    return {
        "changed_us": user.changed_us,
        "created_us": user.created_us,
        "deleted": user.deleted,
        "directory": user.directory,
        "person": user.person,
        "resource": dict(user.resource),
        "salt": salt,
    }


def _user_from(key: str, doc: Mapping[str, Any]) -> DirectoryUser:
    return DirectoryUser(
        key, doc["directory"], doc["person"], doc["resource"], doc["created_us"], doc["changed_us"], doc["deleted"]
    )


def directory_group_doc(group: DirectoryGroup, *, salt: str) -> dict[str, Any]:
    """A group's row, under the id."""
    return {
        "changed_us": group.changed_us,
        "created_us": group.created_us,
        "directory": group.directory,
        "resource": dict(group.resource),
        "salt": salt,
    }


def _group_from(key: str, doc: Mapping[str, Any]) -> DirectoryGroup:
    return DirectoryGroup(key, doc["directory"], doc["resource"], doc["created_us"], doc["changed_us"])


def right_lost(restriction: str, agent: AgentId) -> Restriction | None:
    """The restriction of that id, if it is for want of a right: the id says all of it, whatever directories say now."""
    for prefix, whose in ((_OWNER, "the agent's owner"), (_USER, "the user it acts for")):
        if restriction.startswith(prefix):
            tool = ToolId(restriction.removeprefix(prefix))
            cause = f"{whose} has no right to the tool, by what the directory says"
            return Restriction(restriction, agent, RestrictionKind.RIGHT, tool, cause, 0, _EVER_US)
    return None


@dataclass(frozen=True)
class Entitlements:
    """Everything that directories say, at one moment, answered from indexes that are made when they are asked for."""

    rules: Mapping[str, DirectoryRule] = field(default_factory=dict)
    users: Mapping[str, DirectoryUser] = field(default_factory=dict)
    groups: Mapping[str, DirectoryGroup] = field(default_factory=dict)

    @classmethod
    def of(cls, view: StateView) -> Entitlements:
        """As control state says."""
        return cls(
            {row.key: directory_from(row.key, row.doc) for row in view.scan(rows.DIRECTORY)},
            {row.key: _user_from(row.key, row.doc) for row in view.scan(rows.DIRECTORY_USER)},
            {row.key: _group_from(row.key, row.doc) for row in view.scan(rows.DIRECTORY_GROUP)},
        )

    def after(self, writes: Iterable[Write]) -> Entitlements:
        """The same after some writes; itself if they are about something else."""
        rules, users, groups = self.rules, self.users, self.groups
        for write in writes:
            match write.kind:
                case rows.DIRECTORY:
                    rules = _with(rules, write.key, write.doc and directory_from(write.key, write.doc))
                case rows.DIRECTORY_USER:
                    users = _with(users, write.key, write.doc and _user_from(write.key, write.doc))
                case rows.DIRECTORY_GROUP:
                    groups = _with(groups, write.key, write.doc and _group_from(write.key, write.doc))
                case _:
                    continue
        if rules is self.rules and users is self.users and groups is self.groups:
            return self
        return Entitlements(rules, users, groups)

    # -- who is where

    def within(self, directory: str, name: str) -> frozenset[str]:
        """Ids of the active users in a group of a directory, and in the groups in it, by the group's name."""
        found: set[str] = set()
        seen: set[str] = set()
        waiting = [one.id for one in self._named.get((directory, name.casefold()), ())]
        while waiting and len(seen) <= _MAX_NESTED:
            key = waiting.pop()
            group = self.groups.get(key)
            if key in seen or group is None:
                continue  # groups may contain each other
            seen.add(key)
            for member in group.members:
                if (user := self.users.get(member)) is not None:
                    if user.active and user.directory == directory:
                        found.add(member)
                elif member in self.groups:
                    waiting.append(member)
        return frozenset(found)

    def kept(self, directory: str) -> dict[str, frozenset[PersonId]]:
        """The persons in each group of ours that a directory keeps."""
        found: defaultdict[str, set[PersonId]] = defaultdict(set)
        rule = self.rules.get(directory)
        for one in rule.groups if rule is not None else ():
            if one.group is not None:
                found[one.group] |= self._persons(self.within(directory, one.name))
        return {name: frozenset(persons) for name, persons in found.items()}

    def keeper(self, group: str) -> str | None:
        """The directory that keeps a group of ours."""
        kept = ((one.group, rule.name) for rule in self.rules.values() for one in rule.groups)
        return next((name for each, name in kept if each == group), None)

    def mapped(self, directory: str) -> frozenset[PersonId]:
        """The persons in any group of a directory that gives something."""
        rule = self.rules.get(directory)
        names = [one.name for one in rule.groups] if rule is not None else []
        return self._persons(frozenset().union(*(self.within(directory, name) for name in names)))

    def teams_of(self, person: PersonId) -> frozenset[TeamId] | None:
        """The teams whose people somebody belongs to, by the directories that know them; None: no mapping says."""
        says = {user.directory for user in self._of_person.get(person, ())}
        rules = [self.rules[one] for one in says if one in self.rules]
        if not any(one.team for rule in rules for one in rule.groups):
            return None
        return self._team_people.get(person, frozenset())

    def moved(self, before: Entitlements) -> frozenset[PersonId]:
        """Whose rights to tools, or teams, are not what they were before."""
        if self is before:
            return frozenset()
        found = {
            one
            for one in self._rights_of.keys() | before._rights_of.keys()
            if self._rights_of.get(one) != before._rights_of.get(one)
        }
        found |= {
            one
            for one in self._team_people.keys() | before._team_people.keys()
            if self._team_people.get(one) != before._team_people.get(one)
        }
        return frozenset(found | (self._of_person.keys() ^ before._of_person.keys()))

    def _persons(self, users: Iterable[str]) -> frozenset[PersonId]:
        return frozenset(person for one in users if (person := self.users[one].person) is not None)

    # -- what agents may do for whom

    @cached_property
    def governed(self) -> frozenset[ToolId]:
        """Every tool that takes a right."""
        return frozenset(tool for rule in self.rules.values() for one in rule.groups for tool in one.tools)

    def lost_by(self, agent: Agent) -> tuple[Restriction, ...]:
        """What an agent may not do because its owner has no right to it; its own tools and those it hands on alone."""
        if not self.governed:
            return ()
        key = agent.id, agent.version.digest, agent.owner
        if (known := self._lost.get(key)) is not None:
            return known
        granted = {grant.tool for grant in agent.version.every_grant}
        granted |= {one.tool for one in agent.version.delegates if one.tool is not None}
        missing = (granted & self.governed) - self._rights_of.get(agent.owner, frozenset())
        found = self._lost[key] = tuple(_lost(f"{_OWNER}{tool}", agent.id) for tool in sorted(missing))
        return found

    def lost_for(self, agent: AgentId, issuer: str | None, subject: str) -> tuple[Restriction, ...]:
        """What an agent may not do for a user who has no right to it; of users of other issuers nothing is known."""
        governed: set[ToolId] = set()
        for rule in self._by_issuer.get(issuer or "", ()):
            user = self._subjects.get((rule.name, subject))
            held = self._tools_held.get(user.id, frozenset()) if user is not None else frozenset()
            governed |= {tool for one in rule.groups for tool in one.tools} - held
        return tuple(_lost(f"{_USER}{tool}", agent) for tool in sorted(governed))

    def withdrawn(self, issuer: str | None, subject: str) -> frozenset[str]:
        """Roles that do not count for a user, whatever the token says: a directory gives them, and not to this one."""
        found: set[str] = set()
        for rule in self._by_issuer.get(issuer or "", ()):
            user = self._subjects.get((rule.name, subject))
            for one in rule.groups:
                found |= one.user_roles
            if user is not None:
                found -= self._roles_held.get(user.id, frozenset())
        return frozenset(found)

    def gone(self, issuer: str | None, subject: str) -> bool:
        """Whether a directory says that a user is not there any more."""
        known = [self._subjects.get((rule.name, subject)) for rule in self._by_issuer.get(issuer or "", ())]
        return any(user is not None and not user.active for user in known)

    def persons_of(self, issuer: str | None, subject: str) -> frozenset[PersonId]:
        """Who a user of an issuer is here, whatever addresses the token has; nobody, if no directory knows them."""
        known = (self._subjects.get((rule.name, subject)) for rule in self._by_issuer.get(issuer or "", ()))
        return frozenset(user.person for user in known if user is not None and user.person is not None)

    # -- indexes

    @cached_property
    def _team_people(self) -> Mapping[PersonId, frozenset[TeamId]]:
        found: defaultdict[PersonId, frozenset[TeamId]] = defaultdict(frozenset)
        for key, one in self._held():
            person = self.users[key].person
            if one.team is not None and person is not None:
                found[person] |= {one.team}
        return dict(found)

    @cached_property
    def _named(self) -> Mapping[tuple[str, str], list[DirectoryGroup]]:
        found: defaultdict[tuple[str, str], list[DirectoryGroup]] = defaultdict(list)
        for one in self.groups.values():
            found[one.directory, one.name.casefold()].append(one)
        return found

    @cached_property
    def _of_person(self) -> Mapping[PersonId, list[DirectoryUser]]:
        found: defaultdict[PersonId, list[DirectoryUser]] = defaultdict(list)
        for one in self.users.values():
            if one.person is not None:
                found[one.person].append(one)
        return found

    def users_of(self, person: PersonId) -> tuple[DirectoryUser, ...]:
        """What directories have of a person."""
        return tuple(self._of_person.get(person, ()))

    @cached_property
    def _lost(self) -> dict[tuple[AgentId, Digest, PersonId], tuple[Restriction, ...]]:
        """What was worked out of each agent; this is of one moment, and so is that."""
        return {}

    @cached_property
    def _by_issuer(self) -> Mapping[str, list[DirectoryRule]]:
        found: defaultdict[str, list[DirectoryRule]] = defaultdict(list)
        for rule in self.rules.values():
            if rule.issuer is not None:
                found[rule.issuer].append(rule)
        return dict(found)

    @cached_property
    def _subjects(self) -> Mapping[tuple[str, str], DirectoryUser]:
        found: dict[tuple[str, str], DirectoryUser] = {}
        for user in self.users.values():
            rule = self.rules.get(user.directory)
            if rule is not None and (subject := user.subject(rule.subject)):
                known = found.get((rule.name, subject))
                if known is None or known.deleted:  # whoever is there goes before who was
                    found[rule.name, subject] = user
        return found

    def _held(self) -> Iterator[tuple[str, MappedGroup]]:
        for rule in self.rules.values():
            for one in rule.groups:
                for user in self.within(rule.name, one.name):
                    yield user, one

    @cached_property
    def _roles_held(self) -> Mapping[str, frozenset[str]]:
        found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
        for user, one in self._held():
            found[user] |= one.user_roles
        return dict(found)

    @cached_property
    def _tools_held(self) -> Mapping[str, frozenset[ToolId]]:
        found: defaultdict[str, frozenset[ToolId]] = defaultdict(frozenset)
        for user, one in self._held():
            found[user] |= one.tools
        return dict(found)

    @cached_property
    def _rights_of(self) -> Mapping[PersonId, frozenset[ToolId]]:
        found: defaultdict[PersonId, frozenset[ToolId]] = defaultdict(frozenset)
        for key, tools in self._tools_held.items():
            if (person := self.users[key].person) is not None:
                found[person] |= tools
        return dict(found)


def _lost(restriction: str, agent: AgentId) -> Restriction:
    made = right_lost(restriction, agent)
    assert made is not None  # noqa: S101 - by its own prefix
    return made


def _with(before: Mapping[str, Any], key: str, value: Any) -> Mapping[str, Any]:
    after = dict(before)
    if value is None:
        after.pop(key, None)
    else:
        after[key] = value
    return after
