"""How long a provider may take: to be connected to, to begin, to go on, and in all. Each end has a name of its own."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.gateway.models import Room, provider, room, writer

CHAT: dict[str, Any] = {"model": "gpt-x", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 50}
CLAUDE: dict[str, Any] = {**CHAT, "model": "claude-x"}
_CHAT, _MESSAGES = "openai/v1/chat/completions", "anthropic/v1/messages"
SLOW = {"llm_first_byte_timeout_ms": 400, "llm_idle_timeout_ms": 300, "connect_timeout_ms": 300}


async def _ended(at: Room, end: str, code: str) -> None:
    """The newest call ended so, and was paid as it was reserved."""
    outcome = (await at.outcomes())[-1]
    (reserved,) = [
        body["reservation"]["cost"]
        for _, body in at.at.records("decision")
        if body["decision_id"] == outcome["decision_id"]
    ]
    assert (outcome["end"], outcome["code"]) == (end, code)
    assert outcome["settled"]["cost"] == (reserved if outcome["sent"] else 0)
    assert (await at.at.limits("writer"))["in_flight"] == 0


@pytest.mark.requirement("llm:timeouts")
def test_a_provider_that_does_not_begin_or_stands_still_is_given_up_under_a_name_of_its_own(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data", **SLOW) as at:
            at.provider.silent = True
            for path, asked in ((_CHAT, CHAT), (_MESSAGES, CLAUDE), (_CHAT, {**CHAT, "stream": True})):
                at.provider.left.clear()
                told = await at.post(path, asked)
                assert (told.status_code, told.json()["error"]["code"]) == (504, "first_byte_timeout")
                await _ended(at, "timeout", "first_byte_timeout")
                async with asyncio.timeout(2):
                    await at.provider.left.wait()  # nobody is left talking to us
            at.provider.silent, at.provider.stalls = False, True
            key, address = await at.key(), f"{at.at.url}/llm"
            client: Any = openai.AsyncOpenAI(api_key=key, base_url=f"{address}/openai/v1", max_retries=0)
            async with client:
                with pytest.raises(openai.APIError, match="stood still"):
                    _ = [one async for one in await client.chat.completions.create(**CHAT, stream=True)]
            await _ended(at, "timeout", "idle_timeout")
            claude: Any = anthropic.AsyncAnthropic(auth_token=key, base_url=f"{address}/anthropic", max_retries=0)
            async with claude:
                with pytest.raises(anthropic.APIError, match="stood still"):
                    _ = [one async for one in await claude.messages.create(**CLAUDE, stream=True)]
            await _ended(at, "timeout", "idle_timeout")

    asyncio.run(live())


@pytest.mark.requirement("llm:timeouts")
def test_a_provider_that_drips_runs_out_of_the_time_of_the_whole_call(tmp_path: Path) -> None:
    hasty = writer(limits={"calls": {"perMinute": 600}, "timeout": {"call": "1s"}, "cost": {"perDay": "5 USD"}})

    async def live() -> None:
        async with room(tmp_path / "data", hasty, **SLOW) as at:
            at.provider.drips_s = 0.1
            at.provider.pieces = lambda _: [bytes([letter]) for letter in b"data: {}" * 20]
            told = await at.post(_CHAT, {**CHAT, "stream": True})
            assert b"call_timeout" in told.content
            await _ended(at, "timeout", "call_timeout")

    asyncio.run(live())


@pytest.mark.requirement("llm:timeouts")
def test_a_provider_that_cannot_be_connected_to_costs_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data", **SLOW) as at:
            with ExitStack() as stack:
                full = stack.enter_context(socket.socket())
                full.bind(("127.0.0.1", 0))
                full.listen(0)
                url = f"http://127.0.0.1:{full.getsockname()[1]}"
                for _ in range(4):  # a queue that is full drops whoever comes next
                    waiting = stack.enter_context(socket.socket())
                    waiting.setblocking(False)
                    waiting.connect_ex(full.getsockname())
                await at.at.operator.put(
                    "upstream-credentials/llm-key", {"origin": url, "header": "X-Key", "value": "k" * 20}
                )
                await at.at.apply(provider("gpt", "openai", url, "gpt-x", "embed-x", "gpt-dear"))
                told = await at.post(_CHAT, CHAT)
                assert (told.status_code, told.json()["error"]["code"]) == (504, "connect_timeout")
                await _ended(at, "unreachable", "connect_timeout")

    asyncio.run(live())
