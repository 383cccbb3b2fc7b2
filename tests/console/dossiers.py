"""What is known of one agent, made up."""

from __future__ import annotations

from accredit.approvals.model import ApprovalRequest, ApprovalState, Parties, RoleNeed, Vote, VoteVerdict
from accredit.kernel.canonical import Digest, digest
from accredit.kernel.clearance import Subject
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, PersonId, ToolId
from accredit.lifecycle.dossier import ApprovalAnswer, DeclaredVersion, Dossier, RecordedVote, SecurityReview
from accredit.lifecycle.envelope import EnvelopeUse, EnvelopeView
from accredit.lifecycle.model import Done, Planned, RetirementReceipt, Step
from accredit.lifecycle.observed_operations import ObservedView, WindowSeen
from accredit.lifecycle.timeline import TimelineEvent
from accredit.monitoring.model import Alert, AlertKind, AlertState, RemediationKind, ReportedUse, Severity, ToolUse
from accredit.policy.enforced import AccessOutcome
from accredit.policy.sources import Layer
from accredit.policy.validation import AccessReport, AccessRow, CeilingHit, Excess, ExcessKind
from accredit.registry.changes import FacetChange
from accredit.registry.model import Agent, AgentState, Incident, Restriction, RestrictionKind, Role, Tier
from accredit.registry.observation import FactorSeen, SeenClass
from accredit.registry.tiering import Block, Factor, Floor, Lowering, Safeguard, SafeguardKind, Tiering
from accredit.registry.workflow import Workflow

__all__ = ["alert_about", "dossier_of"]

_HOUR_US = 3_600_000_000
_READ, _REFUND = ToolId("crm/read_customer"), ToolId("payments/refund")
_MODEL = ToolId("anthropic/claude-x")


def alert_about(agent: Agent, now_us: int, *, number: int = 1, words: str = "sha256:1111") -> Alert:
    """An alert that nobody has looked after."""
    return Alert(
        f"alr_{number}",
        agent.id,
        AlertKind.POSTURE_DEFINITION,
        "crm/read_customer",
        Severity.CRITICAL,
        AlertState.OPEN,
        {"expected": digest("test", b"1"), "seen": words},
        now_us - _HOUR_US,
        RemediationKind.QUARANTINE,
        remedied=True,
        count=3,
        last_us=now_us,
        position=12,
    )


def dossier_of(agent: Agent, now_us: int, *, tier: Tier | None = Tier.HIGH, words: str = "Read it all") -> Dossier:
    """A dossier with something in every place, or of a retired agent with its receipt."""
    request = _request(agent, now_us, words)
    retired = agent.state is AgentState.RETIRED
    steps = (
        (Step.CREDENTIAL, "every key, token and join token dies", {"keys": 2, "join_tokens": 1}, ()),
        (
            Step.STORES,
            "what it may have kept is reviewed",
            {"stores": 1},
            ("`qdrant/support`: not checked: no adapter",),
        ),
        (Step.AUDIT, "its records are sealed and archived", {"records": 4210}, ()),
    )
    return Dossier(
        agent=agent,
        at_us=now_us,
        position=41,
        tiering=_tiering(tier),
        observed=_observed(words),
        access=_access(agent),
        approved=ApprovalAnswer(
            request, tuple(RecordedVote(vote, 30 + at) for at, vote in enumerate(request.votes)), 31
        ),
        changes=(
            FacetChange("tools", "crm/refund", "is granted now", material=True),
            FacetChange("limits", "callsPerMinute", "is lower", material=False),
        ),
        envelope=EnvelopeView(
            {"models": [{"agreement": None, "model": words, "provider": "maker"}]},
            now_us + 90 * 24 * _HOUR_US,
            (
                EnvelopeUse(
                    33, now_us, Digest("sha256:" + "4" * 64), "psn_1", ({"facet": "models", "why": "is used now"},)
                ),
            ),
            1,
        ),
        waiting=None,
        review=SecurityReview(now_us - 30 * _HOUR_US, PersonId("sam"), request.id, 30),
        plan=() if retired else tuple(Planned(step, does, result, left) for step, does, result, left in steps),
        receipt=(
            RetirementReceipt(
                agent.id,
                "prc_1",
                tuple(Done(step, now_us, result, left) for step, _, result, left in steps),
                now_us,
                ("`qdrant/support`: not checked: no adapter",),
            )
            if retired
            else None
        ),
        procedure=None,
        timeline=tuple(
            TimelineEvent(40 - at, now_us - at * _HOUR_US, kind, person, "tok_1", basis, agent.version.digest, {})
            for at, (kind, person, basis) in enumerate(
                (
                    ("agent.activated", "dana", "roles"),
                    ("approval.voted", "sam", "roles"),
                    ("agent.submitted", None, ""),
                )
            )
        ),
        versions=(DeclaredVersion(agent.version.digest, now_us - 90 * _HOUR_US, "dana"),),
        restrictions=(
            Restriction("rst_1", agent.id, RestrictionKind.HOLD, _REFUND, words, now_us, now_us + 24 * _HOUR_US),
        ),
        incidents=(Incident("inc_1", agent.id, 1, now_us),),
        alerts=(alert_about(agent, now_us),),
        baseline=None,
        postures=(),
        usage=(
            ToolUse(_READ, granted=True, allows=412, denies=3, holds=0, errors=1, cost_nanos=0, last_us=now_us,
                    last_used_day=20_000),
            ToolUse(None, granted=False, allows=0, denies=2, holds=0, errors=0, cost_nanos=0, last_us=now_us,
                    last_used_day=None),
        ),
        reported=(ReportedUse(_REFUND, count=7, first_us=now_us - _HOUR_US, last_us=now_us),),
        models=tuple(
            {"agreement": "dpa-1" if known else None, "api": "anthropic" if known else None, "data": [],
             "hosted_tools": "refused", "model": tool.partition("/")[2], "price": price, "provider": "anthropic",
             "registered": known, "tool": tool}
            for tool, known, price in (
                (_MODEL, True, {"input": "3 USD", "output": "15 USD", "cache_read": "3 USD", "cache_write": "3 USD",
                                "max_output": 1000}),
                (ToolId("anthropic/elsewhere"), False, None),
            )
        ),
        records={"version": 21, "state": 40, "policy": 7, "receipt": 40 if retired else None, f"tool/{_READ}": 5},
        unanswered=(),
    )  # fmt: skip


