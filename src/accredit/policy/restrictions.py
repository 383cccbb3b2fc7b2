"""Restrictions folded into a decision: each takes something away, and none gives anything back. Pure.

They stand behind the policies: what these deny stays denied for the reason they gave. INVARIANT: with one restriction
more, a decision is the same or stricter (allow, hold, deny); only a person's grant for exactly this call lifts the
hold that a restriction asks for, and nothing lifts the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from accredit.kernel.codes import Code
from accredit.kernel.money import Money
from accredit.policy.model import CallRequest, Decision, HoldNeed, Outcome
from accredit.registry.model import Effect, Restriction, RestrictionKind, Tool

__all__ = ["daily_cap", "forbidden_code", "forbidding", "narrowed", "restriction_policy", "throttle"]


def restriction_policy(restriction: Restriction) -> str:
    """What a decision calls a restriction where it would name a policy. No policy's id begins so."""
    return f"restriction/{restriction.id}"


def _about(restriction: Restriction, tool: Tool) -> bool:
    return restriction.tool is None or restriction.tool == tool.id


def _forbids(restriction: Restriction, tool: Tool) -> bool:
    match restriction.kind:
        case RestrictionKind.DROP_TOOL | RestrictionKind.RIGHT:
            return True
        case RestrictionKind.READ_ONLY:
            return tool.effect is not Effect.READ
        case RestrictionKind.HOLD:
            return restriction.role is None  # a hold that nobody could lift
        case RestrictionKind.THROTTLE | RestrictionKind.DAILY_COST | RestrictionKind.CANARY:
            return False


def forbidding(restrictions: Iterable[Restriction], tool: Tool) -> tuple[Restriction, ...]:
    """Those that forbid every call of a tool, whatever its context."""
    return tuple(one for one in restrictions if _about(one, tool) and _forbids(one, tool))


def throttle(restrictions: Iterable[Restriction], tool: Tool) -> int | None:
    """The least calls per minute that one of them leaves to a tool; None if none of them throttles it."""
    rates = [
        one.calls_per_minute or 0 for one in restrictions if one.kind is RestrictionKind.THROTTLE and _about(one, tool)
    ]
    return min(rates, default=None)


def daily_cap(restrictions: Iterable[Restriction], own: Money | None) -> Money | None:
    """The least that may be spent in a day by these restrictions and the version's own cap; None: nothing caps it.

    Caps in different currencies cannot be compared: then nothing is left to be spent.
    """
    caps = [one.cost_per_day for one in restrictions if one.cost_per_day is not None]
    if not caps:
        return own
    known = [*([own] if own is not None else []), *caps]
    if len({one.currency for one in known}) > 1:
        return Money(0, known[0].currency)
    return min(known, key=lambda one: one.nanos)


def forbidden_code(forbidden: Iterable[Restriction]) -> Code:
    """Why a call is refused that some restrictions forbid."""
    return Code.RIGHT_LOST if all(one.kind is RestrictionKind.RIGHT for one in forbidden) else Code.RESTRICTED


def _named(restriction: Restriction) -> str:
    return restriction.cause if restriction.kind is RestrictionKind.RIGHT else f"`{restriction.kind}`"


def _outside_canary(restriction: Restriction, session: object) -> bool:
    """Whether a session is not one of the share that is let through: the same for all its calls, and not its choice."""
    if restriction.kind is not RestrictionKind.CANARY:
        return False
    if not isinstance(session, str) or restriction.share_percent is None:
        return True
    drawn = hashlib.sha256(f"canary {restriction.id} {session}".encode()).digest()
    return int.from_bytes(drawn[:8]) % 100 >= restriction.share_percent


def narrowed(decision: Decision, request: CallRequest, tool: Tool) -> Decision:
    """The decision under the request's restrictions."""
    if decision.outcome is Outcome.DENY:
        return decision
    if forbidden := forbidding(request.restrictions, tool):
        return replace(
            decision,
            outcome=Outcome.DENY,
            code=forbidden_code(forbidden),
            policies=tuple(sorted(restriction_policy(one) for one in forbidden)),
            needs=(),
            lifted=(),
            detail=", ".join(sorted({_named(one) for one in forbidden})),
        )
    session = request.context.get("session")
    session_id = session.get("id") if isinstance(session, Mapping) else None
    if outside := [one for one in request.restrictions if _outside_canary(one, session_id)]:
        return replace(
            decision,
            outcome=Outcome.DENY,
            code=Code.OUTSIDE_CANARY,
            policies=tuple(sorted(restriction_policy(one) for one in outside)),
            needs=(),
            lifted=(),
            detail=f"{min(one.share_percent or 0 for one in outside)} of a hundred sessions are let through",
        )
    holds = {
        restriction_policy(one): one.role.value
        for one in request.restrictions
        if one.kind is RestrictionKind.HOLD and one.role is not None and _about(one, tool)
    }
    if not holds:
        return decision
    policies = tuple(sorted({*decision.policies, *holds}))
    needs = tuple(HoldNeed(policy, role) for policy, role in sorted(holds.items()) if policy not in request.lifted)
    if decision.outcome is Outcome.HOLD:
        needs = tuple(sorted((*decision.needs, *needs), key=lambda need: (need.policy, need.role)))
    if needs:
        return replace(decision, outcome=Outcome.HOLD, code=Code.HELD, policies=policies, needs=needs, lifted=())
    return replace(decision, policies=policies, lifted=tuple(sorted({*decision.lifted, *holds})))
