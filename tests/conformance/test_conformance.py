"""What the harness of `make conformance` lets pass, and that its list is the document's. The kits need Node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conformance.comparing import Check, Difference, Known, compared, judged, known_of, rows_of
from tests.conformance.relay import relay

_HERE = Path(__file__).parent
_DOCUMENT = Path(__file__).parents[2] / "docs" / "divergences.md"
_HEAD = "| tool server | scenarios of the kits | why |"


@pytest.mark.requirement("gateway:conformance:listed")
def test_every_listed_difference_stands_in_the_document_and_no_other() -> None:
    _, found, rest = _DOCUMENT.read_text().partition(f"{_HEAD}\n| --- | --- | --- |\n")
    assert found, "the document lost its table"
    written = rest.partition("\n\n")[0].strip().splitlines()
    assert written == rows_of(known_of((_HERE / "differences.toml").read_text()))


def _judged(direct: Sequence[Check], through: Sequence[Check], *known: Known) -> tuple[int, int]:
    differences = compared("crm, a kit", {"scenario": direct}, {"scenario": through})
    unknown, stale = judged(differences, known)
    return len(unknown), len(stale)


_PASSED, _FAILED = Check("a", "A", "SUCCESS"), Check("a", "A", "FAILURE", "because")
_KNOWN = Known("crm", ("scenario",), "as it is")


@pytest.mark.requirement("gateway:conformance:compared")
def test_a_check_that_comes_out_otherwise_is_a_difference_until_it_is_listed_and_a_listed_one_must_be_seen() -> None:
    assert _judged([_PASSED], [_PASSED]) == (0, 0)
    assert _judged([_FAILED], [_FAILED]) == (0, 0), "both fail: that is not the gateway"
    assert _judged([_PASSED], [_FAILED]) == (1, 0)
    assert _judged([_PASSED], []) == (1, 0), "a check that is not made is not passed"
    assert _judged([_PASSED, _PASSED], [_PASSED]) == (1, 0)
    assert _judged([Check("i", "I", "INFO")], []) == (0, 0), "what was sent is no check"
    assert _judged([_PASSED], [_FAILED], _KNOWN) == (0, 0)
    assert _judged([_PASSED], [_FAILED], Known("erp", ("scenario",), "another server")) == (1, 1)
    assert _judged([_PASSED], [_FAILED], Known("crm", ("scenario",), "another check", checks=("b",))) == (1, 1)
    assert _judged([_PASSED], [_PASSED], _KNOWN) == (0, 1)
    assert _judged([_PASSED], [_FAILED], Known("crm", ("scenario",), "is better", better=True)) == (1, 1)
    assert _judged([_FAILED], [_PASSED], Known("crm", ("scenario",), "is better", better=True)) == (0, 0)


@pytest.mark.requirement("gateway:conformance:compared")
def test_a_difference_says_what_was_said_of_it() -> None:
    (one,) = compared("crm, a kit", {"scenario": [_PASSED]}, {"scenario": [_FAILED]})
    assert one == Difference("crm, a kit", "scenario", "a", "SUCCESS", "FAILURE", "because")
    assert str(one) == "crm, a kit: scenario: a: SUCCESS -> FAILURE (because)"


@pytest.mark.requirement("gateway:conformance:listed")
@pytest.mark.parametrize(
    "entry",
    [
        'target = "crm"\nscenarios = ["a"]\nreason = "r"\nscenario = "b"',
        'target = "crm"\nscenarios = []\nreason = "r"',
        'target = "crm"\nscenarios = ["a"]\nreason = ""',
        'target = "crm"\nscenarios = ["a"]',
    ],
)
def test_an_entry_that_explains_nothing_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"entry|incomplete"):
        known_of(f"[[difference]]\n{entry}\n")


@pytest.mark.requirement("gateway:conformance:relay")
def test_the_relay_adds_one_header_to_each_request_and_changes_no_other_byte() -> None:
    seen = bytearray()
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\x00\xff"
    first = b"POST /mcp HTTP/1.1\r\nHost: a\r\nX-Odd:  two  \r\ncontent-length: 4\r\n\r\n\r\n\r\n"
    second = b"GET / HTTP/1.1\r\n\r\n"

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for length in (4, 0):
            seen.extend(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(length))
            writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    async def play() -> bytes:
        server = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, asyncio.timeout(10), relay("127.0.0.1", port, "Authorization: Bearer k") as where:
            reader, writer = await asyncio.open_connection("127.0.0.1", where)
            for piece in (first[:30], first[30:] + second):
                writer.write(piece)
                await writer.drain()
            got = await reader.readexactly(2 * len(answer))
            writer.close()
            await writer.wait_closed()
            return got

    got = asyncio.run(play())
    added = b"\r\nAuthorization: Bearer k\r\n"
    assert bytes(seen) == first.replace(b"\r\n", added, 1) + second.replace(b"\r\n", added, 1)
    assert got == answer * 2
