"""The records of one call, as the log keeps them (DESIGN §5). Pure.

Nothing an agent chooses stands in clear: its unknown names and labels appear as keyed fingerprints, their text in a
sealed part; users and tasks appear as pseudonyms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from accredit.audit.model import Entry, Facts, Part, Pseudonym, Usage
from accredit.enforcement.model import Call, CallEnd, CallResult
from accredit.enforcement.reasons import FollowedAnswer, WantedCall
from accredit.enforcement.repetition import Repetition
from accredit.enforcement.tracing import CallSpan
from accredit.kernel.codes import Code
from accredit.kernel.detector import Sensitive, Sightings
from accredit.kernel.ids import DecisionId
from accredit.limits.folding import reservation_fact, settled_fact
from accredit.limits.model import Reservation
from accredit.policy.model import CallRequest, Decision, ExternalName, ExternalRequest, Hop, Outcome
from accredit.policy.recorded import answer_fact, judgement_fact
from accredit.registry.model import Agent, Tool

__all__ = [
    "Passage",
    "advice_entry",
    "classes_seen",
    "decision_entry",
    "external_entry",
    "outcome_entry",
    "search_entry",
    "unauthenticated_entry",
]

_MAX_TEXT = 1024
_ENGINES = {"cedar": f"cedarpy {version('cedarpy')}", "tzdata": version("tzdata")}
with suppress(PackageNotFoundError):
    _ENGINES["rego"] = f"regorus {version('gordon-to-regorus')}"


@dataclass(slots=True)
class Passage:
    """What is known of one call so far; each stage adds to it."""

    call: Call
    decision_id: DecisionId
    time_us: int
    boot_us: int
    control: int | None
    """Position of the control state it is judged in; None if the log does not tell all of that yet."""
    snapshot: str
    agent: Agent | None = None
    tool: Tool | None = None
    context: dict[str, Any] = field(default_factory=dict)
    request: CallRequest | None = None
    decision: Decision | None = None
    session: str | None = None
    reservation: Reservation | None = None
    grants: tuple[str, ...] = ()
    hold: str | None = None
    user: str | None = None
    task: str | None = None
    pseudonyms: tuple[Pseudonym, ...] = ()
    run: str | None = None
    """Keyed fingerprint of the client's own run label."""
    unknown_tool: str | None = None
    """Keyed fingerprint of a tool name that is not registered."""
    reason: FollowedAnswer | None = None
    """The model's answer that asked for this call."""
    absent: tuple[tuple[str, Code], ...] = ()
    """Context providers whose facts are not there, and why."""
    withdrawn: frozenset[str] = frozenset()
    """Roles of the token's that a directory does not give this user."""
    hops: tuple[Hop, ...] = ()
    """How the work came to the agent, the last hop first."""
    span: CallSpan | None = None
    """Of our own, if this call is traced."""
    decided_us: int = 0
    """How long deciding took."""
    differs: bool = False
    """Whether the function that the agent's own program would run takes something else than the registered tool."""
    mask: frozenset[str] = frozenset()
    """Data classes that the agent's grant takes out of the tool's results."""
    place: str = ""
    """Keyed fingerprint of the network the call comes from."""
    prompt_approved: bool | None = None
    """Of a request to a model: whether it is told what was approved; None: it is told nothing, or is no model."""
    repetition: Repetition = field(default_factory=Repetition)
    """How it repeats what its session did before."""


def _facts(passage: Passage, kind: str, outcome: str, action: str = "enforced") -> Facts:
    agent, tool = passage.agent, passage.tool
    return Facts(
        kind=kind,
        agent=agent.id if agent else passage.call.principal.agent,
        version=agent.version.digest if agent else None,
        environment=agent.environment.value if agent else None,
        tool=tool.id if tool else None,
        effect=tool.effect.value if tool else None,
        scope=tool.scope.value if tool and tool.scope else None,
        data_classes=tuple(sorted(tool.shown(passage.mask))) if tool else (),
        decision=outcome,
        action=action,
    )


