"""A credential revoked between the decision and the wire, and while the answer is on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accredit.enforcement.model import CallEnd
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnauthenticatedError, UnavailableError
from tests.gateway.stage import SSE_HEAD, Seen, Stage, answer_ok, modern, stage


def _revoked() -> None:
    raise UnauthenticatedError(Code.CREDENTIAL_REVOKED, Code.CREDENTIAL_REVOKED.meaning)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.requirement("gateway:recheck:before-body")
def test_a_revocation_between_admission_and_the_write_leaves_nothing_on_the_wire(warm: object) -> None:
    async def play() -> None:
        async with stage() as at:
            if warm:  # an open connection, so the write is all that is left to do
                await at.call(*modern())
            before = len(at.server.seen)
            at.point.recheck = _revoked
            reply = await at.call(*modern())
            assert reply.code == "credential_revoked"
            settled = at.point.settled[-1]
            assert (settled.end, settled.code, settled.sent) == (CallEnd.REVOKED, Code.CREDENTIAL_REVOKED, False)
            # the connection is given up, and neither headers nor body came with it
            await _until(at.server.closed.is_set)
            assert len(at.server.seen) == before
            at.point.recheck = lambda: None
            assert not (await at.call(*modern())).json["result"]["isError"]

    asyncio.run(play())


@pytest.mark.requirement("gateway:recheck:before-body")
def test_not_one_byte_with_the_brokered_credential_leaves_after_a_refused_recheck() -> None:
    async def play() -> None:
        got: list[bytes] = []
        over = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.append(await reader.read())
            writer.close()
            over.set()

        listener = await asyncio.start_server(listen, "127.0.0.1", 0)
        async with listener, stage() as at:
            port = listener.sockets[0].getsockname()[1]
            target = at.point.target
            at.point.target = type(target)(
                target.name, target.environment, f"http://127.0.0.1:{port}/", None, target.tools
            )
            at.point.recheck = _revoked
            await at.call(*modern())
            async with asyncio.timeout(10):
                await over.wait()
        assert got == [b""]

    asyncio.run(play())


def test_a_state_that_became_unsure_stops_the_write_as_well() -> None:
    def unsure() -> None:
        raise UnavailableError(Code.SNAPSHOT_STALE, Code.SNAPSHOT_STALE.meaning)

    async def play() -> None:
        async with stage() as at:
            at.point.recheck = unsure
            assert (await at.call(*modern())).code == "snapshot_stale"
            assert (at.server.seen, at.point.settled[0].sent) == ([], False)

    asyncio.run(play())


def test_the_recheck_runs_once_per_call_and_after_the_decision() -> None:
    async def play() -> None:
        async with stage() as at:
            order: list[int] = []
            at.point.recheck = lambda: order.append(len(at.point.admitted))
            await at.call(*modern())
            assert order == [1]

    asyncio.run(play())


async def _stream_then_hang(writer: Any, seen: Seen) -> None:
    writer.write(SSE_HEAD + b": working\r\n\r\n")
    await writer.drain()
    await seen.until_closed()


async def _hang(writer: Any, seen: Seen) -> None:
    await seen.until_closed()


def _cancel(at: Stage) -> None:
    cancel = at.point.admitted[-1].cancel
    assert cancel is not None
    cancel(Code.CREDENTIAL_REVOKED)


@pytest.mark.requirement("gateway:revoke:in-flight")
def test_a_revocation_cuts_a_stream_and_says_so_before_closing() -> None:
    async def play() -> None:
        async with stage(_stream_then_hang) as at:
            peer = at.peer()
            task = asyncio.create_task(peer.exchange(*modern()))
            async with asyncio.timeout(10):
                await peer.part.wait()
                _cancel(at)
                reply = await task
                await at.server.closed.wait()
            assert reply.events[-1]["result"]["structuredContent"]["code"] == "credential_revoked"
            assert reply.complete
            assert [(s.end, s.code) for s in at.point.settled] == [(CallEnd.REVOKED, Code.CREDENTIAL_REVOKED)]
            assert at.point.admitted[-1].cancel is None

    asyncio.run(play())


@pytest.mark.requirement("gateway:revoke:in-flight")
def test_a_revocation_ends_a_call_that_waits_for_its_answer() -> None:
    async def play() -> None:
        async with stage(_hang) as at:
            task = asyncio.create_task(at.call(*modern()))
            async with asyncio.timeout(10):
                await _until(lambda: at.server.seen)
                _cancel(at)
                assert (await task).code == "credential_revoked"
            assert [s.end for s in at.point.settled] == [CallEnd.REVOKED]

    asyncio.run(play())


@pytest.mark.requirement("gateway:revoke:in-flight")
def test_a_stalled_client_does_not_hold_up_a_revocation() -> None:
    async def play() -> None:
        async with stage(_stream_then_hang) as at:
            stalled = asyncio.Event()
            body, headers = modern()
            sent = [{"type": "http.request", "body": body, "more_body": False}]

            async def receive() -> Any:
                if sent:
                    return sent.pop()
                return await asyncio.Event().wait()

            async def send(message: Any) -> None:
                stalled.set()
                await asyncio.Event().wait()  # a client that reads nothing

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/mcp/crm",
                "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
            }
            task = asyncio.create_task(at.gateway(scope, receive, send))
            async with asyncio.timeout(10):
                await stalled.wait()
                _cancel(at)
                await _until(lambda: at.point.settled)
                assert [s.end for s in at.point.settled] == [CallEnd.REVOKED]
                await task

    asyncio.run(play())


def test_the_first_reason_to_stop_counts() -> None:
    async def play() -> None:
        async with stage(_hang) as at:
            task = asyncio.create_task(at.call(*modern()))
            await _until(lambda: at.server.seen)
            cancel = at.point.admitted[-1].cancel
            assert cancel is not None
            cancel(Code.CREDENTIAL_REVOKED)
            cancel(Code.CANCELLED)
            assert (await task).code == "credential_revoked"

    asyncio.run(play())


def test_a_revocation_after_the_answer_changes_nothing() -> None:
    async def play() -> None:
        async with stage(answer_ok) as at:
            kept: list[Any] = []
            at.point.recheck = lambda: kept.append(at.point.admitted[-1].cancel)
            reply = await at.call(*modern())
            kept[0](Code.CREDENTIAL_REVOKED)
            await asyncio.sleep(0)
            assert not reply.json["result"]["isError"]
            assert [s.end for s in at.point.settled] == [CallEnd.OK]

    asyncio.run(play())
