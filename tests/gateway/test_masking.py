"""Masked properties: gone from whatever reaches the agent, all else as it was, and no third way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accredit.enforcement.model import CallEnd
from accredit.gateway.masking import masked_error, masked_result
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from tests.gateway.stage import SSE_HEAD, Reply, Script, Seen, Stage, http_json, modern, stage, tool_result

MASKED = frozenset({"email", "date_of_birth", "straße"})
SECRET = "jane@example.com"

NAMES = (
    st.sampled_from(sorted(MASKED)) | st.sampled_from(["id", "name", "notes", "", "ema il2", "0"]) | st.text(max_size=4)
)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(max_size=12) | st.sampled_from(["[see note]", "{", '{"id": 1}', "email: none", "[1, 2]"])
VALUES = st.recursive(
    LEAVES | TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(NAMES, below, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=5)
NAMED = OBJECTS | st.lists(OBJECTS, max_size=3)


def pruned(value: Any) -> Any:
    """The naive mask."""
    if isinstance(value, dict):
        return {key: pruned(item) for key, item in value.items() if key not in MASKED}
    return [pruned(item) for item in value] if isinstance(value, list) else value


def names_in(value: Any) -> Iterator[str]:
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from names_in(item)
    if isinstance(value, dict):
        yield from value


def masked(result: dict[str, Any]) -> dict[str, Any] | None:
    """The masked result, or None if it is withheld."""
    try:
        return masked_result(result, MASKED)
    except UnavailableError as error:
        refused = error
    assert refused.code is Code.RESULT_UNMASKABLE
    assert SECRET not in f"{refused.message}{refused.hint}{refused.cause}"
    return None


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def withheld(structured: Any = None, *content: Any) -> bool:
    result = {"resultType": "complete", "content": list(content)}
    return masked(result if structured is None else {**result, "structuredContent": structured}) is None


# -- laws


@pytest.mark.requirement("gateway:mask:gone", "gateway:mask:rest")
@given(NAMED, st.lists(NAMED, max_size=3))
def test_what_is_left_holds_no_masked_property_at_any_depth_and_all_else_byte_for_byte(
    structured: Any, texts: list[Any]
) -> None:
    content = [text(json.dumps(value)) for value in texts]
    found = masked({"content": content, "structuredContent": structured, "isError": False})
    assume(found is not None)
    assert found is not None
    assert orjson.dumps(found["structuredContent"]) == orjson.dumps(pruned(structured))
    assert [orjson.dumps(orjson.loads(block["text"])) for block in found["content"]] == [
        orjson.dumps(orjson.loads(json.dumps(pruned(value)))) for value in texts
    ]
    for value in (found["structuredContent"], *(orjson.loads(block["text"]) for block in found["content"])):
        assert not MASKED & set(names_in(value))


@pytest.mark.requirement("gateway:mask:rest")
@given(st.dictionaries(st.sampled_from(["id", "name", *MASKED]), st.integers() | st.lists(st.floats(0, 1)), max_size=5))
def test_objects_of_plain_values_are_never_withheld(value: dict[str, Any]) -> None:
    assert masked({"content": [text(json.dumps([value]))], "structuredContent": [[value]]}) is not None


@pytest.mark.requirement("gateway:mask:gone")
@given(st.recursive(st.just(SECRET), lambda below: st.lists(below, min_size=1, max_size=2)
                    | st.dictionaries(st.sampled_from(["a", "b"]), below, min_size=1, max_size=2), max_leaves=6),
       st.sampled_from(sorted(MASKED)), st.integers(0, 5))  # fmt: skip
def test_a_value_under_a_masked_property_never_comes_out(below: Any, name: str, depth: int) -> None:
    value: Any = {name: below, "id": 1}
    for level in range(depth):
        value = [value, {"n": level}] if level % 2 else {"inner": value}
    found = masked({"content": [text(json.dumps(value))], "structuredContent": value})
    assert found is not None
    assert SECRET not in json.dumps(found)


# -- what can be masked


@pytest.mark.requirement("gateway:mask:gone", "gateway:mask:rest")
def test_numbers_and_text_that_are_not_masked_keep_their_spelling() -> None:
    spelled = '{"a":1.10,"email":7,"b":123456789012345678901234567890,"c":-0.0,"d":1e400,"e":"\\u00e9","f":[1.0]}'
    found = masked({"content": [text(spelled)]})
    assert found is not None
    assert found["content"] == [
        text('{"a":1.10,"b":123456789012345678901234567890,"c":-0.0,"d":1e400,"e":"é","f":[1.0]}')
    ]


@pytest.mark.requirement("gateway:mask:gone")
def test_what_a_server_says_beside_content_is_dropped() -> None:
    found = masked({
        "resultType": "complete", "isError": True, "_meta": {"example.com/x": SECRET}, "example.com/more": SECRET,
        "content": [{**text('{"id": 1}'), "_meta": {"x": SECRET}, "annotations": {"audience": [SECRET]}}],
    })  # fmt: skip
    assert found == {"resultType": "complete", "isError": True, "content": [text('{"id":1}')]}


@pytest.mark.requirement("gateway:mask:rest")
@pytest.mark.parametrize(
    "notes", ["", "[see note]", "{", "{curly}", '{"id": 1}', "[1, 2]", 'he said "email"', "email: no"]
)
def test_a_text_under_an_unmasked_property_stays_as_it_is(notes: str) -> None:
    found = masked({"content": [], "structuredContent": {"notes": notes}})
    assert found is not None
    assert found["structuredContent"] == {"notes": notes}


# -- what cannot


@pytest.mark.requirement("gateway:mask:withheld")
@pytest.mark.parametrize(
    "block",
    [
        text(f"The customer is {SECRET}"),
        text(""),
        text(json.dumps(SECRET)),
        text("42"),
        text("[1, 2]"),
        text(f'{{"id": 1, "email": "{SECRET}"'),
        text(f'{{"id": 1}} {SECRET}'),
        text(f'{{"a": {{"email": "{SECRET}"}}, "a": 1}}'),
        text(f'{{"email": 1, "email": "{SECRET}"}}'),
        text('{"id": NaN}'),
        text('{"id": "\\ud800"}'),
        text("\ufeff{}"),
        text("[" * 100_000 + "]" * 100_000),
        text('{"a":' * 70 + "1" + "}" * 70),
        {"type": "text"},
        {"type": "text", "text": {"email": SECRET}},
        {"type": "Text", "text": "{}"},
        {"text": "{}"},
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        {"type": "audio", "data": "aGk=", "mimeType": "audio/wav"},
        {"type": "resource_link", "uri": f"https://crm.example/{SECRET}", "name": "customer"},
        {"type": "resource", "resource": {"uri": "crm://1", "text": "{}"}},
        SECRET,
        None,
        [text("{}")],
    ],
)
def test_content_in_which_not_everything_stands_under_a_name_is_withheld(block: Any) -> None:
    assert withheld({"id": 1}, block)
    assert withheld({"id": 1}, text("{}"), block)


@pytest.mark.requirement("gateway:mask:withheld")
@pytest.mark.parametrize("value", [SECRET, 4, True, [1], [[SECRET]], [{"id": 1}, SECRET]])
def test_a_bare_value_is_withheld_since_no_name_says_what_it_is(value: Any) -> None:
    assert withheld(value)


@pytest.mark.requirement("gateway:mask:withheld")
@pytest.mark.parametrize(
    "name",
    [
        "Email", "EMAIL", "\uff45\uff4d\uff41\uff49\uff4c", "e-mail", "e_mail", " email", "email ",
        "ema\u200bil", "\ufeffemail", "dateOfBirth", "date-of-birth", "DATE_OF_BIRTH",
        "STRASSE", "stra\u00dfe ", "strasse",
    ],
)  # fmt: skip
def test_a_name_that_only_looks_like_a_masked_one_withholds_the_whole_answer(name: str) -> None:
    assert withheld({"id": 1, "deep": [{name: SECRET}]})
    assert withheld({"id": 1}, text(json.dumps({"deep": [{name: SECRET}]})))
    assert withheld({"id": 1, "payload": json.dumps({name: SECRET})})


@pytest.mark.requirement("gateway:mask:withheld")
@given(
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), st.sampled_from([str.upper, str.lower, str.title, str.casefold])
)
def test_another_case_or_normal_form_of_a_masked_name_is_withheld(form: Any, cased: Any) -> None:
    import unicodedata

    name = "größe_ﬁ"
    other = unicodedata.normalize(form, cased(name))
    mask = frozenset({name})
    if other == name:
        assert masked_result({"content": [], "structuredContent": {other: 1}}, mask)["structuredContent"] == {}
        return
    with pytest.raises(UnavailableError):
        masked_result({"content": [], "structuredContent": {other: 1}}, mask)


@pytest.mark.requirement("gateway:mask:withheld")
@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"email": SECRET}),
        json.dumps({"\u0065mail": SECRET}).replace("email", "\\u0065mail"),
        json.dumps(json.dumps({"email": SECRET})),
        json.dumps({"inner": json.dumps({"deep": [{"email": SECRET}]})}),
        f'{{"id": 1}}\n{{"id": 2, "email": "{SECRET}"}}',
        f"{{'id': 1, 'email': '{SECRET}'}}",
        f'data: {{"Email" : "{SECRET}"}}',
        '{"a": 1, "a": {"id": 1}}',
        "[" * 100_000,
        "n" * 2000 + f'"email":"{SECRET}"',
    ],
)
def test_json_in_a_text_in_json_that_names_a_masked_property_is_withheld(payload: str) -> None:
    assert withheld({"id": 1, "payload": payload})
    assert withheld({"id": 1, "payload": [{"x": payload}]})
    assert withheld({"id": 1}, text(json.dumps({"payload": payload})))


@pytest.mark.requirement("gateway:mask:withheld")
def test_a_name_too_long_to_be_compared_and_a_value_too_deep_to_be_searched_are_withheld() -> None:
    assert withheld({"x" * 2000: 1})
    value: Any = 1
    for _ in range(70):
        value = {"a": value}
    assert withheld(value)


@pytest.mark.requirement("gateway:mask:gone")
@pytest.mark.parametrize(("number", "told"), [(-32602, -32602), (-32_000, -32_000), (49170123456, -32603), (0, -32603)])
def test_an_error_keeps_a_number_of_the_protocol_and_none_of_the_servers_words(number: int, told: int) -> None:
    error = masked_error({"code": number, "message": f"no customer {SECRET}"})
    assert error["code"] == told
    assert SECRET not in error["message"]


# -- as the agent gets it


def _run(
    script: Script, *, meta: dict[str, Any] | None = None, withhold: UnavailableError | None = None
) -> tuple[Reply, Stage]:
    async def play() -> tuple[Reply, Stage]:
        async with stage(script) as at:
            at.point.masked, at.point.withhold = MASKED, withhold
            return await at.call(*modern(meta=meta)), at

    return asyncio.run(play())


def _answering(result: dict[str, Any]) -> Script:
    async def script(writer: Any, seen: Seen) -> None:
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "result": result}))

    return script


@pytest.mark.requirement("gateway:mask:gone", "gateway:mask:rest")
def test_the_agent_and_the_record_get_the_masked_result() -> None:
    row = {"id": 1, "email": SECRET, "orders": [{"sum": 1.5, "date_of_birth": SECRET}]}
    reply, at = _run(_answering(tool_result(json.dumps(row), structuredContent=row, _meta={"x": SECRET})))
    left = {"id": 1, "orders": [{"sum": 1.5}]}
    expected = {"resultType": "complete", "isError": False, "content": [text(orjson.dumps(left).decode())],
                "structuredContent": left}  # fmt: skip
    assert reply.json["result"] == expected
    assert SECRET.encode() not in reply.body
    (settled,) = at.point.settled
    assert (settled.end, settled.result) == (CallEnd.OK, expected)


@pytest.mark.requirement("gateway:mask:withheld")
@pytest.mark.parametrize("failed", [False, True])
def test_an_unmaskable_answer_is_withheld_recorded_without_its_text_and_charged(*, failed: bool) -> None:
    reply, at = _run(_answering({**tool_result(f"customer {SECRET}"), "isError": failed}))
    assert reply.code == Code.RESULT_UNMASKABLE.value
    assert reply.json["result"]["isError"]
    assert SECRET.encode() not in reply.body
    (settled,) = at.point.settled
    assert (settled.end, settled.code, settled.sent) == (CallEnd.WITHHELD, Code.RESULT_UNMASKABLE, True)
    assert settled.result is None


@pytest.mark.requirement("detected:undeclared")
def test_a_result_that_is_looked_at_and_refused_is_withheld_and_charged() -> None:
    refused = UnavailableError(Code.RESULT_UNDECLARED, "the result holds financial data")
    reply, at = _run(_answering(tool_result('{"id": 1}', structuredContent={"id": 1})), withhold=refused)
    assert reply.code == Code.RESULT_UNDECLARED.value
    (settled,) = at.point.settled
    assert (settled.end, settled.code, settled.sent) == (CallEnd.WITHHELD, Code.RESULT_UNDECLARED, True)
    assert settled.result is None
    (seen,) = at.point.inspected
    assert seen["structuredContent"] == {"id": 1}


@pytest.mark.requirement("gateway:mask:gone")
def test_an_error_of_the_server_of_a_masked_tool_loses_its_words() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        error = {"code": -32602, "message": f"no customer {SECRET}", "data": SECRET}
        writer.write(http_json({"jsonrpc": "2.0", "id": seen.message["id"], "error": error}))

    reply, at = _run(script)
    assert reply.json["error"]["code"] == -32602
    assert SECRET.encode() not in reply.body
    assert SECRET not in str(at.point.settled[0].result)


@pytest.mark.requirement("gateway:mask:gone")
def test_a_stream_of_a_masked_tool_carries_signs_of_life_and_the_masked_end_alone() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        assert "progressToken" not in seen.message["params"]["_meta"]
        rpc_id = seen.message["id"]
        messages = [
            {"method": "notifications/progress",
             "params": {"progressToken": rpc_id, "progress": 1, "message": f"found {SECRET}"}},
            {"method": "notifications/message", "params": {"level": "info", "data": SECRET}},
            {"id": rpc_id, "result": tool_result('{"id":1}', structuredContent={"id": 1, "email": SECRET})},
        ]  # fmt: skip
        writer.write(SSE_HEAD + f": {SECRET}\n\nevent: log\ndata: {SECRET}\n\n".encode())
        for message in messages:
            writer.write(b"data: " + orjson.dumps({"jsonrpc": "2.0", **message}) + b"\n\n")
        writer.close()

    reply, at = _run(script, meta={"progressToken": "mine"})
    assert SECRET.encode() not in reply.body
    assert reply.body.startswith(b": alive")
    (final,) = reply.events
    assert final["result"]["structuredContent"] == {"id": 1}
    assert at.point.settled[0].end is CallEnd.OK


@pytest.mark.requirement("gateway:mask:withheld")
def test_a_stream_that_ends_unmaskably_is_withheld_in_its_last_frame() -> None:
    async def script(writer: Any, seen: Seen) -> None:
        writer.write(SSE_HEAD + b": hello\n\n")
        result = {"jsonrpc": "2.0", "id": seen.message["id"], "result": tool_result(SECRET)}
        writer.write(b"data: " + orjson.dumps(result) + b"\n\n")
        writer.close()

    reply, at = _run(script)
    assert SECRET.encode() not in reply.body
    assert reply.events[-1]["result"]["structuredContent"]["code"] == "result_unmaskable"
    assert at.point.settled[0].end is CallEnd.WITHHELD
