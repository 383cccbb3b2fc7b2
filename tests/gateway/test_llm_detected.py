"""Secrets and personal data in what a model says: on record as kinds and counts, and withheld by tier."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.enforcement.model import Admitted, Call, Refused
from accredit.registry.model import Environment, Tier
from tests.enforcement.place import raw_bytes
from tests.gateway.models import ANTHROPIC_STREAM, Room, chat, room, writer

CARD = "4111 1111 1111 1111"
CHAT: dict[str, Any] = {"model": "gpt-x", "messages": [{"role": "user", "content": "Say it"}], "max_tokens": 50}
PIECES = [
    b'data: {"id":"x","model":"gpt-x","choices":[{"index":0,"delta":{"content":"paid by 4111 11"}}]}\n\n',
    b'data: {"id":"x","model":"gpt-x","choices":[{"index":0,"delta":{"content":"11 1111 1111"}}]}\n\n',
    b'data: {"id":"x","model":"gpt-x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"id":"x","model":"gpt-x","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20}}\n\n',
    b"data: [DONE]\n\n",
]
SPENT = 100 * 3_000 + 20 * 15_000


def _as_if(at: Room, environment: Environment, tier: Tier | None) -> None:
    """Whoever is let through from now on runs there, at that tier."""
    enforcer = at.at.enforcer
    admit = type(enforcer).admit

    async def admitted(call: Call) -> Admitted | Refused:
        found = await admit(enforcer, call)
        if isinstance(found, Admitted):
            passage = enforcer._open[found.decision_id].passage
            assert passage.agent is not None
            passage.agent = replace(passage.agent, environment=environment, tier=tier)
        return found

    enforcer.admit = admitted  # type: ignore[method-assign]  # the gateway calls whatever stands there


@pytest.mark.requirement("llm:detected")
def test_what_a_model_says_is_looked_through_and_kept_from_the_most_critical_agents_in_production(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            at.provider.answer, at.provider.pieces = chat(f"paid by {CARD}"), lambda _: PIECES
            for environment, tier, withheld in (
                (Environment.DEVELOPMENT, Tier.HIGH, False),
                (Environment.PRODUCTION, Tier.MEDIUM, False),
                (Environment.PRODUCTION, Tier.HIGH, True),
                (Environment.PRODUCTION, None, True),
            ):
                _as_if(at, environment, tier)
                for asked in (CHAT, {**CHAT, "stream": True, "stream_options": {"include_usage": True}}):
                    told = await at.post("openai/v1/chat/completions", asked)
                    ended = (await at.outcomes())[-1]
                    assert (ended["detected"], ended["undeclared"]) == ({"card": 1}, ["financial"])
                    assert ended["settled"]["cost"] == SPENT  # it was used, whether it was told or not
                    if withheld:
                        assert (told.status_code, told.json()["error"]["code"]) == (502, "result_undeclared")
                        assert b"1111" not in told.content
                        assert ended["end"] == "withheld"
                    elif asked is CHAT:
                        assert told.json() == at.provider.answer
                    else:
                        assert told.content == b"".join(PIECES)
        assert not any(CARD.encode() in stored for stored in raw_bytes(tmp_path / "data"))

    asyncio.run(live())


@pytest.mark.requirement("llm:detected")
@pytest.mark.parametrize(
    "pieces",
    [
        [PIECES[2], f'data: {{"choices": [{{"delta": {{"content": "{CARD}"}}]\n\n'.encode(), PIECES[4]],
        [PIECES[2], f'data: {{"choices": [{{"delta": {{"content": "{CARD}'.encode()],
    ],
    ids=["malformed", "cut short"],
)
def test_what_cannot_be_read_of_an_answer_is_not_told_where_nothing_may_be_told_unseen(
    tmp_path: Path, pieces: list[bytes]
) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            at.provider.pieces = lambda _: pieces
            streamed = {**CHAT, "stream": True}
            assert (await at.post("openai/v1/chat/completions", streamed)).content == b"".join(pieces)
            _as_if(at, Environment.PRODUCTION, Tier.HIGH)
            told = await at.post("openai/v1/chat/completions", streamed)
            assert (told.status_code, told.json()["error"]["code"]) == (502, "result_undeclared")
            assert b"1111" not in told.content
            ended = (await at.outcomes())[-1]
            assert ended["end"] == "withheld"
            assert ended["settled"]["cost"] > SPENT  # its usage is not known: as reserved

    asyncio.run(live())


@pytest.mark.requirement("llm:detected")
def test_an_answer_without_such_data_passes_whole_at_every_tier_and_what_is_declared_does_too(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data", writer(data=["internal", "financial"])) as at:
            _as_if(at, Environment.PRODUCTION, Tier.HIGH)
            asked = {"model": "claude-x", "max_tokens": 50, "stream": True, "messages": CHAT["messages"]}
            told = await at.post("anthropic/v1/messages", asked)
            assert told.content == b"".join(ANTHROPIC_STREAM)
            at.provider.answer = chat(f"paid by {CARD}")
            assert (await at.post("openai/v1/chat/completions", CHAT)).json() == at.provider.answer
            assert [(one["detected"], one["undeclared"]) for one in await at.outcomes()] == [
                (None, []),
                ({"card": 1}, []),
            ]

    asyncio.run(live())
