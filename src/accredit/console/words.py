"""What the pages call things that have short names in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from accredit.monitoring.model import AlertDisposition, AlertKind
from accredit.registry.model import AgentState

__all__ = ["ALERTS", "STANDS", "WAS"]

ALERTS: Final[Mapping[AlertKind, str]] = {
    AlertKind.POSTURE_VERSION: "An instance runs another version than the approved one",
    AlertKind.POSTURE_DEFINITION: "A tool is not defined as it was approved",
    AlertKind.POSTURE_MODEL: "An instance uses another model than the approved ones",
    AlertKind.POSTURE_PROMPT: "An instance runs another prompt than the approved one",
    AlertKind.POSTURE_ENDPOINT: "What it calls is somewhere else than where it was approved to be",
    AlertKind.POSTURE_INSTRUCTIONS: "A model is told something else than the approved prompt",
    AlertKind.POSTURE_ANSWER: "Another model than the one it called answered",
    AlertKind.POSTURE_TIER: "Its risk tier rose above the one it was approved under",
    AlertKind.NEW_TOOL: "It asked for a tool that it never used before",
    AlertKind.NEW_DESTINATION: "It reached for a destination never seen before",
    AlertKind.NEW_DATA_CLASS: "It met a class of data never seen before",
    AlertKind.NEW_OFFER: "A tool server offers something that it did not offer before; no agent can reach it",
    AlertKind.FIRST_DENIAL: "It was refused for the first time",
    AlertKind.REPORTED_AGENT: "Somebody reports an agent that is not registered, or is retired",
    AlertKind.REPORTED_TOOL: "Somebody reports that it used a tool it is not granted, past the gateway",
    AlertKind.REPORTED_MODEL: "Somebody reports that it used a model it is not granted, past the gateway",
    AlertKind.UNKNOWN_CALLER: "Somebody came to the gateway with a credential that nobody was given",
    AlertKind.FINDING_OVERDUE: "A finding about it was not answered in time",
    AlertKind.RIGHT_LOST: "Its owner lost a right, or moved",
    AlertKind.OWNERLESS: "Its owner left and nobody took over",
    AlertKind.REVIEW: "A review of it is overdue, took something away, or wants something put right",
    AlertKind.BEHAVIOUR_DRIFT: "Its sessions are not like those of its baseline any more",
    AlertKind.UNWATCHED: "Its behaviour is not compared with what was accepted",
    AlertKind.NEW_HOURS: "It was at work at an hour at which it never was",
    AlertKind.DENIAL_BURST: "More of its calls are refused than ever",
    AlertKind.ERROR_RISE: "More of its calls of a tool fail than did",
    AlertKind.RETRY_RISE: "It makes more of its calls again than it did",
    AlertKind.LOOP: "It makes the same calls over and over",
    AlertKind.SHARED_KEY: "One key is used in two places at once",
    AlertKind.SPEND_FORECAST: "As it spends, its budget will be gone before the window ends",
    AlertKind.TASK_MISMATCH: "It did what its user did not ask for, about what only a result names",
    AlertKind.REVOKED_USE: "What was revoked or stopped is still in use",
    AlertKind.GHOST: "The credential of a retired agent was used",
}
WAS: Final[Mapping[AlertDisposition, str]] = {
    AlertDisposition.TRUE_POSITIVE: "as it says, and wrong",
    AlertDisposition.EXPECTED_CHANGE: "as it says, and meant to be",
    AlertDisposition.FALSE_POSITIVE: "a false alarm",
    AlertDisposition.TEST: "a test of ours",
    AlertDisposition.DUPLICATE: "told by another alert too",
}
STANDS: Final[Mapping[AgentState, str]] = {
    AgentState.DRAFT: "It is a draft: in production it cannot run before its gate is complete.",
    AgentState.SUBMITTED: "It waits for sign-off and cannot run yet.",
    AgentState.APPROVED: "It is approved and not active yet: nothing of it runs.",
    AgentState.REJECTED: "It was rejected: nothing of it runs.",
    AgentState.SUSPENDED: "It is suspended: every call is refused until somebody resumes it.",
    AgentState.QUARANTINED: "It is quarantined: every call is refused until security lifts it.",
    AgentState.RETIRING: "It is being retired: every call is refused.",
    AgentState.RETIRED: "It is retired: every credential is dead, and what follows is what its last version could do.",
}
"""Of an agent in production that makes no calls now."""
