"""Upstream secrets: pinned to an origin, shown to nobody."""

from __future__ import annotations

import json
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.identity import rows
from accredit.identity.scrubbing import without_credential
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import ServerName
from accredit.kernel.sealing import AesGcmSealer
from accredit.registry.model import Environment, ToolServer
from tests.identity.world import ADMIN, World, run

_SECRET = 's3cr3t/"canary"+value=='
_VALUE = f"Bearer {_SECRET}"
_ORIGIN = "https://crm.example:8443"


def _server(url: str = f"{_ORIGIN}/mcp", credential: str | None = "crm-key") -> ToolServer:
    return ToolServer(ServerName("crm"), Environment.DEVELOPMENT, url, credential, {})


async def _world() -> World:
    world = World()
    await world.broker.store("crm-key", origin=_ORIGIN, header="Authorization", value=_VALUE, actor=ADMIN)
    return world


@pytest.mark.requirement("identity:broker:pinned")
def test_the_secret_travels_to_its_own_origin() -> None:
    async def scenario() -> None:
        world = await _world()
        assert await world.broker.headers(_server(), None) == {"Authorization": _VALUE}
        assert await world.broker.headers(_server("HTTPS://CRM.example:8443/other"), None) == {"Authorization": _VALUE}
        assert await world.broker.headers(_server(credential=None), None) == {}

    run(scenario())


@pytest.mark.requirement("identity:broker:pinned")
@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example:8443/mcp",
        "https://crm.example/mcp",
        "https://crm.example:8444/mcp",
        "https://crm.example.evil.example:8443/mcp",
        "https://evil.example:8443/crm.example",
        "https://crm.example:8443@evil.example/mcp",
        "https://user:pw@crm.example:8443/mcp",
        "https://crm.example\\@evil.example:8443/mcp",
        "https://[crm.example:8443/mcp",
        "crm.example:8443",
        "",
    ],
)
def test_the_secret_never_travels_anywhere_else(url: str) -> None:
    async def scenario() -> None:
        world = await _world()
        with pytest.raises(UnavailableError) as caught:
            await world.broker.headers(_server(url), None)
        assert caught.value.code is Code.UPSTREAM_CREDENTIAL
        assert _SECRET not in caught.value.message + caught.value.hint + caught.value.cause

    run(scenario())


@pytest.mark.requirement("identity:broker:unseen")
def test_the_secret_stands_in_no_row_event_list_or_repr() -> None:
    async def scenario() -> None:
        world = await _world()
        row = world.control.view.get(rows.SECRET, "crm-key")
        seen = repr((world.control.events, row, world.broker.credentials(), vars(world.broker), world.broker))
        for spelling in (_SECRET, json.dumps(_SECRET)[1:-1], b64encode(_VALUE.encode()).decode()):
            assert spelling not in seen
        assert [one.name for one in world.broker.credentials()] == ["crm-key"]

    run(scenario())


@pytest.mark.requirement("identity:broker:sealed")
@pytest.mark.parametrize("field", ["origin", "header", "version", "name"])
def test_a_row_moved_to_another_place_does_not_open(field: str) -> None:
    async def scenario() -> None:
        world = await _world()
        row = world.control.view.get(rows.SECRET, "crm-key")
        assert row is not None
        changed = {"origin": "https://evil.example:443", "header": "X-Key", "version": 2}
        name = "other-key" if field == "name" else "crm-key"
        doc = dict(row.doc) if field == "name" else {**row.doc, field: changed[field]}
        moved = World()
        moved.broker._fold(name, doc)
        url = "https://evil.example/mcp" if field == "origin" else f"{_ORIGIN}/mcp"
        with pytest.raises(UnavailableError):
            await moved.broker.headers(_server(url, credential=name), None)

    run(scenario())


@pytest.mark.requirement("identity:broker:sealed")
def test_another_key_does_not_open_it_and_a_restart_with_the_same_one_does() -> None:
    async def scenario() -> None:
        world = await _world()
        again = world.new_broker()
        assert await again.headers(_server(), None) == {"Authorization": _VALUE}
        other = world.new_broker(AesGcmSealer(b"x" * 32, world.ids))
        with pytest.raises(UnavailableError):
            await other.headers(_server(), None)

    run(scenario())


@pytest.mark.requirement("identity:broker:replaced")
def test_a_replaced_secret_is_used_at_once_and_a_removed_one_not_any_more() -> None:
    async def scenario() -> None:
        world = await _world()
        shown = await world.broker.store(
            "crm-key", origin=_ORIGIN, header="X-Api-Key", value="another-value", actor=ADMIN
        )
        assert shown.version == 2
        assert await world.broker.headers(_server(), None) == {"X-Api-Key": "another-value"}
        await world.broker.remove("crm-key", actor=ADMIN)
        with pytest.raises(UnavailableError):
            await world.broker.headers(_server(), None)
        with pytest.raises(NotFoundError):
            await world.broker.remove("crm-key", actor=ADMIN)

    run(scenario())


