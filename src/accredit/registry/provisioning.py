"""What a directory's users and groups write here: each request one transaction, or nothing at all.

A user that is active is a person: the one who has that address, or a new one. Whoever the directory says is not there
any more has left, and comes back when it says so, with nothing of what they held before. Groups of ours that a mapping
names have the members that the directory says; who was in one stays since when they were.

INVARIANT: nothing is given to anybody but by a mapping that two persons signed off, and taking somebody away never
leaves fewer than two administrators: then what would do so waits, and the rest is done.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, Row, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, NotFoundError
from accredit.kernel.ids import IdSource, PersonId
from accredit.registry import rows
from accredit.registry.addresses import same_address
from accredit.registry.appointments import keeps_administrators, person_left, person_returned
from accredit.registry.directories import (
    DirectoryGroup,
    DirectoryRule,
    DirectoryUser,
    Entitlements,
    directory_group_doc,
    directory_user_doc,
)
from accredit.registry.model import Person
from accredit.registry.organisation import AccountTie, Group, Membership, Organisation
from accredit.registry.scim.attributes import ENTERPRISE
from accredit.registry.scim.errors import ScimError, ScimType

__all__ = ["SCIM_MANAGER", "Provisioned", "Provisioner", "Provisioning", "directory_mark", "kept_groups"]

SCIM_MANAGER: Final = "scim"
"""The field manager of what directories say of people."""
_MAX_USERS: Final = 50_000
_MAX_GROUPS: Final = 5_000
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,8}")


def directory_mark(directory: str) -> str:
    """How a person's row says by whose word they left."""
    return f"directory/{directory}"


