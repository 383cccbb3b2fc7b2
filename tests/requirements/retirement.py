"""Promises of retirement, its certificate, and incidents (issue 6 §8)."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("retirement:plan:digest", "issue 6 §8", "a plan names all that goes; its digest is of what is decided"),
    Requirement("retirement:sign-off", "ADR 23", "by tier one confirms or a second agrees, to exactly one plan"),
    Requirement("retirement:traps", "issue 6, faults", "being judged, and losing its owner, delays no retirement"),
    Requirement("retirement:cascade", "issue 6 §8", "whoever was there for the retired agent alone is named"),
    Requirement(
        "retirement:inventory", "issue 6 §8", "every credential is revoked with proof, or has an owner and a deadline"
    ),
    Requirement("retirement:certificate:honest", "research §6", "nothing is claimed that was not shown"),
    Requirement("retirement:certificate:pending", "research §6.2", "what waits is said, and certified anew once done"),
    Requirement("retirement:certificate:tampered", "issue 6 §8", "a certificate proves itself, or is refused"),
    Requirement("incident:record", "issue 6 §8", "an incident is a record of what is there"),
    Requirement("incident:ghost", "issue 6 §8", "a retired agent that is seen is one incident, by itself"),
    Requirement("incident:freeze", "issue 6 §8", "what an incident freezes no purge deletes"),
    Requirement("incident:console", "issue 6 §8", "incidents are opened, frozen and closed from a page"),
    Requirement("incident:tier", "research §5, INCIDENT", "a grave one holds the tier until another person closes it"),
)
