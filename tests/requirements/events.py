"""Promises about what monitoring tells at once."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "events:match:off-task", "issue 7 §5", "a call with an effect that the request does not speak of is told apart"
    ),
    Requirement(
        "events:match:tainted", "issue 7 §5", "a value that names something and came from results alone is told apart"
    ),
    Requirement(
        "events:match:silent", "DESIGN §7", "where no request is known, or none that can be read, nothing counts"
    ),
    Requirement("events:match:bounded", "threat flood", "however long requests, results and sessions are"),
)
