"""Activation and retirement: mirrored, resumable between any two steps, and never half-alive."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Actor
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, UnavailableError
from accredit.lifecycle.model import ProcedureEnd, ProcedureKind, Step
from accredit.lifecycle.steps import ACTIVATION, RETIREMENT, Case, mirrored_steps
from accredit.registry.model import AgentState
from tests.lifecycle.yard import (
    AGENT,
    OLIVE,
    V1,
    V2,
    Alone,
    Baselines,
    Counters,
    KilledError,
    Killer,
    Lent,
    NothingKnown,
    Process,
    Purges,
    Rooms,
    Yard,
)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


@pytest.mark.requirement("lifecycle:steps:mirrored")
def test_every_granting_step_has_its_taking_step(tmp_path: Path) -> None:
    given = [step for group in ACTIVATION for step in group]
    taken = [step for group in RETIREMENT for step in group]
    assert set(given) <= set(taken) == set(Step)
    assert (len(given), len(taken)) == (len(set(given)), len(set(taken)))

    async def story() -> None:
        yard = Yard(tmp_path)
        rooms = Rooms(yard)
        steps = mirrored_steps(
            credentials=rooms, questions=rooms, sign_off=rooms, policies_about=lambda _: (), reservations=Counters(),
            baselines=Baselines(), archive=yard.shelf, purges=Purges(), lenders=Lent(), delegations=Alone(),
            absence=NothingKnown(),
        )  # fmt: skip
        assert steps.keys() == set(Step)
        async with yard.running() as process:
            await yard.begin(process)
            for step in given:
                agent = process.agent
                cleared = rooms.cleared(agent, agent.version, OLIVE)
                case = Case(agent, agent.version, 5, 0, request=cleared.request, clearance=cleared.clearance)
                effect = steps[step].give(process.control.view, case)
                await process.put(*((each.kind, each.key, dict(each.doc or {})) for each in effect.writes))
                taken_rows = {(each.kind, each.key) for each in steps[step].take(process.control.view, case).writes}
                # the note that an approval was used is history, and no retirement takes that back
                assert {(each.kind, each.key) for each in effect.writes if each.kind != "used"} <= taken_rows

    run(story())


@pytest.mark.requirement("lifecycle:activate:last-step")
def test_an_agent_runs_from_the_last_step_of_its_activation_on_and_not_before(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    async def story() -> None:
        yard = Yard(tmp_path)
        async with yard.running(at=lambda moment: seen.append((moment, process.runs))) as process:
            await yard.begin(process)
            done = await process.lifecycle.activate(AGENT, OLIVE)
            assert (done.outcome, done.kind, done.version) == (ProcedureEnd.COMPLETED, ProcedureKind.ACTIVATE, V1)
            assert {each.step for each in done.done} == {step for group in ACTIVATION for step in group}
            assert process.rows("enrolment") == {AGENT: {"version": V1}}
            assert process.rows("baseline")[AGENT]["version"] == V1
            assert process.rows("used").keys() == {"apr_1"}

    run(story())
    assert [runs for _, runs in seen] == [False] * (len(seen) - 1) + [True]
    assert [moment for moment, _ in seen] == [
        "activation begun", "stores given", "limits given", "audit given", "credential given", "activated",
    ]  # fmt: skip


@pytest.mark.requirement("lifecycle:retire:first-step")
def test_from_the_first_step_of_its_retirement_on_an_agent_does_not_run_and_no_credential_of_it_lives(
    tmp_path: Path,
) -> None:
    seen: list[tuple[bool, bool]] = []

    async def story() -> None:
        yard = Yard(tmp_path)

        def at(moment: str) -> None:
            if process.state is not AgentState.ACTIVE:
                alive = process.rows("key")["crd_1"]["live"] or bool(process.rows("enrolment"))
                seen.append((process.runs, alive))

        async with yard.running(at=at) as process:
            await yard.begin(process)
            await process.lifecycle.activate(AGENT, OLIVE)
            seen.clear()
            receipt = await process.lifecycle.retire(AGENT, OLIVE, "no longer needed")
            assert process.state is AgentState.RETIRED
            assert [done.step for done in receipt.steps] == [step for group in RETIREMENT for step in group]
            assert receipt.open == (
                "policy agent/support/hours.0123456789ab still names it; it only forbids",
                "memory qdrant/support: nobody can look",
            )
            results = {done.step: dict(done.result) for done in receipt.steps}
            assert results[Step.LIMITS] == {"released": 1}
            assert results[Step.AUDIT] == {
                "archive": "agt_1.jsonl",
                "records": 7,
                "sha256": "0" * 64,
                "checkpoint": "checkpoint",
            }
            assert process.rows("hold") == {}
            assert process.rows("baseline")[AGENT]["closed_us"] is not None

    run(story())
    assert len(seen) > 6
    assert set(seen) == {(False, False)}


async def _done(process: Process, *, retires: bool) -> None:
    if retires:
        await process.lifecycle.retire(AGENT, OLIVE, "over")
    else:
        await process.lifecycle.activate(AGENT, OLIVE)


def _left(process: Process) -> dict[str, Any]:
    """What stands in the end; times and ids aside."""
    rows = {kind: process.rows(kind) for kind in ("agent", "enrolment", "epoch", "key", "hold", "used")}
    closed = [row["closed_us"] is not None for row in process.rows("baseline").values()]
    procedure = process.lifecycle.procedure(AGENT)
    assert procedure is not None
    done = [(each.step, dict(each.result)) for each in procedure.done if each.step not in {Step.LIMITS, Step.AUDIT}]
    rows["used"] = {key: {} for key in rows["used"]}
    return rows | {"closed": closed, "done": done, "outcome": procedure.outcome}


@pytest.mark.requirement("lifecycle:kill:between-steps")
@pytest.mark.parametrize("retires", [False, True])
def test_killed_between_any_two_steps_and_again_while_going_on_a_procedure_reaches_its_end(
    tmp_path: Path, *, retires: bool
) -> None:
    (tmp_path / "whole").mkdir()
    expected: dict[str, Any] = {}

    async def whole() -> int:
        yard, killer = Yard(tmp_path / "whole"), Killer(0)
        async with yard.running(at=killer) as process:
            await yard.begin(process, state=AgentState.ACTIVE if retires else AgentState.APPROVED)
            await _done(process, retires=retires)
            expected.update(_left(process))
        return len(killer.passed)

    moments = asyncio.run(whole())
    assert moments >= 6

    async def story(nth: int) -> None:
        path = tmp_path / str(nth)
        path.mkdir()
        yard = Yard(path)
        async with yard.running(at=Killer(nth)) as process:
            await yard.begin(process, state=AgentState.ACTIVE if retires else AgentState.APPROVED)
            with pytest.raises(KilledError):
                await _done(process, retires=retires)
        killer = Killer(2)
        async with yard.running(at=killer) as process:
            assert process.runs is (not retires and nth == moments)
            if len(process.lifecycle.unfinished()):
                try:
                    await process.lifecycle.recover()
                except KilledError:
                    assert process.runs is (killer.passed[-1] == "activated")
        async with yard.running() as process:
            await process.lifecycle.recover()
            assert process.lifecycle.unfinished() == ()
            assert _left(process) == expected
            before = process.control.position
            await process.lifecycle.recover()
            await _done(process, retires=retires)
            assert process.control.position == before, "repeating it changed something"

    for nth in range(1, moments + 1):
        run(story(nth))


@pytest.mark.requirement("lifecycle:activate:clearance")
def test_without_a_clearance_nothing_is_given(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        yard.approved.clear()
        async with yard.running() as process:
            await yard.begin(process)
            with pytest.raises(ForbiddenError) as refused:
                await process.lifecycle.activate(AGENT, OLIVE)
            assert refused.value.code is Code.CLEARANCE_REQUIRED
            assert process.lifecycle.procedure(AGENT) is None
            assert (process.rows("enrolment"), process.runs) == ({}, False)

    run(story())


@pytest.mark.requirement("lifecycle:activate:clearance")
@pytest.mark.parametrize("moment", ["activation begun", "limits given", "credential given"])
def test_a_clearance_that_falls_during_the_activation_takes_back_what_was_given(tmp_path: Path, moment: str) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)

        def at(passed: str) -> None:
            if passed == moment:
                yard.approved.clear()

        async with yard.running(at=at) as process:
            await yard.begin(process)
            with pytest.raises(ForbiddenError):
                await process.lifecycle.activate(AGENT, OLIVE)
            procedure = process.lifecycle.procedure(AGENT)
            assert procedure is not None
            assert procedure.outcome is ProcedureEnd.ABANDONED
            assert (process.state, process.rows("enrolment"), process.rows("used")) == (AgentState.APPROVED, {}, {})
            assert process.lifecycle.unfinished() == ()
            # a key that was enrolled meanwhile lives no longer than the activation it was enrolled for
            assert process.rows("key")["crd_1"]["live"] is (moment != "credential given")

    run(story())


@pytest.mark.requirement("lifecycle:activate:candidate")
def test_a_newer_version_comes_into_force_while_the_approved_one_runs(tmp_path: Path) -> None:
    seen: list[tuple[bool, str, str]] = []

    async def story() -> None:
        yard = Yard(tmp_path)

        def at(_: str) -> None:
            if process.rows("baseline"):
                seen.append((process.runs, process.agent.version.digest, process.rows("baseline")[AGENT]["version"]))

        async with yard.running(at=at) as process:
            await yard.begin(process)
            await process.lifecycle.activate(AGENT, OLIVE)
            await yard.with_candidate(process)
            seen.clear()
            await process.lifecycle.activate(AGENT, OLIVE)
            assert (process.agent.version.digest, process.agent.candidate) == (V2, None)
            assert process.rows("enrolment") == {AGENT: {"version": V2}}

    run(story())
    # the baseline is always that of the version in force: anything else would be drift
    assert all(runs and in_force == baseline for runs, in_force, baseline in seen)
    assert {in_force for _, in_force, _ in seen} == {V1, V2}


@pytest.mark.requirement("lifecycle:activate:candidate")
def test_an_abandoned_change_leaves_the_running_version_as_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)

        def at(passed: str) -> None:
            if passed == "credential given" and process.agent.candidate:
                yard.approved.discard(V2)

        async with yard.running(at=at) as process:
            await yard.begin(process)
            await process.lifecycle.activate(AGENT, OLIVE)
            await yard.with_candidate(process)
            with pytest.raises(ForbiddenError):
                await process.lifecycle.activate(AGENT, OLIVE)
            assert (process.runs, process.agent.version.digest) == (True, V1)
            assert process.rows("enrolment") == {AGENT: {"version": V1}}
            assert process.rows("key")["crd_1"]["live"] is True
            assert process.rows("baseline")[AGENT]["version"] == V1

    run(story())


@pytest.mark.requirement("lifecycle:retire:many-keys")
def test_an_abandoned_first_activation_leaves_no_key_alive_however_many_were_enrolled(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)

        def at(passed: str) -> None:
            if passed == "credential given":
                yard.approved.discard(V1)

        async with yard.running(at=at) as process:
            await yard.begin(process)
            for start in range(0, 450, 150):
                await process.put(*(("key", f"crd_x{each}", {"live": True}) for each in range(start, start + 150)))
            with pytest.raises(ForbiddenError):
                await process.lifecycle.activate(AGENT, OLIVE)
            assert [row for row in process.rows("key").values() if row["live"]] == []
            assert process.lifecycle.unfinished() == ()
            assert not process.runs

    run(story())


@pytest.mark.requirement("lifecycle:retire:any-moment")
def test_a_retirement_waits_for_no_activation(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        retiring: list[asyncio.Task[Any]] = []

        def at(passed: str) -> None:
            if passed == "credential given":
                retiring.append(asyncio.ensure_future(process.lifecycle.retire(AGENT, OLIVE, "stop")))

        async with yard.running(at=at) as process:
            await yard.begin(process)

            try:
                await process.lifecycle.activate(AGENT, OLIVE)
            except ConflictError:
                assert not process.runs
            await retiring[0]
            assert process.state is AgentState.RETIRED
            assert process.rows("enrolment") == {}
            assert process.rows("key")["crd_1"]["live"] is False
            with pytest.raises(ConflictError):
                await process.lifecycle.activate(AGENT, OLIVE)

    run(story())


@pytest.mark.requirement("lifecycle:activate:at-once")
def test_two_activations_at_once_are_one(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        async with yard.running() as process:
            await yard.begin(process)
            first, second = await asyncio.gather(
                process.lifecycle.activate(AGENT, OLIVE), process.lifecycle.activate(AGENT, OLIVE)
            )
            assert first == second
            kinds = [record.header for record in process.control._records.control_records()]
            assert sum(b"activation.begun" in header for header in kinds) == 1

    run(story())


@pytest.mark.requirement("lifecycle:retire:any-moment")
def test_two_retirements_at_once_are_one(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        async with yard.running() as process:
            await yard.begin(process, state=AgentState.ACTIVE)
            first, second = await asyncio.gather(
                process.lifecycle.retire(AGENT, OLIVE, "one"), process.lifecycle.retire(AGENT, OLIVE, "two")
            )
            assert first == second
            assert yard.shelf.written == [AGENT]

    run(story())


@pytest.mark.requirement("lifecycle:retire:archive-fails")
def test_an_archive_that_cannot_be_written_delays_the_receipt_and_nothing_else(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        yard.shelf.fails = True
        async with yard.running() as process:
            await yard.begin(process, state=AgentState.ACTIVE)
            with pytest.raises(UnavailableError):
                await process.lifecycle.retire(AGENT, OLIVE, "over")
            assert process.rows("agent")[AGENT]["state"] == "retiring"
            assert process.rows("key")["crd_1"]["live"] is False
            assert process.lifecycle.receipt(AGENT) is None
            assert await process.lifecycle.recover() == 1
            assert process.rows("agent")[AGENT]["state"] == "retired"
            assert process.lifecycle.receipt(AGENT) is not None

    run(story())


@pytest.mark.requirement("lifecycle:retire:many-keys")
def test_more_keys_than_one_change_can_end_are_ended_in_several(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        async with yard.running() as process:
            await yard.begin(process, state=AgentState.ACTIVE)
            for start in range(0, 450, 150):
                await process.put(*(("key", f"crd_x{each}", {"live": True}) for each in range(start, start + 150)))
            await process.lifecycle.retire(AGENT, OLIVE, "over")
            assert [row for row in process.rows("key").values() if row["live"]] == []
            receipt = process.lifecycle.receipt(AGENT)
            assert receipt is not None
            assert [done.step for done in receipt.steps].count(Step.CREDENTIAL) == 1

    run(story())


@pytest.mark.requirement("lifecycle:retire:plan")
def test_the_plan_says_what_retirement_would_do_now_and_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        async with yard.running() as process:
            await yard.begin(process, state=AgentState.DRAFT)
            before = process.control.position
            plan = process.lifecycle.retirement_plan(AGENT)
            assert process.control.position == before
            assert [each.step for each in plan] == [step for group in RETIREMENT for step in group]
            assert all(each.does for each in plan)
            assert {each.step: dict(each.result) for each in plan}[Step.AUDIT] == {"archive": "agt_1.jsonl"}
            assert yard.shelf.written == []
            assert process.counters.open != []
            receipt = await process.lifecycle.retire(AGENT, OLIVE, "never used")
            planned = {each.step: each.open for each in plan}
            assert {done.step: done.open for done in receipt.steps} == planned

    run(story())


@pytest.mark.requirement("lifecycle:halt")
def test_suspended_and_quarantined_agents_lose_their_live_tokens_and_keep_their_keys(tmp_path: Path) -> None:
    async def story() -> None:
        yard = Yard(tmp_path)
        async with yard.running() as process:
            await yard.begin(process, state=AgentState.ACTIVE)
            lifecycle, actor = (
                process.lifecycle,
                Actor(person=OLIVE.person, credential=OLIVE.credential, basis=OLIVE.basis),
            )
            await lifecycle.suspend(AGENT, actor, "looking into it")
            assert (process.state, process.rows("epoch")[AGENT]["epoch"]) == (AgentState.SUSPENDED, 1)
            await lifecycle.resume(AGENT, actor, "nothing found")
            await lifecycle.quarantine(AGENT, actor, "drift")
            assert (process.state, process.rows("epoch")[AGENT]["epoch"]) == (AgentState.QUARANTINED, 2)
            with pytest.raises(ConflictError):
                await lifecycle.resume(AGENT, actor, "please")
            await lifecycle.lift(AGENT, actor, "explained")
            assert process.runs
            assert process.rows("key")["crd_1"]["live"] is True

    run(story())
