"""Promises about work that one agent hands on to another."""

from __future__ import annotations

from tests.requirements import Requirement

_ISSUE = "issue 5 §6"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("context:declared:never-verified", _ISSUE, "Nothing a call says becomes user, task or actors."),
    Requirement("delegation:cases", _ISSUE, "Cases say who handed the work on; a name nobody has fails the case."),
    Requirement("delegation:chain:bounded", _ISSUE, "A chain has four actors at most, each of them once."),
    Requirement("delegation:chain:carried", "RFC 8693 §4.1", "User, task and actors go through a chain unchanged."),
    Requirement(
        "delegation:chain:complete", _ISSUE, "An agent of ours is in a chain by its own act, never by an issuer's word."
    ),
    Requirement(
        "delegation:chain:ended",
        _ISSUE,
        "What ends an agent, credential or issuer of a chain ends its tokens.",
    ),
    Requirement(
        "delegation:difference:named",
        "issue 4 §4",
        "A difference of releases names delegations whose rules change, and whose work passes through what changes.",
    ),
    Requirement("delegation:explained:hop", _ISSUE, "An explanation names the hop, and what would have changed it."),
    Requirement(
        "delegation:hop:conditions", _ISSUE, "A hop's conditions are asked of the verified user, task and arguments."
    ),
    Requirement("delegation:hop:current", _ISSUE, "What counts of a delegation is the version in force at the call."),
    Requirement(
        "delegation:hop:decided", _ISSUE, "Each hop names callee and tool, or is refused by a code that says which hop."
    ),
    Requirement(
        "delegation:law:intersection", _ISSUE, "A chain may what its last agent may and every hop hands on, no more."
    ),
    Requirement(
        "delegation:law:narrowing",
        _ISSUE,
        "Taking something from anybody in a chain never lets more through.",
    ),
    Requirement(
        "delegation:limits:counted", _ISSUE, "A call is in the throttle and the budget of whoever handed its work on."
    ),
    Requirement("delegation:models:named", _ISSUE, "A model is used in a chain if each hop delegates it by its name."),
    Requirement("delegation:past:exact", _ISSUE, "Calls of chains are reproduced exactly, and simulated."),
    Requirement("delegation:past:handed", _ISSUE, "Decisions on handing on are reproduced exactly."),
    Requirement(
        "delegation:past:simulated",
        "issue 4 §4",
        "A hand-over that a candidate refuses is reported, and breaks its run.",
    ),
    Requirement("delegation:policy:errors", "DESIGN §3.10", "A `@delegate` policy that fails refuses."),
    Requirement("delegation:policy:forbids", _ISSUE, "Policies forbid handing on, by who, to whom and for which tool."),
    Requirement("delegation:policy:holds", "DESIGN §3.11", "A held delegation waits for a person, for its chain."),
    Requirement("delegation:policy:observed", "DESIGN §3.14", "An observed `@delegate` policy changes nothing."),
    Requirement("delegation:policy:typed", "DESIGN §3.5", "`@delegate` policies are typed when they are published."),
    Requirement(
        "delegation:restrictions:narrow", "DESIGN §3.7", "What a restriction takes from a caller it cannot hand on."
    ),
    Requirement(
        "delegation:token:bound", "ADR 15", "What is handed on is good for the callee, at the token endpoint, alone."
    ),
    Requirement("delegation:token:narrows", "ADR 15", "What is made of it reaches no further and lasts no longer."),
    Requirement("delegation:token:once", "ADR 15", "One instance of the callee takes it on, no other."),
)
