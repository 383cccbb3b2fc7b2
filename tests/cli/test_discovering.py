"""`discover` and `finding` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.api.installation import Installation
from tests.cli.conftest import Cli
from tests.lifecycle.discovery.tree import FOUND, SECRETS, planted


@pytest.mark.requirement("discovery:cli")
def test_a_folder_is_looked_at_without_a_server(cli: Cli, tmp_path: Path) -> None:
    planted(tmp_path / "work")
    ran = cli("discover", tmp_path / "work")
    assert (ran.code, "langgraph" in ran.out, "not read: packages: 2" in ran.err) == (0, True, True)
    told = json.loads(cli("discover", tmp_path / "work", "-o", "json").out)
    assert sorted({one["path"] for one in told["traces"]}) == sorted(FOUND)
    assert not [secret for secret in SECRETS if secret in ran.out or secret in json.dumps(told)]
    (tmp_path / "salt").write_bytes(b"0" * 32)
    same = [cli("discover", tmp_path / "work", "--salt-file", tmp_path / "salt", "-o", "json").out for _ in range(2)]
    assert same[0] == same[1]
    assert cli("discover", tmp_path / "work", "--salt-file", tmp_path / "work/README.md").code == 0
    assert cli("discover").code == 1
    assert cli("discover", tmp_path / "none").code == 6


@pytest.mark.requirement("discovery:cli")
def test_sarif_names_a_rule_a_level_and_a_place_for_each(cli: Cli, tmp_path: Path) -> None:
    planted(tmp_path / "work")
    (run,) = json.loads(cli("discover", tmp_path / "work", "-o", "sarif").out)["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert all(one["ruleId"] in rules for one in run["results"])
    (dotenv,) = (one for one in run["results"] if "(dotenv)" in one["message"]["text"])
    assert dotenv["level"] == "error"
    place = dotenv["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("ac/.env", 2)


@pytest.mark.requirement("discovery:cli")
def test_a_build_fails_on_what_must_not_be(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean/a.py").write_text("print('nothing')\n")
    assert cli("discover", tmp_path / "clean", "--fail-on", "found").code == 0
    (tmp_path / "clean/.mcp.json").write_text('{"mcpServers": {"a": {"command": "b"}}}')
    assert cli("discover", tmp_path / "clean", "--fail-on", "found").code == 8
    assert cli("discover", tmp_path / "clean", "--fail-on", "secrets").code == 0
    (tmp_path / "clean/.mcp.json").write_text("{" * 5_000)
    assert cli("discover", tmp_path / "clean", "--fail-on", "secrets").code == 8  # who knows what is in it


@pytest.mark.requirement("discovery:cli")
def test_what_is_not_registered_fails_a_build_and_becomes_findings_that_are_answered(
    signed_in: Cli, place: Installation, tmp_path: Path
) -> None:
    cli, work = signed_in, tmp_path / "work"
    work.mkdir()
    through = {"mcpServers": {"crm": {"url": f"{place.url}/mcp/crm"}}}
    (work / ".mcp.json").write_text(json.dumps(through))
    assert cli("discover", work, "--fail-on", "unregistered").code == 0
    past = {"mcpServers": {"crm": {"url": place.world.crm_url}, "other": {"command": "other-mcp"}}}
    (work / ".mcp.json").write_text(json.dumps(past))
    ran = cli("discover", work, "--fail-on", "unregistered", "-o", "json")
    assert ran.code == 8
    assert sorted(one["verdict"] for one in json.loads(ran.out)["traces"]) == ["shadow", "unregistered"]
    assert cli("discover", work, "--report", "work").code == 0
    usage = tmp_path / "usage.csv"
    usage.write_text("api_key_id,api_key_name,num_model_requests,input_tokens\nkey_1,rogue,5,10\n")
    assert cli("discover", "--usage", usage, "--report", "bill").code == 0
    listed = json.loads(cli("finding", "list", "-o", "json").out)["items"]
    assert sorted(one["name"] for one in listed) == ["crm", "other", "rogue"]
    assert "rogue" in cli("finding", "list").out
    other = next(one["id"] for one in listed if one["name"] == "other")
    assert cli("finding", "get", other).out.count("other-mcp") == 1
    drafted = cli("finding", "answer", other, "register", "--reason", "we want it", "-o", "json")
    assert "kind: Agent" in json.loads(drafted.out)["draft"]
    assert cli("finding", "answer", other, "retire", "--reason", "no").code == 1
    assert cli("finding", "answer", other, "dismiss", "--reason", "gone").code == 0
    assert cli("finding", "look").code == 0
    (work / ".mcp.json").unlink()
    assert cli("discover", work, "--report", "work").code == 0
    left = [one["name"] for one in json.loads(cli("finding", "list", "-o", "json").out)["items"]]
    assert left == ["rogue"]
