"""Answers on streams of sessions that a client takes up again after it lost the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from accredit.enforcement.model import CallEnd
from accredit.gateway import answers
from tests.gateway.stage import (
    SSE_HEAD,
    TOKEN,
    Peer,
    Seen,
    Stage,
    http_json,
    legacy,
    stage,
    tool_result,
)


class _Slow:
    """A tool server that tells of its progress, and answers when it is told to."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[int | None] = asyncio.Queue()
        """Each is a notice; None the end."""
        self.cancelled = asyncio.Event()
        self.made = 0

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        message = seen.message
        if "progressToken" not in message["params"]["_meta"]:
            writer.write(http_json({"jsonrpc": "2.0", "id": message["id"], "result": tool_result()}))
            return
        self.made += 1
        writer.write(SSE_HEAD)
        gone = asyncio.ensure_future(seen.reader.read())
        gone.add_done_callback(lambda _: self.cancelled.set())
        while (step := await self.steps.get()) is not None:
            params = {"progressToken": message["params"]["_meta"]["progressToken"], "progress": step}
            writer.write(_data({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}))
            await writer.drain()
        writer.write(_data({"jsonrpc": "2.0", "id": message["id"], "result": tool_result("whole")}))
        writer.close()


def _data(message: Any) -> bytes:
    return b"data: " + orjson.dumps(message) + b"\n\n"


async def _until(done: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.001)


def _ids(peer: Peer) -> list[str]:
    return [line.removeprefix(b"id: ").decode() for line in peer.reply.body.split(b"\r\n") if line.startswith(b"id: ")]


def _told(peer: Peer) -> list[Any]:
    """Of notices their progress, of the response its text."""
    return [
        event["params"]["progress"] if "method" in event else event["result"]["content"][0]["text"]
        for event in peer.reply.events
    ]


async def _begun(at: Stage, server: _Slow, session: str, *steps: int) -> tuple[Peer, asyncio.Task[Any]]:
    """A call that has told of these."""
    params = {"name": "read_customer", "arguments": {"customer_id": "c-1"}, "_meta": {"progressToken": "p"}}
    peer = at.peer()
    task = asyncio.create_task(peer.exchange(*legacy("tools/call", params, session=session)))
    for step in steps:
        server.steps.put_nowait(step)
    await _until(lambda: len(peer.reply.events) == len(steps))
    return peer, task


def _back(at: Stage, session: str, last: str, token: str = TOKEN) -> tuple[Peer, asyncio.Task[Any]]:
    head = {"host": "127.0.0.1:8700", "authorization": token, "accept": "text/event-stream"}
    peer = at.peer()
    headers = {**head, "mcp-session-id": session, "last-event-id": last}
    return peer, asyncio.create_task(peer.exchange(b"", headers, method="GET"))


@pytest.mark.requirement("gateway:answers:taken-up")
def test_an_answer_whose_client_lost_the_connection_goes_on_and_is_taken_up_where_it_broke_off() -> None:
    async def play() -> None:
        server = _Slow()
        async with stage(server) as at:
            session = await at.begin()
            first, task = await _begun(at, server, session, 1, 2)
            assert len(set(_ids(first))) == 2
            first.left.set()
            await asyncio.sleep(0.05)  # longer than a leaving client is looked for
            server.steps.put_nowait(3)
            second, again = _back(at, session, _ids(first)[0])
            await _until(lambda: len(second.reply.events) == 2)
            assert _told(second) == [2, 3], "after the event that it has seen"
            second.left.set()
            await again
            server.steps.put_nowait(None)
            await task
            third, last = _back(at, session, _ids(second)[-1])
            assert (await asyncio.wait_for(last, 10)).complete
            assert _told(third) == ["whole"]
            assert server.made == 1
            assert [end.end for end in at.point.settled] == [CallEnd.OK]
            assert len(at.point.calls) == 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:answers:taken-up")
def test_whoever_comes_back_twice_is_served_once() -> None:
    async def play() -> None:
        server = _Slow()
        async with stage(server) as at:
            session = await at.begin()
            first, task = await _begun(at, server, session, 1)
            (seen,) = _ids(first)
            second, older = _back(at, session, seen)
            await _until(lambda: second.reply.body)
            third, newer = _back(at, session, seen)
            await asyncio.wait_for(older, 10)
            server.steps.put_nowait(2)
            server.steps.put_nowait(None)
            await asyncio.wait_for(asyncio.gather(task, newer), 10)
            assert [_told(peer) for peer in (first, second, third)] == [[1], [], [2, "whole"]]

    asyncio.run(play())


