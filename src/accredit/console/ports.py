"""What the pages ask of the rooms above: the least of each, so that a test can stand in for it and a reader sees it.

Everything that changes something goes through the same operations as the API, which check who may; the rest reads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from accredit.approvals.breakglass import BreakGlass
from accredit.approvals.duties import Barred, Eligible
from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Hold,
    HoldState,
    HoldVerdict,
    Obligation,
    VoteVerdict,
)
from accredit.approvals.outlook import RoleOutlook
from accredit.audit.ports import RecordReader
from accredit.console.live import RecentCall
from accredit.identity.model import ApiToken, Operator
from accredit.identity.upstreams import BrokeredCredential, ConnectedAccount
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, HoldId, PersonId, ToolId
from accredit.lifecycle.baseline_operations import BaselineDifference, BehaviourShown
from accredit.lifecycle.certificates import Certificate
from accredit.lifecycle.chat_operations import ChatChannel, ChatLink
from accredit.lifecycle.discovery.findings import AgentFinding, FindingAnswer, FindingKind
from accredit.lifecycle.discovery_operations import Answered, FindingView
from accredit.lifecycle.dossier import Dossier
from accredit.lifecycle.model import Procedure, RetirementReceipt
from accredit.lifecycle.retirement_plan import RetirementPlan
from accredit.lifecycle.reviews.deciding import AskedDecision
from accredit.lifecycle.reviews.gathering import AgentCard
from accredit.lifecycle.reviews.model import AgentReview, ReviewCampaign
from accredit.lifecycle.reviews.report import ReviewReport
from accredit.lifecycle.store_reviews import ReviewedItem
from accredit.lifecycle.stored import Kept, Review, ReviewVerdict
from accredit.lifecycle.succession import Succession
from accredit.monitoring.behaviour import BaselinePart
from accredit.monitoring.model import Alert, AlertDisposition, AlertState
from accredit.registry.model import Agent, Incident, Person, Role, Team, Tier
from accredit.registry.organisation import Organisation

__all__ = [
    "AccountList",
    "AlertList",
    "BehaviourDesk",
    "Calls",
    "CertificateList",
    "Chats",
    "ConsoleOperations",
    "ConsoleServices",
    "DossierReader",
    "FindingDesk",
    "GlassDesk",
    "HeldCalls",
    "IncidentActs",
    "RefusalSink",
    "Registered",
    "Requests",
    "RetirementDesk",
    "ReviewActs",
    "ReviewLists",
    "ReviewsOfStores",
    "Sessions",
    "StoreActs",
    "Tiers",
]


class Sessions(Protocol):
    """Sessions of people in browsers."""

    async def open_session(self, link: str, *, source: str) -> str:
        """Exchange a sign-in link, once, for a session; gives its secret.

        Raises:
            UnauthenticatedError: the link is unknown, expired or used.
            UnavailableError: too many attempts from there.
        """
        ...

    def authenticate_session(self, secret: str, *, touch: bool = True) -> Operator:
        """Whose session it is; without `touch`, being asked does not keep it alive.

        Raises:
            UnauthenticatedError: there is none, or it is over.
        """
        ...

    def tokens(self, operator: Operator) -> Sequence[ApiToken]:
        """The operator's own tokens and sessions, without their secrets."""
        ...

    async def revoke_token(self, operator: Operator, token_id: str) -> None:
        """End one of them.

        Raises:
            NotFoundError: the operator has no such token.
        """
        ...

    async def close_session(self, operator: Operator) -> None:
        """End the session the operator acts in."""
        ...


class RefusalSink(Protocol):
    """Takes note of whoever was turned away."""

    def __call__(
        self, code: Code, *, path: str, source: str, credential: str | None = None, cause: str = ""
    ) -> None: ...


class Registered(Protocol):
    """What is registered, at one moment."""

    def agent(self, agent: AgentId) -> Agent | None: ...

    def agent_named(self, environment: str, name: str, /) -> Agent | None: ...

    def agents(self) -> Iterable[Agent]: ...

    def persons(self) -> Iterable[Person]: ...

    def person_by_id(self, person: PersonId) -> Person | None: ...

    def teams(self) -> Sequence[Team]: ...


class Requests(Protocol):
    """Requests for sign-off, as they can be read."""

    def get(self, request_id: str, /) -> ApprovalRequest | None: ...

    def find(
        self, *, agent: AgentId | None = None, state: ApprovalState | None = None
    ) -> Sequence[ApprovalRequest]: ...

    def view(self, request_id: str, /) -> tuple[str, Digest]:
        """The text a voter is shown, whole, and its digest; empty once there is nothing to vote on."""
        ...

    def standing(self, request_id: str, operator: Operator, /) -> Mapping[Role, Eligible | Barred]:
        """How a person stands to every role the request still wants, on present grounds."""
        ...

    def outlook(self, request_id: str, /) -> Sequence[RoleOutlook]:
        """Who could still vote in each of them, and where too few can."""
        ...


