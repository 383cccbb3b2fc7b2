"""Server-sent events, read as they come in: any split of the bytes gives the same events. Pure."""

from __future__ import annotations

import re

__all__ = ["KEEP_ALIVE", "EventReader", "event_frame", "id_frame"]

KEEP_ALIVE = b": alive\r\n\r\n"
"""A comment: it keeps proxies on the way from closing a quiet stream."""

_END_OF_LINE = re.compile(rb"\r\n?|\n")
_BOM = b"\xef\xbb\xbf"
_LINE_FEED = 0x0A
_ID = re.compile(rb"[\x20-\x7e]{1,1024}")
_RETRY = re.compile(rb"[0-9]{1,9}")


class EventReader:
    """Gives the data of each `message` event; `b""` stands for anything that only keeps the stream alive.

    The caller bounds the total; a stream is never longer than the answer it carries may be.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._data: list[bytes] = []
        self._event = b""
        self._first = True
        self._after_return = False
        self._id: bytes | None = None
        self.last_id: str | None = None
        """Where the stream could be taken up again, as its sender says; None: nowhere."""
        self.retry_ms: int | None = None
        """How long its sender wants to be left alone before that."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take some bytes; return what they completed, in order."""
        self._buffer += chunk
        if self._first:
            if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
                return []
            self._first = False
            if self._buffer.startswith(_BOM):
                del self._buffer[: len(_BOM)]
        if self._after_return and self._buffer:
            self._after_return = False
            if self._buffer[0] == _LINE_FEED:  # the other half of a line end that was split between chunks
                del self._buffer[0]
        found: list[bytes] = []
        start = 0
        while end := _END_OF_LINE.search(self._buffer, max(start, self._searched)):
            self._line(bytes(self._buffer[start : end.start()]), found)
            start = end.end()
            self._after_return = end[0] == b"\r" and start == len(self._buffer)
        del self._buffer[:start]
        self._searched = len(self._buffer)  # a long line in many chunks costs its length, not its square
        return found

    def _line(self, line: bytes, found: list[bytes]) -> None:
        if not line:
            if self._data:
                found.append(b"\n".join(self._data) if self._event in {b"", b"message"} else b"")
            self._data.clear()
            self._event = b""
            self.last_id = self._id.decode() if self._id is not None else None
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not field:
            found.append(b"")
        elif field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._event = value
        elif field == b"id":
            self._id = value if _ID.fullmatch(value) else None  # another could not be sent back in a header
        elif field == b"retry" and _RETRY.fullmatch(value):
            self.retry_ms = int(value)


def id_frame(own: str) -> bytes:
    """An event without data, which says from where on the stream can be taken up again."""
    return b"id: " + own.encode() + b"\r\ndata:\r\n\r\n"


def event_frame(data: bytes, own: str | None = None) -> bytes:
    """One `message` event; the data must hold no line ends, as JSON from our encoder does not.

    `own` is the id by which the stream can be taken up again after it.
    """
    head = b"" if own is None else b"id: " + own.encode() + b"\r\n"
    return head + b"event: message\r\ndata: " + data + b"\r\n\r\n"
