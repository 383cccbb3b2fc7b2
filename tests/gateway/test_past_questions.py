"""What was only asked is part of the past: reproduced, tried under a candidate, and explained from its record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.release import Release, read_release
from accredit.policy.replay import Replayed, replay, reproduce
from tests.enforcement.place import GUARDRAILS
from tests.gateway.asking import ALICE_READS, Asking, asking, question, release_of

EXT = release_of("certification")
STRICT = {
    **EXT,
    "ext/strict.cedar": 'forbid (principal is Ext::user, action == Action::"ext/read", resource is Ext::record);',
}
LIMIT = {
    "org/limit.cedar": 'forbid (principal, action == Action::"crm/refund", resource) when { context.input.cents > 1 };'
}
CALL: dict[str, Any] = {
    "subject": {"type": "Agent", "id": "worker"},
    "action": {"name": "crm/refund", "properties": {"cents": 5}},
    "resource": {"type": "Tool", "id": "crm/refund"},
}


@pytest.fixture
def asked(tmp_path: Any) -> Iterator[Asking]:
    with asking(tmp_path / "data", EXT) as here:
        assert here.asked("evaluation", ALICE_READS).decision
        assert here.asked("evaluation", ALICE_READS).decision
        assert not here.asked("evaluation", question("user:bob", "write", "record:record-1")).decision
        assert not here.asked("evaluation", question("user:bob", "erase", "record:record-1")).decision
        assert here.asked("search/subject", {**ALICE_READS, "subject": {"type": "user"}}).status == 200
        assert not here.asked("evaluation", CALL).decision  # it would wait for a person
        here.run(here.at.settled())
        yield here


def _candidate(here: Asking, files: dict[str, str]) -> Release:
    agents = {one.name: one.id for one in here.at.running.plane.registry.catalogue.agents()}
    return read_release(files, CedarEngine(), agents=agents)


def _tried(here: Asking, files: dict[str, str]) -> Replayed:
    return replay(here.at.running.plane.history.calls(), _candidate(here, files))


@pytest.mark.requirement("policy:replay:questions")
def test_questions_come_out_again_exactly(asked: Asking) -> None:
    found = reproduce(asked.at.running.plane.history.calls())
    assert (found.differences, dict(found.unrepeatable)) == ([], {})
    assert (found.decisions, found.judged, found.same) == (5, 5, 5)


@pytest.mark.requirement("policy:replay:questions")
def test_a_candidate_shows_which_answers_it_would_change(asked: Asking) -> None:
    same = _tried(asked, {**EXT, **GUARDRAILS})
    assert (dict(same.changes), same.untouched) == ({}, 5)
    found = _tried(asked, {**STRICT, **GUARDRAILS})
    ((change, count),) = found.changes.items()
    assert (change.agent, change.tool, change.asked_by, count) == ("", "ext/read user record", "app", 2)
    assert (change.before, change.after, change.code) == ("allow", "deny", "forbidden_by_policy")
    assert change.policies[0].startswith("ext/strict.cedar@")
    advised = _tried(asked, {**EXT, **LIMIT})
    ((change, count),) = advised.changes.items()
    assert (change.tool, change.asked_by, change.before, change.after, count) == (
        "crm/refund",
        "app",
        "hold",
        "deny",
        1,
    )
    # what was only asked uses no permission and is part of no run
    assert (dict(advised.used), dict(advised.usable), advised.runs) == ({}, {}, {})
    assert dict(_tried(asked, {}).changes) != {}


@pytest.mark.requirement("policy:replay:questions")
def test_a_simulation_reports_them_apart_from_agents(asked: Asking) -> None:
    async def simulated() -> dict[str, Any]:
        operator = asked.at.operator
        started = await operator.post("policy/simulate", {"files": {**STRICT, **GUARDRAILS}})
        while (shown := await operator.get(f"policy/simulations/{started['id']}"))["state"] == "running":
            pass
        assert shown["fault"] == ""
        return dict(shown["report"])

    report = asked.run(simulated())
    (impact,) = report["impacts"]
    assert (impact["agent"], impact["tool"], impact["asked_by"], impact["calls"]) == (
        "",
        "ext/read user record",
        "app",
        2,
    )
    assert (report["denied"], report["breaks"], report["agents"]) == (2, True, [])


@pytest.mark.requirement("policy:replay:questions")
def test_an_answer_is_explained_from_its_record(asked: Asking) -> None:
    def explained(body: dict[str, Any]) -> dict[str, Any]:
        evaluation = asked.asked("evaluation", body).context["evaluation_id"]
        return dict(asked.run(asked.at.operator.get(f"decisions/{evaluation}/explanation")))

    found = explained(question("user:bob", "write", "record:record-1"))
    assert (found["outcome"], found["code"], found["asked_by"]) == ("deny", "not_permitted", "app")
    assert [(one["id"], one["vouched"]) for one in found["entities"]] == [
        ("bob", "the release"),
        ("record-1", "the release"),
    ]
    assert [one["effect"] for one in found["policies"]] == ["permit"]
    advised = explained(CALL)
    assert (advised["outcome"], advised["asked_by"], advised["entities"]) == ("hold", "app", [])
    assert "a person of `business-owner` approves" in {one["change"] for one in advised["alternatives"]}
    shown = asked.run(asked.at.operator.get(f"decisions/{advised['decision']}"))
    assert shown["decision"]["header"]["kind"] == "advice"
    assert shown["decision"]["parts"]["arguments"] == {"cents": 5}
