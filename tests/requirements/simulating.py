"""Promises of the static simulation and the report."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("policy:simulate:slices", "issue 4 §4", "What is not named as changed decides every call as before."),
    Requirement(
        "policy:simulate:reach",
        "issue 4 §4",
        "Always, never and held are said of calls only where every call comes to it; else on what it depends.",
    ),
    Requirement("policy:simulate:report", "issue 4 §4", "A report counts, groups and names whom to tell."),
    Requirement("policy:simulate:shown", "DESIGN §11", "No name can imitate the report it stands in."),
)
