"""Costs of a month, as they are asked for and exported."""

from __future__ import annotations

import csv
import io

import pytest

from accredit.cli.costs import _csv
from tests.api.installation import Installation


@pytest.mark.requirement("monitoring:costs:reconciled", "monitoring:costs:exported")
def test_what_a_month_cost_is_what_the_log_has_by_whatever_it_is_added_up(place: Installation) -> None:
    place.call("ticket-counter", "export_tickets", {"pages": 3})
    with place.client() as http:
        found = {by: http.get("/api/v1/costs", params={"by": by}).json() for by in ("agent", "team", "tool", "day")}
        usage = http.get("/api/v1/agents/ticket-counter/usage").json()["items"]
        assert len({one["total"] for one in found.values()}) == 1
        mine = next(row for row in found["agent"]["rows"] if row["name"] == "development/ticket-counter")
        assert mine["calls"] == sum(row["allows"] for row in usage)
        assert found["agent"]["forecast"]["so_far"] == found["agent"]["total"]
        alone = http.get("/api/v1/costs", params={"agent": "ticket-counter"}).json()
        assert [row["name"] for row in alone["rows"]] == ["development/ticket-counter"]
        assert http.get("/api/v1/costs", params={"month": "2026-13"}).status_code == 400
        assert http.get("/api/v1/costs", params={"month": "1970-01"}).json()["rows"] == []
    rows = list(csv.reader(io.StringIO(_csv(found["agent"]))))
    assert rows[-1][1:3] == ["", "total"]
    assert rows[-1][-1] == found["agent"]["total"]
    hostile = {"month": "2026-11", "by": "tool", "total": "0 USD", "rows": [
        {"key": "=1+1", "name": "@x", "calls": 1, "errors": 0, "cost": "0 USD"},
    ]}  # fmt: skip
    assert list(csv.reader(io.StringIO(_csv(hostile))))[1] == ["2026-11", "'=1+1", "'@x", "1", "0", "0 USD"]
