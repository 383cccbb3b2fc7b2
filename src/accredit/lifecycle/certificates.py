"""Certificates of retirement: issued when a retirement ends or has to wait, and again when what they said has moved on.

A certificate is a row that is never removed or changed; one that takes another's place names it with its digest. What
a new one would say is compared with the newest: the same is not issued twice, so settling can be repeated at any time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from accredit.audit.certificates import CertificateStatus, signed
from accredit.audit.model import Facts
from accredit.audit.notes import NoteSigner
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource
from accredit.lifecycle.certifying import Certified, certified, matter_of, still_waits
from accredit.lifecycle.credential_inventory import CredentialInventory
from accredit.lifecycle.discovery.findings import FindingKind
from accredit.lifecycle.discovery.keys import FOUND_KEY
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.model import Procedure, ProcedureKind, Step
from accredit.lifecycle.ports import AbsenceProof
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.stores import Stores
from accredit.lifecycle.timeline import Timeline
from accredit.registry.model import Agent

__all__ = ["CERTIFICATE", "Certificate", "Certificates"]

CERTIFICATE: Final = "certificate"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate, as it was issued."""

    id: str
    agent: AgentId
    number: int
    """Of its agent's, from 1 on."""
    status: CertificateStatus
    issued_us: int
    note: str
    """What is signed, to be given to whoever asks."""

    @property
    def document(self) -> Mapping[str, Any]:
        """What it says."""
        text, _, _ = self.note.rpartition("\n\n")
        found: dict[str, Any] = orjson.loads(text)
        return found

    @property
    def digest(self) -> Digest:
        """Of exactly its bytes."""
        return Digest(f"sha256:{sha256(self.note.encode()).hexdigest()}")


