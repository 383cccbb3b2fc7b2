"""The decision: one call and one snapshot in, one answer out. No clock, no I/O, no exception to say no.

Steps, as DESIGN §3.4 and §3.9 to §3.11 order them:
1. a reserved key anywhere in the context refuses, before anything else reads it
2. the agent's state and environment, its grant, the entities' mandatory parents, the tool's data classes
3. what the policies read is projected and encoded exactly
4. the slice is evaluated once; an error in a forbid denies, an error in a permit leaves it unsatisfied
5. a denial by `@hold` forbids alone, which without them would be an allow, is a hold, or an allow if every one of
   them was granted for exactly this call; of a model's, `@tool_calls` forbids stand aside too, and the allow says what
   must be done with the answer for that
6. a denial by default says which condition of the agent's own grant did not hold
7. a second engine, if the release has rules for one, or one that was asked outside, may refuse what is left
8. so may the policies for other applications' types, where the tool declares questions for each of its calls
9. so does each agent that the work was handed on by: it must delegate this very tool to the next one, under its own
   conditions, and `@delegate` policies may refuse or hold it
10. restrictions in force, on any agent of the chain, take away from what is left

INVARIANT: a step after the fourth never allows what an earlier one did not, and hops are judged after the agent's own
right, so the chain's right is the intersection of them all.

Policies that are only observed stand aside from all of it. The decision with them enforced is made beside it, and said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.policy.context import now_facts, reserved_key
from accredit.policy.external import EXTERNAL
from accredit.policy.grants import Condition
from accredit.policy.mapped import questions_of
from accredit.policy.model import (
    CallRequest,
    Decision,
    ExternalRequest,
    HoldNeed,
    Hop,
    Observation,
    Outcome,
    PolicyFault,
    ToolCallRule,
)
from accredit.policy.ports import EngineOutcome, Verdict, VetoAnswer
from accredit.policy.restrictions import narrowed
from accredit.policy.snapshot import Inadmissible, PolicySnapshot, Slice
from accredit.registry.mappings import DeclaredMapping, MappingError

__all__ = ["decide", "decide_without", "judge_hop"]

_ORDER = (Code.USER_ROLE_REQUIRED, Code.TASK_MISMATCH, Code.OUTSIDE_HOURS)
_NONE: frozenset[int] = frozenset()
_NO = frozenset({Code.ACTION_UNKNOWN, Code.FORBIDDEN_BY_POLICY, Code.NOT_PERMITTED, Code.TYPE_UNKNOWN})
"""Answers that policies, or the want of any, were meant to give; everything else is a failure of its own."""


def decide(request: CallRequest | ExternalRequest, snapshot: PolicySnapshot) -> Decision:
    """Judge one call, or a question about types of other applications (`external.py`).

    The same request and snapshot always give the same decision; whatever fails, denies.
    """
    if isinstance(request, ExternalRequest):
        return snapshot.external.decide(request)
    return _narrowed(_by_policies(request, snapshot), request, snapshot)


def decide_without(
    request: CallRequest | ExternalRequest, snapshot: PolicySnapshot, policies: Collection[str]
) -> Decision:
    """What the decision would be if these policies were not in scope: for explaining, never for deciding."""
    if isinstance(request, ExternalRequest):
        return snapshot.external.without(policies).decide(request)
    if any(policy.startswith(EXTERNAL) for policy in policies):
        external = snapshot.release.external.without(policies)
        snapshot = snapshot.with_release(replace(snapshot.release, external=external))
    return _narrowed(_by_policies(request, snapshot, policies), request, snapshot)


def _narrowed(decision: Decision, request: CallRequest, snapshot: PolicySnapshot) -> Decision:  # 10
    for restrictions in (request.restrictions, *(hop.restrictions for hop in request.hops)):
        if restrictions and decision.outcome is not Outcome.DENY:
            decision = narrowed(decision, replace(request, restrictions=restrictions), snapshot.tools[request.tool])
    return decision


def _by_policies(request: CallRequest, snapshot: PolicySnapshot, without: Collection[str] = ()) -> Decision:
    decision = _of_the_agent(request, snapshot, without)
    for number, hop in enumerate(request.hops, 1):  # 9
        if decision.outcome is Outcome.DENY:
            break
        decision = _joined(decision, judge_hop(hop, request, snapshot, without), number)
    return decision


def judge_hop(
    hop: Hop, request: CallRequest, snapshot: PolicySnapshot, without: Collection[str] = (), *, handing: bool = False
) -> Decision:
    """Whether an agent may hand on what the request is for; with `handing`, to hand work on at all, before any call."""
    try:
        part = (
            snapshot.handing_on(hop.caller, hop.callee)
            if handing
            else snapshot.hop_slice(hop.caller, hop.callee, request.tool)
        )
        if isinstance(part, Inadmissible):
            return Decision(Outcome.DENY, part.code, release=snapshot.release.digest, detail=part.detail)
        facts = {**request.context, "now": now_facts(request.time_us, hop.caller.version.zone)}
    except (InvalidInputError, UnavailableError) as error:
        return Decision(Outcome.DENY, _code(error), release=snapshot.release.digest, detail=_detail(error))
    if not handing:
        facts["tool"] = request.tool
    # none of it is the acting agent's own: not its restrictions, and not what engines were asked of its call
    asked = replace(request, agent=hop.caller, context=facts, restrictions=(), hops=(), outside=None)
    between = f"`{hop.caller.name}` to `{hop.callee.name}`"
    decision = _observing(asked, snapshot, part, without, _judged_alone)
    if (seen := decision.observed) is not None:
        decision = replace(decision, observed=replace(seen, code=_OF_A_HOP.get(seen.code, seen.code)))
    if decision.outcome is not Outcome.DENY:
        return decision
    return replace(
        decision,
        code=_OF_A_HOP.get(decision.code, decision.code),
        detail=f"{between}: {decision.detail}" if decision.detail else between,
        unmet=tuple(f"delegation {hop.caller.name} to {hop.callee.name}: {label}" for label in decision.unmet),
    )


_OF_A_HOP = {
    Code.CONDITION_UNMET: Code.DELEGATION_UNMET,
    Code.FORBIDDEN_BY_POLICY: Code.DELEGATION_FORBIDDEN,
    Code.OUTSIDE_HOURS: Code.DELEGATION_UNMET,
    Code.TASK_MISMATCH: Code.DELEGATION_UNMET,
    Code.USER_ROLE_REQUIRED: Code.DELEGATION_UNMET,
}
_GRAVITY = (Outcome.ALLOW, Outcome.HOLD, Outcome.DENY)


def _joined(own: Decision, hop: Decision, number: int) -> Decision:
    """Both of them, which is the graver one; what would be if observed policies were enforced likewise."""
    entities = {**(own.entities or {}), f"hop{number}": _hop_digest(hop)} if hop.entities else own.entities
    faults = (*own.faults, *hop.faults)
    seen = (
        [one.observed or Observation(one.outcome, one.code, one.policies) for one in (own, hop)]
        if own.observed or hop.observed
        else []
    )
    observed = max(seen, key=lambda one: _GRAVITY.index(one.outcome), default=None)
    if observed is not None and len({one.outcome for one in seen}) == 1 and observed.outcome is not Outcome.DENY:
        observed = replace(observed, policies=tuple(sorted({*seen[0].policies, *seen[1].policies})))
    if hop.outcome is Outcome.DENY:
        return replace(hop, slice=own.slice, entities=entities, faults=faults, observed=observed)
    needs = {(need.policy, need.role) for need in (*own.needs, *hop.needs)}
    held = bool(needs)
    return replace(
        own,
        outcome=Outcome.HOLD if held else Outcome.ALLOW,
        code=Code.HELD if held else Code.ALLOWED,
        policies=tuple(sorted({*own.policies, *hop.policies})),
        needs=tuple(HoldNeed(*need) for need in sorted(needs)),
        # nothing is used up while something else is still waited for
        lifted=() if held else tuple(sorted({*own.lifted, *hop.lifted})),
        faults=faults,
        entities=entities,
        observed=observed,
    )


def _hop_digest(hop: Decision) -> Digest:
    return digest_value("hop", {**(hop.entities or {}), "slice": hop.slice})


def _judged_alone(aside: frozenset[int], request: CallRequest, snapshot: PolicySnapshot, part: Slice) -> Decision:
    try:
        return _judged(request, snapshot, part, aside)
    except (InvalidInputError, UnavailableError) as error:
        return _denied(snapshot, part, _code(error), detail=_detail(error))


def _of_the_agent(request: CallRequest, snapshot: PolicySnapshot, without: Collection[str] = ()) -> Decision:
    release = snapshot.release.digest
    try:
        reserved = reserved_key(request.context)  # 1
        if reserved is not None:
            return Decision(Outcome.DENY, Code.RESERVED_KEY, release=release, detail=f"`{reserved}`")
        part = snapshot.slice_for(request.agent, request.tool)  # 2
        if isinstance(part, Inadmissible):
            return Decision(Outcome.DENY, part.code, release=release, detail=part.detail)
    except (InvalidInputError, UnavailableError) as error:
        return Decision(Outcome.DENY, _code(error), release=release, detail=_detail(error))
    return _observing(request, snapshot, part, without, _apart_from)


def _observing(
    request: CallRequest,
    snapshot: PolicySnapshot,
    part: Slice,
    without: Collection[str],
    judged: Callable[[frozenset[int], CallRequest, PolicySnapshot, Slice], Decision],
) -> Decision:
    """The decision without the policies that are only observed, and what it would be with them."""
    # while the clock is not confirmed nothing is still being observed
    aside = part.observed(request.time_us) if part.observes and request.time_trusted else _NONE
    if without:
        left_out = frozenset(i for i, policy in enumerate(part.policies) if policy.id in without)
        return judged(aside | left_out, request, snapshot, part)
    decision = judged(aside, request, snapshot, part)
    if not aside:
        return decision
    strict = judged(_NONE, request, snapshot, part)
    return replace(decision, observed=Observation(strict.outcome, strict.code, strict.policies))


def _apart_from(aside: frozenset[int], request: CallRequest, snapshot: PolicySnapshot, part: Slice) -> Decision:
    try:
        decision = _judged(request, snapshot, part, aside)
        if decision.outcome is not Outcome.DENY and snapshot.vetoes:  # 7
            decision = _vetoed(decision, snapshot.veto(part, request.context), snapshot, part)
    except (InvalidInputError, UnavailableError) as error:
        return _denied(snapshot, part, _code(error), detail=_detail(error))
    if decision.outcome is not Outcome.DENY and request.outside is not None:
        decision = _vetoed(decision, request.outside, snapshot, part)
    if decision.outcome is not Outcome.DENY and part.mapping is not None:  # 8
        decision = _mapped(decision, part.mapping, request, snapshot, part)
    return decision


def _mapped(
    decision: Decision, mapping: DeclaredMapping | str, request: CallRequest, snapshot: PolicySnapshot, part: Slice
) -> Decision:
    """The decision, if every question that the tool's mapping asks is answered with yes."""
    try:
        questions = questions_of(mapping, request, part.tool)
    except MappingError as error:
        return _denied(snapshot, part, Code.MAPPING_FAILED, detail=str(error))
    policies = set(decision.policies)
    for question in questions:
        answer = snapshot.external.decide(question)
        if answer.outcome is not Outcome.ALLOW:
            said = answer.code in _NO
            return _denied(
                snapshot,
                part,
                Code.MAPPING_DENIED if said else answer.code,
                policies=answer.policies,
                faults=(*decision.faults, *answer.faults),
                detail=answer.code.value if said else answer.detail,
            )
        policies.update(answer.policies)
    return replace(decision, policies=tuple(sorted(policies)))


