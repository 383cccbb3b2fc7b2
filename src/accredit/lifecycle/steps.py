"""What each step of an activation gives and what its mirror takes at retirement, and in which order (DESIGN §6).

A step's effect on control state is a set of writes: whoever runs the steps puts them and the note that the step is done
into one transaction, so a process killed anywhere leaves whole steps only, and doing one again changes nothing. What a
step does outside of control state it does in `prepare`, before, in a way that can be repeated.

Three steps are a retirement's alone: what they take was given call by call, by others, or by nobody here.

INVARIANT: an activation's last group puts the version in force, so nothing runs before it; a retirement's first ends
every credential in the very transaction that begins it, so nothing runs from there on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from accredit.audit.ports import StateView, Write
from accredit.kernel.clearance import Clearance
from accredit.lifecycle.model import Done, Procedure, Step
from accredit.lifecycle.ports import (
    AbsenceProof,
    Archive,
    Baselines,
    Credentials,
    Delegations,
    Lenders,
    Questions,
    Reservations,
    SignOff,
    StorePurges,
)
from accredit.registry.certifiability import store_entry
from accredit.registry.lifecycle import awaits_candidate
from accredit.registry.model import Agent, AgentVersion, Tier

__all__ = ["ACTIVATION", "RETIREMENT", "Case", "MirroredStep", "StepEffect", "mirrored_steps"]

ACTIVATION: Final[tuple[tuple[Step, ...], ...]] = (
    (Step.STORES,),
    (Step.LIMITS,),
    (Step.AUDIT,),
    (Step.CREDENTIAL,),
    (Step.BASELINE, Step.POLICY),
)
"""Each group is one transaction: a baseline that is not that of the version in force would be drift by itself."""

RETIREMENT: Final[tuple[tuple[Step, ...], ...]] = (
    (Step.CREDENTIAL,),
    (Step.POLICY,),
    (Step.ACCESS, Step.LIMITS, Step.BASELINE, Step.DELEGATES),
    (Step.AUDIT,),
    (Step.STORES,),
    (Step.ABSENCE,),
)
"""Each group is one transaction. What is quick comes first, and the archive before the stores: a store can be down for
days. What comes after the archive stands in the certificate."""

_MAX_WRITES: Final = 200
"""Of one transaction; control state takes 256."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a step is done for."""

    agent: Agent
    version: AgentVersion
    now_us: int
    position: int
    """Of the newest control record."""
    request: str | None = None
    clearance: Clearance | None = None
    tier: Tier | None = None
    """What the clearance was given for."""
    procedure: Procedure | None = None
    """Of a retirement that runs."""
    prepared: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepEffect:
    """What a step does now, by the present state."""

    writes: tuple[Write, ...] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    open: tuple[str, ...] = ()
    """What it cannot reach, check or erase, in plain words."""
    more: bool = False
    """Too much for one transaction: to be done again at once."""


class MirroredStep(Protocol):
    """A step and its mirror."""

    @property
    def takes(self) -> str:
        """What retirement does here, as a sentence of the plan."""
        ...

    def give(self, view: StateView, case: Case) -> StepEffect:
        """Its part of an activation."""
        ...

    def undo(self, view: StateView, case: Case, done: Done) -> StepEffect:
        """Put back what was before `give`, for an activation that cannot be completed."""
        ...

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        """Do what taking does outside of control state; can be repeated.

        Raises:
            UnavailableError: it could not be done.
        """
        ...

    def foresee(self, case: Case) -> Mapping[str, Any]:
        """What `prepare` would do now, as the plan shows it."""
        ...

    def take(self, view: StateView, case: Case) -> StepEffect:
        """Its part of a retirement."""
        ...


class _InState:
    """A step that does nothing outside of control state, and whose giving needs no undoing."""

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        del case
        return {}

    def foresee(self, case: Case) -> Mapping[str, Any]:
        del case
        return {}

    def undo(self, view: StateView, case: Case, done: Done) -> StepEffect:
        del view, case, done
        return StepEffect()


