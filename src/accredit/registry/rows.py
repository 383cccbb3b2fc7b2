"""The kinds of control state this room stores, each a document under a key, and their reading and writing.

kind         key                 document
person       person id           {email, salt?, bot?, controllers?, left?, left_by?, manager?}; the salt keeps the
                                 digest of the row, which is in the log, from being guessed
team         team id             {name, zones}
group        name                {members: [{person, by, since_us}], groups: [[name, since_us]], by}
role_grant   grant id            {role, holder, team, by, since_us, revoked_us}; never removed
delegation   delegation id       {holder, to, role, since_us, until_us}; ending it early brings `until_us` forward
account_tie  account/by          {account, by, at_us}: the newest time that one had a hand in the other's account
gate         tier or kind        {roles: {role: persons}, comment, backups: {role: [holder]}, heads, enacted}: what the
                                 organisation asks beyond the gates that are built in
template     team/name           {doc, by, enacted}: an envelope that was approved before the agents in it are declared
agreement    name                {provider, covers, document, expires_us}
issuer       name                {name, use, issuer, jwks, audience, claims, token_type, roles_claim, role_names:
                                 [[theirs, ours]], status_url, revoked?}; read by identity, which alone sets `revoked`
enforcement_point
             name                {types, servers, calls_per_minute, revoked?}; read by identity, which alone sets
                                 `revoked`
server       name                {environment, url, credential, openapi?, api?, elicitation?, revision?, launch?, tools:
                                 [{name, effect, scope, data, price, fields, allow_undeclared, rates?}]}: what the
                                 operator says, sorted by name; `api`, `prices?` and `rates` of a provider of language
                                 models and its models; `revision` of MCP, without it the newest, or of one with a
                                 `launch` unknown; `launch` {command, args, directory, env, credential_variable} of one
                                 started here
tool         tool id             {definition, pinned_us}: the digest pinned; outlives the tool's place in the manifest
definition   digest              {text}: canonical text; may be shared; never removed
agent        agent id            {name, environment, team, state, owner, backup_owner, version, history, candidate?,
                                 halted_from?, promoted_from?, registered_us?, registered_by?, state_us?, tier?};
                                 never removed
agent_name   environment/name    {agent}: the one agent of that name there; gone once it is retired
version      digest              {digest, manifest, facets}: written once
restriction  restriction id      {agent, kind, tool, cause, opened_us, until_us, calls_per_minute, role, salt,
                                 until_approved?, alert?, approval?, cost_per_day?, share_percent?}; removed when
                                 lifted or long over
store        name                {environment, adapter, location, credential, namespaces, shared, owner_field,
                                 subject_field, key_scope, id_field, text_field, created_field, enacted?}
incident     incident id         what went wrong with which agents, how grave it is and what was done; never removed
directory    name                {issuer, subject, groups: [{name, group, team, user_roles, tools}], by, enacted}:
                                 whoever provisions people here, and what its groups give (`directories.py`)
directory_user
             user id             {directory, person, resource, created_us, changed_us, deleted, salt}: as it says
directory_group
             group id            {directory, resource, created_us, changed_us, salt}
review_schedule
             name                {teams, tiers, agents, services, months: {tier: months}, day, respond_days, grace_days,
                                 seasonal: [[tool, months]]}
field_owner  Agent/ID, KIND/NAME {fields: [[field, manager]]}: who manages which keys of its `spec` (`field_owners.py`)

`owner`, `backup_owner` and `tier` of an agent are those of its version in force. Keys are ids, digests and names an
operator chose; no key is personal. A mark after a key of a document says that older rows lack it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from accredit.audit.ports import Row, StateView, Write
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, PersonId, TeamId, ToolId
from accredit.kernel.money import Money
from accredit.registry.model import (
    Agreement,
    Environment,
    GateRule,
    Incident,
    IncidentEvent,
    Launch,
    Person,
    Restriction,
    RestrictionKind,
    ReviewSchedule,
    Role,
    SeasonalUse,
    Store,
    Tier,
)
from accredit.registry.organisation import AccountTie, Delegation, Group, Membership, RoleGrant

__all__ = [
    "ACCOUNT_TIE",
    "AGENT",
    "AGENT_NAME",
    "AGREEMENT",
    "CONTEXT_PROVIDER",
    "DEFINITION",
    "DELEGATION",
    "DIRECTORY",
    "DIRECTORY_GROUP",
    "DIRECTORY_USER",
    "ENFORCEMENT_POINT",
    "FIELD_OWNER",
    "GATE",
    "GROUP",
    "INCIDENT",
    "ISSUER",
    "PERSON",
    "RESTRICTION",
    "REVIEW_SCHEDULE",
    "ROLE_GRANT",
    "SERVER",
    "STORE",
    "TEAM",
    "TEMPLATE",
    "TOOL",
    "VERSION",
    "Overlay",
    "ProvenRows",
    "account_tie_doc",
    "account_tie_from",
    "account_tie_key",
    "agreement_doc",
    "agreement_from",
    "delegation_doc",
    "delegation_from",
    "gate_doc",
    "gate_from",
    "group_doc",
    "group_from",
    "incident_doc",
    "incident_from",
    "launch_doc",
    "launch_from",
    "person_doc",
    "person_from",
    "restriction_doc",
    "restriction_from",
    "review_schedule_doc",
    "review_schedule_from",
    "role_grant_doc",
    "role_grant_from",
    "store_doc",
    "store_from",
]

ACCOUNT_TIE: Final = "account_tie"
AGENT: Final = "agent"
AGENT_NAME: Final = "agent_name"
AGREEMENT: Final = "agreement"
CONTEXT_PROVIDER: Final = "context_provider"
DEFINITION: Final = "definition"
DELEGATION: Final = "delegation"
DIRECTORY: Final = "directory"
DIRECTORY_GROUP: Final = "directory_group"
DIRECTORY_USER: Final = "directory_user"
ENFORCEMENT_POINT: Final = "enforcement_point"
GATE: Final = "gate"
FIELD_OWNER: Final = "field_owner"
GROUP: Final = "group"
INCIDENT: Final = "incident"
REVIEW_SCHEDULE: Final = "review_schedule"
ISSUER: Final = "issuer"
PERSON: Final = "person"
RESTRICTION: Final = "restriction"
ROLE_GRANT: Final = "role_grant"
SERVER: Final = "server"
STORE: Final = "store"
TEAM: Final = "team"
TEMPLATE: Final = "template"
TOOL: Final = "tool"
VERSION: Final = "version"


class Overlay:
    """A state with some writes on top: what it will be, or what a narrowing in force made of it already."""

    def __init__(self, view: StateView) -> None:
        self._view = view
        self._rows: dict[str, dict[str, Row | None]] = {}

    def put(self, writes: tuple[Write, ...]) -> None:
        for write in writes:
            row = None
            if write.doc is not None:
                row = Row(write.kind, write.key, write.doc, digest_value("state", write.doc))
            self._rows.setdefault(write.kind, {})[write.key] = row

    def get(self, kind: str, key: str) -> Row | None:
        own: Mapping[str, Row | None] = self._rows.get(kind, {})
        return own[key] if key in own else self._view.get(kind, key)

    def scan(self, kind: str) -> Iterator[Row]:
        own = self._rows.get(kind, {})
        yield from (row for row in self._view.scan(kind) if row.key not in own)
        yield from (row for row in own.values() if row is not None)


class ProvenRows:
    """A state in which an unproven row is an outage, not an absence: nothing may be registered over it."""

    def __init__(self, view: StateView, unproven: frozenset[tuple[str, str]]) -> None:
        self._view = view
        self._unproven = unproven
        self._kinds = {kind for kind, _ in unproven}

    def get(self, kind: str, key: str) -> Row | None:
        if (kind, key) in self._unproven:
            raise UnavailableError(Code.STATE_UNPROVEN, f"the stored {kind} is not what the audit log proves")
        return self._view.get(kind, key)

    def scan(self, kind: str) -> Iterator[Row]:
        if kind in self._kinds:
            raise UnavailableError(Code.STATE_UNPROVEN, f"a stored {kind} is not what the audit log proves")
        return self._view.scan(kind)


def person_doc(person: Person, *, salt: str) -> dict[str, Any]:
    """A person's row; the salt is kept for the life of the row."""
    return {
        "bot": person.bot,
        "controllers": sorted(person.controllers),
        "email": person.email,
        "left": person.left,
        "manager": person.manager,
        "salt": salt,
    }


