"""A stream of server-sent events, cut into frames that keep their exact bytes. Pure.

`gateway/sse.py` reads events and lets go of the bytes; here a frame is passed on, left out or replaced as it came, so
its bytes are kept. Rules: WHATWG HTML §9.2.6; every blank line ends a frame, an empty one too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["MOST_BYTES", "SseFrame", "SseFrames"]

MOST_BYTES: Final = 16 * 2**20
"""A generated image, in base64, is some megabytes."""
_BOM: Final = b"\xef\xbb\xbf"
_LINE_FEED: Final = 0x0A


@dataclass(frozen=True, slots=True)
class SseFrame:
    """One frame."""

    raw: bytes
    """All its bytes, with the blank line that ends it."""
    data: bytes
    """The lines of its data, joined by line feeds; empty for comments and what only keeps the stream alive."""
    event: bytes = b""
    oversized: bool = False
    """Not a frame: bytes of one that is too large to be read, and all that comes after it."""


class SseFrames:
    """Cuts a stream into frames as it comes in.

    INVARIANT: the raw bytes of all frames and then of the rest are the bytes that were fed.

    A frame is given out at once. Where a stream ends lines with CR LF and was split between the two, the LF goes to the
    front of the next frame, where it means nothing: so which frame has that byte depends on the split, and no more.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._held = bytearray()
        self._line = 0
        """Where the line that is not complete begins in what is held."""
        self._searched = 0
        self._data = bytearray()
        self._has_data = False
        self._event = b""
        self._first = True
        self._after_return = False
        self._oversized = False

    def feed(self, data: bytes) -> list[SseFrame]:
        """Take some bytes; return the frames they completed, in order."""
        if self._oversized:
            return [SseFrame(data, b"", oversized=True)] if data else []
        held: bytes | bytearray
        if self._held:
            self._held += data
            held = self._held
        else:
            held = data
        found: list[SseFrame] = []
        start, line, searched = 0, self._line, self._searched
        if self._after_return and searched < len(held):
            self._after_return = False
            if held[searched] == _LINE_FEED:  # the other half of a line end that was split between slices
                searched += 1
                line += 1
        feed, back = held.find(b"\n", searched), held.find(b"\r", searched)
        while feed >= 0 or back >= 0:
            if back < 0 or 0 <= feed < back:
                end, after = feed, feed + 1
                feed = held.find(b"\n", after)
            else:
                end, after = back, back + 1
                if feed == after:
                    after += 1
                    feed = held.find(b"\n", after)
                elif after == len(held):
                    self._after_return = True
                back = held.find(b"\r", after)
            text = bytes(held[line:end])
            line = after
            if self._first:
                self._first = False
                text = text.removeprefix(_BOM)
            if text:
                self._read(text)
                continue
            if after - start > self._most:
                break
            found.append(SseFrame(bytes(held[start:after]), bytes(self._data), self._event))
            start = after
            self._data.clear()
            self._has_data = False
            self._event = b""
        if len(held) - start > self._most:
            self._oversized = True
            found.append(SseFrame(bytes(held[start:]), b"", oversized=True))
            start = len(held)
            self._data.clear()
        # a long line in many slices costs its length, not its square
        self._line, self._searched = line - start, len(held) - start
        if held is self._held:
            del self._held[:start]
        else:
            self._held += held[start:]
        return found

    def rest(self) -> bytes:
        """What is left of a frame that has not ended."""
        return bytes(self._held)

    def _read(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            if self._has_data:
                self._data += b"\n"
            self._has_data = True
            self._data += value.removeprefix(b" ")
        elif field == b"event":
            self._event = value.removeprefix(b" ")
