"""What the documents list is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accredit.kernel.codes import Code
from accredit.settings import Settings

_ROOT = Path(__file__).parents[2]


@pytest.mark.requirement("kernel:codes:documented")
def test_every_reason_code_is_documented_as_the_code_has_it() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \| (.*?) \|$", (_ROOT / "docs/codes.md").read_text(), re.MULTILINE)
    assert rows == [(str(code), code.meaning, code.remedy) for code in Code]


@pytest.mark.requirement("settings:documented:all")
def test_every_setting_is_documented_with_its_default() -> None:
    text = (_ROOT / "docs/settings.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", text, re.MULTILINE))
    assert documented == {
        name: "" if field.default in ("", ()) else str(field.default) for name, field in Settings.model_fields.items()
    }


@pytest.mark.requirement("architecture:documents:files")
def test_every_file_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`([a-z_]+(?:/[a-z_]+)*\.py)`", (_ROOT / "ARCHITECTURE.md").read_text()))
    assert len(named) > 30
    assert sorted(name for name in named if not (_ROOT / "src/accredit" / name).exists()) == []
