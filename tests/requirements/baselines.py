"""Promises on baselines of behaviour and on the running of detectors."""

from __future__ import annotations

from tests.requirements import Requirement

_SOURCE = "issue 7 §2"
_RUNNING = "issue 7 §4"
_BAD = "issue 7 bad input"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "baseline:learning", _SOURCE, "A version is learned from its activation on and proposed when it can be."
    ),
    Requirement(
        "baseline:learning:poisoned", "threat poisoning", "Sessions under an alert or in quarantine feed no baseline."
    ),
    Requirement("baseline:learning:late", _SOURCE, "People are told when there are still too few sessions."),
    Requirement("baseline:accepted", "DESIGN §7", "A person accepts a baseline; of most agents not their owner."),
    Requirement(
        "baseline:sources", _SOURCE, "A baseline is of a trial, of recorded sessions or of an earlier version."
    ),
    Requirement(
        "baseline:change", "DESIGN §7", "An approved change has it learned anew, unless it touches no behaviour."
    ),
    Requirement("console:behaviour", _SOURCE, "An agent's page shows how its behaviour is watched, and proposals."),
    Requirement("baseline:unproven", "threat tampering", "Sessions of another digest are accepted by nobody."),
    Requirement("baseline:described", _SOURCE, "What is in a baseline, and how others differ, is told in words."),
    Requirement("baseline:fitted", "threat tampering", "The sessions of a baseline are those of its digest, or none."),
    Requirement(
        "drift:running:alarm", _RUNNING, "One alert while a change stands: what moved, since when, and examples."
    ),
    Requirement("drift:running:killed", "DESIGN §11", "Killed anywhere, detectors come to what they would have."),
    Requirement("drift:running:bad-input", _BAD, "Replays, odd times, strangers and poor baselines raise no flood."),
    Requirement("drift:running:plug-in", _BAD, "A detector that fails is stopped and told of, and others go on."),
    Requirement("drift:running:apart", _BAD, "A plug-in runs in a process of its own, which ends when it hangs."),
    Requirement("drift:running:unproven", "threat tampering", "What is not proven is never silently used."),
    Requirement("drift:running:fleet", _RUNNING, "An alarm is told when it counts among all agents that are compared."),
    Requirement("drift:running:bounded", _BAD, "A burst delays, and leaves nothing behind that grows."),
)