class Certificates:
    """Issues them. `checkpoint` gives one over all that is on record; `at` is told what was done, for fault tests."""

    def __init__(
        self,
        control: ControlLog,
        lifecycle: Lifecycle,
        stores: Stores,
        findings: Findings,
        inventory: CredentialInventory,
        absence: AbsenceProof,
        timeline: Timeline,
        *,
        agent: Callable[[AgentId], Agent | None],
        signer: NoteSigner,
        checkpoint: Callable[[], Awaitable[bytes]],
        clock: Clock,
        ids: IdSource,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._lifecycle = lifecycle
        self._stores = stores
        self._findings = findings
        self._inventory = inventory
        self._absence = absence
        self._timeline = timeline
        self._agent = agent
        self._signer = signer
        self._checkpoint = checkpoint
        self._clock = clock
        self._ids = ids
        self._at = at
        self._of: dict[AgentId, list[Certificate]] = {}
        self._final: set[AgentId] = set()
        """Whose newest certificate nothing will take the place of."""
        self._alone = asyncio.Lock()
        for row in control.view.scan(CERTIFICATE):
            self._keep(_certificate_from(row.key, row.doc))
        control.subscribe(self._follow)

    # -- reading

    def newest(self, agent: AgentId) -> Certificate | None:
        """The one that counts."""
        found = self._of.get(agent)
        return found[-1] if found else None

    def all_of(self, agent: AgentId) -> tuple[Certificate, ...]:
        """Every one of an agent, the first one first."""
        return tuple(self._of.get(agent, ()))

    def known(self, agent: AgentId) -> Certificate:
        """The one that counts.

        Raises:
            NotFoundError: there is none.
        """
        found = self.newest(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, "the agent has no certificate", hint="one is issued when it is retired")
        return found

    # -- issuing

    async def settle(self, agent_id: AgentId) -> Certificate | None:
        """The certificate that is so now, issued if the newest says anything else; None before there is one to issue.

        Raises:
            UnavailableError: it could not be made durable; settling again completes it.
        """
        async with self._alone:
            procedure, agent = self._lifecycle.procedure(agent_id), self._agent(agent_id)
            if agent is None or procedure is None or not _certifiable(procedure):
                return None
            found_since = await self._found_since(agent, procedure)
            matter = certified(await asyncio.to_thread(self._matter, agent, procedure, found_since))
            newest = self.newest(agent_id)
            if newest is not None and matter_of(newest.document) == matter:
                if _is_final(newest):
                    self._final.add(agent_id)
                return newest
            return await self._issue(agent, matter, newest)

    async def _found_since(self, agent: Agent, procedure: Procedure) -> tuple[Mapping[str, Any], ...]:
        """Credentials that came to light only after the retirement looked, each left to people by now."""
        looked = next((one.result for one in procedure.done if one.step is Step.ABSENCE), None)
        if looked is None:
            return ()
        listed = {one["id"] for one in looked["credentials"]}
        now = await self._absence.look(agent)
        return tuple(one for one in now["credentials"] if one["id"] not in listed and one.get("finding"))

    def _matter(self, agent: Agent, procedure: Procedure, found_since: tuple[Mapping[str, Any], ...]) -> Certified:
        receipt = self._lifecycle.receipt(agent.id)
        waiting: tuple[str, ...] = ()
        if not procedure.did(Step.STORES):
            waiting = self._stores.waiting(agent, procedure) or ("its stores are not done yet",)
        elif receipt is None:
            waiting = ("the last look is not done yet",)
        absence = next((one.result for one in procedure.done if one.step is Step.ABSENCE), {})
        named = [one["id"] for one in absence.get("credentials", ()) if one["reach"] == "ours"]
        records = {one: self._timeline.record_of("credential", one) for one in named if one.startswith("crd_")}
        return Certified(
            agent=agent,
            procedure=procedure,
            retired_us=None if receipt is None else receipt.retired_us,
            outcomes=self._stores.outcomes(agent, procedure),
            waiting=waiting,
            findings={one.id: one for one in self._findings.find(kind=FindingKind.CREDENTIAL, agent=agent.id)},
            records={**records, "procedure": self._timeline.record_of("epoch", agent.id)},
            found_since=found_since,
        )

    async def _issue(self, agent: Agent, matter: Mapping[str, Any], before: Certificate | None) -> Certificate:
        now_us = self._clock.now().wall_us
        number = 1 if before is None else before.number + 1
        document = {
            **matter,
            "id": self._ids.new("crt"),
            "issued_us": now_us,
            "log": {"checkpoint": (await self._checkpoint()).decode(), "position": self._control.position},
            "number": number,
            "supersedes": None if before is None else {"digest": before.digest, "id": before.id},
        }
        made = Certificate(
            document["id"],
            agent.id,
            number,
            CertificateStatus(document["status"]),
            now_us,
            signed(document, self._signer).decode(),
        )
        body = {
            "certificate": made.id,
            "digest": made.digest,
            "number": number,
            "status": made.status.value,
            "supersedes": None if before is None else before.id,
        }

        def build(view: StateView) -> Change | None:
            if view.get(CERTIFICATE, made.id) is not None:
                return None
            write = Write(CERTIFICATE, made.id, _certificate_doc(made, salt=self._ids.new("salt")))
            facts = Facts("retirement.certified", agent=agent.id, environment=agent.environment.value)
            return Change(facts, (write,), Actor(basis="system"), body)

        await self._control.transact(build)
        self._at("certified")
        return made

    async def round(self) -> None:
        """Go on with what could not be done when it was due, and certify what has moved on. A failure keeps no other.

        Raises:
            UnavailableError: the log cannot be read or written; the next round goes on.
        """
        for procedure in self._unsettled():
            agent = self._agent(procedure.agent)
            if agent is None:
                continue
            try:
                await self._go_on(agent, procedure)
                await self.settle(agent.id)
            except AccreditError as error:
                _log.warning("the certificate of %s waits: %s", agent.id, error.message)

    async def _go_on(self, agent: Agent, procedure: Procedure) -> None:
        for finding in self._findings.find(open_=True, kind=FindingKind.CREDENTIAL, agent=agent.id):
            if not self._inventory.there(str(finding.seen.evidence.get("credential", ""))):
                await self._findings.over(finding.id)
        if procedure.ended_us is None:
            return  # the retirement itself goes on with its stores
        for outcome in self._stores.outcomes(agent, procedure):
            if still_waits([outcome]):
                try:
                    await self._stores.again(agent, procedure, outcome)
                except AccreditError as error:
                    _log.warning("%s of %s waits: %s", outcome.store, agent.id, error.message)

    def _unsettled(self) -> list[Procedure]:
        """Retirements whose newest certificate can still be followed by another."""
        begun = (one for one in self._lifecycle.retirements() if one.agent not in self._final)
        return [one for one in begun if _certifiable(one)]

    # -- rows

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == CERTIFICATE and write.doc is not None:
                self._keep(_certificate_from(write.key, write.doc))
            elif write.kind == FOUND_KEY and write.doc is not None:
                self._final.discard(AgentId(write.doc["agent"]))  # a certificate may know too little by now

    def _keep(self, one: Certificate) -> None:
        of = self._of.setdefault(one.agent, [])
        if all(each.id != one.id for each in of):
            of.append(one)
            of.sort(key=lambda each: each.number)
            (self._final.add if _is_final(of[-1]) else self._final.discard)(one.agent)


def _certifiable(procedure: Procedure) -> bool:
    """Whether a retirement came as far as there being something to certify, under this order of steps."""
    return procedure.kind is ProcedureKind.RETIRE and procedure.did(Step.AUDIT) and procedure.did(Step.DELEGATES)


def _is_final(one: Certificate) -> bool:
    """Whether neither anything here nor an answer of people's can make another say more."""
    if one.status is CertificateStatus.PENDING:
        return False
    return all(each["state"] != "left to people" for each in one.document["credentials"])


def _certificate_doc(one: Certificate, *, salt: str) -> dict[str, Any]:
    return {
        "agent": one.agent,
        "issued_us": one.issued_us,
        "note": one.note,
        "number": one.number,
        "salt": salt,
        "status": one.status.value,
    }


def _certificate_from(key: str, doc: Mapping[str, Any]) -> Certificate:
    return Certificate(
        key, AgentId(doc["agent"]), doc["number"], CertificateStatus(doc["status"]), doc["issued_us"], doc["note"]
    )
