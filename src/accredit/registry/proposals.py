"""Changes that take two persons: what is proposed, exactly, and what enacting it writes. Pure (docs/adr/0006).

The content of a proposal says everything that will be written but for the time and who approved it, and the ground it
stands on: the digests of the rows it changes, and what its approvers could not see from the change alone (who is in a
group that gets a role, which roles a group gives that gets a member). Enacting compares all of it again.

change   kind         content
directory role-grant  name, doc, before, ground, roles: [[group, [[role, team]]]] (that its groups of ours give), by
role     role-grant   grant, role, holder, team, persons (who would hold it), kept_by? (the directory that says who is
                      in the group later), by
group    role-grant   name, members, groups, persons (who is in these), before {members, groups}, ground, roles
                      (that membership gives), by
gate     gate         name, doc, before, ground, by
template template     name, team, doc, before, ground, by
store    tool-fact    name, doc, before, ground, by
server   tool-fact    name, doc, before, ground, pins: [{tool, definition, text?}] (text of tools new to it), by
repin    tool-fact    server, environment, pins: [{tool, before, before_text, definition, text, ground}], by
issuer   fact-source  name, doc, before, ground, by; context-provider likewise

INVARIANT: a row that was enacted names the proposal it rests on, and each proposal names the digest of the row before
it; so no two changes of one thing are the same proposal, and enacting one again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accredit.audit.ports import Row, StateView, Write
from accredit.kernel.canonical import Digest, canonical, digest_value, require_canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError
from accredit.kernel.ids import PersonId, ServerName, TeamId, tool_id
from accredit.registry import rows
from accredit.registry.model import Environment, Role
from accredit.registry.organisation import Group, Membership, Organisation, RoleGrant
from accredit.registry.pinning import definition_digest, definition_text
from accredit.registry.vouching import issuer_faults, provider_faults

__all__ = [
    "MAX_PROPOSAL_BYTES",
    "Proposal",
    "as_enacted",
    "directory_content",
    "enact_directory",
    "enact_gate",
    "enact_group",
    "enact_pins",
    "enact_repin",
    "enact_role",
    "enact_server",
    "enact_store",
    "enact_template",
    "enact_vouching",
    "gate_content",
    "group_content",
    "issuer_body",
    "proposal_digest",
    "proposed",
    "repin_content",
    "role_content",
    "roles_through",
    "server_content",
    "store_content",
    "subject_kind",
    "template_content",
    "vouching_content",
]

MAX_PROPOSAL_BYTES: Final = 900 * 1024
_KINDS: Final = {
    "directory": "role-grant",
    "gate": "gate",
    "group": "role-grant",
    "repin": "tool-fact",
    "role": "role-grant",
    "server": "tool-fact",
    "template": "template",
    "context-provider": "fact-source",
    "issuer": "fact-source",
    "store": "tool-fact",
}
_AGAIN: Final = "look at it again, and propose it again"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that waits for sign-off. Nothing of it is in force."""

    kind: str
    """Of the subject that is signed off: `gate`, `template`, `role-grant`, `tool-fact` or `fact-source`."""
    digest: Digest
    about: str
    """What a reader calls it: `role:PERSON`, `group:NAME`, `server:NAME`, `directory:NAME`, `issuer:NAME` and so on."""
    content: Mapping[str, Any]
    """Canonical; to be kept until it is enacted, and to be given back unchanged."""
    environment: Environment | None
    authors: frozenset[PersonId]
    beneficiaries: frozenset[PersonId] = frozenset()
    """Who would get a role by it."""
    team: TeamId | None = None
    """Whose team leads judge it, if it is one team's."""


def subject_kind(content: Mapping[str, Any]) -> str:
    """What kind of subject a content is signed off as.

    Raises:
        InvalidInputError: it is no content of this room.
    """
    kind = _KINDS.get(str(content.get("change")))
    if kind is None:
        raise InvalidInputError(Code.BODY_MALFORMED, "this is not a proposal of the registry")
    return kind


