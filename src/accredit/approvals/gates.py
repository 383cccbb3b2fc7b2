"""Which roles a subject needs, what each of them judges, and how long they have. Pure.

At every tier each facet of a version is judged by at least one role. So no change of a version leaves all its votes
standing, and nothing comes into force that nobody looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from accredit.approvals.model import RoleNeed, SubjectKind
from accredit.registry.model import Role, Tier
from accredit.registry.versions import FACETS

__all__ = ["USE_US", "answer_us", "carry_us", "gate"]

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
    SubjectKind.PURGE: (RoleNeed(Role.COMPLIANCE),),
    SubjectKind.FACT_SOURCE: (RoleNeed(Role.SECURITY),),
    SubjectKind.ERASURE: (RoleNeed(Role.COMPLIANCE),),
}
_ANSWER_DAYS: Final[Mapping[Tier | None, int]] = {None: 7, Tier.LOW: 7, Tier.MEDIUM: 14, Tier.HIGH: 30}
_CARRY_DAYS: Final[Mapping[Tier | None, int]] = {None: 0, Tier.LOW: 365, Tier.MEDIUM: 182, Tier.HIGH: 91}


def gate(kind: SubjectKind, tier: Tier | None) -> tuple[RoleNeed, ...]:
    """The roles that must approve; of an agent version without a tier, all those of the highest."""
    if kind is SubjectKind.AGENT_VERSION:
        return _VERSION_GATES[tier or Tier.HIGH]
    return _OTHER_GATES[kind]


def answer_us(tier: Tier | None) -> int:
    """How long people have to complete the gate."""
    return _ANSWER_DAYS[tier] * _DAY_US


def carry_us(tier: Tier | None) -> int:
    """How old a vote may be to be carried over to a new version."""
    return _CARRY_DAYS[tier] * _DAY_US
