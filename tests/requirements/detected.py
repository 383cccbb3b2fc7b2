"""Promises of what is seen in results."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("detected:recorded:counts", "issue 5 §8", "An outcome tells kinds and counts of what a result had."),
    Requirement("detected:recorded:always", "STYLE §2", "A detector that fails has not seen that there is nothing."),
    Requirement(
        "detected:undeclared",
        "issue 5 §8, DESIGN §3.7",
        "A class that neither tool nor agent was approved for is recorded and told of, and withheld by tier.",
    ),
    Requirement("detected:session:touched", "issue 5 §8", "Classes seen in a result are touched by that call."),
)
