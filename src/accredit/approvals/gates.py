"""Which roles a subject needs, by how many persons, what each of them judges, and how long they have. Pure.

What is built in is the least: the organisation's own rule of a gate (docs/adr/0017) adds persons, roles and words to
it and takes nothing away.

At every tier each facet of a version is judged by at least one role. So no change of a version leaves all its votes
standing, and nothing comes into force that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from accredit.approvals.model import RoleNeed, SubjectKind
from accredit.kernel.canonical import Digest
from accredit.registry.model import GateRule, Role, Tier
from accredit.registry.versions import FACETS

__all__ = ["USE_US", "answer_us", "carry_us", "gate", "gate_name", "stricter", "template_gate"]

_DAY_US: Final = 86_400_000_000
USE_US: Final = 30 * _DAY_US
"""An approval that nobody put into force by then lapses."""

_ALL: Final = tuple(sorted(FACETS))
_SECURITY: Final = (
    "audience", "autonomy", "data", "delegates", "limits", "models", "prompt", "stores", "tools",
)  # fmt: skip
_COMPLIANCE: Final = ("audience", "autonomy", "data", "delegates", "models", "owner", "purpose", "stores")
_BUSINESS: Final = ("audience", "autonomy", "limits", "owner", "purpose")

_VERSION_GATES: Final[Mapping[Tier, tuple[RoleNeed, ...]]] = {
    Tier.LOW: (RoleNeed(Role.TEAM_LEAD, _ALL),),
    Tier.MEDIUM: (RoleNeed(Role.TEAM_LEAD, _ALL), RoleNeed(Role.SECURITY, _SECURITY, validation=True)),
    Tier.HIGH: (
        RoleNeed(Role.SECURITY, _SECURITY, validation=True, assessment=True, comment=True),
        RoleNeed(Role.COMPLIANCE, _COMPLIANCE, assessment=True, comment=True),
        RoleNeed(Role.BUSINESS_OWNER, _BUSINESS, assessment=True, comment=True),
    ),
}
_OTHER_GATES: Final[Mapping[SubjectKind, tuple[RoleNeed, ...]]] = {
    SubjectKind.POLICY_RELEASE: (RoleNeed(Role.SECURITY),),
    SubjectKind.ROLE_GRANT: (RoleNeed(Role.ADMIN),),
    SubjectKind.TOOL_FACT: (RoleNeed(Role.SECURITY),),
    SubjectKind.TEMPLATE: (RoleNeed(Role.TEAM_LEAD, comment=True), RoleNeed(Role.SECURITY, comment=True)),
    SubjectKind.BREAK_GLASS: (RoleNeed(Role.SECURITY, comment=True),),
    SubjectKind.GATE: (RoleNeed(Role.SECURITY, comment=True),),
    SubjectKind.PURGE: (RoleNeed(Role.COMPLIANCE),),
    SubjectKind.FACT_SOURCE: (RoleNeed(Role.SECURITY),),
    SubjectKind.ERASURE: (RoleNeed(Role.COMPLIANCE),),
    SubjectKind.RETIREMENT: (RoleNeed(Role.SECURITY),),
}
_ANSWER_DAYS: Final[Mapping[Tier | None, int]] = {None: 7, Tier.LOW: 7, Tier.MEDIUM: 14, Tier.HIGH: 30}
_REVIEW_US: Final = 3 * _DAY_US
_CARRY_DAYS: Final[Mapping[Tier | None, int]] = {None: 0, Tier.LOW: 365, Tier.MEDIUM: 182, Tier.HIGH: 91}


def gate(kind: SubjectKind, tier: Tier | None, rule: GateRule | None = None) -> tuple[RoleNeed, ...]:
    """The roles that must approve; of an agent version without a tier, all those of the highest.

    INVARIANT: with a rule of the organisation, whatever it says, every need of the gate that is built in stays.
    """
    version = kind is SubjectKind.AGENT_VERSION
    needs = _VERSION_GATES[tier or Tier.HIGH] if version else _OTHER_GATES[kind]
    if rule is None:
        return needs
    own = {role: RoleNeed(role, _ALL if version else (), count=count) for role, count in sorted(rule.roles.items())}
    asked = [RoleNeed(need.role, count=rule.roles.get(need.role, 1), comment=rule.comment) for need in needs]
    more = tuple(replace(own[role], comment=rule.comment) for role in own if role not in {one.role for one in needs})
    return (*stricter(needs, asked), *more)


def template_gate(template: Digest, rule: GateRule | None) -> tuple[RoleNeed, ...]:
    """The roles for a version of the medium tier that is within an approved template: a team lead, never nobody.

    `rule` is the organisation's own of the low tier; that of the medium one was met when the template was approved.
    """
    lead = RoleNeed(Role.TEAM_LEAD, _ALL, validation=True, template=template)
    more = [one for one in gate(SubjectKind.AGENT_VERSION, Tier.LOW, rule) if one.role is not Role.TEAM_LEAD]
    asked = gate(SubjectKind.AGENT_VERSION, Tier.LOW, rule)
    return (*stricter([lead], asked), *more)


def stricter(needs: Iterable[RoleNeed], others: Iterable[RoleNeed]) -> tuple[RoleNeed, ...]:
    """The needs, each with the persons and words that others ask of the same role as well."""
    of = {one.role: one for one in others}
    return tuple(
        replace(need, count=max(need.count, other.count), comment=need.comment or other.comment)
        if (other := of.get(need.role)) is not None
        else need
        for need in needs
    )


def gate_name(kind: SubjectKind, tier: Tier | None) -> str:
    """Under which name the organisation's own rule of a gate stands."""
    if kind is SubjectKind.TEMPLATE:
        return Tier.MEDIUM.value
    return (tier or Tier.HIGH).value if kind is SubjectKind.AGENT_VERSION else kind.value


def answer_us(tier: Tier | None, kind: str = "") -> int:
    """How long people have to complete the gate."""
    return _REVIEW_US if kind == SubjectKind.BREAK_GLASS else _ANSWER_DAYS[tier] * _DAY_US


def carry_us(tier: Tier | None) -> int:
    """How old a vote may be to be carried over to a new version."""
    return _CARRY_DAYS[tier] * _DAY_US
