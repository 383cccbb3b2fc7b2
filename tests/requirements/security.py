"""Promises about the whole installation under attack."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "security:attempts:apart",
        "DESIGN §5",
        "Junk at the gateway keeps nobody at the same address from signing in or from a new token.",
    ),
    Requirement(
        "security:body:timely", "DESIGN §11", "A body that does not arrive in time is given up at every open door."
    ),
    Requirement(
        "security:outbound:tokens",
        "issue 5, bad input",
        "No client id, issuer or key that a token or a request names is fetched.",
    ),
    Requirement(
        "security:outbound:servers",
        "issue 5, bad input",
        "No address in a tool server's definitions, redirects or answers is fetched; a credential goes to its origin.",
    ),
    Requirement(
        "security:passthrough:never",
        "issue 5, bad input",
        "No byte of an agent's token, key, session or headers reaches a tool server, whatever it comes in by.",
    ),
    Requirement(
        "security:files:private",
        "DESIGN §11",
        "Whatever the umask, what is written is its owner's alone and holds no secret or argument in clear.",
    ),
    Requirement(
        "security:head:bounded", "DESIGN §11", "What comes before a body is bounded in size on every connection."
    ),
    Requirement("security:head:timely", "DESIGN §11", "A connection that completes no request head in time is closed."),
)
