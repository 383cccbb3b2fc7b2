"""What a model's answer holds, in the order it came, whatever shape it has on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "MALFORMED",
    "OVERSIZED",
    "TRUNCATED",
    "AskedTool",
    "Broke",
    "Declined",
    "HostedUse",
    "LlmEvent",
    "Named",
    "Reasoned",
    "SaidText",
    "Stopped",
    "Used",
]

MALFORMED: Final = "malformed"
OVERSIZED: Final = "oversized"
TRUNCATED: Final = "truncated"


@dataclass(frozen=True, slots=True)
class Named:
    """The answer's id and the model that gives it; again if either changes."""

    id: str
    model: str


@dataclass(frozen=True, slots=True)
class SaidText:
    """Text for the reader; of a stream, one piece of it."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoned:
    """Reasoning that is shown, or its summary; of a stream, one piece of it."""

    text: str
    opaque: bool = False
    """There was reasoning that only the provider can read."""


@dataclass(frozen=True, slots=True)
class AskedTool:
    """A tool call that the agent is asked to make, once all of it is there."""

    id: str
    """Empty for the legacy `function_call`, which has none."""
    name: str
    """`namespace.name` for a tool in a namespace."""
    arguments: str
    """The JSON text as it was sent (free text for a custom tool); encoded by us where it was sent as an object."""


@dataclass(frozen=True, slots=True)
class HostedUse:
    """A tool that is not a plain function or custom tool was used, mostly by the provider itself.

    Those the agent itself carries out (a shell, a computer) come as `AskedTool` too.
    """

    kind: str
    """The kind without its `_call`; `mcp:LABEL` for a server of the Model Context Protocol."""
    name: str = ""
    """Which tool of that server, if it is known yet."""


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens so far; the latest counts. The parts are included in `input_tokens` and `output_tokens`."""

    input_tokens: int
    """All input. Anthropic counts what was read from and written to the cache apart: here it is added."""
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The model or its provider will not answer; of a stream, one piece of its text."""

    text: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """Why the answer (or one of its choices) ends, in the provider's word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broke:
    """An error that was sent, in the provider's words, or what could not be read, in ours.

    Ours are MALFORMED (reading goes on after it), OVERSIZED (reading has stopped) and TRUNCATED (the answer ended
    before its end).
    """

    code: str
    message: str


LlmEvent = Named | SaidText | Reasoned | AskedTool | HostedUse | Used | Declined | Stopped | Broke
