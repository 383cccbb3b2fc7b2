"""What a certificate of retirement says of one agent, from what the steps came to. Pure.

Nothing is claimed that a step did not show: a store is `absent` only if it was asked afterwards, and bytes were looked
for; of one without a namespace of the agent's it is said that nobody can certify it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accredit.audit.certificates import CertificateStatus, StoreClaim
from accredit.lifecycle.discovery.findings import AgentFinding, FindingState
from accredit.lifecycle.model import Done, Procedure, Step
from accredit.lifecycle.store_rows import outcome_doc
from accredit.lifecycle.stored import Disposition, ResidualBytes, StoreOutcome, held_back, key_waits
from accredit.registry.model import Agent

__all__ = ["Certified", "certified", "claim_of", "matter_of", "still_waits"]

_OF_ITS_OWN: Final = frozenset({"id", "issued_us", "log", "number", "supersedes"})
"""What two certificates that say the same differ in."""


@dataclass(frozen=True, slots=True)
class Certified:
    """What is to be certified of one retirement."""

    agent: Agent
    procedure: Procedure
    retired_us: int | None
    outcomes: tuple[StoreOutcome, ...]
    waiting: tuple[str, ...]
    """What is not done yet, in plain words."""
    findings: Mapping[str, AgentFinding]
    """Of credentials that were left to people, by id."""
    records: Mapping[str, int | None]
    """Where the log holds that a credential of ours ended, by the credential's id; and that it began, `procedure`."""
    found_since: tuple[Mapping[str, Any], ...] = ()
    """Credentials that came to light after the last look, as that would have told of them."""


def claim_of(outcome: StoreOutcome) -> StoreClaim:
    """What may be claimed of a store; never more than it showed."""
    if outcome.certified and not any(one.pending_until_us is not None for one in outcome.keys):
        return StoreClaim.ABSENT
    if outcome.api_absent is None:
        never = any(one.startswith("cannot certify") for one in outcome.unreachable)
        return StoreClaim.CANNOT_CERTIFY if never else StoreClaim.NOT_REACHED
    if outcome.api_absent is False or outcome.residual is ResidualBytes.FOUND:
        return StoreClaim.STILL_THERE
    if outcome.skipped.get(Disposition.HELD.value):
        return StoreClaim.HELD
    if any(one.pending_until_us is not None for one in outcome.keys):
        return StoreClaim.KEY_PENDING
    return StoreClaim.NOT_SHOWN


def certified(it: Certified) -> dict[str, Any]:
    """The document without id, number, time, place in the log and what it supersedes."""
    pending, exceptions = list(it.waiting), list[str]()
    for outcome in it.outcomes:
        waits = _waits(outcome)
        pending += waits
        exceptions += [one for one in outcome.open if one not in waits]
    credentials = _credentials(it)
    for one in credentials:
        if one["state"] == "left to people":
            exceptions.append(f"{one['kind']} `{one['name']}` is not ours to end: {one['finding'] or 'no finding'}")
        elif one["state"] == "let in":
            exceptions.append(f"{one['kind']} {one['id']} would still be let in")
    status = CertificateStatus.COMPLETE
    if pending:
        status = CertificateStatus.PENDING
    elif exceptions:
        status = CertificateStatus.WITH_EXCEPTIONS
    agent, procedure = it.agent, it.procedure
    archive = _result(procedure.done, Step.AUDIT)
    return {
        "agent": {
            "environment": agent.environment.value,
            "id": agent.id,
            "name": agent.name,
            "team": agent.team.id,
            "version": procedure.version,
        },
        "approvers": list(procedure.approvers),
        "archive": {name: archive.get(name) for name in ("archive", "records", "sha256")},
        "begun_us": procedure.begun_us,
        "credentials": credentials,
        "credentials_known": _result(procedure.done, Step.ABSENCE).get("known"),
        "delegates": _result(procedure.done, Step.DELEGATES),
        "exceptions": exceptions,
        "operator": procedure.by,
        "pending": pending,
        "plan": procedure.plan,
        "procedure": procedure.id,
        "record": it.records.get("procedure"),
        "remarks": [line for done in procedure.done if done.step is Step.POLICY for line in done.open],
        "request": procedure.request,
        "retired_us": it.retired_us,
        "status": status.value,
        "stores": [{**outcome_doc(one), "claim": claim_of(one).value} for one in it.outcomes],
        "taken_back": _result(procedure.done, Step.ACCESS).get("taken_back", []),
    }


def _waits(outcome: StoreOutcome) -> list[str]:
    """What of a store will go on by itself, of all that is open of it."""
    held = outcome.skipped.get(Disposition.HELD.value)
    waits = {key_waits(one.scope) for one in outcome.keys if one.pending_until_us is not None}
    own = {f"{outcome.store}: {each}" for each in waits}
    return [one for one in outcome.open if one in own or (held and one == f"{outcome.store}: {held_back(held)}")]


def _credentials(it: Certified) -> list[dict[str, Any]]:
    found = []
    for one in (*_result(it.procedure.done, Step.ABSENCE).get("credentials", ()), *it.found_since):
        document = {name: one.get(name) for name in ("id", "kind", "name", "reach", "refused", "finding", "owner",
                                                     "role", "due_us")}  # fmt: skip
        finding = None if one.get("finding") is None else it.findings.get(one["finding"])
        document["record"] = it.records.get(one["id"])
        document["state"] = _state(one, finding)
        answered = finding is not None and finding.state is FindingState.DISMISSED
        document["answered_by"] = [who for who in (finding.by, finding.second) if who] if finding and answered else []
        found.append(document)
    return found


def _state(one: Mapping[str, Any], finding: AgentFinding | None) -> str:
    if one["reach"] == "ours":
        return "revoked" if one.get("refused") else "let in"
    if "finding" not in one:
        return "stays: other agents need it, and the agent never had it"
    match None if finding is None else finding.state:
        case FindingState.DISMISSED:
            return "ended elsewhere, by the word of those who answered"
        case FindingState.OVER:
            return "not there any more"
        case _:
            return "left to people"


def _result(done: Sequence[Done], step: Step) -> Mapping[str, Any]:
    return next((one.result for one in done if one.step is step), {})


def matter_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a certificate says, apart from which one it is."""
    return {name: value for name, value in document.items() if name not in {*_OF_ITS_OWN, "format"}}


def still_waits(outcomes: Iterable[StoreOutcome]) -> bool:
    """Whether something of a store is to go on by itself."""
    return any(_waits(one) for one in outcomes)
