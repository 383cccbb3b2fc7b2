"""Tool calls in a model's answer, withheld before the agent sees them; all else passes as it came.

A gate is shown an answer frame by frame, or whole. It keeps back what belongs to a tool call until that is complete,
asks whether the agent may see it, and gives out the very bytes, or what stands in their place: a text that says what
was withheld. What follows is made to agree with it (indexes, numbers, why the answer stopped), so that clients of the
provider go on as after any text. Where nothing is withheld, no byte is changed.

INVARIANT: no byte of a tool call is given out before it was weighed; what cannot be read or does not end is not given
out at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import orjson

from accredit.gateway.llm.events import AskedTool
from accredit.gateway.llm.frames import SseFrame
from accredit.gateway.llm.lenient import load_mapping
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = ["AnswerGate", "Weighing", "blank", "event_of", "opaque", "written"]

Weighing = Callable[[AskedTool], Awaitable[str | None]]
"""Whether the agent may see a call that it is asked to make: None, or the text that it sees instead."""

_BLANK: Final = b" \t\r\n"


class AnswerGate(Protocol):
    """For one answer."""

    async def frame(self, frame: SseFrame) -> bytes:
        """Take a frame of a stream; return what may be passed on by now.

        Raises:
            UnavailableError: `upstream_invalid`: it cannot be read, so nobody knows what it asks for.
        """
        ...

    async def whole(self, answer: dict[str, Any]) -> bool:
        """Take an answer that is no stream, and put texts in the place of what is withheld; whether there was any."""
        ...


def blank(frame: SseFrame) -> bool:
    """Whether a frame holds no data: a comment, or a sign of life."""
    return not frame.oversized and not frame.data.strip(_BLANK)


def event_of(frame: SseFrame) -> dict[str, Any]:
    """The event in a frame.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    event = None if frame.oversized else load_mapping(frame.data)
    if event is None:
        raise opaque("a frame of the answer is not a JSON object")
    return dict(event)


def opaque(what: str) -> UnavailableError:
    """The refusal of what cannot be weighed."""
    return UnavailableError(Code.UPSTREAM_INVALID, f"{what}, so its tool calls cannot be decided")


def written(event: Mapping[str, Any], name: bytes = b"") -> bytes:
    """A frame of our own."""
    head = b"event: " + name + b"\n" if name else b""
    try:
        return head + b"data: " + orjson.dumps(event) + b"\n\n"
    except TypeError as error:  # nested deeper than JSON is written here
        raise opaque("a frame of the answer cannot be written again") from error
