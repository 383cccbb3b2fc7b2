"""Promises of changes that were approved beforehand, and of the version in force being the approved one."""

from __future__ import annotations

from tests.requirements import Requirement

_SOURCE = "issue 6 §2"
REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("envelope:said", _SOURCE, "An envelope is a part of the manifest, about what is there, and stated."),
    Requirement(
        "envelope:within", _SOURCE, "A change within the envelope is in force without a vote, by another hand."
    ),
    Requirement("envelope:outside", _SOURCE, "A change outside of the envelope takes the gate."),
    Requirement("envelope:excluded", _SOURCE, "No envelope reaches a facet that is left to people."),
    Requirement("envelope:itself", _SOURCE, "The envelope is judged by who judges the facet, and always looked at."),
    Requirement("envelope:ends", _SOURCE, "An envelope ends with the votes that it rests on."),
    Requirement("running:answered", _SOURCE, "What runs and was not approved is answered by facet and tier."),
    Requirement("running:checked", _SOURCE, "Manifest, row, snapshot, baseline and log of what runs say the same."),
    Requirement("running:steady", _SOURCE, "A change that is on its way is no difference."),
    Requirement("running:unproven", _SOURCE, "A row in force that the log contradicts is told of, and passes nothing."),
    Requirement("envelope:listed", _SOURCE, "Every use of an envelope is on record, listed and counted."),
)
