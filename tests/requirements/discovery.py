"""Promises of discovery: what is found in files and in what runs, and what becomes of it."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("discovery:scan:formats", "issue 6 §6", "every client and framework format is found, and no decoy is"),
    Requirement("discovery:scan:secrets", "DESIGN §11", "a secret that is found is told by kind and digest alone"),
    Requirement("discovery:scan:hostile", "issue 6, bad input", "nothing scanned is run, followed or endless"),
    Requirement("discovery:scan:bounds", "DESIGN §11", "what a scan leaves out is said"),
    Requirement("discovery:usage", "issue 6 §6", "use by keys is read from providers' exports, or the export refused"),
    Requirement("discovery:match", "issue 6 §6", "what goes past the gateway is not made registered by what it says"),
    Requirement("discovery:finding:zombie", "issue 6 §6", "what nobody uses is found, and stopped if nobody answers"),
    Requirement("discovery:finding:orphan", "issue 6 §6", "an agent without an owner stays a finding until it has one"),
    Requirement("discovery:finding:expired", "issue 6 §6", "an agent past its last day is a finding"),
    Requirement("discovery:finding:alerts", "issue 6 §6", "ghosts, shadows and unknown callers seen live are findings"),
    Requirement("discovery:finding:scan", "issue 6 §6", "a finding of a scan ends by a whole scan of the same source"),
    Requirement("discovery:finding:answers", "issue 6 §6", "an answer does what it says, with the right to do it"),
    Requirement("discovery:finding:register", "issue 6 §6", "registering begins with a draft and ends with the agent"),
    Requirement("discovery:finding:second-look", "issue 6 §6", "a grave finding is dismissed by two persons"),
    Requirement("discovery:finding:at-once", "DESIGN §11", "answers at once are as if one after the other"),
    Requirement("discovery:finding:durable", "DESIGN §11", "a killed process loses no finding and no answer"),
    Requirement("discovery:expiry", "issue 6 §6", "an agent in development ends by itself unless it is declared anew"),
    Requirement(
        "discovery:cli", "issue 6 §6", "a folder is looked at by one command, and a build fails on what it finds"
    ),
    Requirement("discovery:console", "issue 6 §6", "a finding is answered on a page"),
)
