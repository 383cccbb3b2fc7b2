"""Promises of the gateway room."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "gateway:offer:changed",
        "issue 5 §1",
        "A tool, resource, template or prompt whose description or schema changed is blocked and a finding.",
    ),
    Requirement(
        "gateway:offer:added",
        "issue 5 §1",
        "One that a server adds, or gives another name, reaches no agent and is a finding, once.",
    ),
    Requirement(
        "gateway:routing:told-nothing",
        "DESIGN §8",
        "A tool that exists and is not granted is refused exactly as one that does not exist.",
    ),
    Requirement(
        "gateway:address:allow-list", "DESIGN §4", "Host and Origin are checked on every request, loopback included."
    ),
    Requirement(
        "gateway:authentication:constant-text",
        "DESIGN §4, RFC 9728 §5.1",
        "An unproven caller gets one constant text and the address of the metadata, never the reason.",
    ),
    Requirement("gateway:body:bounded", "DESIGN §3, §11", "A body is bounded in size and time while it is read."),
    Requirement(
        "gateway:body:strict", "issue 2, bad input", "A malformed message, batch or ambiguous JSON is refused by name."
    ),
    Requirement(
        "gateway:conformance:listed",
        "issue 5 §1",
        "What the conformance kits find different through the gateway is listed with its reason and shown.",
    ),
    Requirement(
        "gateway:conformance:compared",
        "issue 5 §1",
        "Each check of the kits is compared; a difference that is not listed, or listed and not seen, is a failure.",
    ),
    Requirement(
        "gateway:conformance:relay", "issue 5 §1", "What the kits send is not changed but for the credential added."
    ),
    Requirement(
        "gateway:routing:white-space", "RFC 9110 §5.5", "White space around a header's value is no part of it."
    ),
    Requirement(
        "gateway:answer:capability",
        "MCP 2026-07-28 Error Handling",
        "A tool server that needs what the client did not declare says so to the client, in the form it can act on.",
    ),
    Requirement(
        "gateway:routing:header-body",
        "MCP 2026-07-28 Server Validation",
        "A routing header that is missing or differs from the body is refused with -32020.",
    ),
    Requirement(
        "gateway:routing:repeated", "research gateways §1.1", "A header that decides something may not be repeated."
    ),
    Requirement(
        "gateway:routing:parameters",
        "DESIGN §3.4, MCP 2026-07-28 x-mcp-header",
        "Mcp-Param-* headers are checked against the arguments and computed anew for the tool server.",
    ),
    Requirement(
        "gateway:method:unknown-denied", "issue 2 §6", "A method that is not named is denied and never forwarded."
    ),
    Requirement(
        "gateway:mask:gone",
        "DESIGN §6, §3.7",
        "A masked property reaches the agent at no depth, in no content, notice or error, and stands in no record.",
    ),
    Requirement(
        "gateway:mask:rest", "DESIGN §6", "What is not masked reaches the agent as the JSON value that it was."
    ),
    Requirement(
        "gateway:mask:withheld",
        "DESIGN §6, §3.10",
        "An answer that cannot be shown to be free of a masked class is withheld whole, and the call settled.",
    ),
    Requirement(
        "gateway:upstream:canary",
        "issue 5 §5",
        "No byte that an agent gets holds a brokered secret, however a server spells, places or cuts it; nor does any "
        "answer, record, log or file of ours; and nothing of the agent's or user's reaches a server.",
    ),
    Requirement(
        "gateway:upstream:credential-unseen",
        "issue 2 §6, DESIGN §4",
        "A brokered credential that a tool server sends back, in JSON or a stream, reaches no agent, log or record.",
    ),
    Requirement("gateway:discover", "MCP 2026-07-28 server/discover", "The gateway says what it serves."),
    Requirement(
        "gateway:eras:sdk-client",
        "issue 2 §6",
        "The SDK's client of each era lists and calls tools through the gateway.",
    ),
    Requirement(
        "gateway:session:negotiation", "issue 2 §6", "Every older version is answered with 2025-11-25 and a session."
    ),
    Requirement(
        "gateway:session:sealed",
        "research gateways §1.5",
        "A session id opens on any replica, for its own credential and server alone, until it ends or expires.",
    ),
    Requirement(
        "gateway:list:pinned-private",
        "DESIGN §3.16",
        "tools/list shows pinned definitions, private, no-store, at most 5 s old.",
    ),
    Requirement(
        "gateway:aggregate:names",
        "issue 5 §1",
        "At /mcp each tool has one name that models take; no name reads as the tool of another server.",
    ),
    Requirement(
        "gateway:aggregate:list",
        "issue 5 §1, DESIGN §8",
        "tools/list at /mcp shows what the agent may use of every server of its environment.",
    ),
    Requirement(
        "gateway:aggregate:call",
        "issue 5 §1, DESIGN §3.1",
        "A call at /mcp is decided, recorded, held and forwarded as the same call at its server's own endpoint.",
    ),
    Requirement(
        "gateway:aggregate:unknown",
        "issue 5 §1",
        "At /mcp a name that is nobody's, or of another environment, is refused like an unknown tool, on record.",
    ),
    Requirement(
        "gateway:aggregate:audience",
        "DESIGN §4",
        "A token for /mcp is good at /mcp and each server's endpoint, one for a server's endpoint only there.",
    ),
    Requirement(
        "gateway:aggregate:one-down",
        "issue 5 §1",
        "A server that is down, or not proven, takes nothing from the others at /mcp.",
    ),
    Requirement(
        "gateway:refusal:readable",
        "DESIGN §8",
        "A refused call is an isError result with code, policy, hint and decision id.",
    ),
    Requirement(
        "gateway:hold:elicitation",
        "DESIGN §3.11",
        "A held call of a client that declared elicitation is an input request with a sealed state.",
    ),
    Requirement(
        "gateway:hold:no-elicitation",
        "DESIGN §3.11",
        "A held call of any other client is an error that names the hold.",
    ),
    Requirement(
        "gateway:hold:state-bound",
        "DESIGN §3.11, MCP 2026-07-28 MRTR",
        "The state of a hold opens for its agent, user and arguments until it expires, and decides nothing otherwise.",
    ),
    Requirement(
        "gateway:elicitation:passed-on",
        "issue 5 §1, MCP 2026-07-28 MRTR",
        "What a tool server asks reaches the client, and the answer the server in a call decided on by itself.",
    ),
    Requirement(
        "gateway:elicitation:opt-in",
        "issue 5 §1",
        "A server asks only if it is registered for it, in a mode that the client declared.",
    ),
    Requirement(
        "gateway:elicitation:bound",
        "MCP 2026-07-28 MRTR",
        "An answer counts for the agent, user and arguments that were asked, for 15 minutes.",
    ),
    Requirement(
        "gateway:elicitation:held",
        "issue 5 §7",
        "A call held because of its answers goes on with those answers and no others.",
    ),
    Requirement(
        "gateway:elicitation:masked",
        "issue 5 §8",
        "A question of a tool with masked results is not passed on: it could carry what is masked.",
    ),
    Requirement(
        "gateway:elicitation:endless",
        "issue 5 §1",
        "A server that asks without end is stopped.",
    ),
    Requirement(
        "gateway:elicitation:sessions",
        "MCP 2025-11-25 elicitation",
        "A client of a session is asked on its stream; only what was asked can be answered, once.",
    ),
    Requirement(
        "gateway:elicitation:bounded",
        "MCP 2026-07-28 elicitation, DESIGN §11",
        "A question is bounded, asks for no secret in a form, and cannot imitate who asks.",
    ),
    Requirement(
        "gateway:elicitation:sdk-client",
        "issue 5 §1",
        "The SDK's client of each era answers for its user.",
    ),
    Requirement(
        "gateway:questions:in-a-call",
        "issue 5 §1, MCP 2025-11-25 elicitation",
        "A server with sessions asks in the middle of a call; the answer goes to that call once it is decided about.",
    ),
    Requirement(
        "gateway:questions:whose",
        "issue 5 §1, DESIGN §11",
        "A question reaches the client of the call it was put in; where that cannot be told it reaches nobody.",
    ),
    Requirement(
        "gateway:questions:bounded",
        "DESIGN §11",
        "Calls that wait for an answer are few and used once; they end in time, and at a revocation.",
    ),
    Requirement(
        "gateway:session-streams:told",
        "issue 5 §1, MCP 2025-11-25 Streamable HTTP",
        "A session's stream tells of changed lists and resources, and ends with session and credential.",
    ),
    Requirement(
        "gateway:session-streams:resumed",
        "issue 5 §1, MCP 2025-11-25 Streamable HTTP",
        "A session's stream is taken up after an event of its own; what is not known any more is said in full.",
    ),
    Requirement(
        "gateway:session-streams:bounded",
        "DESIGN §11",
        "What is kept of a session without a stream is bounded in number, size and time.",
    ),
    Requirement(
        "gateway:subscriptions:resources",
        "issue 5 §1, MCP 2025-11-25, MCP 2026-07-28 subscriptions",
        "Whether a client may hear of a resource is decided like a read; it hears of that alone, while it is granted.",
    ),
    Requirement(
        "gateway:answers:taken-up",
        "issue 5 §1",
        "An answer on the stream of a session's call is taken up again with the id of the last event, and goes on.",
    ),
    Requirement(
        "gateway:answers:own",
        "issue 5 §1",
        "An answer is told to the session, credential, user and task that asked, and to nobody else.",
    ),
    Requirement(
        "gateway:answers:given-up",
        "issue 5 §1",
        "A call whose client does not come back for the answer, or ends its session, is cancelled.",
    ),
    Requirement(
        "gateway:answers:bounded", "DESIGN §11", "What is kept of answers is bounded in room, number and time."
    ),
    Requirement(
        "gateway:server-streams:heard",
        "issue 5 §1, MCP 2025-11-25 Streamable HTTP",
        "What a server with sessions says unasked is heard on one stream, which is taken up after it broke off.",
    ),
    Requirement(
        "gateway:server-streams:bounded",
        "DESIGN §11",
        "A server that says too much unasked is listened to no more; its stream ends with its session.",
    ),
    Requirement(
        "gateway:server-streams:resumed",
        "issue 5 §1, MCP 2025-11-25 Streamable HTTP",
        "An answer that broke off is taken up where its server offers that; the call is never sent twice.",
    ),
    Requirement(
        "gateway:server-streams:watched",
        "issue 5 §1",
        "A resource is subscribed to once for all who want to hear of it, and no longer than they do.",
    ),
    Requirement(
        "gateway:elicitation:decided",
        "DESIGN §3.4, §3.6",
        "What is answered stands among the agent's own claims in the decision, its record and the view of a hold.",
    ),
    Requirement(
        "gateway:subscriptions:tools",
        "issue 5 §1, MCP 2026-07-28 subscriptions",
        "A client that listens is told of each change of the tools it may use, once.",
    ),
    Requirement(
        "gateway:subscriptions:shared",
        "issue 5 §1",
        "What streams tell of is looked at once for all that see the same, and for each user apart.",
    ),
    Requirement(
        "gateway:subscriptions:asked-alone",
        "issue 5 §1, MCP 2026-07-28 subscriptions",
        "Nobody is told what was not asked for.",
    ),
    Requirement(
        "gateway:subscriptions:revoked",
        "issue 5 §1, MCP 2026-07-28 subscriptions",
        "A stream ends with its credential and with the process, and says so.",
    ),
    Requirement(
        "gateway:subscriptions:bounded",
        "issue 5 §1, MCP 2026-07-28 subscriptions",
        "Streams are bounded for each agent, and a quiet one is kept alive.",
    ),
    Requirement(
        "gateway:subscriptions:sdk-client",
        "issue 5 §1, MCP 2026-07-28 subscriptions",
        "The SDK's client hears of a new version and of the end at a revocation.",
    ),
    Requirement(
        "gateway:tasks:held",
        "issue 5 §1 and §7, MCP SEP-2663",
        "A held call of a client that declares tasks is a task: it runs once, when the client asks after the approval.",
    ),
    Requirement(
        "gateway:tasks:own",
        "issue 5 §1 and §7, MCP SEP-2663",
        "A task is known to the caller that made it, at the endpoint where it was made.",
    ),
    Requirement(
        "gateway:tasks:bounded",
        "issue 5 §1 and §7, MCP SEP-2663",
        "Tasks are bounded for each agent.",
    ),
    Requirement(
        "gateway:tasks:upstream",
        "issue 5 §1 and §7, MCP SEP-2663",
        "A tool server's task gets a name of ours, its end is checked like any result, and is settled once.",
    ),
    Requirement(
        "gateway:tasks:ended",
        "issue 5 §1 and §7, MCP SEP-2663",
        "A task ends when its client, a revocation or its time says so, at the tool server too.",
    ),
    Requirement(
        "gateway:tasks:revoked",
        "issue 5 §1 and §7, MCP SEP-2663",
        "A task holds its place among the agent's calls until it ends; a revocation lets go of what was kept of it.",
    ),
    Requirement(
        "gateway:tasks:taken-up",
        "issue 5 §1",
        "After a restart a tool server is asked about its task again, once that was decided; no call is made again.",
    ),
    Requirement(
        "gateway:tasks:kept",
        "issue 5 §1 and §7, DESIGN §11",
        "A task outlives the process: what waits goes on, what ended is told, and what was in flight has no known end.",
    ),
    Requirement(
        "gateway:tasks:once",
        "issue 5 §7, DESIGN §11",
        "Whenever the process is killed, the call of a task is sent at most once.",
    ),
    Requirement(
        "gateway:tasks:store",
        "STYLE §5",
        "Every store of tasks keeps, advances, forgets and sweeps them alike.",
    ),
    Requirement(
        "gateway:questions:once",
        "issue 5 §1, DESIGN §3.11",
        "A state handed to a client leads to one call at most, over restarts too.",
    ),
    Requirement(
        "gateway:upstream:no-passthrough",
        "DESIGN §4, MCP authorization",
        "The tool server sees the brokered credential and nothing of the agent's; the agent never sees it.",
    ),
    Requirement(
        "gateway:upstream:renewed",
        "RFC 6750 §3.1, RFC 9110 §15.5.2",
        "A request is repeated once, re-checked, with another token, if its own was refused as invalid; else never.",
    ),
    Requirement(
        "gateway:upstream:re-encoded", "DESIGN §3.4", "What is sent is encoded anew from the value that was decided."
    ),
    Requirement(
        "gateway:upstream:faults",
        "issue 2, bad input",
        "A tool server that is down, redirects, lies, breaks off or answers too much is named; nothing is retried.",
    ),
    Requirement("gateway:relay:json", "issue 2 §6", "A JSON answer is relayed, recorded and translated for its era."),
    Requirement(
        "gateway:relay:sse", "issue 2 §6", "A stream is relayed frame by frame with the client's own ids and tokens."
    ),
    Requirement("gateway:relay:progress", "issue 2 §6", "Progress reaches the SDK's client in both eras."),
    Requirement(
        "gateway:relay:progress-token",
        "DESIGN §11",
        "A progress token, which every notice repeats, is bounded; any other gets no notices.",
    ),
    Requirement(
        "gateway:sse:any-split", "issue 2 §6", "However the bytes of a stream are split, its events are the same."
    ),
    Requirement("gateway:call:timeout", "DESIGN §3.13", "A call that takes too long is cut off and settled."),
    Requirement(
        "gateway:cancel:client", "issue 2 §6", "A client that leaves or cancels cancels its call at the tool server."
    ),
    Requirement(
        "gateway:cancel:notification",
        "MCP 2025-11-25 cancellation",
        "A cancel notice ends the named call of the same session and no other.",
    ),
    Requirement(
        "gateway:recheck:before-body",
        "DESIGN §3.12",
        "A revocation between the decision and the write leaves no byte of the request on the wire.",
    ),
    Requirement(
        "gateway:revoke:in-flight",
        "issue 2 §2",
        "A revocation cuts a call or stream in flight, tells the client its code and settles it.",
    ),
    Requirement("gateway:settle:once", "DESIGN §3", "Every admitted call is settled exactly once, however it ends."),
    Requirement(
        "gateway:definition:thirty-seconds",
        "DESIGN §3.4",
        "What a server offers is trusted for 30 s and renewed before that without a call waiting.",
    ),
    Requirement(
        "gateway:definition:noticed",
        "issue 5 §1",
        "A server that says its lists changed is looked at soon, and once however often it says so.",
    ),
    Requirement(
        "gateway:definition:told",
        "issue 5 §1",
        "A tool server without sessions is asked once to tell when its lists change; what it tells is looked at soon.",
    ),
    Requirement("gateway:definition:changed", "issue 2 §1", "A tool that is not offered exactly as pinned is refused."),
    Requirement(
        "gateway:definition:unverified", "DESIGN §3.10", "A server that cannot be asked makes its tools unverified."
    ),
    Requirement("gateway:definition:coalesced", "research gateways §6", "Calls that wait for a look share one."),
    Requirement(
        "gateway:definition:pages", "DESIGN §11", "A server's list is read page by page within bounds, or refused."
    ),
    Requirement("gateway:mappings:asked", "issue 4 §8", "A tool's mapping asks policies before it is called."),
    Requirement("gateway:mappings:failed", "issue 4 §8", "A mapping that fails, or names another subject, refuses."),
    Requirement(
        "gateway:mappings:pinned", "issue 4 §8", "A malformed mapping is not pinned; an unanswered one is said."
    ),
)
