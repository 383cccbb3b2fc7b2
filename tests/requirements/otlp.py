"""Promises of telemetry in (OTLP) and of what is measured of this installation itself."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("otlp:clients", "issue 5 §9", "The official exporters deliver in both encodings, plain and gzip."),
    Requirement("otlp:answers", "OTLP/HTTP", "Answers, partial success, failures and Retry-After are as specified."),
    Requirement(
        "otlp:bounds", "DESIGN §11", "Size, spans, attributes, fields, texts and depth are bounded before use."
    ),
    Requirement(
        "otlp:parsers", "DESIGN §11", "Whatever bytes come, both readers answer, and say the same of the same."
    ),
    Requirement("otlp:identity", "issue 5 §9", "Senders authenticate; spans speak only for their own agent."),
    Requirement("otlp:collector", "issue 5 §9", "A collector reports on agents of the one environment it is for."),
    Requirement(
        "otlp:findings", "issue 5 §9", "Unregistered agents, and tools or models not granted, become findings."
    ),
    Requirement("otlp:sealed", "DESIGN §5", "Nothing a sender chooses stands in a header or body in clear."),
    Requirement("otlp:collapsed", "DESIGN §5", "Equal uses of a minute are one record and a count, and none is lost."),
    Requirement(
        "otlp:apart", "issue 5 §9", "Reported use feeds no baseline, roll-up, tier, limit or automatic answer."
    ),
    Requirement("otlp:passed", "issue 5 §9", "What passed the gateway is known by decision or trace, and counts once."),
    Requirement("otlp:shown", "issue 5 §9", "API, command line and console show reported use apart from measured use."),
    Requirement("otlp:durable", "DESIGN §3.12", "What was accepted is on record, or the sender is told to try again."),
    Requirement(
        "otlp:out:names", "issue 5 §9", "Calls are sent as spans by the current GenAI, MCP and guardrail names."
    ),
    Requirement("otlp:out:context", "W3C Trace Context §3", "A caller's trace is continued, and passed on upstream."),
    Requirement("otlp:out:silent", "DESIGN §11", "No content, argument, secret or name of the sender's is in a span."),
    Requirement("otlp:out:beside", "issue 5 §9", "Sending holds up no call, fails none, and drops what does not fit."),
    Requirement("metrics:authenticated", "DESIGN §11", "Metrics are for whoever holds a role, by a token of theirs."),
    Requirement("metrics:calls", "issue 5 §9", "Calls, their time, cost, tokens and detections are counted."),
    Requirement("metrics:state", "issue 5 §9", "What is open, queued, reserved and in force can be read."),
    Requirement("metrics:bounded", "issue 5 §9", "No label is chosen by an agent, and none grows with use."),
)
