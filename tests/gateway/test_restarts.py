"""What a client finds of its tasks and questions when the process was started anew, in order or after kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from accredit.demo.world import DemoPerson
from accredit.gateway import mcptasks
from accredit.offline import check_log
from accredit.sdk.identity import AsyncAgentIdentity
from accredit.serving import bound
from tests.enforcement.place import SECRET, WORKER, Place, Site, ToolBox, agent, document, site, tool
from tests.families import family
from tests.gateway.stage import RawServer, Seen, answer_ok, http_json, legacy, modern, tool_result
from tests.policies import with_cases

_ROOT = Path(__file__).parents[2]
_TASKS: dict[str, Any] = {"extensions": {mcptasks.TASKS: {}}}
_FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
_REFUND: dict[str, Any] = {"name": "refund", "arguments": {"cents": 4_711}}
_READ: dict[str, Any] = {"name": "read", "arguments": {"customer_id": "a-secret-customer"}}
_OTHER = agent("other", [{"allow": ["read", "refund"]}])


def _about(task: str, method: str = "tasks/get") -> tuple[bytes, dict[str, str]]:
    body, headers = modern(method, {"taskId": task}, capabilities=_TASKS)
    return body, headers | {"mcp-name": task}


async def _ask(at: Place, token: str, task: str, method: str = "tasks/get") -> dict[str, Any]:
    answer = (await at.post(token, *_about(task, method))).json()
    assert "result" in answer, answer
    return dict(answer["result"])


async def _code(at: Place, token: str, task: str) -> str:
    return str((await at.post(token, *_about(task))).json()["error"]["data"]["code"])


async def _begin(
    at: Place, token: str, params: dict[str, Any], capabilities: dict[str, Any] = _TASKS
) -> dict[str, Any]:
    answer = await at.post(token, *modern(params=params, capabilities=capabilities))
    return dict(answer.json()["result"])


async def _goes_on(writer: asyncio.StreamWriter, seen: Seen) -> None:
    result = {"resultType": "task", "taskId": "theirs", "status": "working", "ttlMs": None}
    writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))


@asynccontextmanager
async def _held(here: Site) -> AsyncIterator[tuple[Place, str, dict[str, Any]]]:
    """A process, a token, and a call of its agent that waits for a person."""
    async with here.started() as at:
        await here.register(at, WORKER, _OTHER)
        token = await at.token("worker")
        begun = await _begin(at, token, _REFUND)
        assert (begun["resultType"], begun["status"]) == ("task", "working")
        yield at, token, begun


# -- in order


@pytest.mark.requirement("gateway:tasks:kept", "gateway:tasks:own")
def test_a_held_call_goes_on_waiting_over_a_restart_runs_once_and_is_told_over_another(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with _held(here) as (at, token, begun):
                task = begun["taskId"]
            async with here.started() as at:
                assert await _ask(at, token, task) == begun | {"resultType": "complete"}
                assert await _code(at, await at.token("other"), task) == "mcp_task_unknown"
                assert await _code(at, await at.token("worker", user="kim"), task) == "mcp_task_unknown"
                (hold,) = (await at.operator.get("holds"))["items"]
                await at.operator.answer_hold(hold["id"], "approve")
            async with here.started() as at:
                done = await _ask(at, token, task)
                assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "ok")
            async with here.started() as at:
                assert await _ask(at, token, task) == done
                assert await _code(at, await at.token("other"), task) == "mcp_task_unknown"
                assert [call["arguments"] for call in here.box.calls] == [_REFUND["arguments"]]
            here.verified()

    asyncio.run(live())


@pytest.mark.requirement("gateway:tasks:kept", "gateway:tasks:ended")
def test_what_was_cancelled_or_denied_before_a_restart_stays_so(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with _held(here) as (at, token, begun):
                other = (await _begin(at, token, {"name": "refund", "arguments": {"cents": 1}}))["taskId"]
                await _ask(at, token, begun["taskId"], "tasks/cancel")
                holds = (await at.operator.get("holds"))["items"]
                for hold in holds:
                    await at.operator.answer_hold(hold["id"], "deny")
                denied = await _ask(at, token, other)
                assert denied["result"]["structuredContent"]["code"] == "hold_denied"
            async with here.started() as at:
                assert (await _ask(at, token, begun["taskId"]))["status"] == "cancelled"
                assert await _ask(at, token, other) == denied
                assert here.box.calls == []

    asyncio.run(live())


class _Theirs:
    """The task `theirs` of a tool server, as it tells of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.state: dict[str, Any] = {"status": "working"}

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        message = seen.message
        self.asked.append((message["method"], message["params"]["taskId"]))
        result = {"resultType": "complete", "taskId": "theirs", "ttlMs": None, **self.state}
        writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": result}))


