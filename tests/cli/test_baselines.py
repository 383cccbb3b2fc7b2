"""What commands about baselines show people: bars, words and rows."""

from __future__ import annotations

from typing import Any

import pytest

from accredit.cli.client import ApiClient
from tests.cli.conftest import Cli

_STANDING: dict[str, Any] = {
    "state": "accepted", "learning": None,
    "detectors": [
        {
            "detector": "views", "sessions": 4, "stats": [0.5, 1.0, 2.3, 2.5], "threshold": 2.3, "alarmed": True,
            "views": [{"view": "calls higher", "stat": 2.4, "score": 1.0}], "since": 2, "stopped": "",
        },
        {"detector": "other", "sessions": 0, "stats": [], "threshold": None, "alarmed": False, "views": [],
         "since": None, "stopped": "it did not answer in time"},
    ],
}  # fmt: skip
_SPREAD = {"measured": 9, "least": 1, "lower": 2, "median": 4, "upper": 6, "most": 9}
_DESCRIBED: dict[str, Any] = {
    "sessions": 9, "calls": 40, "first": "f", "last": "l", "tools": {"crm/read": 0.75}, "outcomes": {"ok": 1.0},
    "hours": [0] * 9 + [4, 2] + [0] * 13, "spreads": {"calls": _SPREAD}, "extremes": [{"session": "ses_1", "calls": 9,
                                                                                    "cost": 0.5}],
}  # fmt: skip
_DIFFERENCE: dict[str, Any] = {
    "before": _DESCRIBED,
    "after": {**_DESCRIBED, "sessions": 3, "spreads": {"calls": {**_SPREAD, "median": 7}, "cost": _SPREAD}},
    "words": ["calls per session: median 4 -> 7"],
}


@pytest.mark.requirement("baseline:described")
def test_what_is_compared_is_shown_in_tables_with_bars(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def called(_: ApiClient, method: str, path: str, **__: object) -> Any:
        assert method == "GET"
        about = path.partition("/behaviour")[2].partition("?")[0]
        return {"": _STANDING, "/sessions": _DESCRIBED, "/diff": _DIFFERENCE}[about]

    monkeypatch.setattr(ApiClient, "_call", called)
    standing = cli("baseline", "show", "x", "--behaviour").out
    assert "▂▄██" in standing
    assert "calls higher" in standing
    assert "it did not answer in time" in standing
    inside = cli("baseline", "show", "x", "--of", "proposal").out
    assert "▁▁▁▁▁▁▁▁▁█▅▁" in inside
    assert "crm/read" in inside
    assert "ses_1" in inside
    differs = cli("baseline", "diff", "x").out
    assert "calls per session: median 4 -> 7" in differs
    assert "9 before, 3 after" in differs
