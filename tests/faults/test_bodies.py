"""Whatever is wrong with a request, it is refused by name, and no tool server hears of it."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping

import pytest

from tests.enforcement.place import Told
from tests.faults.conftest import Town
from tests.gateway.stage import legacy, modern

_BODY, _HEADERS = modern(params={"name": "read", "arguments": {"customer_id": "c-1"}})
_TEXT = _BODY.decode()


def _deep(levels: int) -> bytes:
    return _TEXT.replace('"c-1"', "[" * levels + "]" * levels).encode()


_BODIES: Mapping[str, tuple[bytes, int, str]] = {
    "empty": (b"", 400, "body_malformed"),
    "cut off": (_BODY[:-9], 400, "body_malformed"),
    "two values": (_BODY + b"{}", 400, "body_malformed"),
    "with a byte order mark": (b"\xef\xbb\xbf" + _BODY, 400, "body_malformed"),
    "not UTF-8": (_BODY.replace(b"c-1", b"\xff\xfe"), 400, "body_malformed"),
    "a lone surrogate": (_BODY.replace(b"c-1", rb"\ud800"), 400, "body_malformed"),
    "not a number": (_BODY.replace(b'"c-1"', b"NaN"), 400, "body_malformed"),
    "a number beyond 64 bits": (_BODY.replace(b'"c-1"', b"9" * 40), 400, "body_malformed"),
    "nested 65 deep": (_deep(65), 400, "body_too_deep"),
    "nested 50,000 deep": (_deep(50_000), 400, "body_malformed"),
    "a repeated key": (_BODY.replace(b'"name":', b'"name":"count","name":'), 400, "body_duplicate_keys"),
    "an escaped repeated key": (_BODY.replace(b'"name":', rb'"n\u0061me":"count","name":'), 400, "body_duplicate_keys"),
    "a repeated argument": (
        _BODY.replace(b'{"customer_id":', b'{"customer_id":"c-9","customer_id":'), 400, "body_duplicate_keys",
    ),
    "2 MB": (_BODY.replace(b"c-1", b"c" * 2**21), 413, "body_oversized"),
    "a batch": (b"[" + _BODY + b"]", 400, "body_malformed"),
    "arguments of another type": (_BODY.replace(b'{"customer_id":"c-1"}', b"[1]"), 400, "body_malformed"),
}  # fmt: skip


@pytest.mark.requirement("faults:bodies")
@pytest.mark.parametrize("fault", _BODIES)
def test_a_malformed_body_is_refused_by_name_and_goes_nowhere(town: Town, fault: str) -> None:
    body, status, code = _BODIES[fault]

    async def story() -> None:
        at, reached = town.at, len(town.at.site.box.calls)
        told = Told(await at.post(await at.token("worker"), body, _HEADERS))
        assert told.status == status
        told.refused(code)
        assert len(at.site.box.calls) == reached

    town.run(story())


@pytest.mark.requirement("faults:bodies")
def test_an_argument_named_like_the_engine_s_own_is_refused_at_any_depth(town: Town) -> None:
    async def story() -> None:
        at, token = town.at, await town.at.token("worker")
        for key in ("__entity", "__extn", "__expr"):
            claimed = {"dev.accredit/declared": {"a": [{key: {"type": "User", "id": "admin"}}]}}
            (await at.call(token, meta=claimed)).refused("reserved_key")
            (await at.call(token, "read", {key: "x"})).refused("undeclared_argument")

    reached = len(town.at.site.box.calls)
    town.run(story())
    assert len(town.at.site.box.calls) == reached


_HEADERS_OF_ANOTHER_CALL: Mapping[str, Mapping[str, str]] = {
    "another tool": {"mcp-name": "refund"},
    "another method": {"mcp-method": "tools/list"},
    "another version": {"mcp-protocol-version": "2025-11-25"},
}


@pytest.mark.requirement("faults:headers")
@pytest.mark.parametrize("which", _HEADERS_OF_ANOTHER_CALL)
def test_headers_that_speak_of_another_call_than_the_body_are_refused(town: Town, which: str) -> None:
    async def story() -> None:
        at, reached = town.at, len(town.at.site.box.calls)
        told = Told(await at.post(await at.token("worker"), _BODY, {**_HEADERS, **_HEADERS_OF_ANOTHER_CALL[which]}))
        assert told.status == 400
        assert told.why["code"] in {"header_mismatch", "protocol_version", "session_unknown"}
        assert told.why["hint"]
        assert len(at.site.box.calls) == reached

    town.run(story())


@pytest.mark.requirement("faults:bodies")
def test_a_body_that_stops_coming_is_let_go_and_others_are_served_meanwhile(town: Town) -> None:
    async def story() -> None:
        at = town.at
        token = await at.token("worker")
        host = at.url.removeprefix("http://")
        _, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(
            f"POST /mcp/crm HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n"
            "content-type: application/json\r\naccept: */*\r\ncontent-length: 5000\r\n\r\n{".encode()
        )
        await writer.drain()
        assert (await at.call(token)).allowed
        writer.close()
        await writer.wait_closed()
        assert (await at.call(token)).allowed
        assert at.enforcer.in_flight == 0

    town.run(story())


@pytest.mark.requirement("faults:sessions")
def test_a_session_id_that_was_never_given_out_is_refused_in_every_form(town: Town) -> None:
    async def story() -> None:
        at, token = town.at, await town.at.token("worker")
        good = await at.session(token)
        for wrong in ("", "x", good[:-2], good + "A", good[::-1], "A" * 4000, "../../etc"):
            body, headers = legacy("tools/call", {"name": "read", "arguments": {}}, session=wrong)
            told = Told(await at.post(token, body, headers))
            assert told.status in {400, 404}, wrong
            told.refused("session_unknown")

    reached = len(town.at.site.box.calls)
    town.run(story())
    assert len(town.at.site.box.calls) == reached


@pytest.mark.requirement("faults:bodies")
def test_the_operators_api_refuses_the_same_by_name(town: Town) -> None:
    async def story() -> None:
        http = town.at.http
        for body, codes in (
            (b"", {"body_malformed"}),
            (b'{"files": [', {"body_malformed"}),
            (b'{"files": "x"}', {"body_malformed"}),
            (b'{"files": [], "more": 1}', {"body_malformed"}),
            (b'{"files":[{"name":"f","text":"' + b"x" * (9 * 2**20) + b'"}]}', {"body_oversized", "body_malformed"}),
            (b'{"files":' + b"[" * 100_000, {"body_malformed", "body_too_deep"}),
        ):
            answer = await http.post("/api/v1/apply", content=body, headers={"content-type": "application/json"})
            assert 400 <= answer.status_code < 500, (body[:40], answer.status_code)
            found = answer.json()
            assert found["code"] in codes, (body[:40], found)
            assert found["detail"]
            assert json.dumps(found).count("x" * 200) == 0, "the answer repeats what was sent"

    town.run(story())


@pytest.mark.requirement("faults:bodies:megabyte")
def test_a_megabyte_of_arguments_goes_through_whole_and_on_record_and_one_byte_too_many_does_not(town: Town) -> None:
    async def story() -> None:
        at, box = town.at, town.at.site.box
        token, room = await at.token("worker"), 2**20 - len(_BODY) + len("c-1")
        for over, allowed in ((0, True), (1, False)):
            reached, text = len(box.calls), "\u00e9" * (room // 2) + "x" * (room % 2 + over)
            body = _TEXT.replace("c-1", text).encode()
            assert len(body) == 2**20 + over
            told = Told(await at.post(token, body, _HEADERS))
            assert told.allowed is allowed, str(told.json)[:300]
            assert len(box.calls) == reached + allowed
            if allowed:
                assert box.calls[-1]["arguments"] == {"customer_id": text}
                await at.settled()
                _, decided = at.records("decision")[-1]
                assert decided["code"] == "allowed"
            else:
                told.refused("body_oversized")

    town.run(story())


def _raw(*more: str, length: int | None = len(_BODY)) -> bytes:
    named = "".join(f"{name}: {value}\r\n" for name, value in _HEADERS.items() if name not in {"host", "authorization"})
    sized = f"content-length: {length}\r\n" if length is not None else ""
    extra = "".join(f"{line}\r\n" for line in more)
    head = f"POST /mcp/crm HTTP/1.1\r\nhost: 127.0.0.1\r\n{named}{sized}{extra}authorization: Bearer TOKEN\r\n"
    return f"{head}\r\n".encode()


_CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)
_SMUGGLED: Mapping[str, tuple[bytes, int, int]] = {
    # bytes on one connection; the status of the first answer; how many calls may reach the tool
    "an honest one": (_raw() + _BODY, 200, 1),
    "two honest ones": ((_raw() + _BODY) * 2, 200, 2),
    "a chunked one": (_raw("transfer-encoding: chunked", length=None) + _CHUNKED, 200, 1),
    "two lengths": (_raw("content-length: 5") + _BODY, 400, 0),
    "a length and chunks": (_raw("transfer-encoding: chunked", length=4) + _CHUNKED, 400, 0),
    "chunks and a length": (_raw("transfer-encoding: chunked") + b"0\r\n\r\n" + _raw() + _BODY, 400, 0),
    "chunks by another name": (_raw("transfer-encoding: xchunked", length=None) + _CHUNKED, 400, 0),
    "a second request in the body": (_raw(length=len(_BODY + _raw() + _BODY)) + _BODY + _raw() + _BODY, 400, 0),
    "a folded header": (_raw("mcp-name: read\r\n x") + _BODY, 400, 0),
    "a second name": (_raw("mcp-name: count") + _BODY, 400, 0),
    "a second method": (_raw("mcp-method: tools/list") + _BODY, 400, 0),
    "the same method twice": (_raw("mcp-method: tools/call") + _BODY, 400, 0),
    "a second version": (_raw("mcp-protocol-version: 2025-11-25") + _BODY, 400, 0),
    "a second caller": (_raw("authorization: Bearer x") + _BODY, 400, 0),
    "another verb by header": (_raw("x-http-method-override: DELETE", "x-method-override: GET") + _BODY, 200, 1),
    "another place by header": (_raw("x-original-url: /mcp/erp", "forwarded: host=erp") + _BODY, 200, 1),
    "a verb of its own": (_raw().replace(b"POST", b"CALL", 1) + _BODY, 400, 0),
}  # fmt: skip


@pytest.mark.requirement("faults:bodies:smuggled")
@pytest.mark.parametrize("form", _SMUGGLED)
def test_what_could_be_read_as_another_request_is_refused_or_is_one_call(town: Town, form: str) -> None:
    sent, status, calls = _SMUGGLED[form]

    async def story() -> None:
        at, reached = town.at, len(town.at.site.box.calls)
        token = await at.token("worker")
        host, _, port = at.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            sent.replace(b"TOKEN", token.encode()).replace(b"host: 127.0.0.1", f"host: {host}:{port}".encode())
        )
        answered = b""
        for _ in range(max(1, calls)):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: ([0-9]+)", head)
            answered += head + await reader.readexactly(int(length[1]) if length else 0)
        writer.close()
        assert answered.startswith(b"HTTP/1.1 %d " % status), answered[:300]
        assert len(at.site.box.calls) == reached + calls
        assert all(call["name"] == "read" for call in at.site.box.calls[reached:])

    town.run(story())
