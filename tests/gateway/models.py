"""Providers of models as they answer, and an installation whose agents may use some of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from accredit.serving import bound, served
from tests.enforcement.place import Place, agent, document, place

__all__ = [
    "ANTHROPIC_STREAM",
    "KEY",
    "RATES",
    "Asked",
    "Provider",
    "Room",
    "chat",
    "furnished",
    "provider",
    "room",
    "writer",
]

KEY = "sk-brokered-0123456789abcdef"
RATES = {"input": "3 USD", "output": "15 USD", "cacheRead": "0.3 USD", "maxOutput": 1000}


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x", **more,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}  # fmt: skip


def _chunk(delta: Mapping[str, Any] | None, **more: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": dict(delta), "finish_reason": more.pop("stop", None)}]
    whole = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-x"}
    return b"data: " + orjson.dumps({**whole, "choices": choices, **more}) + b"\n\n"


def _event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()


USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
CACHED = {"input_tokens": 90, "output_tokens": 1, "cache_read_input_tokens": 10, "cache_creation_input_tokens": 0}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "stop_reason": None,
    "stop_sequence": None,
    "content": [],
    "usage": CACHED,
}
_THINKING = {"type": "thinking", "thinking": "", "signature": ""}
_TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {}}
_ARGUMENTS = {"type": "input_json_delta", "partial_json": '{"customer_id": "c-1"}'}
ANTHROPIC_STREAM = [
    _event("message_start", message=MESSAGE),
    _event("content_block_start", index=0, content_block=_THINKING),
    _event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "They ask for c-1."}),
    _event("content_block_stop", index=0),
    _event("content_block_start", index=1, content_block=_TOOL_USE),
    _event("content_block_delta", index=1, delta=_ARGUMENTS),
    _event("content_block_stop", index=1),
    _event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 20}),
    _event("message_stop"),
]


class Provider:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.status = 200
        self.pieces: Callable[[Asked], list[bytes]] | None = None
        """What a stream is made of, if not the usual."""
        self.answer: Any = None
        self.whole: Callable[[Asked], Any] | None = None
        """What an answer that is no stream is, if not the usual or `answer`."""
        self.headers: dict[str, str] = {}
        """What it tells besides, in whole answers."""
        self.stalls = False
        """Whether a stream stops after its first piece."""
        self.silent = False
        """Whether it does not even begin to answer."""
        self.drips_s: float | None = None
        """How long it takes between the pieces of a stream."""
        self.left = asyncio.Event()
        """Whoever asked went away while a stream had stopped."""
        self.breaks = False
        """Whether the connection breaks after the first piece."""

    def _usual(self, asked: Asked) -> list[bytes]:
        if asked.path.endswith("/messages"):
            return ANTHROPIC_STREAM
        usage = [_chunk(None, usage=USAGE)] if asked.json.get("stream_options", {}).get("include_usage") else []
        return [_chunk({"role": "assistant", "content": "Hel"}), _chunk({"content": "lo"}), _chunk({}, stop="stop"),
                *usage, b"data: [DONE]\n\n"]  # fmt: skip

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
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = Asked(scope["path"], headers, body)
        self.asked.append(asked)
        if self.silent:
            await self._until_left(receive)
            return
        if self.status == 200 and asked.json.get("stream"):
            head = [(b"content-type", b"text/event-stream; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            for piece in (self.pieces or self._usual)(asked):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if self.breaks:
                    raise ConnectionError("as told")
                if self.drips_s is not None:
                    await asyncio.sleep(self.drips_s)
                if self.stalls:
                    await self._until_left(receive)
            await send({"type": "http.response.body", "body": b""})
            return
        answer = orjson.dumps(self.answer if self.answer is not None else (self.whole or self._whole)(asked))
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        head += [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    async def _until_left(self, receive: Any) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(3):
                while (await receive())["type"] != "http.disconnect":
                    pass
                self.left.set()

    @staticmethod
    def _whole(asked: Asked) -> Any:
        if asked.path.endswith("/messages"):
            content = [{"type": "text", "text": "Hello"}]
            return {
                **MESSAGE,
                "content": content,
                "stop_reason": "end_turn",
                "usage": {**CACHED, "output_tokens": 20},
            }
        if asked.path.endswith("/embeddings"):
            vector = {"object": "embedding", "index": 0, "embedding": [0.5]}
            usage = {"prompt_tokens": 100, "total_tokens": 100}
            return {"object": "list", "model": "embed-x", "data": [vector], "usage": usage}
        if asked.path.endswith("/responses"):
            text = {"type": "output_text", "text": "Hello", "annotations": []}
            said = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
            return {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-x",
                    "output": [said], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
                    "usage": {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 20,
                              "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 120}}  # fmt: skip
        return chat("Hello")


def provider(name: str, api: str, url: str, *models: str) -> dict[str, Any]:
    """Its manifest."""
    spec = {"api": api, "url": url, "credential": "llm-key", "models": dict.fromkeys(models, RATES)}
    return document("ModelProvider", {"name": name, "environment": "development"}, spec)


def writer(*allow: str, **spec: Any) -> dict[str, Any]:
    """An agent that may use three models, and read customers, or what else is named."""
    models = [("gpt", "gpt-x"), ("gpt", "embed-x"), ("claude", "claude-x")]
    given = {"models": [{"provider": provider, "model": model} for provider, model in models]}
    return agent("writer", [{"allow": list(allow or ("read",))}], **given | spec)


@dataclass
class Room:
    """The place, and the provider behind both names."""

    at: Place
    provider: Provider
    url: str
    tokens: dict[str, str] = field(default_factory=dict)

    async def key(self, name: str = "writer") -> str:
        """A token of an agent for every model."""
        return await self.at.site.identities[name].access_token(f"{self.at.url}/llm")

    async def post(self, path: str, body: Any, token: str | None = None, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        given = {"content-type": "application/json", "authorization": f"Bearer {token or await self.key()}"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.at.site.agents_http.post(f"{self.at.url}/llm/{path}", content=content, headers=given)

    async def outcomes(self) -> list[dict[str, Any]]:
        await self.at.settled()
        return [body for _, body in self.at.records("outcome")]


@asynccontextmanager
async def room(data: Path, *agents: Mapping[str, Any], **settings: Any) -> AsyncIterator[Room]:
    """A place with providers `gpt` and `claude`, and agents that may use them."""
    there = Provider()
    async with served(there, bound("127.0.0.1", 0)) as url, place(data, **settings) as at:
        yield await furnished(at, there, url, *agents)


async def furnished(at: Place, there: Provider, url: str, *agents: Mapping[str, Any]) -> Room:
    """Register both names for the provider at that address, and agents that may use it."""
    await at.operator.put("upstream-credentials/llm-key", {"origin": url, "header": "X-Key", "value": KEY})
    await at.apply(
        provider("gpt", "openai", url, "gpt-x", "embed-x", "gpt-dear"),
        provider("claude", "anthropic", url, "claude-x"),
        *(agents or (writer(),)),
    )
    for each in agents or (writer(),):
        await at.enrol(each["metadata"]["name"])
    return Room(at, there, url)
