"""Promises about people who come, move and leave."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("people:manager", "issue 6 §7", "a person may have a manager, who is a person who is there"),
    Requirement(
        "people:succession:line", "issue 6 §7", "backup owner, manager, team: each in turn, and all of them stay"
    ),
    Requirement(
        "people:succession:steps", "issue 6 §7", "without an owner an agent reads only, stops, is to be retired"
    ),
    Requirement("people:succession:narrows", "DESIGN §11", "time alone never widens an agent and never ends it"),
    Requirement("people:succession:over", "issue 6 §7", "an owner in force ends it and gives back what it took"),
    Requirement("people:succession:durable", "DESIGN §11", "a killed process takes every step, and none twice"),
    Requirement("people:succession:shown", "issue 6 §7", "it is shown who answers for what and what waits for them"),
    Requirement(
        "people:adopt", "issue 6 §7", "whoever was asked takes an agent over, or who may register it; nobody else"
    ),
    Requirement("people:scim:protocol", "RFC 7644 §4", "a directory learns what the server can do"),
    Requirement("people:scim:key", "issue 6 §7", "a directory's key is shown once and is good for that alone"),
    Requirement("people:scim:entra", "issue 6 §7", "users as Entra sends them, texts for booleans included"),
    Requirement("people:scim:okta", "issue 6 §7", "users and groups as Okta sends them, operations without a path too"),
    Requirement("people:scim:mapped", "issue 6 §7", "a group gives what a mapping of two persons says, and no more"),
    Requirement("people:scim:leaves", "issue 6 §7", "who is not active has left, and comes back with nothing"),
    Requirement("people:scim:one-person", "issue 6 §7", "a user and a declared person of that address are one"),
    Requirement("people:scim:administrators", "DESIGN §6", "a directory never leaves fewer than two administrators"),
    Requirement("people:scim:groups", "issue 6, faults", "groups in each other, unknown members: all of it or nothing"),
    Requirement("people:scim:versions", "RFC 7644 §3.14", "what changed meanwhile is not overwritten"),
    Requirement("people:scim:malformed", "issue 6, faults", "malformed SCIM is refused in form and changes nothing"),
    Requirement("people:scim:apart", "issue 6 §7", "a directory sees its own alone; records hold nothing personal"),
    Requirement("people:scim:patch", "RFC 7644 §3.5.2", "a PATCH is all of its operations in order, or none"),
    Requirement("people:scim:filter", "RFC 7644 §3.4.2.2", "filters mean what the RFC says, within bounds"),
    Requirement("people:mover:owner", "issue 6 §7", "an agent loses and has back a tool with its owner's right to it"),
    Requirement("people:mover:user", "issue 6 §7", "an agent does for a user what the directory says that user may"),
    Requirement("people:mover:findings", "issue 6 §7", "an owner who moved is a finding, until it is not so"),
    Requirement("people:mover:votes", "issue 6 §7", "who loses a role loses the votes they gave in it"),
)
