"""What a request for sign-off rests on, as of now: what those who vote are shown, and what their votes bind to.

For a version of an agent that is its facets, its tier and the access validation under the release in force. A request
about a version that is not the newest declared any more has no grounds: nobody judges what nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from accredit.approvals.easing import Replacing
from accredit.approvals.gates import gate_name
from accredit.approvals.model import ApprovalRequest, Grounds, SubjectKind
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, NotFoundError
from accredit.lifecycle.granted import model_documents, tool_document
from accredit.lifecycle.judging import Judging
from accredit.policy.releases import PolicyReleases
from accredit.policy.widening import widened
from accredit.registry.certifiability import Uncertifiable, uncertifiable
from accredit.registry.changes import changes_between
from accredit.registry.model import Agent, AgentState, AgentVersion, Tier
from accredit.registry.service import Registry
from accredit.registry.templates import Template, outside
from accredit.registry.versions import enveloped

__all__ = ["PresentGrounds"]

_MOST_VERSIONS: Final = 50
"""So many of the newest versions are compared; what was voted on before them is voted on again."""


class PresentGrounds:
    """The `GroundsSource` of this installation. `content` gives what a request proposed."""

    def __init__(
        self,
        registry: Registry,
        judging: Judging,
        releases: PolicyReleases,
        content: Callable[[ApprovalRequest], Mapping[str, Any]],
        now_us: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._judging = judging
        self._releases = releases
        self._content = content
        self._now_us = now_us

    def __call__(self, request: ApprovalRequest) -> Grounds:
        """The grounds of a request as of now.

        Raises:
            NotFoundError: the agent does not exist.
            ConflictError: another version of it was declared since.
            UnavailableError: something this rests on cannot be computed, or is not what the log proves.
        """
        kind = SubjectKind(request.subject.kind)
        match kind:
            case SubjectKind.AGENT_VERSION:
                found = self._of_version(request)
            case SubjectKind.POLICY_RELEASE:
                found = self._of_release(request)
            case (
                SubjectKind.ROLE_GRANT
                | SubjectKind.TOOL_FACT
                | SubjectKind.GATE
                | SubjectKind.FACT_SOURCE
                | SubjectKind.PURGE
                | SubjectKind.ERASURE
                | SubjectKind.TEMPLATE
                | SubjectKind.BREAK_GLASS
                | SubjectKind.RETIREMENT
            ):
                found = Grounds()
        return replace(found, rule=self._registry.gate(gate_name(kind, found.tier)))

    def _of_version(self, request: ApprovalRequest) -> Grounds:
        agent = None if request.agent is None else self._registry.get(request.agent)
        if agent is None:
            raise NotFoundError(Code.NOT_FOUND, "the agent that the request is about does not exist")
        version = agent.candidate or agent.version
        if version.digest != request.subject.digest:
            raise ConflictError(
                Code.CONFLICT, "another version of the agent was declared since", hint="submit that one instead"
            )
        templates = self._templates(agent, version)
        catalogue = self._registry.catalogue
        tiering, access = self._judging.tiering(agent, version), self._judging.access(agent, version)
        return Grounds(
            facets=version.facets,
            tier=tiering.tier,
            blocks=tuple(str(block) for block in tiering.blocks),
            excess=tuple(str(one) for one in access.excess),
            validation=access.digest,
            policies=frozenset(policy.id for policy in self._releases.current.policies),
            quarantined_us=_quarantined_us(agent),
            tools=frozenset(grant.tool for grant in version.every_grant),
            templates=templates if tiering.tier is Tier.MEDIUM else (),
            template_rule=self._registry.gate(Tier.LOW.value),
            view={
                "access": {**access.document(), "release": access.release},
                "agent": _agent_doc(agent),
                "manifest": version.manifest,
                "obligations_in_force": [
                    {"by_request": one.approval, "kind": one.kind.value, "tool": one.tool}
                    for one in self._registry.restrictions_of(agent.id)
                    if one.approval is not None
                ],
                "templates": [
                    {**one.doc, "digest": one.digest, "name": one.name}
                    for one in templates
                    if tiering.tier is Tier.MEDIUM
                ],
                "models": list(model_documents(version, catalogue)),
                "replaces": _replaced_doc(agent, version, self._registry.differs_in_little),
                "stores": [str(one) for one in self._uncertifiable(version)],
                "tier": tiering.document(),
                "tools": [tool_document(grant.tool, catalogue.tool(grant.tool)) for grant in version.grants],
            },
        )

    def replacing(self, request: ApprovalRequest) -> Replacing | None:
        """What the version a request is about would replace; None: nothing. Raises as asking for the grounds."""
        agent = None if request.agent is None else self._registry.get(request.agent)
        if agent is None or agent.candidate is None or agent.candidate.digest != request.subject.digest:
            return None
        version, before = agent.candidate, agent.version
        access = self._judging.access(agent, before)
        return Replacing(
            version=before.digest,
            grounds=Grounds(
                facets=before.facets,
                tier=self._judging.tiering(agent, before).tier,
                validation=access.digest,
                quarantined_us=_quarantined_us(agent),
            ),
            since={
                one.digest: changes_between(one.manifest, version.manifest, little=self._registry.differs_in_little)
                for one in (*self._registry.versions(agent.id)[-_MOST_VERSIONS:], before)
            },
            widened=widened(access, self._judging.access(agent, version), expected=enveloped(before)),
        )

    def _templates(self, agent: Agent, version: AgentVersion) -> tuple[Template, ...]:
        """Those of its team that a version is within."""
        now_us, tool = self._now_us(), self._registry.catalogue.tool
        return tuple(
            one
            for one in self._registry.templates_of(agent.team.id)
            if not outside(one, version, agent.team.id, tool, now_us=now_us)
        )

    def _of_release(self, request: ApprovalRequest) -> Grounds:
        current = self._releases.current
        return Grounds(
            blocks=("another release was published since it was proposed",) if self._moved(request) else (),
            view={"in_force": {"digest": current.digest, "files": dict(current.files)}},
        )

    def _uncertifiable(self, version: AgentVersion) -> tuple[Uncertifiable, ...]:
        return uncertifiable(version.manifest["spec"].get("stores", ()), self._registry.stores)

    def _moved(self, request: ApprovalRequest) -> bool:
        try:
            proposed = self._content(request)
        except NotFoundError:
            return False  # it is being opened just now
        return bool(proposed["previous"] != self._releases.current.digest)


def _quarantined_us(agent: Agent) -> int | None:
    return agent.since_us if agent.state is AgentState.QUARANTINED else None


def _agent_doc(agent: Agent) -> dict[str, Any]:
    return {
        "environment": agent.environment.value,
        "id": agent.id,
        "name": agent.name,
        "quarantined_us": _quarantined_us(agent),
        "team": {"id": agent.team.id, "name": agent.team.name},
    }


def _replaced_doc(
    agent: Agent, version: AgentVersion, little: Callable[[Digest, Digest], bool]
) -> dict[str, Any] | None:
    """Of a candidate: the version in force, and which facets differ from it."""
    if agent.candidate is None:
        return None
    before = agent.version
    changed = sorted(facet for facet in version.facets if version.facets[facet] != before.facets.get(facet))
    changes = [change.document() for change in changes_between(before.manifest, version.manifest, little=little)]
    return {"changed": changed, "changes": changes, "manifest": before.manifest, "version": before.digest}
