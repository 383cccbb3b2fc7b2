"""Promises about registered context providers."""

from __future__ import annotations

from tests.requirements import Requirement

_ISSUE = "issue 5 §6"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "provider:asked:minimal", "DESIGN §3.3", "Only what policies read is asked for, of the subject's own issuer."
    ),
    Requirement("provider:asked:once", "DESIGN §3.3", "Calls that want the same facts at once share one question."),
    Requirement("provider:facts:absent", _ISSUE, "A provider that fails leaves its facts absent, and it is said why."),
    Requirement("provider:facts:count", _ISSUE, "Facts stand under their provider's name with their age, as recorded."),
    Requirement("provider:facts:typed", _ISSUE, "Facts that are not registered are dropped."),
    Requirement("provider:registered:form", _ISSUE, "No provider shadows a claim, is unbounded, or asks in clear."),
    Requirement("provider:registered:off", _ISSUE, "Turning a provider off, or registering it anew, counts at once."),
)
