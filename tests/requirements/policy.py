"""Promises of the policy room."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("policy:mission:example", "issue 2 §3", "Data is read only for the right role, ticket and hours."),
    Requirement("policy:provenance:declared", "DESIGN §3.6", "What an agent declares satisfies no verified condition."),
    Requirement("policy:hours:half-open", "DESIGN §8", "Hours are half-open minutes of the local day."),
    Requirement("policy:hours:midnight", "DESIGN §8", "A window over midnight belongs to the day it began."),
    Requirement("policy:hours:dst", "DESIGN §8", "Hours follow the wall clock of the zone over daylight saving."),
    Requirement("policy:hours:kernel", "DESIGN §8", "The compiled hours are the kernel's hours, minute by minute."),
    Requirement(
        "policy:refused:before-policies", "DESIGN §3.5, §3.10", "State, environment, grant and parents come first."
    ),
    Requirement("policy:data:undeclared", "DESIGN §3.7", "A tool works only while all its data classes are declared."),
    Requirement("policy:agent:reused-name", "DESIGN §3.5", "A reused agent name inherits no policy."),
    Requirement("policy:state:runs", "DESIGN §6", "An agent runs in its environment's own states, and in no other."),
    Requirement("policy:data:masked", "DESIGN §6", "A class is out of reach only if a mask takes it away for certain."),
    Requirement(
        "policy:restriction:narrows", "DESIGN §1, §3.7", "With one restriction more, a decision is never laxer."
    ),
    Requirement(
        "policy:restriction:kinds", "DESIGN §1", "Each kind of restriction denies, holds or slows what it names."
    ),
    Requirement("policy:entity:groups", "DESIGN §3.5", "An operation stands in the groups of its effect."),
    Requirement(
        "policy:entity:missing-group", "DESIGN §3.9", "Entities are complete, as a missing group disarms a forbid."
    ),
    Requirement(
        "policy:tier:none", "DESIGN §3.9", "In production an agent approved under no tier gets nothing through."
    ),
    Requirement("policy:tier:lowers-nothing", "DESIGN §6", "No policy lowers a tier by speaking of tiers."),
    Requirement("policy:tier:report", "DESIGN §6", "Access is validated as under the tier that the version comes to."),
    Requirement("policy:hold:semantics", "DESIGN §3.11", "A hold is exactly what the design says, on random policies."),
    Requirement("policy:hold:grant", "DESIGN §3.11", "A grant lifts its own policy once it is needed, and no other."),
    Requirement("policy:hold:not-a-way-round", "DESIGN §3.11", "No hold hides a forbid, an error or a missing role."),
    Requirement(
        "policy:observe:apart", "DESIGN §3.14", "An observed policy changes nothing, until its observation ends."
    ),
    Requirement(
        "policy:release:history", "issue 4 §1", "Each publication stays on record, with who made and approved it."
    ),
    Requirement("policy:release:signed", "issue 4 §1", "A release that is not signed as it stands is not loaded."),
    Requirement("policy:release:rehearsed", "issue 4 §1", "Only what was tested and simulated comes into force."),
    Requirement(
        "policy:explain:questions", "issue 4 §5, §8", "Questions of other applications are explained likewise."
    ),
    Requirement("policy:explain:changes", "issue 4 §5", "An explanation names texts, facts and real changes."),
    Requirement("policy:explain:true", "issue 4 §5", "What is explained is the decision, on random calls."),
    Requirement("policy:observe:mode", "issue 4 §1", "The mode of one policy changes as a release of its own."),
    Requirement("policy:origin:matching", "DESIGN §3.6", "Values match runs of whole words, four characters long."),
    Requirement("policy:origin:sources", "issue 4 §6", "A source is a tool in whose results every value was seen."),
    Requirement("policy:origin:bounded", "DESIGN §11", "What is too much to remember or to look at is unknown."),
    Requirement("policy:lint:refused", "issue 4 §2", "What could never act as it was meant is refused, with its fix."),
    Requirement("policy:lint:warned", "issue 4 §2", "What is doubtful is said, and what can act is left alone."),
    Requirement("policy:lint:ten", "research peers §3.3", "Ten ordinary deny rules, nine inert in a peer, fire here."),
    Requirement("policy:lint:names", "DESIGN §3.5", "Tool names are mangled reversibly and never collide."),
    Requirement("policy:lint:hostile", "issue 4 Bad input", "Hostile text is refused, and does nothing else."),
    Requirement("policy:slice:flat", "DESIGN §3.9", "A slice decides as the flat set, reasons and errors included."),
    Requirement("policy:slice:shared", "DESIGN §3.7", "Equal policies of different agents share one handle."),
    Requirement("policy:scope:forms", "DESIGN §3.8", "Every form of scope slices as the engine means it."),
    Requirement("policy:decide:forbid-wins", "DESIGN §3.7", "Adding a forbid never allows more."),
    Requirement("policy:decide:no-decision", "DESIGN §3.10", "No decision is a denial with its own code."),
    Requirement("policy:decide:pure", "DESIGN §3.1", "Equal requests and snapshots give equal decisions."),
    Requirement("policy:time:untrusted", "DESIGN §11", "After a clock step what depends on time denies."),
    Requirement("policy:fault:quotes-no-input", "DESIGN §5", "A fault's words carry no value of the call."),
    Requirement("policy:snapshot:swap", "DESIGN §3.2", "A decision never mixes two snapshots."),
    Requirement(
        "policy:snapshot:bounded", "DESIGN §10", "Compiled handles stay within their bytes and change nothing."
    ),
    Requirement("policy:list:slice", "DESIGN §3.16", "A list leaves out only what no context could allow."),
    Requirement("policy:grant:golden", "DESIGN §8", "A manifest's grant compiles to the Cedar text on file."),
    Requirement("policy:grant:escaping", "DESIGN §3.5", "Any role, tool and argument name means exactly itself."),
    Requirement("policy:grant:shared", "DESIGN §3.7", "Equal grants are one permit, addressed by content."),
    Requirement("policy:grant:typed", "DESIGN §8", "A compiled grant passes strict validation."),
    Requirement("policy:publish:layers", "DESIGN §3.7", "No lower layer can widen, and each keeps to its scope."),
    Requirement("policy:publish:hold", "DESIGN §3.8", "A hold stands on a forbid and names a role."),
    Requirement("policy:publish:names", "DESIGN §3.8", "Names nobody registered are refused."),
    Requirement("policy:publish:typed", "issue 2 §3", "Policies are typed by the pinned tool definitions."),
    Requirement("policy:publish:unmapped", "issue 2 §3", "A policy that reads an untyped argument is refused by name."),
    Requirement(
        "policy:external:tested", "issue 4 §3, §8", "Questions are cases, and count for coverage and mutation."
    ),
    Requirement(
        "policy:replay:questions", "issue 4 §4, §8", "What was only asked is reproduced, tried, and explained."
    ),
    Requirement("policy:external:isolated", "issue 4 §8", "Nothing under `ext/` reaches beyond it, nor back."),
    Requirement("policy:external:linted", "issue 4 §2, §8", "What is under `ext/` is linted likewise."),
    Requirement("policy:external:sliced-is-flat", "issue 4, speed", "External policies in scope decide as all would."),
    Requirement("policy:publish:collected", "issue 2, bad input", "Every fault of a release is named at once."),
    Requirement("policy:publish:oracle", "issue 2 §3", "Types agree with the official schema generator."),
    Requirement("policy:release:digest", "DESIGN §3.8", "A release digest covers texts, engine and resolved names."),
    Requirement("policy:trap:1-erroring-forbid", "trap policy-engines §3.1", "A forbid that errors denies."),
    Requirement("policy:trap:1-erroring-permit", "DESIGN §3.10", "A permit that errors permits nothing."),
    Requirement(
        "policy:trap:2-entity-injection", "trap policy-engines §3.2", "Reserved keys are refused at any depth."
    ),
    Requirement("policy:trap:3-json-legal", "trap policy-engines §3.3", "Numbers arrive exactly or are refused."),
    Requirement("policy:trap:4-closed-records", "trap policy-engines §3.4", "Undeclared arguments change no decision."),
    Requirement("policy:trap:5-positional-ids", "trap policy-engines §3.5", "Policy ids are ours, unique and stable."),
    Requirement(
        "policy:trap:6-broken-text", "trap policy-engines §3.6", "Broken text is refused before it is in force."
    ),
    Requirement("policy:trap:7-typed-by-us", "trap policy-engines §3.7", "Calls are typed without a schema per call."),
    Requirement("policy:trap:8-empty-metrics", "trap policy-engines §3.8", "An error answer is no decision."),
    Requirement("policy:trap:9-prints", "trap policy-engines §3.9", "Deciding prints nothing."),
    Requirement("policy:trap:10-templates", "trap policy-engines §3.10", "Templates are refused in files."),
    Requirement("policy:trap:native-recursion", "threat: hostile policy text", "Deep policies cannot end the process."),
)