def _observed(words: str) -> ObservedView:
    """More than declared in one factor, and nothing of two."""
    factors = (
        FactorSeen("data", 1, 3, (f"`personal` by `crm/read_customer`: {words}",), (12, 13)),
        FactorSeen("effect", 1, 1, ("`crm/read_customer` was executed 40 times",), (13,)),
        FactorSeen("autonomy", 2, None, (), ()),
    )
    return ObservedView(
        tuple(WindowSeen(days, factors, in_part=False) for days in (14, 30)),
        (SeenClass("phi", 1, 1, (("sha256:1", _READ),), (14,)),),
        Workflow((AgentId("agt_1"), AgentId("agt_2")), Tier.HIGH, ("trifecta",), (12,)),
        None,
    )


def _request(agent: Agent, now_us: int, words: str) -> ApprovalRequest:
    votes = tuple(
        Vote(role, PersonId(person), "tok_9", VoteVerdict.APPROVE, words, Digest("sha256:1"), Digest("sha256:2"),
             now_us - 30 * _HOUR_US, carried_from="apr_0" if role is Role.COMPLIANCE else None)
        for role, person in ((Role.SECURITY, "sam"), (Role.COMPLIANCE, "lee"))
    )  # fmt: skip
    return ApprovalRequest(
        "apr_given",
        Subject("agent-version", agent.version.digest),
        agent.id,
        agent.id,
        agent.team.id,
        Tier.HIGH,
        (RoleNeed(Role.SECURITY), RoleNeed(Role.COMPLIANCE)),
        Parties(agent.owner),
        ApprovalState.APPROVED,
        now_us - 40 * _HOUR_US,
        now_us,
        "n",
        votes,
    )


def _tiering(tier: Tier | None) -> Tiering:
    return Tiering(
        tier,
        63,
        (
            Factor("data", 3, 30, 2250, ("personal", "crm/read_customer")),
            Factor("effect", 4, 30, 3000, ("payments/refund",)),
            Factor("reach", 0, 8, 0, ()),
        ),
        (Floor("sensitive-data", Tier.HIGH, "personal, financial, health, special, secret or unknown data in reach"),),
        () if tier else (Block("no-owner", "the agent has no owner", "name an owner who is registered"),),
        (
            Lowering(
                Tier.MEDIUM, ((Safeguard(SafeguardKind.MASK, "personal"), Safeguard(SafeguardKind.HOLD, _REFUND)),)
            ),
        ),
        Digest("sha256:3"),
    )


def _access(agent: Agent) -> AccessReport:
    def row(tool: ToolId, data_class: str | None, outcome: AccessOutcome, code: Code | None = None) -> AccessRow:
        conditions = ("context.user.roles",) if outcome is AccessOutcome.CONDITIONAL else ()
        return AccessRow(tool, data_class, outcome, ("org/refunds-0123456789ab",), conditions, code, "read", None, None)

    return AccessReport(
        agent.id,
        Digest("sha256:4"),
        (
            row(_READ, None, AccessOutcome.CONDITIONAL),
            row(_READ, "personal", AccessOutcome.CONDITIONAL),
            row(_READ, "internal", AccessOutcome.ALLOWED),
            row(_REFUND, None, AccessOutcome.HELD),
            row(_REFUND, "financial", AccessOutcome.FORBIDDEN, Code.FORBIDDEN_BY_POLICY),
        ),
        excess=(Excess(ExcessKind.DATA_UNUSED, "phi", "no granted tool carries it"),),
        models=(row(_MODEL, None, AccessOutcome.HELD), row(_MODEL, "internal", AccessOutcome.HELD)),
        ceilings=(
            CeilingHit("org/refunds-0123456789ab", Layer.ORG, "security", ("context.input.amount",), (_REFUND,)),
        ),
    )
