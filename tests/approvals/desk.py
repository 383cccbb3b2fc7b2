"""What the tests of this room are about: one agent's calls, an administrator, and a control log that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from accredit.approvals.model import HeldCall, Hold, HoldRefusal, HoldVerdict
from accredit.approvals.service import Holds
from accredit.audit.model import Receipt
from accredit.audit.ports import Change, StateView
from accredit.identity.model import Operator, Principal, VerifiedTask, VerifiedUser
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, PersonId, SeededIds, ServerName, TeamId, ToolId
from accredit.policy.model import HoldNeed
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Effect,
    Environment,
    Team,
    Tool,
)
from accredit.storage.memory.control import MemoryControlLog

CREDENTIAL = CredentialId("crd_1")
ADMIN = Operator(PersonId("per_admin"), "tok_1", frozenset(), "single-admin")
SECURITY = HoldNeed("org/refunds.0123456789ab", "security")
OWNER = HoldNeed("team/refunds.ba9876543210", "owner")

AGENT = Agent(
    id=AgentId("agt_1"),
    name="support-copilot",
    team=Team(TeamId("tea_1"), "customer-support", frozenset()),
    environment=Environment.DEVELOPMENT,
    state=AgentState.DRAFT,
    owner=PersonId("per_dana"),
    backup_owner=None,
    version=AgentVersion(
        digest=Digest("sha256:v1"),
        manifest={},
        facets={},
        grants=(),
        data=frozenset(),
        zone="UTC",
        limits=AgentLimits(60, 4, 30, 1200, None),
    ),
)
TOOL = Tool(
    id=ToolId("crm/refund"),
    server=ServerName("crm"),
    name="refund",
    effect=Effect.IRREVERSIBLE,
    scope=None,
    data=frozenset({"financial"}),
    price=None,
    definition={},
    definition_digest=Digest("sha256:d1"),
)
PRINCIPAL = Principal(
    agent=AGENT.id,
    credential=CREDENTIAL,
    epoch=1,
    expires_us=1,
    token_digest="",
    user=VerifiedUser("https://idp", "ursula@example.com", frozenset({"customer-support"}), {}),
    task=VerifiedTask("https://desk", "T-1", {"customer_id": "C-7"}),
)


def call(arguments: Mapping[str, Any] | None = None, **changes: Any) -> HeldCall:
    """One call, equal to any other made with the same words."""
    return replace(
        HeldCall(AGENT, PRINCIPAL, TOOL, {"customer_id": "C-7", "amount": 19.9} if arguments is None else arguments),
        **changes,
    )


class SlowControlLog(MemoryControlLog):
    """A control log whose changes take turns of the event loop before and after they are made, and may fail."""

    def __init__(self, *, turns: int = 2) -> None:
        super().__init__()
        self.turns = turns
        self.failing = False

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.failing:
            raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the disk is gone")
        receipt = await super().transact(build)
        for _ in range(self.turns):
            await asyncio.sleep(0)
        return receipt


class Desk:
    """Holds over a control log, restartable."""

    def __init__(self, *, seed: int = 7) -> None:
        self.clock = ScriptedClock(1_795_348_800_000_000)
        self.control = SlowControlLog()
        self.ids = SeededIds(seed)
        self.holds = Holds(self.control, self.ids, self.clock)

    def restart(self) -> None:
        """Another process on another boot: only the wall clock and the control log go on."""
        self.clock = ScriptedClock(self.clock.now().wall_us, boot_us=5_000_000)
        self.holds = Holds(self.control, self.ids, self.clock)

    async def opened(self, asked: HeldCall | None = None, *needs: HoldNeed) -> Hold:
        hold = await self.holds.open(asked or call(), needs or (SECURITY,))
        assert isinstance(hold, Hold), hold
        return hold

    async def refused(self, asked: HeldCall, *needs: HoldNeed) -> HoldRefusal:
        refusal = await self.holds.open(asked, needs or (SECURITY,))
        assert isinstance(refusal, HoldRefusal), refusal
        return refusal

    async def approve(self, hold: Hold, operator: Operator = ADMIN, *, role: str | None = None) -> Hold:
        return await self.holds.decide(hold.id, operator, HoldVerdict.APPROVE, view_digest=hold.view_digest, role=role)

    async def deny(self, hold: Hold, operator: Operator = ADMIN) -> Hold:
        return await self.holds.decide(
            hold.id, operator, HoldVerdict.DENY, view_digest=hold.view_digest, reason="not without an invoice"
        )

    async def granted(self, asked: HeldCall | None = None, *needs: HoldNeed) -> Hold:
        return await self.approve(await self.opened(asked, *needs))
