"""Who should be on the list: every identity that was seen, against the agents of a campaign. Pure.

An identity is an agent that is registered, one that left traces in the log, or what discovery found. Each is reviewed
in this campaign, or there is a reason why not, or it is missing; a campaign with missing ones does not close.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.findings import AgentFinding, FindingKind
from accredit.lifecycle.reviews.model import AcceptedIdentity
from accredit.registry.model import Agent, AgentState, Environment

__all__ = ["Identity", "IdentityStanding", "counted", "missing", "reconciled"]


class IdentityStanding(StrEnum):
    """What an identity is to a campaign."""

    REVIEWED = "reviewed"
    ELSEWHERE = "elsewhere"
    """Another review of it is open, or was over not longer ago than its schedule asks."""
    OUT_OF_SCOPE = "out-of-scope"
    """It is none of the agents that the campaign is about."""
    NOT_IN_PRODUCTION = "not-in-production"
    NOT_ACTIVE = "not-active"
    """It never came into force, or is retired."""
    ANSWERED = "answered"
    """Somebody answered the finding about it."""
    ACCEPTED = "accepted"
    """Somebody said why it is in order."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody or something that acts, as far as anybody knows."""

    subject: str
    """An agent's id, or a finding's."""
    what: str
    """`agent`, `unknown` for an id in the log that no agent has, or the kind of finding."""
    name: str
    standing: IdentityStanding


_ALIVE = frozenset({AgentState.ACTIVE, AgentState.SUSPENDED, AgentState.QUARANTINED})
_UNREGISTERED = frozenset({FindingKind.UNREGISTERED, FindingKind.SHADOW, FindingKind.GHOST})


def reconciled(
    agents: Iterable[Agent],
    *,
    seen: Iterable[str],
    findings: Iterable[AgentFinding],
    here: Callable[[AgentId], bool],
    elsewhere: Callable[[AgentId], bool],
    in_scope: Callable[[Agent], bool],
    accepted: Iterable[AcceptedIdentity],
) -> tuple[Identity, ...]:
    """Every identity, those that are missing first. `seen` are the ids of whoever left traces in the period."""
    allowed = {one.subject for one in accepted}
    known: dict[str, Agent] = {one.id: one for one in agents}
    found = [
        Identity(one.id, "agent", f"{one.environment}/{one.name}", _of_agent(one, here, elsewhere, in_scope, allowed))
        for one in known.values()
    ]
    found += [
        Identity(subject, "unknown", subject, _allowed(subject, allowed))
        for subject in sorted(set(seen) - known.keys())
    ]
    for finding in findings:
        if finding.seen.kind in _UNREGISTERED:
            answered = not finding.open or finding.answer is not None
            standing = IdentityStanding.ANSWERED if answered else _allowed(finding.id, allowed)
            found.append(Identity(finding.id, finding.seen.kind.value, finding.seen.name, standing))
    return tuple(sorted(found, key=lambda one: (one.standing is not IdentityStanding.MISSING, one.name, one.subject)))


def _allowed(subject: str, allowed: set[str]) -> IdentityStanding:
    return IdentityStanding.ACCEPTED if subject in allowed else IdentityStanding.MISSING


def _of_agent(
    agent: Agent,
    here: Callable[[AgentId], bool],
    elsewhere: Callable[[AgentId], bool],
    in_scope: Callable[[Agent], bool],
    allowed: set[str],
) -> IdentityStanding:
    if here(agent.id):
        return IdentityStanding.REVIEWED
    if agent.environment is not Environment.PRODUCTION:
        return IdentityStanding.NOT_IN_PRODUCTION
    if agent.state not in _ALIVE:
        return IdentityStanding.NOT_ACTIVE
    if elsewhere(agent.id):
        return IdentityStanding.ELSEWHERE
    if not in_scope(agent):
        return IdentityStanding.OUT_OF_SCOPE
    return _allowed(agent.id, allowed)


def missing(identities: Iterable[Identity]) -> tuple[Identity, ...]:
    """Those that nobody has answered for."""
    return tuple(one for one in identities if one.standing is IdentityStanding.MISSING)


def counted(identities: Iterable[Identity]) -> Mapping[str, int]:
    """How many there are of each standing."""
    counts = Counter(one.standing.value for one in identities)
    return {name: counts[name] for name in sorted(counts)}
