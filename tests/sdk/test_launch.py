"""`accredit run` as a team uses it: their program as it is, a real server, official clients, a real framework."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
import pytest

from accredit.cli.profile import Profile, save_profile
from tests.api.installation import Installation, installation
from tests.gateway.models import Asked, Room, room, writer
from tests.living import living

_T = TypeVar("_T")
_PATIENCE_S: Final = 90
_ACCREDIT: Final = Path(sys.executable).parent / "accredit"

pytestmark = pytest.mark.timeout(240)


@dataclass
class Desk:
    """A server, and a team that starts programs at a shell."""

    room: Room
    loop: asyncio.AbstractEventLoop
    home: Path
    key: str = ""

    def do(self, story: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(story, self.loop).result(_PATIENCE_S)

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ACCREDIT_", "OPENAI_"))}
        given = {"ACCREDIT_URL": self.room.at.url, "ACCREDIT_AGENT_KEY": self.key, "ACCREDIT_AGENT": "writer"}
        return kept | {"HOME": str(self.home), "PYTHONUNBUFFERED": "1", "OPENAI_API_KEY": "sk-own"} | given | more

    def start(
        self,
        *command: str,
        server: tuple[str, ...] = ("--server", "crm"),
        options: tuple[str, ...] = (),
        **environ: str,
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(_ACCREDIT), "run", *server, *options, "--", *command],
            cwd=self.home, env=self.environ(**environ), text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *command: str, **more: Any) -> Ran:
        started = self.start(*command, **more)
        out, err = started.communicate(timeout=_PATIENCE_S)
        assert self.key not in out + err
        return Ran(started.returncode, out, err)

    def python(self, program: str, **more: Any) -> Ran:
        return self.run(sys.executable, self.script(program), **more)

    def script(self, program: str) -> str:
        path = self.home / "agent.py"
        path.write_text(textwrap.dedent(program))
        return str(path)


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    data = tmp_path_factory.mktemp("launch") / "data"
    one = writer()
    one["spec"]["tools"] = [{"server": "crm", "allow": ["read", "refund"]}]
    with living(room(data, one)) as (there, loop):
        desk = Desk(there, loop, data.parent)
        desk.key = desk.do(there.at.operator.post("agents/writer/keys", {"days": 30}))["key"]
        yield desk


@pytest.fixture
def desk(shared: Desk, tmp_path: Path) -> Desk:
    return Desk(shared.room, shared.loop, tmp_path, shared.key)


# -- models


@pytest.mark.requirement("sdk:run:clients")
def test_official_clients_of_models_need_no_change(desk: Desk) -> None:
    ran = desk.python(
        """
        import anthropic, openai

        asked = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}]}
        client = openai.OpenAI()
        print(client.chat.completions.create(**asked).choices[0].message.content)
        print("".join(each.choices[0].delta.content or "" for each in
                      client.chat.completions.create(**asked, stream=True) if each.choices))
        said = anthropic.Anthropic().messages.create(
            model="claude-x", max_tokens=100, messages=[{"role": "user", "content": "hi"}])
        print(said.content[0].text)
        try:
            client.chat.completions.create(**asked | {"model": "gpt-dear"})
        except openai.APIStatusError as error:
            print(error.status_code, error.code)
        """
    )
    assert ran.out.splitlines()[:3] == ["Hello", "Hello", "Hello"], ran
    assert ran.out.splitlines()[3].startswith(("403 ", "404 ")), ran
    assert ran.code == 0
    keys = {asked.headers.get("x-key") for asked in desk.room.provider.asked}
    assert keys == {"sk-brokered-0123456789abcdef"}


# -- tools of a framework

_AGENT: Final = """
    import sys
    from agents import Agent, Runner, function_tool

    @function_tool
    def read(customer_id: str) -> str:
        print("ran read", customer_id)
        return "customer is Kim"

    @function_tool
    def refund(cents: int) -> str:
        print("ran refund", cents)
        return "refunded"

    @function_tool
    def count() -> str:
        print("ran count")
        return "3"

    agent = Agent(name="desk", model="gpt-x", tools=[read, refund, count])
    for line in sys.stdin:
        print("said", Runner.run_sync(agent, line).final_output, flush=True)
