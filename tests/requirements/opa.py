"""Promises of an Open Policy Agent beside us."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("gateway:opa:vetoes", "issue 4 §7", "An external engine may refuse what would pass, and nothing else."),
    Requirement("gateway:opa:fails-closed", "issue 4 §7", "Undefined, an error, no answer in time: refused."),
    Requirement("gateway:opa:reproduced", "issue 4 §4", "Its answers are recorded, so history comes out without it."),
)
