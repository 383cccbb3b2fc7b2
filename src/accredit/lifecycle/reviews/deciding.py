"""What counts as an answer to a card: the one place where decisions of reviews are judged. Pure.

Whoever keeps something that can do harm keeps it alone: in one breath with anything else it is refused here, whichever
way it came. What stands out of reach already is not asked again, and what was taken away is not given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.kernel.ids import PersonId, ToolId
from accredit.lifecycle.reviews.cards import PermissionItem, WhyAlone
from accredit.lifecycle.reviews.model import ROUTINE, ItemDecision, ItemVerdict
from accredit.lifecycle.reviews.own_words import check_own_words

__all__ = ["AskedDecision", "Shown", "decided", "standing", "undecided"]

_MOST: Final = 500
_REASON_WORDS: Final = 3


@dataclass(frozen=True, slots=True)
class AskedDecision:
    """What somebody says of a permission, as it came."""

    tool: ToolId
    verdict: ItemVerdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What is before whoever decides, and since when."""

    digest: Digest
    version: Digest
    look: int
    items: tuple[PermissionItem, ...]
    since_ms: int
    """How long they have had it."""


def decided(
    asked: Sequence[AskedDecision], shown: Shown, by: PersonId, view: str, *, now_us: int, purpose: str = ""
) -> tuple[ItemDecision, ...]:
    """The decisions as they are put on record.

    Raises:
        ConflictError: what was looked at is not what is so now, or it is out of reach already.
        NotFoundError: there is no such permission on the card.
        InvalidInputError: `bulk_refused`, `own_words_required`, or it says nothing, too much, or twice.
    """
    if view != shown.digest:
        raise ConflictError(
            Code.CONFLICT, "the card says something else now, or somebody decided meanwhile", hint="look at it again"
        )
    if not 1 <= len(asked) <= _MOST or len({one.tool for one in asked}) < len(asked):
        raise InvalidInputError(Code.BODY_MALFORMED, f"decide on 1 to {_MOST} permissions, each once")
    items = {one.tool: one for one in shown.items}
    kept = [one for one in asked if one.verdict is not ItemVerdict.REMOVE]
    for one in asked:
        _check(one, items, purpose)
    # INVARIANT: nothing of high effect is kept together with anything else
    if len(kept) > 1 and any(WhyAlone.HIGH_EFFECT in items[one.tool].why_alone for one in kept if one.tool in items):
        raise InvalidInputError(
            Code.BULK_REFUSED, "what can do harm is kept one by one", hint="decide on each of them by itself"
        )
    each_ms = shown.since_ms // len(asked)
    routine = tuple(one.tool for one in shown.items if one.routine and not one.dropped)
    return tuple(
        ItemDecision(
            tool=one.tool,
            verdict=one.verdict,
            by=by,
            at_us=now_us,
            view_ms=each_ms,
            bulk=len(kept) > 1 and one in kept,
            look=shown.look,
            version=shown.version,
            reason=one.reason.strip(),
            covers=routine if one.tool == ROUTINE else (),
        )
        for one in asked
    )


def _check(one: AskedDecision, items: dict[ToolId, PermissionItem], purpose: str) -> None:
    item = items.get(one.tool)
    if one.tool == ROUTINE:
        if one.verdict is not ItemVerdict.KEEP:
            raise InvalidInputError(
                Code.BODY_MALFORMED, "the routine line is kept, or its permissions are decided on one by one"
            )
        return
    if item is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no permission `{one.tool[:200]}` on this card")
    if item.dropped:
        raise ConflictError(Code.CONFLICT, f"`{one.tool[:200]}` is out of reach already")
    against = item.suggestion is not None and item.suggestion.verdict is ItemVerdict.REMOVE
    if against and one.verdict is not ItemVerdict.REMOVE and item.suggestion is not None:
        check_own_words(one.reason, (item.suggestion.reason, purpose), fewest_words=_REASON_WORDS)
    elif one.reason.strip():
        check_own_words(one.reason, (), fewest_words=1)


def standing(decisions: Iterable[ItemDecision], look: int, version: Digest) -> dict[ToolId, ItemDecision]:
    """The newest decision on each permission in a look, of this version; the routine line under its own name."""
    return {one.tool: one for one in decisions if one.look == look and one.version == version}


def undecided(
    items: Iterable[PermissionItem],
    decisions: Iterable[ItemDecision],
    *,
    look: int,
    version: Digest,
    counts: Callable[[PersonId], bool],
) -> tuple[ToolId, ...]:
    """What still waits for somebody; decisions of people who do not count (any more) are none."""
    said = standing([one for one in decisions if counts(one.by)], look, version)
    line = said.get(ROUTINE)
    waiting: list[ToolId] = []
    for item in items:
        if item.dropped or item.tool in said:
            continue
        if not item.routine:
            waiting.append(item.tool)
        elif line is None or item.tool not in line.covers:
            waiting.append(ROUTINE)
    return tuple(dict.fromkeys(waiting))
