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
        "security:files:private",
        "DESIGN §11",
        "Whatever the umask, what is written is its owner's alone and holds no secret or argument in clear.",
    ),
    Requirement(
        "security:head:bounded", "DESIGN §11", "What comes before a body is bounded in size on every connection."
    ),
    Requirement("security:head:timely", "DESIGN §11", "A connection that completes no request head in time is closed."),
)