"""
"""Does what each line says, as far as its model wants to."""


def _model(asked: Asked) -> Any:
    """A model that calls the tool it was told to, and then repeats what it was answered."""
    given = asked.json["input"]
    found = [item["output"] for item in given if item.get("type") == "function_call_output"]
    text = {"type": "output_text", "text": str(found[-1]) if found else "", "annotations": []}
    item: dict[str, Any] = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
    if not found:
        name, _, arguments = given[0]["content"].strip().partition(" ")
        item = {"type": "function_call", "id": "f", "call_id": "c", "name": name, "arguments": arguments,
                "status": "completed"}  # fmt: skip
    return {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-x",
            "output": [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
            "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
                      "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 12}}  # fmt: skip


@contextlib.contextmanager
def _at_work(desk: Desk, **how: Any) -> Iterator[Callable[..., str]]:
    """The agent, which answers whether a tool ran and what it was told of it."""
    desk.room.provider._whole = _model  # type: ignore[method-assign]
    started = desk.start(sys.executable, desk.script(_AGENT), **how)
    watchdog = threading.Timer(_PATIENCE_S, started.kill)
    watchdog.start()
    assert started.stdin is not None
    assert started.stdout is not None
    lines = started.stdout

    def asked(tool: str, **arguments: Any) -> str:
        assert started.stdin is not None
        started.stdin.write(f"{tool} {json.dumps(arguments)}\n")
        started.stdin.flush()
        found = ""
        while not found or not found.splitlines()[-1].startswith("said"):
            line = lines.readline()
            assert line, started.communicate()
            found += line
        return found

    try:
        yield asked
        assert started.communicate(timeout=_PATIENCE_S)[0] == ""
        assert started.returncode == 0
    finally:
        watchdog.cancel()
        started.kill()
        started.wait()
        for pipe in (started.stdin, started.stdout, started.stderr):
            assert pipe is not None
            pipe.close()
        del desk.room.provider._whole


def _refusal(answer: str) -> dict[str, Any]:
    """It did not run, and this is why."""
    assert answer.startswith("said {")
    return dict(json.loads(answer.removeprefix("said ")))


@pytest.mark.requirement("sdk:run:frameworks")
def test_a_stock_agent_is_allowed_denied_and_held_without_a_change(desk: Desk) -> None:
    with _at_work(desk) as call:
        assert call("read", customer_id="c-1") == "ran read c-1\nsaid customer is Kim\n"
        assert _refusal(call("count"))["code"] == "tool_not_granted"
        waiting = _refusal(call("refund", cents=500))
        assert waiting["code"] == "approval_required"
    with _at_work(desk) as call:  # a program that is started anew finds the same request
        assert _refusal(call("refund", cents=500))["hold"] == waiting["hold"]
        desk.do(desk.room.at.operator.answer_hold(waiting["hold"], "approve"))
        assert call("refund", cents=500) == "ran refund 500\nsaid refunded\n"
        again = _refusal(call("refund", cents=500))
        assert again["hold"] != waiting["hold"]
        desk.do(desk.room.at.operator.answer_hold(again["hold"], "deny"))
        assert _refusal(call("refund", cents=500))["code"] == "not_approvable"
    desk.do(desk.room.at.settled())
    advised = [body["code"] for _, body in desk.room.at.records("advice")]
    assert {"allowed", "tool_not_granted", "held"} <= set(advised)


@pytest.mark.requirement("sdk:run:frameworks")
def test_tools_are_named_on_the_command_line_and_what_is_not_named_is_refused(desk: Desk) -> None:
    unchecked = {"ACCREDIT_UNCHECKED_TOOLS": "refund"}
    with _at_work(desk, server=(), options=("--tool", "read=crm/read"), **unchecked) as call:
        assert "ran read" in call("read", customer_id="c-1")
        assert "ran refund" in call("refund", cents=1)
        assert _refusal(call("count"))["code"] == "action_unknown"


_GRAPH: Final = """
    from langchain_core.tools import tool
    from langgraph.prebuilt import ToolNode
    from langgraph.graph import START, MessagesState, StateGraph
    from langchain_core.messages import AIMessage

    @tool
    def count() -> str:
        "Count."
        print("ran count")
        return "3"

    graph = StateGraph(MessagesState)
    graph.add_node("tools", ToolNode([count]))
    graph.add_edge(START, "tools")
    called = {"name": "count", "args": {}, "id": "1", "type": "tool_call"}
    print("said", graph.compile().invoke({"messages": [AIMessage("", tool_calls=[called])]})["messages"][-1].content)
    print("said", count.invoke({}))
