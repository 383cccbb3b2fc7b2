"""Promises of the kernel and the settings."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("kernel:json:strict", "DESIGN §3.4, §11", "JSON from outside is bounded and means one thing only"),
    Requirement("kernel:shares", "DESIGN §11", "room that agents share is bounded, and no one of them takes it all"),
    Requirement("kernel:hours:zone", "DESIGN §8", "hours are half-open minutes in an IANA zone"),
    Requirement("kernel:hours:midnight", "DESIGN §8", "a window over midnight belongs to the day it starts"),
    Requirement("kernel:hours:dst", "DESIGN §8", "hours follow the wall clock through summer time"),
    Requirement("kernel:hours:narrow", "DESIGN §8", "a grant's hours can be checked to narrow only"),
    Requirement("kernel:clock:step", "DESIGN §11", "a wall clock step over 2 s is distrusted until confirmed"),
    Requirement("kernel:clock:deadline", "DESIGN §11", "expiries use the later of wall and boot time"),
    Requirement("kernel:canonical:jcs", "DESIGN §5, RFC 8785", "canonical bytes equal RFC 8785's"),
    Requirement(
        "kernel:canonical:any-json",
        "RFC 8785 §3.2, RFC 7493 §2.2",
        "JSON of others is written as RFC 8785 has it, number by number and key by key, or refused",
    ),
    Requirement("kernel:canonical:domains", "STYLE §2", "digests are separated by domain"),
    Requirement("kernel:money:rounding", "DESIGN §5", "money is integer nano-units, rounded up"),
    Requirement("kernel:ids:tools", "DESIGN §3.5", "tool ids are percent-encoded and reversible"),
    Requirement("kernel:ids:names", "DESIGN §3.5", "names of servers, teams and agents have one grammar"),
    Requirement("kernel:ids:opaque", "DESIGN §1", "ids are opaque, random and never reused"),
    Requirement("kernel:sealing:binding", "DESIGN §4", "sealed values are bound to what they belong to"),
    Requirement("kernel:clearance:subject", "DESIGN §2", "a clearance is for one subject digest"),
    Requirement("kernel:codes:documented", "STYLE §7", "every reason code is documented"),
    Requirement("settings:strict:unknown", "DESIGN §11", "an unknown or unsafe setting refuses to start"),
    Requirement("settings:strict:order", "DESIGN §11", "settings come from file, environment, command line, in order"),
    Requirement("architecture:documents:files", "STYLE §7", "the architecture names files that exist"),
    Requirement("settings:documented:all", "STYLE §7", "every setting is documented"),
    Requirement("kernel:cel:meaning", "issue 4 §8", "Expressions of mappings mean what cel-cpp makes of them."),
    Requirement(
        "kernel:cel:bounded", "issue 4 §8, bad input", "Any expression is refused, or evaluated within bounds."
    ),
    Requirement("kernel:detector:found", "issue 5 §8", "of values with a check digit 95 of 100 are found, and where"),
    Requirement("kernel:detector:clean", "issue 5 §8", "of a thousand clean documents at most one has a finding"),
    Requirement("kernel:detector:bounded", "issue 5 §8, bad input", "any text is looked at in linear time"),
    Requirement("kernel:detector:values", "issue 5 §8", "of a result each value counts once, with its key"),
    Requirement("kernel:detector:never-values", "issue 5 §8", "kinds, classes and places are told, never a value"),
)
