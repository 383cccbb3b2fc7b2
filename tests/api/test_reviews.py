"""A review as people do it over the API, in a company that runs: nothing they are told says what was seeded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.company import Company, agent, company

_NEED = "The desk reads it out every morning before the phones open"
_PATIENCE = 200


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("reviews") / "data") as made:
        made.active(agent("counter"))
        instance = made.enrolled("production/counter")
        made.call(instance, "count_tickets", {})
        made.place.do(made.place.plane.enforcer.drained())
        yield made


def _looked(firm: Company, who: str, review: str) -> Any:
    """Somebody looks at a card, for long enough."""
    card = firm.get(who, f"reviews/{review}")
    firm.clock.advance(10)
    return card


def _simulated(firm: Company, review: str, permission: str) -> Any:
    made = firm.post("sam", f"reviews/{review}/simulate", {"permissions": [permission]})
    for _ in range(_PATIENCE):
        found = firm.get("sam", f"policy/simulations/{made['id']}")
        if found["state"] != "running":
            return found
        time.sleep(0.05)
    pytest.fail("the simulation does not end")


@pytest.mark.requirement("reviews:shown", "reviews:seeds", "reviews:card:effect")
def test_a_campaign_from_its_start_to_its_report_and_no_answer_tells_what_was_seeded(firm: Company) -> None:
    campaign = firm.post("cora", "review-campaigns", {"agents": ["counter"], "reason": "the quarter is over"})
    (review,) = firm.get("sam", "reviews", campaign=campaign["id"])["items"]
    assert [one["id"] for one in firm.get("dana", "reviews")["items"]] == [review["id"]], "its owner sees it"
    assert firm.get("nick", "reviews")["items"] == []
    assert firm["nick"].get(f"/api/v1/reviews/{review['id']}").status_code == 403
    assert firm["dana"].get(f"/api/v1/review-campaigns/{campaign['id']}").status_code == 403
    card = _looked(firm, "sam", review["id"])
    assert [one["permission"] for one in card["routine"]] == ["crm-live/count_tickets"]
    assert card["routine"][0]["calls"] == 1
    (seeded,) = card["permissions"]
    assert seeded["permission"] == "crm-live/delete_customer", "registered, of its server, and never granted"
    assert {type(one) for one in seeded.values()} <= {str, int, list, type(None)}
    assert seeded.keys() == card["routine"][0].keys()
    open_report = firm.get("cora", f"review-campaigns/{campaign['id']}")
    assert (open_report["seeded"], open_report["looks"][0]["seeded"]) == ([], 0)
    for answer in (card, open_report, firm.get("sam", "reviews"), firm.get("sam", "review-campaigns")):
        assert "seed" not in str(answer).replace("'seeded': []", "").replace("'seeded': 0", "")
    # what taking it away would do, told by the calls on record
    report = _simulated(firm, review["id"], "crm-live/count_tickets")["report"]
    assert (report["breaks"], report["denied"]) == (True, 1)
    assert _simulated(firm, review["id"], seeded["permission"])["report"]["breaks"] is False
    # answers
    path = f"reviews/{review['id']}"
    keep = {"permission": "routine", "verdict": "keep"}
    assert firm.attempt("lena", f"{path}/decide", {"view": card["view"], "decisions": [keep]}) == (409, "review_unseen")
    both = [keep, {"permission": seeded["permission"], "verdict": "keep"}]
    assert firm.attempt("sam", f"{path}/decide", {"view": card["view"], "decisions": both}) == (400, "bulk_refused")
    after = firm.post("sam", f"{path}/decide", {"view": card["view"], "decisions": [keep]})
    assert after["waiting"] == [seeded["permission"]]
    copied = {"needed": True, "statement": "Report how many tickets are open"}
    assert firm.attempt("dana", f"{path}/need", copied) == (400, "own_words_required")
    assert firm.post("dana", f"{path}/need", {"needed": True, "statement": _NEED})["state"] == "open"
    assert firm.attempt("cora", f"review-campaigns/{campaign['id']}/close") == (409, "review_incomplete")
    card = _looked(firm, "sam", review["id"])
    remove = {"permission": seeded["permission"], "verdict": "remove"}
    after = firm.post("sam", f"{path}/decide", {"view": card["view"], "decisions": [remove]})
    assert (after["review"]["state"], after["review"]["verified"]) == ("answered", True)
    assert after["removed"] == [seeded["permission"]], "it looks carried out"
    assert firm.get("sam", "restrictions", agent="production/counter")["items"] == [], "and nothing was"
    # what else was seen in the company is missing in no campaign of one agent
    closed = firm.post("cora", f"review-campaigns/{campaign['id']}/close")
    assert [one["permission"] for one in closed["seeded"]] == [seeded["permission"]]
    assert (closed["looks"][0]["seeded"], closed["looks"][0]["missed"], closed["removed"]) == (1, 0, 0)
    assert closed["reviewers"] == [firm.ids["sam"]]
    for told in ("the quarter is over", "sam@example.com", _NEED, "production/counter (low): answered", "Closed"):
        assert told in closed["text"]
    assert firm.attempt("sam", f"{path}/need", {"needed": True, "statement": "x"})[0] == 403
    late = {"needed": True, "statement": "It tells who is to be called back first"}
    assert firm.attempt("dana", f"{path}/need", late) == (409, "conflict")
