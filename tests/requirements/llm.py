"""Promises of the reader of what passes between agents and models."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "gateway:llm:answers",
        "research gateways §3.1",
        "Text, reasoning, tool calls, hosted tools, usage, refusals and errors are read from all four shapes.",
    ),
    Requirement(
        "gateway:llm:any-split",
        "research gateways §3.3, WHATWG HTML §9.2.6",
        "A stream split at any byte, with any line ends, comments and multi-line data, gives the same events.",
    ),
    Requirement(
        "gateway:llm:frames-exact",
        "issue 5 §2",
        "The bytes of all frames and the rest are the bytes of the stream; a usage chunk is told from all others.",
    ),
    Requirement(
        "gateway:llm:tool-calls-whole",
        "research gateways §3.1",
        "A tool call is given out once, when all of it is there; one that is not finished is reported, not given out.",
    ),
    Requirement(
        "gateway:llm:bounded", "issue 5 §2", "No bytes of an answer raise or make what is kept grow beyond its bound."
    ),
    Requirement(
        "gateway:llm:incomplete", "issue 5 §2", "What was malformed, too large or cut off is reported, never left out."
    ),
    Requirement(
        "gateway:llm:request",
        "issue 5 §2",
        "A request's model, limits, tools, texts and results are read in all shapes.",
    ),
    Requirement(
        "gateway:llm:request-refused", "issue 5 §2", "A request of other types than the API's is refused by member."
    ),
    Requirement(
        "gateway:llm:hosted",
        "research gateways §3.1",
        "Whatever is not a plain function or custom tool counts as hosted, unknown kinds too.",
    ),
)