def proposal_digest(content: Mapping[str, Any]) -> Digest:
    """What is signed off."""
    return digest_value("proposal", content)


def proposed(
    content: Mapping[str, Any],
    *,
    about: str,
    environment: Environment | None = None,
    beneficiaries: Iterable[PersonId] = (),
    team: TeamId | None = None,
) -> Proposal:
    """The proposal of a content.

    Raises:
        InvalidInputError: it is too large, or has no canonical form.
    """
    require_canonical(content)
    if len(canonical(content)) > MAX_PROPOSAL_BYTES:
        raise InvalidInputError(
            Code.BODY_OVERSIZED, f"the change to `{about}` is larger than {MAX_PROPOSAL_BYTES} bytes",
            hint="propose it in parts, a few tools or members at a time",
        )  # fmt: skip
    return Proposal(
        subject_kind(content),
        proposal_digest(content),
        about,
        content,
        environment,
        frozenset({PersonId(content["by"])}),
        frozenset(beneficiaries),
        team,
    )


# -- roles


def role_content(
    grant: str,
    role: Role,
    holder: str,
    team: TeamId | None,
    organisation: Organisation,
    *,
    by: PersonId,
    keeper: str | None = None,
) -> dict[str, Any]:
    """A role for a person or, with everybody who is in it now, a group; of a directory's, whoever it says later too."""
    kept = {} if keeper is None else {"kept_by": keeper}
    return {
        **kept,
        "by": by,
        "change": "role",
        "grant": grant,
        "holder": holder,
        "persons": sorted(organisation.persons(holder)),
        "role": role.value,
        "team": team,
    }


def enact_role(
    content: Mapping[str, Any], view: StateView, organisation: Organisation, *, by: Iterable[PersonId], now_us: int
) -> tuple[Write, ...]:
    """The new grant; nothing if it was made before, revoked since or not.

    Raises:
        ConflictError: those who would hold the role are not the ones who were judged.
    """
    if view.get(rows.ROLE_GRANT, content["grant"]) is not None:
        return ()
    holder, persons = content["holder"], organisation.persons(content["holder"])
    if content.get("kept_by") is None and sorted(persons) != list(content["persons"]):
        raise _moved("the group's members")
    if content.get("kept_by") is not None and not persons.isdisjoint(by):
        raise _moved("whoever approved it is in the group by now: its members")
    person = organisation.people.get(PersonId(holder))
    if not holder.startswith("group:") and (person is None or person.left):
        raise _moved("whoever would hold the role has left: the organisation")
    team = content["team"]
    grant = RoleGrant(
        id=content["grant"],
        role=Role(content["role"]),
        holder=holder,
        team=None if team is None else TeamId(team),
        by=frozenset({PersonId(content["by"]), *by}),
        since_us=now_us,
    )
    return (Write(rows.ROLE_GRANT, grant.id, rows.role_grant_doc(grant)),)


def roles_through(organisation: Organisation, name: str) -> list[list[str | None]]:
    """[role, team or None] that being in a group gives, through the groups it is in as well; sorted."""
    outer = {name}
    waiting = [name]
    while waiting:
        inner = waiting.pop()
        for group in organisation.groups.values():
            if group.name not in outer and any(inner == one for one, _ in group.groups):
                outer.add(group.name)
                waiting.append(group.name)
    found = {
        (grant.role.value, grant.team)
        for grant in organisation.grants
        if grant.revoked_us is None and grant.holder.startswith("group:") and grant.holder[6:] in outer
    }
    return [[role, team] for role, team in sorted(found, key=lambda one: (one[0], one[1] or ""))]