@asynccontextmanager
async def _left_behind(here: Site) -> AsyncIterator[tuple[str, str, _Theirs]]:
    """A token, a task, and the tool server's own, which it went on with for a process that is gone."""
    theirs = here.box.tasks = _Theirs()
    here.box.answer = _goes_on
    async with here.started() as at:
        await here.register(at, WORKER)
        token = await at.token("worker")
        task = (await _begin(at, token, _READ))["taskId"]
    yield token, task, theirs


@pytest.mark.requirement("gateway:tasks:taken-up", "gateway:tasks:kept")
def test_a_tool_servers_task_is_asked_about_again_after_a_restart_and_its_call_is_made_once(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here, _left_behind(here) as (token, task, theirs):
            async with here.started() as at:
                assert (await _ask(at, token, task))["status"] == "working"
                assert await _code(at, await at.token("worker", user="kim"), task) == "mcp_task_unknown"
            theirs.state = {"status": "completed", "result": tool_result("done at last")}
            async with here.started() as at:
                told = await _ask(at, token, task)
                assert (told["status"], told["result"]["content"][0]["text"]) == ("completed", "done at last")
                await at.settled()
                first, *again = [body for _, body in at.records("decision")]
                ends = {body["decision_id"]: body["code"] for _, body in at.records("outcome")}
                assert [ends[each["decision_id"]] for each in (first, *again)] == [
                    "outcome_unknown", "outcome_unknown", None
                ]  # fmt: skip
                assert [each["reservation"]["cost"] for each in again] == [0, 0], "it was paid for when it was made"
                assert await at.limits("worker")
            async with here.started() as at:
                assert await _ask(at, token, task) == told
            assert len(here.box.calls) == 1
            assert theirs.asked == [("tasks/get", "theirs")] * 2
            here.verified()

    asyncio.run(live())


@pytest.mark.requirement("gateway:tasks:taken-up")
def test_a_tool_servers_task_can_be_cancelled_after_a_restart(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here, _left_behind(here) as (token, task, theirs):
            async with here.started() as at:
                await _ask(at, token, task, "tasks/cancel")
                assert (await _ask(at, token, task))["status"] == "cancelled"
                async with asyncio.timeout(10):
                    while ("tasks/cancel", "theirs") not in theirs.asked:
                        await asyncio.sleep(0.01)
            async with here.started() as at:
                assert (await _ask(at, token, task))["status"] == "cancelled"

    asyncio.run(live())


@pytest.mark.requirement("gateway:tasks:taken-up", "gateway:tasks:kept")
@pytest.mark.parametrize("what", ["granted no more", "elsewhere", "held by now"])
def test_what_may_not_be_heard_of_any_more_is_unknown_and_its_server_is_not_asked(tmp_path: Path, what: str) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here, _left_behind(here) as (token, task, theirs):
            theirs.state = {"status": "completed", "result": tool_result("done at last")}
            async with here.started() as at:
                if what == "granted no more":
                    await at.apply(agent("worker", [{"allow": ["refund"]}]))
                elif what == "elsewhere":
                    moved = here.crm()
                    moved["spec"]["url"] += "/other"
                    await at.apply(moved)
                else:
                    held = '@hold("business-owner") forbid (principal, action in Action::"@read", resource);'
                    await at.operator.post("policy/publish", {"files": with_cases({"org/guardrails.cedar": held})})
                for _ in range(2):
                    told = await _ask(at, token, task)
                    assert (told["status"], told["error"]["data"]["code"]) == ("failed", "outcome_unknown")
                    assert told["error"]["data"]["hint"]
                first = at.records("decision")[0][1]
                assert told["error"]["data"]["decision_id"] == first["decision_id"]
                assert theirs.asked == []
                assert (await at.operator.get("holds"))["items"] == [], "nobody is asked about what was done already"
            assert len(here.box.calls) == 1

    asyncio.run(live())


@pytest.mark.requirement("gateway:tasks:kept", "gateway:tasks:ended")
def test_a_task_whose_time_is_over_is_unknown_and_leaves_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with _held(here) as (at, _token, begun):
                pass
            here.clock.advance(begun["ttlMs"] / 1000)
            async with here.started() as at:
                assert await _code(at, await at.token("worker"), begun["taskId"]) == "mcp_task_unknown"
            # the next sweep takes it
            async with here.started() as at:
                async with asyncio.timeout(20):
                    while here.sql("deferred.db", "UPDATE calls SET agent = agent"):
                        await asyncio.sleep(0.2)

    asyncio.run(live())


@pytest.mark.requirement("gateway:tasks:revoked")
@pytest.mark.parametrize("what", ["revoke", "retire"])
def test_a_revoked_or_retired_agent_leaves_no_task_behind(tmp_path: Path, what: str) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with _held(here) as (at, token, begun):
                await at.token("other")
                other = await _begin(at, await at.token("other"), {"name": "refund", "arguments": {"cents": 1}})
                await at.operator.post(f"agents/worker/{what}", {"reason": "no longer needed"})
            assert here.sql("deferred.db", "UPDATE calls SET agent = agent") == 1
            async with here.started() as at:
                assert (await _ask(at, await at.token("other"), other["taskId"]))["status"] == "working"
                assert (await at.post(token, *_about(begun["taskId"]))).status_code == 401

    asyncio.run(live())


@pytest.mark.requirement("gateway:tasks:kept", "security:files:private")
def test_what_is_kept_of_tasks_is_sealed_and_bound_to_all_that_stands_beside_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with _held(here) as (at, token, begun):
                (hold,) = (await at.operator.get("holds"))["items"]
                await at.operator.answer_hold(hold["id"], "approve")
                done = await _ask(at, token, begun["taskId"])
                waiting = (await _begin(at, token, {"name": "refund", "arguments": {"cents": 815_4711}}))["taskId"]
            content = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("deferred.db*"))
            for secret in (b"4711", b"refund", b'"ok"', hold["id"].encode()):
                assert secret not in content
            assert here.sql("deferred.db", "UPDATE calls SET standing = 'waits', expires_us = expires_us + 1") == 2
            async with here.started() as at:
                assert await _code(at, token, begun["taskId"]) == "mcp_task_unknown"
                assert await _code(at, token, waiting) == "mcp_task_unknown"
            assert done["status"] == "completed"
            assert len(here.box.calls) == 1

    asyncio.run(live())


# -- questions


def _asking_first(box: ToolBox) -> None:
    async def answer(writer: asyncio.StreamWriter, seen: Seen) -> None:
        params = seen.message["params"]
        result: dict[str, Any] = tool_result("refunded")
        if "inputResponses" not in params:
            form = {"type": "object", "properties": {"name": {"type": "string"}}}
            asked = {"method": "elicitation/create", "params": {"message": "Who?", "requestedSchema": form}}
            result = {"resultType": "input_required", "inputRequests": {"who": asked}, "requestState": "theirs"}
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    box.answer = answer


@asynccontextmanager
async def _asked(here: Site) -> AsyncIterator[tuple[Place, str, dict[str, Any]]]:
    """A process, a token, and the parameters with which a client answers what its call was asked."""
    _asking_first(here.box)
    async with here.started() as at:
        await here.register(at, WORKER)
        crm = here.crm()
        crm["spec"]["elicitation"] = ["form"]
        await at.apply(crm)
        token = await at.token("worker")
        told = await _begin(at, token, _READ, _FORMS)
        assert told["resultType"] == "input_required", told
        who = {"who": {"action": "accept", "content": {"name": "Kim"}}}
        yield at, token, {**_READ, "inputResponses": who, "requestState": told["requestState"]}


@pytest.mark.requirement("gateway:questions:once")
def test_an_answer_to_a_question_from_before_a_restart_leads_to_one_call_at_most(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with _asked(here) as (at, token, answered):
                pass
            async with here.started() as at:
                assert (await _begin(at, token, answered, _FORMS))["content"][0]["text"] == "refunded"
            async with here.started() as at:
                for _ in range(2):
                    told = (await _begin(at, token, answered, _FORMS))["structuredContent"]
                    assert (told["code"], bool(told["hint"])) == ("state_used", True)
                spelled = answered | {"requestState": _spelled_otherwise(answered["requestState"])}
                assert (await _begin(at, token, spelled, _FORMS))["isError"]
                assert ["inputResponses" in call for call in here.box.calls] == [False, True]
                await at.settled()
                ends = [(body["code"], body["sent"]) for _, body in at.records("outcome")]
                assert ends[:2] == [(None, True), (None, True)]
                assert set(ends[2:]) == {("state_used", False)}

    asyncio.run(live())


def _spelled_otherwise(state: str) -> str:
    """The same bytes in another base64 text, where there is one."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bare = state.rstrip("=")
    unused = {0: 0, 1: 2, 2: 4}[len(state) - len(bare)]
    last = letters.index(bare[-1])
    return bare[:-1] + letters[last ^ 1 if unused else last] + state[len(bare) :]


@pytest.mark.requirement("gateway:questions:once")
def test_of_many_equal_answers_at_once_one_is_a_call(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here, _asked(here) as (at, token, answered):
            told = await asyncio.gather(*(_begin(at, token, answered, _FORMS) for _ in range(2)))
            assert sorted(bool(one["isError"]) for one in told) == [False, True]
            assert sum("inputResponses" in call for call in here.box.calls) == 1

    asyncio.run(live())


@pytest.mark.requirement("gateway:questions:once")
def test_an_answer_on_the_stream_of_a_process_that_is_gone_is_refused_and_makes_no_call(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "data") as here:
            async with here.started() as at:
                await here.register(at, WORKER)
                token = await at.token("worker")
                session = await at.session(token)
            async with here.started() as at:
                answer = {"jsonrpc": "2.0", "id": "elc_1", "result": {"action": "accept", "content": {}}}
                _, headers = legacy("ping", session=session)
                told = await at.post(token, json.dumps(answer).encode(), headers)
                assert told.status_code == 400
                assert "nothing that was asked" in told.json()["error"]["message"]
                assert here.box.calls == []

    asyncio.run(live())


# -- killed


@dataclass
class _Killed:
    """An installation in a process of its own, and the tool server that sees what comes of it."""

    data: Path
    port: int
    upstream: str
    program: asyncio.subprocess.Process | None = None
    operator: str = ""
    identity: AsyncAgentIdentity | None = None
    kill_on_arrival: bool = False
    arrived: list[Any] = field(default_factory=list)

    async def answer(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        self.arrived.append(seen.message["params"]["arguments"])
        if self.kill_on_arrival and self.program is not None:
            self.program.send_signal(signal.SIGKILL)
            await self.program.wait()
        with contextlib.suppress(ConnectionError):
            await answer_ok(writer, seen)

    @asynccontextmanager
    async def process(self, moment: str = "") -> AsyncIterator[tuple[str, str, DemoPerson]]:
        """One process that kills itself at that moment: its address, the link and whoever operates it."""
        self.program = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.gateway.deferring", str(self.data), str(self.port), moment or "-",
            cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.program.stdout is not None
        try:
            async with asyncio.timeout(60):
                url, link = (await self.program.stdout.readline()).decode().split()
            headers = {"authorization": f"Bearer {self.operator}"} if self.operator else {}
            async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as http:
                yield url, link, DemoPerson(http)
        finally:
            if self.program.returncode is None:
                self.program.send_signal(signal.SIGKILL)
            await self.program.wait()

    async def ask(self, url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
        assert self.identity is not None
        token = await self.identity.access_token(f"{url}/mcp/crm")
        given = {key: value for key, value in headers.items() if key != "host"} | {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as http:
            return dict((await http.post(f"{url}/mcp/crm", content=body, headers=given)).json()["result"])


_GUARD = '@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);'
_NO_GUARD = 'forbid (principal, action in Action::"@irreversible", resource) when { context.input.cents > 1000000 };'


async def _prepared(at: _Killed) -> str:
    """Register an agent and have one of its calls held; the task."""
    async with at.process() as (url, link, person):
        await person.sign_in(link)
        at.operator = person._http.headers["authorization"].removeprefix("Bearer ")
        origin = at.upstream.removesuffix("/mcp")
        await person.put("upstream-credentials/crm-key", {"origin": origin, "header": "Authorization", "value": SECRET})
        documents = [
            document("Person", None, {"email": "dana@example.com"}),
            document("Team", {"name": "support"}, {"zones": ["UTC"]}),
            document("ToolServer", {"name": "crm", "environment": "development"}, {
                "url": at.upstream, "credential": "crm-key",
                "tools": {"refund": {"effect": "irreversible", "data": ["internal"], "price": "0.001 USD"}}}),
            agent("worker", [{"allow": ["refund"]}]),
        ]  # fmt: skip
        await person.post("apply", {"files": [{"name": "f.json", "text": json.dumps(documents)}]})
        await person.post("policy/publish", {"files": with_cases({"org/guardrails.cedar": _GUARD})})
        made = await person.post("agents/worker/join-tokens", {})
        at.identity = await AsyncAgentIdentity.enrol(url, made["join_token"])
        held = await at.ask(url, *modern(params=_REFUND, capabilities=_TASKS))
        return str(held["taskId"])


async def _granted(at: _Killed, person: DemoPerson) -> None:
    (hold,) = (await person.get("holds"))["items"]
    await person.answer_hold(hold["id"], "approve")


async def _released(at: _Killed, person: DemoPerson) -> None:
    await person.post("policy/publish", {"files": with_cases({"org/guardrails.cedar": _NO_GUARD})})


_SENT_BY = {"admitted": 0, "begun": 0, "arrived": 1, "ending": 1, "ended": 1}
"""How many calls have reached the tool server by each moment."""


@pytest.mark.timeout(300)
@pytest.mark.requirement("gateway:tasks:once", "gateway:tasks:kept")
@pytest.mark.parametrize(
    ("moment", "freed"),
    family(
        [*((moment, _granted) for moment in _SENT_BY), ("admitted", _released), ("begun", _released)],
        [("begun", _granted), ("admitted", _released)].__contains__,
    ),
)
def test_killed_at_any_moment_the_call_of_a_task_is_sent_at_most_once(
    tmp_path: Path, moment: str, freed: Callable[[_Killed, DemoPerson], Any]
) -> None:
    async def live() -> None:
        box = ToolBox(tool("refund", cents={"type": "integer"}))
        with bound("127.0.0.1", 0) as probe:
            port = int(probe.getsockname()[1])
        async with RawServer(box).run() as raw:
            at = _Killed(tmp_path / "data", port, raw.url)
            box.answer = at.answer
            task = await _prepared(at)
            async with at.process(moment) as (url, _, person):
                await freed(at, person)
                at.kill_on_arrival = moment == "arrived"
                with contextlib.suppress(httpx2.TransportError):
                    await at.ask(url, *_about(task))
                    raise AssertionError("it was not killed")
            at.kill_on_arrival = False
            assert len(at.arrived) == _SENT_BY[moment]
            async with at.process() as (url, _, person):
                told = await at.ask(url, *_about(task))
                assert await at.ask(url, *_about(task)) == told
                await at.ask(url, *_about(task, "tasks/cancel"))
                assert await at.ask(url, *_about(task)) == told
            if moment == "ended":
                assert (told["status"], told["result"]["content"][0]["text"]) == ("completed", "ok")
            elif moment == "admitted" and freed is _released:
                assert told["status"] == "completed", "it was not sent before, and needs nobody any more"
                assert not told["result"]["isError"]
            elif moment == "admitted":
                assert told["result"]["structuredContent"]["code"] == "grant_used"
            else:
                assert (told["status"], told["error"]["data"]["code"]) == ("failed", "outcome_unknown")
            assert len(at.arrived) == max(_SENT_BY[moment], int(told["status"] == "completed" and moment == "admitted"
                                                                and freed is _released))  # fmt: skip
            report = await asyncio.to_thread(check_log, at.data, opened=True)
            assert report.ok, report.what

    asyncio.run(live())
