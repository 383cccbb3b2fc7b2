"""Models behind the gateway: bytes pass as they are, what is asked is decided and paid for, all is recorded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from accredit.audit.records import open_part, part_values
from accredit.enforcement.model import Admitted, Call, Refused
from tests.enforcement.place import GUARDRAILS, raw_bytes
from tests.gateway.models import ANTHROPIC_STREAM, KEY, RATES, Asked, Room, chat, provider, room, writer
from tests.policies import with_cases

USD = 1_000_000_000
CHAT: dict[str, Any] = {"model": "gpt-x", "messages": [{"role": "user", "content": "Say hello"}], "max_tokens": 50}
SPENT = 100 * 3_000 + 20 * 15_000
"""Of 100 tokens in and 20 out, at 3 and 15 USD a million, in nano-units."""


def _result(at: Room, index: int = -1) -> dict[str, Any]:
    record = [one for one in at.at.running.plane.records.records() if b'"kind":"outcome"' in one.header][index]
    return part_values(open_part(record, "result", at.at.running.plane.part_keys))


@pytest.mark.requirement("llm:clients")
def test_the_official_clients_get_what_the_provider_says_with_nothing_changed_but_address_and_key(
    tmp_path: Path,
) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            key = await at.key()
            async with openai.AsyncOpenAI(api_key=key, base_url=f"{at.at.url}/llm/openai/v1", max_retries=0) as client:
                create: Any = client.chat.completions.create
                said = await create(**CHAT)
                assert said.choices[0].message.content == "Hello"
                assert at.provider.asked[-1].headers["x-key"] == KEY
                assert "authorization" not in at.provider.asked[-1].headers
                pieces = [one async for one in await create(stream=True, **CHAT)]
                assert "".join(one.choices[0].delta.content or "" for one in pieces if one.choices) == "Hello"
                assert all(one.choices for one in pieces)  # the usage that nobody asked for is left out
                asked = {"stream_options": {"include_usage": True}}
                pieces = [one async for one in await create(stream=True, **CHAT, **asked)]
                assert pieces[-1].usage is not None
                response = await client.responses.create(model="gpt-x", input="Say hello", store=False)
                assert response.output_text == "Hello"
                vectors = await client.embeddings.create(model="embed-x", input="hello", encoding_format="float")
                assert vectors.data[0].embedding == [0.5]
                assert [one.id async for one in client.models.list()] == ["embed-x", "gpt-x"]
                with pytest.raises(openai.PermissionDeniedError) as refused:
                    await client.chat.completions.create(model="gpt-dear", messages=[])
                assert refused.value.code == "tool_not_granted"
                assert "no such model" in refused.value.message
                assert "`models`" in refused.value.message
            secret = (await at.at.operator.post("agents/writer/keys", {"path": "/llm"}))["key"]
            base = f"{at.at.url}/llm/anthropic"
            async with anthropic.AsyncAnthropic(api_key=secret, base_url=base, max_retries=0) as claude:
                asking: Any = {
                    "model": "claude-x",
                    "max_tokens": 50,
                    "messages": [{"role": "user", "content": "Hello"}],
                }
                message = await claude.messages.create(**asking)
                assert message.content[0].type == "text"
                assert at.provider.asked[-1].headers["anthropic-version"]
                async with claude.messages.stream(**asking) as stream:
                    final = await stream.get_final_message()
                assert final.content[1].type == "tool_use"
                with pytest.raises(anthropic.PermissionDeniedError):
                    await claude.messages.create(**asking | {"model": "claude-dear"})
            outcomes = await at.outcomes()
            assert [one["end"] for one in outcomes] == ["ok"] * 7
            costs = [one["settled"]["cost"] for one in outcomes]
            cached = 90 * 3_000 + 10 * 300 + 20 * 15_000
            assert costs == [SPENT, SPENT, SPENT, SPENT, 100 * 3_000, cached, cached]

    asyncio.run(live())


@pytest.mark.requirement("llm:bytes")
def test_bodies_go_out_as_they_came_and_answers_come_back_as_they_went(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            odd = (
                b'  {"messages":[{"content":"h\\u00e9 \\ud83d\\ude00","role":"user"}],'
                b'\t"model" : "gpt-x","x_new":[1.50,1e2]}\n'
            )
            await at.post("openai/v1/chat/completions", odd)
            assert at.provider.asked[-1].body == odd
            strange = [
                b": hi\r\n\r\n",
                b'data: {"choices":[]}\r\r',
                "data: ü\n\n".encode(),
                b"data: [DONE]\n\n",
                b"tail",
            ]
            at.provider.pieces = lambda _: strange
            asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
            answer = await at.post("openai/v1/chat/completions", asked)
            assert answer.content == b"".join(strange)
            assert answer.headers["accredit-decision"].startswith("dec_")
            # an address of ours alone is put in, and what it adds is left out
            at.provider.pieces = None
            plain = b'{"model":"gpt-x","stream":true,"messages":[]} '
            answer = await at.post("openai/v1/chat/completions", plain)
            assert at.provider.asked[-1].body == (
                b'{"model":"gpt-x","stream":true,"messages":[],"stream_options":{"include_usage":true}}'
            )
            assert b"usage" not in answer.content
            at.provider.status, at.provider.answer = 429, {"error": {"message": "slow down", "code": "rate_limit"}}
            passed = {"retry-after": "7", "x-request-id": "req_1", "x-ratelimit-remaining-tokens": "0"}
            hidden = {"openai-organization": "our-company", "set-cookie": "a=b", "x-key-echo": KEY}
            at.provider.headers = passed | hidden | {"request-id": f"r-{KEY}"}
            answer = await at.post("openai/v1/chat/completions", CHAT)
            assert (answer.status_code, answer.json()) == (429, at.provider.answer)
            assert {name: answer.headers[name] for name in passed} == passed
            assert not hidden.keys() & answer.headers.keys()
            assert KEY not in str(answer.headers)
            assert (await at.outcomes())[-1]["settled"]["cost"] == 0

    asyncio.run(live())


_CHAT = "openai/v1/chat/completions"
_SEARCH: dict[str, Any] = {"model": "gpt-x", "input": "x", "tools": [{"type": "web_search"}]}
_CONNECTOR: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 5,
    "messages": [],
    "mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}],
}


_MANY: dict[str, Any] = {
    **CHAT,
    "tools": [{"type": "function", "function": {"name": f"tool_{number}"}} for number in range(501)],
}
_FALLBACK: dict[str, Any] = {
    "model": "claude-x",
    "max_tokens": 5,
    "messages": [],
    "fallbacks": [{"model": "claude-x"}],
}


_UNREADABLE: tuple[tuple[str, Any, int, str | None], ...] = (
    (_CHAT, b'{"model":"gpt-x","model":"gpt-dear","messages":[]}', 400, "body_duplicate_keys"),
    (_CHAT, b'\xef\xbb\xbf{"model":"gpt-x","messages":[]}', 400, None),
    (_CHAT, b'{"model":"gpt-x","messages":[],"n":99999999999999999999}', 400, None),
    (_CHAT, b"[]", 400, "body_malformed"),
    (_CHAT, b'{"messages":[]}', 400, "body_malformed"),
    (_CHAT, {**CHAT, "model": "gpt-unknown"}, 403, "tool_not_granted"),
    (_CHAT, {**CHAT, "model": "claude-x"}, 403, "tool_not_granted"),
    ("openai/v1/responses", _SEARCH, 403, "hosted_tool"),
    ("anthropic/v1/messages", _CONNECTOR, 403, "hosted_tool"),
    (_CHAT, _MANY, 400, "body_malformed"),
    (_CHAT, {**CHAT, "models": ["gpt-dear"]}, 400, "body_malformed"),
    (_CHAT, {**CHAT, "Model": "gpt-dear"}, 400, "body_malformed"),
    (_CHAT, {**CHAT, "plugins": [{"id": "web"}]}, 403, "hosted_tool"),
    ("anthropic/v1/messages", _FALLBACK, 400, "body_malformed"),
    ("openai/v1/files", {}, 404, "not_found"),
    ("anthropic/v1/chat/completions", CHAT, 404, "not_found"),
)


@pytest.mark.requirement("llm:refused")
def test_what_can_be_read_in_two_ways_or_was_not_granted_never_leaves(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            for path, body, status, code in _UNREADABLE:
                answer = await at.post(path, body)
                assert answer.status_code == status, (path, body, answer.text)
                error = answer.json()["error"]
                assert error["message"]
                assert code is None or error["code"] == code, (path, body)
                assert at.provider.asked == []
                assert (await at.post(path, body, "nothing")).status_code == 401

    asyncio.run(live())


@pytest.mark.requirement("llm:policy")
def test_policies_see_what_is_asked_for_and_the_model_in_its_provider(tmp_path: Path) -> None:
    rules = {
        "org/models.cedar": """
