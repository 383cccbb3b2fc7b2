"""The last look of a retirement: is every credential refused, is nothing lent any more, and what is left to people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from accredit.identity.broker import SealedBroker
from accredit.lifecycle.credential_inventory import (
    CredentialInventory,
    CredentialKind,
    CredentialReach,
    KnownCredential,
)
from accredit.lifecycle.discovery.findings import AgentFinding, FindingKind, Observed, owner_of
from accredit.lifecycle.discovery.reconciling import RETIREMENT_SOURCE
from accredit.lifecycle.discovery.service import Findings
from accredit.monitoring.model import Severity
from accredit.registry.model import Agent
from accredit.registry.organisation import Organisation

__all__ = ["Absence"]

_SHOWN: Final = 500
"""Credentials that one certificate names; of more it says how many."""


class Absence:
    """The `AbsenceProof` of the retirement's steps."""

    def __init__(
        self,
        inventory: CredentialInventory,
        broker: SealedBroker,
        findings: Findings,
        organisation: Callable[[], Organisation],
    ) -> None:
        self._inventory = inventory
        self._broker = broker
        self._findings = findings
        self._organisation = organisation

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        known = self._inventory.of(agent)
        return {
            "credentials": len(known),
            "left_to_people": sum(one.unreachable for one in known),
            "to_revoke": sum(one.alive and one.reach is CredentialReach.OURS for one in known),
        }

    async def leave_to_people(self, agent: Agent) -> int:
        left = [one for one in self._inventory.of(agent) if one.unreachable]
        for one in left:
            await self._findings.open_finding(_observed(agent, one))
        return len(left)

    async def look(self, agent: Agent) -> Mapping[str, Any]:
        # what is left to people first: however many there are of ours, none of those is left out
        known = sorted(self._inventory.of(agent), key=lambda one: not one.unreachable)
        told: list[dict[str, Any]] = []
        left: list[str] = []
        for one in known:
            document = one.document()
            if one.reach is CredentialReach.OURS:
                refused = self._inventory.refusal(agent.id, one)
                document["refused"] = None if refused is None else refused.value
                if refused is None:
                    left.append(f"{one.kind} {one.id} would still be let in")
            elif one.kind is CredentialKind.LENT_TOKEN:
                left.append(f"a token that was lent under `{one.name}` is still kept")
            elif one.unreachable:
                opened = await self._findings.open_finding(_observed(agent, one))
                document |= self._due(agent, opened)
                left.append(_left(one, opened))
            if len(told) < _SHOWN:
                told.append(document)
        return {
            "credentials": told,
            "known": len(known),
            "lent": list(self._broker.lent_to(agent.id)),
            "open": left[:_SHOWN],
            "refused": sum(one.get("refused") is not None for one in told),
        }

    def _due(self, agent: Agent, finding: AgentFinding | None) -> dict[str, Any]:
        owner, role = owner_of(agent, self._organisation())
        return {
            "due_us": None if finding is None else finding.due_us,
            "finding": None if finding is None else finding.id,
            "owner": owner,
            "role": role.value,
        }


def _left(one: KnownCredential, finding: AgentFinding | None) -> str:
    about = "" if finding is None else f", see {finding.id}"
    if one.kind is CredentialKind.UPSTREAM_CREDENTIAL:
        return f"{one.name} served this agent alone: it is to be removed here and ended where it was given out{about}"
    return f"{one.kind} `{one.name}` is not ours to end{about}"


def _observed(agent: Agent, one: KnownCredential) -> Observed:
    elsewhere = one.reach is CredentialReach.ELSEWHERE
    evidence = {**one.evidence, "credential": one.id, "credential_kind": one.kind.value, "where": one.name}
    return Observed(
        FindingKind.CREDENTIAL,
        f"{agent.id}/{one.id}",
        Severity.CRITICAL if elsewhere else Severity.WARNING,
        f"{agent.environment}/{agent.name}",
        agent.id,
        RETIREMENT_SOURCE,
        evidence,
    )
