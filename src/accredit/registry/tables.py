"""Roles, groups, ties, agreements, gates, restrictions, incidents and the like as of now, by following the log.

A change costs what it touches: rows of other kinds cost nothing, and the organisation with its indexes is made again
only when somebody asks after a row of it changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

from accredit.audit.ports import Change, StateView, Write
from accredit.kernel.ids import AgentId, PersonId, TeamId
from accredit.registry import rows
from accredit.registry.model import Agreement, GateRule, Incident, Person, Restriction, ReviewSchedule, Store
from accredit.registry.organisation import AccountTie, Delegation, Group, Organisation, RoleGrant
from accredit.registry.templates import Template, template_from

__all__ = ["ORGANISATION_KINDS", "Tables"]

_T = TypeVar("_T")

ORGANISATION_KINDS: Final = frozenset({rows.ACCOUNT_TIE, rows.DELEGATION, rows.GROUP, rows.PERSON, rows.ROLE_GRANT})
"""What an organisation is made of. One such row that the log contradicts could have barred somebody."""


class _Table(Generic[_T]):
    """The rows of one kind as values."""

    def __init__(self, view: StateView, kind: str, read: Callable[[str, Mapping[str, Any]], _T]) -> None:
        self._read = read
        self.values: dict[str, _T] = {row.key: read(row.key, row.doc) for row in view.scan(kind)}

    def put(self, write: Write) -> None:
        if write.doc is None:
            self.values.pop(write.key, None)
        else:
            self.values[write.key] = self._read(write.key, write.doc)


class _ByAgent(_Table[_T]):
    """The same, found by each agent they are about as well."""

    def __init__(self, view: StateView, kind: str, read: Callable[[str, Mapping[str, Any]], _T]) -> None:
        super().__init__(view, kind, read)
        self._of: dict[str, dict[str, _T]] = {}
        self._agents: dict[str, tuple[str, ...]] = {}
        for row in view.scan(kind):
            self._place(row.key, row.doc)

    def put(self, write: Write) -> None:
        super().put(write)
        for before in self._agents.pop(write.key, ()):
            self._of[before].pop(write.key)
        if write.doc is not None:
            self._place(write.key, write.doc)

    def of(self, agent: AgentId) -> tuple[_T, ...]:
        found = self._of.get(agent)
        return tuple(found.values()) if found else ()

    def _place(self, key: str, doc: Mapping[str, Any]) -> None:
        about = self._agents[key] = tuple(dict.fromkeys(doc.get("agents") or (doc["agent"],)))
        for agent in about:
            self._of.setdefault(agent, {})[key] = self.values[key]


class Tables:
    """What holds between people, suppliers and agents beside what manifests of agents and tools say."""

    def __init__(self, view: StateView) -> None:
        self._groups: _Table[Group] = _Table(view, rows.GROUP, rows.group_from)
        self._grants: _Table[RoleGrant] = _Table(view, rows.ROLE_GRANT, rows.role_grant_from)
        self._delegations: _Table[Delegation] = _Table(view, rows.DELEGATION, rows.delegation_from)
        self._ties: _Table[AccountTie] = _Table(view, rows.ACCOUNT_TIE, lambda _, doc: rows.account_tie_from(doc))
        self._agreements: _Table[Agreement] = _Table(view, rows.AGREEMENT, rows.agreement_from)
        self._gates: _Table[GateRule] = _Table(view, rows.GATE, rows.gate_from)
        self._templates: _Table[Template] = _Table(view, rows.TEMPLATE, template_from)
        self._restrictions: _ByAgent[Restriction] = _ByAgent(view, rows.RESTRICTION, rows.restriction_from)
        self._incidents: _ByAgent[Incident] = _ByAgent(view, rows.INCIDENT, rows.incident_from)
        self._stores: _Table[Store] = _Table(view, rows.STORE, rows.store_from)
        self._schedules: _Table[ReviewSchedule] = _Table(view, rows.REVIEW_SCHEDULE, rows.review_schedule_from)
        self._tables: Mapping[str, _Table[Any]] = {
            rows.GROUP: self._groups,
            rows.ROLE_GRANT: self._grants,
            rows.DELEGATION: self._delegations,
            rows.ACCOUNT_TIE: self._ties,
            rows.AGREEMENT: self._agreements,
            rows.GATE: self._gates,
            rows.TEMPLATE: self._templates,
            rows.RESTRICTION: self._restrictions,
            rows.INCIDENT: self._incidents,
            rows.STORE: self._stores,
            rows.REVIEW_SCHEDULE: self._schedules,
        }
        self._made: Organisation | None = None

    def follow(self, change: Change) -> None:
        """Take over a change as it comes into force."""
        for write in change.writes:
            if write.kind in ORGANISATION_KINDS:
                self._made = None
            if (table := self._tables.get(write.kind)) is not None:
                table.put(write)

    def organisation(self, people: Mapping[PersonId, Person]) -> Organisation:
        """The organisation of these people; the same value until a row of it changes."""
        if self._made is None:
            self._made = Organisation(
                people=people,
                groups=dict(self._groups.values),
                grants=tuple(self._grants.values.values()),
                delegations=tuple(self._delegations.values.values()),
                ties=tuple(self._ties.values.values()),
            )
        return self._made

    @property
    def agreements(self) -> Mapping[str, Agreement]:
        """By name; a copy."""
        return dict(self._agreements.values)

    def gate(self, name: str) -> GateRule | None:
        return self._gates.values.get(name)

    def templates_of(self, team: TeamId) -> tuple[Template, ...]:
        return tuple(sorted((one for one in self._templates.values.values() if one.team == team), key=_named))

    @property
    def review_schedules(self) -> tuple[ReviewSchedule, ...]:
        """By name."""
        return tuple(self._schedules.values[name] for name in sorted(self._schedules.values))

    @property
    def stores(self) -> Mapping[str, Store]:
        """By name; a copy."""
        return dict(self._stores.values)

    def restrictions_of(self, agent: AgentId) -> tuple[Restriction, ...]:
        return self._restrictions.of(agent)

    def restriction(self, key: str) -> Restriction | None:
        return self._restrictions.values.get(key)

    def incidents_of(self, agent: AgentId) -> tuple[Incident, ...]:
        return self._incidents.of(agent)

    def incident(self, key: str) -> Incident | None:
        return self._incidents.values.get(key)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        return tuple(self._incidents.values.values())

    def delegation(self, key: str) -> Delegation | None:
        return self._delegations.values.get(key)

    def role_grant(self, key: str) -> RoleGrant | None:
        return self._grants.values.get(key)


def _named(template: Template) -> str:
    return template.name
