"""Promises of the lifecycle room: procedures, the dossier, what people can do to agents."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("lifecycle:background:apart", "DESIGN §11", "no round that fails or takes long starves another"),
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
    Requirement("lifecycle:kill:within-steps", "issue 3, faults", "killed within a step it is completed or not begun"),
    Requirement(
        "lifecycle:halt", "DESIGN §6", "suspended and quarantined agents keep their keys and lose their tokens"
    ),
    Requirement("lifecycle:operations:life", "issue 3 §4", "an agent goes from manifest to receipt by acts of people"),
    Requirement("lifecycle:operations:authority", "issue 3 §2", "who may not, or only reads, changes nothing"),
    Requirement("lifecycle:operations:declaring", "DESIGN §6", "naming oneself owner gives nothing over what is there"),
    Requirement("lifecycle:operations:two-persons", "DESIGN §4", "what takes two persons is in force after both"),
    Requirement("lifecycle:operations:enacted-later", "ADR 6", "a kill after the last vote loses neither vote nor act"),
    Requirement("lifecycle:operations:not-by-owners", "issue 3 §4", "what security put on is not taken off by owners"),
    Requirement("lifecycle:operations:new-approval", "issue 3 §4", "an approval from before lifts no quarantine"),
    Requirement("lifecycle:operations:carried-over", "DESIGN §6", "a decision becomes the state of that version only"),
    Requirement("lifecycle:operations:submit", "issue 3 §1", "without a tier nothing is submitted; twice is once"),
    Requirement("lifecycle:operations:people", "issue 3, bad input", "nothing of whoever left works any more"),
    Requirement("lifecycle:bad-input:owner", "issue 3, bad input", "who is not there owns nothing that comes to run"),
    Requirement("lifecycle:bad-input:expiry", "issue 3, bad input", "a request that runs out leaves a draft"),
    Requirement("lifecycle:bad-input:clock", "issue 3, bad input", "a clock that steps approves and appoints nobody"),
    Requirement("lifecycle:bad-input:at-once", "issue 3, bad input", "acts at once are as if one after the other"),
    Requirement("lifecycle:bad-input:without-role", "issue 3, bad input", "without the role nobody approves"),
    Requirement("lifecycle:bad-input:cyclic-groups", "issue 3, bad input", "groups that contain each other end"),
    Requirement("lifecycle:bad-input:hostile-text", "issue 3, bad input", "text is shown as what it is, whole"),
    Requirement(
        "lifecycle:remedies", "DESIGN §7", "an alert's answer is carried out once, and says that nobody did it"
    ),
    Requirement("lifecycle:remedies:one", "DESIGN §11", "alerts on one matter leave one restriction, however many"),
    Requirement("lifecycle:dossier:five-questions", "DESIGN §6", "five questions, each answered with its record"),
    Requirement("lifecycle:dossier:plain", "DESIGN §6", "what nobody did or cannot be found out is said"),
)
