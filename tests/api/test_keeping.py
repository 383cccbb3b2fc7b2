"""How long records are kept, through the API."""

from __future__ import annotations

import pytest

from accredit.audit.model import Entry, Facts, Part
from tests.api.installation import Installation


@pytest.mark.requirement("keeping:erase:two")
@pytest.mark.requirement("keeping:schedule:bounds")
def test_holds_erasures_and_the_schedule_through_the_api(place: Installation) -> None:
    said = (Part("arguments", {"note": "customer api-4711 called"}),)
    place.do(_appended(place, Entry(Facts("decision"), place.plane.clock.now().wall_us, {}, said)))
    with place.client() as http:
        wrong = http.post("/api/v1/legal-holds", json={"matter": "m", "since": "2026-01-01"})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "body_malformed")
        assert http.post("/api/v1/legal-holds", json={"matter": "m"}).status_code == 400
        made = http.post("/api/v1/legal-holds", json={"matter": "m", "subject": "api-4711"})
        assert made.status_code == 201, made.text
        hold = made.json()
        assert (hold["state"], hold["subject"], hold["since"]) == ("open", True, None)
        assert hold["id"] in {one["id"] for one in http.get("/api/v1/legal-holds").json()["items"]}
        lifted = http.post(f"/api/v1/legal-holds/{hold['id']}/lift", json={"reason": "over"})
        assert lifted.status_code == 403  # who placed it

        asked = http.post("/api/v1/erasures", json={"subject": "API-4711", "basis": "asked to", "senses": ["value"]})
        assert asked.status_code == 201, asked.text
        assert asked.json()["records"] == 1
        shown = http.get(f"/api/v1/approvals/{asked.json()['approval']}")
        assert shown.json()["kind"] == "erasure"
        assert "4711" not in shown.text
        assert http.get("/api/v1/erasures").json()["items"] == []
        assert http.post("/api/v1/erasures", json={"subject": "nobody at all", "basis": "b"}).status_code == 404

        schedule = {one["name"]: one for one in http.get("/api/v1/retention").json()["items"]}
        assert (schedule["call-payload"]["days"], schedule["call-payload"]["expires"]) == (90, "parts")
        assert {one["name"]: one["parts"] for one in http.get("/api/v1/retention/plan").json()["items"]} == {
            "access-attempts": 0,
            "call-payload": 0,
        }


async def _appended(place: Installation, entry: Entry) -> None:
    await place.plane.log.append(entry)
