"""What policies do to a tool whatever a call says: known before any call, by asking the engine without a context.

A call's context can only decide what policies read of it. So the policies of a slice that read none of it are judged
once, by the same engine and entities as every decision; the others can go either way and make the answer conditional.
Whoever rests something on the answer (a tier, a sign-off) asks again when a release or a tool's facts change.

A policy may speak of agents of one risk tier, and a hold lowers the tier: so for a tier a tool counts as held or closed
only if it is in every tier. No policy can lower a tier by speaking of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import ToolId
from accredit.policy.ports import EngineOutcome, Verdict
from accredit.policy.snapshot import Inadmissible, PolicySnapshot, Slice
from accredit.policy.sources import Policy
from accredit.registry.lifecycle import RUNS_IN
from accredit.registry.model import Agent, AgentVersion, Tier
from accredit.registry.tiering import Enforced

__all__ = ["MOST_TOOLS", "Access", "AccessOutcome", "access", "access_of", "as_it_would_run", "enforced_by"]

MOST_TOOLS = 200
"""So many granted tools are judged. Of those beyond nothing is said, and nothing counts as enforced."""


class AccessOutcome(StrEnum):
    """What becomes of every call of a tool, as far as that can be said beforehand."""

    ALLOWED = "allowed"
    CONDITIONAL = "conditional"
    """It depends on the call: a grant's conditions, a ceiling."""
    HELD = "held"
    """Each call waits for a person."""
    MASKED = "masked"
    """Of one data class: it is taken out of the results."""
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Access:
    """The answer for one tool, and what determines it."""

    outcome: AccessOutcome
    policies: tuple[str, ...] = ()
    """What determines the outcome; if it is conditional, what it depends on. Sorted."""
    conditions: tuple[str, ...] = ()
    """Of the agent's own grant, in the words of a refusal."""
    code: Code | None = None
    """Why no policy is asked at all."""
    detail: str = ""
    ceilings: tuple[Policy, ...] = ()
    """Hand-written policies that hold or limit its calls."""
    slice: Digest | None = None
    """Covers every policy in scope, word by word."""


def as_it_would_run(agent: Agent, version: AgentVersion, tier: Tier) -> tuple[Agent, ...]:
    """The agent with that version in force under a tier, in each state in which its calls could be let through."""
    return tuple(
        replace(agent, version=version, candidate=None, state=state, halted_from=None, tier=tier)
        for state in sorted(RUNS_IN[agent.environment])
    )


def enforced_by(snapshot: PolicySnapshot, agent: Agent, version: AgentVersion) -> Enforced:
    """The tools of that version whose every call waits for a person, and those whose every call is refused.

    Raises:
        UnavailableError: the engine failed, so nothing is known to be enforced.
        InvalidInputError: a grant does not compile.
    """
    held, closed = set(), set()
    tiers = tuple(Tier) if snapshot.tiered else (Tier.HIGH,)
    running = [each for tier in tiers for each in as_it_would_run(agent, version, tier)]
    for tool in sorted({grant.tool for grant in version.grants})[:MOST_TOOLS]:
        outcomes = {access(each, tool, snapshot).outcome for each in running}
        if outcomes == {AccessOutcome.FORBIDDEN}:
            closed.add(tool)
        elif outcomes <= {AccessOutcome.FORBIDDEN, AccessOutcome.HELD}:
            held.add(tool)
    return Enforced(frozenset(held), frozenset(closed))


def access(agent: Agent, tool: ToolId, snapshot: PolicySnapshot) -> Access:
    """What the policies in force say of every call that this agent could make of this tool.

    Raises:
        UnavailableError: the engine failed.
        InvalidInputError: the agent's grant does not compile.
    """
    return access_of(snapshot.slice_for(agent, tool), snapshot)


def access_of(part: Slice | Inadmissible, snapshot: PolicySnapshot) -> Access:
    """What the policies of a slice say, whatever the call. Raises as `access`."""
    if isinstance(part, Inadmissible):
        return Access(AccessOutcome.FORBIDDEN, code=part.code, detail=part.detail)
    forbids = _judged(part, snapshot, permits=False)
    # a forbid that errors without reading a context errors on every call, and that denies
    decided = [part.policies[int(name)] for name in (*forbids.reasons, *(name for name, _ in forbids.errors))]
    errors = {part.policies[int(name)].id for name, _ in forbids.errors}
    ceilings = tuple(
        policy
        for policy in part.policies
        if not policy.permits
        and policy is not part.permit.ceiling
        and policy.observed_until_us is None
        and (policy.reads or policy in decided)
    )
    if refusing := [policy for policy in decided if policy.absolute or policy.id in errors]:
        return Access(AccessOutcome.FORBIDDEN, _ids(refusing), slice=part.digest)
    allowed = _judged(part, snapshot, permits=True)
    depends = [policy for policy in part.policies if policy.reads and policy.observed_until_us is None]
    if allowed.outcome is not EngineOutcome.ALLOW and not any(policy.permits for policy in depends):
        return Access(AccessOutcome.FORBIDDEN, slice=part.digest, code=Code.TOOL_NOT_GRANTED)
    if any(policy.hold is not None for policy in decided):
        return Access(AccessOutcome.HELD, _ids(decided), _labels(part), ceilings=ceilings, slice=part.digest)
    if allowed.outcome is EngineOutcome.ALLOW:
        depends = [policy for policy in depends if not policy.permits]
    if depends:
        return Access(AccessOutcome.CONDITIONAL, _ids(depends), _labels(part), ceilings=ceilings, slice=part.digest)
    return Access(AccessOutcome.ALLOWED, part.ids(allowed.reasons), slice=part.digest)


def _judged(part: Slice, snapshot: PolicySnapshot, *, permits: bool) -> Verdict:
    """Permits or forbids of a slice that read nothing of a call, evaluated."""
    # what is only observed holds and closes nothing, whenever its observation ends
    left_out = frozenset(
        at
        for at, policy in enumerate(part.policies)
        if policy.reads or policy.permits is not permits or policy.observed_until_us is not None
    )
    if len(left_out) == len(part.policies):
        return Verdict(EngineOutcome.DENY, (), ())
    handle = snapshot.compiled(part, left_out).handle
    verdict = snapshot.engine.evaluate(handle, part.principal, part.action, part.resource, "{}", part.entities)
    if verdict.outcome is EngineOutcome.NONE or any(not name for name, _ in verdict.errors):
        raise UnavailableError(Code.ENGINE_FAILED, f"the engine could not judge `{part.tool.id[:120]}`")
    return verdict


def _ids(policies: list[Policy]) -> tuple[str, ...]:
    return tuple(sorted({policy.id for policy in policies}))


def _labels(part: Slice) -> tuple[str, ...]:
    return tuple(condition.label for condition in part.permit.conditions)