forbid (principal, action == Action::"llm/chat", resource in Provider::"claude")
when { context.input.max_output_tokens > 100 };
forbid (principal, action in Action::"@call_model", resource == Model::"gpt/gpt-x")
when { context.input.tools.contains("delete_everything") };
"""
    }

    async def live() -> None:
        async with room(tmp_path / "data") as at:
            await at.at.operator.post("policy/publish", {"files": with_cases({**GUARDRAILS, **rules})})
            asking = {"model": "claude-x", "messages": [], "max_tokens": 100}
            assert (await at.post("anthropic/v1/messages", asking)).status_code == 200
            told = (await at.post("anthropic/v1/messages", {**asking, "max_tokens": 101})).json()
            assert told["type"] == "error"
            assert told["error"]["code"] == "forbidden_by_policy"
            tool = {"type": "function", "function": {"name": "delete_everything", "parameters": {}}}
            assert (await at.post("openai/v1/chat/completions", {**CHAT, "tools": [tool]})).status_code == 403
            # nor does it hide behind many others, or behind itself
            many = [{"type": "function", "function": {"name": f"tool_{number}"}} for number in range(499)]
            assert (
                await at.post("openai/v1/chat/completions", {**CHAT, "tools": [*many, *many, tool]})
            ).status_code == 403
            assert (await at.post("openai/v1/chat/completions", CHAT)).status_code == 200
            head, body = at.at.records("decision")[0]
            assert (head["tool"], body["protocol"]) == ("claude/claude-x", "llm/messages")
            # a model is no tool: neither endpoint of MCP knows it
            listed = await at.at.operator.get("servers")
            assert {row["name"]: row["protocol"] for row in listed["items"]} == {
                "crm": "mcp",
                "gpt": "llm",
                "claude": "llm",
            }
            token = await at.at.site.identities["writer"].access_token(f"{at.at.url}/mcp/gpt")
            (await at.at.call(token, "gpt-x", server="gpt")).refused("server_unknown")

    asyncio.run(live())


@pytest.mark.requirement("llm:policy")
def test_models_are_permissions_like_tools_to_simulation_and_to_what_is_used(tmp_path: Path) -> None:
    rule = """forbid (principal, action == Action::"llm/chat", resource == Model::"gpt/gpt-x");"""

    async def live() -> None:
        async with room(tmp_path / "data") as at:
            assert (await at.post("openai/v1/chat/completions", CHAT)).status_code == 200
            await at.at.settled()
            used = {
                row["tool"]: (row["granted"], row["allows"])
                for row in (await at.at.operator.get("agents/writer"))["usage"]
            }
            assert used == dict.fromkeys(("claude/claude-x", "crm/read", "gpt/embed-x"), (True, 0)) | {
                "gpt/gpt-x": (True, 1)
            }
            files = with_cases({**GUARDRAILS, "org/models.cedar": rule})
            started = await at.at.operator.post("policy/simulate", {"files": files})
            while (shown := await at.at.operator.get(f"policy/simulations/{started['id']}"))["state"] == "running":
                await asyncio.sleep(0.05)
            report = shown["report"]
            assert [(one["tool"], one["after"]["outcome"]) for one in report["slices"]] == [("gpt/gpt-x", "never")]
            (told,) = report["agents"]
            assert (told["tools"], told["calls"], told["breaking"]) == (1, 1, 1)
            alerts = await at.at.operator.get("alerts")
            assert alerts["items"] == []  # a model that was approved is nothing new

    asyncio.run(live())


@pytest.mark.requirement("llm:policy")
def test_a_person_who_lets_a_request_through_does_so_for_its_very_bytes(tmp_path: Path) -> None:
    rule = (
        """@hold("security") forbid (principal, action == Action::"llm/chat", resource == Model::"claude/claude-x");"""
    )

    async def live() -> None:
        async with room(tmp_path / "data") as at:
            files = with_cases({**GUARDRAILS, "org/models.cedar": rule})
            await at.at.operator.post("policy/publish", {"files": files})
            asking = {"model": "claude-x", "max_tokens": 50, "messages": [{"role": "user", "content": "pay 10 to Ada"}]}
            other = {**asking, "messages": [{"role": "user", "content": "pay 99 to Eve"}]}
            held = await at.post("anthropic/v1/messages", asking)
            assert (held.status_code, held.json()["error"]["code"]) == (403, "held")
            (waiting,) = (await at.at.operator.get("holds"))["items"]
            shown = await at.at.operator.get(f"holds/{waiting['id']}")
            assert "pay 10 to Ada" in str(shown)
            answer = {"answer": "approve", "view_digest": shown["view_digest"]}
            await at.at.operator.post(f"holds/{waiting['id']}/answer", answer)
            assert (await at.post("anthropic/v1/messages", other)).status_code == 403
            assert at.provider.asked == []
            assert (await at.post("anthropic/v1/messages", asking)).status_code == 200
            assert (await at.post("anthropic/v1/messages", asking)).status_code == 403

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
def test_a_budget_is_never_overspent_by_calls_at_once_of_every_shape(tmp_path: Path) -> None:
    """Each call of 50 tokens out reserves about 0.00083 USD; there is room for ten."""
    poor = writer(limits={"calls": {"perMinute": 6000}, "concurrency": 200, "cost": {"perDay": "0.0085 USD"}})

    async def live() -> None:
        async with room(tmp_path / "data", poor) as at:
            key = await at.key()
            message = {"model": "claude-x", "messages": CHAT["messages"], "max_tokens": 50}
            shapes: list[tuple[str, Any]] = [
                ("openai/v1/chat/completions", CHAT),
                ("openai/v1/chat/completions", {**CHAT, "stream": True}),
                (
                    "openai/v1/responses",
                    {"model": "gpt-x", "input": "Say hello", "max_output_tokens": 50, "store": False},
                ),
                ("anthropic/v1/messages", message),
                ("anthropic/v1/messages", {**message, "stream": True}),
            ]

            async def ask(number: int) -> int | None:
                try:
                    async with asyncio.timeout(0.02 if number % 7 == 6 else 30):  # some do not wait for the answer
                        return int((await at.post(*shapes[number % 5], key)).status_code)
                except TimeoutError:
                    return None

            codes = [code for code in await asyncio.gather(*map(ask, range(100))) if code is not None]
            assert set(codes) == {200, 429}
            assert codes.count(200) >= 5
            async with asyncio.timeout(5):
                while (await at.at.limits("writer"))["in_flight"]:
                    await asyncio.sleep(0.05)
            spent = sum(one["settled"]["cost"] for one in await at.outcomes())
            assert 0 < spent <= 0.0085 * USD
            allowed = [head for head, _ in at.at.records("decision") if head["decision"] == "allow"]
            assert len(allowed) == len(at.at.records("outcome"))

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
def test_what_was_not_told_is_paid_as_it_was_reserved(tmp_path: Path) -> None:
    hasty = writer(limits={"calls": {"perMinute": 600}, "timeout": {"call": "1s"}, "cost": {"perDay": "5 USD"}})

    async def live() -> None:
        async with room(tmp_path / "data", hasty) as at:
            at.provider.stalls = True
            answer = await at.post("openai/v1/chat/completions", {**CHAT, "stream": True})
            assert b"call_timeout" in answer.content
            (ended,) = await at.outcomes()
            (decided,) = (body for _, body in at.at.records("decision"))
            assert ended["end"] == "timeout"
            assert ended["settled"]["cost"] == decided["reservation"]["cost"] >= 50 * 15_000
            at.provider.stalls, at.provider.pieces = False, lambda _: [b'data: {"id":"x","choices":[]}\n\n']
            await at.post("openai/v1/chat/completions", {**CHAT, "stream": True})
            ended = (await at.outcomes())[-1]
            assert ended["settled"]["cost"] == decided["reservation"]["cost"]

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 20},
        {"prompt_tokens": 0, "completion_tokens": 20},
        {"prompt_tokens": "100", "completion_tokens": 20},
        {"prompt_tokens": 100, "completion_tokens": 0},
        {"prompt_tokens": 100, "completion_tokens": -1},
        {"prompt_tokens": 10**15, "completion_tokens": 20},
        {"prompt_tokens": 100, "completion_tokens": 10**12},
    ],
)
def test_a_usage_that_cannot_be_makes_nothing_cheaper_and_breaks_no_record(
    tmp_path: Path, usage: dict[str, Any]
) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            at.provider.answer = {**chat("Hello"), "usage": usage}
            assert (await at.post("openai/v1/chat/completions", CHAT)).status_code == 200
            (ended,) = await at.outcomes()
            (decided,) = (body for _, body in at.at.records("decision"))
            assert ended["settled"]["cost"] == decided["reservation"]["cost"]

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
def test_what_is_reserved_is_of_bytes_for_some_letters_are_several_tokens(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            await at.post("openai/v1/chat/completions", CHAT)
            emoji = {**CHAT, "messages": [{"role": "user", "content": "Say hello" + "\U0001f600" * 1000}]}
            await at.post("openai/v1/chat/completions", emoji)
            plain, dear = (body["reservation"]["cost"] for _, body in at.at.records("decision"))
            assert dear - plain == 4_000 * 3_000

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
def test_every_choice_is_reserved_whether_or_not_the_request_says_how_long_one_may_be(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            unbounded = {name: value for name, value in CHAT.items() if name != "max_tokens"}
            await at.post("openai/v1/chat/completions", unbounded)
            await at.post("openai/v1/chat/completions", {**unbounded, "n": 4})
            one, four = (body["reservation"]["cost"] for _, body in at.at.records("decision"))
            extra = 3 * 1000 * 15_000  # the model's `maxOutput`, at 15 USD a million
            assert extra <= four - one < extra + 100 * 3_000

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
@pytest.mark.parametrize("most", [2**53 - 1, 2**31, 10_000_000])
def test_a_request_for_more_than_a_budget_can_hold_is_refused_on_record(tmp_path: Path, most: int) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            for path, asked in (
                ("openai/v1/chat/completions", {**CHAT, "max_tokens": most, "n": 100}),
                ("anthropic/v1/messages", {"model": "claude-x", "max_tokens": most, "messages": []}),
            ):
                told = await at.post(path, asked)
                assert told.status_code in {400, 429}, told.text
                assert told.json()["error"]["code"] != "internal"
            assert at.provider.asked == []
            assert all(head["decision"] == "deny" for head, _ in at.at.records("decision"))

    asyncio.run(live())


@pytest.mark.requirement("llm:budget")
def test_a_stream_that_ends_before_the_answer_does_is_paid_as_reserved(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            at.provider.pieces = lambda _: ANTHROPIC_STREAM[:3]  # it says that it used one token so far
            asked = {"model": "claude-x", "max_tokens": 50, "stream": True, "messages": CHAT["messages"]}
            assert (await at.post("anthropic/v1/messages", asked)).status_code == 200
            (ended,) = await at.outcomes()
            (decided,) = (body for _, body in at.at.records("decision"))
            assert ended["settled"]["cost"] == decided["reservation"]["cost"]

    asyncio.run(live())


@pytest.mark.requirement("llm:ends")
def test_whatever_ends_an_answer_ends_the_call_on_both_sides_and_settles_it_once(tmp_path: Path) -> None:
    def endless(_: Asked) -> list[bytes]:
        return [b'data: {"choices":[],"x":"' + b"x" * 1_000_000 + b'"}\n\n'] * 64

    async def live() -> None:
        async with room(tmp_path / "data") as at:
            streamed = {**CHAT, "stream": True}
            at.provider.stalls = True
            given = {"authorization": f"Bearer {await at.key()}", "content-type": "application/json"}
            address = f"{at.at.url}/llm/openai/v1/chat/completions"
            async with at.at.site.agents_http.stream("POST", address, json=streamed, headers=given) as answer:
                assert answer.status_code == 200
                async for _ in answer.aiter_bytes():
                    break
            async with asyncio.timeout(2):
                await at.provider.left.wait()  # it is not left to talk to nobody
            at.provider.stalls, at.provider.breaks = False, True
            told = await at.post("openai/v1/chat/completions", streamed)
            assert b"upstream_unreachable" in told.content or b"upstream_invalid" in told.content
            at.provider.breaks, at.provider.pieces = False, endless
            told = await at.post("openai/v1/chat/completions", streamed)
            assert b"upstream_oversized" in told.content
            assert len(told.content) < 20_000_000
            at.provider.answer = {"x": "x" * 64_000_000}
            told = await at.post("openai/v1/chat/completions", CHAT)
            assert (told.status_code, told.json()["error"]["code"]) == (502, "upstream_oversized")
            at.provider.answer, at.provider.pieces = "no object at all", None
            assert (await at.post("openai/v1/chat/completions", CHAT)).status_code == 200
            outcomes = await at.outcomes()
            reserved = {body["decision_id"]: body["reservation"]["cost"] for _, body in at.at.records("decision")}
            assert len(outcomes) == len(reserved) == 5
            # nothing of it told what was used
            assert all(one["settled"]["cost"] == reserved[one["decision_id"]] for one in outcomes)
            assert outcomes[0]["end"] == "cancelled"
            assert (await at.at.limits("writer"))["in_flight"] == 0

    asyncio.run(live())


@pytest.mark.requirement("enforcement:one-path")
def test_no_address_verb_or_form_reaches_a_provider_but_through_admit(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            admit, seen = at.at.enforcer.admit, 0

            async def counted(call: Call) -> Admitted | Refused:
                nonlocal seen
                seen += 1
                return await admit(call)

            at.at.enforcer.admit = counted  # type: ignore[method-assign]  # the gateway calls whatever stands there
            given = {"authorization": f"Bearer {await at.key()}", "content-type": "application/json"}
            served = "/llm/openai/v1/chat/completions"
            for verb in ("GET", "PUT", "PATCH", "OPTIONS", "HEAD", "DELETE", "CONNECT"):
                answer = await at.at.site.agents_http.request(verb, f"{at.at.url}{served}", json=CHAT, headers=given)
                assert answer.status_code >= 400, verb
            for path in (
                f"{served}/",
                f"/{served}",
                "/llm/openai/v1//chat/completions",
                "/llm/openai/v1/chat/completions/x",
                "/llm/openai/chat/completions",
                "/llm/gpt/v1/chat/completions",
                "/llm/openai/v1/../v1/files",
                "/LLM/openai/v1/chat/completions",
                "/llm/",
                "/llm",
                "/llm/openai/v1/completions",
                "/llm/openai/v1/batches",
                "/llm/openai/v1/responses/resp_1",
                "/llm/anthropic/v1/messages/batches",
                "/llm/anthropic/v1/messages/count_tokens",
                "/http/gpt/v1/chat/completions",
                "/http/claude/v1/messages",
            ):
                answer = await at.at.site.agents_http.post(f"{at.at.url}{path}", json=CHAT, headers=given)
                assert answer.status_code >= 400, path
            for kind in ("text/plain", "", "application/x-www-form-urlencoded", "application/json-patch+json"):
                answer = await at.post("openai/v1/chat/completions", CHAT, content_type=kind)
                assert answer.status_code >= 400, kind
            assert (seen, at.provider.asked) == (0, [])
            assert (await at.post("openai/v1/chat/completions", CHAT)).status_code == 200
            assert (seen, len(at.provider.asked)) == (1, 1)

    asyncio.run(live())


@pytest.mark.requirement("llm:reasons")
def test_a_record_opens_to_the_request_the_reasons_and_the_tools_that_were_asked_for(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            asked = {"model": "claude-x", "max_tokens": 50, "stream": True,
                     "messages": [{"role": "user", "content": "Who is customer c-1?"}]}  # fmt: skip
            await at.post("anthropic/v1/messages", asked)
            await at.outcomes()
            told = _result(at)
            assert "request" not in told  # that stands in the record of the decision, before it was sent
            assert told["reasoning"] == "They ask for c-1."
            assert told["tools"] == [{"id": "toolu_1", "name": "read", "arguments": '{"customer_id": "c-1"}'}]
            assert (told["stop"], told["usage"]["input"], told["usage"]["output"]) == ("tool_use", 100, 20)
            token = await at.at.site.identities["writer"].access_token(f"{at.at.url}/mcp/crm")
            assert (await at.at.call(token, "read", {"customer_id": "c-1"})).allowed
            asking, following = (body for _, body in at.at.records("decision"))
            assert following["reason"] == asking["decision_id"]
        for stored in raw_bytes(tmp_path / "data"):
            for secret in (b"customer c-1", KEY.encode(), b"They ask"):
                assert secret not in stored

    asyncio.run(live())


@pytest.mark.requirement("llm:joined")
@pytest.mark.parametrize("name", ["read", "crm_read", "mcp__crm__read"])
def test_a_tool_call_opens_to_the_request_and_the_reasons_that_led_to_it(tmp_path: Path, name: str) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            token = await at.at.site.identities["writer"].access_token(f"{at.at.url}/mcp/crm")
            arguments = '{"customer_id": "c-1"}'
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
            said = {"role": "assistant", "content": "I look c-1 up first.", "tool_calls": [call]}
            at.provider.answer = {**chat(""), "choices": [{"index": 0, "message": said}]}
            assert (await at.at.call(token, "read", {"customer_id": "c-1"})).allowed
            asked = {**CHAT, "messages": [{"role": "user", "content": "Who is customer c-1?"}]}
            answer = await at.post("openai/v1/chat/completions", asked)
            assert (await at.at.call(token, "read", {"customer_id": "c-2"})).allowed
            assert (await at.at.call(token, "read", {"customer_id": "c-1"})).allowed
            await at.at.settled()
            reasons = [body["reason"] for head, body in at.at.records("decision") if head["tool"] == "crm/read"]
            assert reasons == [None, None, answer.headers["accredit-decision"]]
            decided = [body["decision_id"] for _, body in at.at.records("decision")][-1]
            shown = await at.at.operator.get(f"decisions/{decided}")
            because = shown["reason"]
            assert because["decision"]["parts"]["arguments"]["user_text"] == "Who is customer c-1?"
            assert because["outcome"]["parts"]["result"]["text"] == "I look c-1 up first."
            assert shown["decision"]["parts"]["arguments"] == {"customer_id": "c-1"}
            assert shown["outcome"]["parts"]["result"]
            opened = [body["records"] for _, body in at.at.records("record.opened")]
            assert len(opened) == 2  # looking into either is on record

    asyncio.run(live())


@pytest.mark.requirement("llm:upstream")
def test_a_provider_that_echoes_its_key_or_sends_elsewhere_tells_the_agent_nothing(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:

            def echo(asked: Asked) -> list[bytes]:
                whole = f"data: {asked.headers['x-key']}\n\n".encode()
                return [whole[start : start + 3] for start in range(0, len(whole), 3)]

            at.provider.pieces = echo
            answer = await at.post("openai/v1/chat/completions", {**CHAT, "stream": True})
            assert KEY not in answer.text
            at.provider.answer = {"echo": KEY}
            assert KEY not in (await at.post("openai/v1/chat/completions", CHAT)).text
            at.provider.status = 302
            answer = await at.post("openai/v1/chat/completions", CHAT)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_redirect")
            at.provider.status = 401
            answer = await at.post("openai/v1/chat/completions", CHAT)
            assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_invalid")

    asyncio.run(live())


@pytest.mark.requirement("llm:register")
def test_prices_are_of_one_currency_and_a_name_means_one_kind_of_server(tmp_path: Path) -> None:
    async def live() -> None:
        async with room(tmp_path / "data") as at:
            mixed = provider("other", "openai", at.url, "m")
            mixed["spec"]["models"]["m"] = {**RATES, "output": "15 EUR"}
            assert (await at.at.refused_apply(mixed))["code"] == "manifest_invalid"
            taken = provider("crm", "openai", at.url, "m")
            assert (await at.at.refused_apply(taken))["code"] == "name_taken"

    asyncio.run(live())
