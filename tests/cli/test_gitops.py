"""`export`, `diff` and `apply` on a folder, as their users run them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli


@pytest.mark.requirement("cli:gitops:folder")
def test_a_folder_that_was_exported_differs_from_nothing_and_changes_nothing(signed_in: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    ran = signed_in("export", "-f", folder)
    assert ran.code == 0, ran
    assert (folder / "agents/development/support-copilot.yaml").is_file()
    assert signed_in("export", "-f", folder).code == 1
    assert signed_in("export", "-f", folder, "--overwrite").code == 0
    ran = signed_in("diff", "-f", folder)
    assert (ran.code, ran.out.strip().splitlines()[1:]) == (0, []), ran
    ran = signed_in("apply", "-f", folder, "-o", "json")
    assert ran.code == 0, ran
    assert {one["result"] for one in ran.json["items"]} == {"unchanged"}


@pytest.mark.requirement("cli:gitops:diff")
def test_a_difference_is_told_field_by_field_with_exit_3_and_drift_with_it(signed_in: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "live"
    signed_in("export", "-f", folder)
    file = folder / "agents/development/support-copilot.yaml"
    document = yaml.safe_load(file.read_text())
    document["spec"]["limits"]["concurrency"] = 9
    file.write_text(yaml.safe_dump(document))
    (folder / "agents/development/refund-desk.yaml").unlink()
    ran = signed_in("diff", "-f", folder)
    assert ran.code == 3
    assert "Agent support-copilot: limits:" in ran.out
    assert "live and not in the files: Agent development refund-desk" in ran.out
    ran = signed_in("diff", "-f", folder, "--simulate", "30", "-o", "json")
    assert (ran.code, ran.json["report"]["breaks"]) == (3, False)
    ran = signed_in("apply", "-f", folder, "--prune", "--manager", "repo")
    assert ran.code == 3, ran
    assert "accredit agent retire development/refund-desk" in ran.out
    assert "--confirm-prune" in ran.err
    assert signed_in("apply", "-f", folder, "--confirm-prune").code == 1
    assert signed_in("agent", "get", "refund-desk").code == 0
    empty = tmp_path / "empty"
    empty.mkdir()
    assert signed_in("apply", "-f", empty, "--prune", "--confirm-prune").code == 6


@pytest.mark.requirement("cli:gitops:policies")
def test_a_policy_set_names_a_directory_below_it_and_nothing_else(signed_in: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    (folder / "policies/org").mkdir(parents=True)
    (folder / "policies/tests").mkdir()
    (folder / "policies/org/broken.cedar").write_text("permit(?")
    (folder / "policies/tests/a.yaml").write_text("kind: not a manifest")
    head = "apiVersion: accredit/v1\nkind: PolicySet\nmetadata: {name: policies}\n"
    named = folder / "policy-set.yaml"
    named.write_text(head + "spec: {directory: policies}\n")
    ran = signed_in("diff", "-f", folder)
    assert ran.code == 3, ran
    assert "PolicySet policies: refused:" in ran.out
    ran = signed_in("apply", "-f", folder, "-o", "json")
    assert (ran.code, ran.json["items"][0]["result"]) == (1, "failed")
    for elsewhere in ("../policies", "/etc", "policies/../..", "''", ".git"):
        named.write_text(head + f"spec: {{directory: {elsewhere}}}\n")
        ran = signed_in("diff", "-f", folder)
        assert (ran.code, "manifest_invalid" in ran.err) == (1, True), elsewhere
