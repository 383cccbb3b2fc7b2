"""1,000 streams of calls that are not over, through the gateway, while others are served beside them.

A tool answers with one notice of progress and then says nothing but that it lives. Meanwhile another agent calls an
ordinary tool, one call at a time, before and while the streams are open. Then half of the watching clients vanish, which
must end their calls at the tool server, and the others are given their results; and all of it again. Gateway and tool server are processes of
their own, one worker each; everything that governs a call is on, records included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from _mcp import MODERN, Measured, caller, drive
from _policies import CASE
from _processes import answered, process
from _report import report

_ALIVE_S = 5.0
_ROUNDS = 5
_SETTLED = 2
"""The round after which the allocator has what it needs, and more would be a leak."""
_TOOLS = [
    {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object", "properties": {
        "customer_id": {"type": "string"}, "fields": {"type": "array", "items": {"type": "string"}}}}}
    for name in ("watch", "read_customer")
]  # fmt: skip


class _Slow:
    """The tool server: `watch` streams until it is released, `read_customer` answers at once."""

    def __init__(self) -> None:
        self.open = 0
        self.released = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/open":
            await _answer(send, str(self.open).encode())
            return
        if scope["path"] == "/release":
            self.released.set()
            self.released = asyncio.Event()
            await _answer(send, b"{}")
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = orjson.loads(body)
        result: dict[str, Any] = {"resultType": "complete"}
        if asked["method"] == "tools/list":
            result |= {"tools": _TOOLS, "ttlMs": 60000, "cacheScope": "public"}
        elif asked["method"] == "server/discover":
            result |= {"supportedVersions": [MODERN], "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "public"}
        else:
            result |= {"content": [{"type": "text", "text": "done"}], "isError": False}
        last = orjson.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result})
        if asked["method"] == "tools/call" and asked["params"]["name"] == "watch":
            await self._stream(asked["params"]["_meta"]["progressToken"], last, receive, send)
        else:
            await _answer(send, last)

    async def _stream(self, token: Any, last: bytes, receive: Any, send: Any) -> None:
        notice = {"jsonrpc": "2.0", "method": "notifications/progress",
                  "params": {"progressToken": token, "progress": 1}}  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": _event(orjson.dumps(notice)), "more_body": True})
        self.open += 1
        gone = asyncio.ensure_future(receive())
        done = asyncio.ensure_future(self.released.wait())
        try:
            while not done.done() and not gone.done():
                await asyncio.wait({gone, done}, timeout=_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
                await send({"type": "http.response.body", "body": b": alive\n\n", "more_body": True})
            await send({"type": "http.response.body", "body": _event(last)})
        finally:
            self.open -= 1
            for each in (gone, done):
                each.cancel()


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


async def _answer(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve_slow() -> None:
    from accredit.serving import bound, served

    async with served(_Slow(), bound("127.0.0.1", 0)) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def _serve_gateway(upstream: str, data: Path) -> None:
    """One installation with an agent that watches and one that reads; tells their keys when asked."""
    from accredit.bootstrap import run
    from accredit.serving import bound, served
    from accredit.settings import Settings

    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    settings = Settings(port=port, disk_reserve_mb=0, attempts_per_minute=1_000_000)
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        http = await stack.enter_async_context(aiohttp.ClientSession(base_url=url))

        async def operate(method: str, path: str, body: Any) -> Any:
            async with http.request(method, f"/api/v1/{path}", json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        login = await operate("POST", "login", {"link": running.first_link})
        http.headers["authorization"] = f"Bearer {login['token']}"
        await operate("PUT", "upstream-credentials/key",
                      {"origin": upstream, "header": "Authorization", "value": "Bearer 0123456789abcdef"})  # fmt: skip
        await operate("POST", "apply", {"files": [{"name": "f.json", "text": json.dumps(_fleet(upstream))}]})
        forbid = 'forbid (principal, action, resource in DataClass::"secret");'
        await operate("POST", "policy/publish", {"files": {"org/guardrails.cedar": forbid, "tests/any.yaml": CASE}})
        keys = [(await operate("POST", f"agents/{name}/keys", {"days": 1}))["key"] for name in ("watcher", "reader")]
        print(f"{url}/mcp/crm", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(" ".join(keys), flush=True)


def _fleet(upstream: str) -> list[dict[str, Any]]:
    def document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
        head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": spec}
        return head | ({"metadata": metadata} if metadata else {})

    def agent(name: str, tool: str) -> dict[str, Any]:
        return document("Agent", {"name": name, "team": "support", "environment": "development"}, {
            "purpose": "be measured", "owner": "dana@example.com", "data": ["internal"],
            "tools": [{"server": "crm", "allow": [tool]}], "models": [], "prompt": {"digest": "sha256:" + "0" * 64},
            "autonomy": "acts-unattended", "audience": "employees", "inputs": ["employees"], "reach": "department",
            "use": {"annex3": False, "decidesOnPeople": False},
            "limits": {"calls": {"perMinute": 100000}, "concurrency": 1000, "cost": {"perDay": "1000 USD"},
                       "timeout": {"call": "10m", "run": "24h"}}})  # fmt: skip

    facts = {"effect": "read", "data": ["internal"], "price": "0 USD"}
    return [
        document("Person", None, {"email": "dana@example.com"}),
        document("Team", {"name": "support"}, {"zones": ["UTC"]}),
        document("ToolServer", {"name": "crm", "environment": "development"}, {
            "url": f"{upstream}/mcp", "credential": "key", "tools": {"watch": facts, "read_customer": facts}}),
        agent("watcher", "watch"),
        agent("reader", "read_customer"),
    ]  # fmt: skip


class _Watcher:
    """One client with a stream open."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        meta = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {},
                "progressToken": "p"}  # fmt: skip
        params = {"name": "watch", "arguments": {}, "_meta": meta}
        self._body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        self._headers = {
            "accept": "application/json, text/event-stream", "content-type": "application/json",
            "mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "watch",
            "authorization": f"Bearer {key}",
        }  # fmt: skip
        self._session, self._url = session, url
        self._answer: aiohttp.ClientResponse | None = None

    async def begin(self) -> bool:
        """Call, and wait for the first notice."""
        self._answer = await self._session.post(self._url, data=self._body, headers=self._headers)
        return b"notifications/progress" in await self._answer.content.readany()

    def vanish(self) -> None:
        """Leave without a word."""
        if self._answer is not None:
            self._answer.close()

    async def end(self) -> bool:
        """Whether the result comes."""
        assert self._answer is not None
        return b'"done"' in await self._answer.content.read()