def person_from(key: str, doc: Mapping[str, Any]) -> Person:
    return Person(
        PersonId(key),
        doc["email"],
        bot=doc.get("bot", False),
        controllers=frozenset(doc.get("controllers", ())),
        left=doc.get("left", False),
        manager=doc.get("manager"),
    )


def role_grant_doc(grant: RoleGrant) -> dict[str, Any]:
    """A role grant's row, under the grant's id."""
    return {
        "by": sorted(grant.by),
        "holder": grant.holder,
        "revoked_us": grant.revoked_us,
        "role": grant.role.value,
        "since_us": grant.since_us,
        "team": grant.team,
    }


def role_grant_from(key: str, doc: Mapping[str, Any]) -> RoleGrant:
    return RoleGrant(
        id=key,
        role=Role(doc["role"]),
        holder=doc["holder"],
        team=None if doc["team"] is None else TeamId(doc["team"]),
        by=_persons(doc["by"]),
        since_us=doc["since_us"],
        revoked_us=doc["revoked_us"],
    )


def group_doc(group: Group) -> dict[str, Any]:
    """A group's row, under its name."""
    return {
        "by": sorted(group.by),
        "groups": [[name, since_us] for name, since_us in sorted(group.groups)],
        "members": [
            {"by": sorted(one.by), "person": one.person, "since_us": one.since_us}
            for one in sorted(group.members, key=lambda one: one.person)
        ],
    }


