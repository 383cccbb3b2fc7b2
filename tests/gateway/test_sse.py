"""Server-sent events: whatever the network does to the bytes, the events are the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.gateway.sse import EventReader, event_frame

_PIECES = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event: message", b"event: other", b": ping", b"id: 1", b"retry: 5", b"{}", b"\xc3"]
) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b" ", b":", b"x", b"\xef\xbb\xbf"])


def _naive(stream: bytes) -> list[bytes]:
    """The specification's algorithm over the whole text at once."""
    found: list[bytes] = []
    data: list[bytes] = []
    event = b""
    for line in re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                found.append(b"\n".join(data) if event in (b"", b"message") else b"")
            data, event = [], b""
        elif line.startswith(b":"):
            found.append(b"")
        elif field == b"data":
            data.append(value)
        elif field == b"event":
            event = value
    return found


@given(st.lists(_PIECES, max_size=30).map(b"".join), st.data())
@pytest.mark.requirement("gateway:sse:any-split")
def test_any_split_of_any_stream_gives_the_events_of_the_whole(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader, found = EventReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    expected = _naive(stream)
    # a byte order mark can only be told from data once three bytes are there
    assert found == expected or (len(stream) < 3 and found == [])


def test_every_single_split_of_a_stream_with_crlf_comments_and_multi_line_data_gives_the_same_events() -> None:
    stream = (
        b'\xef\xbb\xbf: hello\r\n\r\nid: 1\r\ndata: \r\n\r\nevent: message\r\ndata: {"a":\r\ndata: "\xc3\xa9"}\r\n\r\n'
        b"event: other\ndata: 1\n\ndata: 2\r\rdata: unfinished"
    )
    expected = [b"", b"", b'{"a":\n"\xc3\xa9"}', b"", b"2"]
    for cut in range(len(stream) + 1):
        reader = EventReader()
        assert reader.feed(stream[:cut]) + reader.feed(stream[cut:]) == expected
    reader = EventReader()
    assert [event for byte in stream for event in reader.feed(bytes([byte]))] == expected


@given(st.binary(max_size=40).filter(lambda text: not re.search(rb"[\r\n]", text) and text != b""))
def test_what_is_written_as_one_event_is_read_as_that_event(text: bytes) -> None:
    assert EventReader().feed(event_frame(text)) == [text]