@dataclass(frozen=True, slots=True)
class Provisioner:
    """A directory at work: with which key, and who was given that."""

    directory: str
    key: str
    by: PersonId
    """Whoever made the key could be behind all that is done with it."""


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What one request came to, beside the resource."""

    resource: DirectoryUser | DirectoryGroup | None
    """None: it is gone."""
    left: tuple[PersonId, ...] = ()
    """Whose leaving it was, or would be but for the number of administrators: nothing of theirs may work any more."""
    moved: tuple[PersonId, ...] = ()
    """Who is in no group any more that gives anything."""
    created: bool = False


class Provisioning:
    """The one writer of directories' users and groups."""

    def __init__(
        self,
        control: ControlLog,
        ids: IdSource,
        clock: Clock,
        *,
        entitlements: Callable[[], Entitlements],
        organisation: Callable[[], Organisation],
        find_person: Callable[[StateView, str], PersonId | None],
    ) -> None:
        self._control = control
        self._ids = ids
        self._clock = clock
        self._entitlements = entitlements
        self._organisation = organisation
        self._find_person = find_person

    # -- reading

    def rule(self, directory: str) -> DirectoryRule:
        """Raises NotFoundError: there is no such directory."""
        found = self._entitlements().rules.get(directory)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no directory `{directory[:80]}`")
        return found

    def users(self, directory: str) -> list[DirectoryUser]:
        """Its users, in the order of their ids."""
        found = (one for one in self._entitlements().users.values() if one.directory == directory and not one.deleted)
        return sorted(found, key=lambda one: one.id)

    def groups(self, directory: str) -> list[DirectoryGroup]:
        """Its groups, in the order of their ids."""
        found = (one for one in self._entitlements().groups.values() if one.directory == directory)
        return sorted(found, key=lambda one: one.id)

    def user(self, directory: str, id_: str) -> DirectoryUser:
        """Raises NotFoundError."""
        found = self._entitlements().users.get(id_)
        if found is None or found.directory != directory or found.deleted:
            raise NotFoundError(Code.NOT_FOUND, f"there is no user `{id_[:80]}`")
        return found

    def group(self, directory: str, id_: str) -> DirectoryGroup:
        """With the members that are still there. Raises NotFoundError."""
        entitlements = self._entitlements()
        found = entitlements.groups.get(id_)
        if found is None or found.directory != directory:
            raise NotFoundError(Code.NOT_FOUND, f"there is no group `{id_[:80]}`")
        return _without_gone(found, entitlements)

    def person_of(self, resource: Mapping[str, Any]) -> PersonId | None:
        """Who has the address of a user.

        Raises:
            ScimError: it has none.
        """
        return self._find_person(self._control.view, _address(resource))

    def version(self, one: DirectoryUser | DirectoryGroup) -> str:
        """Changes whenever the resource does."""
        kind = rows.DIRECTORY_USER if isinstance(one, DirectoryUser) else rows.DIRECTORY_GROUP
        row = self._control.view.get(kind, one.id)
        return _tag(row.digest) if row is not None else ""

    # -- writing. `expected` is the version that a client means to change; None: whichever there is

    async def put_user(
        self,
        by: Provisioner,
        id_: str | None,
        made: Callable[[Mapping[str, Any]], dict[str, Any]],
        *,
        expected: Sequence[str] | None = None,
    ) -> Provisioned:
        """Create (no id) or change a user: `made` gives the new resource for the present one.

        Raises:
            ScimError: it cannot be so: not unique, without an address, or somebody's who cannot be it.
            NotFoundError: no such user.
            ConflictError: `expected` is not the present version.
        """
        fresh, salt = self._ids.new("dus"), self._ids.secret(16).hex()
        said: list[Provisioned] = []

        def build(view: StateView) -> Change | None:
            now_us, entitlements = self._clock.now().wall_us, self._entitlements()
            rule = self.rule(by.directory)
            known = None if id_ is None else self.user(by.directory, id_)
            row = None if known is None else view.get(rows.DIRECTORY_USER, known.id)
            _require_version(row, expected)
            # whoever is not active does not become so by being left out of what replaces them
            resource = {"active": known is None or known.active, **made(known.resource if known is not None else {})}
            self._check_user(entitlements, by.directory, known, resource)
            user = DirectoryUser(
                known.id if known is not None else fresh,
                by.directory,
                known.person if known is not None else None,
                resource,
                known.created_us if known is not None else now_us,
                now_us,
            )
            if known is not None and dict(known.resource) == resource:
                said.append(Provisioned(known))
                return None
            name = user.subject(rule.subject)
            again = [one for one in entitlements.users.values() if one.directory == by.directory and one.deleted
                     and one.person is None and one.subject(rule.subject) == name]  # fmt: skip
            writes, user, left = self._person(view, by, known, user, now_us)
            writes.append(
                Write(
                    rows.DIRECTORY_USER,
                    user.id,
                    directory_user_doc(user, salt=row.doc["salt"] if row is not None else salt),
                )
            )
            writes += [Write(rows.DIRECTORY_USER, one.id, None) for one in again]
            kind = "directory.user_added" if known is None else "directory.user_changed"
            if known is not None and known.active and not user.active:
                kind = "directory.user_deactivated"
            narrowing = kind == "directory.user_deactivated"
            change, moved = self._with_groups(
                view, by, rule, writes, Facts(kind), {"user": user.id}, now_us, narrowing=narrowing
            )
            said.append(Provisioned(user, left, moved, created=known is None))
            return replace(change, body={**change.body, "active": user.active, "person": user.person})

        await self._control.transact(build)
        return said[-1]

    async def remove_user(self, by: Provisioner, id_: str, *, expected: Sequence[str] | None = None) -> Provisioned:
        """Take a user away: whoever it was has left. Raises as `put_user`."""
        said: list[Provisioned] = []

        def build(view: StateView) -> Change:
            now_us = self._clock.now().wall_us
            rule, known = self.rule(by.directory), self.user(by.directory, id_)
            row = view.get(rows.DIRECTORY_USER, id_)
            _require_version(row, expected)
            writes: list[Write] = []
            left = () if known.person is None else (known.person,)
            gone: Mapping[str, Any] | None = None
            if known.person is not None:
                # what tokens call them stays, or nothing would be known of them, and agents would act for them on
                names = {one: known.resource[one] for one in ("externalId", "userName") if one in known.resource}
                waits = None if self._leaves(view, by, known.person, writes) else known.person
                kept = replace(known, person=waits, deleted=True, resource={**names, "active": False})
                gone = directory_user_doc(kept, salt=row.doc["salt"] if row is not None else "")
            writes.append(Write(rows.DIRECTORY_USER, id_, gone))
            body = {"person": known.person, "user": id_}
            facts = Facts("directory.user_removed")
            change, _ = self._with_groups(view, by, rule, writes, facts, body, now_us, narrowing=True)
            said.append(Provisioned(None, left))
            return change

        await self._control.transact(build)
        return said[-1]

    async def put_group(
        self,
        by: Provisioner,
        id_: str | None,
        made: Callable[[Mapping[str, Any]], dict[str, Any]],
        *,
        expected: Sequence[str] | None = None,
    ) -> Provisioned:
        """Create (no id) or change a group. Raises as `put_user`; every member has to be there."""
        fresh, salt = self._ids.new("dgr"), self._ids.secret(16).hex()
        said: list[Provisioned] = []

        def build(view: StateView) -> Change | None:
            now_us, entitlements = self._clock.now().wall_us, self._entitlements()
            rule = self.rule(by.directory)
            known = None if id_ is None else self.group(by.directory, id_)
            row = None if known is None else view.get(rows.DIRECTORY_GROUP, known.id)
            _require_version(row, expected)
            key = known.id if known is not None else fresh
            resource = self._checked_group(entitlements, by.directory, key, made(known.resource if known else {}))
            if known is not None and dict(known.resource) == resource:
                said.append(Provisioned(known))
                return None
            group = DirectoryGroup(
                key, by.directory, resource, known.created_us if known is not None else now_us, now_us
            )
            doc = directory_group_doc(group, salt=row.doc["salt"] if row is not None else salt)
            kind = "directory.group_added" if known is None else "directory.group_changed"
            narrowing = known is not None and known.name == group.name and set(group.members) <= set(known.members)
            write = Write(rows.DIRECTORY_GROUP, key, doc)
            body = {"directory_group": key, "members": len(group.members)}
            change, moved = self._with_groups(view, by, rule, [write], Facts(kind), body, now_us, narrowing=narrowing)
            said.append(Provisioned(group, (), moved, created=known is None))
            return change

        await self._control.transact(build)
        return said[-1]

    async def remove_group(self, by: Provisioner, id_: str, *, expected: Sequence[str] | None = None) -> Provisioned:
        """Take a group away: it gives nothing any more. Raises as `put_group`."""
        said: list[Provisioned] = []

        def build(view: StateView) -> Change:
            rule, known = self.rule(by.directory), self.group(by.directory, id_)
            _require_version(view.get(rows.DIRECTORY_GROUP, id_), expected)
            write = Write(rows.DIRECTORY_GROUP, known.id, None)
            facts, body, now_us = Facts("directory.group_removed"), {"directory_group": id_}, self._clock.now().wall_us
            change, moved = self._with_groups(view, by, rule, [write], facts, body, now_us, narrowing=True)
            said.append(Provisioned(None, (), moved))
            return change

        await self._control.transact(build)
        return said[-1]

    async def settle(self) -> tuple[PersonId, ...]:
        """Do what waited for there being enough administrators; whose leaving that was, or still waits. Idempotent."""
        waiting: list[PersonId] = []
        for directory in tuple(self._entitlements().rules):

            def build(view: StateView, directory: str = directory) -> Change | None:
                rule = self.rule(directory)
                by = Provisioner(directory, "", min(rule.by, default=PersonId("")))
                writes: list[Write] = []
                gone: set[PersonId] = set()
                for user, person in self._unfinished(directory):
                    if self._is_here(person):  # they are somebody else's user by now, or here again under another
                        if user.deleted:
                            writes.append(Write(rows.DIRECTORY_USER, user.id, None))
                        continue
                    waiting.append(person)
                    if person not in gone and not self._leaves(view, by, person, writes):
                        continue
                    gone.add(person)
                    row = view.get(rows.DIRECTORY_USER, user.id)
                    if user.deleted and row is not None:
                        writes.append(Write(rows.DIRECTORY_USER, user.id, {**row.doc, "person": None}))
                facts, now_us = Facts("directory.settled"), self._clock.now().wall_us
                change, _ = self._with_groups(view, by, rule, writes, facts, {}, now_us, narrowing=True)
                return change if change.writes else None

            await self._control.transact(build)
        return tuple(dict.fromkeys(waiting))

    def _unfinished(self, directory: str) -> Iterator[tuple[DirectoryUser, PersonId]]:
        """Users who are not active, of persons who have not left."""
        people = self._organisation().people
        for user in self._entitlements().users.values():
            if user.directory == directory and user.person is not None and not user.active:
                known = people.get(user.person)
                if known is not None and (user.deleted or not known.left):
                    yield user, user.person

    def _is_here(self, person: PersonId) -> bool:
        """Whether a directory has an active user who is that person."""
        return any(one.active for one in self._entitlements().users_of(person))

    # -- what is in one of these transactions

    def _check_user(
        self, entitlements: Entitlements, directory: str, known: DirectoryUser | None, resource: Mapping[str, Any]
    ) -> None:
        name, external = str(resource["userName"]).casefold(), resource.get("externalId")
        total = 0
        for one in entitlements.users.values():
            if one.directory != directory or one.deleted:
                continue
            total += 1
            if known is not None and one.id == known.id:
                continue
            if str(one.resource["userName"]).casefold() == name:
                raise _taken("a user with that `userName` is there already")
            if external is not None and one.resource.get("externalId") == external:
                raise _taken("a user with that `externalId` is there already")
        if known is None and total >= _MAX_USERS:
            raise ScimError(ScimType.TOO_MANY, f"a directory has at most {_MAX_USERS} users", status=409)

    def _checked_group(
        self, entitlements: Entitlements, directory: str, key: str, resource: dict[str, Any]
    ) -> dict[str, Any]:
        name, external = str(resource["displayName"]).casefold(), resource.get("externalId")
        others = [one for one in entitlements.groups.values() if one.directory == directory and one.id != key]
        if any(one.name.casefold() == name for one in others):
            raise _taken("a group with that `displayName` is there already")
        if external is not None and any(one.resource.get("externalId") == external for one in others):
            raise _taken("a group with that `externalId` is there already")
        if key not in entitlements.groups and len(others) >= _MAX_GROUPS:
            raise ScimError(ScimType.TOO_MANY, f"a directory has at most {_MAX_GROUPS} groups", status=409)
        members = []
        for one in resource.get("members", ()):
            user, group = entitlements.users.get(one["value"]), entitlements.groups.get(one["value"])
            home = user if user is not None and not user.deleted else group
            if home is None or home.directory != directory or one["value"] == key:
                raise ScimError(ScimType.INVALID_VALUE, f"`members` names `{one['value'][:80]}`, which is not here")
            members.append({"type": "User" if home is user else "Group", "value": one["value"]})
        if not members:
            return {name: value for name, value in resource.items() if name != "members"}
        return {**resource, "members": sorted({one["value"]: one for one in members}.values(), key=_member)}

    def _person(
        self, view: StateView, by: Provisioner, known: DirectoryUser | None, user: DirectoryUser, now_us: int
    ) -> tuple[list[Write], DirectoryUser, tuple[PersonId, ...]]:
        """What becomes of the person that a user is, the user with it, and whose leaving it is."""
        writes: list[Write] = []
        if not user.active:
            if user.person is None:
                return writes, user, ()
            self._leaves(view, by, user.person, writes)
            return writes, user, (user.person,)
        address = _address(user.resource)
        at = self._at_address(view, address)
        if user.person is None and at is None:
            person = Person(PersonId(self._ids.new("psn")), address)
            writes += [
                Write(rows.PERSON, person.id, rows.person_doc(person, salt=self._ids.secret(16).hex())),
                _tie(person.id, by, now_us),
            ]
            user = replace(user, person=person.id)
        elif user.person is None and at is not None:
            self._check_free(view, at)
            user = replace(user, person=at)
        elif at is not None and at != user.person:
            raise _taken("somebody else has that address")
        assert user.person is not None  # noqa: S101 - by now
        row = view.get(rows.PERSON, user.person)
        if row is not None:
            writes += self._known_person(view, by, row, address, returns=known is None or not known.active,
                                         now_us=now_us)  # fmt: skip
        return self._managed(view, user, writes), user, ()

    def _known_person(
        self, view: StateView, by: Provisioner, row: Row, address: str, *, returns: bool, now_us: int,
    ) -> Iterator[Write]:  # fmt: skip
        """What changes of somebody who is registered: they are back, or have another address."""
        person = rows.person_from(row.key, row.doc)
        if person.bot:
            raise _taken("a service account has that address")
        fresh = dict(row.doc)
        if person.left and returns:
            if row.doc.get("left_by") != directory_mark(by.directory):
                raise ScimError(
                    ScimType.MUTABILITY, "that person left by somebody else's word, and does not come back by this one",
                    status=409,
                )  # fmt: skip
            back = person_returned(view, self._organisation(), person.id, now_us=now_us)
            entitlements = self._entitlements()
            yield from (
                write
                for write in back
                if write.kind != rows.PERSON
                and not (write.kind == rows.GROUP and entitlements.keeper(write.key) is not None)
            )
            fresh = {**fresh, "left": False, "left_by": None}
        if same_address(person.email) != address and not fresh.get("left"):
            yield _tie(person.id, by, now_us)
            fresh = {**fresh, "email": address}
        if fresh != dict(row.doc):
            yield Write(rows.PERSON, person.id, fresh)

    def _managed(self, view: StateView, user: DirectoryUser, writes: list[Write]) -> list[Write]:
        """The same with the manager that the directory says; where it says none, a manifest may."""
        assert user.person is not None  # noqa: S101 - of an active user
        told = dict(user.resource.get(ENTERPRISE, {})).get("manager", {}).get("value")
        named = self._entitlements().users.get(told) if told else None
        manager = named.person if named is not None and named.active and named.directory == user.directory else None
        if manager == user.person:
            manager = None
        key = f"Person/{user.person}"
        held = view.get(rows.FIELD_OWNER, key)
        ours = held is not None and ["manager", SCIM_MANAGER] in [list(one) for one in held.doc["fields"]]
        others = held is not None and not ours and any(field == "manager" for field, _ in held.doc["fields"])
        if others or (manager is None and not ours):
            return writes
        doc = next((one.doc for one in writes if (one.kind, one.key) == (rows.PERSON, user.person)), None)
        if doc is None:
            row = view.get(rows.PERSON, user.person)
            doc = row.doc if row is not None else None
        if doc is None or doc.get("left"):
            return writes
        kept = [one for one in writes if (one.kind, one.key) != (rows.PERSON, user.person)]
        fields = {"fields": [["manager", SCIM_MANAGER]]} if manager is not None else None
        if doc.get("manager") == manager and ours == (manager is not None):
            return writes
        return [
            *kept,
            Write(rows.PERSON, user.person, {**doc, "manager": manager}),
            Write(rows.FIELD_OWNER, key, fields),
        ]

    def _at_address(self, view: StateView, address: str) -> PersonId | None:
        found = self._find_person(view, address)
        if found is None:
            folded = address.casefold()
            if any(one.email.casefold() == folded for one in self._organisation().people.values()):
                raise _taken("that address differs from a registered one in letter case alone")
        return found

    def _check_free(self, view: StateView, person: PersonId) -> None:
        """A person is one user of one directory."""
        if any(not one.deleted for one in self._entitlements().users_of(person)):
            raise _taken("another user is that person already")
        row = view.get(rows.PERSON, person)
        if row is not None and row.doc.get("bot"):
            raise _taken("a service account has that address")

    def _leaves(self, view: StateView, by: Provisioner, person: PersonId, writes: list[Write]) -> bool:
        """Put into `writes` that somebody left; False: there would be too few administrators, and it waits."""
        try:
            change = person_left(
                view, self._organisation(), person, _actor(by), reason="", mark=directory_mark(by.directory)
            )
        except ConflictError:
            return False
        writes += change.writes if change is not None else ()
        return True

    def _with_groups(
        self,
        view: StateView,
        by: Provisioner,
        rule: DirectoryRule,
        writes: list[Write],
        facts: Facts,
        body: Mapping[str, Any],
        now_us: int,
        *,
        narrowing: bool,
    ) -> tuple[Change, tuple[PersonId, ...]]:
        """The change with every group of ours that it changes, and who is in no group any more that gives anything."""
        before = self._entitlements()
        after = before.after(writes)
        left = {write.key for write in writes if write.kind == rows.PERSON and write.doc and write.doc.get("left")}
        organisation = self._organisation()
        hands = frozenset({*rule.by, by.by}) - {PersonId("")}
        composed = kept_groups(view, organisation, before, after, writes, rule.name, by=hands, now_us=now_us)
        gone = before.mapped(rule.name) - after.mapped(rule.name)
        moved = tuple(sorted(one for one in gone if one not in left and _is_there(organisation, one)))
        told = {"directory": rule.name, **body, **({"groups": [one.key for one in composed]} if composed else {})}
        return Change(facts, (*writes, *composed), _actor(by), told, narrowing=narrowing), moved


