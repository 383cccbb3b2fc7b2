"""What a finding is, how long it may stay open, whose it is, and what can be answered. Values and pure decisions.

A finding is about one subject and of one kind, and there is one of it while it is open. It ends by not being so any
more, which whoever looks next finds out by itself, or by an answer. An answer that changes nothing, and a dismissal
that nobody else has looked at where there should be a second look, leave it open until it is so no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from accredit.kernel.ids import AgentId, PersonId
from accredit.monitoring.model import Severity
from accredit.registry.model import Agent, Role
from accredit.registry.organisation import Organisation

__all__ = [
    "ANSWERS",
    "DISMISSED_US",
    "AgentFinding",
    "FindingAnswer",
    "FindingKind",
    "FindingState",
    "Observed",
    "answers_to",
    "due_us",
    "needs_second_look",
    "owner_of",
    "told_before",
]

_DAY_US: Final = 86_400_000_000
DISMISSED_US: Final = 90 * _DAY_US
"""For how long a dismissal speaks for the same thing seen again."""
REGISTER_US: Final = 14 * _DAY_US
"""How long whoever said that they register something has to do so."""


class FindingKind(StrEnum):
    """What is not right."""

    UNREGISTERED = "unregistered"
    """An agent that nobody registered."""
    SHADOW = "shadow"
    """Something that reaches tools or models past the gateway."""
    ZOMBIE = "zombie"
    """A registered agent with a live credential that has not made a call for 60 days."""
    ORPHAN = "orphan"
    """An agent whose owner is not there any more."""
    MOVED = "moved"
    """An agent whose owner has no right to some of its tools, or is not of its team any more."""
    GHOST = "ghost"
    """An agent that is retired and was seen."""
    EXPIRED = "expired"
    """An agent that was to run until a day, and that day is over."""
    CREDENTIAL = "credential"
    """A credential of a retired agent that is somebody else's to end."""
    DELEGATE = "delegate"
    """An agent that only a retired one handed work to."""
    UNDER_DECLARED = "under-declared"
    """An agent that was seen to do, or to touch, more than it was approved for."""
    SPLIT_WORKFLOW = "split-workflow"
    """An agent whose work comes to a higher tier together with that of others than each of them was approved under."""
    DATA_SEEN = "data-seen"
    """A data class was seen where none is declared, too seldom to act on it."""
    PURPOSE_MISMATCH = "purpose-mismatch"
    """What an agent does is not what its purpose says."""
    VERSION_MISMATCH = "version-mismatch"
    """An agent of which something that runs is not what was approved."""
    NEAR_THRESHOLD = "near-threshold"
    """An agent whose newest declaration came to lie just under the threshold of a tier."""


class FindingState(StrEnum):
    """Where a finding stands."""

    OPEN = "open"
    ANSWERED = "answered"
    """Somebody answered; it is over once that shows."""
    SECOND_LOOK = "second-look"
    """Dismissed by one person, and waiting for another."""
    DISMISSED = "dismissed"
    OVER = "over"
    """It is not so any more."""


class FindingAnswer(StrEnum):
    """What can be done about a finding in one step."""

    REGISTER = "register"
    ADOPT = "adopt"
    SUSPEND = "suspend"
    RETIRE = "retire"
    DISMISS = "dismiss"