@pytest.mark.requirement("identity:broker:scrubbed")
@given(
    before=st.binary(max_size=40),
    after=st.binary(max_size=40),
    spelling=st.sampled_from(
        [
            _VALUE.encode(),
            _SECRET.encode(),
            json.dumps(_SECRET).encode(),
            json.dumps({"authorization": _VALUE}).encode(),
            json.dumps(_SECRET).replace("/", "\\/").encode(),
            quote(_SECRET, safe="").encode(),
            quote(_SECRET).encode(),
            b64encode(_SECRET.encode()),
            b64encode(_VALUE.encode()),
        ]
    ),
)
def test_no_spelling_of_the_secret_comes_back(before: bytes, after: bytes, spelling: bytes) -> None:
    answer = without_credential({"Authorization": _VALUE}, before + spelling + after)
    assert _SECRET.encode() not in answer
    assert spelling.strip(b'"') not in answer
    assert b"[redacted]" in answer


@pytest.mark.requirement("identity:broker:scrubbed")
def test_an_answer_without_the_secret_is_not_touched() -> None:
    answer = b'{"customer": "Bearer of good news"}'
    assert without_credential({"Authorization": _VALUE}, answer) is answer
    assert without_credential({}, _VALUE.encode()) == _VALUE.encode()


@pytest.mark.requirement("identity:broker:form")
@pytest.mark.parametrize(
    "changes",
    [
        {"origin": "http://crm.example"},
        {"origin": "ftp://crm.example"},
        {"origin": "https://user:pw@crm.example"},
        {"origin": "crm.example"},
        {"origin": "https://crm.example:99999"},
        {"header": "Host"},
        {"header": "transfer-encoding"},
        {"header": "X-Key\r\nX-Other"},
        {"header": ""},
        {"value": "tiny-7x"},
        {"value": "Bearer tiny-7x"},
        {"value": "with\r\nnewline-and-more"},
        {"value": "ünïcödé-value-of-some-length"},
        {"value": "x" * 5000},
        {"name": "Not A Name"},
    ],
)
def test_what_could_not_be_kept_safe_is_not_stored_and_not_repeated(changes: dict[str, str]) -> None:
    async def scenario() -> None:
        world = World()
        asked = {"name": "crm-key", "origin": _ORIGIN, "header": "Authorization", "value": _VALUE, **changes}
        with pytest.raises(InvalidInputError) as caught:
            await world.broker.store(
                asked["name"], origin=asked["origin"], header=asked["header"], value=asked["value"], actor=ADMIN
            )
        assert asked["value"] not in caught.value.message + caught.value.hint + caught.value.cause
        assert world.control.events == []

    run(scenario())


@pytest.mark.requirement("identity:broker:pinned")
def test_plain_http_is_kept_for_loopback() -> None:
    async def scenario() -> None:
        world = World()
        await world.broker.store(
            "crm-key", origin="http://127.0.0.1:9000/mcp", header="Authorization", value=_VALUE, actor=ADMIN
        )
        assert await world.broker.headers(_server("http://127.0.0.1:9000/mcp"), None) == {"Authorization": _VALUE}

    run(scenario())


_LETTERS = st.sampled_from(
    ["{c}", "\\u{n:04x}", "\\\\u{n:04X}", "\\x{n:02x}", "%{n:02X}", "%25{n:02x}", "&#{n};", "&#x{n:X};"]
)


@pytest.mark.requirement("identity:broker:scrubbed")
@given(
    spelled=st.lists(_LETTERS, min_size=len(_SECRET), max_size=len(_SECRET)),
    before=st.text(alphabet='ab\\"%&;x0', max_size=12),
    after=st.text(alphabet='ab\\"%&;x0', max_size=12),
)
def test_no_mixture_of_letters_and_their_numbers_comes_back(spelled: list[str], before: str, after: str) -> None:
    mixed = "".join(each.format(c=one, n=ord(one)) for each, one in zip(spelled, _SECRET, strict=True))
    answer = without_credential({"Authorization": _VALUE}, f"{before}|{mixed}|{after}".encode())
    assert mixed.encode() not in answer
    assert answer == f"{before}|[redacted]|{after}".encode()


@pytest.mark.requirement("identity:broker:scrubbed")
@given(st.binary(max_size=300))
def test_what_does_not_hold_the_secret_comes_back_as_it_is(answer: bytes) -> None:
    assert without_credential({"Authorization": _VALUE}, answer) == answer