def _vetoed(decision: Decision, answer: VetoAnswer, snapshot: PolicySnapshot, part: Slice) -> Decision:
    if not answer.policies and not answer.fault:
        return decision
    code = Code.VETO_FAILED if answer.fault else Code.VETOED
    blamed = answer.policies[0] if answer.policies else ""
    faults = (*decision.faults, PolicyFault(blamed, answer.fault)) if answer.fault else decision.faults
    return _denied(snapshot, part, code, policies=answer.policies, faults=faults)


def _code(error: InvalidInputError | UnavailableError) -> Code:
    # a grant that does not compile is a failure of ours, whatever the compiler calls it
    return Code.UNENCODABLE_INPUT if error.code is Code.UNENCODABLE_INPUT else Code.ENGINE_FAILED


def _detail(error: InvalidInputError | UnavailableError) -> str:
    return error.message if error.code is Code.UNENCODABLE_INPUT else ""


def _denied(
    snapshot: PolicySnapshot,
    part: Slice,
    code: Code,
    *,
    policies: tuple[str, ...] = (),
    faults: tuple[PolicyFault, ...] = (),
    unmet: tuple[str, ...] = (),
    detail: str = "",
) -> Decision:
    return Decision(
        Outcome.DENY,
        code,
        policies=policies,
        faults=faults,
        unmet=unmet,
        release=snapshot.release.digest,
        slice=part.digest,
        entities=part.entity_digests,
        detail=detail,
    )


