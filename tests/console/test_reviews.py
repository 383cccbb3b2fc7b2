"""Reviews of agents on pages: the list, the card with one answer for each thing, and the campaign."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from tests.console.desk import DECEIVING, Desk

_Visit = Callable[[str], httpx2.Client]


def _token(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


@pytest.mark.requirement("reviews:shown")
def test_each_thing_that_can_do_harm_has_an_answer_of_its_own_and_the_routine_ones_share_one(
    visit: _Visit, desk: Desk
) -> None:
    agent = desk.fleet.add("support-copilot", purpose=DECEIVING)
    review = desk.panel.put(agent, texts=("what was said before",))
    sam = visit("sam")
    assert f'href="/console/reviews/{review.id}"' in sam.get("/console/reviews").text
    page = sam.get(f"/console/reviews/{review.id}").text
    assert DECEIVING not in page
    card = desk.panel.card(review.id)
    assert desk.panel.shown == [("sam", card.digest)], "from now on it is before them"
    assert page.count('name="permission" value="crm/') == 2
    assert page.count('name="permission" value=""') == 1
    assert "7 calls in 90 days would have failed without it" in page
    assert "what was said before" in page
    assert 'name="statement"' not in page, "its owner says whether it is needed"
    form = {"csrf": _token(page), "view": card.digest, "permission": "crm/spare", "verdict": "keep", "reason": ""}
    path = f"/console/reviews/{review.id}/decide"
    refused = sam.post(path, data=form)
    assert refused.status_code == 400
    assert "say it in your own words" in refused.text
    assert sam.post(path, data=form | {"verdict": "remove"}).status_code == 303
    sam.post(path, data=form | {"permission": "", "verdict": "keep"})
    assert sam.post(path, data=form | {"verdict": "approve-all"}).status_code == 400
    assert desk.done == [
        ("decide", "sam", review.id, "crm/spare", "remove", "", card.digest),
        ("decide", "sam", review.id, "", "keep", "", card.digest),
    ]


@pytest.mark.requirement("reviews:shown")
def test_its_owner_says_whether_it_is_needed_and_who_has_no_part_sees_nothing(visit: _Visit, desk: Desk) -> None:
    review = desk.panel.put(desk.fleet.add("support-copilot"))
    dana = visit("dana")
    page = dana.get(f"/console/reviews/{review.id}").text
    form = {"csrf": _token(page), "statement": "the desk needs it", "needed": "yes"}
    path = f"/console/reviews/{review.id}/need"
    assert dana.post(path, data=form).status_code == 303
    assert dana.post(path, data=form | {"needed": "perhaps"}).status_code == 400
    dana.post(path, data=form | {"needed": "no"})
    assert desk.done == [
        ("need", "dana", review.id, True, "the desk needs it"),
        ("need", "dana", review.id, False, "the desk needs it"),
    ]
    other = desk.panel.put(desk.fleet.add("elsewhere", owner="lee"))
    assert dana.get(f"/console/reviews/{other.id}").status_code == 403
    assert other.id not in dana.get("/console/reviews").text
    assert "Campaigns" not in dana.get("/console/reviews").text
    assert dana.get("/console/review-campaigns/rvc_1").status_code == 403


@pytest.mark.requirement("reviews:shown")
def test_a_campaign_says_what_it_waits_for_and_is_begun_and_closed(visit: _Visit, desk: Desk) -> None:
    desk.panel.put(desk.fleet.add("support-copilot"), words=DECEIVING)
    sam = visit("sam")
    page = sam.get("/console/review-campaigns/rvc_1").text
    assert DECEIVING not in page
    assert "answered by nobody" in page
    assert "agt_nobody" in page
    assert "Close the campaign" not in page
    token = _token(page)
    sam.post("/console/reviews", data={"csrf": token, "tier": "high", "reason": "an audit"})
    where = "/console/review-campaigns/rvc_1"
    sam.post(f"{where}/accept", data={"csrf": token, "identity": "agt_nobody", "reason": "a test"})
    sam.post(f"{where}/close", data={"csrf": token})
    assert desk.done == [
        ("start", "sam", ["high"], "an audit"),
        ("accept", "sam", "rvc_1", "agt_nobody", "a test"),
        ("close", "sam", "rvc_1"),
    ]
