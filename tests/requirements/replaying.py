"""Promises of history, replay and reproduction."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("enforcement:reproduce:exact", "issue 4 §4", "History judged by what was in force comes out exactly."),
    Requirement("enforcement:reproduce:told", "issue 4 §4", "What cannot be judged again is counted, never guessed."),
    Requirement(
        "policy:replay:changes", "issue 4 §4", "A replay names what a candidate would deny, hold, allow, fail."
    ),
    Requirement("policy:replay:shards", "issue 4 §4", "Parts of the log add up to the whole in any order."),
    Requirement(
        "policy:replay:processes", "issue 4 §4", "Several processes find what one finds, or say that they did not."
    ),
    Requirement("policy:replay:once", "issue 4 §4", "A question asked once comes out as if every call were asked."),
    Requirement("policy:replay:given-up", "issue 4 §4", "A server that stops does not wait for what it simulates."),
    Requirement("policy:replay:missing", "issue 4 §4", "A fact that was not recorded is counted, not made up."),
)
