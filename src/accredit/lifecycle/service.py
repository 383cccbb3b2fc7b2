"""Takes agents through activation and retirement, and stops and resumes them.

A procedure is a row that says how far it is. Every step is one transaction with that row, so whoever finds an open
procedure (the caller who began it, the next start, the background round) goes on where it stands. Stopping an agent
waits for nothing and for nobody: neither for a procedure that runs nor for the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource
from accredit.lifecycle.model import (
    Done,
    Planned,
    Procedure,
    ProcedureEnd,
    ProcedureKind,
    RetirementReceipt,
    Step,
)
from accredit.lifecycle.ports import AgentStates, Credentials, SignOff
from accredit.lifecycle.rows import PROCEDURE, RECEIPT, procedure_doc, procedure_from, receipt_doc, receipt_from
from accredit.lifecycle.steps import ACTIVATION, RETIREMENT, Case, MirroredStep, StepEffect
from accredit.registry.lifecycle import AgentEvent
from accredit.registry.model import Agent, AgentState, AgentVersion, Environment

__all__ = ["Lifecycle"]

_MAX_REASON: Final = 2_000
_log = logging.getLogger(__name__)


class Lifecycle:
    """The one that begins, continues and ends procedures.

    `at` is called between any two steps, with what was just done, for fault tests.
    """

    def __init__(
        self,
        control: ControlLog,
        agents: AgentStates,
        sign_off: SignOff,
        credentials: Credentials,
        steps: Mapping[Step, MirroredStep],
        *,
        clock: Clock,
        ids: IdSource,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._agents = agents
        self._sign_off = sign_off
        self._credentials = credentials
        self._steps = steps
        self._clock = clock
        self._ids = ids
        self._at = at
        self._turns: defaultdict[AgentId, asyncio.Lock] = defaultdict(asyncio.Lock)

    # -- reading

    def procedure(self, agent: AgentId) -> Procedure | None:
        """The agent's newest activation or retirement."""
        row = self._control.view.get(PROCEDURE, agent)
        return procedure_from(row.doc) if row else None

    def unfinished(self) -> tuple[Procedure, ...]:
        """Procedures that were begun and have not ended."""
        return tuple(
            procedure_from(row.doc) for row in self._control.view.scan(PROCEDURE) if row.doc["ended_us"] is None
        )

    def retirements(self) -> tuple[Procedure, ...]:
        """Every retirement that was begun, over or not."""
        kind = ProcedureKind.RETIRE.value
        return tuple(procedure_from(row.doc) for row in self._control.view.scan(PROCEDURE) if row.doc["kind"] == kind)

    def receipt(self, agent: AgentId) -> RetirementReceipt | None:
        """What was done when the agent was retired; None if it was not."""
        row = self._control.view.get(RECEIPT, agent)
        return receipt_from(row.doc) if row else None

    def retirement_plan(self, agent: AgentId) -> tuple[Planned, ...]:
        """What retiring the agent would do now, step by step. Nothing is changed.

        Raises:
            NotFoundError: no such agent.
        """
        found = self._known(agent)
        planned: list[Planned] = []
        for step in (step for group in RETIREMENT for step in group):
            mirrored = self._steps[step]
            case = self._case(found, found.version)
            case = replace(case, prepared=mirrored.foresee(case))
            effect = mirrored.take(self._control.view, case)
            planned.append(Planned(step, mirrored.takes, effect.result, effect.open))
        return tuple(planned)

    # -- activation

    async def activate(self, agent: AgentId, operator: Operator) -> Procedure:
        """Put the approved version of a production agent into force, or go on with that.

        Raises:
            NotFoundError: no such agent.
            ForbiddenError: there is no clearance for the version, or it did not hold to the end; nothing is left given.
            ConflictError: the agent's state does not allow it, or it is being retired.
            UnavailableError: a step could not be made durable; it goes on by itself once it can.
        """
        async with self._turns[agent]:
            found = self._known(agent)
            version = found.candidate or found.version
            before = self.procedure(agent)
            if before is not None and before.ended_us is None:
                if before.kind is ProcedureKind.RETIRE:
                    raise ConflictError(Code.CONFLICT, "the agent is being retired")
                if before.version == version.digest:
                    return await self._activating(before)
                await self._abandon(before, "another version took its place")
            elif (
                before is not None
                and (before.outcome, before.version) == (ProcedureEnd.COMPLETED, version.digest)
                and found.state is AgentState.ACTIVE
            ):
                return before
            if found.environment is not Environment.PRODUCTION:
                self._agents.require(agent, AgentEvent.ACTIVATE)  # says where it would run
            return await self._activating(await self._begin_activation(found, version, operator))

    async def _begin_activation(self, agent: Agent, version: AgentVersion, operator: Operator) -> Procedure:
        procedure = self._new(ProcedureKind.ACTIVATE, agent, version, operator)

        def build(view: StateView) -> Change:
            # INVARIANT: nothing is given without a clearance that holds now
            case = self._with_clearance(self._case(agent, version), procedure)
            self._agents.require(agent.id, AgentEvent.ACTIVATE)  # begin nothing that could not be completed
            begun = replace(procedure, begun_us=case.now_us, request=case.request)
            return Change(
                _facts("activation.begun", agent, version),
                (self._row(view, begun),),
                _actor(operator),
                {"procedure": procedure.id, "request": case.request},
            )

        await self._control.transact(build)
        self._at("activation begun")
        return procedure

    def _new(
        self, kind: ProcedureKind, agent: Agent, version: AgentVersion, operator: Operator, reason: str = ""
    ) -> Procedure:
        return Procedure(
            id=self._ids.new("prc"),
            kind=kind,
            agent=agent.id,
            version=version.digest,
            by=operator.person,
            credential=operator.credential,
            basis=operator.basis,
            reason=reason,
            begun_us=self._clock.now().wall_us,
        )

    async def _activating(self, procedure: Procedure) -> Procedure:
        *single, last = ACTIVATION
        try:
            for group in single:
                await self._stepped(procedure, group)
            await self._put_in_force(procedure, last)
        except (ForbiddenError, ConflictError) as error:
            if error.code is not Code.STATE_UNPROVEN:  # which an operator puts right: what was begun waits for that
                await self._abandon(procedure, error.message)
            raise
        self._at("activated")
        return self.procedure(procedure.agent) or procedure

    async def _put_in_force(self, procedure: Procedure, group: Sequence[Step]) -> None:
        agent = self._known(procedure.agent)
        version = _version(agent, procedure)
        tier = self._with_clearance(self._case(agent, version), procedure).tier

        def also(view: StateView) -> tuple[Write, ...]:
            standing = self._standing(view, procedure)
            # INVARIANT: checked again in the transaction that puts the version in force
            case = self._with_clearance(self._case(agent, version), procedure)
            if case.tier is not tier:
                raise ConflictError(Code.CONFLICT, "the version was approved under another risk tier meanwhile")
            effects = {step: self._steps[step].give(view, case) for step in group}
            ended = replace(
                _after(standing, effects, case.now_us), ended_us=case.now_us, outcome=ProcedureEnd.COMPLETED
            )
            return (*_writes(effects), self._row(view, ended))

        await self._agents.transition(
            agent.id, AgentEvent.ACTIVATE, _actor_of(procedure), version=version.digest, tier=tier, also=also
        )

    async def _abandon(self, procedure: Procedure, why: str) -> None:
        """Take back what an activation had given."""
        agent = self._known(procedure.agent)

        def build(view: StateView) -> Change | None:
            row = view.get(PROCEDURE, procedure.agent)
            standing = procedure_from(row.doc) if row else None
            if standing is None or standing.id != procedure.id or standing.ended_us is not None:
                return None
            case = self._case(agent, agent.version)
            undone = [self._steps[done.step].undo(view, case, done) for done in reversed(standing.done)]
            writes = tuple(write for effect in undone for write in effect.writes)
            if any(effect.more for effect in undone):
                return Change(
                    _facts("activation.stepped", agent, case.version), writes, _actor_of(procedure),
                    {"procedure": procedure.id}, narrowing=True,
                )  # fmt: skip
            ended = replace(standing, ended_us=case.now_us, outcome=ProcedureEnd.ABANDONED)
            writes = (*writes, self._row(view, ended))
            return Change(
                _facts("activation.abandoned", agent, case.version),
                writes,
                _actor_of(procedure),
                {"procedure": procedure.id},
                (Part("text", {"reason": why[:_MAX_REASON]}),),
                narrowing=True,
            )

        while await self._control.transact(build) is not None:
            if all(one.id != procedure.id for one in self.unfinished()):
                break
        self._at("activation abandoned")

    # -- retirement

    async def retire(
        self,
        agent: AgentId,
        operator: Operator,
        reason: str,
        *,
        plan: Digest | None = None,
        request: str | None = None,
        approvers: Sequence[str] = (),
    ) -> RetirementReceipt:
        """End an agent for good: nothing of it runs from the first moment on. Goes on with what was begun.

        `plan` is what was confirmed, `request` and `approvers` what it was signed off by; whether it had to be is for
        `retirements.py`.

        Raises:
            NotFoundError: no such agent.
            UnavailableError: a step could not be made durable or the archive not written; what was begun goes on by
                itself once it can, and the agent does not run meanwhile.
        """
        _bounded(reason)
        procedure = self.procedure(agent)
        if procedure is None or procedure.kind is not ProcedureKind.RETIRE:
            signed = (plan, request, tuple(approvers))
            procedure = await self._begin_retirement(self._known(agent), operator, reason, signed)
        async with self._turns[agent]:
            return await self._retiring(self.procedure(agent) or procedure)

    async def _begin_retirement(
        self, agent: Agent, operator: Operator, reason: str, signed: tuple[Digest | None, str | None, tuple[str, ...]]
    ) -> Procedure:
        """Waits for nobody: an activation that is half-way stops at its next step, and what it gave is taken here."""
        first, *_ = RETIREMENT
        procedure = self._new(ProcedureKind.RETIRE, agent, agent.version, operator, reason)
        procedure = replace(procedure, plan=signed[0], request=signed[1], approvers=signed[2])

        def also(view: StateView) -> tuple[Write, ...]:
            row = view.get(PROCEDURE, agent.id)
            if row is not None and row.doc["kind"] == ProcedureKind.RETIRE:
                return ()  # somebody else began it just now
            case = self._case(agent, agent.version)
            effects = {step: self._steps[step].take(view, case) for step in first}
            return (*_writes(effects), self._row(view, _after(procedure, effects, case.now_us)))

        await self._agents.transition(agent.id, AgentEvent.RETIRE, _actor(operator), also=also, reason=reason)
        self._at("retirement begun")
        return self.procedure(agent.id) or procedure

    async def _retiring(self, procedure: Procedure) -> RetirementReceipt:
        if procedure.ended_us is None:
            for group in RETIREMENT:
                await self._stepped(procedure, group)
            await self._end_retirement(procedure)
        receipt = self.receipt(procedure.agent)
        assert receipt is not None  # noqa: S101 - written with the procedure's end
        return receipt

    async def _end_retirement(self, procedure: Procedure) -> None:
        agent = self._known(procedure.agent)

        def also(view: StateView) -> tuple[Write, ...]:
            standing = self._standing(view, procedure)
            now_us = self._clock.now().wall_us
            ended = replace(standing, ended_us=now_us, outcome=ProcedureEnd.COMPLETED)
            left = tuple(each for done in standing.done for each in done.open)
            receipt = RetirementReceipt(agent.id, standing.id, standing.done, now_us, left)
            return (Write(RECEIPT, agent.id, receipt_doc(receipt)), self._row(view, ended))

        await self._agents.transition(agent.id, AgentEvent.RETIRED, _actor_of(procedure), also=also)
        self._at("retired")

    # -- stopping and resuming

    async def suspend(self, agent: AgentId, actor: Actor, reason: str) -> None:
        """Stop an agent at once; its keys stay.

        Raises:
            ConflictError: its state does not allow it.
            UnavailableError: it could not be recorded; it is in force all the same.
        """
        await self._halt(agent, AgentEvent.SUSPEND, actor, reason)

    async def quarantine(self, agent: AgentId, actor: Actor, reason: str) -> None:
        """Stop an agent at once until security lifts it; its keys stay. Raises as `suspend`."""
        await self._halt(agent, AgentEvent.QUARANTINE, actor, reason)

    async def _halt(self, agent: AgentId, event: AgentEvent, actor: Actor, reason: str) -> None:
        self._known(agent)
        await self._agents.transition(
            agent,
            event,
            actor,
            also=lambda view: self._credentials.writes_to_halt(view, agent),
            reason=_bounded(reason),
        )

    async def resume(self, agent: AgentId, actor: Actor, reason: str) -> None:
        """Let a suspended agent run again.

        Raises:
            ConflictError: its state does not allow it.
            UnavailableError: it could not be made durable, and is not in force.
        """
        self._known(agent)
        await self._agents.transition(agent, AgentEvent.RESUME, actor, reason=_bounded(reason))

    async def lift(self, agent: AgentId, actor: Actor, reason: str) -> None:
        """End a quarantine: the agent is what it was before. Raises as `resume`."""
        self._known(agent)
        await self._agents.transition(agent, AgentEvent.LIFT, actor, reason=_bounded(reason))

    # -- going on

    async def recover(self) -> int:
        """Go on with every procedure that was begun and has not ended; returns how many ended.

        What cannot go on now is left as it stands, to be tried again.
        """
        ended = 0
        for procedure in self.unfinished():
            async with self._turns[procedure.agent]:
                present = self.procedure(procedure.agent)
                if present is None or present.id != procedure.id or present.ended_us is not None:
                    continue
                try:
                    if present.kind is ProcedureKind.RETIRE:
                        await self._retiring(present)
                    else:
                        await self._activating(present)
                    ended += 1
                except AccreditError as error:
                    _log.warning("%s of %s waits: %s", present.kind.value, present.agent, error.message)
        return ended

    async def _stepped(self, procedure: Procedure, group: Sequence[Step]) -> None:
        """Do the steps of a group that are not done, in one transaction, or in several if they are large."""
        agent = self._known(procedure.agent)
        version = _version(agent, procedure)
        gives = procedure.kind is ProcedureKind.ACTIVATE
        while missing := [step for step in group if not self._standing(self._control.view, procedure).did(step)]:
            prepared: Mapping[Step, Mapping[str, Any]] = {}
            if not gives:
                case = replace(self._case(agent, version), procedure=self._standing(self._control.view, procedure))
                prepared = {step: await self._steps[step].prepare(case) for step in missing}
                self._at(f"{missing[-1].value} prepared")

            def build(
                view: StateView,
                missing: Sequence[Step] = missing,
                prepared: Mapping[Step, Mapping[str, Any]] = prepared,
            ) -> Change:
                standing = self._standing(view, procedure)
                case = self._case(agent, version)
                if gives:
                    case = self._with_clearance(case, procedure)
                    effects = {step: self._steps[step].give(view, case) for step in missing}
                else:
                    effects = {
                        step: self._steps[step].take(view, replace(case, prepared=prepared[step])) for step in missing
                    }
                return Change(
                    _facts("activation.stepped" if gives else "retirement.stepped", agent, version),
                    (*_writes(effects), self._row(view, _after(standing, effects, case.now_us))),
                    _actor_of(procedure),
                    {"procedure": procedure.id, "steps": [step.value for step in effects]},
                    narrowing=not gives,
                )

            await self._control.transact(build)
            self._at(f"{missing[-1].value} {'given' if gives else 'taken'}")

    # -- what stands

    def _known(self, agent: AgentId) -> Agent:
        found = self._agents.get(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found

    def _case(self, agent: Agent, version: AgentVersion) -> Case:
        return Case(agent, version, self._clock.now().wall_us, self._control.position)

    def _with_clearance(self, case: Case, procedure: Procedure) -> Case:
        """The case with its clearance, checked now for whoever began the procedure."""
        operator = Operator(procedure.by, procedure.credential, frozenset(), procedure.basis)
        cleared = self._sign_off.cleared(case.agent, case.version, operator)
        cleared.clearance.covers("agent-version", procedure.version)
        return replace(case, request=cleared.request, clearance=cleared.clearance, tier=cleared.tier)

    def _standing(self, view: StateView, procedure: Procedure) -> Procedure:
        """The procedure as it stands, if it is still this one and open."""
        row = view.get(PROCEDURE, procedure.agent)
        standing = procedure_from(row.doc) if row else None
        if standing is None or standing.id != procedure.id or standing.ended_us is not None:
            raise ConflictError(Code.CONFLICT, "something else was begun with the agent meanwhile")
        return standing

    def _row(self, view: StateView, procedure: Procedure) -> Write:
        row = view.get(PROCEDURE, procedure.agent)
        same = row is not None and row.doc["id"] == procedure.id
        nonce = row.doc["nonce"] if row is not None and same else self._ids.new("nonce")
        return Write(PROCEDURE, procedure.agent, procedure_doc(procedure, nonce=nonce))


def _version(agent: Agent, procedure: Procedure) -> AgentVersion:
    """The version a procedure is about.

    Raises:
        ConflictError: it was replaced by another meanwhile.
    """
    for version in (agent.candidate, agent.version):
        if version is not None and version.digest == procedure.version:
            return version
    if procedure.kind is ProcedureKind.RETIRE:
        return agent.version
    raise ConflictError(Code.CONFLICT, "the version to be activated was replaced by another")


def _after(procedure: Procedure, effects: Mapping[Step, StepEffect], now_us: int) -> Procedure:
    """The procedure once these effects are in force; a step that has more to do is not done."""
    done = tuple(Done(step, now_us, effect.result, effect.open) for step, effect in effects.items() if not effect.more)
    return replace(procedure, done=(*procedure.done, *done))


def _writes(effects: Mapping[Step, StepEffect]) -> tuple[Write, ...]:
    return tuple(write for effect in effects.values() for write in effect.writes)


def _facts(kind: str, agent: Agent, version: AgentVersion) -> Facts:
    return Facts(kind, agent=agent.id, version=version.digest, environment=agent.environment.value)


def _actor(operator: Operator) -> Actor:
    return Actor(person=operator.person, credential=operator.credential, basis=operator.basis)


def _actor_of(procedure: Procedure) -> Actor:
    return Actor(person=procedure.by, credential=procedure.credential, basis=procedure.basis)


def _bounded(reason: str) -> str:
    if len(reason) > _MAX_REASON:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"a reason has at most {_MAX_REASON} characters")
    return reason
