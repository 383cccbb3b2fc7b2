"""What is not right about agents, from what is registered, who is there, what was used and what alerts tell. Pure.

No record is read: last use comes from the daily roll-ups, one line for each agent, so a look at a fleet takes as long
as it has agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from accredit.audit.model import LastUse
from accredit.identity.model import Credential, CredentialState
from accredit.kernel.canonical import digest_value
from accredit.kernel.ids import AgentId
from accredit.lifecycle.discovery.findings import FindingKind, Observed
from accredit.lifecycle.discovery.matching import Sighting
from accredit.lifecycle.discovery.model import Matched, MatchVerdict
from accredit.monitoring.model import Alert, AlertKind, Severity
from accredit.registry.directories import Entitlements
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, AgentState, Person, Tier

__all__ = [
    "ALERTS",
    "OBSERVED",
    "REGISTRY",
    "RETIREMENT_SOURCE",
    "UNUSED_US",
    "from_alerts",
    "from_registry",
    "from_scan",
    "live",
    "moved",
]

_MOST_TOLD: Final = 50
_DAY_US: Final = 86_400_000_000
UNUSED_US: Final = 60 * _DAY_US
"""After so long without a call an agent with a live credential is one that somebody forgot."""
REGISTRY: Final = "registry"
ALERTS: Final = "alerts"
RETIREMENT_SOURCE: Final = "retirement"
"""Of findings on what a retirement left to people; `lifecycle/retirements.py` ends them."""
OBSERVED: Final = "observed"
"""The look at what agents do (`lifecycle/observed_operations.py`)."""
_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_INSISTS: Final = 3
"""In how many minutes a caller that nobody knows has to have come: once may be a slip of somebody's."""
_KIND_OF_ALERT: Final[Mapping[AlertKind, FindingKind]] = {
    AlertKind.GHOST: FindingKind.GHOST,
    AlertKind.POSTURE_DEFINITION: FindingKind.VERSION_MISMATCH,
    AlertKind.POSTURE_MODEL: FindingKind.VERSION_MISMATCH,
    AlertKind.POSTURE_PROMPT: FindingKind.VERSION_MISMATCH,
    AlertKind.POSTURE_VERSION: FindingKind.VERSION_MISMATCH,
    AlertKind.REPORTED_AGENT: FindingKind.UNREGISTERED,
    AlertKind.REPORTED_MODEL: FindingKind.SHADOW,
    AlertKind.REPORTED_TOOL: FindingKind.SHADOW,
    AlertKind.UNKNOWN_CALLER: FindingKind.UNREGISTERED,
}


def live(credential: Credential, now_us: int) -> bool:
    """Whether a credential lets anybody in now."""
    over = credential.opaque is not None and now_us >= credential.opaque.expires_us
    return credential.state is CredentialState.ACTIVE and not over


def from_registry(
    agents: Iterable[Agent],
    *,
    people: Mapping[Any, Person],
    credentials_of: Callable[[AgentId], Iterable[Credential]],
    used: Mapping[str, LastUse],
    now_us: int,
    entitlements: Entitlements,
) -> Iterator[Observed]:
    """Agents without an owner or whose owner moved, without use, or past their last day.

    `used` goes back at least `UNUSED_US`.
    """
    for agent in agents:
        if agent.state in _GONE:
            continue
        owner = people.get(agent.owner)
        if owner is None or owner.left:
            evidence = {"backup_owner": agent.backup_owner, "owner": agent.owner, "state": agent.state.value}
            yield _of_agent(FindingKind.ORPHAN, agent, Severity.WARNING, evidence)
        elif (lost := moved(agent, entitlements)) is not None:
            yield lost
        expires_us = agent.version.expires_us
        if expires_us is not None and now_us >= expires_us:
            yield _of_agent(FindingKind.EXPIRED, agent, Severity.INFO, {"expired_us": expires_us})
        elif runs(agent.environment, agent.state) and (last_us := _unused_since(agent, used, now_us)) is not None:
            alive = [one for one in credentials_of(agent.id) if live(one, now_us)]
            # a key made since is somebody's who means to use it
            if alive and max(one.enrolled_us for one in alive) <= now_us - UNUSED_US:
                severity = Severity.CRITICAL if agent.tier is Tier.HIGH else Severity.WARNING
                yield _of_agent(FindingKind.ZOMBIE, agent, severity, {"unused_since_us": last_us})


