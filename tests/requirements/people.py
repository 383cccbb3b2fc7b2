"""Promises about people who come, move and leave."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("people:manager", "issue 6 §7", "a person may have a manager, who is a person who is there"),
    Requirement(
        "people:succession:line", "issue 6 §7", "backup owner, manager, team: each in turn, and all of them stay"
    ),
    Requirement(
        "people:succession:steps", "issue 6 §7", "without an owner an agent reads only, stops, is to be retired"
    ),
    Requirement("people:succession:narrows", "DESIGN §11", "time alone never widens an agent and never ends it"),
    Requirement("people:succession:over", "issue 6 §7", "an owner in force ends it and gives back what it took"),
    Requirement("people:succession:durable", "DESIGN §11", "a killed process takes every step, and none twice"),
    Requirement("people:succession:shown", "issue 6 §7", "it is shown who answers for what and what waits for them"),
    Requirement(
        "people:adopt", "issue 6 §7", "whoever was asked takes an agent over, or who may register it; nobody else"
    ),
)
