"""An unsafe or unknown setting refuses to start."""

from __future__ import annotations

from pathlib import Path

import pytest

from accredit.kernel.errors import InvalidInputError
from accredit.settings import Settings, load_settings


@pytest.mark.requirement("settings:strict:unknown")
@pytest.mark.parametrize(
    "environ",
    [
        {"ACCREDIT_PROT": "8700"},
        {"ACCREDIT_PORT": "eighty"},
        {"ACCREDIT_HOST": "0.0.0.0"},  # noqa: S104 - the unsafe value under test
        {"ACCREDIT_HOST": "0.0.0.0", "ACCREDIT_PUBLIC_URL": "http://agents.example.com"},  # noqa: S104
        {"ACCREDIT_HOST": "example.com"},
        {"ACCREDIT_PUBLIC_URL": "https://agents.example.com/"},
    ],
)
def test_an_unknown_or_unsafe_setting_refuses_to_start(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        load_settings(None, environ)


@pytest.mark.requirement("settings:strict:order")
def test_the_environment_overrides_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    (tmp_path / "accredit.toml").write_text('port = 1\nhold_minutes = 3\nallowed_hosts = ["a.example"]\n')
    settings = load_settings(tmp_path, {"ACCREDIT_PORT": "2", "ACCREDIT_TOKEN": "not a setting"}, port=3, host=None)
    assert (settings.port, settings.hold_minutes, settings.allowed_hosts) == (3, 3, ("a.example",))


@pytest.mark.requirement("settings:strict:order")
def test_defaults_listen_on_loopback_only() -> None:
    assert Settings().host == "127.0.0.1"
    assert Settings().url(8700) == "http://127.0.0.1:8700"


@pytest.mark.requirement("settings:strict:unknown")
def test_a_broken_settings_file_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "accredit.toml").write_text("port = = 1")
    with pytest.raises(InvalidInputError):
        load_settings(tmp_path, {})
