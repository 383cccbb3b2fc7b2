"""What becomes of an agent for which nobody answers in time. Pure.

INVARIANT: silence never keeps anything: it is extended once where little can go wrong, and narrows or stops after.
"""

from __future__ import annotations

from enum import StrEnum

from accredit.registry.model import Tier

__all__ = ["SilenceStep", "silence"]


class SilenceStep(StrEnum):
    """What is due."""

    NOTHING = "nothing"
    REMIND = "remind"
    """People are told that it waits, once four fifths of the time are over."""
    EXTEND = "extend"
    TELL = "tell"
    """People are told that it is overdue and what comes next."""
    REDUCE = "reduce"
    """What it does not use is taken away."""
    SUSPEND = "suspend"


def silence(
    tier: Tier | None, *, due_us: int, respond_us: int, grace_us: int, extended: bool, told: int, now_us: int
) -> SilenceStep:
    """What is due now of a review that waits. An agent of which nobody knows the tier counts as high."""
    if now_us < due_us:
        late = now_us >= due_us - respond_us // 5
        return SilenceStep.REMIND if late and told < 1 else SilenceStep.NOTHING
    match tier:
        case Tier.LOW:
            return SilenceStep.REDUCE if extended else SilenceStep.EXTEND
        case Tier.MEDIUM:
            return SilenceStep.REDUCE
        case Tier.HIGH | None:
            if now_us >= due_us + grace_us:
                return SilenceStep.SUSPEND
            return SilenceStep.NOTHING if told >= 2 else SilenceStep.TELL
