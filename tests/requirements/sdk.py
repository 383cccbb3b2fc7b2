"""Promises of the client that asks before a tool is run."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "sdk:guard:answer",
        "issue 5 §10",
        "`check(tool, args)` says what the same call would come to, for the user its token names, and is on record.",
    ),
    Requirement(
        "sdk:guard:approval",
        "issue 5 §10, access request profile",
        "A check can wait for a person; what was approved lets exactly that call through, once.",
    ),
    Requirement("sdk:guard:closed", "issue 5 §10", "Any exception, and any answer that is not a plain yes, is a no."),
)
