"""What README tells a newcomer, done as it stands there, with the programs themselves."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

_ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent
_PATIENCE_S = 60
_TOLD = {
    "http://127.0.0.1:8700/login#…": r"http://127\.0\.0\.1:\d+/login#[\w-]+",
    "acce_…": r"acce_[\w-]+",
    "accj_…": r"accj_[\w-]+",
    "apr_…": r"apr_\w+",
    "crd_…": r"crd_\w+",
}
"""What README elides, and how a command's output says it; the newest counts."""
_PERSON = re.compile(r"^  (\w+) +\S.* (http://127\.0\.0\.1:\d+/login#\S+)$")
_LINK = re.compile(r"accredit login '(http://127\.0\.0\.1:\d+/login#\S+)'")

pytestmark = pytest.mark.timeout(180)


def _section() -> str:
    readme = (_ROOT / "README.md").read_text()
    start = readme.index("## Your own agent")
    return readme[start : readme.index("\n## ", start)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class _Terminal:
    """A shell in which some commands go on running."""

    place: Path
    environ: dict[str, str]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-c", line], cwd=self.place, env=self.environ, capture_output=True, text=True,
                              timeout=_PATIENCE_S, check=False)  # fmt: skip

    def answer(self, line: str, answer: str) -> subprocess.CompletedProcess[str]:
        """Run a command that asks, as somebody at the keyboard who answers."""
        keyboard, terminal = pty.openpty()
        try:
            os.write(keyboard, answer.encode())
            return subprocess.run(["bash", "-c", line], cwd=self.place, env=self.environ, stdin=terminal, text=True,
                                  capture_output=True, timeout=_PATIENCE_S, check=False)  # fmt: skip
        finally:
            os.close(keyboard)
            os.close(terminal)

    def start(self, line: str) -> subprocess.Popen[str]:
        one = subprocess.Popen(["bash", "-c", f"exec {line}"], cwd=self.place, env=self.environ,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
        self.running.append(one)
        return one

    def close(self) -> None:
        for one in self.running:
            if one.poll() is None:
                one.terminate()
            one.communicate(timeout=_PATIENCE_S)


@contextlib.contextmanager
def _terminal(place: Path) -> Iterator[_Terminal]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ACCREDIT_")}
    environ |= {"HOME": str(place), "XDG_CONFIG_HOME": str(place / "config"), "PYTHONUNBUFFERED": "1"}
    terminal = _Terminal(place, environ)
    try:
        yield terminal
    finally:
        terminal.close()


def _said(one: subprocess.Popen[str], wanted: re.Pattern[str]) -> tuple[str, list[str]]:
    """What a running program says until the line that matches; ended if it takes too long."""
    watchdog = threading.Timer(_PATIENCE_S, one.kill)
    watchdog.start()
    lines = []
    try:
        assert one.stdout is not None
        for line in one.stdout:
            lines.append(line)
            if match := wanted.search(line):
                return match[match.lastindex or 0], lines
    finally:
        watchdog.cancel()
    pytest.fail(f"it ended without saying {wanted.pattern}: {''.join(lines)}")


def _wait_for(port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    pytest.fail(f"nothing listens on {port}")


def _ends(one: subprocess.Popen[str], number: signal.Signals) -> None:
    one.send_signal(number)
    out, _ = one.communicate(timeout=_PATIENCE_S)
    assert one.returncode == 0, out
    assert "Traceback" not in out


@pytest.mark.requirement("cli:newcomer:readme")
@pytest.mark.requirement("cli:newcomer:survives")
def test_readme_leads_from_nothing_to_production_and_to_retirement_and_a_restart_goes_on(tmp_path: Path) -> None:
    section = _section()
    (shown,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert shown.strip() in (_ROOT / "examples/agent.py").read_text(), "README shows the example as it is"
    lines = [
        line[2:] for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]
    assert len(lines) >= 14
    crm_port, port = _free_port(), _free_port()
    shutil.copytree(_ROOT / "examples", tmp_path / "examples")
    for file in (tmp_path / "examples").rglob("*"):
        if file.suffix in {".py", ".yaml"}:
            file.write_text(file.read_text().replace("9001", str(crm_port)).replace("8700", str(port)))
    told: dict[str, str] = {}
    outputs: dict[str, str] = {}
    with _terminal(tmp_path) as terminal:
        for line in lines:
            command = line.replace(".venv/bin", str(_BIN)).replace("9001", str(crm_port))
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                terminal.environ[name] = value
            elif "accredit up" in command:
                server = terminal.start(f"{command} --port {port}")
                told["http://127.0.0.1:8700/login#…"], _ = _said(server, _LINK)
            elif "examples/crm.py" in command:
                terminal.start(command)
                _wait_for(crm_port)
            else:
                for elided, actual in told.items():
                    command = command.replace(elided, actual)
                assert "…" not in command, line
                if command.endswith(" &"):
                    instance = terminal.start(command.removesuffix(" &"))
                    told["--thumbprint …"], _ = _said(instance, re.compile(r"thumbprint is (\S+)"))
                    told["--thumbprint …"] = f"--thumbprint {told['--thumbprint …']}"
                    continue
                ran = terminal.answer(command, "y\n") if " vote " in command else terminal.run(command)
                # what waits for somebody else says so; whoever is asked next finds it
                waits = "role grant" in line or "production/crm.yaml" in line or "policy diff" in line
                breaks = "policy simulate" in line
                assert ran.returncode == (3 if waits else 8 if breaks else 0), (line, ran.stdout, ran.stderr)
                assert "Traceback" not in ran.stderr
                outputs[line] = ran.stdout
                for elided, wanted in _TOLD.items():
                    if found := re.search(wanted, ran.stdout):
                        told[elided] = found[0]
                if "audit tail" in line:
                    tail = terminal.run(f"{command} -o json")
                    newest = orjson.loads(tail.stdout)["items"]
                    assert [(one["decision"], one["code"]) for one in newest] == [
                        ("deny", "tool_not_granted"), ("allow", "allowed")
                    ]  # fmt: skip
                    told["dec_…"] = newest[0]["body"]["decision_id"]
                if "credential confirm" in line:
                    said, _ = instance.communicate(timeout=_PATIENCE_S)
                    assert instance.returncode == 0, said
                    assert "{'result': 3}" in said
                    assert "tool_not_granted" in said
        called = next(out for line, out in outputs.items() if "examples/agent.py" in line)
        assert "['count_tickets']" in called
        assert "{'result': 3}" in called
        assert "tool_not_granted" in called
        asked = [out.split()[0] for line, out in outputs.items() if "examples/ask.py" in line]
        assert asked == ["yes", "no:"]
        shown = next(out for line, out in outputs.items() if "agent get" in line)
        assert "lena@example.com" in shown
        assert "crm-live/count_tickets" in shown
        retired = next(out for line, out in outputs.items() if "agent retire" in line)
        assert "credential" in retired
        accredit = _BIN / "accredit"
        found = orjson.loads(terminal.run(f"{accredit} agent list -o json").stdout)["items"]
        assert {(one["environment"], one["state"]) for one in found if one["name"] == "ticket-counter"} == {
            ("development", "draft"), ("production", "retired")
        }  # fmt: skip
        # and the next day
        _ends(server, signal.SIGTERM)
        assert terminal.run(f"{accredit} doctor --data accredit-data").returncode == 0
        assert terminal.run(f"{accredit} agent list").returncode == 1
        again = terminal.start(f"{accredit} up --data accredit-data --port {port}")
        _, before = _said(again, re.compile("^log key: "))
        assert not _LINK.search("".join(before)), "somebody can sign in already: no second link"
        token = orjson.loads(terminal.run(f"{accredit} agent enrol ticket-counter -o json").stdout)["join_token"]
        ran = terminal.run(f"{_BIN}/python examples/agent.py {token}")
        assert "{'result': 3}" in ran.stdout, ran.stderr
        ran = terminal.run(f"{accredit} audit verify accredit-data -o json")
        assert orjson.loads(ran.stdout)["verified"] is True
        assert orjson.loads(ran.stdout)["anchor"] != "none"
        _ends(again, signal.SIGTERM)


@pytest.mark.requirement("cli:newcomer:demo")
def test_up_demo_prints_a_line_per_decision_and_ends_cleanly_on_interrupt(tmp_path: Path) -> None:
    with _terminal(tmp_path) as terminal:
        demo = terminal.start(f"{_BIN}/accredit up --demo --port 0")
        verdict, lines = _said(demo, re.compile(r"^\d\d:\d\d:\d\d  \S+ +crm/\S+ +(allowed|refused|failed)"))
        assert verdict in {"allowed", "refused"}, lines
        links = {found[1]: found[2] for line in lines if (found := _PERSON.match(line))}
        assert set(links) == {"ada", "mira", "dana", "lee", "lena", "sam", "cora", "bo", "otto", "una"}
        for name in ("sam", "dana"):
            assert terminal.run(f"{_BIN}/accredit login '{links[name]}'").returncode == 0
            assert terminal.run(f"{_BIN}/accredit login '{links[name]}'").returncode == 5
            told = orjson.loads(terminal.run(f"{_BIN}/accredit whoami -o json").stdout)
            assert told["email"] == f"{name}@example.com"
        agents = orjson.loads(terminal.run(f"{_BIN}/accredit agent list -o json").stdout)["items"]
        assert {(one["name"], one["state"]) for one in agents if one["environment"] == "production"} == {
            ("ticket-digest", "active"), ("ticket-sorter", "active"), ("refund-clerk", "submitted")
        }  # fmt: skip
        _ends(demo, signal.SIGINT)
    assert [path.name for path in tmp_path.iterdir()] == ["config"]