def _judged(request: CallRequest, snapshot: PolicySnapshot, part: Slice, aside: frozenset[int]) -> Decision:
    withdrawn = _NONE
    if not request.time_trusted:
        if part.clocked_forbids:  # a forbid at night must not be passed by a clock that says noon
            return _denied(snapshot, part, Code.CLOCK_UNCONFIRMED)
        withdrawn = part.clocked_permits
    left_out = aside | withdrawn
    compiled = snapshot.compiled(part, left_out)
    context = compiled.projection.of(request.context)  # 3
    verdict = _evaluated(snapshot, part, compiled.handle, context)  # 4
    faults = _faults(part, verdict) if verdict.errors else ()
    if verdict.outcome is EngineOutcome.NONE:
        return _denied(snapshot, part, Code.NO_DECISION, faults=faults)
    if faults and (blamed := [name for name, _ in verdict.errors if not name or not part.policies[int(name)].permits]):
        return _denied(snapshot, part, Code.POLICY_ERROR, policies=part.ids(filter(None, blamed)), faults=faults)
    if verdict.outcome is EngineOutcome.ALLOW:
        return _allowed(snapshot, part, verdict, faults)
    if not verdict.reasons:
        return _by_default(snapshot, part, request, withdrawn, faults)
    determining = [part.policies[int(name)] for name in verdict.reasons]
    policies = part.ids(verdict.reasons)
    # a rule on tool calls lifts nothing where there is no model: nobody would do what it demands
    if any(policy.absolute or (policy.hold is None and part.tool.rates is None) for policy in determining):
        beyond = determining == [part.permit.ceiling]
        code = Code.OUTSIDE_HOURS if beyond else Code.FORBIDDEN_BY_POLICY
        return _denied(snapshot, part, code, policies=policies, faults=faults)
    # 5. INVARIANT: every reason can be lifted and no forbid errored, so nothing else stands against the call
    without = left_out | {int(name) for name in verdict.reasons}
    second = _evaluated(snapshot, part, snapshot.compiled(part, without).handle, context)
    if second.outcome is EngineOutcome.NONE:
        return _denied(snapshot, part, Code.NO_DECISION, policies=policies, faults=faults)
    if second.outcome is EngineOutcome.DENY:  # no person could lift what is missing here
        return _by_default(snapshot, part, request, withdrawn, faults, policies)
    held = [policy for policy in determining if policy.hold is not None]
    needs = sorted((policy.id, policy.hold or "") for policy in held if policy.id not in request.lifted)
    if not needs:
        allowed = _allowed(snapshot, part, second, faults, tuple(sorted(policy.id for policy in held)))
        rules = {policy.tool_calls for policy in determining}
        if rules == {None}:
            return allowed
        rule = ToolCallRule.KNOWN if ToolCallRule.KNOWN in rules else ToolCallRule.DECIDED
        demanding = {policy.id for policy in determining if policy.tool_calls is not None}
        return replace(allowed, policies=tuple(sorted({*allowed.policies, *demanding})), tool_calls=rule)
    return Decision(
        Outcome.HOLD,
        Code.HELD,
        policies=policies,
        needs=tuple(HoldNeed(policy, role) for policy, role in needs),
        faults=faults,
        release=snapshot.release.digest,
        slice=part.digest,
        entities=part.entity_digests,
    )


