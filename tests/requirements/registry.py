"""Promises of the registry."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "registry:poisoning:flags",
        "issue 5 §1, research gateways",
        "Hidden text, instructions, secrecy and exfiltration in a definition are flagged, plain descriptions are not.",
    ),
    Requirement(
        "registry:poisoning:lookalike",
        "issue 5 §1",
        "A name that reads like another tool's, and a text that names a tool of another server, are flagged.",
    ),
    Requirement(
        "registry:poisoning:told",
        "issue 5 §1",
        "Flags reach whoever registers, whoever signs off, and the record of every pin.",
    ),
    Requirement("registry:manifest:strict", "DESIGN §8", "A manifest with anything its form does not know is refused."),
    Requirement(
        "registry:manifest:schema", "DESIGN §8", "The published JSON Schemas accept and refuse as the forms do."
    ),
    Requirement("registry:manifest:all-faults", "issue 2", "All faults of all documents are told at once, with place."),
    Requirement(
        "registry:manifest:unicode", "DESIGN §11", "Characters nobody sees are refused in names; texts are NFC."
    ),
    Requirement("registry:reading:strict", "DESIGN §11", "Files are bounded and mean one thing to every reader."),
    Requirement("registry:version:immutable", "issue 2 §1", "A version is addressed by its digest and written once."),
    Requirement("registry:version:idempotent", "issue 2 §1", "Applying an equal manifest again changes nothing."),
    Requirement("registry:facet:exact", "DESIGN §1", "Changing a field changes the digest of exactly its facet."),
    Requirement("registry:apply:all-or-nothing", "issue 2 §1", "A set of manifests with a fault changes nothing."),
    Requirement("registry:apply:owner", "DESIGN §4", "Owners are resolved to person ids; an unknown one is refused."),
    Requirement("registry:apply:names", "DESIGN §6", "A name is unique per environment, also between two at once."),
    Requirement("registry:apply:production", "DESIGN §6", "Nothing enters staging or production without approvals."),
    Requirement("registry:apply:tools", "issue 2 §1", "Only registered tools of the own environment can be granted."),
    Requirement(
        "registry:apply:hours", "DESIGN §8", "A grant narrows the agent's hours, in a zone the team registered."
    ),
    Requirement(
        "registry:apply:same-as", "DESIGN §8", "`sameAs` compares required scalars of one type, or is refused."
    ),
    Requirement("registry:apply:record", "DESIGN §5", "Every change is an event with its actor and no personal data."),
    Requirement(
        "registry:pin:first", "DESIGN §1", "Definitions are pinned by digest at a server's first registration."
    ),
    Requirement(
        "registry:pin:changed", "issue 2 §1", "A changed definition is taken over by an explicit re-pin alone."
    ),
    Requirement("registry:pin:bounds", "issue 2", "A server that lies about its tools, or is down, registers nothing."),
    Requirement("registry:apply:mask", "DESIGN §3.7", "A mask names only what a tool's registered fields place."),
    Requirement("registry:state:table", "DESIGN §6", "States lead to each other as the transition table says."),
    Requirement(
        "registry:state:laws", "DESIGN §6", "Stopping always stops, retirement is for good, little starts an agent."
    ),
    Requirement("registry:state:candidate", "adr 7", "A newer version of what ran waits until it is put in force."),
    Requirement("registry:state:recorded", "DESIGN §5", "A step is one record with all that goes with it, or nothing."),
    Requirement("registry:state:names", "DESIGN §6", "Retirement frees the name, never the id; promotion links both."),
    Requirement("registry:state:authors", "DESIGN §6", "Whoever had a hand in what is judged is known as its author."),
    Requirement("registry:state:unproven", "DESIGN §3.2", "What is decided on people rests on rows the log proves."),
    Requirement(
        "registry:tier:in-force", "DESIGN §6", "An agent stands in the tier its version in force was approved as."
    ),
    Requirement("registry:proposal:fact-source", "issue 5 §2", "issuers and context providers take two persons"),
    Requirement("registry:proposal:exact", "adr 6", "A proposal is enacted exactly as it was judged, by approvers."),
    Requirement("registry:proposal:alone", "DESIGN §4", "One administrator alone widens nothing that takes two."),
    Requirement("registry:proposal:enacted", "adr 6", "Nothing of a proposal is in force before it is enacted."),
    Requirement("registry:proposal:once", "adr 6", "A proposal takes effect once, however often it is enacted."),
    Requirement("registry:proposal:ground", "adr 6", "A proposal whose ground has moved is refused, and says so."),
    Requirement("registry:proposal:checked", "DESIGN §11", "What cannot be put in force is refused when proposed."),
    Requirement("registry:proposal:tool-facts", "DESIGN §4", "No fact of a tool changes by one person's word."),
    Requirement("registry:proposal:administrators", "DESIGN §4", "There are two administrators for good."),
    Requirement(
        "registry:person:account", "DESIGN §4", "People answer for service accounts, which never become people."
    ),
    Requirement("registry:person:look-alike", "issue 3", "An address that looks like another one is no other person."),
    Requirement(
        "registry:names:look-alike", "issue 3", "A name that looks like another is refused, or is another thing."
    ),
    Requirement("registry:person:left", "issue 3", "Who left owns nothing anew and does not come back unseen."),
    Requirement("registry:role:revoked", "DESIGN §4", "A role is taken back by one person, at once."),
    Requirement("registry:role:delegated", "DESIGN §6", "A vote is lent by its holder, to a person, for a time."),
    Requirement(
        "registry:restriction:narrows", "DESIGN §7", "Restrictions are bounded, time-boxed and in force at once."
    ),
    Requirement("registry:incident:flag", "DESIGN §6", "An incident is flagged at once and closed on record."),
    Requirement("registry:agreement:record", "issue 3 §1", "An agreement says which supplier may see what until when."),
    Requirement("registry:arguments:undeclared", "DESIGN §3.4", "What a pinned schema does not declare is refused."),
    Requirement(
        "registry:arguments:bounded", "DESIGN §3.4", "No schema and no arguments make validation hang or fetch."
    ),
    Requirement("registry:arguments:silent", "DESIGN §8", "A fault names place and expectation, never the value sent."),
    Requirement(
        "registry:catalogue:proven", "DESIGN §3.2", "What does not hold together is left out of the catalogue."
    ),
    Requirement("registry:catalogue:shared", "DESIGN §10", "A change rebuilds what it touched and shares the rest."),
    Requirement("registry:mappings:read", "issue 4 §8", "A tool's mapping comes to exactly what it states."),
    Requirement("registry:mappings:refused", "issue 4 §8, bad input", "A malformed mapping is refused with its fault."),
)
