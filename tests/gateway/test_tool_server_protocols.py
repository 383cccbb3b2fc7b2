"""The conformance suite of `ToolServerProtocol`: what holds whichever way a tool server is spoken to."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.gateway.programs import ProgramRules, Programs
from accredit.gateway.relay import ALIVE, Answer
from accredit.gateway.sessionhttp import SessionHttp
from accredit.gateway.statelesshttp import StatelessHttp
from accredit.gateway.stdio import StdioServers
from accredit.gateway.toolservers import ServerExchange, ToolRequest, ToolServerProtocol, always
from accredit.gateway.upstream import Upstream
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.registry.model import Launch, ToolServer
from tests.gateway import scripted
from tests.gateway.scripted import LATEST, LEGACY, Behaviour
from tests.gateway.stage import RawServer, Seen, http_json, make_server

_MOST = 2**20
_SECRET = "a-brokered-secret"  # noqa: S105 - what the tests look for
_CREDENTIAL = {"Authorization": f"Bearer {_SECRET}"}
_VARIABLE = {"TOKEN": _SECRET}


# one that any user can run; there is none where nobody installed Python for everybody
_EVERYBODYS = shutil.which("python3", path="/usr/bin:/bin")
PYTHON = _EVERYBODYS or os.path.realpath(sys.executable)
OWN_USER = os.geteuid() == 0 and _EVERYBODYS is not None
own_user = pytest.mark.skipif(not OWN_USER, reason="only root can give a program a user of its own")


def rules(**more: Any) -> ProgramRules:
    """What holds for the programs of these tests."""
    given = {"allowed": True, "hidden": (), "unsafe_same_user": not OWN_USER, "first_uid": 61_184, "last_uid": 65_519, "memory_bytes": 2**30, "cpu_s": 60}
    return ProgramRules(**{**given, **more})


@pytest.fixture(scope="module")
def script() -> Iterator[str]:
    """The scripted server where any user can read it."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    path = folder / "scripted.py"
    shutil.copy(scripted.__file__, path)
    path.chmod(0o644)
    yield str(path)
    shutil.rmtree(folder)


def program(path: str, *args: str, env: dict[str, str] | None = None, directory: str | None = None) -> ToolServer:
    """A server that is started here: `args` are its revision and its fault."""
    launch = Launch(
        PYTHON, ("-B", "-u", path, *args), directory, tuple(sorted((env or {}).items())), "TOKEN"
    )
    return replace(make_server("stdio:crm"), launch=launch, revision=args[0])


@dataclass
class Kind:
    """One way to speak to the scripted server, and what it was told."""

    protocol: ToolServerProtocol
    server: ToolServer
    credential: dict[str, str]
    told: Callable[[], list[dict[str, Any]]] = field(default=list)
    """Messages that reached it, where that can be seen."""

    def call(
        self, name: str, *, recheck: Callable[[], None] = always, progress: bool = False, **arguments: Any
    ) -> ServerExchange:
        request = ToolRequest("tools/call", {"name": name, "arguments": arguments}, progress=progress)
        return self.protocol.exchange(self.server, request, credential=self.credential, recheck=recheck)

    async def ask(self, name: str, **arguments: Any) -> Answer:
        return await last(self.call(name, **arguments))


async def last(exchange: ServerExchange) -> Answer:
    """The end of an answer; every wait is bounded."""
    async with asyncio.timeout(30), exchange:
        while (answer := await exchange.next()) is not None:
            if answer.final:
                return answer
    raise AssertionError("no response")


def text_of(answer: Answer) -> str:
    assert answer.result is not None, answer
    return str(answer.result["content"][0]["text"])


@asynccontextmanager
async def stateless(_: str) -> AsyncIterator[Kind]:
    behaviour = Behaviour(LATEST)
    upstream = Upstream(max_result_bytes=_MOST)
    async with RawServer(_serve(behaviour, session=None)).run() as raw:
        try:
            yield Kind(StatelessHttp(upstream), make_server(raw.url), _CREDENTIAL, lambda: behaviour.messages)
        finally:
            await upstream.aclose()


@asynccontextmanager
async def sessions(_: str, revision: str = LEGACY) -> AsyncIterator[Kind]:
    behaviour = Behaviour(revision)
    upstream = Upstream(max_result_bytes=_MOST)
    async with RawServer(_serve(behaviour, session="session-1")).run() as raw:
        protocol = SessionHttp(upstream)
        try:
            server = replace(make_server(raw.url), revision=revision)
            yield Kind(protocol, server, _CREDENTIAL, lambda: behaviour.messages)
        finally:
            await protocol.aclose()
            await upstream.aclose()


def _serve(behaviour: Behaviour, *, session: str | None) -> Any:
    async def serve(writer: asyncio.StreamWriter, seen: Seen) -> None:
        assert seen.headers["authorization"] == _CREDENTIAL["Authorization"]
        if seen.head.startswith(b"DELETE"):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            return
        message = seen.message
        if session is not None and message.get("method") != "initialize":
            assert seen.headers["mcp-session-id"] == session
            assert seen.headers["mcp-protocol-version"] == behaviour.revision
        texts = behaviour.answers(message)
        if not texts and "id" not in message:
            writer.write(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")
        elif not texts:
            await seen.until_closed()
        elif len(texts) == 1:
            extra = f"mcp-session-id: {session}\r\n" if session and message["method"] == "initialize" else ""
            writer.write(http_json(texts[0].encode(), extra=extra))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
            for text in texts:
                writer.write(f"data: {text}\n\n".encode())
            writer.close()

    return serve


def _stdio(revision: str) -> Callable[[str], Any]:
    @asynccontextmanager
    async def started(path: str) -> AsyncIterator[Kind]:
        async with stdio() as protocol:
            yield Kind(protocol, program(path, revision), _VARIABLE)

    return started


@asynccontextmanager
async def stdio(programs: Programs | None = None, **more: Any) -> AsyncIterator[StdioServers]:
    """Programs, all of which are gone in the end."""
    protocol = StdioServers(programs or Programs(rules()), **{"max_result_bytes": _MOST, "first_wait_s": 0.0, **more})
    try:
        yield protocol
    finally:
        async with asyncio.timeout(30):
            await protocol.aclose()


KINDS = {
    "stateless": stateless,
    "sessions": sessions,
    "stdio-stateless": _stdio(LATEST),
    "stdio-sessions": _stdio(LEGACY),
}


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
                at.protocol.exchange(
                    at.server, ToolRequest("tools/list", {}), credential=at.credential, recheck=always
                )
            )
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
def test_a_call_that_is_left_is_cancelled_and_the_next_one_works(
    kind: Made, caplog: pytest.LogCaptureFixture
) -> None:
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
                await at.ask("huge", text=str(_MOST + 1))
            assert caught.value.code is Code.UPSTREAM_OVERSIZED
            assert text_of(await at.ask("echo", text="next")) == "next"

    asyncio.run(play())


@pytest.mark.requirement("gateway:upstream:credential-unseen")
def test_the_credential_never_comes_back(kind: Made) -> None:
    async def play() -> None:
        async with kind() as at:
            for spelled in (_SECRET, _SECRET.replace("a", "\\u0061")):
                assert _SECRET not in str(orjson.loads(orjson.dumps((await at.ask("echo", text=_SECRET)).result)))
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
