"""A review by commands alone, each person at a terminal of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accredit.cli.profile import Profile, save_profile
from tests.api.company import Company, agent, company
from tests.cli.conftest import Ran, run_command


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("reviews") / "data") as made:
        made.active(agent("counter"))
        instance = made.enrolled("production/counter")
        made.call(instance, "count_tickets", {})
        made.place.do(made.place.plane.enforcer.drained())
        yield made


def _run(firm: Company, home: Path, name: str, *words: object) -> Ran:
    profile = {"ACCREDIT_PROFILE": str(home / f"{name}.json")}
    if not Path(profile["ACCREDIT_PROFILE"]).exists():
        token = firm[name].headers["authorization"].removeprefix("Bearer ")
        save_profile(profile, Profile(firm.place.url, token))
    with pytest.MonkeyPatch.context() as patched:
        for variable in [each for each in os.environ if each.startswith("ACCREDIT_")]:
            patched.delenv(variable)
        patched.setenv("ACCREDIT_PROFILE", profile["ACCREDIT_PROFILE"])
        patched.chdir(home)
        return run_command(*words)


@pytest.mark.requirement("reviews:shown")
def test_a_campaign_from_start_to_close(firm: Company, tmp_path: Path) -> None:
    def ok(name: str, *words: object, code: int = 0) -> Any:
        ran = _run(firm, tmp_path, name, *words, "-o", "json")
        assert ran.code == code, (words, ran)
        return ran.json

    def said(name: str, *words: object, code: int = 0) -> Ran:
        ran = _run(firm, tmp_path, name, *words)
        assert ran.code == code, (words, ran)
        return ran

    campaign = ok("cora", "review", "start", "--agent", "counter", "--reason", "the quarter is over")["id"]
    assert "production/counter" in said("sam", "review", "list").out
    (review,) = (one["id"] for one in ok("sam", "review", "list")["items"])
    card = ok("sam", "review", "get", review)
    (alone,) = (one["permission"] for one in card["permissions"])
    assert alone in said("sam", "review", "get", review).out
    assert said("sam", "review", "simulate", review, "crm-live/count_tickets", code=8).out
    assert "is no decision" in said("sam", "review", "decide", review, "crm=maybe", "--view", "v", code=1).err
    told = said("sam", "review", "decide", review, "routine=keep", f"{alone}=keep", "--view", card["view"], code=1)
    assert "one by one" in told.err
    firm.clock.advance(10)
    card = ok("sam", "review", "decide", review, f"{alone}=remove", "--view", card["view"])
    firm.clock.advance(10)
    ok("sam", "review", "decide", review, "routine=keep", "--view", card["view"])
    assert "1 of 1 agents wait" in said("cora", "review", "report", campaign).out
    assert "review_incomplete" in said("cora", "review", "close", campaign, code=1).err
    ok("dana", "review", "need", review, "--statement", "The desk reads it out before the phones open")
    ok("cora", "review", "close", campaign)
    report = said("una", "review", "report", campaign).out
    assert "0 of 1 seeded permissions kept" in report
    assert "The desk reads it out" in report
    assert ok("una", "review", "campaigns", "--state", "closed")["items"][0]["id"] == campaign
    assert ok("sam", "review", "list", "--state", "ended")["items"][0]["state"] == "answered"
