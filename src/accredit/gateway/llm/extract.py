"""From the bytes of a model's answer to its events, as they come in. Pure.

`extractor` is for whoever has the bytes. A proxy that may leave out or replace a frame cuts the stream itself
(`SseFrames`) and shows each frame to a `FrameExtractor` before it passes it on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from accredit.gateway.llm.chat import ChatReader
from accredit.gateway.llm.events import MALFORMED, OVERSIZED, TRUNCATED, Broke, LlmEvent
from accredit.gateway.llm.frames import MOST_BYTES, SseFrame, SseFrames
from accredit.gateway.llm.lenient import load_mapping
from accredit.gateway.llm.messages import MessagesReader
from accredit.gateway.llm.responses import ResponsesReader
from accredit.gateway.llm.shapes import LlmShape

__all__ = ["Extractor", "FrameExtractor", "extractor", "usage_only"]

_DONE: Final = b"[DONE]"


class Extractor(Protocol):
    """Reads one answer's body. Nothing that is fed raises, and what is kept stays within a bound."""

    def feed(self, data: bytes) -> list[LlmEvent]:
        """Take a slice, cut anywhere; return what it completed, in order."""
        ...

    def close(self) -> list[LlmEvent]:
        """The body has ended: return what was left, with a `Broke` if the answer was not complete."""
        ...


class _Reader(Protocol):
    @property
    def held(self) -> int: ...

    @property
    def pending(self) -> bool: ...

    def read(self, event: Mapping[str, Any], /) -> list[LlmEvent]: ...

    def whole(self, answer: Mapping[str, Any], /) -> list[LlmEvent]: ...

    def done(self) -> list[LlmEvent]: ...

    def end(self) -> list[LlmEvent]: ...


_READERS: Final[Mapping[LlmShape, Callable[[], _Reader]]] = {
    LlmShape.CHAT: ChatReader,
    LlmShape.EMBEDDINGS: ChatReader,
    LlmShape.RESPONSES: ResponsesReader,
    LlmShape.MESSAGES: MessagesReader,
}


class FrameExtractor:
    """Reads one streamed answer, frame by frame."""

    def __init__(self, shape: LlmShape, *, most_bytes: int = MOST_BYTES) -> None:
        self._reader = _READERS[shape]()
        self._most = most_bytes
        self._stopped = False

    def take(self, frame: SseFrame) -> list[LlmEvent]:
        """What this frame says or completes."""
        if self._stopped:
            return []
        if frame.oversized:
            return self._oversized("a frame of the stream")
        data = frame.data
        if not data or data.isspace():
            return []
        if data.startswith(_DONE):
            return self._reader.done()
        event = load_mapping(data)
        if event is None:
            return [Broke(MALFORMED, "a frame of the stream is not a JSON object")]
        found = self._reader.read(event)
        if self._reader.held > self._most:
            found += self._oversized("what the stream has begun and not finished")
        return found

    @property
    def pending(self) -> bool:
        """Whether a tool call has begun and is not complete: what has been taken since belongs to it, or may."""
        return self._reader.pending

    def close(self, rest: bytes = b"") -> list[LlmEvent]:
        """The stream has ended, with this left of a frame that has not."""
        # a client that reads by lines takes data without the blank line after it, so it is read here too
        found = [
            event for frame in SseFrames(most_bytes=self._most + 2).feed(rest + b"\n\n") for event in self.take(frame)
        ]
        if self._stopped:
            return found
        self._stopped = True
        if any(isinstance(event, Broke) and event.code == MALFORMED for event in found):
            return [Broke(TRUNCATED, "the stream ended within a frame")]
        return found + self._reader.end()

    def _oversized(self, what: str) -> list[LlmEvent]:
        self._stopped = True
        self._reader = ChatReader()  # lets go of what was held
        return [Broke(OVERSIZED, f"{what} is larger than {self._most} bytes")]


class _StreamExtractor:
    def __init__(self, shape: LlmShape, most_bytes: int) -> None:
        self._frames = SseFrames(most_bytes=most_bytes)
        self._extractor = FrameExtractor(shape, most_bytes=most_bytes)

    def feed(self, data: bytes) -> list[LlmEvent]:
        found: list[LlmEvent] = []
        for frame in self._frames.feed(data):
            found += self._extractor.take(frame)
        return found

    def close(self) -> list[LlmEvent]:
        return self._extractor.close(self._frames.rest())


class _BodyExtractor:
    def __init__(self, shape: LlmShape, most_bytes: int) -> None:
        self._shape = shape
        self._most = most_bytes
        self._body = bytearray()
        self._stopped = False

    def feed(self, data: bytes) -> list[LlmEvent]:
        if self._stopped:
            return []
        if len(self._body) + len(data) > self._most:
            self._stopped = True
            self._body.clear()
            return [Broke(OVERSIZED, f"the answer is larger than {self._most} bytes")]
        self._body += data
        return []

    def close(self) -> list[LlmEvent]:
        if self._stopped:
            return []
        self._stopped = True
        body = bytes(self._body)
        self._body.clear()
        if not body or body.isspace():
            return [Broke(TRUNCATED, "the answer is empty")]
        answer = load_mapping(body)
        if answer is None:
            whole = body.rstrip().endswith(b"}")
            return [Broke(MALFORMED if whole else TRUNCATED, "the answer is not a whole JSON object")]
        return _READERS[self._shape]().whole(answer)


def extractor(shape: LlmShape, *, streamed: bool, most_bytes: int = MOST_BYTES) -> Extractor:
    """What reads an answer of this shape; `streamed` is what the answer is, not what was asked for."""
    return _StreamExtractor(shape, most_bytes) if streamed else _BodyExtractor(shape, most_bytes)


def usage_only(frame: SseFrame) -> bool:
    """Whether a frame of a chat is no more than the chunk that `stream_options.include_usage` adds."""
    if b'"usage"' not in frame.data:
        return False
    chunk = load_mapping(frame.data)
    return (
        chunk is not None
        and chunk.get("choices") == []
        and isinstance(chunk.get("usage"), dict)
        and "error" not in chunk
    )