@pytest.mark.requirement("gateway:answers:own")
def test_nobody_else_is_told_an_answer_whatever_event_they_name() -> None:
    async def play() -> None:
        server = _Slow()
        async with stage(server) as at:
            session = await at.begin()
            first, task = await _begun(at, server, session, 1)
            (seen,) = _ids(first)
            _, its = _back(at, session, seen, token="Bearer agent-two")
            assert (await its).status == 404
            initialize = {"protocolVersion": "2025-11-25", "capabilities": {}}
            body, headers = legacy("initialize", initialize)
            others = await at.call(body, headers | {"authorization": "Bearer agent-two"})
            strangers = [
                _back(at, others.headers["mcp-session-id"], seen, token="Bearer agent-two"),  # another credential
                _back(at, await at.begin(), seen),  # another session
                _back(at, session, seen, token=f"{TOKEN} for ada"),  # another user
                _back(at, session, seen[:-1] + "9"),  # an event that is still to come
            ]
            server.steps.put_nowait(2)
            server.steps.put_nowait(None)
            await task
            assert _told(first) == [1, 2, "whole"]
            async with asyncio.timeout(10):
                await asyncio.gather(*(peer.part.wait() for peer, _ in strangers))
            for peer, following in strangers:
                peer.left.set()
                await following
                assert b"whole" not in peer.reply.body
                assert b"progress" not in peer.reply.body

    asyncio.run(play())


@pytest.mark.parametrize("how", ["late", "DELETE"])
@pytest.mark.requirement("gateway:answers:given-up")
def test_a_call_whose_client_does_not_come_back_is_cancelled(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_KEPT_S", 0.1 if how == "late" else 60.0)

    async def play() -> None:
        server = _Slow()
        async with stage(server) as at:
            session = await at.begin()
            first, task = await _begun(at, server, session, 1)
            first.left.set()
            if how == "DELETE":
                await asyncio.sleep(0.05)
                assert not task.done()
                head = {"host": "127.0.0.1:8700", "authorization": TOKEN, "mcp-session-id": session}
                assert (await at.call(b"", head, method="DELETE")).status == 204
            await asyncio.wait_for(task, 10)
            await asyncio.wait_for(server.cancelled.wait(), 10)
            assert [end.end for end in at.point.settled] == [CallEnd.CANCELLED]
            _, again = _back(at, session, _ids(first)[0])
            if how == "DELETE":
                assert (await again).status == 404
            else:
                again.cancel()

    asyncio.run(play())


@pytest.mark.requirement("gateway:answers:given-up")
def test_an_answer_is_forgotten_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_KEPT_S", 0.05)

    async def play() -> None:
        server = _Slow()
        async with stage(server) as at:
            session = await at.begin()
            first, task = await _begun(at, server, session, 1)
            server.steps.put_nowait(None)
            await task
            kept = at.gateway._answers
            await _until(lambda: len(kept) == 0)
            again, following = _back(at, session, _ids(first)[0])
            await _until(lambda: again.reply.body)
            again.left.set()
            await following
            assert b"whole" not in again.reply.body

    asyncio.run(play())


@pytest.mark.requirement("gateway:answers:bounded")
def test_what_is_kept_of_an_answer_and_of_a_session_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_MOST_EVENTS", 3)
    monkeypatch.setattr(answers, "_MOST_OF_ONE", 1)

    async def play() -> None:
        server = _Slow()
        async with stage(server) as at:
            session = await at.begin()
            first, task = await _begun(at, server, session, 1, 2, 3, 4, 5)
            late, following = _back(at, session, _ids(first)[0])
            await _until(lambda: late.reply.body)
            late.left.set()
            await following
            assert b'"progress":' not in late.reply.body, "what came after it is not known any more"
            # no room for another of this session: it is no worse off than before
            second, other = await _begun(at, server, session)
            while not second.reply.events:  # whichever of the two takes it
                server.steps.put_nowait(6)
                await asyncio.sleep(0.01)
            assert _ids(second) == []
            second.left.set()
            await asyncio.wait_for(other, 10)
            while not task.done():
                server.steps.put_nowait(None)
                await asyncio.sleep(0.01)
            assert _told(first)[-1] == "whole"
            assert [end.end for end in at.point.settled] == [CallEnd.CANCELLED, CallEnd.OK]

    asyncio.run(play())


@pytest.mark.requirement("gateway:answers:taken-up")
def test_an_answer_that_is_no_stream_has_no_id_and_ends_with_its_client() -> None:
    async def play() -> None:
        async with stage(_Slow()) as at:
            session = await at.begin()
            params = {"name": "read_customer", "arguments": {"customer_id": "c-1"}}
            told = await at.call(*legacy("tools/call", params, session=session))
            assert told.headers["content-type"] == "application/json"
            assert len(at.gateway._answers) == 0

    asyncio.run(play())
