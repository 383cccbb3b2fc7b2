"""Requests for sign-off and their votes; holds and what people gave for them. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.identity.model import Principal
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Subject
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, HoldId, PersonId, TeamId, ToolId
from accredit.kernel.money import Money
from accredit.policy.model import HoldNeed
from accredit.registry.model import Agent, Environment, GateRule, RestrictionKind, Role, Tier, Tool
from accredit.registry.templates import Template

__all__ = [
    "ApprovalRequest",
    "ApprovalState",
    "Grounds",
    "HeldCall",
    "Hold",
    "HoldGrant",
    "HoldRefusal",
    "HoldState",
    "HoldVerdict",
    "Obligation",
    "Parties",
    "RoleNeed",
    "SubjectKind",
    "Vote",
    "VoteVerdict",
]


@dataclass(frozen=True, slots=True)
class HeldCall:
    """Exactly one call, as far as an approval binds to it."""

    agent: Agent
    principal: Principal
    tool: Tool
    arguments: Mapping[str, Any]
    resource: str | None = None
    """What is acted on, when that is not the tool itself."""
    chain: tuple[Agent, ...] = ()
    """The agents that handed the work on, the last one first."""
    barred: Mapping[PersonId, str] = field(default_factory=dict)
    """Persons who may not answer, each with what they are to the call (`user`, `owner`): only a policy that names that
    very role lets them."""
    answers: Mapping[str, Any] = field(default_factory=dict)
    """What was answered to the tool server's own questions, and goes there with the call."""


class HoldState(StrEnum):
    """Where a hold stands."""

    OPEN = "open"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    """Nobody answered, or nobody used the answer, in time."""
    USED = "used"


class HoldVerdict(StrEnum):
    """What a person says to a hold."""

    APPROVE = "approve"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class HoldGrant:
    """One person's approval for one policy, in the role the policy named; used once."""

    id: str
    policy: str
    role: str
    person: PersonId
    credential: str
    basis: str
    view_digest: Digest
    """Of the text that person was shown."""
    reason: str
    at_us: int
    for_person: PersonId | None = None
    """Whose delegation it was given under."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A call that waits for people, or what became of it."""

    id: HoldId
    agent: AgentId
    version: Digest
    environment: Environment
    tool: ToolId
    request: Digest
    """What the grants are for. Never to be written in clear: it can be guessed from few arguments."""
    needs: tuple[HoldNeed, ...]
    """Sorted; each needs a grant of its own."""
    state: HoldState
    opened_us: int
    expires_us: int
    """While open, when the question lapses; once granted, when the grants do."""
    barred: Mapping[PersonId, str]
    view: str
    """What an approver is to be shown: JSON text of the raw values, characters that could deceive the eye escaped.
    Empty once the hold is over."""
    view_digest: Digest
    grants: tuple[HoldGrant, ...] = ()
    denied_by: PersonId | None = None
    denied_reason: str = ""
    closed_us: int | None = None
    team: TeamId | None = None
    """The agent's: whose team leads and business owners are meant."""

    @property
    def missing(self) -> tuple[HoldNeed, ...]:
        """The needs without a grant."""
        given = {grant.policy for grant in self.grants}
        return tuple(need for need in self.needs if need.policy not in given)


@dataclass(frozen=True, slots=True)
class HoldRefusal:
    """Why a hold cannot be opened, answered or used."""

    code: Code
    detail: str
    hold: HoldId | None = None


class VoteVerdict(StrEnum):
    """What one vote says."""

    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"
    """An answer that approves nothing: the role waits for somebody else."""


class ApprovalState(StrEnum):
    """Where a request stands. Nothing becomes approved by silence."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    """Nobody completed the gate in time, or nobody used the approval for 30 days."""
    SUPERSEDED = "superseded"
    """A newer request for the same agent took its place."""
    WITHDRAWN = "withdrawn"


class SubjectKind(StrEnum):
    """What is signed off."""

    AGENT_VERSION = "agent-version"
    POLICY_RELEASE = "policy-release"
    ROLE_GRANT = "role-grant"
    """Also changes of groups, which can give roles."""
    TOOL_FACT = "tool-fact"
    """A tool's effect, scope, data classes, fields, price, its server's address, or a new pin in production;
    where a store of memory or knowledge is."""
    PURGE = "purge"
    """Deletion of what an agent kept in a store, exactly as planned."""
    TEMPLATE = "template"
    """What agents may be that were approved before they exist."""
    BREAK_GLASS = "break-glass"
    """That holds of an agent did not wait for a while: a look at it afterwards."""
    GATE = "gate"
    """What the organisation asks of a gate beyond what is built in."""
    FACT_SOURCE = "fact-source"
    """Who vouches for users and tasks: an issuer and its keys, or a context provider."""
    ERASURE = "erasure"
    """Destruction of the parts of the log that concern one subject."""
    RETIREMENT = "retirement"
    """The end of an agent, exactly as planned."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a request rests on at this moment, computed anew whenever somebody votes or acts on it."""

    facets: Mapping[str, Digest] = field(default_factory=dict)
    """Of the agent's version; empty for other subjects."""
    tier: Tier | None = None
    blocks: tuple[str, ...] = ()
    """Why it can be approved by nobody, in plain words."""
    excess: tuple[str, ...] = ()
    """What the access validation found too much, in plain words."""
    validation: Digest | None = None
    """Of the whole access validation, and with it of the release it was made under. None: there is none."""
    policies: frozenset[str] = frozenset()
    """Ids of the policies in force: what a risk assessment may count on."""
    quarantined_us: int | None = None
    """Since when the agent is quarantined, if it is: a vote from before knew nothing of it, and lifts no quarantine."""
    view: Mapping[str, Any] = field(default_factory=dict)
    """The raw values of all of this, to be shown to whoever votes; any JSON."""
    rule: GateRule | None = None
    """What the organisation asks of this gate beyond what is built in."""
    tools: frozenset[ToolId] = frozenset()
    """Tools and models that the agent's version is granted: what an obligation can be about."""
    template_rule: GateRule | None = None
    """What the organisation asks of versions within a template beyond what is built in: its rule of the low tier."""
    templates: tuple[Template, ...] = ()
    """Those that the agent's version is within, by name."""