class HeldCalls(Protocol):
    """Held calls, as they can be read."""

    def get(self, hold: HoldId, /) -> Hold | None: ...

    def find(self, *, agent: AgentId | None = None, state: HoldState | None = None) -> Sequence[Hold]: ...


class ConsoleOperations(Protocol):
    """What can be changed from a page. Each checks who may, and raises ForbiddenError for whoever may not."""

    async def vote(
        self,
        who: Operator,
        request: str,
        role: Role,
        verdict: VoteVerdict,
        view_digest: Digest,
        comment: str,
        obligations: Sequence[Obligation] = (),
    ) -> ApprovalRequest: ...

    async def assess(self, who: Operator, request: str, form: Mapping[str, Any]) -> Digest: ...

    async def withdraw(self, who: Operator, request: str) -> ApprovalRequest: ...

    async def answer_hold(
        self,
        who: Operator,
        hold: HoldId,
        verdict: HoldVerdict,
        *,
        view_digest: Digest,
        reason: str = "",
        role: str | None = None,
    ) -> Hold: ...

    async def submit(self, who: Operator, agent: AgentId) -> ApprovalRequest | None: ...

    async def activate(self, who: Operator, agent: AgentId) -> Procedure: ...

    async def suspend(self, who: Operator, agent: AgentId, reason: str) -> None: ...

    async def resume(self, who: Operator, agent: AgentId, reason: str) -> None: ...

    async def quarantine(self, who: Operator, agent: AgentId, reason: str) -> None: ...

    async def lift(self, who: Operator, agent: AgentId, reason: str) -> None: ...

    async def retire(
        self, who: Operator, agent: AgentId, reason: str, plan: Digest | None = None
    ) -> RetirementReceipt | ApprovalRequest: ...

    async def invite(self, who: Operator, email: str) -> str: ...

    async def sign_in_link(self, who: Operator, person: PersonId) -> str: ...

    async def propose_role(
        self,
        who: Operator,
        role: Role,
        *,
        person: PersonId | None = None,
        group: str | None = None,
        team: str | None = None,
    ) -> ApprovalRequest: ...

    def connect_account(self, who: Operator, name: str) -> str: ...

    async def connected_account(self, who: Operator, name: str, answer: Mapping[str, str]) -> ConnectedAccount: ...

    async def disconnect_account(self, who: Operator, name: str) -> bool: ...

    async def acknowledge(self, who: Operator, alert: str, note: str = "") -> Alert: ...

    async def resolve(self, who: Operator, alert: str, note: str = "", *, disposition: AlertDisposition) -> Alert: ...


class AccountList(Protocol):
    """Accounts that persons connect, as far as they may be known."""

    def offered(self) -> Sequence[BrokeredCredential]:
        """The credentials that one can be connected for."""
        ...

    def connected(self, person: PersonId) -> Sequence[ConnectedAccount]: ...


class AlertList(Protocol):
    """Alerts, as they can be read."""

    def alerts(
        self, *, agent: AgentId | None = None, state: AlertState | None = None, limit: int | None = None
    ) -> Sequence[Alert]: ...


class Tiers(Protocol):
    """The risk tiers of the versions in force. Both raise UnavailableError where one cannot be told now."""

    def tier_of(self, agent: Agent) -> Tier | None:
        """None: it has none."""
        ...

    def kept_tier(self, agent: Agent) -> tuple[Tier | None] | None:
        """The same if it need not be computed, else None."""
        ...


class DossierReader(Protocol):
    """Puts together what is known of one agent. Reads the log: to be called from a thread."""

    def of(self, agent_id: AgentId) -> Dossier: ...


class Calls(Protocol):
    """The newest calls of an agent. Reads the log: to be called from a thread."""

    def of(self, agent: AgentId, limit: int) -> Sequence[RecentCall]: ...


class FindingDesk(Protocol):
    """Findings, as they can be read and answered."""

    def open_findings(self, kind: FindingKind | None = None) -> Sequence[AgentFinding]:
        """Those that are due first."""
        ...

    def views(self, findings: Sequence[AgentFinding]) -> Sequence[FindingView]:
        """Findings with what is so now of them. Reads the log: to be called from a thread."""
        ...

    async def answer(self, who: Operator, finding_id: str, answer: FindingAnswer, reason: str) -> Answered:
        """Do what an answer says. Checks who may."""
        ...


class ReviewLists(Protocol):
    """Reviews of agents and their campaigns, as they can be read."""

    def find(self, *, open_: bool | None = None, agent: AgentId | None = None) -> Sequence[AgentReview]:
        """Those that are due first."""
        ...

    def campaigns(self, *, open_: bool | None = None) -> Sequence[ReviewCampaign]:
        """Newest first."""
        ...

    def size(self, campaign: str) -> int: ...

    def review(self, review: str) -> AgentReview:
        """Raises NotFoundError."""
        ...


