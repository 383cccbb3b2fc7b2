"""A tool call names the model's answer that asked for it: over restarts, credentials of one agent, and by its id."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.sdk.identity import AsyncAgentIdentity
from accredit.serving import bound, served
from tests.enforcement.place import Place, Site, raw_bytes, site
from tests.gateway.models import Provider, Room, chat, furnished, room, writer
from tests.gateway.test_llm_proxy import CHAT

_ONE: dict[str, Any] = {"customer_id": "customer-4711"}


def _asks(*calls: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """An answer that asks for these calls: id, name, arguments."""
    made = [
        {"id": own, "type": "function", "function": {"name": name, "arguments": orjson.dumps(arguments).decode()}}
        for own, name, arguments in calls
    ]
    said = {"role": "assistant", "content": "I look it up.", "tool_calls": made}
    return {**chat(""), "choices": [{"index": 0, "message": said}]}


async def _answered(at: Room, *calls: tuple[str, str, dict[str, Any]], token: str | None = None) -> str:
    """Have a model ask for calls; the decision."""
    at.provider.answer = _asks(*calls)
    answer = await at.post("openai/v1/chat/completions", CHAT, token)
    assert answer.status_code == 200, answer.text
    await at.at.settled()
    return str(answer.headers["accredit-decision"])


async def _tool(at: Place, name: str = "writer") -> str:
    return await at.site.identities[name].access_token(f"{at.url}/mcp/crm")


async def _second(at: Place, name: str = "writer") -> AsyncAgentIdentity:
    """One more instance of an agent."""
    made = await at.operator.post(f"agents/{name}/join-tokens", {})
    return await AsyncAgentIdentity.enrol(at.url, made["join_token"], clock=at.site.clock, ids=at.site.ids)


def _reasons(at: Place) -> list[tuple[Any, Any]]:
    found = [(head, body) for head, body in at.records("decision") if head["tool"] == "crm/read"]
    return [(body["reason"], body["reason_by"]) for _, body in found]


@asynccontextmanager
async def _lasting(data: Path) -> AsyncIterator[tuple[Site, Provider, str]]:
    there = Provider()
    async with site(data) as here, served(there, bound("127.0.0.1", 0)) as url:
        yield here, there, url


@pytest.mark.requirement("llm:joined:kept", "llm:joined:call")
def test_a_tool_call_after_a_restart_names_the_answer_before_it(tmp_path: Path) -> None:
    async def live() -> None:
        async with _lasting(tmp_path / "data") as (here, there, url):
            async with here.started() as at:
                await here.register(at)
                first = await furnished(at, there, url)
                decision = await _answered(first, ("call_one", "mcp__crm__read", _ONE), ("call_two", "crm_read", {}))
            async with here.started() as at:
                token = await _tool(at)
                assert (await at.call(token, "read", _ONE)).allowed
                assert (await at.call(token, "read", {"customer_id": "c-2"})).allowed
                named = {"dev.accredit/call": "call_two"}
                assert (await at.call(token, "read", {"customer_id": "c-3"}, meta=named)).allowed
                follows = [
                    {"role": "user", "content": "Go on."},
                    {"role": "tool", "tool_call_id": "call_one", "content": "x"},
                ]
                again, there.answer = Room(at, there, url), None
                answer = await again.post("openai/v1/chat/completions", {**CHAT, "messages": follows})
                await at.settled()
                assert _reasons(at) == [(decision, "arguments"), (None, None), (decision, "call")]
                decided = {body["decision_id"]: body for _, body in at.records("decision")}
                asked = decided[answer.headers["accredit-decision"]]
                assert (asked["reason"], asked["reason_by"]) == (decision, "result")
                # and the one read back opens like any other
                (called,) = [own for own, body in decided.items() if body["reason_by"] == "arguments"]
                shown = await at.operator.get(f"decisions/{called}")
                assert shown["reason"]["outcome"]["parts"]["result"]["text"] == "I look it up."
            async with here.started() as at:  # which has more to read back than the process before it left
                assert (await at.call(await _tool(at), "read", _ONE)).allowed
                assert _reasons(at)[-1] == (decision, "arguments")
            here.clock.advance(3_601)
            async with here.started() as at:
                assert (await at.call(await _tool(at), "read", _ONE)).allowed
                assert _reasons(at)[-1] == (None, None)
            here.verified()

    asyncio.run(live())


@pytest.mark.requirement("llm:joined:kept")
def test_just_after_midnight_the_hour_before_it_is_read_back_too(tmp_path: Path) -> None:
    async def live() -> None:
        async with _lasting(tmp_path / "data") as (here, there, url):
            here.clock.advance(13 * 3_600 + 52 * 60)  # from ten in the morning
            async with here.started() as at:
                await here.register(at)
                decision = await _answered(await furnished(at, there, url), ("call_one", "read", _ONE))
            async with here.started() as at:
                pass
            here.clock.advance(12 * 60)
            async with here.started() as at:
                assert (await at.call(await _tool(at), "read", _ONE)).allowed
                assert _reasons(at) == [(decision, "arguments")]

    asyncio.run(live())


@pytest.mark.requirement("llm:joined:kept")
def test_what_is_on_record_of_calls_asked_for_is_nothing_a_model_or_an_agent_wrote(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            secret = {"customer_id": "secret-4711"}
            calls = [(f"call_secret_{n}", "read" if n % 2 else "name_of_a_secret_tool", secret) for n in range(100)]
            await _answered(at, *calls)
            await _answered(at)
            (asked, none) = await at.outcomes()
            assert "asked" not in none
            assert len(asked["asked"]) == 64
            tools = {tuple(tools) for tools, _, _ in asked["asked"]}
            assert tools == {("crm/read",), ()}
            arguments, named = {one[1] for one in asked["asked"]}, {one[2] for one in asked["asked"]}
            assert (len(arguments), len(named)) == (1, 64)
            for raw in raw_bytes(tmp_path / "data"):
                assert b"secret-4711" not in raw
                assert b"call_secret" not in raw
                assert b"secret_tool" not in raw

    asyncio.run(live())


@pytest.mark.requirement("llm:joined:agent")
def test_an_agent_with_a_key_for_models_and_one_for_tools_has_reasons_and_no_other_agent_has_them(
    tmp_path: Path,
) -> None:
    other = writer()
    other["metadata"]["name"] = "other"

    async def live() -> None:
        async with room(tmp_path / "data", writer(), other) as at:
            second = await _second(at.at)
            tools = await second.access_token(f"{at.at.url}/mcp/crm")
            decision = await _answered(at, ("call_one", "read", _ONE))
            assert (await at.at.call(tools, "read", _ONE)).allowed
            theirs = await _tool(at.at, "other")
            named = {"dev.accredit/call": "call_one"}
            assert (await at.at.call(theirs, "read", _ONE, meta=named)).allowed
            # a user's session is another
            kim = await second.exchange(
                f"{at.at.url}/mcp/crm",
                subject_token=at.at.site.directory.token_for("kim", roles=[], audience=at.at.url),
            )
            assert (await at.at.call(kim, "read", _ONE)).allowed
            # asked of both of two other instances alike, it is nobody's
            third = await _second(at.at)
            await _answered(at, ("call_two", "read", {}))
            await _answered(at, ("call_three", "read", {}), token=await third.access_token(f"{at.at.url}/llm"))
            assert (await at.at.call(tools, "read", {})).allowed
            # so is what was asked in a session that is over
            at.at.site.clock.advance(1_801)
            late = await second.access_token(f"{at.at.url}/mcp/crm")
            assert (await at.at.call(late, "read", _ONE)).allowed
            assert (await at.at.call(await _tool(at.at), "read", _ONE)).allowed  # one's own lasts an hour
            await at.at.settled()
            nobody = (None, None)
            assert _reasons(at.at) == [(decision, "arguments"), nobody, nobody, nobody, nobody, (decision, "arguments")]

    asyncio.run(live())


@pytest.mark.requirement("llm:joined:call")
@pytest.mark.parametrize("key", ["dev.accredit/call", "claudecode/toolUseId"])
def test_a_call_names_itself_by_the_providers_id_and_only_among_its_agents_answers(tmp_path: Path, key: str) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            first = await _answered(at, ("call_one", "read", _ONE))
            second = await _answered(at, ("call_two", "read", _ONE))
            token = await _tool(at.at)
            for named in ("call_one", "call_two", "call_unknown", 5, None, "x" * 300, ["call_one"]):
                assert (await at.at.call(token, "read", _ONE, meta={key: named})).allowed
            assert (await at.at.call(token, "read", {"customer_id": "another"}, meta={key: "call_one"})).allowed
            await at.at.settled()
            newest = (second, "arguments")
            assert _reasons(at.at) == [(first, "arguments"), newest, *([newest] * 5), (first, "call")]
            assert [list(call.get("_meta", {})) for call in at.at.site.box.calls if key in call.get("_meta", {})] == []

    asyncio.run(live())
