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
    Requirement("registry:tier:facts", "DESIGN §6", "The facts of a tier are those registered and enforced now."),
    Requirement("registry:tier:delegates", "DESIGN §6", "An agent's tier is at least that of all it can invoke."),
    Requirement("registry:tier:lowers", "DESIGN §6", "A tier names the smallest sets of safeguards that lower it."),
    Requirement("policy:access:models", "issue 5 §2", "Language models are judged and listed as tools are."),
    Requirement(
        "policy:access:rows", "issue 3 §3", "Each granted tool and data class is judged by the layers in force."
    ),
    Requirement("policy:access:decided", "issue 3 §3", "What a report says beforehand is what every call then meets."),
    Requirement("policy:access:mask", "DESIGN §6", "A class is told as masked only where a mask is enforced."),
    Requirement("policy:access:excess", "issue 3 §3", "What is asked for beyond need or law of the layers is named."),
    Requirement("policy:access:bounded", "DESIGN §11", "What is too much to judge is in excess, not left out."),
    Requirement("policy:enforced:tier", "DESIGN §6", "A tier falls when what it asks for is enforced, and only then."),
    Requirement("policy:access:digest", "DESIGN §6", "A report has one digest, moved only by what concerns the agent."),
    Requirement("policy:enforced:held", "DESIGN §6", "A tool is held only if no call can pass without a person."),
)
