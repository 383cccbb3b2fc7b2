"""What retiring an agent will do, as one value with a digest: what is confirmed, or signed off, and then carried out.

The digest covers what is decided: which credentials end, which grants and delegations, which stores are purged, what is
archived and for how long, which legal holds keep parts. What moves while the agent runs (calls that wait for people,
tokens that are lent for minutes, how many items a store holds) is shown and not part of it: the purge of each store is
planned item by item once nothing of the agent runs any more, and signed off by itself where that takes it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.audit.retention import Schedule, kept
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.ids import AgentId
from accredit.lifecycle.cascading import Relations
from accredit.lifecycle.credential_inventory import CredentialKind, CredentialReach, KnownCredential
from accredit.lifecycle.model import Planned
from accredit.registry.model import Agent, AgentState, Environment, Tier

__all__ = ["RetirementPlan", "decided", "signed_off_by_others"]

_NEVER_RAN: Final = frozenset({AgentState.DRAFT, AgentState.SUBMITTED, AgentState.APPROVED, AgentState.REJECTED})
_SHOWN: Final = 300


@dataclass(frozen=True, slots=True)
class RetirementPlan:
    """As of one moment."""

    agent: AgentId
    tier: Tier | None
    decided: Mapping[str, Any]
    """Canonical: what `digest` covers."""
    moving: Mapping[str, Any]
    """What else is so now: open questions, lent tokens, counts of stores."""
    steps: tuple[Planned, ...]
    needs_sign_off: bool
    """A second person has to agree; else whoever may retire the agent confirms it."""

    @property
    def digest(self) -> Digest:
        return digest_value("retirement-plan", self.decided)


def signed_off_by_others(agent: Agent, tier: Tier | None) -> bool:
    """Whether retiring an agent takes a second person: of medium and high tier in production, once it was in force.

    A tier that cannot be told counts as the highest. What never ran has kept and reached nothing.
    """
    if agent.environment is not Environment.PRODUCTION or agent.state in _NEVER_RAN:
        return False
    return tier is not Tier.LOW


def decided(
    agent: Agent,
    *,
    tier: Tier | None,
    credentials: Iterable[KnownCredential],
    relations: Relations,
    stores: Mapping[str, Any],
    archive: str,
    schedule: Schedule,
    holds: Iterable[str],
) -> dict[str, Any]:
    """What a plan decides. `stores` is as `StorePurges.foresee` gives it."""
    known = [one for one in credentials if one.kind is not CredentialKind.LENT_TOKEN]
    ours = [one for one in known if one.reach is CredentialReach.OURS and one.alive]
    left = [one for one in known if one.unreachable]
    stay = [one for one in known if one.reach is CredentialReach.BROKERED and not one.unreachable]
    return {
        "agent": {
            "environment": agent.environment.value,
            "id": agent.id,
            "name": agent.name,
            "version": agent.version.digest,
        },
        "archive": {"name": archive, "retention": _retention(schedule)},
        "credentials": {
            "left_to_people": [one.document() for one in left[:_SHOWN]],
            "more": max(len(ours) - _SHOWN, 0) + max(len(left) - _SHOWN, 0),
            "revoked": [one.document() for one in ours[:_SHOWN]],
            "stay": [one.document() for one in stay[:_SHOWN]],
        },
        "delegations": relations.document(),
        "grants": sorted(grant.tool for grant in agent.version.every_grant),
        "legal_holds": sorted(holds),
        "stores": {"cannot_certify": list(stores.get("open", ())), "purged": list(stores.get("stores", ()))},
        "tier": tier.value if tier else None,
    }


def _retention(schedule: Schedule) -> list[dict[str, Any]]:
    found = []
    for one in schedule.classes:
        how = kept(one, schedule)
        found.append({"because": list(how.because), "class": one.name, "days": how.days})
    return found
