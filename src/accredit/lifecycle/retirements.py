"""Retirement from its plan to its certificate: who has to agree to exactly which plan, and what is left to look after.

Nothing here keeps anybody from stopping an agent: suspending it, quarantining it and revoking its credentials need no
plan and no second person (docs/retirement.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from accredit.approvals.model import ApprovalRequest, ApprovalState, HoldState, SubjectKind
from accredit.approvals.service import Holds
from accredit.audit.ports import Actor
from accredit.audit.retention import Schedule
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId, PersonId
from accredit.lifecycle.cascading import relations_of, stranded
from accredit.lifecycle.certificates import Certificates
from accredit.lifecycle.credential_inventory import CredentialInventory, KnownCredential
from accredit.lifecycle.discovery.findings import FindingKind
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.model import RetirementReceipt
from accredit.lifecycle.permission import Permission
from accredit.lifecycle.ports import ApprovalDesk, Archive, LegalHolds
from accredit.lifecycle.retirement_plan import RetirementPlan, decided, signed_off_by_others
from accredit.lifecycle.reviews.service import Reviews
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.store_reviews import StoreReviews
from accredit.lifecycle.stores import Stores
from accredit.registry.authority import Act
from accredit.registry.certifiability import store_entry
from accredit.registry.model import Agent, AgentState, Tier
from accredit.registry.proposals import Proposal, proposal_digest
from accredit.registry.service import Registry

__all__ = ["Retirements"]

_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_LIVE: Final = frozenset({ApprovalState.OPEN, ApprovalState.APPROVED})
_SHOWN: Final = 100
_PATIENCE_S: Final = 5.0
_log = logging.getLogger(__name__)


class Retirements:
    """Plans retirements, asks for what they take, and begins what was confirmed or signed off."""

    def __init__(
        self,
        *,
        lifecycle: Lifecycle,
        registry: Registry,
        judging: Judging,
        approvals: ApprovalDesk,
        holds: Holds,
        legal_holds: LegalHolds,
        stores: Stores,
        reviews: Reviews,
        store_reviews: StoreReviews,
        archive: Archive,
        schedule: Schedule,
        findings: Findings,
        inventory: CredentialInventory,
        certificates: Certificates,
    ) -> None:
        self._lifecycle = lifecycle
        self._registry = registry
        self._judging = judging
        self._approvals = approvals
        self._holds = holds
        self._legal_holds = legal_holds
        self._stores = stores
        self._reviews = reviews
        self._store_reviews = store_reviews
        self._archive = archive
        self._schedule = schedule
        self._findings = findings
        self._inventory = inventory
        self.certificates = certificates
        self._permission = Permission(registry)

    # -- what is known

    def credentials(self, agent: AgentId) -> tuple[KnownCredential, ...]:
        """Every credential known anywhere to be an agent's.

        Raises:
            NotFoundError: no such agent.
        """
        return self._inventory.of(self._known(agent))

    def plan(self, agent_id: AgentId) -> RetirementPlan:
        """What retiring an agent would do now.

        Raises:
            NotFoundError: no such agent.
            ConflictError: a legal hold is not what the log proves, so what must be kept is not known.
        """
        agent = self._known(agent_id)
        tier = self._tier(agent)
        credentials = self._inventory.of(agent)
        told = decided(
            agent,
            tier=tier,
            credentials=credentials,
            relations=relations_of(agent, self._registry.catalogue.agents()),
            stores=self._stores.foresee(agent),
            archive=self._archive.name(agent.id),
            schedule=self._schedule,
            holds=self._legal_holds.blocks(agent=agent.id),
        )
        return RetirementPlan(
            agent.id,
            tier,
            told,
            self._moving(agent),
            self._lifecycle.retirement_plan(agent.id),
            signed_off_by_others(agent, tier),
        )

    async def stores(self, agent_id: AgentId) -> list[dict[str, Any]]:
        """How many items the namespaces hold that an agent declared, asked of each store now, for a few seconds.

        In a shared namespace those of others count too: whose an item is, the purge finds out.

        Raises:
            NotFoundError: no such agent.
        """
        self._known(agent_id)
        found: list[dict[str, Any]] = []
        for one in self._stores.entries(agent_id):
            entry, name, namespace = store_entry(one), one.get("store"), one.get("namespace")
            if name is None or namespace is None:
                found.append({"items": None, "store": entry, "why": "it is in no registered store"})
                continue
            try:
                inventory = await asyncio.wait_for(self._stores.inventory(name), _PATIENCE_S)
                held = next((each for each in inventory.holdings if each.namespace == namespace), None)
                found.append({"items": 0 if held is None else held.items, "store": entry, "why": ""})
            except TimeoutError:
                found.append({"items": None, "store": entry, "why": f"it did not answer in {_PATIENCE_S:.0f} s"})
            except AccreditError as error:
                found.append({"items": None, "store": entry, "why": error.message})
        return found

    def _tier(self, agent: Agent) -> Tier | None:
        """Whoever owns it; None as well if it cannot be told now."""
        try:
            return self._judging.present(agent).tier
        except AccreditError:
            return None

    def _moving(self, agent: Agent) -> dict[str, Any]:
        asked = self._approvals.find(agent=agent.id)
        return {
            "approvals": [one.id for one in asked if one.state in _LIVE and one.used_us is None][:_SHOWN],
            "findings": [one.id for one in self._findings.find(open_=True, agent=agent.id)][:_SHOWN],
            "holds": [one.id for one in self._holds.find(agent=agent.id, state=HoldState.OPEN)][:_SHOWN],
            "incidents": [one.id for one in self._registry.incidents_of(agent.id) if one.open][:_SHOWN],
            "reviews": [one.id for one in self._reviews.find(open_=True, agent=agent.id)][:_SHOWN],
            "store_reviews": [one.id for one in self._store_reviews.find(agent.id)][:_SHOWN],
            "stores": list(self._stores.foresee(agent).get("planned", ())),
        }

    # -- asking and beginning

    async def retire(
        self, who: Operator, agent_id: AgentId, reason: str, plan: Digest | None = None
    ) -> RetirementReceipt | ApprovalRequest:
        """End an agent for good, or ask a second person for it: of medium and high tier in production.

        With `plan` it is only done if that still is what would be done. Asking again gives the same request as long as
        the plan is the same, and takes its place if it is not. Of what was begun it goes on.

        Raises:
            NotFoundError: no such agent.
            ForbiddenError: they may not.
            ConflictError: `plan_changed`: it is another plan now.
            UnavailableError: as `Lifecycle.retire`; what was begun goes on by itself.
        """
        agent = self._known(agent_id)
        self._permission.require(Act.RETIRE, who, agent=agent)
        if agent.state in _GONE:
            return await self._carried_out(agent, who, reason)
        now = self.plan(agent_id)
        if plan is not None and plan != now.digest:
            raise ConflictError(
                Code.PLAN_CHANGED,
                "what retiring the agent would do is not what you were shown",
                hint="look at the plan again",
            )
        if now.needs_sign_off:
            return await self._ask(who, agent, now, reason)
        for one in self._requests(agent_id):
            if one.state is ApprovalState.OPEN:  # it took a second person when that was asked
                await self._approvals.withdraw(one.id, who)
        return await self._carried_out(agent, who, reason, plan=now.digest)

    async def _ask(self, who: Operator, agent: Agent, plan: RetirementPlan, reason: str) -> ApprovalRequest:
        for one in self._requests(agent.id):
            if self._approvals.content(one).get("plan") == plan.digest:
                return one
            if one.state is ApprovalState.OPEN:
                await self._approvals.withdraw(one.id, who)
        owners = {one for one in (agent.owner, agent.backup_owner) if one is not None}
        content = {
            "agent": agent.id,
            "basis": who.basis,
            "by": who.person,
            "change": SubjectKind.RETIREMENT.value,
            "credential": who.credential,
            "decided": plan.decided,
            "plan": plan.digest,
            "reason": reason,
        }
        proposal = Proposal(
            SubjectKind.RETIREMENT.value,
            proposal_digest(content),
            _about(agent.id),
            content,
            agent.environment,
            frozenset({who.person, *owners}),
            team=agent.team.id,
        )
        return await self._approvals.open_proposal(proposal, who)

    def _requests(self, agent: AgentId) -> list[ApprovalRequest]:
        """Requests about retiring an agent that can still come to something."""
        return [
            one
            for one in self._approvals.find()
            if one.about == _about(agent) and one.state in _LIVE and one.used_us is None
        ]

    async def approved(self, content: Mapping[str, Any], clearance: Clearance, actor: Actor) -> None:
        """Begin what was signed off; nothing if it began before. If it is another plan by now, that is asked for.

        Raises:
            ForbiddenError: the clearance is for something else.
            ConflictError: the plan changed since, and another request stands in its place; or who asked may no more.
            UnavailableError: it could not be begun.
        """
        del actor  # it is done by whoever asked, with the approval of whoever voted
        agent = self._known(AgentId(content["agent"]))
        clearance.covers(SubjectKind.RETIREMENT.value, proposal_digest(content))
        if clearance.basis is not Basis.APPROVALS:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "this retirement takes the sign-off of a second person")
        if agent.state in _GONE:
            return
        who = Operator(PersonId(content["by"]), content["credential"], frozenset({"admin"}), content["basis"])
        try:
            self._permission.require(Act.RETIRE, who, agent=agent)
        except ForbiddenError as error:
            raise ConflictError(
                Code.CONFLICT, "whoever asked for the retirement may not retire the agent any more", cause=error.message
            ) from error
        now = self.plan(agent.id)
        if now.digest != content["plan"]:
            await self._ask_again(who, agent, now, content["reason"])
            raise ConflictError(Code.PLAN_CHANGED, "what would be done changed since it was signed off: asked again")
        request = next((one.id for one in self._requests(agent.id) if one.subject == clearance.subject), None)
        try:
            await self._carried_out(
                agent, who, content["reason"], plan=now.digest, request=request, approvers=clearance.by
            )
        except UnavailableError as error:
            if self._known(agent.id).state not in _GONE:
                raise
            _log.warning("the retirement of %s waits: %s", agent.id, error.message)

    async def _ask_again(self, who: Operator, agent: Agent, plan: RetirementPlan, reason: str) -> None:
        """In the name of whoever asked, if they still may; else somebody has to ask anew."""
        try:
            self._permission.require(Act.RETIRE, who, agent=agent)
            await self._ask(who, agent, plan, reason)
        except AccreditError as error:
            _log.warning("the retirement of %s is not asked for again: %s", agent.id, error.message)

    async def _carried_out(
        self,
        agent: Agent,
        who: Operator,
        reason: str,
        *,
        plan: Digest | None = None,
        request: str | None = None,
        approvers: tuple[str, ...] = (),
    ) -> RetirementReceipt:
        try:
            return await self._lifecycle.retire(agent.id, who, reason, plan=plan, request=request, approvers=approvers)
        finally:
            # also of what has to wait it is certified what was done, and what not
            try:
                await self.certificates.settle(agent.id)
            except AccreditError as error:
                _log.warning("the certificate of %s waits: %s", agent.id, error.message)

    # -- what is due without anybody asking

    async def round(self) -> None:
        """End findings that are not so any more, go on with what waits, and certify it.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        for finding in self._findings.find(open_=True, kind=FindingKind.DELEGATE):
            agent = None if finding.seen.agent is None else self._registry.get(finding.seen.agent)
            if agent is None or not stranded(agent, self._registry.catalogue.agents()):
                await self._findings.over(finding.id)
        await self.certificates.round()

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found


def _about(agent: AgentId) -> str:
    return f"retirement:{agent}"