ANSWERS: Final[Mapping[FindingKind, tuple[FindingAnswer, ...]]] = {
    FindingKind.UNREGISTERED: (FindingAnswer.REGISTER, FindingAnswer.DISMISS),
    FindingKind.SHADOW: (FindingAnswer.REGISTER, FindingAnswer.SUSPEND, FindingAnswer.RETIRE, FindingAnswer.DISMISS),
    FindingKind.ZOMBIE: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE, FindingAnswer.DISMISS),
    FindingKind.ORPHAN: (FindingAnswer.ADOPT, FindingAnswer.SUSPEND, FindingAnswer.RETIRE),
    FindingKind.MOVED: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE, FindingAnswer.DISMISS),
    FindingKind.GHOST: (FindingAnswer.DISMISS,),
    FindingKind.EXPIRED: (FindingAnswer.RETIRE, FindingAnswer.DISMISS),
    FindingKind.CREDENTIAL: (FindingAnswer.DISMISS,),
    FindingKind.DELEGATE: (FindingAnswer.RETIRE, FindingAnswer.SUSPEND, FindingAnswer.DISMISS),
    FindingKind.UNDER_DECLARED: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE),
    FindingKind.SPLIT_WORKFLOW: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE),
    FindingKind.DATA_SEEN: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE, FindingAnswer.DISMISS),
    FindingKind.PURPOSE_MISMATCH: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE, FindingAnswer.DISMISS),
    FindingKind.VERSION_MISMATCH: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE),
    FindingKind.NEAR_THRESHOLD: (FindingAnswer.SUSPEND, FindingAnswer.RETIRE, FindingAnswer.DISMISS),
}
"""What can be answered to a finding of each kind. That an agent has no owner, or runs above the tier it was approved
under, cannot be dismissed."""
_TO_AN_AGENT: Final = frozenset({FindingAnswer.ADOPT, FindingAnswer.SUSPEND, FindingAnswer.RETIRE})
_DAYS: Final[Mapping[Severity, int]] = {Severity.CRITICAL: 3, Severity.WARNING: 14, Severity.INFO: 30}
_DAYS_OF: Final[Mapping[FindingKind, int]] = {
    FindingKind.ORPHAN: 7,
    FindingKind.UNDER_DECLARED: 5,
    FindingKind.SPLIT_WORKFLOW: 5,
    FindingKind.VERSION_MISMATCH: 5,
}


@dataclass(frozen=True, slots=True)
class Observed:
    """Something that is so now: what opens a finding, or keeps one open."""

    kind: FindingKind
    subject: str
    """What it is about, by an id or digest of ours; with the kind, what makes it the same finding."""
    severity: Severity
    name: str
    """What people call it. May come out of a file; then it was made fit to be shown."""
    agent: AgentId | None = None
    source: str = ""
    """Who looked: `registry`, `alerts`, or the name a scan was given. A finding ends by the same one's word."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[FindingKind, str]:
        """What makes two of them the same."""
        return (self.kind, self.subject)


@dataclass(frozen=True, slots=True)
class AgentFinding:
    """An agent that nobody registered or looks after, as it stands on record."""

    id: str
    seen: Observed
    state: FindingState
    opened_us: int
    due_us: int
    escalated_us: int | None = None
    """When its deadline passed without an answer."""
    answer: FindingAnswer | None = None
    by: PersonId | None = None
    """Who answered."""
    second: PersonId | None = None
    """Who looked at a dismissal as well."""
    reason: str = ""
    answered_us: int | None = None
    closed_us: int | None = None

    @property
    def open(self) -> bool:
        """Whether it still waits for anything."""
        return self.closed_us is None


def due_us(observed: Observed, opened_us: int) -> int:
    """By when it must be answered."""
    return opened_us + _DAYS_OF.get(observed.kind, _DAYS[observed.severity]) * _DAY_US


def answers_to(finding: AgentFinding) -> tuple[FindingAnswer, ...]:
    """What can be answered to it now; a second look at a dismissal is a dismissal as well."""
    if not finding.open:
        return ()
    return tuple(one for one in ANSWERS[finding.seen.kind] if finding.seen.agent is not None or one not in _TO_AN_AGENT)


def needs_second_look(observed: Observed) -> bool:
    """Whether one person alone may not dismiss it."""
    return observed.severity is Severity.CRITICAL


def told_before(before: AgentFinding, observed: Observed, now_us: int) -> bool:
    """Whether an earlier finding of the same speaks for what is observed now.

    One that is open does, and a dismissal for a while, unless it is graver now than what was dismissed.
    """
    if before.open:
        return True
    if before.state is not FindingState.DISMISSED or before.closed_us is None:
        return False
    graver = observed.severity is Severity.CRITICAL and before.seen.severity is not Severity.CRITICAL
    return not graver and now_us < before.closed_us + DISMISSED_US


def owner_of(agent: Agent | None, organisation: Organisation) -> tuple[PersonId | None, Role]:
    """Whose a finding is now, and in which role it is somebody's at least: owner, backup, team lead, then security.

    No person: it is for everybody in that role.
    """
    if agent is None:
        return None, Role.SECURITY
    for person in (agent.owner, agent.backup_owner):
        known = organisation.people.get(person) if person is not None else None
        if known is not None and not known.left:
            return known.id, Role.TEAM_LEAD
    leads = organisation.holders(Role.TEAM_LEAD, agent.team.id)
    return (min(leads), Role.TEAM_LEAD) if leads else (None, Role.SECURITY)
