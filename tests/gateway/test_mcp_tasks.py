"""Calls that a client asks about until they are done: held ones, and those that their tool server goes on with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.model import Admitted, Call, CallEnd, Refused
from accredit.gateway import mcptasks
from accredit.gateway.ports import DeferredStanding, KeptCall
from accredit.identity.model import Revocation, RevocationKind
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError, UnavailableError
from accredit.kernel.ids import HoldId
from accredit.storage.memory.deferred import MemoryDeferredCallStore
from tests.enforcement.place import WORKER, place
from tests.gateway.stage import START_US, Seen, Stage, http_json, modern, stage, tool_result

_TASKS: dict[str, Any] = {"extensions": {mcptasks.TASKS: {}}}
_HELD = Refused(Code.HELD, Code.HELD.meaning, hold=HoldId("hld_1"), roles=("lead",), expires_us=START_US + 60_000_000)


def _begin(**how: Any) -> tuple[bytes, dict[str, str]]:
    return modern(capabilities=_TASKS, **how)


def _about(task: str, method: str = "tasks/get", **more: Any) -> tuple[bytes, dict[str, str]]:
    body, headers = modern(method, {"taskId": task, **more}, capabilities=_TASKS)
    return body, headers | {"mcp-name": task}


async def _ask(at: Stage, task: str, method: str = "tasks/get", **more: Any) -> dict[str, Any]:
    answer = (await at.call(*_about(task, method, **more))).json
    result: dict[str, Any] = answer["result"]
    return result


# -- held


@pytest.mark.requirement("gateway:tasks:held")
def test_a_held_call_is_a_task_that_runs_once_when_its_client_asks_after_the_approval() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            begun = (await at.call(*_begin())).json["result"]
            assert (begun["resultType"], begun["status"]) == ("task", "working")
            assert begun["statusMessage"] == "waits for lead to approve hold hld_1"
            task = begun["taskId"]
            waiting = await _ask(at, task)
            assert (waiting["resultType"], waiting["status"]) == ("complete", "working")
            assert at.point.calls[-1].hold == "hld_1"
            assert at.server.seen == []
            at.point.refusal = None  # somebody approved
            done = await _ask(at, task)
            assert (done["status"], done["result"]["content"][0]["text"]) == ("completed", "ok")
            again = await _ask(at, task)  # its answer may have been lost on the way
            assert again == done
            assert len(at.server.seen) == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:held")
@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_a_request_about_a_task_that_does_not_declare_the_extension_is_told_so_and_changes_nothing(method: str) -> None:
    without: tuple[dict[str, Any], ...] = ({}, {"extensions": {}})

    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            task = (await at.call(*_begin())).json["result"]["taskId"]
            for declared in without:
                for named in (task, "no-such-task"):
                    body, headers = modern(method, {"taskId": named}, capabilities=declared)
                    answer = await at.call(body, headers | {"mcp-name": named})
                    assert (answer.status, answer.json["error"]["code"]) == (400, -32021)
                    needed = answer.json["error"]["data"]["requiredCapabilities"]
                    assert needed == {"extensions": {mcptasks.TASKS: {}}}
            assert (await _ask(at, task))["status"] == "working"

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:held")
def test_a_denied_one_ends_and_a_cancelled_one_never_runs() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            denied, cancelled = [(await at.call(*_begin())).json["result"]["taskId"] for _ in range(2)]
            assert (await _ask(at, cancelled, "tasks/cancel"))["resultType"] == "complete"
            assert (await _ask(at, cancelled, "tasks/update", inputResponses={}))["resultType"] == "complete"
            at.point.refusal = Refused(Code.HOLD_DENIED, Code.HOLD_DENIED.meaning)
            told = await _ask(at, denied)
            assert (told["status"], told["result"]["structuredContent"]["code"]) == ("completed", "hold_denied")
            at.point.refusal = None
            assert (await _ask(at, denied))["result"]["structuredContent"]["code"] == "hold_denied"
            assert (await _ask(at, cancelled))["status"] == "cancelled"
            assert at.server.seen == []

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:held")
def test_once_begun_it_goes_on_without_its_client_and_is_told_to_whoever_asks_again() -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(writer: asyncio.StreamWriter, seen: Seen) -> None:
        arrived.set()
        await go_on.wait()
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result("late")}))

    async def play() -> None:
        async with stage(slow) as at:
            at.point.refusal = _HELD
            task = (await at.call(*_begin())).json["result"]["taskId"]
            at.point.refusal = None
            peer = at.peer()
            asking = asyncio.create_task(peer.exchange(*_about(task)))
            await asyncio.wait_for(arrived.wait(), 5)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            go_on.set()
            async with asyncio.timeout(10):
                while (told := await _ask(at, task))["status"] == "working":
                    await asyncio.sleep(0.01)
            assert told["result"]["content"][0]["text"] == "late"
            assert [end.end for end in at.point.settled] == [CallEnd.OK]

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:own")
def test_a_task_is_known_to_the_caller_that_made_it_at_the_endpoint_where_it_was_made() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            body, headers = _begin()
            kim = headers | {"authorization": "Bearer agent-one for kim"}
            task = (await at.call(body, kim)).json["result"]["taskId"]
            asked, head = _about(task)
            for other in ("Bearer agent-one", "Bearer agent-two for kim", "Bearer agent-one for eve"):
                told = (await at.call(asked, head | {"authorization": other})).json
                assert (told["error"]["code"], told["error"]["data"]["code"]) == (-32602, "mcp_task_unknown")
            mine = head | {"authorization": "Bearer agent-one for kim"}
            assert "error" in (await at.call(asked, mine, path="/mcp")).json
            assert (await at.call(asked, mine)).json["result"]["status"] == "working"
            mismatch = (await at.call(asked, mine | {"mcp-name": "tsk_other"})).json
            assert mismatch["error"]["code"] == -32020

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:bounded")
def test_beyond_a_number_of_tasks_a_held_call_is_told_like_that_of_any_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcptasks, "_MOST_OF_ONE", 1)

    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            assert (await at.call(*_begin())).json["result"]["resultType"] == "task"
            told = (await at.call(*_begin())).json["result"]
            assert (told["resultType"], told["structuredContent"]["hold"]) == ("complete", "hld_1")

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:bounded")
def test_ends_that_take_too_much_room_are_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcptasks, "_MOST_KEPT_OF_ONE", 1_800)

    async def play() -> None:
        async with stage(lambda writer, seen: _says(writer, seen, "x" * 600)) as at:
            tasks = []
            for _ in range(2):
                at.point.refusal = _HELD
                tasks.append((await at.call(*_begin())).json["result"]["taskId"])
                at.point.refusal = None
                assert (await _ask(at, tasks[-1]))["status"] == "completed"
            assert "error" in (await at.call(*_about(tasks[0]))).json
            assert (await _ask(at, tasks[1]))["status"] == "completed"

    asyncio.run(play())


async def _says(writer: asyncio.StreamWriter, seen: Seen, text: str) -> None:
    writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result(text)}))


class _Failing(MemoryDeferredCallStore):
    """A store whose disk is full as long as a test says so."""

    full = False

    def add(self, call: KeptCall) -> None:
        self._room()
        super().add(call)

    def advance(self, call: KeptCall, *, after: DeferredStanding) -> bool:
        self._room()
        return super().advance(call, after=after)

    def spend(self, state: str, *, until_us: int) -> bool:
        self._room()
        return super().spend(state, until_us=until_us)

    def _room(self) -> None:
        if self.full:
            raise UnavailableError(Code.DISK_LOW, "the disk is full")


@pytest.mark.requirement("gateway:tasks:once", "gateway:tasks:held")
def test_a_held_call_that_cannot_be_kept_is_told_otherwise_and_one_that_cannot_be_noted_is_not_sent() -> None:
    async def play() -> None:
        store = _Failing()
        async with stage(deferred=store) as at:
            at.point.refusal = _HELD
            store.full = True
            told = (await at.call(*_begin())).json["result"]
            assert (told["resultType"], told["structuredContent"]["hold"]) == ("complete", "hld_1")
            store.full = False
            task = (await at.call(*_begin())).json["result"]["taskId"]
            at.point.refusal, store.full = None, True
            for _ in range(2):
                assert (await at.call(*_about(task))).json["error"]["data"]["code"] == "disk_low"
            assert at.server.seen == []
            assert [(end.sent, end.code) for end in at.point.settled] == [(False, Code.DISK_LOW)] * 2
            store.full = False
            assert (await _ask(at, task))["status"] == "completed"
            assert len(at.server.seen) == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:kept")
def test_an_end_that_cannot_be_kept_is_told_all_the_same_and_its_call_is_made_once() -> None:
    async def play() -> None:
        store = _Failing()

        async def fill(writer: asyncio.StreamWriter, seen: Seen) -> None:
            store.full = True
            await _says(writer, seen, "done")

        async with stage(fill, deferred=store) as at:
            at.point.refusal = _HELD
            task = (await at.call(*_begin())).json["result"]["taskId"]
            at.point.refusal = None
            for _ in range(2):
                assert (await _ask(at, task))["result"]["content"][0]["text"] == "done"
            assert len(at.server.seen) == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:revoked")
def test_what_was_revoked_is_unknown_at_once_though_it_cannot_be_let_go_of_where_it_is_kept() -> None:
    class Stuck(MemoryDeferredCallStore):
        def forget(self, calls: Sequence[str]) -> None:
            raise UnavailableError(Code.DISK_LOW, "the disk is full")

    async def play() -> None:
        async with stage(deferred=Stuck()) as at:
            at.point.refusal = _HELD
            one, other = [(await at.call(*_begin())).json["result"]["taskId"] for _ in range(2)]
            body, headers = _about(one)
            asking = asyncio.create_task(at.peer().exchange(body, headers))
            at.gateway.revoked(Revocation(RevocationKind.CREDENTIAL, "crd_another"))
            assert (await asking).json["result"]["status"] == "working"
            at.gateway.revoked(Revocation(RevocationKind.CREDENTIAL, "crd_one"))
            for task in (one, other, one):
                told = (await at.call(*_about(task))).json
                assert told["error"]["data"]["code"] == "mcp_task_unknown"

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:once")
def test_a_call_cancelled_while_it_is_decided_is_not_sent() -> None:
    async def play() -> None:
        async with stage() as at:
            at.point.refusal = _HELD
            task = (await at.call(*_begin())).json["result"]["taskId"]
            at.point.refusal, admit = None, at.point.admit

            async def slow(call: Call) -> Admitted | Refused:
                await _ask(at, task, "tasks/cancel")  # by another request, meanwhile
                return await admit(call)

            at.point.admit = slow  # type: ignore[method-assign]
            assert (await _ask(at, task))["status"] == "cancelled"
            assert at.server.seen == []
            assert [end.sent for end in at.point.settled] == [False]

    asyncio.run(play())


# -- of a tool server


def _deep() -> dict[str, Any]:
    """A result that can be read, and not be written within others."""
    inner: list[Any] = []
    for _ in range(300):
        inner = [inner]
    return {"content": inner}


class _Worker:
    """A tool server that takes its time."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {"status": "working"}
        self.methods: list[str] = []
        self.heads: list[dict[str, str]] = []

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        message = seen.message
        self.methods.append(message["method"])
        self.heads.append(seen.headers)
        assert "extensions" in message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        task = {"taskId": "theirs", "createdAt": "x", "lastUpdatedAt": "x", "ttlMs": None, **self.state}
        kind = "task" if message["method"] == "tools/call" else "complete"
        if message["method"] == "tasks/cancel":
            task = {}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": kind, **task}}
        writer.write(http_json(json.dumps(answer).encode()))  # which nests as deeply as it is told


