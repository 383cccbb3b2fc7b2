"""Incidents on a page: who sees which, and what is opened, frozen and closed from it."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from accredit.registry.model import Incident, IncidentEvent
from tests.console.desk import DECEIVING, NOW_US, Desk

_Visit = Callable[[str], httpx2.Client]


def _token(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found
    return found[1]


@pytest.mark.requirement("incident:console")
def test_an_incident_is_opened_frozen_and_closed_from_its_page(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    sam = visit("sam")
    page = sam.get("/console/incidents").text
    assert "No incident is open." in page
    form = {"csrf": _token(page), "agent": "production/support-copilot", "severity": "1", "reason": "it wrote home"}
    for wrong in ({"agent": "production/none"}, {"severity": "9"}, {"reason": " "}):
        answer = sam.post("/console/incidents", data=form | wrong)
        assert answer.status_code in {400, 404}
        assert "Nothing was changed" in answer.text
    assert sam.post("/console/incidents", data=form).status_code == 303
    (one,) = desk.incidents
    assert (one.agent, one.severity, one.what) == (agent.id, 1, "it wrote home")
    assert "it wrote home" in sam.get("/console/incidents").text
    assert sam.post(f"/console/incidents/{one.id}/freeze", data={"csrf": _token(page)}).status_code == 303
    closing = {"csrf": _token(page), "reason": "a test address"}
    refused = sam.post(f"/console/incidents/{one.id}/close", data=closing)
    assert (refused.status_code, "a test address" in refused.text) == (403, True), "what was typed is kept"
    cora = visit("cora")
    closing["csrf"] = _token(cora.get("/console/incidents").text)
    assert cora.post(f"/console/incidents/{one.id}/close", data=closing).status_code == 303
    assert desk.done == [("freeze", "sam", one.id), ("close", "cora", one.id, "a test address")]


@pytest.mark.requirement("incident:console")
def test_one_sees_incidents_of_what_one_may_look_at_and_text_in_them_deceives_nobody(visit: _Visit, desk: Desk) -> None:
    own, other = desk.fleet.add("own-agent"), desk.fleet.add("other-agent", owner="lee")
    events = (IncidentEvent(NOW_US, "opened", None), IncidentEvent(NOW_US, "closed", None, DECEIVING))
    desk.incidents += [
        Incident("inc_1", own.id, 3, NOW_US, rule="ghost", what="its credential is still presented", events=events),
        Incident("inc_2", other.id, 1, NOW_US, what="secret matter"),
        Incident("inc_3", own.id, 2, NOW_US, NOW_US, what="an old one", disposition=DECEIVING),
    ]
    page = visit("dana").get("/console/incidents").text
    assert "its credential is still presented" in page
    assert "ghost" in page
    assert "secret matter" not in page
    assert "an old one" not in page
    everything = visit("sam").get("/console/incidents?state=all").text
    assert "secret matter" in everything
    assert "an old one" in everything
    assert DECEIVING not in everything
