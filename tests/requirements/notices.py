"""Promises of telling people about holds."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("notices:webhook", "issue 5 §7", "A signed webhook and a chat line tell of a hold and of its end."),
    Requirement("notices:no-agent-text", "DESIGN §11", "Nothing an agent wrote stands in a notice, and no markup."),
    Requirement("notices:again", "issue 5 §7", "A delivery that fails is tried again until the hold is over."),
    Requirement("notices:safe", "DESIGN §11", "Unsafe addresses and files that others can read do not start."),
    Requirement("notices:alerts", "issue 7 §9", "alerts are told by webhook, chat and PagerDuty, each once"),
)
