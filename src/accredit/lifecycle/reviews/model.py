"""Campaigns, reviews of single agents and what people say in them, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, PersonId, ToolId
from accredit.registry.model import ReviewSchedule, Tier

__all__ = [
    "ENDED",
    "ROUTINE",
    "AcceptedIdentity",
    "AgentReview",
    "AgentReviewState",
    "ItemDecision",
    "ItemVerdict",
    "NeedStatement",
    "Removal",
    "ReviewCampaign",
    "ReviewKind",
    "ReviewMark",
    "ReviewTrigger",
    "Seed",
]

ROUTINE: Final = ToolId("")
"""Stands for the one line of permissions that are in use, of little effect and as they were."""


class ReviewKind(StrEnum):
    """Why a campaign began."""

    SCHEDULED = "scheduled"
    STARTED = "started"
    """Somebody started it."""
    TRIGGERED = "triggered"
    """Something happened to one agent: a review of it alone."""


class ReviewTrigger(StrEnum):
    """What has an agent reviewed before its time."""

    OWNER_CHANGED = "owner-changed"
    MATERIAL_CHANGE = "material-change"
    DRIFT = "drift"
    IDLE = "idle"
    TIER_RAISED = "tier-raised"
    RESUMED = "resumed"
    """It was suspended because nobody answered, or nobody needed it, and runs again."""


class AgentReviewState(StrEnum):
    """Where the review of one agent stands."""

    OPEN = "open"
    CARRYING_OUT = "carrying-out"
    """Everything is answered, and what was taken away is not shown to be out of reach yet."""
    ANSWERED = "answered"
    REDUCED = "reduced"
    """Nobody answered in time: what it does not use was taken away."""
    SUSPENDED = "suspended"
    """Nobody answered in time: it was stopped."""
    NOT_NEEDED = "not-needed"
    """Its owner does not need it: it was stopped, and is to be retired."""
    GONE = "gone"
    """It was retired meanwhile."""


ENDED: Final = frozenset(AgentReviewState) - {AgentReviewState.OPEN, AgentReviewState.CARRYING_OUT}


class ItemVerdict(StrEnum):
    """What is said, or suggested, of one permission."""

    KEEP = "keep"
    REMOVE = "remove"
    FIX_POLICY = "fix-policy"
    """It stays; that it is refused so often is to be put right."""
    INVESTIGATE = "investigate"
    """It stays; what it was used for is looked into."""


@dataclass(frozen=True, slots=True)
class ItemDecision:
    """What somebody said of one permission, or of the line of routine ones."""

    tool: ToolId
    verdict: ItemVerdict
    by: PersonId
    at_us: int
    view_ms: int
    """How long they had what they decided on before them, shared among what they decided at once."""
    bulk: bool
    """Whether they kept others in the same breath."""
    look: int
    version: Digest
    """Of the agent, as they saw it: for another it says nothing."""
    reason: str = ""
    covers: tuple[ToolId, ...] = ()
    """Of the line of routine permissions: those in it."""


@dataclass(frozen=True, slots=True)
class NeedStatement:
    """What an owner said about whether the agent is still needed, in their own words."""

    needed: bool
    text: str
    by: PersonId
    at_us: int


@dataclass(frozen=True, slots=True)
class Removal:
    """A permission that a review took away, and how far that is."""

    tool: ToolId
    silent: bool
    """Whether nobody's decision but nobody's answer did it."""
    placed_us: int | None = None
    """Since when a restriction keeps it away."""
    until_us: int = 0
    """Until when it does, if no version without it is in force before."""
    verified_us: int | None = None
    """When it was looked up that no call of it would pass."""
    settled_us: int | None = None
    """Since when a version without it is in force."""
    undone_us: int | None = None
    """When somebody lifted the restriction: it stays undone."""


@dataclass(frozen=True, slots=True)
class Seed:
    """A permission that an agent never had, put before its reviewer to be noticed. It is never carried out."""

    agent: AgentId
    tool: ToolId
    granted_us: int
    """When the card says that it was granted."""


@dataclass(frozen=True, slots=True)
class AcceptedIdentity:
    """Somebody's word that an identity which is on no list is in order."""

    subject: str
    by: PersonId
    at_us: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReviewCampaign:
    """A set of agents under review. Every look at all of it has a number; there is a second one only for a reason."""

    id: str
    kind: ReviewKind
    scope: ReviewSchedule
    """What it is about, as it was when it began; without a name: what somebody chose, or the built-in schedule."""
    reason: str
    begun_us: int
    by: PersonId | None
    respond_us: int
    grace_us: int
    look: int = 1
    look_us: int = 0
    """When the present look began."""
    flags: tuple[tuple[int, str], ...] = ()
    """(look, why it did not count)."""
    barred: frozenset[PersonId] = frozenset()
    """Whose looks did not count: they take no further one in this campaign."""
    seeds: tuple[Seed, ...] = ()
    accepted: tuple[AcceptedIdentity, ...] = ()
    closed_us: int | None = None
    closed_by: PersonId | None = None
    population: Mapping[str, int] = field(default_factory=dict)
    """Once it is closed: how many identities there were, by what became of each."""

    @property
    def open(self) -> bool:
        return self.closed_us is None

    def seeded(self, agent: AgentId) -> frozenset[ToolId]:
        """What is put before the reviewer of an agent and was never granted."""
        return frozenset(one.tool for one in self.seeds if one.agent == agent)


@dataclass(frozen=True, slots=True)
class AgentReview:
    """The review of one agent, as it stands on record."""

    id: str
    campaign: str
    agent: AgentId
    tier: Tier | None
    """When it began; None: nobody could tell."""
    begun_us: int
    due_us: int
    triggers: tuple[tuple[ReviewTrigger, str], ...] = ()
    """(what, exactly which)."""
    extended: bool = False
    """Whether it got more time because nobody answered."""
    told: int = 0
    """1: people were told that it waits; 2: that it is overdue."""
    look: int = 1
    """Which look at the campaign it is at."""
    state: AgentReviewState = AgentReviewState.OPEN
    outcome: AgentReviewState | None = None
    """While it is carried out: how it will end."""
    need: NeedStatement | None = None
    decisions: tuple[ItemDecision, ...] = ()
    removals: tuple[Removal, ...] = ()
    ended_us: int | None = None

    @property
    def open(self) -> bool:
        return self.ended_us is None

    @property
    def unsettled(self) -> tuple[Removal, ...]:
        """Removals that still rest on a restriction."""
        return tuple(
            one
            for one in self.removals
            if one.verified_us is not None and one.settled_us is None and one.undone_us is None
        )


@dataclass(frozen=True, slots=True)
class ReviewMark:
    """What the last review of an agent left behind: what the next one compares with."""

    agent: AgentId
    review: str
    at_us: int
    outcome: AgentReviewState
    version: Digest
    """In force when it ended."""
    texts: tuple[str, ...] = ()
    """The last statements of its need, newest first."""
    grants: Mapping[ToolId, tuple[str, str]] = field(default_factory=dict)
    """Digests of what it was granted, and of the tool's definition."""
    before: ReviewMark | None = None
    """What the review before it left: a further look of this one compares with that, not with a look that was none."""