"""


@pytest.mark.requirement("sdk:run:frameworks")
def test_a_graph_of_ones_own_is_governed_like_an_agent(desk: Desk) -> None:
    ran = desk.python(_GRAPH)
    assert ran.code == 0, ran
    assert [json.loads(line.removeprefix("said "))["code"] for line in ran.out.splitlines()] == ["tool_not_granted"] * 2


@pytest.mark.requirement("sdk:run:closed")
def test_a_framework_that_cannot_be_governed_is_not_imported_and_ones_own_module_of_its_name_is(desk: Desk) -> None:
    packages = desk.home / "packages"
    (packages / "strands").mkdir(parents=True)
    (packages / "strands" / "__init__.py").write_text("print('loaded')\n")
    (packages / "strands" / "tools.py").write_text("print('tools')\n")
    path = f"{packages}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    program = """
        for name in ("strands", "strands.tools"):
            try:
                __import__(name)
            except ImportError as error:
                print("refused", str(error)[:30])
    """
    assert desk.python(program, PYTHONPATH=path).out.splitlines() == ["loaded", "tools"]
    (packages / "strands" / "types").mkdir()
    (packages / "strands" / "types" / "tools.py").write_text("")  # a copy of the framework, or of some version of it
    ran = desk.python(program, PYTHONPATH=path)
    assert sum(line.startswith("refused") for line in ran.out.splitlines()) == 2, ran
    (packages / "strands" / "types" / "tools.py").unlink()
    (packages / "strands_agents-9.9.dist-info").mkdir()
    (packages / "strands_agents-9.9.dist-info" / "METADATA").write_text("Name: strands-agents\nVersion: 9.9\n")
    ran = desk.python(program, PYTHONPATH=path)
    refused = [line for line in ran.out.splitlines() if line.startswith("refused")]
    assert len(refused) == 2, ran


@pytest.mark.requirement("sdk:run:closed")
def test_a_python_without_the_sdk_does_not_start_the_program(desk: Desk) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", desk.home / "bare"], check=True, timeout=60)
    ran = desk.run(str(desk.home / "bare/bin/python"), "-c", "print('started')")
    assert (ran.code, ran.out) == (78, "")
    assert "cannot be governed" in ran.err
    for given in (["-I"], ["-W", "ignore", "-bE"], ["-S"]):
        ran = desk.run(sys.executable, *given, "-c", "print('started')")
        assert (ran.code, ran.out) == (1, "")


@pytest.mark.requirement("sdk:run:closed")
def test_a_sitecustomize_of_ones_own_is_still_loaded(desk: Desk) -> None:
    (desk.home / "own").mkdir()
    (desk.home / "own" / "sitecustomize.py").write_text("print('own')\n")
    path = f"{desk.home / 'own'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    # the command is a Python program too
    assert desk.python("print('program')", PYTHONPATH=path).out.splitlines() == ["own", "own", "program"]


# -- the credential


@pytest.mark.requirement("sdk:run:credential")
def test_nothing_starts_without_a_credential_that_is_accepted(desk: Desk) -> None:
    marks = str(desk.home / "started")
    for environ, code, said in (
        ({"ACCREDIT_AGENT_KEY": ""}, 1, "no credential"),
        ({"ACCREDIT_IDENTITY": "x.json"}, 1, "two credentials"),
        ({"ACCREDIT_AGENT": ""}, 1, "whose key"),
        ({"ACCREDIT_AGENT_KEY": "acca_nobody"}, 5, "not accepted"),
        ({"ACCREDIT_URL": "http://accredit.example.com"}, 1, "https"),
    ):
        more: dict[str, Any] = dict(environ)
        started = desk.start("touch", marks, **more)
        _, err = started.communicate(timeout=_PATIENCE_S)
        assert (started.returncode, said in err) == (code, True), err
        assert "nobody" not in err
    limited = desk.do(desk.room.at.operator.post("agents/writer/keys", {"days": 1, "path": "/llm"}))["key"]
    assert desk.run("touch", marks, ACCREDIT_AGENT_KEY=limited).code == 5
    assert not Path(marks).exists()


@pytest.mark.requirement("sdk:run:credential")
def test_the_program_is_given_a_secret_of_its_run_and_no_other(desk: Desk) -> None:
    program = """
        import json, os, urllib.request
        from pathlib import Path

        url, key = os.environ["ACCREDIT_URL"], os.environ["OPENAI_API_KEY"]
        parent = Path(f"/proc/{os.getppid()}/cmdline").read_text()
        answers = []
        for given, path in ((key, "/api/v1/agents"), (key, "/mcp/../api/v1/agents"), (key, "/access/v1/%2e%2e/x"),
                            ("run_x", "/llm/openai/v1/models"), (key, "/llm/openai/v1/models")):
            request = urllib.request.Request(url + path, headers={"authorization": "Bearer " + given})
            try:
                answers.append(urllib.request.urlopen(request).status)
            except urllib.error.HTTPError as error:
                answers.append(error.code)
        print(json.dumps({"environ": dict(os.environ), "parent": parent, "answers": answers}))
    """
    own = dict.fromkeys(("ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN", "OPENAI_ADMIN_KEY"), "sk-past-the-gateway")
    ran = desk.python(
        program,
        HTTPS_PROXY="http://127.0.0.1:1",
        ACCREDIT_TOKEN="acct_of-a-person",
        CLAUDE_CODE_USE_BEDROCK="1",
        **own,
    )
    told = json.loads(ran.out)
    environ = told["environ"]
    assert told["answers"] == [404, 404, 404, 401, 200]
    assert desk.key not in ran.out
    assert "acct_of-a-person" not in ran.out
    assert "sk-past-the-gateway" not in ran.out
    assert "CLAUDE_CODE_USE_BEDROCK" not in environ
    assert environ["OPENAI_API_KEY"] == environ["ANTHROPIC_API_KEY"] == environ["ACCREDIT_AGENT_KEY"]
    assert environ["OPENAI_API_KEY"] not in told["parent"]
    assert environ["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    with pytest.raises(httpx2.ConnectError):  # nobody is there any more
        httpx2.get(environ["ACCREDIT_URL"], trust_env=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("enrolled") / "data") as running:
        yield running


@pytest.mark.requirement("sdk:run:credential")
def test_an_instance_enrols_once_and_runs_by_its_file_from_then_on(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_profile({"ACCREDIT_PROFILE": str(tmp_path / "profile.json")}, Profile(place.url, place.token))
    with place.client() as http:
        join = http.post("/api/v1/agents/ticket-counter/join-tokens", json={}).json()["join_token"]
    program = tmp_path / "agent.py"
    program.write_text(
        textwrap.dedent(
            """
            import os
            from accredit.sdk.guarded import GuardedTools

            tools = GuardedTools.from_environment(os.environ)
            print(tools.check("count_tickets", {}).code, tools.check("read_customer", {"customer_id": "c-1"}).code)
            """
        )
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ACCREDIT_")}
    environ |= {"ACCREDIT_PROFILE": str(tmp_path / "profile.json"), "ACCREDIT_JOIN_TOKEN": join}
    for _ in range(2):  # the join token is used once, and then the file
        ran = subprocess.run(
            [_ACCREDIT, "run", "--identity", tmp_path / "id.json", "--server", "crm", "--", sys.executable, program],
            env=environ, capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
        )  # fmt: skip
        assert ran.stdout.split() == ["allowed", "tool_not_granted"], ran
        assert join not in ran.stdout + ran.stderr
    assert (tmp_path / "id.json").stat().st_mode & 0o077 == 0


# -- as a program among programs


@pytest.mark.requirement("sdk:run:transparent")
def test_exit_codes_are_the_programs(desk: Desk) -> None:
    assert desk.python("raise SystemExit(3)").code == 3
    assert desk.run("sh", "-c", "exit 42").code == 42
    assert desk.run("sh", "-c", "kill -KILL $$").code == 128 + signal.SIGKILL
    assert desk.run("no-such-program").code == 127
    plain = desk.home / "plain"
    plain.write_text("x")
    assert desk.run(str(plain)).code == 126
    ran = desk.run()
    assert (ran.code, "no program" in ran.err) == (1, True)


@pytest.mark.requirement("sdk:run:transparent")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signals_reach_the_program(desk: Desk, name: str) -> None:
    program = f"""
        import signal, time

        def stop(number, _):
            print("got", signal.Signals(number).name, flush=True)
            raise SystemExit(7)

        signal.signal(signal.{name}, stop)
        print("ready", flush=True)
        while True:
            time.sleep(0.05)
    """
    started = desk.start(sys.executable, desk.script(program))
    watchdog = threading.Timer(_PATIENCE_S, started.kill)
    watchdog.start()
    try:
        assert started.stdout is not None
        assert started.stdout.readline() == "ready\n"
        started.send_signal(getattr(signal, name))
        assert started.stdout.readline() == f"got {name}\n"
        assert started.wait(_PATIENCE_S) == 7
    finally:
        watchdog.cancel()
        started.kill()
        started.communicate()


@pytest.mark.requirement("sdk:run:transparent")
def test_nothing_starts_where_no_server_answers(desk: Desk) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    ran = desk.run("sh", "-c", "echo started", ACCREDIT_URL=nobody)
    assert (ran.code, ran.out) == (1, "")
    assert "upstream_unreachable" in ran.err
