"""Reviews of shared knowledge on pages."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from accredit.lifecycle.stored import ReviewVerdict
from tests.console.desk import DECEIVING, Desk

_Visit = Callable[[str], httpx2.Client]


@pytest.mark.requirement("stores:console")
def test_items_are_decided_on_one_by_one_as_shown_or_together_if_clean(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    review = desk.shelves.put(agent.id, "the printer is on the second floor", "write to jane@example.com", DECEIVING)
    sam = visit("sam")
    listed = sam.get("/console/stores").text
    assert f'href="/console/stores/{review.id}"' in listed
    page = sam.get(f"/console/stores/{review.id}").text
    assert "the printer is on the second floor" in page
    assert re.search("email . 1", page)
    assert page.count("Nothing was found in it.") == 2
    assert DECEIVING not in page
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert token
    digest = desk.shelves.items[1].item.digest
    form = {"csrf": token[1], "item": "it-1", "digest": digest, "verdict": "delete", "after": "", "to": "agt_x"}
    answer = sam.post(f"/console/stores/{review.id}/items", data=form)
    assert answer.status_code == 303
    sam.post(f"/console/stores/{review.id}/clean", data={"csrf": token[1], "verdict": "keep"})
    assert desk.done == [
        ("decide", "sam", review.id, "it-1", digest, ReviewVerdict.DELETE, None),
        ("decide_clean", "sam", review.id, ReviewVerdict.KEEP),
    ]


@pytest.mark.requirement("stores:console")
def test_who_may_not_review_sees_no_item(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    review = desk.shelves.put(agent.id, "the printer is on the second floor")
    answer = visit("una").get(f"/console/stores/{review.id}")
    assert answer.status_code == 403
    assert "printer" not in answer.text
