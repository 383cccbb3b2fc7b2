"""Everything people can do, with the question of who may asked first: the only thing API and console call to change.

An act that takes two persons becomes a request here, and is put into force as soon as its gate is complete: by the
vote that completes it, or by the next round if the process ended in between. What a request decides about an agent's
state is carried over in the same way, so repeating it is always safe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from accredit.approvals.breakglass import BreakGlasses
from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Hold,
    HoldVerdict,
    Obligation,
    SubjectKind,
    VoteVerdict,
)
from accredit.approvals.service import Holds
from accredit.audit.model import Receipt
from accredit.audit.ports import Actor
from accredit.identity.broker import SealedBroker
from accredit.identity.enrolment import Enrolment, IssuedKey, JoinToken
from accredit.identity.model import Credential, Operator
from accredit.identity.people import People
from accredit.identity.points import EnforcementPoints
from accredit.identity.revocation import Revocations
from accredit.identity.service_keys import ServiceKey
from accredit.identity.state import IdentityState
from accredit.identity.upstreams import BrokeredCredential, ConnectedAccount, OAuthSettings, UpstreamKind
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis, Clearance, Subject
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, HoldId, PersonId, ServerName, ToolId
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.model import Procedure, RetirementReceipt
from accredit.lifecycle.permission import Permission, require_admin_scope
from accredit.lifecycle.ports import ApprovalDesk
from accredit.lifecycle.remedies import Remedies
from accredit.lifecycle.retirements import Retirements
from accredit.lifecycle.service import Lifecycle
from accredit.monitoring.model import Alert, AlertDisposition, AlertState, RemediationKind
from accredit.monitoring.service import Monitor
from accredit.policy.config import CONFIG_FILE, with_mode
from accredit.policy.rehearsal import Rehearsal
from accredit.policy.releases import PolicyReleases, release_subject
from accredit.registry.authority import Act
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.manifest import (
    AgentManifest,
    AgreementManifest,
    ContextProviderManifest,
    DirectoryManifest,
    Document,
    EnforcementPointManifest,
    GateManifest,
    GroupManifest,
    IssuerManifest,
    ModelProviderManifest,
    PersonManifest,
    ReviewScheduleManifest,
    StoreManifest,
    TeamManifest,
    TemplateManifest,
    ToolServerManifest,
)
from accredit.registry.model import Agent, AgentState, Environment, Restriction, RestrictionKind, Role
from accredit.registry.organisation import Delegation
from accredit.registry.proposals import Proposal
from accredit.registry.service import ApplyResult, Registry, Repinned, read_files

__all__ = ["Applied", "Enacts", "Operations"]

_POLICY: Final = "policy"
_DECIDED: Final[Mapping[ApprovalState, AgentEvent]] = {
    ApprovalState.OPEN: AgentEvent.SUBMIT,
    ApprovalState.APPROVED: AgentEvent.APPROVE,
    ApprovalState.REJECTED: AgentEvent.REJECT,
    ApprovalState.EXPIRED: AgentEvent.LAPSE,
    ApprovalState.WITHDRAWN: AgentEvent.WITHDRAW,
}
"""What the newest request about an agent's newest version means for its state."""
_JUDGED: Final = frozenset({AgentState.SUBMITTED, AgentState.APPROVED})
_SYSTEM: Final = Actor(basis="system")
_log = logging.getLogger(__name__)


Enacts = Callable[[Mapping[str, Any], Clearance, Actor], Awaitable[None]]
"""Puts a content that was signed off into force; doing it again changes nothing."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One applied manifest, and what was asked for it if it takes two persons."""

    result: ApplyResult
    request: ApprovalRequest | None = None


