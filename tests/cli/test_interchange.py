"""`agent export` and `agent import`, as their users run them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli


@pytest.mark.requirement("cli:interchange:files")
def test_an_agent_goes_to_a_file_in_each_form_and_comes_back_as_a_draft(signed_in: Cli, tmp_path: Path) -> None:
    for form in ("a2a", "oasf", "cyclonedx"):
        file, back = tmp_path / f"{form}.json", tmp_path / f"{form}.yaml"
        ran = signed_in("agent", "export", "support-copilot", "--format", form, "-f", file)
        assert ran.code == 0, ran
        ran = signed_in("agent", "import", file, "-f", back)
        assert ran.code == 0, ran
        assert "to be written: spec.owner" in ran.err
        assert ("signature: verified with the key" in ran.err) is (form == "a2a")
        draft = yaml.safe_load(back.read_text())
        assert draft["metadata"]["name"] == "support-copilot"
        assert "owner" not in draft["spec"]
        assert signed_in("apply", "-f", back).code == 1
    ran = signed_in("agent", "export", "support-copilot", "--format", "cyclonedx", "--spec-version", "1.7")
    assert ran.json["specVersion"] == "1.7"
    ran = signed_in("agent", "export", "support-copilot", "--format", "annex-iv")
    assert ran.out.startswith("# Technical documentation of support\\-copilot\n")
    assert "not in it: point 8" in ran.err
    assert signed_in("agent", "export", "support-copilot", "--format", "annex-iv", "--json").json["points"]


@pytest.mark.requirement("cli:interchange:files")
def test_keys_are_pinned_by_a_file_and_a_card_says_where_its_agent_answers_only_if_signed(
    signed_in: Cli, tmp_path: Path
) -> None:
    sdk = json.loads((Path(__file__).parents[1] / "identity/cards/by-the-sdk.json").read_text())
    card, keys = tmp_path / "card.json", tmp_path / "keys.json"
    card.write_text(json.dumps(sdk["card"]))
    assert "signature: unverified" in signed_in("agent", "import", card).err
    keys.write_text(json.dumps(sdk["keys"]))
    ran = signed_in("agent", "import", card, "--keys", keys)
    assert "signature: verified with the key partner-1" in ran.err
    assert "Not taken over:" in ran.out
    ran = signed_in(
        "agent", "export", "support-copilot", "--format", "a2a", "--unsigned", "--interface", "https://a.example"
    )
    assert (ran.code, "setting_invalid" in ran.err) == (1, True)
    assert "signatures" not in signed_in("agent", "export", "support-copilot", "--format", "a2a", "--unsigned").json
    ran = signed_in("agent", "import", card, "--format", "oasf")
    assert ran.code == 0
    keys.write_text("not json")
    assert signed_in("agent", "import", card, "--keys", keys).code == 1
