"""Hints about agents: a score just under a tier, a purpose that does not fit, data that was seen once."""

from __future__ import annotations

import pytest

from accredit.kernel.ids import ToolId
from accredit.lifecycle.discovery.suspecting import just_under, seen_once, unlike_its_purpose
from accredit.registry.model import Tier
from accredit.registry.observation import ObservedUse, SeenClass, UsedTool

READ, WRITE = ToolId("crm/read"), ToolId("crm/write")


def use(reads: int, writes: int, level: int = 3) -> ObservedUse:
    return ObservedUse(
        30,
        tools=(
            UsedTool("v", READ, 1, reads, reads, 0, (1,)),
            UsedTool("v", WRITE, level, writes, writes, 0, (2, 3)),
        ),
    )


@pytest.mark.requirement("observed:hints")
@pytest.mark.parametrize(
    ("purpose", "reads", "writes", "level", "found"),
    [
        ("Answer questions about orders", 5, 5, 3, True),
        ("Beantwortet Fragen zu Bestellungen", 0, 10, 4, True),
        ("Answer questions about orders", 5, 5, 2, False),
        ("Answer questions about orders", 6, 5, 3, False),
        ("Answer questions about orders", 0, 9, 3, False),
        ("Answer questions and update orders", 0, 99, 3, False),
        ("Read mail and order what is asked for", 0, 99, 3, False),
        ("Orders", 0, 99, 3, False),
    ],
)
def test_a_purpose_that_speaks_of_reading_does_not_fit_an_agent_that_mostly_acts(
    purpose: str, reads: int, writes: int, level: int, found: bool  # noqa: FBT001 - cases
) -> None:  # fmt: skip
    assert (unlike_its_purpose(purpose, use(reads, writes, level)) is not None) is found


@pytest.mark.requirement("observed:hints")
@pytest.mark.parametrize(
    ("newest", "before", "threshold"),
    [
        ((34, Tier.LOW), (36, Tier.MEDIUM), 35),
        ((30, Tier.LOW), (90, Tier.HIGH), 35),
        ((59, Tier.MEDIUM), (60, Tier.HIGH), 60),
        ((29, Tier.LOW), (36, Tier.MEDIUM), None),
        ((34, Tier.LOW), (34, Tier.LOW), None),
        ((34, Tier.MEDIUM), (36, Tier.MEDIUM), None),
        ((60, Tier.HIGH), (61, Tier.HIGH), None),
        ((55, Tier.HIGH), (60, Tier.HIGH), None),
    ],
)
def test_a_declaration_that_brings_a_score_to_just_under_a_tier_is_told_of(
    newest: tuple[int, Tier], before: tuple[int, Tier], threshold: int | None
) -> None:
    found = just_under([newest, before])
    assert (found["threshold"] if found else None) == threshold
    assert just_under([newest]) is None


@pytest.mark.requirement("observed:triage")
def test_what_was_seen_once_is_told_of_unless_it_is_declared_or_counts() -> None:
    once = SeenClass("financial", 2, 1, (("v", READ),), (7, 8))
    counts = SeenClass("personal", 3, 1, (("v", READ),), (9,))
    found = seen_once(ObservedUse(30, data=(once, counts)), ["internal"])
    assert found == {"classes": ["financial"], "records": [7, 8], "tools": [READ]}
    assert seen_once(ObservedUse(30, data=(once, counts)), ["financial"]) is None