def decision_entry(passage: Passage, outcome: str, code: Code) -> Entry:
    """The record that must be durable before anything is forwarded, or that says why nothing was."""
    return Entry(
        facts=_facts(passage, "decision", outcome),
        time_us=passage.time_us,
        body=_body(passage, code),
        parts=_parts(passage),
        usage=Usage(allows=outcome == "allow", denies=outcome == "deny", holds=outcome == "hold"),
        refused=outcome != "allow",
        pseudonyms=passage.pseudonyms,
    )


def advice_entry(passage: Passage, outcome: str, code: Code) -> Entry:
    """The record of a call that was only asked about: durable before the answer, and no part of the agent's usage."""
    return Entry(
        facts=_facts(passage, "advice", outcome, "advice"),
        time_us=passage.time_us,
        body={
            **_body(passage, code),
            "asked_by": passage.call.asked_by,
            "denied": passage.call.denied,
            **({"signature": "other"} if passage.differs else {}),
        },
        parts=_parts(passage),
        refused=outcome != "allow",
        pseudonyms=passage.pseudonyms,
    )


def _body(passage: Passage, code: Code) -> dict[str, Any]:
    call, decision, reservation = passage.call, passage.decision, passage.reservation
    return {
        "absent": [[name, code.value] for name, code in passage.absent],
        "actors": list(call.principal.actors),
        "circle": [passage.repetition.circle, passage.repetition.turns],
        "code": code.value,
        "control": passage.control,
        "credential": call.principal.credential,
        "decision_id": passage.decision_id,
        "definition": passage.tool.definition_digest if passage.tool else None,
        "engines": _ENGINES,
        "grants": list(passage.grants),
        "hold": passage.hold,
        "hops": [
            [hop.caller.id, hop.caller.version.digest, sorted(one.id for one in hop.restrictions)]
            for hop in passage.hops
        ],
        "mask": sorted(passage.mask),
        "place": passage.place,
        "prompt_approved": passage.prompt_approved,
        "protocol": call.protocol,
        "reason": passage.reason.decision if passage.reason else None,
        "reason_by": passage.reason.by.value if passage.reason else None,
        "repeats": passage.repetition.repeats,
        "reservation": reservation_fact(reservation) if reservation else None,
        "run": passage.run,
        "session": passage.session,
        "snapshot": passage.snapshot,
        "task": passage.task,
        "unknown_tool": passage.unknown_tool,
        "user": passage.user,
        "withdrawn": sorted(passage.withdrawn),
        **judgement_fact(passage.request, decision),
    }


def _parts(passage: Passage) -> tuple[Part, ...]:
    call, decision = passage.call, passage.decision
    request: dict[str, Any] = {"tool": call.tool, "server": call.server, "source": call.source}
    if call.completes is not None:
        request["completes"] = call.completes
    if call.watches:
        request["watches"] = True
    if call.resumes is not None:
        request["resumes"] = call.resumes
    if call.run_label is not None:
        request["run"] = call.run_label
    if decision and decision.faults:
        request["faults"] = [[fault.policy, fault.message] for fault in decision.faults]
    # the arguments are a part of their own, so that one field of them can be opened or all of them erased alone
    context = {key: value for key, value in passage.context.items() if key != "input"}
    return Part("arguments", call.arguments), Part("context", context), Part("request", request)


def external_entry(
    request: ExternalRequest, decision: Decision, *, decision_id: DecisionId, key: str, source: str, control: int | None
) -> Entry:
    """The record of a question about other applications' types. Who and what it is about may be personal: sealed."""
    allowed = decision.outcome is Outcome.ALLOW
    asked: dict[str, Any] = {
        "subject": _named(request.subject),
        "action": {"name": request.action, "properties": dict(request.arguments)},
        "resource": _named(request.resource),
        "context": dict(request.context),
        "source": source,
    }
    if decision.faults:
        asked["faults"] = [[fault.policy, fault.message] for fault in decision.faults]
    return Entry(
        facts=Facts("advice", decision=decision.outcome.value, action="advice"),
        time_us=request.time_us,
        body={
            "asked_by": request.caller,
            "control": control,
            "credential": key,
            "decision_id": decision_id,
            "engines": _ENGINES,
            "steady": request.time_trusted,
            **answer_fact(decision),
        },
        parts=(Part("request", asked),),
        refused=not allowed,
    )


