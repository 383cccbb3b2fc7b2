"""A folder of manifests against what is live, over the API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.company import Company, agent, assessment, company, person

_PURPOSE = {"purpose": "Report how many tickets are open, by team"}


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("gitops") / "data") as made:
        request = made.submitted(_counter())
        made.post("dana", f"approvals/{request}/assessment", assessment(made.ids["bo"]))
        for name, role in (("sam", "security"), ("cora", "compliance"), ("bo", "business-owner")):
            made.vote(name, request, role)
        made.post("dana", "agents/production/counter/activate")
        yield made


def _files(*documents: dict[str, Any]) -> dict[str, Any]:
    return {"files": [{"name": "a.json", "text": json.dumps(documents)}]}


def _diff(firm: Company, *documents: dict[str, Any], who: str = "otto", **more: Any) -> Any:
    return firm.post(who, "diff", _files(*documents) | more)


def _exported(firm: Company) -> dict[str, Any]:
    found = firm.get("una", "manifests")
    files = [{"name": name, "text": text} for name, text in found["files"].items()]
    return {"files": files} | ({"policies": found["policies"]} if found["policies"] else {})


def _counter(**spec: Any) -> dict[str, Any]:
    told = {"tools": ["count_tickets", "read_customer"], "data": ["internal", "personal"]} | spec
    return agent("counter", tools=tuple(told.pop("tools")), **told)


@pytest.mark.requirement("api:gitops:idempotent")
def test_what_is_exported_differs_from_nothing_and_is_applied_without_a_change(firm: Company) -> None:
    body = _exported(firm)
    found = firm.post("otto", "diff", body)
    differing = [one for one in found["objects"] if one["action"] != "unchanged"]
    # those that one administrator registered alone are asked for; nothing of them changes
    assert {(one["kind"], len(one["changes"])) for one in differing} <= {("Issuer", 0), ("ContextProvider", 0)}
    assert found["live_only"] == []
    position = firm.get("una", "agents/production/counter")["position"]
    by_kind = {"people.yaml": "ada", "teams.yaml": "ada"}
    for file in body["files"]:
        if file["name"] in {"issuers.yaml", "context-providers.yaml"}:
            continue
        who = by_kind.get(file["name"], "otto")
        made = firm.post(who, "apply", {"files": [file]})
        assert {one["result"] for one in made["items"]} == {"unchanged"}, file["name"]
    assert firm.get("una", "agents/production/counter")["position"] == position


@pytest.mark.requirement("api:gitops:diff")
def test_a_difference_says_what_changes_whose_approval_that_takes_and_which_tier_it_comes_to(firm: Company) -> None:
    (row,) = _diff(firm, _counter(tools=["count_tickets"], data=["internal"]))["objects"]
    assert (row["action"], row["facets"]) == ("update", ["data", "tools"])
    assert {one["field"] for one in row["changes"]} == {"data", "tools"}
    assert [row["tier_before"], row["tier_after"]] == ["high", "low"]
    assert row["approvals"] == ["team-lead"]
    (row,) = _diff(firm, _counter() | {"metadata": _counter()["metadata"] | {"name": "fresh"}})["objects"]
    assert (row["action"], row["tier_before"], row["tier_after"]) == ("create", None, "high")
    assert row["approvals"] == ["security", "compliance", "business-owner"]
    # nothing of it was done
    answer = firm["una"].get("/api/v1/agents/production/fresh")
    assert answer.status_code == 404


@pytest.mark.requirement("api:gitops:diff")
def test_votes_whose_facets_stay_are_named_as_carried(firm: Company) -> None:
    (row,) = _diff(firm, _counter(**_PURPOSE))["objects"]
    assert row["facets"] == ["purpose"]
    assert row["approvals"] == ["security", "compliance", "business-owner"]
    assert row["carried"] == ["security"]  # the others judge what it is for
    assert [(one["facet"], one["rule"]) for one in row["needs"]] == [("purpose", "approve-anew")]
    (row,) = _diff(firm, _counter(limits={"calls": {"perMinute": 59}}))["objects"]
    assert {one["rule"] for one in row["needs"] if one["facet"] == "limits"} == {"log-only"}


@pytest.mark.requirement("api:gitops:diff")
def test_every_object_says_for_itself_why_it_would_be_refused(firm: Company) -> None:
    found = _diff(firm, _counter(owner="nobody@example.com"), _counter() | {
        "metadata": {"name": "fine", "team": "finance", "environment": "production"}
    })  # fmt: skip
    rows = {one["name"]: one for one in found["objects"]}
    assert (rows["counter"]["action"], rows["fine"]["action"]) == ("refused", "create")
    assert "not a registered person" in rows["counter"]["faults"][0]


@pytest.mark.requirement("api:gitops:drift")
def test_what_is_live_and_not_in_the_folder_is_listed_by_the_kinds_it_has(firm: Company) -> None:
    found = _diff(firm, _counter())
    live = {(one["kind"], one["name"]) for one in found["live_only"]}
    assert ("Agent", "support-copilot") in live
    assert {kind for kind, _ in live} == {"Agent"}
    assert found["pending"]


@pytest.mark.requirement("api:gitops:diff")
def test_looking_at_a_difference_asks_no_tool_server_and_takes_a_role_and_no_right_to_change(firm: Company) -> None:
    server = {
        "apiVersion": "accredit/v1", "kind": "ToolServer", "metadata": {"name": "evil", "environment": "production"},
        "spec": {"url": "http://127.0.0.1:1/mcp", "tools": {"x": {"effect": "read", "data": []}}},
    }  # fmt: skip
    (row,) = _diff(firm, server, who="una")["objects"]
    assert (row["action"], row["approvals"]) == ("create", ["security"])
    assert firm.attempt("otto", "apply", _files(server))[1] == "upstream_unreachable"
    assert firm.attempt("dana", "diff", _files(_counter()))[1] == "not_authorised"
    with firm.place.client(firm.post("una", "tokens", {"name": "ci", "scopes": ["read"], "days": 1})["token"]) as ci:
        assert ci.post("/api/v1/diff", json=_files(_counter())).status_code == 200
        assert ci.post("/api/v1/diff", json=_files(_counter()) | {"simulate": 3}).status_code == 403


@pytest.mark.requirement("api:gitops:simulated")
def test_a_narrower_manifest_is_simulated_on_what_its_agent_did(firm: Company) -> None:
    instance = firm.enrolled("production/counter")
    for _ in range(3):
        firm.call(instance, "count_tickets", {})
    firm.call(instance, "read_customer", {"customer_id": "c-1"})
    firm.place.do(firm.place.plane.enforcer.drained())

    def report(document: dict[str, Any]) -> dict[str, Any]:
        started = _diff(firm, document, simulate=30)["simulation"]
        firm.place.do(firm.place.plane.simulations.finished(firm.place.plane.simulations.get(started)))
        return dict(firm.get("otto", f"policy/simulations/{started}")["report"])

    narrower = report(_counter(tools=["count_tickets"], data=["internal"]))
    assert {(one["tool"], one["before"], one["after"], one["code"]) for one in narrower["impacts"]} == {
        ("crm-live/read_customer", "allow", "deny", "tool_not_granted")
    }
    assert (narrower["denied"], narrower["breaks"]) == (1, True)
    same = report(_counter(**_PURPOSE))
    assert (same["impacts"], same["breaks"], same["replayed"]) == ([], False, 4)
    # such a report speaks of no release: it rehearses none
    kept = [one for one in firm.place.plane.simulations._kept.values() if one.versions]
    assert len(kept) == 2


@pytest.mark.requirement("api:gitops:managers")
def test_managers_are_named_over_the_api_and_a_difference_shows_what_force_would_take(firm: Company) -> None:
    firm.apply("ada", person("pat@example.com"))
    declared = agent("managed", environment="development", tools=("count_tickets",), data=["internal"])
    assert firm.post("dana", "apply", _files(declared) | {"manager": "repo"})["items"][0]["result"] == "created"
    other = declared | {"spec": declared["spec"] | {"purpose": "Something else"}}
    status, code = firm.attempt("dana", "apply", _files(other) | {"manager": "portal"})
    assert (status, code) == (400, "conflict")
    (row,) = _diff(firm, other, manager="portal")["objects"]
    assert row["action"] == "refused"
    assert "managed by `repo`, not by `portal`" in row["faults"][0]
    (row,) = _diff(firm, other, manager="portal", force=True)["objects"]
    assert (row["action"], row["taken_over"]) == ("update", [["purpose", "repo"]])
    made = firm.post("dana", "apply", _files(other) | {"manager": "portal", "force": True})
    assert made["items"][0]["result"] == "updated"
    assert firm.attempt("dana", "apply", _files(other) | {"manager": "Not a name"})[0] == 400


@pytest.mark.requirement("api:gitops:prune")
def test_pruning_lists_first_ends_what_can_be_ended_and_never_an_agent(firm: Company) -> None:
    point = {"apiVersion": "accredit/v1", "kind": "EnforcementPoint", "metadata": {"name": "gate"},
             "spec": {"types": ["user"]}}  # fmt: skip
    kept = point | {"metadata": {"name": "kept"}}
    firm.apply("otto", point, kept)
    folder = _files(kept, _counter())
    listed = firm.post("otto", "prune", folder)["items"]
    rows = {(one["kind"], one["name"]): one for one in listed}
    assert rows["EnforcementPoint", "gate"]["done"] is False
    assert "accredit agent retire" in rows["Agent", "support-copilot"]["does"]
    assert {one["name"]: one["revoked"] for one in firm.get("una", "enforcement-points")["items"]}["gate"] is False
    done = {
        (one["kind"], one["name"]): one["done"]
        for one in firm.post("otto", "prune", folder | {"confirm": True})["items"]
    }
    assert done["EnforcementPoint", "gate"] is True
    assert not any(made for (kind, _), made in done.items() if kind == "Agent")
    assert firm.get("una", "agents/development/support-copilot")["state"] != "retired"
    assert {one["name"]: one["revoked"] for one in firm.get("una", "enforcement-points")["items"]} == {
        "gate": True, "kept": False,
    }  # fmt: skip
    assert firm.attempt("otto", "prune", {"files": [], "confirm": True})[0] == 400
    assert firm.attempt("una", "prune", folder | {"confirm": True})[0] == 200, "nothing is left to end"


@pytest.mark.requirement("api:gitops:policies")
def test_policies_of_a_folder_are_compared_and_published_last(firm: Company) -> None:
    text = '@id("no-deletes")\nforbid(principal, action in Action::"@irreversible", resource);\n'
    broken = {"org/a.cedar": "permit(?"}
    rows = firm.post("otto", "diff", {"files": [], "policies": broken})["objects"]
    assert [(one["kind"], one["action"]) for one in rows] == [("PolicySet", "refused")]
    assert rows[0]["faults"]
    made = firm.post("otto", "apply", {"files": [], "policies": broken})["items"]
    assert (made[0]["kind"], made[0]["result"]) == ("PolicySet", "failed")
    current = firm.get("una", "manifests")["policies"]
    body = {"files": [], "policies": current | {"org/b.cedar": text}}
    (row,) = firm.post("una", "diff", body)["objects"]
    assert (row["action"], row["approvals"]) == ("update", ["security"])
    assert [(one["field"], "no-deletes" in one["after"]) for one in row["changes"]] == [("org/b.cedar", True)]
    made = firm.post("otto", "apply", {"files": [], "policies": current})["items"]
    assert made[0]["result"] == "unchanged"
    assert firm.attempt("otto", "apply", {"files": []})[0] == 400
