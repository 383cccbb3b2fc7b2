"""Manifests and policies that cannot be: refused with the place and the remedy, and nothing of them is registered."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.enforcement.place import GUARDRAILS, agent, document
from tests.faults.conftest import Town

_GRANTED = [{"allow": ["read"]}]
_count = itertools.count(1)


def _fresh(**changed: Any) -> dict[str, Any]:
    return agent(f"agent-{next(_count)}", _GRANTED, **changed)


def _unknown_at(*path: str) -> dict[str, Any]:
    found = _fresh()
    place: Any = found
    for step in path:
        place = place[step] if not isinstance(place, list) else place[int(step)]
    place["surprise"] = True
    return found


@pytest.mark.requirement("faults:manifests:unknown-keys")
@pytest.mark.parametrize("where", ["", "metadata", "spec", "spec.tools.0", "spec.limits", "spec.prompt", "spec.use"])
def test_an_unknown_key_anywhere_in_a_manifest_is_refused_with_its_path(town: Town, where: str) -> None:
    async def story() -> None:
        problem = await town.at.refused_apply(_unknown_at(*filter(None, where.split("."))))
        assert problem["code"] == "manifest_invalid"
        assert problem["hint"]
        assert "surprise" in json.dumps(problem["errors"])

    town.run(story())


_NAMES = ("Support", "a.b", "a/b", "-a", "a_b", "ä", "a b", "", "a" * 64, "\u0430gent", "a\u200bb", "a\n", "1a")


@pytest.mark.requirement("faults:names:refused")
@pytest.mark.parametrize("name", _NAMES)
def test_names_of_agents_and_servers_outside_the_grammar_are_refused(town: Town, name: str) -> None:
    async def story() -> None:
        for wrong in (agent(name, _GRANTED), town.at.site.crm(name=name)):
            problem = await town.at.refused_apply(wrong)
            assert problem["code"] in {"manifest_invalid", "name_invalid"}
            assert problem["hint"]
            assert problem["detail"]

    town.run(story())


@pytest.mark.requirement("faults:agents:one-name")
def test_of_many_that_apply_one_name_at_once_exactly_one_agent_comes_to_be(town: Town) -> None:
    async def story() -> None:
        at, name = town.at, f"agent-{next(_count)}"
        await at.apply(document("Team", {"name": "rivals"}, {"zones": ["UTC"]}))
        mine, theirs = agent(name, _GRANTED), agent(name, _GRANTED)
        theirs["metadata"]["team"] = "rivals"
        files = [[{"name": "f.json", "text": json.dumps([each])}] for each in (mine, theirs) * 4]
        answers = await asyncio.gather(*[at.operator.attempt("apply", {"files": each}) for each in files])
        refused = [answer for status, answer in answers if status >= 400]
        assert {answer["code"] for answer in refused} == {"name_taken"}
        assert all(answer["hint"] and answer["detail"] for answer in refused)
        assert len(refused) == 4, "one team's four are the agent, the other's four are refused"
        found = [one for one in (await at.operator.get("agents"))["items"] if one["name"] == name]
        assert len(found) == 1

    town.run(story())


_POLICIES: Mapping[str, tuple[str, str]] = {
    "does not parse": ("forbid (principal, action", "org/bad.cedar"),
    "does not type-check": (
        'forbid (principal, action == Action::"crm/read", resource) when { context.input.customer_id > 5 };',
        "org/bad.cedar",
    ),
    "reads an absent attribute": (
        'forbid (principal, action == Action::"crm/read", resource) when { context.user.id == "kim" };',
        "org/bad.cedar",
    ),
    "reads an unknown attribute": (
        'forbid (principal, action == Action::"crm/read", resource) when { context.nonsense == 1 };',
        "org/bad.cedar",
    ),
    "names an unknown tool": (
        'forbid (principal, action == Action::"crm/nothing", resource);',
        "org/bad.cedar",
    ),
    "permits": ("permit (principal, action, resource);", "team/support/bad.cedar"),
}


@pytest.mark.requirement("faults:policies:publish")
@pytest.mark.parametrize("fault", _POLICIES)
def test_a_policy_that_cannot_hold_is_refused_with_its_file_and_a_fix_and_the_old_release_stays(
    town: Town, fault: str
) -> None:
    text, path = _POLICIES[fault]

    async def story() -> None:
        operator = town.at.operator
        before = (await operator.get("policy/release"))["release"]
        files = {**GUARDRAILS, path: text}
        status, problem = await operator.attempt("policy/publish", {"files": files})
        assert status == 400
        assert problem["code"] == "policy_invalid"
        assert problem["errors"]
        assert all(path in each and len(each) > len(path) + 10 for each in problem["errors"])
        linted = (await operator.post("policy/lint", {"files": files}))["items"]
        linted = [each for each in linted if each["severity"] == "refused"]
        assert len(linted) == len(problem["errors"])
        for each in linted:
            assert each["path"] == path
            assert each["message"]
            assert each["fix"], each
        assert (await operator.get("policy/release"))["release"] == before

    town.run(story())
