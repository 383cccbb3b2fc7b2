"""What a purge does with one item of a store. Pure.

INVARIANT: an item is deleted only if somebody can say that it is the agent's, no legal hold keeps it, it was there when
the purge was planned, and, where knowledge is shared, a person decided on exactly what it says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from accredit.lifecycle.stored import Disposition, Item, PurgeCounts, ReviewVerdict, Selector
from accredit.registry.model import Environment, Tier

__all__ = ["KNOWLEDGE", "MOST_ALONE", "disposition", "takes_others"]

KNOWLEDGE: Final = "knowledge"
MOST_ALONE: Final = 1_000
"""Items that one person may purge of an agent of low or medium tier."""


def disposition(
    item: Item,
    selector: Selector,
    *,
    held: Callable[[str | None], str | None],
    reviewed: Callable[[Item], ReviewVerdict | None],
    contested: bool = False,
) -> tuple[Disposition, str | None]:
    """What becomes of an item, and the legal hold that keeps it, if one does.

    `held` names the hold on an item about a subject (None: about nobody named); `reviewed` what a person decided on
    exactly this item. With `contested` another agent that runs keeps things there under the same name, or in the same
    namespace that is nobody's alone: only what bears the agent's id is known to be its own. Holds come before
    everything but other agents' property, reviews before deletion.
    """
    if selector.shared:
        owner = item.fields.get(selector.owner_field) if selector.owner_field is not None else None
        if not owner:
            return Disposition.UNKNOWN_OWNER, None
        if owner not in {selector.agent, selector.agent_name}:
            return Disposition.OTHERS, None
        if contested and owner != selector.agent:
            return Disposition.UNKNOWN_OWNER, None
    elif contested:
        return Disposition.UNKNOWN_OWNER, None
    subject = item.fields.get(selector.subject_field) if selector.subject_field is not None else None
    if (hold := held(subject)) is not None:
        return Disposition.HELD, hold
    if item.created_us is not None and item.created_us > selector.until_us:
        return Disposition.LATER, None
    if selector.shared and selector.kind == KNOWLEDGE:
        match reviewed(item):
            case ReviewVerdict.DELETE:
                return Disposition.DELETE, None
            case ReviewVerdict.KEEP | ReviewVerdict.REASSIGN:
                return Disposition.KEPT, None
            case None:
                return Disposition.UNREVIEWED, None
    return Disposition.DELETE, None


def takes_others(counts: PurgeCounts, environment: Environment, tier: Tier | None) -> bool:
    """Whether a purge takes the sign-off of others. An agent without a tier counts as one of the highest."""
    if environment is Environment.DEVELOPMENT or not counts[Disposition.DELETE]:
        return False
    return counts[Disposition.DELETE] > MOST_ALONE or tier in {Tier.HIGH, None}