def kept_groups(
    view: StateView,
    organisation: Organisation,
    before: Entitlements,
    after: Entitlements,
    writes: Iterable[Write],
    directory: str,
    *,
    by: frozenset[PersonId],
    now_us: int,
) -> list[Write]:
    """The groups of ours that a directory keeps, as they are to be once `writes` are done; those that change.

    One that it keeps no more is empty. What would leave fewer than two administrators is left as it is.
    """
    people = {write.key: bool(write.doc and write.doc.get("left")) for write in writes if write.kind == rows.PERSON}
    wanted = {**dict.fromkeys(before.kept(directory), frozenset[PersonId]()), **after.kept(directory)}
    found: list[Write] = []
    for name, persons in sorted(wanted.items()):
        there = {one for one in persons if not people.get(one, not _is_there(organisation, one))}
        write = _composed(view, name, there, by, now_us)
        if write is None or write.doc is None:
            continue
        fresh = {**organisation.groups, name: rows.group_from(name, write.doc)}
        try:
            keeps_administrators(organisation, replace(organisation, groups=fresh))
        except ConflictError:
            continue  # it waits: the next change, or round, asks again
        found.append(write)
    return found


def _is_there(organisation: Organisation, person: PersonId) -> bool:
    known = organisation.people.get(person)
    return known is not None and not known.left