class ReviewActs(Protocol):
    """Cards of agents under review, and what people do about them. Every act checks who may."""

    def card(self, review: str) -> AgentCard:
        """Reads the log: to be called from a thread. Raises NotFoundError."""
        ...

    def served(self, who: Operator, card: AgentCard) -> None:
        """Note that somebody has this card before them."""
        ...

    def waiting(self, card: AgentCard) -> Sequence[ToolId]: ...

    def report(self, campaign: str) -> ReviewReport:
        """Reads the log: to be called from a thread. Raises NotFoundError."""
        ...

    async def decide(self, who: Operator, review: str, asked: Sequence[AskedDecision], view: str) -> AgentCard: ...

    async def state_need(self, who: Operator, review: str, *, needed: bool, text: str) -> AgentReview: ...

    async def start(self, who: Operator, *, tiers: Collection[Tier] = (), reason: str = "") -> ReviewCampaign: ...

    async def accept(self, who: Operator, campaign: str, subject: str, reason: str) -> ReviewCampaign: ...

    async def close(self, who: Operator, campaign: str) -> ReviewReport: ...


class ReviewsOfStores(Protocol):
    """Reviews of shared knowledge, as they can be read."""

    def find(self, agent: AgentId | None = None) -> Sequence[Review]: ...

    def of(self, review: str) -> Review:
        """Raises NotFoundError."""
        ...


class StoreActs(Protocol):
    """What people decide in reviews of stores; each raises ForbiddenError for whoever may not."""

    async def review_items(
        self, who: Operator, review: str, after: str | None = None
    ) -> tuple[Sequence[ReviewedItem], str | None]: ...

    async def decide(
        self, who: Operator, review: str, item: str, digest: Digest, verdict: ReviewVerdict, to: AgentId | None = None
    ) -> Kept: ...

    async def decide_clean(self, who: Operator, review: str, verdict: ReviewVerdict) -> Review: ...


class RetirementDesk(Protocol):
    """Plans of retirements, as they can be read. Reads other rooms: to be called from a thread."""

    def plan(self, agent_id: AgentId, /) -> RetirementPlan:
        """Raises ConflictError if what must be kept is not known."""
        ...

    async def stores(self, agent_id: AgentId, /) -> Sequence[Mapping[str, Any]]:
        """How many items each declared namespace holds now. From the event loop."""
        ...


class IncidentActs(Protocol):
    """What people do about incidents; each raises ForbiddenError for whoever may not."""

    async def open(
        self, who: Operator, agents: Sequence[AgentId], severity: int, what: str, *, linked: Sequence[str] = ()
    ) -> Incident: ...

    async def freeze(self, who: Operator, incident: str) -> Incident: ...

    async def close(self, who: Operator, incident: str, disposition: str) -> Incident: ...


class CertificateList(Protocol):
    """Certificates of retirements, as they can be read."""

    def newest(self, agent: AgentId) -> Certificate | None: ...


class Chats(Protocol):
    """Chats from which people vote, and one's own accounts there."""

    def channels(self) -> Sequence[ChatChannel]: ...

    def links(self, who: Operator) -> Sequence[ChatLink]: ...

    async def link_code(self, who: Operator, channel: str) -> str:
        """A code to be given in that chat, once."""
        ...

    async def unlink(self, who: Operator, link: str) -> None: ...


class GlassDesk(Protocol):
    """Broken glass, as it can be read, confirmed and ended. The acts raise ForbiddenError for whoever may not."""

    def all(self) -> Sequence[BreakGlass]:
        """Newest first."""
        ...

    def reason(self, id_: str) -> str:
        """Why it was broken."""
        ...

    async def confirm(self, who: Operator, id_: str, seen: str) -> BreakGlass: ...

    async def end(self, who: Operator, id_: str) -> BreakGlass: ...


class BehaviourDesk(Protocol):
    """How behaviour is watched. Reads the stores: to be called from a thread."""

    def show(self, agent: AgentId) -> BehaviourShown:
        """Raises NotFoundError if the agent has no baseline."""
        ...

    def compare(self, agent: AgentId, before: BaselinePart, after: BaselinePart) -> BaselineDifference:
        """Raises NotFoundError, and ConflictError if the sessions are not proven."""
        ...


@dataclass(frozen=True, slots=True)
class ConsoleServices:
    """Everything the pages may touch."""

    public_url: str
    clock: Clock
    sessions: Sessions
    operations: ConsoleOperations
    catalogue: Callable[[], Registered]
    organisation: Callable[[], Organisation]
    tiers: Tiers
    dossiers: DossierReader
    requests: Requests
    holds: HeldCalls
    alerts: AlertList
    accounts: AccountList
    calls: Calls
    records: RecordReader
    turned_away: RefusalSink
    findings: FindingDesk
    store_reviews: ReviewsOfStores
    store_operations: StoreActs
    successions: Callable[[], Sequence[Succession]]
    retirements: RetirementDesk
    certificates: CertificateList
    incidents: Callable[[], Sequence[Incident]]
    incident_operations: IncidentActs
    glasses: GlassDesk
    chats: Chats
    reviews: ReviewLists
    review_operations: ReviewActs
    behaviour: BehaviourDesk