@pytest.mark.requirement("gateway:tasks:upstream")
def test_a_tool_servers_task_is_ours_to_its_client_and_settled_when_it_has_ended() -> None:
    async def play() -> None:
        worker = _Worker()
        async with stage(worker) as at:
            begun = (await at.call(*_begin())).json["result"]
            assert (begun["resultType"], begun["status"]) == ("task", "working")
            assert begun["taskId"] != "theirs"
            assert at.point.settled == []
            assert (await _ask(at, begun["taskId"]))["status"] == "working"
            worker.state = {"status": "completed", "result": tool_result("at last")}
            told = await _ask(at, begun["taskId"])
            assert (told["status"], told["result"]["content"][0]["text"]) == ("completed", "at last")
            assert at.point.inspected == [told["result"]]
            assert [end.end for end in at.point.settled] == [CallEnd.OK]
            assert await _ask(at, begun["taskId"]) == told
            assert worker.methods == ["tools/call", "tasks/get", "tasks/get"]
            assert worker.heads[1]["mcp-name"] == "theirs"

    asyncio.run(play())


@pytest.mark.parametrize(
    ("state", "status", "end"),
    [
        ({"status": "failed", "error": {"code": -32603, "message": "broken"}}, "failed", CallEnd.PROTOCOL_ERROR),
        ({"status": "failed", "error": {"code": 5, "message": "x", "data": _deep()}}, "failed", CallEnd.PROTOCOL_ERROR),
        ({"status": "failed", "error": {"message": "no number"}}, "completed", CallEnd.PROTOCOL_ERROR),
        ({"status": "completed", "result": {"content": 5}}, "completed", CallEnd.PROTOCOL_ERROR),
        ({"status": "completed", "result": _deep()}, "completed", CallEnd.PROTOCOL_ERROR),
        ({"status": "completed"}, "completed", CallEnd.PROTOCOL_ERROR),
        ({"status": "input_required", "inputRequests": {}}, "completed", CallEnd.PROTOCOL_ERROR),
        ({"status": "working", "taskId": "another's"}, "completed", CallEnd.PROTOCOL_ERROR),
        ({"status": "cancelled"}, "cancelled", CallEnd.CANCELLED),
        ({"status": "perhaps"}, "completed", CallEnd.PROTOCOL_ERROR),
    ],
)
@pytest.mark.requirement("gateway:tasks:upstream")
def test_however_a_tool_servers_task_ends_its_call_is_settled_once(
    state: dict[str, Any], status: str, end: CallEnd
) -> None:
    async def play() -> None:
        worker = _Worker()
        async with stage(worker) as at:
            task = (await at.call(*_begin())).json["result"]["taskId"]
            worker.state = state
            for _ in range(2):
                assert (await _ask(at, task))["status"] == status
            assert [settled.end for settled in at.point.settled] == [end]

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:upstream")
def test_a_tool_servers_task_that_cannot_be_kept_is_cancelled_there_and_its_call_settled() -> None:
    async def play() -> None:
        worker, store = _Worker(), _Failing()
        async with stage(worker, deferred=store) as at:
            store.full = True
            assert (await at.call(*_begin())).code == "disk_low"
            async with asyncio.timeout(5):
                while worker.methods != ["tools/call", "tasks/cancel"]:
                    await asyncio.sleep(0.01)
            assert [(end.end, end.sent) for end in at.point.settled] == [(CallEnd.CANCELLED, True)]

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:upstream")
def test_a_client_that_takes_no_tasks_gets_none_and_the_tool_server_is_told_so() -> None:
    async def answer(writer: asyncio.StreamWriter, seen: Seen) -> None:
        assert seen.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] == {}
        result = {"resultType": "task", "taskId": "t", "status": "working", "ttlMs": None}
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    async def play() -> None:
        async with stage(answer) as at:
            assert (await at.call(*modern())).code == "upstream_invalid"

    asyncio.run(play())


