"""Promises about the whole installation under attack."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "security:head:bounded", "DESIGN §11", "What comes before a body is bounded in size on every connection."
    ),
    Requirement("security:head:timely", "DESIGN §11", "A connection that completes no request head in time is closed."),
)
