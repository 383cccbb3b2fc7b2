"""A policy's way from a directory to enforcement and back, as its author goes it on the command line."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from accredit.demo import fleet
from tests.api.installation import Installation
from tests.cli.conftest import Cli
from tests.policies import with_cases

LIMIT = """forbid (principal, action == Action::"crm/search_orders", resource)
when { context has input && context.input has limit && context.input.limit > 5 };
"""


def _written(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


@pytest.mark.requirement("cli:policy:rehearsed")
def test_a_change_is_tested_simulated_published_explained_and_rolled_back(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    place.call("ticket-counter", "count_tickets", {})
    place.call("ticket-counter", "export_tickets", {"pages": 1})
    place.records("decision")
    files = fleet.policies()
    _written(tmp_path / "same", files)
    assert signed_in("policy", "diff", tmp_path / "same").code == 0
    candidate = _written(tmp_path / "next", files | {"org/close.cedar": _FORBID})
    ran = signed_in("policy", "test", candidate, "--junit", "run.xml")
    assert ran.code == 0, ran
    assert "no case is determined by org/close.cedar@" in ran.err
    assert ET.parse(tmp_path / "run.xml").getroot().get("failures") == "0"  # noqa: S314 - our own output
    assert signed_in("policy", "test", candidate, "--mutation").code == 1
    assert signed_in("policy", "test", candidate, "--offline").code == 0
    diff = signed_in("policy", "diff", candidate)
    assert diff.code == 3
    assert "+forbid (principal" in diff.out

    ran = signed_in("policy", "simulate", "--candidate", candidate, "--html", "r.html", "--markdown", "r.md")
    assert ran.code == 8, ran
    assert "would break what agents do today" in ran.out
    assert "dana@example.com" in ran.out  # whom to tell
    assert "development/ticket-counter" in (tmp_path / "r.md").read_text().replace("&#45;", "-")
    assert "<script" not in (tmp_path / "r.html").read_text()
    report = signed_in("policy", "simulate", "--candidate", candidate, "-o", "json").json
    assert report["breaks"]
    assert {one["tool"] for one in report["impacts"]} == {"crm/count_tickets"}
    again = signed_in("policy", "simulate", "--candidate", candidate, "-o", "json").json
    window = {"since_us", "until_seq"}  # it moved on
    assert {key: report[key] for key in report.keys() - window} == {key: again[key] for key in again.keys() - window}
    only = ["policy", "simulate", "--candidate", candidate, "--agents", "support-copilot"]
    assert signed_in(*only).code == 0
    assert signed_in(*only, "--since", "tomorrow").code == 1

    assert signed_in("policy", "publish", candidate).code == 0
    refused = place.call("ticket-counter", "count_tickets", {}).structured_content
    assert refused["code"] == "forbidden_by_policy"
    told = signed_in("policy", "explain", refused["decision_id"], "-o", "json").json
    assert told["policies"][0]["id"].startswith("org/close.cedar@")
    assert any(one["change"].startswith("without policy org/close.cedar") for one in told["alternatives"])
    assert signed_in("policy", "explain", refused["decision_id"]).code == 0
    assert signed_in("policy", "explain", refused["decision_id"], "--record", "-o", "json").json["decision"]

    history = signed_in("policy", "history", "-o", "json").json["items"]
    assert history[0]["in_force"]
    before = history[1]["number"]
    assert signed_in("policy", "diff", "--candidate", before).code == 3
    shown = signed_in("policy", "show", before, "-o", "json").json
    assert shown["publication"]["rehearsal"]["tests"] > 0
    assert shown["publication"]["note"].startswith("{")
    assert signed_in("policy", "rollback", before).code == 0
    assert not place.call("ticket-counter", "count_tickets", {}).is_error
    assert signed_in("policy", "rollback", "9999").code == 6
    replayed = signed_in("policy", "replay", "-o", "json")
    assert replayed.code == 0, replayed
    assert replayed.json["again"] == replayed.json["same"] > 2
    assert signed_in("policy", "diff", tmp_path / "same").code == 0


_FORBID = """forbid (principal, action == Action::"crm/count_tickets", resource);
"""


@pytest.mark.requirement("cli:policy:mode")
def test_a_policy_is_observed_before_it_is_enforced(signed_in: Cli, place: Installation, tmp_path: Path) -> None:
    files = fleet.policies()
    assert signed_in("policy", "publish", _written(tmp_path / "next", files | {"org/close.cedar": _FORBID})).code == 0
    assert signed_in("policy", "mode", "org/close.cedar", "observe").code == 1
    assert signed_in("policy", "mode", "org/close.cedar", "enforce", "--until", "2999-01-01").code == 1
    far = signed_in("policy", "mode", "org/close.cedar", "observe", "--until", "2999-01-01T00:00:00Z")
    assert (far.code, "longer than 90 days" in far.err) == (1, True)
    until = (place.plane.clock.now().wall_us // 1_000_000) + 86_400
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(until, UTC).isoformat()
    assert signed_in("policy", "mode", "org/close.cedar", "observe", "--until", moment).code == 0
    assert signed_in("policy", "show", "-o", "json").json["observed"].keys() == {"org/close.cedar"}
    assert not place.call("ticket-counter", "count_tickets", {}).is_error
    newest = place.records("decision", 1)[0]["body"]
    assert newest["judged"]["observed"][:2] == ["deny", "forbidden_by_policy"]
    told = signed_in("policy", "explain", newest["decision_id"], "-o", "json").json
    assert told["observed"]["outcome"] == "deny"
    assert signed_in("policy", "mode", "org/close.cedar", "enforce").code == 0
    assert place.call("ticket-counter", "count_tickets", {}).is_error
    assert signed_in("policy", "publish", _written(tmp_path / "same", files)).code == 0


@pytest.mark.requirement("cli:policy:rehearsed")
def test_nothing_untested_and_nothing_that_fails_its_tests_is_published(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    before = signed_in("policy", "show", "-o", "json").json["release"]
    bare = _written(tmp_path / "bare", {"org/close.cedar": _FORBID})
    ran = signed_in("policy", "publish", bare)
    assert (ran.code, "policy_tests_failed" in ran.err, "no test case" in ran.err) == (1, True, True)
    wrong = with_cases({"org/close.cedar": _FORBID})
    wrong = {name: text.replace("outcome: deny", "outcome: allow") for name, text in wrong.items()}
    ran = signed_in("policy", "publish", _written(tmp_path / "wrong", wrong))
    assert (ran.code, "1 of 1 cases fail" in ran.err) == (1, True)
    assert signed_in("policy", "test", tmp_path / "wrong").code == 1
    assert signed_in("policy", "show", "-o", "json").json["release"] == before


@pytest.mark.requirement("cli:policy:init")
def test_the_starter_policies_are_written_and_pass_their_own_tests(cli: Cli, tmp_path: Path) -> None:
    assert cli("policy", "init", "mine").code == 0
    ran = cli("policy", "test", "mine", "--offline", "--mutation")
    assert ran.code == 0, ran
    assert cli("policy", "init", "mine").code == 1