def group_content(
    name: str,
    members: Iterable[PersonId],
    groups: Iterable[str],
    view: StateView,
    organisation: Organisation,
    *,
    by: PersonId,
) -> dict[str, Any] | None:
    """A group's new composition; None if it is so already."""
    row = view.get(rows.GROUP, name)
    known = rows.group_from(name, row.doc) if row else None
    before = None
    if known is not None:
        before = {
            "groups": sorted(inner for inner, _ in known.groups),
            "members": sorted(member.person for member in known.members),
        }
    wanted = {"groups": sorted(groups), "members": sorted(members)}
    if before == wanted:
        return None
    return {
        **wanted,
        "before": before,
        "by": by,
        "change": "group",
        "ground": row.digest if row else None,
        "name": name,
        "persons": _within(organisation, groups),
        "roles": roles_through(organisation, name),
    }


def _within(organisation: Organisation, groups: Iterable[str]) -> list[PersonId]:
    """Everybody in some groups and in the groups in them, sorted."""
    return sorted(frozenset[PersonId]().union(*(organisation.persons(f"group:{name}") for name in groups)))


def enact_group(
    content: Mapping[str, Any], view: StateView, organisation: Organisation, *, by: Iterable[PersonId], now_us: int
) -> tuple[Write, ...]:
    """The group as proposed: who was in it stays since when they were; nothing if this was enacted before.

    Raises:
        ConflictError: the group, the roles it gives or somebody in it changed since.
    """
    name, digest = content["name"], proposal_digest(content)
    row = view.get(rows.GROUP, name)
    if row is not None and row.doc.get("enacted") == digest:
        return ()
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the group `{name}`")
    if roles_through(organisation, name) != [list(one) for one in content["roles"]]:
        raise _moved(f"what being in the group `{name}` gives")
    if _within(organisation, content["groups"]) != list(content["persons"]):
        raise _moved(f"who is in the groups in `{name}`")
    gone = [
        PersonId(one) for one in content["members"] if (known := organisation.people.get(one)) is None or known.left
    ]
    if gone or any(inner not in organisation.groups for inner in content["groups"]):
        raise _moved("somebody who would be in the group has left: the organisation")
    known_group = rows.group_from(name, row.doc) if row else Group(name, ())
    members = {member.person: member for member in known_group.members}
    inner = dict(known_group.groups)
    who = frozenset({PersonId(content["by"]), *by})
    # a group that stays in it rests on whoever put it there, and only the whole says by whom it is composed
    stays = known_group.by if any(one in inner for one in content["groups"]) else frozenset()
    group = Group(
        name,
        tuple(members.get(PersonId(one)) or Membership(PersonId(one), who, now_us) for one in content["members"]),
        tuple((one, inner.get(one, now_us)) for one in content["groups"]),
        who | stays,
    )
    return (Write(rows.GROUP, name, rows.group_doc(group) | {"enacted": digest}),)


# -- directories


def directory_content(
    name: str, doc: Mapping[str, Any], view: StateView, organisation: Organisation, *, by: PersonId
) -> dict[str, Any] | None:
    """What the groups of a directory shall give, beside what they give; None if it is so already."""
    row = view.get(rows.DIRECTORY, name)
    before = None if row is None else {key: row.doc[key] for key in doc}
    if before == doc:
        return None
    return {
        "before": before,
        "by": by,
        "change": "directory",
        "doc": dict(doc),
        "ground": row.digest if row else None,
        "name": name,
        "roles": _roles_kept(organisation, doc),
    }


def _roles_kept(organisation: Organisation, doc: Mapping[str, Any]) -> list[list[Any]]:
    kept = sorted({one["group"] for one in doc["groups"] if one["group"] is not None})
    return [[name, roles_through(organisation, name)] for name in kept]


