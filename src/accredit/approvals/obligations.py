"""What an approval may be given under: which obligations there are, and what they come to together. Pure.

An obligation only narrows. Several of them hold at once: of two that say the same of a tool, the stricter. They come
into force with the version, as restrictions that nobody lifts: only a version that is approved anew ends them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from accredit.approvals.model import ApprovalRequest, Obligation
from accredit.kernel.canonical import digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import APPROVER_ROLES, Restriction, RestrictionKind

__all__ = ["check_obligations", "restrictions_under", "together"]

_MOST: Final = 20
_MAX_RATE: Final = 100_000
_MAX_DAYS: Final = 90
_DAY_US: Final = 86_400_000_000
_OPEN_END_US: Final = 4_102_444_800_000_000
"""2100-01-01: an obligation without days ends by a newer approval, not by time."""

_Kind = RestrictionKind
_NEEDS: Final = {
    _Kind.THROTTLE: ("calls_per_minute",),
    _Kind.DAILY_COST: ("cost_per_day",),
    _Kind.HOLD: ("role",),
    _Kind.CANARY: ("share_percent",),
}
_VALUES: Final = ("calls_per_minute", "cost_per_day", "role", "share_percent")


def check_obligations(fresh: Collection[Obligation], known: Collection[Obligation], tools: Collection[ToolId]) -> None:
    """Whether obligations can be taken on beside those there are, for a version that is granted `tools`.

    Raises:
        InvalidInputError: one says too little, too much, or what cannot be kept to.
    """
    if len(fresh) + len(known) > _MOST:
        raise _wrong(f"a request has at most {_MOST} obligations")
    for one in fresh:
        needs = _NEEDS.get(one.kind, ())
        given = [name for name in _VALUES if getattr(one, name) is not None]
        if sorted(given) != sorted(needs):
            raise _wrong(f"`{one.kind}` takes {', '.join(needs) or 'no value'} and nothing else")
        if one.kind is _Kind.RIGHT:
            raise _wrong("`right` follows from what a directory says")
        if one.tool is not None and one.tool not in tools:
            raise _wrong(f"the version is not granted `{one.tool[:80]}`")
        if one.kind in {_Kind.CANARY, _Kind.DAILY_COST} and one.tool is not None:
            raise _wrong(f"`{one.kind}` is for all tools together")
        if one.kind is _Kind.DROP_TOOL and one.tool is None:
            raise _wrong("say which tool is dropped")
        if one.calls_per_minute is not None and not 1 <= one.calls_per_minute <= _MAX_RATE:
            raise _wrong(f"a rate is 1 to {_MAX_RATE} calls a minute")
        if one.role is not None and one.role not in APPROVER_ROLES:
            raise _wrong("a hold names a role that approves")
        if one.share_percent is not None and not 1 <= one.share_percent <= 99:
            raise _wrong("a share is 1 to 99 of a hundred sessions")
        if one.days is not None and (one.kind is not _Kind.CANARY or not 1 <= one.days <= _MAX_DAYS):
            raise _wrong(f"a canary alone ends by itself, after 1 to {_MAX_DAYS} days")
    if len({one.cost_per_day.currency for one in (*known, *fresh) if one.cost_per_day is not None}) > 1:
        raise _wrong("daily costs are capped in one currency")


def together(obligations: Iterable[Obligation]) -> tuple[Obligation, ...]:
    """What some obligations come to: the stricter of those that say the same of the same, all others beside it."""
    found: dict[tuple[object, ...], Obligation] = {}
    for one in obligations:
        key = (one.kind, one.tool, one.role)
        found[key] = one if (other := found.get(key)) is None else _stricter(one, other)
    return tuple(found.values())


def _stricter(one: Obligation, other: Obligation) -> Obligation:
    """Of two of one kind about the same; of canaries the smaller share, for the longer time of both."""
    if one.kind is _Kind.CANARY:
        days = None if None in {one.days, other.days} else max(one.days or 0, other.days or 0)
        least = min(one, other, key=lambda each: each.share_percent or 0)
        return Obligation(least.kind, least.by, least.as_role, share_percent=least.share_percent, days=days)
    return min(
        one, other, key=lambda each: (each.calls_per_minute or 0, each.cost_per_day.nanos if each.cost_per_day else 0)
    )


def restrictions_under(request: ApprovalRequest, agent: AgentId, now_us: int) -> tuple[Restriction, ...]:
    """What comes into force with a version that was approved under obligations, at the moment it does."""
    return tuple(
        Restriction(
            id="rst_" + digest_value("obligation", {"at": at, "nonce": request.nonce}).removeprefix("sha256:")[:32],
            agent=agent,
            kind=one.kind,
            tool=one.tool,
            cause=f"approved under it by request {request.id}",
            opened_us=now_us,
            until_us=_OPEN_END_US if one.days is None else now_us + one.days * _DAY_US,
            calls_per_minute=one.calls_per_minute,
            role=one.role,
            until_approved=True,
            approval=request.id,
            cost_per_day=one.cost_per_day,
            share_percent=one.share_percent,
        )
        for at, one in enumerate(together(request.obligations))
    )


def _wrong(why: str) -> InvalidInputError:
    return InvalidInputError(Code.BODY_MALFORMED, f"an obligation cannot be kept to: {why}")
