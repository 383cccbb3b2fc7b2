"""Which changes of a version must be looked at: facet by facet, and whatever no rule knows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.registry.changes import changes_between, material
from accredit.registry.versions import FACETS, facets

HOURS = {"days": ["fri", "mon"], "end": 1080, "start": 480, "zone": "Europe/Berlin"}
GRANT = {
    "definition": "sha256:" + "1" * 64,
    "hours": None,
    "mask": ["personal"],
    "sameAs": [["input.customer", "task.customer"]],
    "tool": "crm/read",
    "userRole": None,
}
FORM: dict[str, Any] = {
    "apiVersion": "accredit/v1",
    "kind": "Agent",
    "metadata": {"environment": "production", "name": "digest", "team": "team_1"},
    "spec": {
        "audience": "employees",
        "autonomy": "acts-with-approval",
        "backupOwner": None,
        "businessService": None,
        "data": ["internal", "personal"],
        "delegates": [
            {"agent": "agt_2", "tools": [{"sameAs": [], "tool": "crm/read", "userRole": None}]},
        ],
        "expires": "2027-01-31",
        "hours": HOURS,
        "inputs": ["employees", "partners"],
        "limits": {
            "callTimeoutMs": 30_000,
            "callsPerMinute": 60,
            "concurrency": 4,
            "costPerDay": {"currency": "USD", "nanos": 100},
            "runTimeoutMs": 60_000,
        },
        "models": [{"agreement": None, "model": "small", "provider": "maker"}],
        "owner": "psn_1",
        "prompt": {"digest": "sha256:" + "0" * 64},
        "purpose": "answer",
        "reach": "team",
        "stores": [{"adapter": "sqlite", "kind": "memory", "namespace": "digest"}],
        "tools": [GRANT, {**GRANT, "tool": "crm/write", "hours": {**HOURS, "end": 600}}],
        "use": {"annex3": False, "decidesOnPeople": False, "prohibited": []},
    },
}

# where in the form, another value for it, and whether somebody must look at that
CASES: list[tuple[str, Any, bool]] = [
    ("apiVersion", "accredit/v2", True),
    ("metadata.name", "other", True),
    ("metadata.team", "team_2", True),
    ("spec.audience", "staff", False),
    ("spec.audience", "web", True),
    ("spec.audience", "martians", True),
    ("spec.autonomy", "suggests", False),
    ("spec.autonomy", "acts-unattended", True),
    ("spec.backupOwner", "psn_9", True),
    ("spec.data", ["internal"], False),
    ("spec.data", [], False),
    ("spec.data", ["internal", "personal", "phi"], True),
    ("spec.data", ["phi"], True),
    ("spec.delegates", [], False),
    ("spec.delegates.0.tools", [], False),
    ("spec.delegates.0.tools.0.userRole", "lead", False),
    ("spec.delegates.0.tools.0.sameAs", [["input.a", "task.a"]], False),
    ("spec.delegates.0.tools.0.other", 1, True),
    ("spec.delegates.0.tools.0.tool", "crm/write", True),
    ("spec.delegates.0.agent", "agt_3", True),
    ("spec.expires", "2027-01-30", False),
    ("spec.expires", "2027-02-01", True),
    ("spec.expires", None, True),
    ("spec.hours", None, True),
    ("spec.hours.end", 1079, False),
    ("spec.hours.end", 1081, True),
    ("spec.hours.days", ["mon"], False),
    ("spec.hours.days", ["mon", "sun"], True),
    ("spec.hours.zone", "Europe/Paris", True),
    ("spec.inputs", ["employees"], False),
    ("spec.inputs", [], True),
    ("spec.inputs", ["employees", "partners", "web"], True),
    ("spec.limits.callsPerMinute", 59, False),
    ("spec.limits.callsPerMinute", 75, False),
    ("spec.limits.callsPerMinute", 76, True),
    ("spec.limits.callTimeoutMs", 37_501, True),
    ("spec.limits.concurrency", 5, False),
    ("spec.limits.concurrency", 6, True),
    ("spec.limits.costPerDay", None, True),
    ("spec.limits.costPerDay", {"currency": "EUR", "nanos": 1}, True),
    ("spec.limits.costPerDay.nanos", 125, False),
    ("spec.limits.costPerDay.nanos", 126, True),
    ("spec.limits.other", 1, True),
    ("spec.models", [], False),
    ("spec.models.0.model", "large", True),
    ("spec.models.0.agreement", "dpa", True),
    ("spec.owner", "psn_2", True),
    ("spec.prompt.digest", "sha256:" + "f" * 64, True),
    ("spec.purpose", "answer!", True),
    ("spec.reach", "user", False),
    ("spec.reach", "company", True),
    ("spec.stores", [], False),
    ("spec.stores.0.namespace", "*", True),
    ("spec.tools", [GRANT], False),
    ("spec.tools", [], False),
    ("spec.tools.0.tool", "crm/delete", True),
    ("spec.tools.0.definition", "sha256:" + "2" * 64, True),
    ("spec.tools.0.hours", {**HOURS, "end": 481}, False),
    ("spec.tools.0.hours", {**HOURS, "start": 1080, "end": 480}, True),
    ("spec.tools.1.hours", None, True),
    ("spec.tools.0.mask", ["financial", "personal"], False),
    ("spec.tools.0.mask", [], True),
    ("spec.tools.0.sameAs", [], True),
    ("spec.tools.0.sameAs", [["input.a", "task.a"], ["input.customer", "task.customer"]], False),
    ("spec.tools.0.userRole", "lead", False),
    ("spec.tools.0.other", True, True),
    ("spec.use.annex3", True, True),
    ("spec.use.legalRole", "provider", True),
]


def form_with(path: str, value: Any) -> dict[str, Any]:
    form = copy.deepcopy(FORM)
    *way, last = path.split(".")
    at: Any = form
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at[step]
    at[int(last) if isinstance(at, list) else last] = value
    return form


@pytest.mark.requirement("change:rules")
@pytest.mark.parametrize("case", CASES, ids=[f"{path}={value}" for path, value, _ in CASES])
def test_what_only_narrows_needs_no_look_and_everything_else_does(case: tuple[str, Any, bool]) -> None:
    path, value, looked_at = case
    changes = changes_between(FORM, form_with(path, value))
    assert changes
    assert material(changes) is looked_at, [str(change) for change in changes]


@pytest.mark.requirement("change:rules")
def test_what_was_taken_away_and_comes_back_is_looked_at() -> None:
    for path, value, looked_at in CASES:
        # a limit may fall or rise a little in both directions
        if not looked_at and not path.startswith("spec.limits."):
            assert material(changes_between(form_with(path, value), FORM)), path


@pytest.mark.requirement("change:complete")
@given(st.lists(st.sampled_from(CASES), max_size=6, unique_by=lambda case: case[0]))
def test_every_facet_that_differs_has_a_change_and_no_other_has_and_nothing_hides_behind_another(
    cases: list[tuple[str, Any, bool]],
) -> None:
    form = copy.deepcopy(FORM)
    for path, value, _ in cases:
        *way, last = path.split(".")
        at: Any = form
        for step in way:
            at = (at[int(step)] if int(step) < len(at) else None) if isinstance(at, list) else (at or {}).get(step)
        if isinstance(at, dict):
            at[last] = copy.deepcopy(value)
    changes = changes_between(FORM, form)
    old, new = facets(FORM), facets(form)
    assert {change.facet for change in changes} == {facet for facet in FACETS if old[facet] != new[facet]}
    assert all(change.why and change.what for change in changes)
    alone = [path for path, value, looked_at in cases if looked_at and path.count(".") == 1]
    assert material(changes) or not alone


@pytest.mark.requirement("change:complete")
def test_a_key_that_no_facet_has_is_looked_at() -> None:
    assert material(changes_between(FORM, form_with("spec.smuggled", 1)))


@pytest.mark.requirement("change:complete")
def test_the_same_version_changes_nothing() -> None:
    assert changes_between(FORM, copy.deepcopy(FORM)) == ()