def enact_directory(
    content: Mapping[str, Any], view: StateView, organisation: Organisation, *, by: Iterable[PersonId]
) -> tuple[Write, ...]:
    """The mapping as proposed; nothing if this was enacted before.

    Raises:
        ConflictError: the mapping, what its groups of ours give, or one of these changed since.
    """
    name, digest = content["name"], proposal_digest(content)
    row = view.get(rows.DIRECTORY, name)
    if row is not None and row.doc.get("enacted") == digest:
        return ()
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the directory `{name}`")
    if _roles_kept(organisation, content["doc"]) != [[one, [list(each) for each in roles]]
                                                     for one, roles in content["roles"]]:  # fmt: skip
        raise _moved("what being in its groups gives")
    hands = sorted({content["by"], *by})
    return (Write(rows.DIRECTORY, name, {**content["doc"], "by": hands, "enacted": digest}),)


# -- gates


def gate_content(name: str, doc: Mapping[str, Any], view: StateView, *, by: PersonId) -> dict[str, Any] | None:
    """What the organisation asks of a gate, beside what it asked before; None if it is so already."""
    row = view.get(rows.GATE, name)
    before = None if row is None else {key: row.doc[key] for key in doc}
    if before == doc:
        return None
    return {
        "before": before,
        "by": by,
        "change": "gate",
        "doc": dict(doc),
        "ground": row.digest if row else None,
        "name": name,
    }


def enact_gate(content: Mapping[str, Any], view: StateView) -> tuple[Write, ...]:
    """The gate as proposed; nothing if this was enacted before.

    Raises:
        ConflictError: the gate changed since.
    """
    name, digest = content["name"], proposal_digest(content)
    row = view.get(rows.GATE, name)
    if row is not None and row.doc.get("enacted") == digest:
        return ()
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the gate `{name}`")
    return (Write(rows.GATE, name, {**content["doc"], "enacted": digest}),)


def template_content(
    name: str, team: TeamId, doc: Mapping[str, Any], view: StateView, *, by: PersonId
) -> dict[str, Any] | None:
    """A template as it shall be, beside what it is; None if it is so already."""
    row = view.get(rows.TEMPLATE, f"{team}/{name}")
    if row is not None and row.doc["doc"] == doc:
        return None
    return {
        "before": None if row is None else dict(row.doc["doc"]),
        "by": by,
        "change": "template",
        "doc": dict(doc),
        "ground": row.digest if row else None,
        "name": name,
        "team": team,
    }


def enact_template(content: Mapping[str, Any], view: StateView, *, by: Iterable[PersonId]) -> tuple[Write, ...]:
    """The template as proposed; nothing if this was enacted before.

    Raises:
        ConflictError: the template, or a tool in it, changed since.
    """
    key, digest = f"{content['team']}/{content['name']}", proposal_digest(content)
    row = view.get(rows.TEMPLATE, key)
    if row is not None and row.doc["enacted"] == digest:
        return ()
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the template `{content['name']}`")
    for tool, facts in content["doc"]["tools"].items():
        pin = view.get(rows.TOOL, tool)
        if pin is None or pin.doc["definition"] != facts["definition"]:
            raise _moved(f"the pin of `{tool}`")
    return (Write(rows.TEMPLATE, key, {"by": sorted(set(by)), "doc": content["doc"], "enacted": digest}),)


# -- tool facts


def server_content(
    name: str,
    doc: Mapping[str, Any],
    view: StateView,
    pinned: Mapping[str, Mapping[str, Any]],
    *,
    flags: Mapping[str, Sequence[str]],
    by: PersonId,
) -> dict[str, Any]:
    """A tool server as it shall be; `pinned` has each tool's definition, pinned before or to be pinned with it.

    `flags` are what is noticeable about them (`poisoning.py`).
    """
    row = view.get(rows.SERVER, name)
    known = (
        {entry["name"] for entry in row.doc["tools"] if view.get(rows.TOOL, tool_id(name, entry["name"]))}
        if row
        else ()
    )
    return {
        "before": dict(row.doc) if row else None,
        "by": by,
        "change": "server",
        "doc": dict(doc),
        "ground": row.digest if row else None,
        "name": name,
        "pins": [
            {
                "definition": definition_digest(definition),
                "flags": list(flags.get(own, ())),
                "text": None if own in known else definition_text(definition),
                "tool": own,
            }
            for own, definition in sorted(pinned.items())
        ],
    }


