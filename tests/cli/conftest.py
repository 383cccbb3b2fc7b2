"""One installation for this folder's tests, and the command line as its users run it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.cli.commands import app
from accredit.cli.faults import reported
from accredit.cli.profile import Profile, save_profile
from tests.api.installation import Installation, installation


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("cli") / "data") as running:
        yield running


@dataclass(frozen=True)
class Ran:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


Cli = Callable[..., Ran]


def run_command(*arguments: object, stdin: str = "") -> Ran:
    """Run one command in this process."""
    words = [str(each) for each in arguments]
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(out), redirect_stderr(err):
        patched.setattr(sys, "stdin", io.StringIO(stdin))
        code = reported(lambda: app(words, exit_on_error=False, result_action="return_value"))
    assert "Traceback" not in err.getvalue()
    return Ran(code, out.getvalue(), err.getvalue())


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs commands in an empty directory, with a profile of its own and nobody signed in."""
    for name in [name for name in os.environ if name.startswith("ACCREDIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ACCREDIT_PROFILE", str(tmp_path / "profile.json"))
    monkeypatch.chdir(tmp_path)
    return run_command


@pytest.fixture
def signed_in(cli: Cli, place: Installation, tmp_path: Path) -> Cli:
    """The same, signed in as the admin."""
    save_profile({"ACCREDIT_PROFILE": str(tmp_path / "profile.json")}, Profile(place.url, place.token))
    return cli