def _not_any_more() -> None:
    raise UnauthenticatedError(Code.CREDENTIAL_REVOKED, "the credential is not valid any more")


@pytest.mark.requirement("gateway:tasks:ended")
def test_a_task_is_cancelled_by_its_client_a_revocation_and_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        worker = _Worker()
        async with stage(worker) as at:
            tasks = [(await at.call(*_begin())).json["result"]["taskId"] for _ in range(3)]
            assert (await _ask(at, tasks[0], "tasks/cancel"))["resultType"] == "complete"
            assert (await _ask(at, tasks[0]))["status"] == "cancelled"
            stop = at.point.admitted[1].cancel
            assert stop is not None
            stop(Code.CREDENTIAL_REVOKED)
            told = await _ask(at, tasks[1])
            assert told["result"]["structuredContent"]["code"] == "credential_revoked"
            at.point.recheck = _not_any_more
            assert (await _ask(at, tasks[2]))["result"]["structuredContent"]["code"] == "credential_revoked"
            async with asyncio.timeout(5):
                while worker.methods.count("tasks/cancel") < 3:
                    await asyncio.sleep(0.01)
            assert [end.end for end in at.point.settled] == [CallEnd.CANCELLED, CallEnd.REVOKED, CallEnd.REVOKED]
            assert worker.methods.count("tasks/get") == 0
            # a task that takes longer than it may
            at.point.recheck = lambda: None
            monkeypatch.setattr(mcptasks, "_LONGEST_MS", 50)
            monkeypatch.setattr(mcptasks, "_SHORTEST_MS", 50)
            late = (await at.call(*_begin())).json["result"]
            async with asyncio.timeout(5):
                while len(at.point.settled) < 4:
                    await asyncio.sleep(0.01)
            assert at.point.settled[3].end is CallEnd.TIMEOUT
            assert "error" in (await at.call(*_about(late["taskId"]))).json

    asyncio.run(play())


@pytest.mark.requirement("gateway:tasks:revoked")
def test_in_a_running_installation_a_task_holds_its_place_until_its_agent_is_revoked(tmp_path: Path) -> None:
    async def defer(writer: Any, seen: Seen) -> None:
        result = {"resultType": "task", "taskId": "theirs", "status": "working", "ttlMs": None}
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    async def live() -> None:
        async with place(tmp_path / "data", WORKER) as at:
            at.site.box.answer = defer
            token = await at.token("worker")
            begun = (await at.post(token, *_begin(params={"name": "read", "arguments": {}}))).json()["result"]
            assert begun["resultType"] == "task"
            assert at.enforcer.in_flight == 1
            await at.operator.post("agents/worker/revoke", {"reason": "no longer trusted"})
            await at.settled()
            assert at.enforcer.in_flight == 0
            assert at.records("outcome")[-1][1]["end"] == "revoked"

    asyncio.run(live())
