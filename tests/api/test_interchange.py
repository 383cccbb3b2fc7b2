"""Agents out to the forms of others and back, over the API: who may, what is signed, and what the log says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accredit.identity.cards import verified_card
from accredit.identity.keys import issuer_keys
from tests.api.company import Company, agent, company
from tests.api.installation import Installation

_FORMS = ("a2a", "oasf", "cyclonedx", "annex-iv")


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with company(tmp_path_factory.mktemp("interchange") / "data") as made:
        made.active(agent("counter"))
        yield made


def _draft(firm: Company, document: dict[str, Any], **more: Any) -> Any:
    return firm.post("dana", "agent-drafts", {"text": json.dumps(document), **more})


@pytest.mark.requirement("api:interchange:export")
def test_whoever_may_see_an_agent_has_it_in_every_form_and_nobody_else(firm: Company) -> None:
    for form in _FORMS:
        made = firm.get("una", "agents/production/counter/export", form=form)
        assert (made["form"], made["document"] != {}) == (form, True)
        answer = firm["nick"].get("/api/v1/agents/production/counter/export", params={"form": form})
        assert answer.status_code == 404
    answer = firm["una"].get("/api/v1/agents/production/counter/export", params={"form": "spdx"})
    assert (answer.status_code, answer.json()["code"]) == (400, "body_malformed")


@pytest.mark.requirement("api:interchange:signed")
def test_a_card_signed_here_verifies_with_the_published_keys_and_its_signing_is_on_record(firm: Company) -> None:
    made = firm.post("dana", "agents/production/counter/card", {"interface": "https://agents.example.com/a2a"})
    card = made["document"]
    with firm.place.client("") as anybody:
        published = anybody.get("/.well-known/agent-card-jwks.json").json()
        tokens = anybody.get("/oauth/jwks").json()
    keys = issuer_keys(published)
    assert verified_card(card, keys).kid in keys
    assert not keys.keys() & {key["kid"] for key in tokens["keys"]}
    assert card["supportedInterfaces"][0]["url"] == "https://agents.example.com/a2a"
    assert "@example.com" not in json.dumps(card)
    signed = firm.get("una", "agents/production/counter/timeline")["items"][0]
    assert (signed["kind"], signed["person"]) == ("agent.card_signed", firm.ids["dana"])
    # an auditor sees the agent, and does not speak for the installation
    assert firm.attempt("una", "agents/production/counter/card")[1] == "not_authorised"
    assert firm.attempt("dana", "agents/production/counter/card", {"interface": "http://127.0.0.1/"})[0] == 400


@pytest.mark.requirement("api:interchange:import")
def test_a_card_that_comes_back_is_verified_if_it_is_ours_or_its_key_is_pinned(firm: Company) -> None:
    card = firm.post("dana", "agents/production/counter/card")["document"]
    back = _draft(firm, card)
    assert (back["form"], back["verified"]) == ("a2a", True)
    assert back["manifest"]["metadata"]["environment"] == "development"
    assert {one["path"] for one in back["missing"]} >= {"spec.owner", "spec.tools"}
    changed = _draft(firm, card | {"description": "Pays refunds"})
    assert (changed["verified"], changed["signature"]) == (False, "unverified: it is not what that key signed")
    assert "Signature: unverified" in changed["text"]
    with firm.place.client("") as anybody:
        published = anybody.get("/.well-known/agent-card-jwks.json").json()
    assert _draft(firm, card, keys=published)["verified"]
    body = {"text": json.dumps(card), "keys": {"keys": [{"kty": "oct", "k": "AA", "kid": "x"}]}}
    assert firm.attempt("dana", "agent-drafts", body)[1] == "key_unsuitable"


@pytest.mark.requirement("api:interchange:import")
def test_a_draft_changes_nothing_and_what_its_owner_completes_is_judged_like_any_manifest(firm: Company) -> None:
    for form in ("oasf", "cyclonedx"):
        position = firm.get("una", "agents/production/counter")["position"]
        draft = _draft(firm, firm.get("dana", "agents/production/counter/export", form=form)["document"])
        assert firm.get("una", "agents/production/counter")["position"] == position
        assert [one["path"] for one in draft["missing"]] == ["spec.owner"]
        file = {"name": "draft.yaml", "text": draft["text"]}
        status, code = firm.attempt("dana", "apply", {"files": [file]})
        assert (status, code) == (400, "manifest_invalid")
        completed = file | {"text": draft["text"].replace("spec:\n", "spec:\n  owner: dana@example.com\n", 1)}
        status, code = firm.attempt("dana", "apply", {"files": [completed]})
        assert (status, code) == (400, "environment_mismatch")  # its tools are of production
    for text in ("{}", "[1]", "not json", json.dumps({"name": "x"})):
        assert firm.attempt("dana", "agent-drafts", {"text": text})[0] == 400


@pytest.mark.requirement("api:interchange:annex")
def test_annex_iv_is_filled_from_records_that_the_log_has(firm: Company) -> None:
    made = firm.get("una", "agents/production/counter/export", form="annex-iv")
    points = {one["point"]: one for one in made["document"]["points"]}
    facts = [fact for point in points.values() for fact in point["facts"]]
    size = firm.place.plane.records.size()
    assert all(fact["record"] is None or 0 <= fact["record"] < size for fact in facts)
    told = {point: [fact["text"] for fact in points[point]["facts"]] for point in points}
    assert "Intended purpose: Report how many tickets are open" in told["1(a)"]
    assert any(text.startswith("read: crm-live/count_tickets") for text in told["1(b)"])
    assert "Approved in the role team-lead: approve" in told["2(e)"]
    assert any(text.startswith("Risk tier: low") for text in told["5"])
    assert told["8"] == []
    assert "point 8: nothing is on record" in made["unsaid"]
    (vote,) = [fact for fact in points["2(e)"]["facts"] if fact["text"].startswith("Approved in the role")]
    with firm.place.client(firm.place.token) as http:
        record = http.get("/api/v1/audit/records", params={"limit": 200}).json()["items"]
    assert any(one["seq"] == vote["record"] and one["kind"] == "approval.voted" for one in record)


@pytest.mark.requirement("api:interchange:export")
def test_one_administrator_alone_exports_agents_of_development(place: Installation) -> None:
    with place.client() as http:
        made = http.post("/api/v1/agents/support-copilot/card", json={})
        assert made.status_code == 200, made.text
        assert made.json()["document"]["signatures"]
