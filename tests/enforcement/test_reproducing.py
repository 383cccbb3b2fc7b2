"""History judged again: by what was in force then it comes out exactly, by a candidate it shows what would change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from accredit.audit.ports import Actor
from accredit.enforcement.history import History, PastCall
from accredit.enforcement.model import Admitted
from accredit.kernel.ids import AgentId
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.recorded import judgement_fact
from accredit.policy.release import Release, read_release
from accredit.policy.replay import Unrepeatable, replay, reproduce
from accredit.registry.model import RestrictionKind
from tests.enforcement.place import GUARDRAILS, HELPER, KIM, TICKET, WORKER, Place, place
from tests.policies import with_cases

OPERATOR = Actor(person="per_operator", credential="tok_1", basis="single-admin")
LIMIT = 'forbid (principal, action == Action::"crm/refund", resource) when { context.input.cents > 100 };'
SERVED: dict[str, Any] = {"user": KIM, "ticket": TICKET, "roles": ["support"]}


def _history(at: Place) -> History:
    return at.running.plane.history


def _calls(at: Place) -> list[PastCall]:
    return [one for one in _history(at).calls() if isinstance(one, PastCall)]


async def _publish(at: Place, files: Mapping[str, str]) -> None:
    await at.operator.post("policy/publish", {"files": with_cases(files)})


async def _call(at: Place, who: Any, tool: str, arguments: Mapping[str, Any] | None = None) -> None:
    answer = await at.admit(who, tool, arguments)
    if isinstance(answer, Admitted):
        at.settle(answer)


async def _lived(at: Place) -> None:
    """A little of everything that a decision can come out of."""
    worker, helper = await at.principal("worker"), await at.principal("helper", **SERVED)
    await _call(at, worker, "read", {"customer_id": "c-1"})
    await _call(at, worker, "refund", {"cents": 50})  # held
    (hold,) = (await at.operator.get("holds"))["items"]
    shown = await at.operator.get(f"holds/{hold['id']}")
    await at.operator.post(f"holds/{hold['id']}/answer", {"answer": "approve", "view_digest": shown["view_digest"]})
    await _call(at, worker, "refund", {"cents": 50})  # lifted
    await _call(at, helper, "match", {"customer_id": "c-1"})
    await _call(at, helper, "match", {"customer_id": "c-2"})  # another customer's
    await _call(at, await at.principal("helper"), "match", {"customer_id": "c-1"})  # for nobody
    await _call(at, worker, "count")  # not granted
    await _call(at, worker, "read", {"customer_id": 7})  # not what the schema says
    await _call(at, worker, "read", {"customer_id": '{"__entity": 1}'})
    await _publish(at, {"org/limit.cedar": LIMIT})
    await _call(at, worker, "refund", {"cents": 500})
    await _call(at, worker, "refund", {"cents": 5})
    observed = {"org/limit.cedar": LIMIT, "accredit.toml": '[observe]\n"org/limit.cedar" = 2027-01-01\n'}
    await _publish(at, observed)
    await _call(at, worker, "refund", {"cents": 500})
    agent = AgentId((await at.operator.get("agents/worker"))["id"])
    until_us = at.site.clock.now().wall_us + 3_600_000_000
    await at.running.plane.registry.restrict(
        agent, RestrictionKind.READ_ONLY, OPERATOR, cause="alr_1", until_us=until_us
    )
    await _call(at, await at.principal("worker"), "refund", {"cents": 5})
    at.site.clock.advance(7200)
    await _call(at, await at.principal("worker"), "refund", {"cents": 5})
    await at.settled()


@pytest.mark.requirement("enforcement:reproduce:exact")
def test_every_decision_comes_out_again_exactly_as_it_was_recorded(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, HELPER) as at:
            await _lived(at)
            found = reproduce(_history(at).calls())
            assert found.differences == []
            assert found.decisions == len(at.records("decision")) == 14
            assert (found.judged, found.again, found.same) == (13, 13, 13)  # one was refused by its schema
            assert found.exact
            assert not found.unrepeatable
            outcomes = {call.judgement.outcome for call in _calls(at) if call.judgement}
            assert outcomes == {"allow", "deny", "hold"}
            # any part of the log alone comes out the same
            parts = [reproduce(_history(at).calls(seq, seq + 7)) for seq in range(0, _history(at).size(), 7)]
            for part in parts[1:]:
                parts[0].add(part)
            assert (parts[0].judged, parts[0].same) == (13, 13)
        # and after a restart
        async with at.site.started() as again:
            assert reproduce(_history(again).calls()).same == 13

    asyncio.run(live())


@pytest.mark.requirement("enforcement:reproduce:told")
def test_what_is_not_as_it_was_is_found_and_what_cannot_be_judged_is_not_guessed(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, HELPER) as at:
            worker = await at.principal("worker")
            for customer in ("c-1", "c-2", "c-3"):
                await _call(at, worker, "read", {"customer_id": customer})
            await at.settled()
            ours = [header["seq"] for header, _ in at.records("decision")]
            changed = "UPDATE records SET body = CAST(replace(body, ?, ?) AS BLOB) WHERE seq = ?"
            assert at.site.sql("audit.db", changed, ['"judged":', '"budged":', ours[0]])
            assert at.site.sql("audit.db", changed, ['"outcome":"allow"', '"outcome":"deny"', ours[1]])
            at.site.sql("audit.db", "DELETE FROM part_keys WHERE seq = ? AND name = 'context'", [ours[2]])
            found = reproduce(_history(at).calls())
            assert not found.exact
            (difference,) = found.differences
            assert (difference.recorded, difference.again, difference.what) == ("deny", "allow", ("outcome",))
            assert found.unrepeatable == {Unrepeatable.ERASED: 1, Unrepeatable.OLDER: 1}

    asyncio.run(live())


def _candidate(files: Mapping[str, str], at: Place) -> Release:
    agents = {one.name: one.id for one in at.running.plane.registry.catalogue.agents()}
    return read_release(files, CedarEngine(), agents=agents)


@pytest.mark.requirement("policy:replay:changes")
def test_a_candidate_shows_which_calls_runs_and_permissions_it_would_change(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, HELPER) as at:
            await _publish(at, {"org/limit.cedar": LIMIT})
            worker, helper = await at.principal("worker"), await at.principal("helper", **SERVED)
            await _call(at, worker, "read", {"customer_id": "c-1"})
            await _call(at, worker, "refund", {"cents": 5})
            await _call(at, worker, "refund", {"cents": 500})
            await _call(at, helper, "match", {"customer_id": "c-1"})
            await at.settled()
            agent = at.records("decision")[0][0]["agent"]
            same = replay(_history(at).calls(), _candidate({"org/limit.cedar": LIMIT}, at))
            assert (same.untouched, same.again, dict(same.changes)) == (4, 0, {})
            stricter = LIMIT.replace("100", "1")
            found = replay(_history(at).calls(), _candidate({"org/limit.cedar": stricter}, at))
            (change,) = found.changes
            assert (change.agent, change.tool, change.before, change.after) == (agent, "crm/refund", "allow", "deny")
            assert change.policies[0].startswith("org/limit.cedar@")
            assert found.untouched == 2  # read and match have no such rule
            assert found.used[agent, "crm/refund"] == 1
            assert found.usable[agent, "crm/refund"] == 0
            looser = replay(_history(at).calls(), _candidate(GUARDRAILS, at))
            kinds = {(one.before, one.after): count for one, count in looser.changes.items()}
            assert kinds == {("allow", "hold"): 1, ("deny", "hold"): 1}
            failing = LIMIT.replace("context.input.cents > 100", "context.nothing")
            broken = replay(_history(at).calls(), _candidate({"org/limit.cedar": failing}, at))
            assert {one.failing for one in broken.changes} == {True}
            only = replay(_history(at).calls(), _candidate({}, at), agents=frozenset({"agt_none"}))
            assert (only.judged, dict(only.changes)) == (0, {})

    asyncio.run(live())


@pytest.mark.requirement("policy:replay:shards")
def test_parts_of_the_log_add_up_to_the_whole_in_any_order(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, HELPER) as at:
            await _lived(at)
            history = _history(at)
            candidate = _candidate({"org/all.cedar": "forbid (principal, action, resource);"}, at)
            whole = replay(history.calls(), candidate)
            parts = [replay(history.calls(seq, seq + 5), candidate) for seq in range(0, history.size(), 5)]
            total = parts.pop()
            while parts:
                total.add(parts.pop())
            total.distinct = whole.distinct
            assert total == whole
            assert set(whole.runs)
            assert any(run.breaks is not None for run in whole.runs.values())

    asyncio.run(live())


@pytest.mark.requirement("policy:replay:missing")
def test_facts_that_older_records_have_not_are_counted_and_not_made_up(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            await _call(at, await at.principal("worker"), "read", {"customer_id": "c-1"})
            await at.settled()
            text = "forbid (principal, action, resource) when { context.session.refunded > 3 };"
            found = replay(_history(at).calls(), _candidate({"org/new.cedar": text}, at))
            assert found.missing == {"context.session.refunded": 1}

    asyncio.run(live())


@pytest.mark.requirement("enforcement:reproduce:told")
def test_a_record_of_an_older_version_an_erased_one_and_a_long_one_say_why_they_cannot_be_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER, HELPER) as at:
            worker, helper = await at.principal("worker"), await at.principal("helper", **SERVED)
            with monkeypatch.context() as older:
                older.setattr("accredit.enforcement.records.judgement_fact", _older_fact)
                await _call(at, worker, "read", {"customer_id": "c-1"})
            await _call(at, helper, "match", {"customer_id": "x" * 5000})  # refused: 4 KB of it are kept
            await _call(at, worker, "read", {"customer_id": "c-2"})
            await at.settled()
            seqs = [header["seq"] for header, _ in at.records("decision")]
            assert at.site.sql("audit.db", "DELETE FROM part_keys WHERE seq = ?", [seqs[-1]])
            found = reproduce(_history(at).calls())
            assert (found.judged, found.again) == (3, 0)
            assert found.unrepeatable == {Unrepeatable.OLDER: 1, Unrepeatable.CUT: 1, Unrepeatable.ERASED: 1}

    asyncio.run(live())


def _older_fact(request: Any, decision: Any) -> dict[str, Any]:
    return {key: value for key, value in judgement_fact(request, decision).items() if key != "judged"}


@pytest.mark.requirement("enforcement:reproduce:told")
def test_what_was_judged_while_the_log_was_behind_is_not_claimed_to_be_known(tmp_path: Path) -> None:
    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            worker = await at.principal("worker")
            control = at.running.plane.control
            snapshots = at.running.plane.snapshots
            assert snapshots.current.position == control.position
            await _call(at, worker, "read", {"customer_id": "c-1"})
            behind = type(control).recorded
            try:
                type(control).recorded = property(lambda _: None)  # type: ignore[assignment,method-assign]
                await _call(at, worker, "read", {"customer_id": "c-2"})
            finally:
                type(control).recorded = behind  # type: ignore[method-assign]
            await at.settled()
            assert [body["control"] for _, body in at.records("decision")][-1] is None
            found = reproduce(_history(at).calls())
            assert (found.same, dict(found.unrepeatable)) == (1, {Unrepeatable.STATE: 1})

    asyncio.run(live())