def as_enacted(content: Mapping[str, Any]) -> tuple[Write, ...]:
    """The row that a proposal would come to, to be shown, if manifests declare it: who approved it stands in none."""
    match content["change"]:
        case "group":
            group = Group(
                content["name"],
                tuple(Membership(PersonId(one), frozenset(), 0) for one in content["members"]),
                tuple((one, 0) for one in content["groups"]),
            )
            return (Write(rows.GROUP, group.name, rows.group_doc(group)),)
        case "server":
            return (Write(rows.SERVER, content["name"], content["doc"]),)
        case "store":
            return (Write(rows.STORE, content["name"], content["doc"]),)
        case "directory":
            return (Write(rows.DIRECTORY, content["name"], content["doc"]),)
        case "issuer":
            return (Write(rows.ISSUER, content["name"], content["doc"]),)
        case "context-provider":
            return (Write(rows.CONTEXT_PROVIDER, content["name"], content["doc"]),)
        case "gate":
            return (Write(rows.GATE, content["name"], content["doc"]),)
        case "template":
            return (Write(rows.TEMPLATE, f"{content['team']}/{content['name']}", {"doc": content["doc"]}),)
        case _:
            return ()


def enact_pins(
    content: Mapping[str, Any], pins: Sequence[Mapping[str, Any]], view: StateView, *, now_us: int
) -> tuple[Write, ...]:
    """The pins that are still to be made, of some of a server's tools: without the server they mean nothing.

    Raises:
        ConflictError: the server or a pin changed since.
    """
    _server_ground(content, view)
    return tuple(
        write
        for pin in pins
        if view.get(rows.TOOL, tool_id(content["name"], pin["tool"])) is None
        for write in _pinning(content["name"], pin, now_us, proposal_digest(content))
    )


def enact_server(content: Mapping[str, Any], view: StateView) -> tuple[Write, ...]:
    """The server as proposed, once its tools are pinned; nothing if this was enacted before.

    Raises:
        ConflictError: the server or a pin changed since.
    """
    if not _server_ground(content, view):
        return ()
    doc = {**content["doc"], "enacted": proposal_digest(content)}
    return (Write(rows.SERVER, content["name"], doc),)


def _server_ground(content: Mapping[str, Any], view: StateView) -> bool:
    """Whether there is anything left to enact."""
    name = content["name"]
    row = view.get(rows.SERVER, name)
    if row is not None and row.doc.get("enacted") == proposal_digest(content):
        return False
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the tool server `{name}`")
    for pin in content["pins"]:
        pinned = view.get(rows.TOOL, tool_id(name, pin["tool"]))
        if pinned is not None and pinned.doc["definition"] != pin["definition"]:
            raise _moved(f"the pin of a tool of `{name}`")
    return True


def store_content(name: str, doc: Mapping[str, Any], view: StateView, *, by: PersonId) -> dict[str, Any]:
    """A store as it shall be, beside what it is."""
    row = view.get(rows.STORE, name)
    return {
        "before": dict(row.doc) if row else None,
        "by": by,
        "change": "store",
        "doc": dict(doc),
        "ground": row.digest if row else None,
        "name": name,
    }


def enact_store(content: Mapping[str, Any], view: StateView) -> tuple[Write, ...]:
    """The store as proposed; nothing if this was enacted before.

    Raises:
        ConflictError: the store changed since.
    """
    name, digest = content["name"], proposal_digest(content)
    row = view.get(rows.STORE, name)
    if row is not None and row.doc.get("enacted") == digest:
        return ()
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the store `{name}`")
    return (Write(rows.STORE, name, {**content["doc"], "enacted": digest}),)


