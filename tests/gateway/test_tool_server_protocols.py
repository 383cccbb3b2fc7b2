"""The conformance suite of `ToolServerProtocol`: what holds whichever way a tool server is spoken to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from accredit.gateway.relay import ALIVE
from accredit.gateway.toolservers import ToolRequest, always
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from tests.gateway import scripted
from tests.gateway.scripted import LATEST
from tests.gateway.speaking import KINDS, MOST, SECRET_VALUE, last, text_of


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, script: str) -> Callable[[], Any]:
    """Each way."""
    return lambda: KINDS[request.param](script)


Made = Callable[[], Any]


@pytest.mark.requirement("gateway:tool-servers:one-port")
def test_results_errors_and_tool_errors_come_back_as_the_server_said_them(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            assert text_of(await at.ask("echo", text="hällo")) == "hällo"
            assert (await at.ask("fail")).result["isError"] is True
            assert (await at.ask("error")).error == {"code": -32000, "message": "broken"}
            listed = await last(
                at.protocol.exchange(at.server, ToolRequest("tools/list", {}), credential=at.credential, recheck=always)
            )
            assert listed.result is not None
            assert [tool["name"] for tool in listed.result["tools"]] == [tool["name"] for tool in scripted.TOOLS]

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:one-port")
def test_it_says_which_revision_it_speaks(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            assert await at.protocol.revision(at.server, credential=at.credential) == at.server.revision

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:one-port")
def test_an_answer_reaches_the_request_it_was_made_for_among_a_hundred(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            answers = await asyncio.gather(*(at.ask("echo", text=f"call {number}") for number in range(100)))
            assert [text_of(answer) for answer in answers] == [f"call {number}" for number in range(100)]

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:one-port")
def test_progress_comes_before_the_result_and_only_if_it_was_asked_for(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            heard = []
            async with asyncio.timeout(30), at.call("progress", progress=True) as exchange:
                while not (answer := await exchange.next()).final:
                    heard.append(answer)
            assert [each.progress for each in heard if each != ALIVE] == [
                {"progress": 1, "total": 2},
                {"progress": 2, "total": 2},
            ]
            assert exchange.sent
            assert exchange.received > 100

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:re-check")
def test_what_the_re_check_refuses_is_never_written(kind: Made) -> None:
    def refuse() -> None:
        raise UnavailableError(Code.AGENT_NOT_ACTIVE, "revoked")

    async def play() -> None:
        async with kind() as at:
            exchange = at.call("echo", recheck=refuse, text="must not be written")
            with pytest.raises(AccreditError) as caught:
                await last(exchange)
            assert caught.value.code is Code.AGENT_NOT_ACTIVE
            assert not exchange.sent
            assert text_of(await at.ask("echo", text="next")) == "next"
            assert "must not be written" not in str(at.told())

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:re-check")
def test_nothing_is_written_before_an_answer_is_asked_for(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            async with at.call("echo", text="never asked for") as exchange:
                assert not exchange.sent
            assert "never asked for" not in str(at.told())

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:cancelled")
def test_a_call_that_is_left_is_cancelled_and_the_next_one_works(kind: Made, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "accredit.gateway")

    async def play() -> None:
        async with kind() as at:
            exchange = at.call("hang")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5), exchange:
                    await exchange.next()
            assert exchange.sent
            assert text_of(await at.ask("echo", text="next")) == "next"
            if at.server.revision == LATEST and at.server.launch is None:
                return  # there the closed connection says it
            async with asyncio.timeout(10):
                while "cancelled" not in caplog.text + str([each.get("method") for each in at.told()]):
                    await asyncio.sleep(0.01)

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:bounded")
def test_an_answer_that_is_too_large_is_refused(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            with pytest.raises(UnavailableError) as caught:
                await at.ask("huge", text=str(MOST + 1))
            assert caught.value.code is Code.UPSTREAM_OVERSIZED
            assert text_of(await at.ask("echo", text="next")) == "next"

    asyncio.run(play())


@pytest.mark.requirement("gateway:upstream:credential-unseen")
def test_the_credential_never_comes_back(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            for spelled in (SECRET_VALUE, SECRET_VALUE.replace("a", "\\u0061")):
                assert SECRET_VALUE not in str(
                    orjson.loads(orjson.dumps((await at.ask("echo", text=SECRET_VALUE)).result))
                )
                assert spelled

    asyncio.run(play())


@pytest.mark.requirement("gateway:tool-servers:ended")
def test_what_is_forgotten_is_begun_anew_when_it_is_needed(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            assert text_of(await at.ask("echo", text="one")) == "one"
            at.protocol.forget(at.server.name, unless=at.server.place)
            assert text_of(await at.ask("echo", text="two")) == "two"
            at.protocol.forget(at.server.name)
            assert text_of(await at.ask("echo", text="three")) == "three"

    asyncio.run(play())