@dataclass(frozen=True, slots=True)
class RoleNeed:
    """One role a gate requires, and what it judges."""

    role: Role
    facets: tuple[str, ...] = ()
    """Of an agent version: the facets whose change voids this role's vote. Sorted."""
    validation: bool = False
    """Whether the generated access validation must show no excess."""
    assessment: bool = False
    """Whether a risk assessment must be attached, whose digest the vote carries."""
    comment: bool = False
    """Whether an approval needs words; a rejection and an abstention always do."""
    count: int = 1
    """How many persons must approve in it."""
    template: Digest | None = None
    """The template that the version is within, if that is why nobody else is asked: the vote binds to it."""


@dataclass(frozen=True, slots=True)
class Parties:
    """Who stands on the asking side of a request: none of them votes on it (DESIGN §6)."""

    requester: PersonId | None
    authors: frozenset[PersonId] = frozenset()
    owners: frozenset[PersonId] = frozenset()
    beneficiaries: frozenset[PersonId] = frozenset()
    """Who would get the role."""

    @property
    def all(self) -> frozenset[PersonId]:
        asked: frozenset[PersonId] = frozenset() if self.requester is None else frozenset({self.requester})
        return asked | self.authors | self.owners | self.beneficiaries


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's statement in one role on what that role judges."""

    role: Role
    person: PersonId
    credential: str
    """The very credential it was cast with."""
    verdict: VoteVerdict
    comment: str
    judged: Digest
    """Over the digests of all this role judges: facets, tier, access validation, risk assessment."""
    view_digest: Digest
    """Of the text the person was shown."""
    at_us: int
    assessment: Digest | None = None
    for_person: PersonId | None = None
    """Whose delegation it was cast under."""
    carried_from: str | None = None
    """The earlier request it was cast on: nothing it judged has changed since."""


@dataclass(frozen=True, slots=True)
class Obligation:
    """What a vote approved under: a narrowing in force from the activation on, until a newer approval is."""

    kind: RestrictionKind
    by: PersonId
    as_role: Role
    tool: ToolId | None = None
    """None: every tool."""
    calls_per_minute: int | None = None
    cost_per_day: Money | None = None
    role: Role | None = None
    """Of a hold: who can let a call through."""
    share_percent: int | None = None
    """Of a canary: how many of a hundred sessions are let through."""
    days: int | None = None
    """Of a canary: for how long from the activation on; None: until a newer approval is in force."""


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """A subject that waits for sign-off, or what became of it."""

    id: str
    subject: Subject
    about: str
    """What a reader calls it: an agent's id, `role:PERSON`, `server:NAME`, a release digest."""
    agent: AgentId | None
    team: TeamId | None
    """Whose team leads and business owners are meant."""
    tier: Tier | None
    needs: tuple[RoleNeed, ...]
    parties: Parties
    state: ApprovalState
    opened_us: int
    expires_us: int
    nonce: str
    """Keeps the digest of the view from being guessed."""
    votes: tuple[Vote, ...] = ()
    """Those that count; what was voided stands in the log."""
    assessment: Digest | None = None
    decided_us: int | None = None
    used_us: int | None = None
    """When what was approved was put into force."""
    obligations: tuple[Obligation, ...] = ()
    """Under which it is approved, if it is. They stay when the vote that brought one does not count any more: others
    voted with it in view."""
    reminded: int = 0
    """How many stages of reminding have come (`reminders.py`)."""
    told: tuple[PersonId, ...] = ()
    """Who was reminded last: they may see it, and get no vote by it."""

    @property
    def approvals(self) -> tuple[Vote, ...]:
        """The votes that count and approve."""
        return tuple(vote for vote in self.votes if vote.verdict is VoteVerdict.APPROVE)

    @property
    def missing(self) -> tuple[RoleNeed, ...]:
        """The roles that have not approved, or not by as many persons as they must."""
        return tuple(need for need in self.needs if self.wanted(need))

    def wanted(self, need: RoleNeed) -> int:
        """How many more persons must approve in a role."""
        return max(need.count - sum(vote.role is need.role for vote in self.approvals), 0)