class Operations:
    """Acts of people. Every method raises ForbiddenError (`not_authorised`) for whoever may not do it.

    `forget` is told of tool servers whose definitions have to be looked at anew; `enact` puts into force what other
    services of this room asked for, by the `change` of its content.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        identity: IdentityState,
        people: People,
        enrolment: Enrolment,
        revocations: Revocations,
        points: EnforcementPoints,
        broker: SealedBroker,
        releases: PolicyReleases,
        approvals: ApprovalDesk,
        holds: Holds,
        monitor: Monitor,
        lifecycle: Lifecycle,
        remedies: Remedies,
        judging: Judging,
        rehearse: Callable[[Mapping[str, str]], Awaitable[Rehearsal]],
        forget: Callable[[ServerName], None] = lambda _: None,
        glasses: BreakGlasses,
        retirements: Retirements,
        enact: Mapping[str, Enacts] | None = None,
    ) -> None:
        self._registry = registry
        self._permission = Permission(registry)
        self._identity = identity
        self._people = people
        self._enrolment = enrolment
        self._revocations = revocations
        self._points = points
        self._broker = broker
        self._releases = releases
        self._approvals = approvals
        self._holds = holds
        self._monitor = monitor
        self._lifecycle = lifecycle
        self._remedies = remedies
        self._judging = judging
        self._rehearse = rehearse
        self._forget = forget
        self._glasses = glasses
        self._retirements = retirements
        self._enacts = enact or {}
        self._told: set[str] = set()
        """Requests whose enacting failed, said once."""

    # -- what is registered

    async def apply(
        self,
        who: Operator,
        files: Iterable[tuple[str, str | bytes]],
        *,
        manager: str | None = None,
        force: bool = False,
    ) -> tuple[Applied, ...]:
        """Apply manifests; what takes two persons is asked for instead. `manager` and `force` as the registry's.

        Raises:
            ManifestError: with every fault found; nothing was changed.
            UnavailableError: a tool server could not be asked, or a change not made durable.
        """
        require_admin_scope(who)
        documents = await asyncio.to_thread(read_files, tuple(files))  # calls go on meanwhile
        for document in documents:
            self._require_may_declare(who, document)
        results = await self._registry.apply_documents(documents, _actor(who), manager=manager, force=force)
        applied: list[Applied] = []
        for result in results:
            if result.kind == "ToolServer":
                self._forget(ServerName(result.name))
            request = None if result.proposal is None else await self._approvals.open_proposal(result.proposal, who)
            applied.append(Applied(result, request))
        return tuple(applied)

    def _require_may_declare(self, who: Operator, document: Document) -> None:
        match document:
            case PersonManifest() | GroupManifest() | TeamManifest() | GateManifest() | DirectoryManifest():
                self._permission.require(Act.MANAGE_PEOPLE, who)
            case IssuerManifest() | AgreementManifest() | EnforcementPointManifest() | ContextProviderManifest():
                self._permission.require(Act.MANAGE_ISSUERS, who)
            case ReviewScheduleManifest():
                self._permission.require(Act.RUN_REVIEWS, who)
            case ToolServerManifest() | ModelProviderManifest() | StoreManifest():
                self._permission.require(
                    Act.REGISTER_SERVER, who, environment=Environment(document.metadata.environment)
                )
            case TemplateManifest():
                team = self._registry.catalogue.team(document.metadata.team)
                self._permission.require(Act.REGISTER_AGENT, who, team=team.id if team else None)
            case AgentManifest():
                self._require_may_declare_agent(who, document)
            case _:
                assert_never(document)

    def _require_may_declare_agent(self, who: Operator, document: AgentManifest) -> None:
        """Whoever would own a new agent may declare it; a new version is for those who answer for the one there is."""
        catalogue, environment = self._registry.catalogue, Environment(document.metadata.environment)
        known = catalogue.agent_named(environment, document.metadata.name)
        if known is not None:
            self._permission.require(Act.REGISTER_AGENT, who, agent=known)
            return
        named = [document.spec.owner, document.spec.backup_owner]
        owners = {person.id for each in named if each and (person := catalogue.person(each)) is not None}
        if who.person in owners and self._registry.organisation.people.get(who.person) is not None:
            return
        team = catalogue.team(document.metadata.team)
        self._permission.require(Act.REGISTER_AGENT, who, team=team.id if team else None, environment=environment)

    async def repin(
        self, who: Operator, server: ServerName, tool: str | None
    ) -> tuple[Repinned, ...] | ApprovalRequest:
        """Take over what a tool server offers now; outside of development that is asked for.

        Raises:
            NotFoundError: no such server or tool.
            InvalidInputError: the server does not offer a tool any more, or its new schema is refused.
            UnavailableError: the server could not be asked, or a change not made durable.
        """
        known = self._registry.catalogue.server(server)
        self._permission.require(Act.REGISTER_SERVER, who, environment=known.environment if known else None)
        made = await self._registry.repin(server, tool, _actor(who))
        self._forget(server)
        return await self._approvals.open_proposal(made, who) if isinstance(made, Proposal) else made

    async def store_credential(
        self,
        who: Operator,
        name: str,
        *,
        origin: str,
        header: str,
        value: str,
        kind: UpstreamKind = UpstreamKind.HEADER,
        username: str = "",
        oauth: OAuthSettings | None = None,
        new_key: bool = False,
    ) -> BrokeredCredential:
        """Keep an upstream credential, sealed. Raises as `SealedBroker.store`."""
        self._permission.require(Act.STORE_CREDENTIAL, who)
        return await self._broker.store(
            name,
            origin=origin,
            header=header,
            value=value,
            kind=kind,
            username=username,
            oauth=oauth,
            new_key=new_key,
            actor=_actor(who),
        )

    async def remove_credential(self, who: Operator, name: str) -> None:
        """Remove an upstream credential. Raises as `SealedBroker.remove`."""
        self._permission.require(Act.STORE_CREDENTIAL, who)
        await self._broker.remove(name, actor=_actor(who))

    def connect_account(self, who: Operator, name: str) -> str:
        """Where this person consents to an account of theirs being used. Raises as `Accounts.begin`."""
        require_admin_scope(who)
        return self._broker.accounts.begin(name, person=who.person, session=who.credential)

    async def connected_account(self, who: Operator, name: str, answer: Mapping[str, str]) -> ConnectedAccount:
        """Take what that came to. Raises as `Accounts.finish`."""
        require_admin_scope(who)
        return await self._broker.accounts.finish(
            name, answer, person=who.person, session=who.credential, actor=_actor(who)
        )

    async def disconnect_account(self, who: Operator, name: str) -> bool:
        """Forget an account of this person's. Raises as `Accounts.disconnect`."""
        require_admin_scope(who)
        return await self._broker.accounts.disconnect(name, person=who.person, actor=_actor(who))

    async def publish(self, who: Operator, files: Mapping[str, str]) -> str | ApprovalRequest:
        """Put policies in force, or ask for that once there are two administrators. Gives the release's digest.

        Their tests are run and history is replayed before, so that nothing unrehearsed is asked for.

        Raises:
            PolicyInvalidError: with every finding; nothing was asked for.
            PolicyTestsError: a test case failed, or there is none.
            ConflictError: exactly this release is in force already.
        """
        self._permission.require(Act.PUBLISH_POLICY, who)
        subject = Subject(SubjectKind.POLICY_RELEASE.value, release_subject(files))
        rehearsal = await self._rehearse(files)
        if who.basis == Basis.SINGLE_ADMIN:
            clearance = Clearance(subject, Basis.SINGLE_ADMIN, (who.person,), who.credential)
            published = await self._releases.publish(
                files, clearance=clearance, actor=_actor(who), rehearsal=rehearsal, author=who.person
            )
            return published.digest
        content = {
            "by": who.person,
            "change": _POLICY,
            "files": [[path, files[path]] for path in sorted(files)],
            "previous": self._releases.current.digest,
            "rehearsal": rehearsal.document(),
        }
        proposal = Proposal(
            subject.kind, subject.digest, f"policy:{subject.digest}", content, None, frozenset({who.person})
        )
        return await self._approvals.open_proposal(proposal, who)

    async def roll_back(self, who: Operator, release: str) -> str | ApprovalRequest:
        """Publish an earlier release again, named by number or digest; asked for, tested and simulated like any other.

        Raises:
            NotFoundError: it names no release, or several.
            Otherwise as `publish`.
        """
        self._permission.require(Act.PUBLISH_POLICY, who)
        texts, _ = self._releases.find(release)
        return await self.publish(who, dict(texts["files"]))

    async def set_mode(self, who: Operator, policy: str, until_us: int | None) -> str | ApprovalRequest:
        """Publish the release in force with one policy, or all of a file, observed until a moment or (None) enforced.

        Raises:
            InvalidInputError: `accredit.toml` is written in a way that has to be changed by hand.
            Otherwise as `publish`.
        """
        self._permission.require(Act.PUBLISH_POLICY, who)
        files = dict(self._releases.current.files)
        files[CONFIG_FILE] = with_mode(files.get(CONFIG_FILE, ""), policy, until_us)
        if not files[CONFIG_FILE].strip():
            del files[CONFIG_FILE]
        return await self.publish(who, files)

    # -- people and roles

    async def invite(self, who: Operator, email: str) -> str:
        """Make the second administrator's link: its secret. Raises as `People.invite_second_admin`."""
        require_admin_scope(who)
        return await self._people.invite_second_admin(who, email)

    async def withdraw_invitation(self, who: Operator) -> None:
        """Void the open invitation. Raises as `People.withdraw_invitation`."""
        require_admin_scope(who)
        await self._people.withdraw_invitation(who)

    async def sign_in_link(self, who: Operator, person: PersonId) -> str:
        """Make a person's single-use sign-in link: its secret. Raises as `People.sign_in_link`."""
        require_admin_scope(who)
        return await self._people.sign_in_link(who, person)

    async def person_left(self, who: Operator, person: PersonId, reason: str) -> None:
        """Somebody is not there any more: nothing of theirs works from here on.

        Raises:
            NotFoundError: no such person.
            ConflictError: there would be fewer than two administrators.
        """
        self._permission.require(Act.MANAGE_PEOPLE, who)
        await self._registry.person_left(person, _actor(who), reason)
        await self._people.end_credentials_of(person, _actor(who), reason)

    async def end_credentials(self, who: Operator, person: PersonId, reason: str) -> None:
        """End somebody's tokens, sessions and links; who is still there signs in anew. One's own takes no right.

        Raises:
            NotFoundError: no such person.
            UnavailableError: it could not be recorded; it is in force all the same.
        """
        require_admin_scope(who)
        if person != who.person:
            self._permission.require(Act.MANAGE_PEOPLE, who)
        await self._people.end_credentials_of(person, _actor(who), reason)

    async def propose_role(
        self,
        who: Operator,
        role: Role,
        *,
        person: PersonId | None = None,
        group: str | None = None,
        team: str | None = None,
    ) -> ApprovalRequest:
        """Ask that a person or a group be given a role. Raises as `Registry.propose_role`."""
        self._permission.require(Act.MANAGE_PEOPLE, who)
        made = self._registry.propose_role(role, person=person, group=group, team=team, actor=_actor(who))
        return await self._approvals.open_proposal(made, who)

    async def revoke_role(self, who: Operator, grant: str, reason: str = "") -> Receipt | None:
        """Take a role back; one's own may be laid down by anybody. Raises as `Registry.revoke_role`."""
        require_admin_scope(who)
        own = any(one.id == grant and one.holder == who.person for one in self._registry.organisation.grants)
        if not own:
            self._permission.require(Act.MANAGE_PEOPLE, who)
        return await self._registry.revoke_role(grant, _actor(who), reason)

    async def delegate(self, who: Operator, to: PersonId, role: Role, until_us: int) -> Delegation:
        """Let another vote in one's own place for a time. Raises as `Registry.delegate`, which knows the holder."""
        require_admin_scope(who)
        return await self._registry.delegate(to, role, until_us, _actor(who))

    async def end_delegation(self, who: Operator, delegation: str) -> Receipt | None:
        """End a delegation. Raises as `Registry.end_delegation`, which knows both sides."""
        require_admin_scope(who)
        return await self._registry.end_delegation(delegation, _actor(who))

    # -- sign-off

    async def submit(self, who: Operator, agent: AgentId) -> ApprovalRequest | None:
        """Submit an agent's newest version: for sign-off in production (the request), to run in staging (None).

        Submitting it again changes nothing and gives the same request.

        Raises:
            NotFoundError: no such agent.
            ConflictError: `transition_refused`: its state does not allow it; or it has no tier (`no_tier`).
        """
        found = self._known(agent)
        self._permission.require(Act.SUBMIT, who, agent=found)
        version = found.candidate or found.version
        if found.environment is not Environment.PRODUCTION:
            await self._registry.transition(agent, AgentEvent.SUBMIT, _actor(who), version=version.digest)
            return None
        tiering = self._judging.tiering(found, version)
        if tiering.tier is None:
            raise ConflictError(
                Code.NO_TIER,
                "; ".join(str(block) for block in tiering.blocks)[:1_000],
                hint="; ".join(block.remedy for block in tiering.blocks)[:1_000],
            )
        # first: killed in between, the agent waits for a request that submitting it again opens
        await self._registry.transition(agent, AgentEvent.SUBMIT, _actor(who), version=version.digest)
        request = await self._approvals.open_version(self._known(agent), version, who)
        return await self._settled(request, who)

    async def assess(self, who: Operator, request: str, form: Mapping[str, Any]) -> Digest:
        """Attach a risk assessment to a request: its digest. Raises as the desk's `attach_assessment`."""
        found = self._request(request)
        self._permission.require(Act.ASSESS, who, agent=self._known(found.agent) if found.agent else None)
        return await self._approvals.attach_assessment(request, who, form)

    async def vote(
        self,
        who: Operator,
        request: str,
        role: Role,
        verdict: VoteVerdict,
        view_digest: Digest,
        comment: str,
        obligations: Sequence[Obligation] = (),
    ) -> ApprovalRequest:
        """Vote in a role on what was shown. The vote that completes a gate puts into force what needs nobody else.

        Who may vote is the desk's to say, for it judges the roles. Raises as its `vote`.
        """
        require_admin_scope(who)
        after = await self._approvals.vote(
            request, who, role=role, verdict=verdict, view_digest=view_digest, comment=comment, obligations=obligations
        )
        return await self._settled(after, who)

    async def withdraw(self, who: Operator, request: str) -> ApprovalRequest:
        """Take a request back: whoever asked, or may submit the agent, or manages people.

        Raises:
            NotFoundError: no such request.
            ConflictError: it is over.
        """
        require_admin_scope(who)
        found = self._request(request)
        if found.subject.kind == SubjectKind.BREAK_GLASS:
            raise ConflictError(Code.CONFLICT, "the review of a break-glass is not taken back: security answers it")
        if found.parties.requester != who.person:
            agent = self._known(found.agent) if found.agent else None
            self._permission.require(Act.SUBMIT if agent else Act.MANAGE_PEOPLE, who, agent=agent)
        return await self._settled(await self._approvals.withdraw(request, who), who)

    async def answer_hold(
        self,
        who: Operator,
        hold: HoldId,
        verdict: HoldVerdict,
        *,
        view_digest: Digest,
        reason: str = "",
        role: str | None = None,
    ) -> Hold:
        """Answer a held call. Who may is for the holds to say. Raises as `Holds.decide`."""
        require_admin_scope(who)
        return await self._holds.decide(hold, who, verdict, view_digest=view_digest, role=role, reason=reason)

    # -- an agent's life

    async def activate(self, who: Operator, agent: AgentId) -> Procedure:
        """Put the approved version into force. Raises as `Lifecycle.activate`."""
        self._permission.require(Act.ACTIVATE, who, agent=self._known(agent))
        return await self._lifecycle.activate(agent, who)

    async def suspend(self, who: Operator, agent: AgentId, reason: str) -> None:
        """Stop an agent at once. Raises as `Lifecycle.suspend`."""
        self._permission.require(Act.SUSPEND, who, agent=self._known(agent))
        await self._lifecycle.suspend(agent, _actor(who), reason)

    async def resume(self, who: Operator, agent: AgentId, reason: str) -> None:
        """Let a suspended agent run again. Raises as `Lifecycle.resume`."""
        self._permission.require(Act.RESUME, who, agent=self._known(agent))
        await self._lifecycle.resume(agent, _actor(who), reason)

    async def quarantine(self, who: Operator, agent: AgentId, reason: str) -> None:
        """Stop an agent at once until security lifts it. Raises as `Lifecycle.quarantine`."""
        self._permission.require(Act.SUSPEND, who, agent=self._known(agent))
        await self._lifecycle.quarantine(agent, _actor(who), reason)

    async def lift(self, who: Operator, agent: AgentId, reason: str) -> None:
        """End a quarantine, and the alerts that it answered: what is so again, or still, is told and answered anew.

        Raises as `Lifecycle.lift`.
        """
        self._permission.require(Act.LIFT_QUARANTINE, who, agent=self._known(agent))
        await self._lifecycle.lift(agent, _actor(who), reason)
        for alert in self._monitor.alerts(agent=agent):
            if alert.remediation is RemediationKind.QUARANTINE and alert.state is not AlertState.RESOLVED:
                with contextlib.suppress(ConflictError):  # it was resolved meanwhile, or is being answered
                    await self._monitor.resolve(alert.id, who, reason)

    async def retire(
        self, who: Operator, agent: AgentId, reason: str, plan: Digest | None = None
    ) -> RetirementReceipt | ApprovalRequest:
        """End an agent for good, or ask for it. Raises as `Retirements.retire`."""
        return await self._retirements.retire(who, agent, reason, plan)

    # -- credentials

    async def join_token(
        self, who: Operator, agent: AgentId, *, thumbprint: str | None = None, source: str | None = None
    ) -> JoinToken:
        """Make a join token for an agent's instance. Raises as `Enrolment.issue_join_token`."""
        self._permission.require(Act.ENROL, who, agent=self._known(agent))
        return await self._enrolment.issue_join_token(
            agent, actor=_actor(who), pin_thumbprint=thumbprint, allowed_cidr=source
        )

    async def issue_agent_key(self, who: Operator, agent: AgentId, *, days: int, path: str = "") -> IssuedKey:
        """Make an opaque key for an agent's instance that can present nothing else. Raises as `Enrolment.issue_key`."""
        self._permission.require(Act.ENROL, who, agent=self._known(agent))
        return await self._enrolment.issue_key(agent, actor=_actor(who), days=days, path=path)

    async def confirm_credential(self, who: Operator, credential: CredentialId, thumbprint: str) -> Credential:
        """Say as the owner that a key is the instance's own. Raises as `Enrolment.confirm`."""
        self._permission.require(Act.CONFIRM_CREDENTIAL, who, agent=self._agent_with(credential))
        return await self._enrolment.confirm(credential, thumbprint, actor=_actor(who))

    async def revoke_agent(self, who: Operator, agent: AgentId, reason: str) -> Receipt | None:
        """End every credential of an agent. Raises as `Revocations.revoke_agent`."""
        self._permission.require(Act.REVOKE, who, agent=self._known(agent))
        return await self._revocations.revoke_agent(agent, actor=_actor(who), reason=reason)

    async def revoke_credential(self, who: Operator, credential: CredentialId, reason: str) -> Receipt | None:
        """End one key and its tokens. Raises as `Revocations.revoke_credential`."""
        self._permission.require(Act.REVOKE, who, agent=self._agent_with(credential))
        return await self._revocations.revoke_credential(credential, actor=_actor(who), reason=reason)

    async def revoke_issuer(self, who: Operator, issuer: str, reason: str) -> Receipt | None:
        """End an issuer's registration and all that rests on its word. Raises as `Revocations.revoke_issuer`."""
        self._permission.require(Act.REVOKE_ISSUER, who)
        return await self._revocations.revoke_issuer(issuer, actor=_actor(who), reason=reason)

    async def issue_point_key(self, who: Operator, point: str, days: int) -> ServiceKey:
        """Make a key for an enforcement point. Raises as `EnforcementPoints.issue_key`."""
        self._permission.require(Act.MANAGE_ISSUERS, who)
        return await self._points.issue_key(point, days=days, actor=_actor(who))

    async def revoke_point_key(self, who: Operator, point: str, key: str, reason: str) -> Receipt | None:
        """End one key of an enforcement point. Raises as `EnforcementPoints.revoke_key`."""
        self._permission.require(Act.REVOKE_ISSUER, who)
        return await self._points.revoke_key(point, key, actor=_actor(who), reason=reason)

    async def revoke_point(self, who: Operator, point: str, reason: str) -> Receipt | None:
        """End an enforcement point and all its keys. Raises as `EnforcementPoints.revoke`."""
        self._permission.require(Act.REVOKE_ISSUER, who)
        return await self._points.revoke(point, actor=_actor(who), reason=reason)

    # -- restrictions, alerts

    async def restrict(
        self,
        who: Operator,
        agent: AgentId,
        kind: RestrictionKind,
        *,
        cause: str,
        until_us: int,
        tool: ToolId | None = None,
        calls_per_minute: int | None = None,
        role: Role | None = None,
    ) -> Restriction | None:
        """Narrow an agent for a time. Raises as `Registry.restrict`."""
        self._permission.require(Act.RESTRICT, who, agent=self._known(agent))
        return await self._registry.restrict(
            agent,
            kind,
            _actor(who),
            cause=cause,
            until_us=until_us,
            tool=tool,
            calls_per_minute=calls_per_minute,
            role=role,
        )

    async def lift_restriction(self, who: Operator, restriction: str, reason: str) -> Receipt | None:
        """End a restriction before its time. Raises as `Registry.lift_restriction`."""
        found = self._registry.restriction(restriction)
        self._permission.require(Act.LIFT_RESTRICTION, who, agent=self._known(found.agent) if found else None)
        return await self._registry.lift_restriction(restriction, _actor(who), reason)

    async def acknowledge(self, who: Operator, alert: str, note: str = "") -> Alert:
        """Say that somebody looks after an alert. Raises as `Monitor.acknowledge`."""
        self._permission.require(Act.HANDLE_ALERT, who, agent=self._agent_of_alert(alert))
        return await self._monitor.acknowledge(alert, who, note)

    async def resolve(self, who: Operator, alert: str, note: str = "", *, disposition: AlertDisposition) -> Alert:
        """Say that an alert is over, and what it was. Raises as `Monitor.resolve`."""
        self._permission.require(Act.HANDLE_ALERT, who, agent=self._agent_of_alert(alert))
        return await self._monitor.resolve(alert, who, note, disposition=disposition)

    # -- what is due without anybody asking

    async def watch(self) -> None:
        """Look at what is new, and answer it.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        await self._remedies.carry_out(await self._monitor.round())

    async def tidy(self) -> None:
        """Record what ran out, and go on with what an earlier process or a failure left half-way.

        That is procedures, what was cleared and not enacted, and what was decided and is not the agent's state. What
        cannot go on now is left as it stands and tried again.

        Raises:
            UnavailableError: something could not be made durable; the next round goes on.
        """
        for request in await self._approvals.sweep():
            await self._settled(request, None)
        await self._approvals.remind()
        await self._glasses.settle()
        await self._lifecycle.recover()
        for request in self._approvals.find(state=ApprovalState.APPROVED):
            if request.agent is None and request.used_us is None:
                await self._settled(request, None)
        for agent in list(self._registry.catalogue.agents()):
            if agent.environment is Environment.PRODUCTION and agent.state in _JUDGED:
                version = (agent.candidate or agent.version).digest
                about = [one for one in self._approvals.find(agent=agent.id) if one.subject.digest == version]
                if about:
                    await self._carry_over(max(about, key=lambda one: (one.opened_us, one.id)), _SYSTEM)

    async def _settled(self, request: ApprovalRequest, who: Operator | None) -> ApprovalRequest:
        """The request once all that it decides is in force, or will be: what was decided stands also if that waits."""
        try:
            if request.agent is not None:
                await self._carry_over(request, _actor(who) if who else _SYSTEM)
            elif request.state is ApprovalState.APPROVED and request.used_us is None:
                await self._enact(request)
            if request.subject.kind == SubjectKind.BREAK_GLASS:
                await self._glasses.settle()
        except UnavailableError as error:
            _log.warning("what request %s decided waits: %s", request.id, error.message)
        return self._approvals.get(request.id) or request

    async def _carry_over(self, request: ApprovalRequest, actor: Actor) -> None:
        """What a request decided becomes the agent's state; nothing if it is so, or the agent has moved on."""
        event = _DECIDED.get(request.state)
        if request.agent is None or event is None or request.used_us is not None:
            return
        found = self._registry.get(request.agent)
        if found is None or (found.candidate or found.version).digest != request.subject.digest:
            return
        events = [event]
        if event is AgentEvent.SUBMIT and found.state is AgentState.APPROVED:
            events = [AgentEvent.LAPSE, event]  # votes stopped counting, so it waits again
        try:
            for each in events:
                await self._registry.transition(request.agent, each, actor, version=request.subject.digest)
        except (ConflictError, NotFoundError) as error:
            if error.code not in {Code.TRANSITION_REFUSED, Code.CONFLICT, Code.NOT_FOUND}:
                raise

    async def _enact(self, request: ApprovalRequest) -> None:
        """Put what was signed off into force. A failure is said once and tried again, not raised: the vote stands."""
        last = request.approvals[-1]
        operator = Operator(last.person, last.credential, frozenset(), Basis.ROLES.value)
        actor = _actor(operator)
        try:
            content = self._approvals.content(request)
            if content["change"] == SubjectKind.BREAK_GLASS:
                self._approvals.clearance(request.id, operator=operator)
            elif content["change"] == _POLICY:
                await self._publish(content, lambda: self._approvals.clearance(request.id, operator=operator), actor)
            elif (enacts := self._enacts.get(content["change"])) is not None:
                await enacts(content, self._approvals.clearance(request.id, operator=operator), actor)
            else:
                clearance = self._approvals.clearance(request.id, operator=operator)
                await self._registry.enact(content, clearance, actor)
                if content["change"] in {"server", "repin"}:
                    self._forget(ServerName(content.get("name") or content["server"]))
            await self._approvals.mark_used(request.id, actor=actor)
        except AccreditError as error:
            moved = isinstance(error, ConflictError | InvalidInputError | NotFoundError)
            if moved and error.code is not Code.STATE_UNPROVEN:
                # were the ground to move back, what people signed off then must not come into force by surprise
                _log.warning("what request %s approved cannot be put into force: %s", request.id, error.message)
                await self._approvals.lapse(request.id, error.message)
            elif request.id not in self._told:
                self._told.add(request.id)
                _log.warning("what request %s approved waits: %s", request.id, error.message)

    async def _publish(self, content: Mapping[str, Any], cleared: Callable[[], Clearance], actor: Actor) -> None:
        files = dict(content["files"])
        if release_subject(self._releases.current.files) == release_subject(files):
            return  # a process before this one did it
        if self._releases.current.digest != content["previous"]:
            raise ConflictError(Code.CONFLICT, "another release was published meanwhile", hint="propose it again")
        rehearsal = Rehearsal.from_document(content["rehearsal"])
        await self._releases.publish(files, clearance=cleared(), actor=actor, rehearsal=rehearsal, author=content["by"])

    # -- what is named

    def _known(self, agent: AgentId) -> Agent:
        found = self._registry.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found

    def _request(self, request: str) -> ApprovalRequest:
        found = self._approvals.get(request)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no request `{request[:80]}`")
        return found

    def _agent_with(self, credential: CredentialId) -> Agent:
        found = self._identity.credential(credential)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{credential[:80]}`")
        return self._known(found.agent)

    def _agent_of_alert(self, alert: str) -> Agent | None:
        """None: it is about no agent of ours, and for whoever handles alerts of all teams."""
        found = self._monitor.alert(alert)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no alert `{alert[:80]}`")
        return self._known(found.agent) if found.agent is not None else None


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