def repin_content(
    server: ServerName,
    environment: Environment,
    fresh: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Mapping[str, Any]],
    view: StateView,
    *,
    flags: Mapping[str, Sequence[str]],
    by: PersonId,
) -> dict[str, Any]:
    """The definitions to be taken over, each beside the one pinned now, with what is noticeable about it."""
    grounds = {own: view.get(rows.TOOL, tool_id(server, own)) for own in fresh}
    return {
        "by": by,
        "change": "repin",
        "environment": environment.value,
        "pins": [
            {
                "before": definition_digest(before[own]),
                "before_text": definition_text(before[own]),
                "definition": definition_digest(definition),
                "flags": list(flags.get(own, ())),
                "ground": ground.digest if (ground := grounds[own]) else None,
                "text": definition_text(definition),
                "tool": own,
            }
            for own, definition in sorted(fresh.items())
        ],
        "server": server,
    }


def enact_repin(
    content: Mapping[str, Any], view: StateView, *, now_us: int, at_most: int
) -> tuple[tuple[Mapping[str, Any], ...], tuple[Write, ...]]:
    """The next pins that are still to be changed, at most so many, and what writes them.

    Raises:
        ConflictError: a pin changed since; none was changed by this call.
    """
    server, digest = content["server"], proposal_digest(content)
    waiting = []
    for pin in content["pins"]:
        row = view.get(rows.TOOL, tool_id(server, pin["tool"]))
        if row is not None and row.doc.get("enacted") == digest:
            continue
        if row is None or row.digest != pin["ground"]:
            raise _moved(f"the pin of a tool of `{server}`")
        waiting.append(pin)
    some = tuple(waiting[:at_most])
    return some, tuple(write for pin in some for write in _pinning(server, pin, now_us, digest))


# -- who vouches for users and tasks


def vouching_content(
    change: str, name: str, doc: Mapping[str, Any], row: Row | None, *, by: PersonId
) -> dict[str, Any]:
    """An issuer (`change` is `issuer`) or a context provider (`context-provider`) as it shall be."""
    return {
        "before": dict(row.doc) if row else None,
        "by": by,
        "change": change,
        "doc": dict(doc),
        "ground": row.digest if row else None,
        "name": name,
    }


def enact_vouching(content: Mapping[str, Any], view: StateView) -> tuple[Write, ...]:
    """The issuer or provider as proposed; nothing if this was enacted before.

    Raises:
        ConflictError: it changed since, was revoked, or does not fit what was registered beside it meanwhile.
    """
    of_issuer, name, doc = content["change"] == "issuer", content["name"], content["doc"]
    kind, faults = (rows.ISSUER, issuer_faults) if of_issuer else (rows.CONTEXT_PROVIDER, provider_faults)
    row, digest = view.get(kind, name), proposal_digest(content)
    if row is not None and row.doc.get("enacted") == digest:
        return ()
    if (row.digest if row else None) != content["ground"]:
        raise _moved(f"the {'issuer' if of_issuer else 'context provider'} `{name}`")
    if (fault := next(faults(name, doc, view), None)) is not None:
        raise _moved(f"what is registered beside `{name}` ({fault.message})")
    return (Write(kind, name, {**(row.doc if row else {}), **doc, "enacted": digest}),)


def issuer_body(name: str, doc: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of an issuer."""
    return {"issuer": name, "kids": [key["kid"] for key in doc["jwks"]["keys"]], "use": doc["use"]}


def _pinning(server: str, pin: Mapping[str, Any], now_us: int, enacted: Digest) -> Iterator[Write]:
    yield Write(rows.DEFINITION, pin["definition"], {"text": pin["text"]})
    yield Write(
        rows.TOOL,
        tool_id(server, pin["tool"]),
        {"definition": pin["definition"], "enacted": enacted, "pinned_us": now_us},
    )


def _moved(what: str) -> ConflictError:
    return ConflictError(Code.CONFLICT, f"{what} changed since this was proposed", hint=_AGAIN)