def group_from(key: str, doc: Mapping[str, Any]) -> Group:
    return Group(
        name=key,
        members=tuple(
            Membership(PersonId(one["person"]), _persons(one["by"]), one["since_us"]) for one in doc["members"]
        ),
        groups=tuple((name, since_us) for name, since_us in doc["groups"]),
        by=_persons(doc["by"]),
    )


def delegation_doc(delegation: Delegation) -> dict[str, Any]:
    """A delegation's row, under its id."""
    return {
        "holder": delegation.holder,
        "role": delegation.role.value,
        "since_us": delegation.since_us,
        "to": delegation.to,
        "until_us": delegation.until_us,
    }


def delegation_from(key: str, doc: Mapping[str, Any]) -> Delegation:
    return Delegation(
        id=key,
        holder=PersonId(doc["holder"]),
        to=PersonId(doc["to"]),
        role=Role(doc["role"]),
        since_us=doc["since_us"],
        until_us=doc["until_us"],
    )


def account_tie_key(tie: AccountTie) -> str:
    return f"{tie.account}/{tie.by}"


def account_tie_doc(tie: AccountTie) -> dict[str, Any]:
    """An account tie's row, under `account_tie_key`; a newer one takes an older one's place."""
    return {"account": tie.account, "at_us": tie.at_us, "by": tie.by}


def account_tie_from(doc: Mapping[str, Any]) -> AccountTie:
    return AccountTie(PersonId(doc["account"]), PersonId(doc["by"]), doc["at_us"])


def agreement_doc(agreement: Agreement) -> dict[str, Any]:
    """An agreement's row, under its name."""
    return {
        "covers": sorted(agreement.covers),
        "document": agreement.document,
        "expires_us": agreement.expires_us,
        "provider": agreement.provider,
    }


def agreement_from(key: str, doc: Mapping[str, Any]) -> Agreement:
    return Agreement(key, doc["provider"], frozenset(doc["covers"]), Digest(doc["document"]), doc["expires_us"])


def gate_doc(rule: GateRule) -> dict[str, Any]:
    """A gate's row, under the tier's or the kind's name."""
    return {
        "backups": {role.value: sorted(told) for role, told in sorted(rule.backups.items())},
        "comment": rule.comment,
        "heads": {role.value: sorted(told) for role, told in sorted(rule.heads.items())},
        "roles": {role.value: count for role, count in sorted(rule.roles.items())},
    }


def gate_from(_: str, doc: Mapping[str, Any]) -> GateRule:
    return GateRule(
        {Role(role): count for role, count in doc["roles"].items()},
        doc["comment"],
        {Role(role): frozenset(told) for role, told in doc["backups"].items()},
        {Role(role): frozenset(told) for role, told in doc["heads"].items()},
    )


def launch_doc(launch: Launch) -> dict[str, Any]:
    """As it stands in a tool server's row. Pairs, not an object: an environment has names of any letter case."""
    return {
        "args": list(launch.args),
        "command": launch.command,
        "credential_variable": launch.credential_variable,
        "directory": launch.directory,
        "env": [list(pair) for pair in launch.env],
        "network": launch.network,
        "reads": list(launch.reads),
        "writes": list(launch.writes),
    }


def launch_from(doc: Mapping[str, Any]) -> Launch:
    return Launch(
        doc["command"],
        tuple(doc["args"]),
        doc["directory"],
        tuple((name, value) for name, value in doc["env"]),
        doc["credential_variable"],
        # one from before there were these has the least
        doc.get("network", "none"),
        tuple(doc.get("reads", ())),
        tuple(doc.get("writes", ())),
    )


def restriction_doc(restriction: Restriction, *, salt: str) -> dict[str, Any]:
    """A restriction's row, under its id; the salt keeps what a person said from being guessed by the row's digest."""
    cost = restriction.cost_per_day
    return {
        "agent": restriction.agent,
        "alert": restriction.alert,
        "approval": restriction.approval,
        "calls_per_minute": restriction.calls_per_minute,
        "cause": restriction.cause,
        "cost_per_day": None if cost is None else [cost.nanos, cost.currency],
        "kind": restriction.kind.value,
        "opened_us": restriction.opened_us,
        "role": None if restriction.role is None else restriction.role.value,
        "salt": salt,
        "share_percent": restriction.share_percent,
        "tool": restriction.tool,
        "until_approved": restriction.until_approved,
        "until_us": restriction.until_us,
    }