class _CredentialStep(_InState):
    takes = "every key, token and join token is revoked, and no instance can be enrolled any more"

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def give(self, view: StateView, case: Case) -> StepEffect:
        assert case.clearance is not None  # noqa: S101 - an activation has one
        writes = tuple(self._credentials.writes_to_open(view, case.agent.id, case.clearance, case.version.digest))
        before = [[write.kind, write.key, row.doc if row else None] for write, row in _standing(view, writes)]
        return StepEffect(writes, {"before": before, "subject": case.clearance.subject.digest})

    def undo(self, view: StateView, case: Case, done: Done) -> StepEffect:
        if not awaits_candidate(case.agent.environment, case.agent.state):
            return self.take(view, case)  # it never ran: whatever was enrolled meanwhile goes as well
        return StepEffect(tuple(Write(kind, key, doc) for kind, key, doc in done.result["before"]))

    def take(self, view: StateView, case: Case) -> StepEffect:
        closing = tuple(self._credentials.writes_to_close(view, case.agent.id))
        ending = tuple(self._credentials.writes_to_end(view, case.agent.id))
        room = _MAX_WRITES - len(closing)
        return StepEffect((*closing, *ending[:room]), {"ended": len(ending[:room])}, more=len(ending) > room)


class _PolicyStep(_InState):
    takes = "its grants are withdrawn; holds and requests for sign-off that wait for people are closed"

    def __init__(
        self,
        questions: Questions,
        sign_off: SignOff,
        policies_about: Callable[[Agent], tuple[str, ...]],
    ) -> None:
        self._questions = questions
        self._sign_off = sign_off
        self._policies_about = policies_about

    def give(self, view: StateView, case: Case) -> StepEffect:
        assert case.request is not None  # noqa: S101 - an activation rests on one
        used = tuple(self._sign_off.writes_to_use(view, case.request, case.now_us))
        return StepEffect(used, {"grants": len(case.version.every_grant), "version": case.version.digest})

    def take(self, view: StateView, case: Case) -> StepEffect:
        closed = tuple(self._questions.writes_to_void(view, case.agent.id, case.now_us))
        left = tuple(f"policy {each} still names it; it only forbids" for each in self._policies_about(case.agent))
        return StepEffect(
            closed[:_MAX_WRITES],
            {"grants": len(case.version.every_grant), "questions": len(closed[:_MAX_WRITES])},
            left,
            more=len(closed) > _MAX_WRITES,
        )


class _TakenOnly(_InState):
    """A step that an activation has no part in: nothing of it is given before there are calls."""

    def give(self, view: StateView, case: Case) -> StepEffect:
        del view, case
        return StepEffect()

    def take(self, view: StateView, case: Case) -> StepEffect:
        del view
        result = {name: value for name, value in case.prepared.items() if name != "open"}
        return StepEffect(result=result, open=tuple(case.prepared.get("open", ())))


class _AccessStep(_TakenOnly):
    takes = "tokens that were lent for it are taken back; credentials that are not ours to end are left to people"

    def __init__(self, lenders: Lenders, absence: AbsenceProof) -> None:
        self._lenders = lenders
        self._absence = absence

    def foresee(self, case: Case) -> Mapping[str, Any]:
        return {"lent": list(self._lenders.lent_to(case.agent.id))}

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        # what is left has a deadline, and that runs from here on: not from when every store was purged
        left = await self._absence.leave_to_people(case.agent)
        return {"left_to_people": left, "taken_back": list(self._lenders.take_back(case.agent.id))}


class _DelegatesStep(_TakenOnly):
    takes = "delegations to and from it count no more; agents that only it handed work to are proposed for retirement"

    def __init__(self, delegations: Delegations) -> None:
        self._delegations = delegations

    def foresee(self, case: Case) -> Mapping[str, Any]:
        return self._delegations.foresee(case.agent)

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        return await self._delegations.propose(case.agent)


class _AbsenceStep(_TakenOnly):
    takes = "every credential is presented once more and must be refused"

    def __init__(self, absence: AbsenceProof) -> None:
        self._absence = absence

    def foresee(self, case: Case) -> Mapping[str, Any]:
        return self._absence.foresee(case.agent)

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        return await self._absence.look(case.agent)


