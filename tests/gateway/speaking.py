"""The scripted server, spoken to in every way that `ToolServerProtocol` has; and programs for tests of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from accredit.gateway.programs import ProgramRules, Programs
from accredit.gateway.relay import Answer
from accredit.gateway.sessionhttp import SessionHttp
from accredit.gateway.statelesshttp import StatelessHttp
from accredit.gateway.stdio import StdioServers
from accredit.gateway.toolservers import ServerExchange, ToolRequest, ToolServerProtocol, always
from accredit.gateway.upstream import Upstream
from accredit.registry.model import Launch, ToolServer
from tests.gateway.scripted import LATEST, LEGACY, Behaviour
from tests.gateway.stage import RawServer, Seen, http_json, make_server

MOST = 2**20
SECRET_VALUE = "a-brokered-secret"
_CREDENTIAL = {"Authorization": f"Bearer {SECRET_VALUE}"}
VARIABLE = {"TOKEN": SECRET_VALUE}


# one that any user can run; there is none where nobody installed Python for everybody
_EVERYBODYS = shutil.which("python3", path="/usr/bin:/bin")
PYTHON = _EVERYBODYS or os.path.realpath(sys.executable)
OWN_USER = os.geteuid() == 0 and _EVERYBODYS is not None
own_user = pytest.mark.skipif(not OWN_USER, reason="only root can give a program a user of its own")


def rules(**more: Any) -> ProgramRules:
    """What holds for the programs of these tests."""
    given = {
        "allowed": True,
        "hidden": (),
        "unsafe_same_user": not OWN_USER,
        "first_uid": 61_184,
        "last_uid": 65_519,
        "memory_bytes": 2**30,
        "cpu_s": 60,
    }
    return ProgramRules(**{**given, **more})


def reads_of(*paths: str) -> tuple[str, ...]:
    """What a program of these tests sees where it would see nothing: the folder of its script, and its Python."""
    folders = {os.path.dirname(path) for path in paths} - {"/"}  # noqa: PTH120
    prefix = os.path.realpath(sys.base_prefix)
    return tuple(sorted(folders | ({prefix} if PYTHON.startswith(prefix) and prefix != "/usr" else set())))


def program(path: str, *args: str, env: dict[str, str] | None = None, directory: str | None = None) -> ToolServer:
    """A server that is started here: `args` are its revision and its fault."""
    arguments, variables = ("-B", "-u", path, *args), tuple(sorted((env or {}).items()))
    launch = Launch(PYTHON, arguments, directory, variables, "TOKEN", "none", reads_of(path))
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
    upstream = Upstream(max_result_bytes=MOST)
    async with RawServer(_serve(behaviour, session=None)).run() as raw:
        try:
            yield Kind(StatelessHttp(upstream), make_server(raw.url), _CREDENTIAL, lambda: behaviour.messages)
        finally:
            await upstream.aclose()


@asynccontextmanager
async def sessions(_: str, revision: str = LEGACY) -> AsyncIterator[Kind]:
    behaviour = Behaviour(revision)
    upstream = Upstream(max_result_bytes=MOST)
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
            yield Kind(protocol, program(path, revision), VARIABLE)

    return started


@asynccontextmanager
async def stdio(programs: Programs | None = None, **more: Any) -> AsyncIterator[StdioServers]:
    """Programs, all of which are gone in the end."""
    protocol = StdioServers(programs or Programs(rules()), **{"max_result_bytes": MOST, "first_wait_s": 0.0, **more})
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
