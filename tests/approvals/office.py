"""Where sign-off is tested: five people with roles, one agent of Dana's, and grounds that a test can change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from accredit.approvals.model import ApprovalRequest, Grounds, VoteVerdict
from accredit.approvals.signoff import Approvals
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest, digest
from accredit.kernel.clearance import Basis, Clearance
from accredit.kernel.clock import ClockWatch, ScriptedClock
from accredit.kernel.ids import AgentId, PersonId, SeededIds, TeamId
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Environment,
    Person,
    Role,
    Team,
    Tier,
)
from accredit.registry.organisation import Organisation, RoleGrant
from accredit.registry.proposals import Proposal, proposed
from accredit.registry.rows import ROLE_GRANT, role_grant_doc
from accredit.registry.versions import FACETS
from tests.approvals.desk import SlowControlLog

NOW_US = 1_795_348_800_000_000
DAY_S = 86_400
TEAM = Team(TeamId("tea_1"), "customer-support", frozenset())
DANA, LENA, SAM, CARA, BO, MIRA, UNA = (PersonId(f"psn_{number:032x}") for number in range(1, 8))
NAMES = dict(
    zip((DANA, LENA, SAM, CARA, BO, MIRA, UNA), ("dana", "lena", "sam", "cara", "bo", "mira", "una"), strict=True)
)
OLD_US = NOW_US - 400 * DAY_S * 1_000_000
ROLES = {
    LENA: Role.TEAM_LEAD,
    SAM: Role.SECURITY,
    CARA: Role.COMPLIANCE,
    BO: Role.BUSINESS_OWNER,
    MIRA: Role.ADMIN,
}
AGENT = AgentId("agt_1")
POLICY = "org/refunds.0123456789ab"
ASSESSMENT: Mapping[str, Any] = {
    "acceptedBy": BO,
    "residual": "medium",
    "risks": [
        {
            "impact": 4,
            "likelihood": 2,
            "mitigations": [{"policy": POLICY}],
            "residual": "medium",
            "risk": "refunds to the wrong customer",
        }
    ],
}


def grant(person: PersonId, role: Role, **changes: Any) -> RoleGrant:
    return replace(RoleGrant(f"rgr_{NAMES[person]}_{role}", role, person, None, frozenset(), OLD_US), **changes)


def operator(person: PersonId, **changes: Any) -> Operator:
    return replace(Operator(person, f"tok_{NAMES[person]}", frozenset({"admin"}), Basis.ROLES.value), **changes)


def version(name: str = "v1") -> AgentVersion:
    spec = {"backupOwner": None, "owner": DANA}
    return AgentVersion(
        digest("test-version", name.encode()), {"spec": spec}, {}, (), frozenset(), "UTC",
        AgentLimits(60, 4, 30, 1200, None),
    )  # fmt: skip


def role_proposal(person: PersonId = UNA, role: Role = Role.SECURITY, *, by: PersonId = DANA) -> Proposal:
    content = {"by": by, "change": "role", "grant": "rgr_new", "holder": person, "persons": [person],
               "role": role.value, "team": None}  # fmt: skip
    return proposed(content, about=f"role:{person}", beneficiaries={person})


class Office:
    """Sign-off over a control log, restartable."""

    def __init__(self, control: ControlLog | None = None, *, tier: Tier | None = Tier.MEDIUM) -> None:
        self.clock = ScriptedClock(NOW_US)
        self.watch = ClockWatch(self.clock.now())
        self.slow = SlowControlLog()
        self.control: ControlLog = control or self.slow
        self.ids = SeededIds(11)
        self.organisation = Organisation(
            {person: Person(person, f"{name}@example.com") for person, name in NAMES.items()},
            grants=tuple(grant(person, role) for person, role in ROLES.items()),
        )
        self.wrote = frozenset({DANA})
        self.grounds = Grounds(
            {facet: digest("test-facet", facet.encode()) for facet in FACETS},
            tier,
            validation=Digest("sha256:report"),
            policies=frozenset({POLICY}),
            view={"purpose": "answer tickets"},
        )
        self.approvals = self.remade()

    def remade(self) -> Approvals:
        """The desk over the clock and the control log there are now."""
        return Approvals(
            self.control, self.ids, self.clock,
            organisation=lambda: self.organisation, grounds=lambda _: self.grounds, authors=lambda _: self.wrote,
            steady=self.watch.steady,
        )  # fmt: skip

    def restart(self) -> None:
        """Another process on another boot: only the wall clock and the control log go on."""
        self.clock = ScriptedClock(self.clock.now().wall_us, boot_us=5_000_000)
        self.watch = ClockWatch(self.clock.now())
        self.approvals = self.remade()

    @property
    def agent(self) -> Agent:
        return Agent(
            AGENT, "support-copilot", TEAM, Environment.PRODUCTION, AgentState.SUBMITTED, DANA, None, version()
        )

    def change(self, facet: str) -> None:
        """A later version differs in one facet."""
        facets = dict(self.grounds.facets) | {facet: digest("test-facet", f"another {facet}".encode())}
        self.grounds = replace(self.grounds, facets=facets)

    def organise(self, **changes: Any) -> None:
        self.organisation = replace(self.organisation, **changes)

    async def asked(self, name: str = "v1", *, by: PersonId = DANA) -> ApprovalRequest:
        return await self.approvals.open_version(self.agent, version(name), operator(by))

    async def vote(
        self,
        request: ApprovalRequest,
        person: PersonId,
        role: Role | None = None,
        verdict: VoteVerdict = VoteVerdict.APPROVE,
        *,
        comment: str = "looked at every line",
        view: Digest | None = None,
    ) -> ApprovalRequest:
        shown = self.approvals.view(request.id)[1]
        return await self.approvals.vote(
            request.id, operator(person), role=role or ROLES[person], verdict=verdict, view_digest=view or shown,
            comment=comment,
        )  # fmt: skip

    async def approved(self, name: str = "v1", voters: Iterable[PersonId] = (LENA, SAM)) -> ApprovalRequest:
        request = await self.asked(name)
        for person in voters:
            if any(need.role is ROLES[person] for need in self.present(request).missing):
                request = await self.vote(request, person)
        return request

    def present(self, request: ApprovalRequest) -> ApprovalRequest:
        found = self.approvals.get(request.id)
        assert found is not None
        return found

    def cleared(self, request: ApprovalRequest) -> Clearance:
        return self.approvals.clearance(request.id, operator=operator(DANA))

    async def record_role(self, granted: RoleGrant) -> None:
        """A role grant comes into force, as the registry writes it."""
        write = Write(ROLE_GRANT, granted.id, role_grant_doc(granted))
        await self.control.transact(lambda _: Change(Facts("role.granted"), (write,), Actor(), {}))
        self.organise(grants=(*self.organisation.grants, granted))