def moved(agent: Agent, entitlements: Entitlements) -> Observed | None:
    """What an agent's owner has lost: rights to its tools, a place in its team; None: nothing."""
    tools = sorted(one.tool for one in entitlements.lost_by(agent) if one.tool is not None)
    teams = entitlements.teams_of(agent.owner)
    elsewhere = teams is not None and agent.team.id not in teams
    if not tools and not elsewhere:
        return None
    evidence = {"elsewhere": elsewhere, "owner": agent.owner, "tools": tools[:_MOST_TOLD]}
    return _of_agent(FindingKind.MOVED, agent, Severity.WARNING, evidence)


def _unused_since(agent: Agent, used: Mapping[str, LastUse], now_us: int) -> int | None:
    """Since when nothing was heard of an agent, if that is long enough; it also had to be there that long."""
    last = used.get(agent.id)
    last_us = max(last.last_us if last is not None else 0, agent.since_us, agent.registered_us)
    return last_us if now_us - last_us >= UNUSED_US else None


def _of_agent(kind: FindingKind, agent: Agent, severity: Severity, evidence: Mapping[str, Any]) -> Observed:
    return Observed(kind, agent.id, severity, f"{agent.environment}/{agent.name}", agent.id, REGISTRY, evidence)


def from_alerts(alerts: Iterable[Alert], name: Callable[[AgentId], str]) -> Iterator[Observed]:
    """What alerts that are not resolved tell of agents that nobody registered, that are gone, or that go past us."""
    for alert in alerts:
        kind = _KIND_OF_ALERT.get(alert.kind)
        once = alert.kind is AlertKind.UNKNOWN_CALLER and alert.count < _INSISTS
        if kind is None or alert.closed_us is not None or once:
            continue
        if alert.kind is AlertKind.REPORTED_AGENT and alert.agent is not None and alert.matter in {*_GONE}:
            kind = FindingKind.GHOST
        severity = Severity.CRITICAL if kind is FindingKind.GHOST else alert.severity
        called = name(alert.agent) if alert.agent is not None else alert.matter
        evidence = {"alert": alert.id, "alert_kind": alert.kind.value, "count": alert.count, "matter": alert.matter}
        yield Observed(kind, alert.id, severity, called, alert.agent, ALERTS, evidence)


def from_scan(sightings: Iterable[Sighting], matched: Iterable[Matched], source: str) -> Iterator[Observed | None]:
    """What a scan found that is not registered, as findings of that source; None in the place of what is."""
    for it, found in zip(sightings, matched, strict=True):
        if found.verdict is MatchVerdict.REGISTERED:
            yield None
            continue
        kind = {MatchVerdict.SHADOW: FindingKind.SHADOW, MatchVerdict.GHOST: FindingKind.GHOST}.get(
            found.verdict, FindingKind.UNREGISTERED
        )
        grave = kind is FindingKind.GHOST or bool(it.secrets or it.keys)
        evidence = {
            "by": found.by,
            "command": it.command,
            "cost_nanos": it.cost_nanos,
            "format": it.format,
            "last_used": it.last_used,
            "models": list(it.models),
            "path": it.path,
            "providers": list(it.providers),
            "secrets": list(it.secrets),
            "trace": it.kind.value,
            "unread": it.unread,
            "urls": list(it.urls),
        }
        yield Observed(
            kind,
            digest_value("discovery", [source, it.kind.value, it.format, it.path, it.name]),
            Severity.CRITICAL if grave else Severity.WARNING,
            it.name or it.path,
            AgentId(found.agent) if found.agent else None,
            source,
            evidence,
        )
