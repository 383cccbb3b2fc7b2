"""A tool server that sends the brokered credential back, by mistake or not: no agent and no log ever sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.gateway import upstream as upstream_module
from accredit.gateway.definitions import UpstreamDefinitions
from accredit.gateway.upstream import Upstream
from accredit.kernel.errors import UnavailableError
from accredit.registry.model import ToolServer
from tests.gateway.stage import (
    SECRET,
    SSE_HEAD,
    RawServer,
    Script,
    Seen,
    Stage,
    http_json,
    legacy,
    make_server,
    modern,
    stage,
    tool_result,
    tool_servers,
)

_CANARY = SECRET.removeprefix("Bearer ")
_NOTHING = b"[redacted]"


def _said(seen: Seen, text: str, **more: object) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result(text, **more)})


def _escaped(body: bytes) -> bytes:
    """The same JSON, each letter of the secret spelled by its number."""
    return body.replace(_CANARY.encode(), "".join(f"\\u{ord(letter):04x}" for letter in _CANARY).encode())


def _answering(answer: Callable[[Seen], bytes]) -> Script:
    async def script(writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(answer(seen))
        writer.close()

    return script


def _failed(seen: Seen, words: str, *, status: str = "200 OK") -> bytes:
    return http_json(
        {"jsonrpc": "2.0", "id": seen.message["id"], "error": {"code": -32000, "message": words, "data": SECRET}},
        status=status,
    )


def _progress(seen: Seen) -> bytes:
    notice = {"progressToken": seen.message["id"], "progress": 1, "message": f"with {SECRET}"}
    sent = orjson.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": notice})
    return SSE_HEAD + b": " + SECRET.encode() + b"\n\ndata: " + sent + b"\n\ndata: " + _said(seen, "ok") + b"\n\n"


_ECHOES: dict[str, Callable[[Seen], bytes]] = {
    "its headers as text": lambda seen: http_json(_said(seen, seen.head.decode())),
    "its headers as data": lambda seen: http_json(_said(seen, "", structuredContent={"headers": seen.headers})),
    "as the name of a field": lambda seen: http_json(_said(seen, "", structuredContent={_CANARY: 1, SECRET: 2})),
    "letter by letter": lambda seen: http_json(_escaped(_said(seen, SECRET))),
    "in a URL": lambda seen: http_json(_said(seen, f"https://crm.example/?key={quote(SECRET, safe='')}")),
    "in `_meta`": lambda seen: http_json(_said(seen, "", _meta={"example.com/debug": SECRET})),
    "in an error": lambda seen: _failed(seen, f"bad credential {SECRET}"),
    "in an error with its status": lambda seen: _failed(seen, f"bad {SECRET}", status="401 Unauthorized"),
    "in an error, cut in the middle": lambda seen: _failed(seen, "x" * 1014 + _CANARY),
    "in progress and a comment": _progress,
    "in the answer's own headers": lambda seen: http_json(_said(seen, "ok"), extra=f"x-debug: {SECRET}\r\n"),
    "in a header that is none": lambda seen: http_json(_said(seen, "ok"), extra=f"x debug {SECRET}\r\n"),
    "in a status line that is none": lambda seen: f"HTTP/9 {SECRET}\r\n\r\n".encode(),
    "as a page": lambda seen: (
        b"HTTP/1.1 500 No\r\ncontent-type: text/html\r\ncontent-length: 22\r\n\r\n" + SECRET.encode()
    ),
    "in a redirect": lambda seen: f"HTTP/1.1 302 Found\r\nlocation: /?{_CANARY}\r\ncontent-length: 0\r\n\r\n".encode(),
}


@pytest.mark.requirement("gateway:upstream:credential-unseen")
@pytest.mark.parametrize("era", ["stateless", "sessions"])
@pytest.mark.parametrize("echo", _ECHOES)
def test_a_credential_sent_back_reaches_neither_agent_nor_log_nor_record(
    echo: str, era: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> tuple[bytes, Stage]:
        async with stage(_answering(_ECHOES[echo])) as at:
            if era == "stateless":
                sent = modern(meta={"progressToken": "p"})
            else:
                params = {"name": "read_customer", "arguments": {}, "_meta": {"progressToken": "p"}}
                sent = legacy("tools/call", params, session=await at.begin())
            reply = await at.call(*sent)
            assert at.server.seen[0].headers["authorization"] == SECRET
            return repr(sorted(reply.headers.items())).encode() + reply.body, at

    with caplog.at_level(logging.DEBUG):
        visible, at = asyncio.run(play())
    settled = repr(at.point.settled)
    for place in (visible, caplog.text.encode(), settled.encode()):
        assert _CANARY.encode() not in place
        assert _CANARY[:8].encode() not in place


@pytest.mark.requirement("gateway:upstream:credential-unseen")
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 400), max_size=6), escaped=st.booleans())
def test_a_credential_split_over_pieces_of_a_stream_is_found(cuts: list[int], escaped: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    async def script(writer: asyncio.StreamWriter, seen: Seen) -> None:
        said = _said(seen, f"before {SECRET} after")
        event = b"data: " + (_escaped(said) if escaped else said) + b"\n\n"
        writer.write(SSE_HEAD)
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(event)], strict=True):
            writer.write(event[start:end])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async def play() -> bytes:
        async with stage(script) as at:
            return (await at.call(*modern())).body

    body = asyncio.run(play())
    assert _CANARY.encode() not in body
    assert b"before Bearer " + _NOTHING + b" after" in body


def test_an_answer_without_the_credential_is_relayed_as_it_is() -> None:
    text = "Bearer of good news: \u00e9 / \\ \u2028 https://crm.example/a"

    async def play() -> object:
        async with stage(
            _answering(lambda seen: http_json(json.dumps(orjson.loads(_said(seen, text))).encode()))
        ) as at:
            return (await at.call(*modern())).json["result"]["content"][0]["text"]

    assert asyncio.run(play()) == text


@pytest.mark.requirement("gateway:upstream:credential-unseen")
@pytest.mark.parametrize(("size", "beside"), [(1_000, False), (400_000, True)])
def test_a_large_answer_is_looked_through_beside_the_loop_for_it_can_be_made_to_take_seconds(
    size: int, *, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []
    scrubbed, here = upstream_module.scrubbed, threading.get_ident()

    def watched(credential: Mapping[str, str], text: bytes) -> bytes:
        looked.append(threading.get_ident() != here)
        return scrubbed(credential, text)

    monkeypatch.setattr(upstream_module, "scrubbed", watched)
    text = "%41" * (size // 3) + SECRET

    async def play() -> bytes:
        async with stage(_answering(lambda seen: http_json(_said(seen, text)))) as at:
            return (await at.call(*modern())).body

    body = asyncio.run(play())
    assert _CANARY.encode() not in body
    assert _NOTHING in body
    assert looked == [beside]


class _Broker:
    async def headers(self, server: ToolServer, principal: object) -> dict[str, str]:
        return {"Authorization": SECRET}


@pytest.mark.requirement("gateway:upstream:credential-unseen")
def test_a_definition_never_carries_the_credential_it_was_asked_with(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> object:
        tool = {"name": "t", "description": f"called with {SECRET}", "inputSchema": {"type": "object"}}
        listed = _answering(
            lambda seen: http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": {"tools": [tool]}})
        )
        upstream = Upstream()
        try:
            async with RawServer(listed).run() as server:
                found = await UpstreamDefinitions(upstream, tool_servers(upstream), _Broker()).look(
                    make_server(server.url)
                )
                server.script = _answering(lambda _: f"HTTP/9 {SECRET}\r\n\r\n".encode())
                with pytest.raises(UnavailableError) as refused:
                    await UpstreamDefinitions(upstream, tool_servers(upstream), _Broker()).look(make_server(server.url))
                assert _CANARY not in refused.value.cause
            return found["t"]["description"]
        finally:
            await upstream.aclose()

    assert asyncio.run(play()) == "called with Bearer [redacted]"
    assert _CANARY not in caplog.text
