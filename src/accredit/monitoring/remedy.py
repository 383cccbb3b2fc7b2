"""What an alert is worth and what answers it by itself: one table (DESIGN §7). Pure.

Only what is exact is answered: a posture that is not the approved one, in production. What was merely never seen
before is told to people. Every answer is reversible, and an unknown tier is treated as the highest.

A difference is answered by facet and tier. Another version is another agent, and another definition of a tool is
somebody else's doing: the agent is stopped, and at the lowest tier what changed waits for a person. Another prompt or
model stops an agent of the highest tier; at the medium tier all it does waits for a person; at the lowest its owner is
told, and has the days of a finding (`lifecycle/discovery/`).

A release may answer more (`[[remediation]]`, `policy/config.py`), never less: of what is built in and the rules that
act, the strongest is done; rules that only rehearse are put on record. On a statistic alone nothing stops an agent.

A tier that rose is no change of the agent's but one of ours (a release, an agreement, a tool's facts), so the agent
goes on, with each call answered for by security, until it is approved anew or what changed is put right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from accredit.monitoring.model import AlertKind, RemediationKind, Severity
from accredit.policy.config import AutomaticAnswer, RemediationRule
from accredit.registry.model import Environment, RestrictionKind, Tier

__all__ = ["POSTURE_KINDS", "Remedy", "remedy_for"]

POSTURE_KINDS: Final = frozenset(
    {
        AlertKind.POSTURE_DEFINITION,
        AlertKind.POSTURE_ENDPOINT,
        AlertKind.POSTURE_MODEL,
        AlertKind.POSTURE_PROMPT,
        AlertKind.POSTURE_TIER,
        AlertKind.POSTURE_VERSION,
    }
)
_WEEK_S: Final = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Remedy:
    """How urgent, and what is done about it without anybody being asked."""

    severity: Severity
    kind: RemediationKind = RemediationKind.NONE
    restriction: RestrictionKind | None = None
    for_s: int | None = None
    calls_per_minute: int | None = None
    role: str | None = None
    rehearsed: str = ""
    """What rules that only rehearse would have done, in plain words."""


_TOLD: Final = {
    AlertKind.NEW_TOOL: Remedy(Severity.WARNING),
    AlertKind.NEW_DESTINATION: Remedy(Severity.WARNING),
    AlertKind.NEW_DATA_CLASS: Remedy(Severity.WARNING),
    AlertKind.NEW_OFFER: Remedy(Severity.WARNING),  # no agent can reach it: it is not registered
    AlertKind.FIRST_DENIAL: Remedy(Severity.INFO),
    # a claim: people look into it, and nothing is done on the strength of it
    AlertKind.REPORTED_AGENT: Remedy(Severity.WARNING),
    AlertKind.REPORTED_TOOL: Remedy(Severity.WARNING),
    AlertKind.REPORTED_MODEL: Remedy(Severity.WARNING),
    AlertKind.UNKNOWN_CALLER: Remedy(Severity.INFO),
    AlertKind.FINDING_OVERDUE: Remedy(Severity.WARNING),
    AlertKind.RIGHT_LOST: Remedy(Severity.WARNING),  # what is lost is lost already, exactly
    AlertKind.OWNERLESS: Remedy(Severity.WARNING),  # what is done about it is done already
    AlertKind.REVIEW: Remedy(Severity.WARNING),
    # a statistic: people look at what moved, and nothing is done on the strength of it alone
    AlertKind.BEHAVIOUR_DRIFT: Remedy(Severity.WARNING),
    AlertKind.UNWATCHED: Remedy(Severity.WARNING),
    # a prompt that is filled in anew for each request never has the approved digest: people look into it
    AlertKind.POSTURE_INSTRUCTIONS: Remedy(Severity.WARNING),
    # what a provider says of itself, in a name that it may spell otherwise: people look into it
    AlertKind.POSTURE_ANSWER: Remedy(Severity.WARNING),
    AlertKind.NEW_HOURS: Remedy(Severity.INFO),
    # what is rare by a test, or by a count: a statistic alone stops nobody
    AlertKind.DENIAL_BURST: Remedy(Severity.WARNING),
    AlertKind.ERROR_RISE: Remedy(Severity.WARNING),
    AlertKind.RETRY_RISE: Remedy(Severity.INFO),
    AlertKind.LOOP: Remedy(Severity.WARNING),
    AlertKind.SPEND_FORECAST: Remedy(Severity.INFO),
    AlertKind.TASK_MISMATCH: Remedy(Severity.WARNING),
    AlertKind.SHARED_KEY: Remedy(Severity.CRITICAL),  # exits of one network can look so: a person locks the key
    AlertKind.REVOKED_USE: Remedy(Severity.WARNING),  # refused already
    AlertKind.GHOST: Remedy(Severity.CRITICAL),  # its credential is dead already: there is nothing left to take
}


_STOPPED: Final = Remedy(Severity.CRITICAL, RemediationKind.QUARANTINE)
_WAITS: Final = Remedy(Severity.CRITICAL, RemediationKind.RESTRICT, RestrictionKind.HOLD, _WEEK_S)
"""What changed waits for a person, call by call: all it does, or the one tool."""
_FOUND: Final = Remedy(Severity.WARNING)
_BY_TIER: Final = {Tier.HIGH: _STOPPED, Tier.MEDIUM: _WAITS, Tier.LOW: _FOUND}
_IN_PRODUCTION: Final = {
    AlertKind.POSTURE_VERSION: {Tier.HIGH: _STOPPED, Tier.MEDIUM: _STOPPED, Tier.LOW: _WAITS},
    AlertKind.POSTURE_DEFINITION: {Tier.HIGH: _STOPPED, Tier.MEDIUM: _STOPPED, Tier.LOW: _WAITS},
    AlertKind.POSTURE_MODEL: _BY_TIER,
    AlertKind.POSTURE_PROMPT: _BY_TIER,
    # whoever moved the server may: what runs is what was approved, and a person looks at where it goes now
    AlertKind.POSTURE_ENDPOINT: {Tier.HIGH: _WAITS, Tier.MEDIUM: _WAITS, Tier.LOW: _FOUND},
    AlertKind.POSTURE_TIER: dict.fromkeys(Tier, _WAITS),
}


def remedy_for(
    kind: AlertKind, environment: Environment, tier: Tier | None, rules: Sequence[RemediationRule] = ()
) -> Remedy:
    """The answer to an alert of that kind on an agent of that environment and tier; None: the tier is not known."""
    strongest = _built_in(kind, environment, tier)
    level = (tier or Tier.HIGH).value
    fitting = [
        one for one in rules if kind.value in one.on and one.environment == environment.value and level in one.tiers
    ]
    for rule in fitting:
        if rule.acts and _strength_of(rule) > _strength(strongest):
            strongest = replace(_by(rule), severity=strongest.severity)
    would = [_words(rule) for rule in fitting if not rule.acts]
    return replace(strongest, rehearsed="; ".join(would)) if would else strongest


def _built_in(kind: AlertKind, environment: Environment, tier: Tier | None) -> Remedy:
    if kind not in POSTURE_KINDS:
        return _TOLD[kind]
    if environment is not Environment.PRODUCTION:
        return Remedy(Severity.WARNING)
    return _IN_PRODUCTION[kind][tier or Tier.HIGH]


_ANSWERS: Final = tuple(AutomaticAnswer)
_RESTRICTS: Final = {
    AutomaticAnswer.THROTTLE: RestrictionKind.THROTTLE,
    AutomaticAnswer.HOLD: RestrictionKind.HOLD,
    AutomaticAnswer.READ_ONLY: RestrictionKind.READ_ONLY,
    AutomaticAnswer.DROP_TOOL: RestrictionKind.DROP_TOOL,
}
_STATES: Final = {
    AutomaticAnswer.QUARANTINE: RemediationKind.QUARANTINE,
    AutomaticAnswer.SUSPEND: RemediationKind.SUSPEND,
}


def _strength_of(rule: RemediationRule) -> tuple[int, int]:
    return _ANSWERS.index(rule.do), rule.for_s


def _strength(remedy: Remedy) -> tuple[int, int]:
    if remedy.kind is RemediationKind.NONE:
        return -1, 0
    if remedy.kind is RemediationKind.RESTRICT:
        done = next(
            answer for answer, kind in _RESTRICTS.items() if kind is (remedy.restriction or RestrictionKind.READ_ONLY)
        )
    else:
        done = next(answer for answer, kind in _STATES.items() if kind is remedy.kind)
    return _ANSWERS.index(done), remedy.for_s or 0


def _by(rule: RemediationRule) -> Remedy:
    if rule.do in _STATES:
        return Remedy(Severity.WARNING, _STATES[rule.do])
    return Remedy(
        Severity.WARNING, RemediationKind.RESTRICT, _RESTRICTS[rule.do], rule.for_s, rule.calls_per_minute, rule.role
    )


def _words(rule: RemediationRule) -> str:
    how = (
        f" to {rule.calls_per_minute} calls a minute"
        if rule.calls_per_minute
        else f" for {rule.role}"
        if rule.role
        else ""
    )
    time = "" if rule.do in _STATES else f", {rule.for_s} s"
    return f"{rule.do}{how}{time}"