def _named(name: ExternalName) -> dict[str, Any]:
    return {"type": name.type, "id": name.id, "properties": dict(name.properties)}


def search_entry(
    question: Mapping[str, Any],
    found: Sequence[str],
    *,
    what: str,
    judged: int,
    agent: str | None,
    asked_by: str | None,
    credential: str,
    decision_id: DecisionId,
    release: str,
    time_us: int,
) -> Entry:
    """The one record of a search: what was looked for, how much was judged, and what was told."""
    return Entry(
        facts=Facts("advice", agent=agent, action="advice"),
        time_us=time_us,
        body={
            "asked_by": asked_by,
            "credential": credential,
            "decision_id": decision_id,
            "found": len(found),
            "judged": judged,
            "release": release,
            "search": what,
        },
        parts=(Part("request", question), Part("result", {"found": list(found)})),
    )


def outcome_entry(
    passage: Passage,
    result: CallResult,
    *,
    time_us: int,
    boot_us: int,
    cost_nanos: int,
    seen: Sightings | None = None,
    undeclared: Sequence[str] = (),
    wanted: Sequence[WantedCall] = (),
    other_model: str | None = None,
) -> Entry:
    """What became of an admitted call; `seen` is what its result had in it, `undeclared` what it should not have.

    `other_model` is a keyed fingerprint of the model that answered, where that is not the one that was called.
    Of a model's answer that asks for calls, `asked` has them, as `enforcement/reasons.py` tells.
    `detected` is null if that is nothing or there was no result, `detected_in_part` says that not all was looked at.
    """
    reservation = passage.reservation
    body: dict[str, Any] = {
        "code": result.code.value if result.code else None,
        "decision_id": passage.decision_id,
        "detected": {kind.value: count for kind, count in seen.counts.items()} if seen and seen.counts else None,
        "detected_in_part": seen is not None and not seen.whole,
        "duration_us": boot_us - passage.boot_us,
        "end": result.end.value,
        "sent": result.sent,
        "settled": settled_fact(reservation, cost_nanos) if reservation else None,
        "size": result.size,
        "undeclared": list(undeclared),
    }
    if other_model is not None:
        body["other_model"] = other_model
    if wanted:
        body["asked"] = [one.fact() for one in wanted]
    return Entry(
        facts=_facts(passage, "outcome", "allow"),
        time_us=time_us,
        body=body,
        parts=(Part("result", result.result),) if result.result is not None else (),
        usage=Usage(errors=result.end not in {CallEnd.OK, CallEnd.INPUT_REQUIRED}, cost_nanos=cost_nanos),
        awaited=False,
    )


def classes_seen(outcome: Mapping[str, Any]) -> frozenset[str]:
    """The data classes detected in a result, by the body of its outcome. Older ones tell of none."""
    return frozenset(_KINDS[kind] for kind in outcome.get("detected") or () if kind in _KINDS)


_KINDS = {kind.value: kind.data_class for kind in Sensitive}


def unauthenticated_entry(
    code: Code, *, time_us: int, source: str, path: str, credential: str | None = None, cause: str = ""
) -> Entry:
    """Somebody was turned away who did not prove what was due; `credential` if that much was proven."""
    request = {"source": source, "path": path[:_MAX_TEXT]} | ({"cause": cause[:_MAX_TEXT]} if cause else {})
    return Entry(
        facts=Facts(kind="refused.authentication", decision="deny", action="enforced"),
        time_us=time_us,
        body={"code": code.value, "credential": credential},
        parts=(Part("request", request),),
        refused=True,
    )
