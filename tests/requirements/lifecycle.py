"""Promises of the lifecycle room: procedures, the dossier, what people can do to agents."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("lifecycle:steps:mirrored", "DESIGN §6", "every step that grants has a step that takes the same"),
    Requirement("lifecycle:activate:last-step", "issue 3 §4", "an agent runs from the last step of activation on only"),
    Requirement("lifecycle:activate:clearance", "DESIGN §6", "no step is done without a clearance that holds then"),
    Requirement("lifecycle:activate:candidate", "ADR 7", "a new version comes into force at once, or not at all"),
    Requirement("lifecycle:activate:at-once", "issue 3, faults", "two activations at once are one"),
    Requirement("lifecycle:retire:first-step", "issue 3 §4", "retirement ends every credential before anything else"),
    Requirement("lifecycle:retire:any-moment", "DESIGN §4", "retirement waits for nothing that is under way"),
    Requirement(
        "lifecycle:retire:archive-fails", "DESIGN §11", "what fails is tried again; nothing comes back to life"
    ),
    Requirement("lifecycle:retire:many-keys", "DESIGN §11", "no number of credentials keeps one of them alive"),
    Requirement("lifecycle:retire:plan", "issue 3 §4", "the plan says from registration on what retirement does"),
    Requirement("lifecycle:kill:between-steps", "issue 3 §4", "killed between any two steps, a procedure is completed"),
    Requirement(
        "lifecycle:halt", "DESIGN §6", "suspended and quarantined agents keep their keys and lose their tokens"
    ),
)
