"""The action for pull requests and the hooks: what they run, run here. Not verified on the forge itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_HOME = _ROOT / "integrations/github"
_ACTION: dict[str, Any] = yaml.safe_load((_HOME / "action.yml").read_text())
_STEPS = {step["name"]: step for step in _ACTION["runs"]["steps"]}
_FAKE = """#!/bin/sh
printf '%s\\n' "$*" >> calls.txt
[ "$2" = simulate ] || exit 0
printf '# report\\n' > accredit-policy.md
exit "${FAKE_CODE:-0}"
"""


def _run(place: Path, name: str, *, fake: str = _FAKE, **environ: str) -> subprocess.CompletedProcess[str]:
    """One step as the runner runs it: its script in bash, its inputs in the environment."""
    binary = place / "bin"
    binary.mkdir(exist_ok=True)
    (binary / "accredit").write_text(fake)
    (binary / "accredit").chmod(0o755)
    given = {"PATH": f"{binary}:/usr/bin:/bin", "GITHUB_STEP_SUMMARY": str(place / "summary"),
             "GITHUB_OUTPUT": str(place / "output"), "HOME": str(place)}  # fmt: skip
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", _STEPS[name]["run"]],
        cwd=place, env=given | environ, capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip


@pytest.mark.requirement("policy:ci:action")
def test_no_input_is_ever_part_of_a_script() -> None:
    for step in _STEPS.values():
        assert "${{" not in step["run"], step["name"]
        assert step["shell"] == "bash"
        assert not re.search(r"--token|Bearer|set -x", step["run"])
    secrets = [step["name"] for step in _STEPS.values() if "inputs.token" in json.dumps(step.get("env", {}))]
    assert secrets == ["Lint", "Test", "Simulate", "Diff"]


@pytest.mark.requirement("policy:ci:action")
def test_it_lints_tests_simulates_and_says_whether_something_would_break(tmp_path: Path) -> None:
    hostile = "--help; touch owned"
    for name in ("Lint", "Test"):
        assert _run(tmp_path, name, DIRECTORY=hostile).returncode == 0
    calls = (tmp_path / "calls.txt").read_text().splitlines()
    assert calls == [f"policy lint -- {hostile}", f"policy test --junit accredit-policy.xml -- {hostile}"]
    assert not (tmp_path / "owned").exists()
    for code, fails, left, breaks in (("0", "true", 0, "false"), ("8", "true", 8, "true"), ("8", "false", 0, "true"),
                                      ("1", "false", 1, "false")):  # fmt: skip
        (tmp_path / "output").write_text("")
        ran = _run(tmp_path, "Simulate", DIRECTORY="policies", SINCE="7d", FAIL_ON_BREAK=fails, FAKE_CODE=code)
        assert ran.returncode == left, ran
        assert (tmp_path / "output").read_text() == f"breaks={breaks}\n"
    assert "# report" in (tmp_path / "summary").read_text()


@pytest.mark.requirement("cli:gitops:action")
def test_it_shows_what_applying_would_do_and_fails_on_a_difference_only_if_asked(tmp_path: Path) -> None:
    fake = "#!/bin/sh\nprintf '%s\\n' \"$*\" >> calls.txt\nprintf '# not a heading\\n'\nexit \"${FAKE_CODE:-0}\"\n"
    for code, fails, left, differs in (("0", "false", 0, "false"), ("3", "false", 0, "true"), ("3", "true", 3, "true"),
                                       ("1", "false", 1, "false")):  # fmt: skip
        (tmp_path / "output").write_text("")
        given = {"MANIFESTS": "--help; touch owned", "FAIL_ON_DIFF": fails, "FAKE_CODE": code}
        ran = _run(tmp_path, "Diff", fake=fake, **given)
        assert ran.returncode == left, ran
        assert (tmp_path / "output").read_text() == f"differs={differs}\n"
    assert set((tmp_path / "calls.txt").read_text().splitlines()) == {"diff --file=--help; touch owned"}
    assert not (tmp_path / "owned").exists()
    assert "\n    # not a heading\n" in (tmp_path / "summary").read_text()


class _Forge(BaseHTTPRequestHandler):
    comments: list[dict[str, Any]]
    asked: list[tuple[str, str]]

    def _answer(self, body: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def _body(self) -> dict[str, Any]:
        assert self.headers["authorization"] == "Bearer t0ken"
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        return found

    def do_GET(self) -> None:
        self._body()
        page = int(self.path.rpartition("=")[2])
        self._answer(type(self).comments[(page - 1) * 100 : page * 100])

    def do_POST(self) -> None:
        type(self).asked.append(("POST", self.path))
        type(self).comments.append({"id": len(type(self).comments), **self._body()})
        self._answer({})

    def do_PATCH(self) -> None:
        type(self).asked.append(("PATCH", self.path))
        type(self).comments[int(self.path.rpartition("/")[2])] |= self._body()
        self._answer({})

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _forge() -> Iterator[str]:
    _Forge.comments, _Forge.asked = [{"id": number, "body": "something"} for number in range(150)], []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Forge) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.requirement("policy:ci:comment")
def test_the_report_is_one_comment_that_is_updated_in_place(tmp_path: Path) -> None:
    report = tmp_path / "r.md"
    with _forge() as url:
        environ = {
            **os.environ,
            "GITHUB_API_URL": url,
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_TOKEN": "t0ken",
            "NUMBER": "7",
        }
        for text in ("first", "second " + "x" * 80_000):
            report.write_text(text)
            ran = subprocess.run([sys.executable, _HOME / "comment.py", report], env=environ, capture_output=True,
                                 text=True, check=False, timeout=30)  # fmt: skip
            assert ran.returncode == 0, ran
            assert "t0ken" not in ran.stdout + ran.stderr
        absent = subprocess.run([sys.executable, _HOME / "comment.py", tmp_path / "none"], env=environ, check=False)
        assert absent.returncode == 0
    assert _Forge.asked == [("POST", "/repos/o/r/issues/7/comments"), ("PATCH", "/repos/o/r/issues/comments/150")]
    assert _Forge.comments[150]["body"].startswith("<!-- accredit policy simulation -->\nsecond")
    assert len(_Forge.comments[150]["body"]) < 65_536


@pytest.mark.requirement("policy:ci:hook")
def test_the_hooks_call_commands_that_are_there(cli: Any) -> None:
    hooks = yaml.safe_load((_ROOT / ".pre-commit-hooks.yaml").read_text())
    assert [hook["id"] for hook in hooks] == [f"accredit-policy-{one}" for one in ("test", "lint", "simulate")]
    for hook in hooks:
        words = [*hook["entry"].split()[1:], *hook["args"]]
        ran = cli(*words)
        assert ran.code == 6, "no such directory here"
        assert "policies" in ran.err
