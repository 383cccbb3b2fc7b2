"""Restrictions of agents: what placing and lifting one writes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.registry import rows
from accredit.registry.model import APPROVER_ROLES, Agent, AgentState, Restriction, RestrictionKind

__all__ = ["agent_restricted", "restriction_lifted"]

_MAX_TIME_US: Final = 90 * 86_400_000_000
_MAX_CAUSE: Final = 500
_MAX_NOTE: Final = 2_000
_MAX_OPEN: Final = 50
_MAX_DROPPED: Final = 1_000
"""Tools that are dropped one by one: a review may take away most of what an agent has."""
_MAX_RATE: Final = 100_000


def agent_restricted(
    restriction: Restriction, agent: Agent, others: Sequence[Restriction], actor: Actor, *, salt: str, now_us: int
) -> Change | None:
    """Narrow an agent for a time; nothing if one as narrow is in force as long. What is over is cleared away with it.

    Raises:
        InvalidInputError: the kind and what it needs do not fit, or it is for no time, or too long.
        ConflictError: the agent is retired, or too many are in force.
    """
    _check(restriction, now_us)
    if agent.state is AgentState.RETIRED:
        raise ConflictError(Code.TRANSITION_REFUSED, "the agent is retired")
    live = [one for one in others if one.in_force(now_us)]
    if any(_covers(one, restriction) for one in live):
        return None
    dropping = restriction.kind is RestrictionKind.DROP_TOOL
    alike = sum((one.kind is RestrictionKind.DROP_TOOL) is dropping for one in live)
    if alike >= (most := _MAX_DROPPED if dropping else _MAX_OPEN):
        raise ConflictError(Code.CONFLICT, f"{most} restrictions of the agent are in force", hint="suspend it")
    over = [Write(rows.RESTRICTION, one.id, None) for one in others if not one.in_force(now_us)]
    body = {
        "kind": restriction.kind.value,
        "restriction": restriction.id,
        "until_us": restriction.until_us,
    }
    return Change(
        Facts("agent.restricted", agent=agent.id, environment=agent.environment.value, tool=restriction.tool),
        (Write(rows.RESTRICTION, restriction.id, rows.restriction_doc(restriction, salt=salt)), *over[:_MAX_OPEN]),
        actor,
        body,
        (Part("text", {"cause": restriction.cause}),),
        narrowing=True,
    )


def _check(restriction: Restriction, now_us: int) -> None:
    throttle = restriction.kind is RestrictionKind.THROTTLE
    hold = restriction.kind is RestrictionKind.HOLD
    rate = restriction.calls_per_minute
    if throttle != (rate is not None) or (rate is not None and not 1 <= rate <= _MAX_RATE):
        raise InvalidInputError(Code.BODY_MALFORMED, f"a throttle, and only it, has 1 to {_MAX_RATE} calls a minute")
    if hold != (restriction.role is not None) or (hold and restriction.role not in APPROVER_ROLES):
        raise InvalidInputError(Code.BODY_MALFORMED, "a hold, and only it, names a role that approves")
    if restriction.kind in {RestrictionKind.CANARY, RestrictionKind.DAILY_COST}:
        raise InvalidInputError(Code.BODY_MALFORMED, f"`{restriction.kind}` comes with an approval alone")
    if restriction.kind is RestrictionKind.RIGHT:
        raise InvalidInputError(Code.BODY_MALFORMED, "`right` follows from what a directory says, and is not placed")
    if restriction.kind is RestrictionKind.DROP_TOOL and restriction.tool is None:
        raise InvalidInputError(Code.BODY_MALFORMED, "say which tool is dropped", hint="to stop them all, suspend it")
    if not now_us < restriction.until_us <= now_us + _MAX_TIME_US:
        raise InvalidInputError(Code.BODY_MALFORMED, "a restriction ends later than now and within 90 days")
    if not restriction.cause.strip() or len(restriction.cause) > _MAX_CAUSE:
        raise InvalidInputError(Code.BODY_MALFORMED, f"a restriction has a cause of at most {_MAX_CAUSE} characters")


def _covers(one: Restriction, other: Restriction) -> bool:
    same = (one.kind, one.tool, one.calls_per_minute, one.role)
    if same != (other.kind, other.tool, other.calls_per_minute, other.role) or one.until_us < other.until_us:
        return False
    # one that could end sooner does not do for one that cannot
    return one.alert in {None, other.alert} and (other.until_approved or not one.until_approved)


def restriction_lifted(view: StateView, restriction_id: str, actor: Actor, *, reason: str) -> Change:
    """End a restriction before its time.

    Raises:
        NotFoundError: no such restriction; it may be over.
        ConflictError: the version was approved under it.
    """
    row = view.get(rows.RESTRICTION, restriction_id)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no restriction `{restriction_id[:80]}`")
    restriction = rows.restriction_from(row.key, row.doc)
    if restriction.approval is not None:
        raise ConflictError(
            Code.CONFLICT, f"the version was approved under it, by request `{restriction.approval}`",
            hint="a version that is approved without it ends it",
        )  # fmt: skip
    parts = (Part("text", {"reason": reason[:_MAX_NOTE]}),) if reason else ()
    return Change(
        Facts("restriction.lifted", agent=restriction.agent, tool=restriction.tool),
        (Write(rows.RESTRICTION, restriction.id, None),),
        actor,
        {"kind": restriction.kind.value, "restriction": restriction.id},
        parts,
    )
