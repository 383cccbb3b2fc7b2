"""What a request asks for is read in all shapes; what is not of the API's types is refused by the member's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway.llm.requests import (
    IMAGE_CHARACTERS,
    MOST_RESULT_CHARACTERS,
    MOST_USER_CHARACTERS,
    LlmRequest,
    read_llm_request,
)
from accredit.gateway.llm.shapes import LlmShape
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

CHAT, RESPONSES, MESSAGES = LlmShape.CHAT, LlmShape.RESPONSES, LlmShape.MESSAGES
EMBEDDINGS = LlmShape.EMBEDDINGS
_PLAIN = LlmRequest(
    model="m",
    streamed=False,
    max_output_tokens=None,
    choices=1,
    wants_usage=False,
    tools=(),
    hosted=(),
    other_models=(),
    stored=False,
    system_texts=(),
    user_text="",
    results=(),
    input_bytes=0,
)
_PNG = "data:image/png;base64," + "A" * 100_000


def _function(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


_CHAT: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 10,
    "max_completion_tokens": 100,
    "n": 3,
    "store": None,
    "web_search_options": {},
    "tools": [_function("f"), {"type": "custom", "custom": {"name": "sql"}}, {"type": "time_travel"}],
    "functions": [{"name": "old"}],
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is"},
                {"type": "image_url", "image_url": {"url": _PNG}},
                {"type": "text", "text": "this?"},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "a", "content": "42"},
        {
            "role": "tool",
            "tool_call_id": "b",
            "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}],
        },
        {"role": "function", "name": "old", "content": "z"},
    ],
    "x_vendor": {"anything": [1, None]},
}
_RESPONSES: dict[str, Any] = {
    "model": "m",
    "max_output_tokens": 50,
    "store": False,
    "instructions": "be brief",
    "prompt": {"id": "pmpt_1"},
    "tools": [
        {"type": "function", "name": "f", "parameters": {}},
        {"type": "custom", "name": "sql"},
        {"type": "namespace", "name": "crm", "description": "x", "tools": [{"type": "function", "name": "g"}]},
        {"type": "web_search"},
        {"type": "image_generation", "model": "gpt-image"},
        {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example/mcp"},
        {"type": "mcp", "server_label": "mail", "connector_id": "connector_gmail"},
    ],
    "input": [
        {"role": "user", "content": "first"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "do it"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok", "annotations": []}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "42"},
        {"type": "custom_tool_call_output", "call_id": "b", "output": [{"type": "input_text", "text": "43"}]},
        {"type": "shell_call_output", "call_id": "c", "output": [{"stdout": "44", "stderr": ""}]},
        {"type": "mcp_call", "id": "mcp_1", "server_label": "wiki", "name": "ask", "arguments": "{}", "output": "45"},
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "late"}]},
    ],
}
_MESSAGES: dict[str, Any] = {
    "model": "m",
    "max_tokens": 100,
    "stream": True,
    "system": [{"type": "text", "text": "be brief"}],
    "tools": [
        {"name": "f", "input_schema": {"type": "object"}},
        {"type": "custom", "name": "g", "input_schema": {"type": "object"}},
        {"type": "web_search_20250305", "name": "web_search"},
        {"type": "bash_20250124", "name": "bash"},
        {"type": "advisor_20260301", "name": "advisor", "model": "claude-large"},
        {"type": "mcp_toolset", "mcp_server_name": "wiki"},
    ],
    "mcp_servers": [{"type": "url", "name": "wiki", "url": "https://wiki.example/mcp"}],
    "container": {"skills": [{"type": "anthropic", "skill_id": "xlsx"}]},
    "fallbacks": [{"model": "claude-small", "max_tokens": 400}],
    "messages": [
        {"role": "user", "content": "do it"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"q": "x"}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "42"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [
                        {"type": "text", "text": "43"},
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                        {"type": "document", "source": {"type": "text", "data": "44"}},
                    ],
                },
            ],
        },
    ],
}


@pytest.mark.requirement("gateway:llm:request", "gateway:llm:hosted")
@pytest.mark.parametrize(
    ("shape", "body", "expected"),
    [
        (
            CHAT,
            _CHAT,
            replace(
                _PLAIN,
                streamed=True,
                max_output_tokens=300,
                choices=3,
                wants_usage=True,
                tools=("f", "sql", "old"),
                hosted=("time_travel", "web_search"),
                system_texts=("be brief",),
                user_text="what is\nthis?",
                results=(("a", "42"), ("b", "x\ny"), ("", "z")),
            ),
        ),
        (
            RESPONSES,
            _RESPONSES,
            replace(
                _PLAIN,
                max_output_tokens=50,
                tools=("f", "sql", "crm.g", "late"),
                hosted=(
                    "web_search",
                    "image_generation",
                    "mcp:wiki@https://wiki.example/mcp",
                    "mcp:mail@connector_gmail",
                    "prompt:pmpt_1",
                ),
                other_models=("gpt-image",),
                system_texts=("be brief",),
                user_text="do it",
                results=(("a", "42"), ("b", "43"), ("c", "44\n"), ("mcp_1", "45")),
            ),
        ),
        (RESPONSES, {"model": "m", "input": "hi"}, replace(_PLAIN, stored=True, user_text="hi")),
        (
            MESSAGES,
            _MESSAGES,
            replace(
                _PLAIN,
                streamed=True,
                max_output_tokens=400,
                tools=("f", "g"),
                hosted=(
                    "web_search_20250305",
                    "bash_20250124",
                    "advisor_20260301",
                    "mcp_toolset:wiki",
                    "mcp:wiki@https://wiki.example/mcp",
                    "skill:xlsx",
                ),
                other_models=("claude-large", "claude-small"),
                system_texts=("be brief",),
                user_text="do it",
                results=(("a", "42"), ("b", "43\n44")),
            ),
        ),
        (EMBEDDINGS, {"model": "m", "input": ["a", "b"]}, replace(_PLAIN, user_text="a\nb")),
        (EMBEDDINGS, {"model": "m", "input": [[1, 2], [3]]}, _PLAIN),
    ],
)
def test_everything_a_request_asks_for_is_read(shape: LlmShape, body: Mapping[str, Any], expected: LlmRequest) -> None:
    read = read_llm_request(shape, body)
    assert replace(read, input_bytes=0) == expected


def _without(body: Mapping[str, Any], member: str) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != member}


_NO_MODELS: tuple[Any, ...] = (None, "", 5, ["m"])
_NO_INPUTS: tuple[Any, ...] = (None, [], {}, [1, "a"], [[1], 2], [True])
_WRONG: list[tuple[LlmShape, Mapping[str, Any], dict[str, Any], str]] = [
    *((shape, body, {"model": wrong}, "model") for shape, body in ((CHAT, _CHAT), (MESSAGES, _MESSAGES))
      for wrong in _NO_MODELS),
    *((shape, body, {"stream": wrong}, "stream") for shape, body in ((CHAT, _CHAT), (RESPONSES, _RESPONSES))
      for wrong in ("true", 1)),
    *((CHAT, _CHAT, {member: wrong}, member) for member in ("max_tokens", "max_completion_tokens", "n")
      for wrong in (0, -1, True, 1.0, "5", 2**40)),
    *((shape, body, {"tools": wrong}, "tools") for shape, body in ((CHAT, _CHAT), (MESSAGES, _MESSAGES))
      for wrong in (5, "f")),
    (RESPONSES, _RESPONSES, {"max_output_tokens": "5"}, "max_output_tokens"),
    (MESSAGES, _MESSAGES, {"max_tokens": None}, "max_tokens"),
    (CHAT, _CHAT, {"tools": [_function("f"), "g"]}, "tools[1]"),
    (CHAT, _CHAT, {"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
    (CHAT, _CHAT, {"tools": [{"type": "function"}]}, "tools[0].function"),
    (CHAT, _CHAT, {"tools": [{"type": "function", "function": {"name": 5}}]}, "tools[0].function.name"),
    (CHAT, _CHAT, {"functions": [{}]}, "functions[0].name"),
    (CHAT, _CHAT, {"stream_options": []}, "stream_options"),
    (CHAT, _CHAT, {"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
    (CHAT, _CHAT, {"store": "no"}, "store"),
    (CHAT, _CHAT, {"messages": None}, "messages"),
    (CHAT, _CHAT, {"messages": {}}, "messages"),
    (CHAT, _CHAT, {"messages": [[]]}, "messages[0]"),
    (CHAT, _CHAT, {"messages": [{"content": "x"}]}, "messages[0].role"),
    (CHAT, _CHAT, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    (CHAT, _CHAT, {"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    (CHAT, _CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
    (CHAT, _CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    (RESPONSES, _RESPONSES, {"input": 5}, "input"),
    (RESPONSES, _RESPONSES, {"input": [{"type": []}]}, "input[0].type"),
    (RESPONSES, _RESPONSES, {"input": [{"type": "function_call_output", "output": ""}]}, "input[0].id"),
    (RESPONSES, _RESPONSES, {"previous_response_id": 5}, "previous_response_id"),
    (RESPONSES, _RESPONSES, {"conversation": 5}, "conversation"),
    (RESPONSES, _RESPONSES, {"background": "x"}, "background"),
    (RESPONSES, _RESPONSES, {"prompt": "x"}, "prompt"),
    (RESPONSES, _RESPONSES, {"tools": [{"type": "mcp"}]}, "tools[0].server_label"),
    (RESPONSES, _RESPONSES, {"tools": [{"type": "namespace", "name": "a", "tools": 5}]}, "tools[0].tools"),
    (RESPONSES, _RESPONSES, {"tools": [{"type": "x", "model": 5}]}, "tools[0].model"),
    (MESSAGES, _MESSAGES, {"tools": [{"input_schema": {}}]}, "tools[0].name"),
    (MESSAGES, _MESSAGES, {"tools": [{"type": 5, "name": "x"}]}, "tools[0].type"),
    (MESSAGES, _MESSAGES, {"mcp_servers": [{"url": "x"}]}, "mcp_servers[0].name"),
    (MESSAGES, _MESSAGES, {"system": 5}, "system"),
    (MESSAGES, _MESSAGES, {"container": 5}, "container"),
    (MESSAGES, _MESSAGES, {"fallbacks": [{}]}, "fallbacks[0].model"),
    (MESSAGES, _MESSAGES, {"messages": [{"role": "user"}]}, "messages[0].content"),
    (MESSAGES, _MESSAGES, {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
     "messages[0].content[0].tool_use_id"),
    *((EMBEDDINGS, {"model": "m"}, {"input": wrong}, "input") for wrong in _NO_INPUTS),
]  # fmt: skip


@pytest.mark.requirement("gateway:llm:request-refused")
@pytest.mark.parametrize(("shape", "body", "change", "member"), _WRONG)
def test_what_is_not_of_the_apis_type_is_refused_by_name(
    shape: LlmShape, body: Mapping[str, Any], change: dict[str, Any], member: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_llm_request(shape, {**body, **change})
    assert refused.value.code is Code.BODY_MALFORMED
    assert refused.value.message.startswith(f"`{member}` must be ")


@pytest.mark.requirement("gateway:llm:request-refused")
@pytest.mark.parametrize(
    ("shape", "body", "change", "place"),
    [
        (CHAT, _CHAT, {"Model": "dear"}, "Model"),
        (CHAT, _CHAT, {"TOOLS": []}, "TOOLS"),
        (CHAT, _CHAT, {"\u017ftream": True}, "\u017ftream"),  # a long s, which folds to s
        (CHAT, _CHAT, {"messages": [{"role": "system", "Role": "user", "content": "x"}]}, "messages[0].Role"),
        (CHAT, _CHAT, {"tools": [{**_function("f"), "Type": "web_search"}]}, "tools[0].Type"),
        (CHAT, _CHAT, {"tools": [{"type": "function", "function": {"name": "f", "Name": "g"}}]},
         "tools[0].function.Name"),
        (CHAT, _CHAT, {"stream_options": {"Include_Usage": False}}, "stream_options.Include_Usage"),
        (RESPONSES, _RESPONSES, {"Max_Output_Tokens": 5}, "Max_Output_Tokens"),
        (RESPONSES, _RESPONSES, {"conversation": {"id": "a", "ID": "b"}}, "conversation.ID"),
        (MESSAGES, _MESSAGES, {"MCP_Servers": []}, "MCP_Servers"),
        (MESSAGES, _MESSAGES, {"container": {"Skills": []}}, "container.Skills"),
        (EMBEDDINGS, {"model": "m", "input": "x"}, {"Input": "y"}, "Input"),
    ],
)  # fmt: skip
def test_a_member_in_another_spelling_is_refused_for_some_providers_read_it_as_the_member(
    shape: LlmShape, body: Mapping[str, Any], change: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        read_llm_request(shape, {**body, **change})
    assert refused.value.code is Code.BODY_MALFORMED
    assert refused.value.message.startswith(f"`{place}` is another spelling of ")


@pytest.mark.requirement("gateway:llm:request")
def test_names_that_are_the_agents_own_may_be_spelled_as_it_likes() -> None:
    schema = {"type": "object", "properties": {"Model": {"Type": "string"}, "Stream": {}}, "Required": ["Model"]}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    body = {"model": "m", "messages": [], "tools": [tool], "metadata": {"Model": "x"}, "vendorOption": 1}
    assert read_llm_request(CHAT, body).tools == ("f",)


@pytest.mark.requirement("gateway:llm:hosted")
@pytest.mark.parametrize("shape", [CHAT, RESPONSES, MESSAGES, EMBEDDINGS])
def test_what_relays_take_for_other_models_and_tools_of_theirs_is_read_in_every_shape(shape: LlmShape) -> None:
    body: dict[str, Any] = {
        "model": "m",
        "messages": [],
        "input": "x",
        "max_tokens": 5,
        "models": ["dear", {"model": "dearer"}],
        "fallbacks": [{"model": "dearest"}],
        "plugins": [{"id": "web", "max_results": 3}],
    }
    read = read_llm_request(shape, body)
    assert sorted(read.other_models) == ["dear", "dearer", "dearest"]
    assert read.hosted == ("plugin:web",)
    none = read_llm_request(shape, {**body, "models": None, "fallbacks": [], "plugins": None})
    assert (none.other_models, none.hosted) == ((), ())
    refused: list[dict[str, Any]] = [
        {"models": "dear"}, {"models": [5]}, {"models": [{}]}, {"plugins": ["web"]}, {"plugins": [{}]}
    ]  # fmt: skip
    for wrong in refused:
        with pytest.raises(InvalidInputError, match="must be"):
            read_llm_request(shape, {**body, **wrong})


@pytest.mark.requirement("gateway:llm:request-refused")
@pytest.mark.parametrize(
    ("shape", "body"), [(CHAT, _CHAT), (RESPONSES, _RESPONSES), (MESSAGES, _MESSAGES), (EMBEDDINGS, {"input": "x"})]
)
def test_a_request_without_a_model_is_refused(shape: LlmShape, body: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="`model` must be"):
        read_llm_request(shape, _without(body, "model"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("type"), inner, max_size=3)
    ),
    max_leaves=5,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for name, item in inner for place in _places(item, (*path, name)))]


@pytest.mark.requirement("gateway:llm:request-refused")
@given(st.sampled_from([(CHAT, _CHAT), (RESPONSES, _RESPONSES), (MESSAGES, _MESSAGES)]), st.data())
def test_any_value_anywhere_is_read_or_refused(case: tuple[LlmShape, Mapping[str, Any]], data: st.DataObject) -> None:
    shape, body = case
    body = orjson.loads(orjson.dumps(body))
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from([place for place in _places(body) if place]))
        inner: Any = body
        for name in path:
            inner = inner[name]
        inner[last] = data.draw(_JSON)
    try:
        read = read_llm_request(shape, body)
    except InvalidInputError as error:
        read, code = None, error.code
    if read is None:
        assert code is Code.BODY_MALFORMED
    else:
        assert isinstance(read.model, str)
        assert all(isinstance(text, str) for text in (*read.tools, *read.hosted, *read.other_models, read.user_text))
        assert all(isinstance(text, str) for result in read.results for text in result)


_KIND = st.text(alphabet="abcdefghijklmnopqrstuvwxyz_0123456789", min_size=1)


@pytest.mark.requirement("gateway:llm:hosted")
@given(_KIND)
def test_a_tool_of_any_kind_counts_as_one_the_agent_has_or_as_hosted(kind: str) -> None:
    tool = {
        "type": kind, "name": "x", "server_label": "x", "mcp_server_name": "x", "function": {"name": "x"},
        "custom": {"name": "x"}, "tools": [{"type": "web_search"}],
    }  # fmt: skip
    for shape, body in ((CHAT, _CHAT), (RESPONSES, _RESPONSES), (MESSAGES, _MESSAGES)):
        bare = read_llm_request(shape, {**body, "tools": []})
        read = read_llm_request(shape, {**body, "tools": [tool]})
        assert len(read.tools) + len(read.hosted) == len(bare.tools) + len(bare.hosted) + 1


@pytest.mark.requirement("gateway:llm:request")
@pytest.mark.parametrize(
    ("more", "stored"),
    [
        ({}, True),
        ({"store": None}, True),
        ({"store": True}, True),
        ({"store": False}, False),
        ({"store": False, "background": True}, True),
        ({"store": False, "previous_response_id": "resp_1"}, True),
        ({"store": False, "conversation": "conv_1"}, True),
        ({"store": False, "conversation": {"id": "conv_1"}}, True),
        ({"store": False, "input": [{"type": "item_reference", "id": "x"}]}, True),
        ({"store": False, "input": [{"id": "x"}]}, True),
    ],
)
def test_a_response_is_stored_unless_it_says_otherwise_and_builds_on_nothing(
    more: dict[str, Any], *, stored: bool
) -> None:
    assert read_llm_request(RESPONSES, {"model": "m", "input": "x", **more}).stored is stored


@pytest.mark.requirement("gateway:llm:request")
def test_a_container_the_provider_kept_counts_as_stored() -> None:
    assert read_llm_request(MESSAGES, {**_MESSAGES, "container": "c"}).stored
    assert read_llm_request(MESSAGES, {**_MESSAGES, "container": {"id": "c"}}).stored
    assert read_llm_request(CHAT, {**_CHAT, "store": True}).stored


@pytest.mark.requirement("gateway:llm:request")
def test_texts_are_bounded_and_of_results_the_newest_are_kept() -> None:
    half = MOST_RESULT_CHARACTERS // 2
    results = [{"role": "tool", "tool_call_id": name, "content": name * (half + 10)} for name in "abc"]
    user = {"role": "user", "content": "x" * (MOST_USER_CHARACTERS + 10)}
    read = read_llm_request(CHAT, {"model": "m", "messages": [user, *results]})
    assert read.user_text == "x" * MOST_USER_CHARACTERS
    assert read.results == (("b", "b" * (half - 10)), ("c", "c" * (half + 10)))
    many = [{"role": "tool", "tool_call_id": str(number), "content": ""} for number in range(5_000)]
    assert len(read_llm_request(CHAT, {"model": "m", "messages": many}).results) == 1_000


@pytest.mark.requirement("gateway:llm:request")
@given(st.text(max_size=200))
def test_the_characters_are_no_fewer_than_all_text_and_an_image_is_not_its_bytes(text: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], "tools": [_function("f")]}
    bare = read_llm_request(CHAT, {**body, "messages": []}).input_bytes
    read = read_llm_request(CHAT, body).input_bytes
    assert bare > len("fparametersobject")
    assert read >= bare + len(text)
    whole = read_llm_request(CHAT, _CHAT).input_bytes
    assert IMAGE_CHARACTERS < whole < IMAGE_CHARACTERS + 2_000
    hidden = {"type": "image_url", "image_url": {"url": "x", "detail": text}}
    shown = read_llm_request(CHAT, {**body, "messages": [{"role": "user", "content": [hidden]}]}).input_bytes
    assert shown >= bare + IMAGE_CHARACTERS + len(text)
    assert read_llm_request(EMBEDDINGS, {"model": "m", "input": [1] * 100}).input_bytes >= 400