def _rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


async def _until_open(session: aiohttp.ClientSession, upstream: str, wanted: int) -> None:
    async with asyncio.timeout(60):
        while True:
            async with session.get(f"{upstream}/open") as answer:
                if int(await answer.read()) == wanted:
                    return
            await asyncio.sleep(0.05)


async def _measure(*, quick: bool) -> None:
    calls, streams = (100 if quick else 500), 1_000
    with tempfile.TemporaryDirectory() as place:
        async with (
            process(__file__, "--slow") as (_, upstream),
            process(__file__, "--gateway", upstream, f"{place}/data") as (gate, url),
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        ):
            watcher, reader = (await answered(gate)).split()
            through = caller(session, url, {"authorization": f"Bearer {reader}"})
            await drive(through, Measured(), calls=200, at_once=4)
            alone, beside = Measured(), Measured()
            await drive(through, alone, calls=calls, at_once=1)
            errors, grew = 0, []
            before = _rss_mb(gate.pid)
            for _ in range(_ROUNDS):
                watchers = [_Watcher(session, url, watcher) for _ in range(streams)]
                for start in range(0, streams, 50):
                    errors += (await asyncio.gather(*(one.begin() for one in watchers[start : start + 50]))).count(
                        False
                    )
                await _until_open(session, upstream, streams)
                grew.append(_rss_mb(gate.pid) - before)
                await drive(through, beside, calls=calls, at_once=1)
                for one in watchers[::2]:
                    one.vanish()
                await _until_open(session, upstream, streams - len(watchers[::2]))
                async with session.get(f"{upstream}/release") as released:
                    await released.read()
                errors += (await asyncio.gather(*(one.end() for one in watchers[1::2]))).count(False)
                await _until_open(session, upstream, 0)
    middle = [statistics.median(measured.latencies_s) * 1000 for measured in (alone, beside)]
    worst = sorted(beside.latencies_s)[-max(1, len(beside.latencies_s) // 100)] * 1000
    errors += alone.errors + beside.errors
    each = grew[0] * 1024 / streams
    print(f"with {streams} streams open the gateway takes {grew[0]:.1f} MB more, {each:.0f} KB each")
    grown = grew[-1] - grew[_SETTLED]
    print(f"with as many again and again: {grew[-1]:.1f} MB; {grown:.1f} MB of it in the last two of {_ROUNDS} times")
    print(f"another agent's call: {middle[0]:.3f} ms without, {middle[1]:.3f} ms with them (medians)")
    print(
        f"half of the clients vanished, their calls ended at the tool server; the others had their results: {errors} errors"
    )
    report("streams", {"streams": streams, "errors": errors, "rss_mb": grew[0], "kb_each": each,
                       "again_mb": grown, "alone_ms": middle[0], "beside_ms": middle[1], "beside_p99_ms": worst})  # fmt: skip


def main() -> None:
    """Measure and print; or be one of the two servers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--slow", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--gateway", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.slow:
        uvloop.run(_serve_slow())
    elif given.gateway:
        uvloop.run(_serve_gateway(given.gateway[0], Path(given.gateway[1])))
    else:
        uvloop.run(_measure(quick=given.quick))


if __name__ == "__main__":
    main()
