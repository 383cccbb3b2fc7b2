"""Broken glass on a page."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from tests.console.desk import DECEIVING, Desk, glasses

_Visit = Callable[[str], httpx2.Client]


@pytest.mark.requirement("break-glass:console")
def test_what_waits_is_broken_due_and_past_stands_apart_and_is_confirmed_as_shown(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    desk.broken = glasses(agent.id, words=DECEIVING)
    kim = visit("kim")
    page = kim.get("/console/break-glass").text
    sections = re.split(r'<section aria-labelledby="h-(\w+)">', page)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    asked, waits, overdue, upheld = (one.id for one in desk.broken)
    assert asked in found["asked"]
    assert waits not in found["asked"]
    assert f"/console/break-glass/{waits}/end" in found["broken"]
    assert 'href="/console/approvals/apr_1"' in found["due"]
    assert "breaks no other" in found["due"]
    assert upheld in str(desk.broken)
    assert "upheld" in found["past"]
    assert overdue
    assert f"why {asked}" in page
    assert DECEIVING not in page
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert token
    seen = desk.broken[0].digest
    assert f'name="digest" value="{seen}"' in page
    answer = kim.post(
        f"/console/break-glass/{asked}/confirm", data={"csrf": token[1], "digest": seen}, follow_redirects=False
    )
    assert answer.status_code == 303
    kim.post(f"/console/break-glass/{waits}/end", data={"csrf": token[1]})
    assert [one[0] for one in desk.done] == ["confirm", "end"]


@pytest.mark.requirement("break-glass:console")
def test_whoever_asked_is_not_offered_to_confirm_it(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    desk.broken = glasses(agent.id)
    assert "/confirm" in visit("kim").get("/console/break-glass").text
    assert "/confirm" not in visit("sam").get("/console/break-glass").text
