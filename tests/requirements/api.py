"""Promises of the control plane's API and the routes beside it."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("api:entry:guarded", "DESIGN §11", "every route but sign-in and schemas needs an operator's token"),
    Requirement("api:entry:reading", "DESIGN §4", "a token with scope `read` changes nothing but its own end"),
    Requirement("api:entry:bounded", "DESIGN §11", "a body over the limit is refused, also when it comes in chunks"),
    Requirement(
        "api:entry:strict", "issue 2 Bad input", "malformed, deep, repeated or unknown JSON is a problem document"
    ),
    Requirement("api:entry:recorded", "DESIGN §5 Floods", "who is refused an identity is recorded, then counted"),
    Requirement("api:entry:addresses", "DESIGN §11", "Host and Origin are checked on every route"),
)
