"""The door on loopback: the program's key in, the agent's credential out, bytes as they are."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
import pytest

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.sdk.relay import relaying
from accredit.serving import bound, served

_SECRET: Final = "run_of-this-program"


@dataclass
class _Upstream:
    """What came in, and what to answer: the whole of it, or pieces until it breaks off."""

    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    status: int = 200
    pieces: tuple[bytes, ...] = (b"{}",)
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    breaks: bool = False
    stalls: bool = False
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path = (scope["raw_path"] + b"?" + scope["query_string"]).decode()
        self.seen.append((scope["method"], path, {a.decode(): b.decode() for a, b in scope["headers"]}, body))
        await send({"type": "http.response.start", "status": self.status, "headers": list(self.headers)})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self.breaks:
            raise ConnectionError("as told")
        if self.stalls:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.left.set()
        await send({"type": "http.response.body", "body": b""})


class _Tokens:
    """A new token each time the last one was dropped."""

    def __init__(self) -> None:
        self.agent = AgentId("agt_1")
        self.asked: list[str] = []
        self.number = 1
        self.fails = False

    async def access_token(self, resource: str) -> str:
        if self.fails:
            raise UnavailableError(Code.CREDENTIAL_PENDING, "not yet")
        self.asked.append(resource)
        return f"token-{self.number}"

    async def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str:
        raise NotImplementedError

    def forget_tokens(self) -> None:
        self.number += 1


@dataclass
class _Door:
    upstream: _Upstream
    tokens: _Tokens
    url: str
    base: str
    http: httpx2.AsyncClient


@asynccontextmanager
async def _door() -> AsyncIterator[_Door]:
    upstream, tokens = _Upstream(), _Tokens()
    async with (
        served(upstream, bound("127.0.0.1", 0)) as base,
        relaying(base, tokens, _SECRET) as url,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {_SECRET}"}, trust_env=False) as http,
    ):
        yield _Door(upstream, tokens, url, base, http)


def _run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await story

    asyncio.run(bounded())


@pytest.mark.requirement("sdk:run:credential")
def test_the_programs_key_never_goes_on_and_the_agents_never_comes_back() -> None:
    async def story() -> None:
        async with _door() as door:
            body = b'{"a": 1, "a" : 2}\r\n'  # whatever it is, it is not ours to judge
            given = {"x-api-key": _SECRET, "anthropic-version": "2023-06-01", "cookie": "c=1", "origin": "http://x"}
            answer = await door.http.post(f"{door.url}/llm/anthropic/v1/messages?b=%20c", content=body, headers=given)
            assert (answer.status_code, answer.content) == (200, b"{}")
            ((method, path, headers, sent),) = door.upstream.seen
            assert (method, path, sent) == ("POST", "/llm/anthropic/v1/messages?b=%20c", body)
            assert headers["authorization"] == "Bearer token-1"
            assert headers["host"] == door.base.removeprefix("http://")
            assert headers["content-length"] == str(len(body))
            assert headers["anthropic-version"] == "2023-06-01"
            assert {"x-api-key", "cookie", "origin"}.isdisjoint(headers)
            assert _SECRET not in str(headers)
            assert door.tokens.asked == [f"{door.base}/llm"]
            assert "token-1" not in str(answer.headers)

    _run(story())


@pytest.mark.requirement("sdk:run:credential")
def test_tokens_are_renewed_while_the_programs_key_stays() -> None:
    async def story() -> None:
        async with _door() as door:
            door.upstream.status = 401
            assert (await door.http.get(f"{door.url}/mcp")).status_code == 401
            door.upstream.status = 200
            assert (await door.http.get(f"{door.url}/mcp")).status_code == 200
            assert [headers["authorization"] for *_, headers, _ in door.upstream.seen] == [
                "Bearer token-1",
                "Bearer token-2",
            ]
            door.tokens.fails = True
            answer = await door.http.get(f"{door.url}/mcp")
            assert (answer.status_code, answer.json()["code"]) == (503, "credential_pending")

    _run(story())


@pytest.mark.requirement("sdk:run:credential")
@pytest.mark.parametrize(
    "path",
    ["/", "/api/v1/agents", "/llmx", "/oauth/token", "/mcp//x", "/mcp/%2e%2e/api", "/mcp/..%2fapi", "/mcp/a%5cb",
     "/access/v2/evaluation", "/mcp/%00", "/llm/%2Fapi"],
)  # fmt: skip
def test_nothing_but_what_serves_agents_is_reached(path: str) -> None:
    async def story() -> None:
        async with _door() as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))
            head = f"GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {_SECRET}\r\nconnection: close\r\n\r\n"
            writer.write(head.encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 404 ")
            writer.close()
            await writer.wait_closed()
            assert not door.upstream.seen

    _run(story())


@pytest.mark.requirement("sdk:run:credential")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer run_other"},
        {"authorization": f"Basic {_SECRET}"},
        {"x-api-key": "é"},
        {"authorization": f"Bearer {_SECRET}", "x-api-key": "other"},
        {"authorization": f"Bearer {_SECRET[:-1]}"},
    ],
)
def test_nobody_else_on_the_machine_is_served(headers: dict[str, str]) -> None:
    async def story() -> None:
        async with _door() as door, httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{door.url}/mcp", headers=[(a.encode(), b.encode()) for a, b in headers.items()])
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert not door.upstream.seen
            assert not door.tokens.asked

    _run(story())


@pytest.mark.requirement("sdk:run:clients")
def test_answers_come_as_they_are_and_as_they_come() -> None:
    async def story() -> None:
        async with _door() as door:
            packed = gzip.compress(b"hello")
            door.upstream.pieces = (packed,)
            door.upstream.headers = ((b"content-encoding", b"gzip"), (b"accredit-decision", b"dec_1"),
                                     (b"location", b"/elsewhere"))  # fmt: skip
            door.upstream.status = 302
            answer = await door.http.get(f"{door.url}/http/shop/x")
            assert (answer.status_code, answer.text) == (302, "hello")
            assert (answer.headers["accredit-decision"], answer.headers["location"]) == ("dec_1", "/elsewhere")

            door.upstream.status, door.upstream.stalls = 200, True
            door.upstream.headers, door.upstream.pieces = ((b"content-type", b"text/event-stream"),), (b"data: 1\n\n",)
            async with door.http.stream("POST", f"{door.url}/llm/openai/v1/x", content=b"{}") as stream:
                assert await anext(stream.aiter_raw()) == b"data: 1\n\n"  # while the rest is still to come
            await door.upstream.left.wait()  # whoever leaves, leaves both

    _run(story())


@pytest.mark.requirement("sdk:run:clients")
def test_an_answer_that_broke_off_is_no_whole_one() -> None:
    async def story() -> None:
        async with _door() as door:
            door.upstream.breaks = True
            with pytest.raises(httpx2.HTTPError):
                await door.http.get(f"{door.url}/mcp")
        tokens = _Tokens()
        with pytest.raises(InvalidInputError):
            async with relaying("http://accredit.example.com", tokens, _SECRET):
                pass
        async with relaying("http://127.0.0.1:1", tokens, _SECRET) as url, httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{url}/mcp", headers={"x-api-key": _SECRET})
            assert (answer.status_code, answer.json()["code"]) == (502, "upstream_unreachable")

    _run(story())
