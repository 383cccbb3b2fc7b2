"""Promises of HTTP APIs below `/http/`."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "http:call",
        "issue 5 §4, DESIGN §3",
        "An operation of a registered OpenAPI document is a tool: decided, held, limited and recorded like any other.",
    ),
    Requirement(
        "http:typed",
        "issue 5 §4",
        "Path, query, declared headers and body are typed arguments; what is not as declared never leaves.",
    ),
    Requirement(
        "http:sent-anew",
        "DESIGN §3.4",
        "The request that is sent is written anew from the arguments that were decided, and says exactly them.",
    ),
    Requirement(
        "http:upstream",
        "DESIGN §4",
        "Redirects, refused credentials and secrets in an answer end with the gateway; a token is for its own path.",
    ),
    Requirement(
        "http:ends",
        "DESIGN §3, §4",
        "A call ends at its timeout, when its client leaves and when its agent is stopped, and is settled once.",
    ),
    Requirement("http:mask", "DESIGN §3.7", "A grant's mask takes fields out of the answer of an operation."),
    Requirement("http:pinned", "issue 5 §1", "An operation whose description or schema changed is blocked."),
    Requirement("http:register", "issue 5 §4", "Only operations that the document offers can be registered."),
    Requirement(
        "http:openapi",
        "issue 5 §4, OpenAPI 3.0 and 3.1",
        "Operations are read exactly or not offered; no document makes reading it expensive or leads elsewhere.",
    ),
)