def restriction_from(key: str, doc: Mapping[str, Any]) -> Restriction:
    return Restriction(
        id=key,
        agent=AgentId(doc["agent"]),
        kind=RestrictionKind(doc["kind"]),
        tool=None if doc["tool"] is None else ToolId(doc["tool"]),
        cause=doc["cause"],
        opened_us=doc["opened_us"],
        until_us=doc["until_us"],
        calls_per_minute=doc["calls_per_minute"],
        role=None if doc["role"] is None else Role(doc["role"]),
        until_approved=doc.get("until_approved", False),
        alert=doc.get("alert"),
        approval=doc.get("approval"),
        cost_per_day=None if doc.get("cost_per_day") is None else Money(*doc["cost_per_day"]),
        share_percent=doc.get("share_percent"),
    )


def incident_doc(incident: Incident, *, salt: str) -> dict[str, Any]:
    """An incident's row, under its id."""
    return {
        "agent": incident.agent,
        "agents": list(incident.agents),
        "closed_by": incident.closed_by,
        "closed_us": incident.closed_us,
        "disposition": incident.disposition,
        "events": [[one.at_us, one.what, one.by, one.text] for one in incident.events],
        "holds": list(incident.holds),
        "linked": list(incident.linked),
        "opened_by": incident.opened_by,
        "opened_us": incident.opened_us,
        "rule": incident.rule,
        "salt": salt,
        "severity": incident.severity,
        "what": incident.what,
    }


def incident_from(key: str, doc: Mapping[str, Any]) -> Incident:
    """The same, read; older rows say only whom, how grave and when."""
    return Incident(
        id=key,
        agent=AgentId(doc["agent"]),
        severity=doc["severity"],
        opened_us=doc["opened_us"],
        closed_us=doc["closed_us"],
        others=tuple(AgentId(one) for one in doc.get("agents", ())[1:]),
        what=doc.get("what", ""),
        opened_by=None if doc.get("opened_by") is None else PersonId(doc["opened_by"]),
        rule=doc.get("rule", ""),
        closed_by=None if doc.get("closed_by") is None else PersonId(doc["closed_by"]),
        disposition=doc.get("disposition", ""),
        holds=tuple(doc.get("holds", ())),
        linked=tuple(doc.get("linked", ())),
        events=tuple(
            IncidentEvent(at_us, what, None if by is None else PersonId(by), text)
            for at_us, what, by, text in doc.get("events", ())
        ),
    )


def store_doc(store: Store) -> dict[str, Any]:
    """A store's row, under its name."""
    return {
        "adapter": store.adapter,
        "created_field": store.created_field,
        "credential": store.credential,
        "environment": store.environment.value,
        "id_field": store.id_field,
        "key_scope": store.key_scope,
        "location": store.location,
        "namespaces": list(store.namespaces),
        "owner_field": store.owner_field,
        "shared": store.shared,
        "subject_field": store.subject_field,
        "text_field": store.text_field,
    }


def store_from(key: str, doc: Mapping[str, Any]) -> Store:
    return Store(
        name=key,
        environment=Environment(doc["environment"]),
        adapter=doc["adapter"],
        location=doc["location"],
        credential=doc["credential"],
        namespaces=tuple(doc["namespaces"]),
        shared=doc["shared"],
        owner_field=doc["owner_field"],
        subject_field=doc["subject_field"],
        key_scope=doc["key_scope"],
        id_field=doc["id_field"],
        text_field=doc["text_field"],
        created_field=doc["created_field"],
    )


def review_schedule_doc(schedule: ReviewSchedule) -> dict[str, Any]:
    """A schedule's row, under its name."""
    return {
        "agents": sorted(schedule.agents),
        "day": schedule.day,
        "grace_days": schedule.grace_days,
        "months": {tier.value: schedule.months[tier] for tier in sorted(schedule.months)},
        "respond_days": schedule.respond_days,
        "seasonal": [[one.tool, one.every_months] for one in schedule.seasonal],
        "services": sorted(schedule.services),
        "teams": sorted(schedule.teams),
        "tiers": sorted(tier.value for tier in schedule.tiers),
    }


def review_schedule_from(key: str, doc: Mapping[str, Any]) -> ReviewSchedule:
    return ReviewSchedule(
        name=key,
        teams=frozenset(doc["teams"]),
        tiers=frozenset(Tier(one) for one in doc["tiers"]),
        agents=frozenset(doc["agents"]),
        services=frozenset(doc["services"]),
        months={Tier(tier): months for tier, months in doc["months"].items()},
        day=doc["day"],
        respond_days=doc["respond_days"],
        grace_days=doc["grace_days"],
        seasonal=tuple(SeasonalUse(ToolId(tool), months) for tool, months in doc["seasonal"]),
    )


def _persons(keys: Iterable[str]) -> frozenset[PersonId]:
    return frozenset(PersonId(key) for key in keys)