def _evaluated(snapshot: PolicySnapshot, part: Slice, handle: Any, context: str) -> Verdict:
    return snapshot.engine.evaluate(handle, part.principal, part.action, part.resource, context, part.entities)


def _faults(part: Slice, verdict: Verdict) -> tuple[PolicyFault, ...]:
    named = sorted((part.policies[int(name)].id if name else "", words) for name, words in verdict.errors)
    return tuple(PolicyFault(policy, words) for policy, words in named)


def _allowed(
    snapshot: PolicySnapshot,
    part: Slice,
    verdict: Verdict,
    faults: tuple[PolicyFault, ...],
    lifted: tuple[str, ...] = (),
) -> Decision:
    return Decision(
        Outcome.ALLOW,
        Code.ALLOWED,
        policies=part.ids(verdict.reasons),
        faults=faults,
        lifted=lifted,
        release=snapshot.release.digest,
        slice=part.digest,
        entities=part.entity_digests,
    )


def _by_default(
    snapshot: PolicySnapshot,
    part: Slice,
    request: CallRequest,
    withdrawn: frozenset[int],
    faults: tuple[PolicyFault, ...],
    policies: tuple[str, ...] = (),
) -> Decision:
    """6. No permit was satisfied. The grant's conditions, taken apart, are asked of the same engine."""
    if withdrawn:
        return _denied(snapshot, part, Code.CLOCK_UNCONFIRMED, policies=policies, faults=faults)
    missing: tuple[Condition, ...] = ()
    if part.permit.conditions:
        apart = snapshot.apart(part)
        held = _evaluated(snapshot, part, apart.handle, apart.projection.of(request.context)).reasons
        missing = tuple(part.permit.conditions[i] for i in range(len(part.permit.conditions)) if str(i) not in held)
    codes = {condition.code for condition in missing}
    return _denied(
        snapshot,
        part,
        next((code for code in _ORDER if code in codes), Code.CONDITION_UNMET),
        policies=policies,
        faults=faults,
        unmet=tuple(condition.label for condition in missing),
    )
