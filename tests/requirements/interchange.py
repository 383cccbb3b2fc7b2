"""Promises of exchanging agents with other systems."""

from __future__ import annotations

from tests.requirements import Requirement

_SOURCE = "issue 6 §10"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "registry:restating:idempotent", "issue 6 §3, §10", "Applying everything that is registered changes nothing."
    ),
    Requirement("registry:restating:said", "issue 6 §3", "What a manifest cannot say of an object any more is told."),
    Requirement(
        "registry:restating:yaml",
        "DESIGN §11",
        "What is written as YAML reads back as itself, by every version of YAML.",
    ),
    Requirement("registry:interchange:round-trip", _SOURCE, "What is exported comes back as the same facts."),
    Requirement("registry:interchange:people", _SOURCE, "No document names a person."),
    Requirement("registry:interchange:golden", _SOURCE, "Documents stay as others came to read them."),
    Requirement("registry:interchange:cyclonedx", _SOURCE, "A bill of materials is valid by CycloneDX 1.6 and 1.7."),
    Requirement("registry:interchange:card", _SOURCE, "A card tells strangers nothing but what it is for."),
    Requirement("registry:interchange:grants-nothing", _SOURCE, "A draft is refused until an owner completed it."),
    Requirement(
        "registry:interchange:claims", _SOURCE, "What a stranger wrote is bounded, escaped and checked key by key."
    ),
    Requirement("registry:interchange:annex", _SOURCE, "Every point of Annex IV is there, on record or to be written."),
    Requirement("identity:cards:signed", "A2A 1.0 §8.4", "A card is signed as A2A, RFC 7515 and RFC 8785 say."),
    Requirement(
        "identity:cards:verified", "A2A 1.0 §8.4", "Only a pinned key's signature on exactly this card counts."
    ),
    Requirement("identity:cards:keys", _SOURCE, "Cards have keys of their own, and a retired one stays published."),
    Requirement("api:interchange:export", _SOURCE, "Whoever may see an agent has it in every form, and nobody else."),
    Requirement("api:interchange:signed", _SOURCE, "Who answers for an agent has its card signed, on record."),
    Requirement("api:interchange:import", _SOURCE, "Importing changes nothing, and says whose signature there is."),
    Requirement("api:interchange:annex", _SOURCE, "Each fact of the documentation names a record of the log."),
    Requirement("cli:interchange:files", _SOURCE, "A command writes each form to a file and reads it back."),
)