class _LimitsStep(_InState):
    takes = "what its calls had reserved is given back"

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations

    def give(self, view: StateView, case: Case) -> StepEffect:
        del view
        limits = case.version.limits
        per_day = limits.cost_per_day
        return StepEffect(
            result={
                "calls_per_minute": limits.calls_per_minute,
                "concurrency": limits.concurrency,
                "cost_per_day": None if per_day is None else str(per_day),
            }
        )

    def foresee(self, case: Case) -> Mapping[str, Any]:
        return {"released": len(self._open(case))}

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        return {"released": sum(self._reservations.release(each) for each in self._open(case))}

    def _open(self, case: Case) -> list[Any]:
        return [each for each in self._reservations.open_reservations() if each.agent == case.agent.id]

    def take(self, view: StateView, case: Case) -> StepEffect:
        del view
        return StepEffect(result=dict(case.prepared))


class _BaselineStep(_InState):
    takes = "its baseline is closed"

    def __init__(self, baselines: Baselines) -> None:
        self._baselines = baselines

    def give(self, view: StateView, case: Case) -> StepEffect:
        subject = case.clearance.subject.digest if case.clearance else None
        writes = tuple(self._baselines.writes_to_open(view, case.agent, case.version, subject, case.now_us))
        return StepEffect(writes, {"version": case.version.digest})

    def take(self, view: StateView, case: Case) -> StepEffect:
        closed = tuple(self._baselines.writes_to_close(view, case.agent.id, case.now_us))
        return StepEffect(closed, {"closed": len(closed)})


class _StoresStep(_InState):
    takes = "what it kept in stores is purged and looked for again; what cannot be shown to be gone is said"

    def __init__(self, purges: StorePurges) -> None:
        self._purges = purges

    def give(self, view: StateView, case: Case) -> StepEffect:
        del view
        return StepEffect(result={"stores": self._stores(case.version)})

    def foresee(self, case: Case) -> Mapping[str, Any]:
        return self._purges.foresee(case.agent)

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        assert case.procedure is not None  # noqa: S101 - it is prepared by the retirement itself
        return await self._purges.retire(case.agent, case.procedure)

    def take(self, view: StateView, case: Case) -> StepEffect:
        del view
        result = {name: value for name, value in case.prepared.items() if name != "open"}
        return StepEffect(result=result, open=tuple(case.prepared.get("open", ())))

    def _stores(self, version: AgentVersion) -> list[str]:
        return [store_entry(each) for each in version.manifest.get("spec", {}).get("stores", ())]


class _AuditStep(_InState):
    takes = "its records are sealed under a checkpoint and archived with proofs"

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def give(self, view: StateView, case: Case) -> StepEffect:
        del view
        return StepEffect(result={"after": case.position})

    def foresee(self, case: Case) -> Mapping[str, Any]:
        return {"archive": self._archive.name(case.agent.id)}

    async def prepare(self, case: Case) -> Mapping[str, Any]:
        made = await self._archive.write(case.agent.id)
        return {
            "archive": made.name,
            "checkpoint": made.checkpoint,
            "records": made.records,
            "sha256": made.sha256,
        }

    def take(self, view: StateView, case: Case) -> StepEffect:
        del view
        return StepEffect(result=dict(case.prepared))


def _standing(view: StateView, writes: Iterable[Write]) -> Iterable[tuple[Write, Any]]:
    return ((write, view.get(write.kind, write.key)) for write in writes)


def mirrored_steps(
    *,
    credentials: Credentials,
    questions: Questions,
    sign_off: SignOff,
    policies_about: Callable[[Agent], tuple[str, ...]],
    reservations: Reservations,
    baselines: Baselines,
    archive: Archive,
    purges: StorePurges,
    lenders: Lenders,
    delegations: Delegations,
    absence: AbsenceProof,
) -> Mapping[Step, MirroredStep]:
    """Every step with its mirror."""
    return {
        Step.CREDENTIAL: _CredentialStep(credentials),
        Step.POLICY: _PolicyStep(questions, sign_off, policies_about),
        Step.LIMITS: _LimitsStep(reservations),
        Step.AUDIT: _AuditStep(archive),
        Step.BASELINE: _BaselineStep(baselines),
        Step.STORES: _StoresStep(purges),
        Step.ACCESS: _AccessStep(lenders, absence),
        Step.DELEGATES: _DelegatesStep(delegations),
        Step.ABSENCE: _AbsenceStep(absence),
    }