def _composed(view: StateView, name: str, persons: set[PersonId], by: frozenset[PersonId], now_us: int) -> Write | None:
    """A group of ours with these members; None if it is so already."""
    row = view.get(rows.GROUP, name)
    known = rows.group_from(name, row.doc) if row is not None else Group(name, (), (), by)
    if row is not None and {one.person for one in known.members} == persons:
        return None
    there = {one.person: one for one in known.members}
    members = tuple(there.get(one) or Membership(one, by, now_us) for one in sorted(persons))
    doc = rows.group_doc(replace(known, members=members))
    return Write(rows.GROUP, name, {**(row.doc if row is not None else {}), **doc})


def _address(resource: Mapping[str, Any]) -> str:
    """A user's one address: the primary one, else the first, else the name if it is one."""
    emails = [one for one in resource.get("emails", ()) if one.get("value")]
    primary = [one for one in emails if one.get("primary")] or emails
    told = str(primary[0]["value"] if primary else resource["userName"])
    if not _EMAIL.fullmatch(told):
        raise ScimError(ScimType.INVALID_VALUE, "an active user has an e-mail address, in `emails` or as `userName`")
    return same_address(told)


def _without_gone(group: DirectoryGroup, entitlements: Entitlements) -> DirectoryGroup:
    there = [
        one
        for one in group.resource.get("members", ())
        if one["value"] in entitlements.groups
        or ((user := entitlements.users.get(one["value"])) is not None and not user.deleted)
    ]
    if len(there) == len(group.members):
        return group
    rest = {name: value for name, value in group.resource.items() if name != "members"}
    return replace(group, resource={**rest, **({"members": there} if there else {})})


def _require_version(row: Row | None, expected: Sequence[str] | None) -> None:
    if expected is not None and (row is None or ("*" not in expected and _tag(row.digest) not in expected)):
        raise ConflictError(Code.CONFLICT, "the resource changed meanwhile", hint="get it again")


def _tag(digest: Digest) -> str:
    return digest.removeprefix("sha256:")[:32]


def _tie(person: PersonId, by: Provisioner, now_us: int) -> Write:
    # whoever made the key can choose what it says: they could be behind every account that it makes or re-addresses
    tie = AccountTie(person, by.by, now_us)
    return Write(rows.ACCOUNT_TIE, rows.account_tie_key(tie), rows.account_tie_doc(tie))


def _actor(by: Provisioner) -> Actor:
    return Actor(credential=by.key, basis="directory")


def _taken(why: str) -> ScimError:
    return ScimError(ScimType.UNIQUENESS, why, status=409)


def _member(one: Mapping[str, Any]) -> str:
    return str(one["value"])
