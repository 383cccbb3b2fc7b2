"""Promises of risk tiering and of the access validation."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("registry:tier:golden", "issue 3 §1", "The archetypes on file have their factors, floors and tier."),
    Requirement(
        "registry:tier:monotone", "issue 3 §1", "No risk lowers a tier, no control raises it, no score beats a floor."
    ),
    Requirement("registry:tier:floors", "DESIGN §6", "Each floor holds against a low score."),
    Requirement("registry:tier:enforced", "DESIGN §6", "What a manifest claims lowers nothing that is not enforced."),
    Requirement(
        "registry:tier:blocks", "issue 3 §1", "No agreement, no owner or a prohibited use: there is no tier at all."
    ),
    Requirement("registry:tier:explained", "DESIGN §6", "A tier names the source of every factor, under one digest."),
    Requirement("registry:tier:lowers", "DESIGN §6", "A tier names the smallest sets of safeguards that lower it."),
)
