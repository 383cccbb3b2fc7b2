"""Promises of policy tests and the starter policies."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "policy:tests:run", "issue 4 §3", "Cases are judged by the same decide, and say what happened instead."
    ),
    Requirement("policy:tests:strict", "issue 4 §3", "A file of cases is read strictly, with bounds."),
    Requirement("policy:tests:fixtures", "issue 4 §3", "Cases can declare the agents and tools they speak of."),
    Requirement("policy:tests:coverage", "issue 4 §3", "Coverage is told by policy and by branch."),
    Requirement("policy:tests:mutation", "issue 4 §3", "A policy whose loss no case notices is named."),
    Requirement("policy:tests:junit", "issue 4 §3", "A run is told as JUnit XML."),
    Requirement(
        "policy:starter:tested", "issue 4 §9", "The starter policies' own cases notice the loss of any of them."
    ),
    Requirement(
        "policy:starter:linted", "issue 4 §9", "The starter policies can be published where their names exist."
    ),
    Requirement("policy:starter:readable", "issue 4 §9", "Each starter file says what it does and what to adapt."),
    Requirement("policy:ci:action", "issue 4 §3", "The action lints, tests, simulates and reports; no input is code."),
    Requirement("policy:ci:comment", "issue 4 §3", "The report is one comment of the pull request, updated in place."),
    Requirement("policy:ci:hook", "issue 4 §3", "Hooks for pre-commit call the command line."),
)
