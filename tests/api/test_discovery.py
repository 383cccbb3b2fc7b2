"""What is found in a company that runs: callers nobody knows, agents past their day, and what a scan of it reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accredit.identity.rows import secret_hash
from tests.api.company import Company, agent, company

_DAY_S = 86_400


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("discovery") / "data") as made:
        yield made


def _open(firm: Company, kind: str) -> list[dict[str, Any]]:
    """What a look at the fleet found, scans apart."""
    firm.watched()
    firm.post("sam", "finding-looks")
    found = firm.get("sam", "findings", kind=kind)["items"]
    return [one for one in found if one["source"] in {"alerts", "registry"}]


def _trace(**told: Any) -> dict[str, Any]:
    return {"kind": "client", "format": "cursor", "path": "a/.cursor/mcp.json", "name": "crm", **told}


@pytest.mark.requirement("discovery:finding:alerts")
def test_whoever_keeps_coming_with_a_credential_nobody_was_given_is_a_finding(firm: Company) -> None:
    def come() -> None:
        with firm.place.client("no-key-of-ours") as stranger:
            assert stranger.post("/mcp/crm", json={}).status_code == 401

    for _ in range(2):
        come()
        firm.clock.advance(61)
        assert _open(firm, "unregistered") == []
    come()
    firm.clock.advance(61)
    (found,) = _open(firm, "unregistered")
    assert found["evidence"]["alert_kind"] == "unknown-caller"
    assert (found["owner"], found["role"], found["source"]) == (None, "security", "alerts")
    alert = found["evidence"]["alert"]
    shown = [one for one in firm.get("sam", "alerts")["items"] if one["id"] == alert]
    assert shown[0]["evidence"]["said"] == {"path": "/mcp/crm", "source": "127.0.0.1"}
    assert "127.0.0.1" not in shown[0]["matter"]
    firm.post("sam", f"alerts/{alert}/resolve", {"note": "a printer", "disposition": "false-positive"})
    assert _open(firm, "unregistered") == []


@pytest.mark.requirement("discovery:finding:alerts")
def test_a_retired_agent_that_comes_again_is_a_finding_that_two_persons_look_at(firm: Company) -> None:
    firm.active(agent("leaving"))
    instance = firm.enrolled("production/leaving")
    token = firm.place.do(instance.token())
    firm.post("dana", f"agents/{instance.id}/retire", {"reason": "done"})
    with firm.place.client(token) as ghost:
        assert ghost.post("/mcp/crm-live", json={}).status_code == 401
    (found,) = _open(firm, "ghost")
    assert (found["agent"], found["severity"], found["credentials"]) == (instance.id, "critical", [])
    answer = {"answer": "dismiss", "reason": "a cron job, ended"}
    assert firm.post("sam", f"findings/{found['id']}/answer", answer)["finding"]["state"] == "second-look"
    assert firm.attempt("sam", f"findings/{found['id']}/answer", answer) == (403, "separation_of_duties")


@pytest.mark.requirement("discovery:expiry")
def test_an_agent_in_development_gets_a_last_day_that_declaring_it_again_does_not_move(firm: Company) -> None:
    hack = agent("hack", environment="development")
    (made,) = firm.apply("dana", hack)
    assert made["result"] == "created"
    first = made["expires"]
    firm.clock.advance(5 * _DAY_S)
    (again,) = firm.apply("dana", hack)
    assert (again["result"], again["expires"]) == ("unchanged", first)
    instance = firm.enrolled("development/hack", confirmed=False)
    assert not _refused(firm.call(instance, "count_tickets", {}))
    firm.clock.advance(27 * _DAY_S)
    refused = firm.call(instance, "count_tickets", {})
    assert refused["code"] == "agent_not_active"
    (found,) = (one for one in _open(firm, "expired") if one["agent_name"] == "development/hack")
    assert (found["severity"], found["answers"]) == ("info", ["retire", "dismiss"])
    (renewed,) = firm.apply("dana", hack)
    assert (renewed["result"], renewed["expires"] > first) == ("updated", True)
    assert not [one for one in _open(firm, "expired") if one["agent_name"] == "development/hack"]
    (own,) = firm.apply("dana", agent("dated", environment="development", expires="2030-01-01"))
    assert own["expires"] == "2030-01-01"
    (live,) = firm.apply("dana", agent("undated"))
    assert live["expires"] is None


def _refused(answer: Any) -> bool:
    return isinstance(answer, dict) and "code" in answer


@pytest.mark.requirement("discovery:match")
def test_a_scan_is_matched_by_keys_by_addresses_and_by_names(firm: Company) -> None:
    firm.apply("dana", agent("keyed", environment="development"))
    key = firm.post("dana", "agents/development/keyed/keys", {})["key"]
    url, crm = firm.place.url, firm.place.world.crm_url
    traces = [
        _trace(keys=[secret_hash(key)]),
        _trace(urls=[f"{url}/mcp/crm"]),
        _trace(urls=[f"{crm}?token=x"]),
        _trace(kind="code", name="keyed"),
        _trace(name="unheard-of"),
        _trace(kind="manifest", agent="development/keyed"),
    ]
    told = firm.post("una", "discoveries", {"traces": traces})["items"]
    assert [one["verdict"] for one in told] == [
        "registered", "registered", "shadow", "registered", "unregistered", "registered",
    ]  # fmt: skip
    assert [one["agent_name"] for one in told][0::3] == ["development/keyed", "development/keyed"]
    assert {one["finding"] for one in told} == {None}
    opened = firm.post("sam", "discoveries", {"traces": traces, "source": "laptops", "complete": True})["items"]
    assert [one["finding"] is not None for one in opened] == [False, False, True, False, True, False]
    shown = firm.get("sam", f"findings/{opened[2]['finding']}")
    assert (shown["kind"], shown["evidence"]["urls"]) == ("shadow", [crm])  # without its query


@pytest.mark.requirement("discovery:finding:answers")
def test_whoever_holds_nothing_sees_findings_of_their_own_agents_alone(firm: Company) -> None:
    (made,) = firm.post("sam", "discoveries", {"traces": [_trace(name="x")], "source": "one"})["items"]
    assert firm["nick"].get(f"/api/v1/findings/{made['finding']}").status_code == 403
    assert firm.get("nick", "findings")["items"] == []
    assert all(one["agent_name"] for one in firm.get("dana", "findings")["items"])
    assert firm.attempt("nick", "discoveries", {"traces": [_trace()]}) == (403, "not_authorised")


def test_forms_of_discovery_are_bounded(firm: Company) -> None:
    for body in (
        {"traces": [_trace()] * 501},
        {"traces": [_trace(kind="none")]},
        {"traces": [_trace(keys=["short"])]},
        {"traces": [_trace(path="x" * 401)]},
        {"traces": [], "source": "a b"},
    ):
        assert firm.attempt("sam", "discoveries", body) == (400, "body_malformed")
    assert firm.attempt("sam", "discoveries", {"traces": [], "source": "registry"}) == (400, "body_malformed")
