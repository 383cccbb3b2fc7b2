"""A chat through the gateway, as JSON and as a stream, against the same bare ASGI provider asked directly.

Everything on: token, strict reading of the body, policy, rate, concurrency, a budget with the worst case reserved, sealing
of what was said, a durable decision record before and an outcome record after each call. The request has 4 KB of
messages; the answer 1 KB, as a stream in 40 events. Gateway and provider are processes of their own, one worker each;
direct and governed calls take turns, one at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from _policies import CASE
from _processes import answered, process
from _report import report

_KEY = "sk-0123456789abcdef"
_CHAT = {
    "model": "gpt-x",
    "max_tokens": 500,
    "messages": [
        {"role": "system", "content": "You help customers. " * 150},
        {"role": "user", "content": "Where is my order? " * 50},
    ],
}
_HEAD = {"id": "chatcmpl-1", "created": 1, "model": "gpt-x"}
_USAGE = {"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100}
_ANSWER = orjson.dumps({
    **_HEAD, "object": "chat.completion", "usage": _USAGE,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "word " * 200}}],
})  # fmt: skip


def _event(choices: list[Any], **more: Any) -> bytes:
    return b"data: " + orjson.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": choices, **more}) + b"\n\n"


_EVENTS = [
    *(_event([{"index": 0, "delta": {"content": "word " * 5}, "finish_reason": None}]) for _ in range(40)),
    _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _event([], usage=_USAGE),
    b"data: [DONE]\n\n",
]


async def _provider(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer as fast as ASGI can."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if orjson.loads(body).get("stream"):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for event in _EVENTS:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _ANSWER})


async def _serve_bare() -> None:
    from accredit.serving import bound, served

    async with served(_provider, bound("127.0.0.1", 0)) as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def _serve_gateway(upstream: str, data: Path) -> None:
    """One installation with one agent; answers each line of standard input with a fresh token."""
    from accredit.bootstrap import run
    from accredit.sdk.identity import AsyncAgentIdentity
    from accredit.serving import bound, keep_what_is_loaded, served
    from accredit.settings import Settings

    listener = bound("127.0.0.1", 0)
    port = int(listener.getsockname()[1])
    settings = Settings(port=port, disk_reserve_mb=0, attempts_per_minute=1_000_000)
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(run(data, settings, port=port))
        url = await stack.enter_async_context(served(running.app, listener))
        keep_what_is_loaded()  # as `accredit up` does
        http = await stack.enter_async_context(aiohttp.ClientSession(base_url=url))

        async def operate(method: str, path: str, body: Any) -> Any:
            async with http.request(method, path, json=body) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        login = await operate("POST", "/api/v1/login", {"link": running.first_link})
        http.headers["authorization"] = f"Bearer {login['token']}"
        key = {"origin": upstream, "header": "Authorization", "value": f"Bearer {_KEY}"}
        await operate("PUT", "/api/v1/upstream-credentials/key", key)
        files = [{"name": "f.json", "text": json.dumps(_fleet(upstream))}]
        await operate("POST", "/api/v1/apply", {"files": files})
        policy = {"org/guardrails.cedar": _POLICIES, "tests/any.yaml": CASE}
        await operate("POST", "/api/v1/policy/publish", {"files": policy})
        joined = await operate("POST", "/api/v1/agents/bench/join-tokens", {})
        identity = await AsyncAgentIdentity.enrol(url, joined["join_token"])
        print(url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(await identity.access_token(f"{url}/llm"), flush=True)


_POLICIES = """
@hold("business-owner") forbid (principal, action in Action::"@irreversible", resource);
forbid (principal, action, resource in DataClass::"secret");
forbid (principal, action == Action::"llm/chat", resource in Provider::"gpt") when { context.input.tools.contains("delete_everything") };
"""


def _fleet(upstream: str) -> list[dict[str, Any]]:
    def document(kind: str, metadata: dict[str, Any] | None, spec: dict[str, Any]) -> dict[str, Any]:
        head: dict[str, Any] = {"apiVersion": "accredit/v1", "kind": kind, "spec": spec}
        return head | ({"metadata": metadata} if metadata else {})

    return [
        document("Person", None, {"email": "dana@example.com"}),
        document("Team", {"name": "support"}, {"zones": ["UTC"]}),
        document("ModelProvider", {"name": "gpt", "environment": "development"}, {
            "api": "openai", "url": upstream, "credential": "key",
            "models": {"gpt-x": {"input": "0.03 USD", "output": "0.15 USD", "maxOutput": 4000}}}),
        document("Agent", {"name": "bench", "team": "support", "environment": "development"}, {
            "purpose": "be measured", "owner": "dana@example.com", "data": [], "tools": [],
            "models": [{"provider": "gpt", "model": "gpt-x"}], "prompt": {"digest": "sha256:" + "0" * 64},
            "autonomy": "acts-unattended", "audience": "employees", "inputs": ["employees"], "reach": "department",
            "use": {"annex3": False, "decidesOnPeople": False},
            "limits": {"calls": {"perMinute": 100000}, "concurrency": 64, "cost": {"perDay": "1000 USD"},
                       "timeout": {"run": "24h"}}}),
    ]  # fmt: skip


class _Times:
    """Seconds to the first bytes of the answer, and to its end."""

    def __init__(self) -> None:
        self.first_s: list[float] = []
        self.whole_s: list[float] = []

    def medians_ms(self) -> tuple[float, float]:
        return statistics.median(self.first_s) * 1000, statistics.median(self.whole_s) * 1000


async def _ask(session: aiohttp.ClientSession, url: str, token: str, calls: int, into: _Times, *, stream: bool) -> int:
    errors = 0
    body = orjson.dumps({**_CHAT, "stream": True} if stream else _CHAT)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    for _ in range(calls):
        began = time.perf_counter()
        async with session.post(f"{url}/v1/chat/completions", data=body, headers=headers) as answer:
            first = await answer.content.readany()
            first_s = time.perf_counter() - began
            rest = first + await answer.read()
        if answer.status != 200 or (stream and not rest.endswith(_EVENTS[-1])):
            errors += 1
            continue
        into.first_s.append(first_s)
        into.whole_s.append(time.perf_counter() - began)
    return errors


async def _measure(*, quick: bool) -> None:
    rounds, calls = (4, 150) if quick else (8, 300)
    errors = 0
    with tempfile.TemporaryDirectory() as place:
        async with (
            process(__file__, "--bare") as (_, upstream),
            process(__file__, "--gateway", upstream, f"{place}/data") as (gate, url),
            aiohttp.ClientSession() as session,
        ):
            token = await answered(gate)
            places = {"direct": upstream, "gateway": f"{url}/llm/openai"}
            figures = {(name, stream): _Times() for name in places for stream in (False, True)}
            for each in places.values():
                errors += await _ask(session, each, token, 100, _Times(), stream=True)
            for _ in range(rounds):
                for stream in (False, True):
                    for name, each in places.items():
                        errors += await _ask(session, each, token, calls, figures[name, stream], stream=stream)
    middle = {key: times.medians_ms() for key, times in figures.items()}
    for stream, what in ((False, "JSON"), (True, "a stream")):
        direct, through = middle["direct", stream], middle["gateway", stream]
        print(f"{what}: direct {direct[0]:.3f} ms to the first bytes and {direct[1]:.3f} to the end, "
              f"through the gateway {through[0]:.3f} and {through[1]:.3f} (medians)")  # fmt: skip
    report("llm", {
        "added_ms": middle["gateway", False][1] - middle["direct", False][1],
        "first_chunk_added_ms": middle["gateway", True][0] - middle["direct", True][0],
        "stream_added_ms": middle["gateway", True][1] - middle["direct", True][1],
        "errors": errors,
        "direct_ms": middle["direct", False][1], "direct_stream_ms": middle["direct", True][1],
    })  # fmt: skip


def main() -> None:
    """Measure and print; or be one of the two servers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--gateway", nargs=2, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.bare:
        uvloop.run(_serve_bare())
    elif given.gateway:
        uvloop.run(_serve_gateway(given.gateway[0], Path(given.gateway[1])))
    else:
        uvloop.run(_measure(quick=given.quick))


if __name__ == "__main__":
    main()
