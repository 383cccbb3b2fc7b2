"""What stands by itself on a card, what is suggested, and that nothing of weight is ever hidden in the routine line."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.model import ToolDays
from accredit.kernel.canonical import Digest
from accredit.kernel.errors import ConflictError, InvalidInputError
from accredit.kernel.ids import PersonId, SeededIds, ServerName, ToolId
from accredit.lifecycle.reviews.cards import (
    RECENT_DAYS,
    PermissionFacts,
    PermissionItem,
    WhyAlone,
    high_effect,
    permission_items,
)
from accredit.lifecycle.reviews.deciding import AskedDecision, Shown, decided, undecided
from accredit.lifecycle.reviews.model import ROUTINE, ItemDecision, ItemVerdict
from accredit.monitoring.model import ToolHistory
from accredit.monitoring.usage import tool_histories
from accredit.registry.model import Effect, Tool, WriteScope

_DAY_US: Final = 86_400_000_000
_NOW_US: Final = 1_795_428_000_000_000
_TODAY: Final = _NOW_US // _DAY_US
_OWN: Final = "they call it when the yearly audit asks"
_VERSION: Final = Digest("sha256:" + "1" * 64)


def _tool(name: str, effect: Effect = Effect.READ, *data: str, scope: WriteScope | None = None) -> Tool:
    return Tool(
        ToolId(f"crm/{name}"), ServerName("crm"), name, effect, scope, frozenset(data), None, {}, Digest("sha256:0")
    )


def _facts(
    tool: Tool | None = None,
    *,
    granted: int = 400,
    idle: int | None = 1,
    period: int | None = None,
    allows: int = 5,
    denies: int = 0,
) -> PermissionFacts:
    """Granted and last used so many days ago."""
    last = None if idle is None else _TODAY - idle
    history = ToolHistory(last, last, period, allows, denies, 0)
    known = tool if tool is not None else _tool("read", Effect.READ, "internal")
    return PermissionFacts(known.id, known, _NOW_US - granted * _DAY_US, history)


def _item(facts: PermissionFacts) -> PermissionItem:
    (found,) = permission_items([facts], now_us=_NOW_US)
    return found


@pytest.mark.requirement("reviews:card:suggestion")
@pytest.mark.parametrize(
    ("facts", "suggested", "because"),
    [
        (_facts(), "keep", "it was used a day ago"),
        (_facts(idle=59), "keep", "it was used 59 days ago"),
        (_facts(idle=60), "remove", "it was not used for 60 days"),
        (_facts(idle=None, granted=60), "remove", "it was never used in 60 days"),
        (_facts(idle=None, granted=59), None, ""),
        (_facts(idle=100, granted=50), None, ""),  # by an earlier version
        (_facts(idle=100, period=91), "keep", "it is used about every 91 days"),
        (_facts(idle=182, period=91), "remove", "it was not used for 182 days"),
        (replace(_facts(idle=200), season_months=12), "keep", "its schedule says that it is used every 12 months"),
        (replace(_facts(idle=450, granted=900), season_months=12), "remove", "it was not used for 450 days"),
        (replace(_facts(idle=200), exception=True), "keep", "it is kept for emergencies: glass was broken for it"),
        (_facts(denies=10, allows=20), "fix-policy", "10 of 30 calls in 90 days were refused: a policy is in the way"),
        (_facts(denies=9, allows=1), "keep", "it was used a day ago"),
        (_facts(denies=10, allows=100), "keep", "it was used a day ago"),
        (_facts(denies=50, idle=70), "remove", "it was not used for 70 days"),
        (replace(_facts(), signals=("alert `reported-tool` is open",)), "investigate", "alert `reported-tool` is open"),
    ],
)
def test_what_is_suggested_follows_from_use_and_says_why(
    facts: PermissionFacts, suggested: str | None, because: str
) -> None:
    found = _item(facts)
    assert (found.suggestion and found.suggestion.verdict) == suggested
    assert (found.suggestion.reason if found.suggestion else "") == because


@pytest.mark.requirement("reviews:card:suggestion")
def test_a_pause_that_came_back_is_a_period_and_one_that_did_not_is_none() -> None:
    def period(*ago: int) -> int | None:
        used = tuple(_TODAY - day for day in sorted(ago, reverse=True))
        ((_, found),) = tool_histories([ToolDays("a", "t", used, 1, 0, 0)]).items()
        return found.period_days

    assert period(5) is None
    assert period(5, 95) is None, "one pause is no period"
    assert period(5, 95, 186) == 90
    assert period(5, 6, 7, 95, 96, 97, 186, 187, 188) == 88, "a season of several days"
    assert period(*range(70, 110), *range(150, 300)) == 1, "used daily, but for one long pause"
    assert list(tool_histories([ToolDays("a", "t", (), 0, 3, 0)]).values()) == [ToolHistory(None, None, None, 0, 3, 0)]


@pytest.mark.requirement("reviews:card:alone")
@pytest.mark.parametrize(
    ("facts", "alone"),
    [
        (_facts(), ()),
        (_facts(_tool("note", Effect.WRITE, "personal", scope=WriteScope.OWN)), ()),
        (_facts(_tool("save", Effect.WRITE, "internal", scope=WriteScope.RECORD)), (WhyAlone.HIGH_EFFECT,)),
        (_facts(_tool("send", Effect.EXTERNAL)), (WhyAlone.HIGH_EFFECT,)),
        (_facts(_tool("chart", Effect.READ, "phi")), (WhyAlone.HIGH_EFFECT,)),
        (_facts(_tool("own", Effect.READ, "an-organisation's-own-class")), (WhyAlone.HIGH_EFFECT,)),
        (_facts(idle=RECENT_DAYS, period=90), (WhyAlone.UNUSED,)),
        (_facts(idle=None, granted=3), (WhyAlone.UNUSED,)),
        (replace(_facts(), new=True), (WhyAlone.NEW,)),
        (replace(_facts(), changed=True), (WhyAlone.CHANGED,)),
        (replace(_facts(), exception=True), (WhyAlone.EXCEPTION,)),
        (_facts(replace(_tool("read"), allow_undeclared=True)), (WhyAlone.EXCEPTION,)),
        (_facts(denies=30), (WhyAlone.SUGGESTED,)),
        (replace(_facts(), known=None), (WhyAlone.HIGH_EFFECT, WhyAlone.UNREGISTERED)),
        (PermissionFacts(ToolId("crm/x"), _tool("x"), 0, None), (WhyAlone.UNUSED, WhyAlone.SUGGESTED)),
    ],
)
def test_what_stands_by_itself_and_why(facts: PermissionFacts, alone: tuple[WhyAlone, ...]) -> None:
    assert _item(facts).why_alone == alone


@pytest.mark.requirement("reviews:card:alone")
def test_what_is_riskiest_and_longest_unused_comes_first() -> None:
    grave = _facts(_tool("delete", Effect.IRREVERSIBLE, "personal"), idle=200)
    items = permission_items(
        [_facts(idle=1), _facts(_tool("old"), idle=90), _facts(_tool("send", Effect.EXTERNAL), idle=90), grave],
        now_us=_NOW_US,
    )
    assert [one.tool for one in items] == ["crm/delete", "crm/send", "crm/old", "crm/read"]


_TOOLS: Final = st.one_of(
    st.none(),
    st.builds(
        lambda name, effect, scope, data, undeclared: replace(
            _tool(name, effect, *data, scope=scope if effect is Effect.WRITE else None), allow_undeclared=undeclared
        ),
        st.text("abcdef", min_size=1, max_size=8),
        st.sampled_from(Effect),
        st.sampled_from((WriteScope.OWN, WriteScope.RECORD)),
        st.frozensets(st.sampled_from(("public", "internal", "confidential", "personal", "phi", "secret", "other"))),
        st.booleans(),
    ),
)
_HISTORIES: Final = st.one_of(
    st.none(),
    st.builds(
        ToolHistory,
        st.one_of(st.none(), st.integers(_TODAY - 400, _TODAY)),
        st.none(),
        st.one_of(st.none(), st.integers(1, 200)),
        st.integers(0, 50),
        st.integers(0, 50),
        st.just(0),
    ),
)
_FACTS: Final = st.builds(
    PermissionFacts,
    st.text("abcdef", min_size=1, max_size=8).map(lambda name: ToolId(f"crm/{name}")),
    _TOOLS,
    st.integers(_NOW_US - 900 * _DAY_US, _NOW_US),
    _HISTORIES,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(((), ("something was seen",))),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 12)),
)


@pytest.mark.requirement("reviews:card:alone")
@given(st.lists(_FACTS, max_size=12, unique_by=lambda one: one.tool))
def test_nothing_that_can_do_harm_is_unused_new_or_an_exception_is_ever_in_the_routine_line(
    facts: list[PermissionFacts],
) -> None:
    items = {one.tool: one for one in permission_items(facts, now_us=_NOW_US)}
    assert set(items) == {one.tool for one in facts}, "everything is on the card"
    for one in facts:
        used = one.history is not None and one.history.last_used_day is not None
        lately = used and _TODAY - (one.history.last_used_day or 0) < RECENT_DAYS  # type: ignore[union-attr] # used
        grave = high_effect(one.known) or one.known is None
        if grave or not lately or one.new or one.changed or one.exception or one.signals:
            assert not items[one.tool].routine, one
    line = ItemDecision(
        ROUTINE, ItemVerdict.KEEP, PersonId("psn_sam"), _NOW_US, 9_000, False, 1, _VERSION,
        covers=tuple(one.tool for one in items.values() if one.routine),
    )  # fmt: skip
    waits = undecided(items.values(), [line], look=1, version=_VERSION, counts=lambda _: True)
    assert set(waits) == {one.tool for one in items.values() if not one.routine and not one.dropped}
    assert all(one.tool not in waits for one in items.values() if one.routine)


@pytest.mark.requirement("reviews:card:share")
def test_of_fifty_agents_with_forty_permissions_at_most_fifteen_percent_are_decided_one_by_one() -> None:
    """The fleet that docs/reviews.md and bench/reviews.py describe: 5 % can do harm, 8 % were not used lately."""
    draw = SeededIds(20)
    individual = hidden = 0
    for _ in range(50):
        facts = [_drawn(draw, number) for number in range(40)]
        items = permission_items(facts, now_us=_NOW_US)
        individual += sum(not one.routine for one in items)
        grave = {one.tool for one in facts if high_effect(one.known)}
        hidden += sum(one.routine and one.tool in grave for one in items)
    assert hidden == 0
    assert individual / (50 * 40) <= 0.15
    assert individual > 100, "the fleet is no toy: there is something to decide on"


def _below(draw: SeededIds, bound: int) -> int:
    return int.from_bytes(draw.secret(4)) % bound


def _drawn(draw: SeededIds, number: int) -> PermissionFacts:
    if _below(draw, 100) < 5:
        effect = (Effect.WRITE, Effect.EXTERNAL, Effect.IRREVERSIBLE, Effect.ADMINISTER)[_below(draw, 4)]
        tool = _tool(f"t{number}", effect, "personal", scope=WriteScope.RECORD if effect is Effect.WRITE else None)
    elif _below(draw, 100) < 10:
        tool = _tool(f"t{number}", Effect.WRITE, "internal", scope=WriteScope.OWN)
    else:
        tool = _tool(f"t{number}", Effect.READ, ("internal", "confidential", "personal")[_below(draw, 3)])
    idle = 60 + _below(draw, 240) if _below(draw, 100) < 8 else _below(draw, 30)
    denies = 20 if _below(draw, 200) == 0 else 0
    made = _facts(tool, idle=idle, denies=denies)
    return replace(made, new=_below(draw, 100) == 0, changed=_below(draw, 200) == 0)


@pytest.mark.requirement("reviews:deciding")
@given(
    st.lists(_FACTS, min_size=1, max_size=8, unique_by=lambda one: one.tool),
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from(ItemVerdict), st.sampled_from(("", _OWN))), max_size=6),
)
def test_whatever_is_asked_nothing_that_can_do_harm_is_kept_together_with_anything_and_no_reason_is_missing(
    facts: list[PermissionFacts], said: list[tuple[int, ItemVerdict, str]]
) -> None:
    items = {one.tool: one for one in permission_items(facts, now_us=_NOW_US)}
    names = [*items, ROUTINE]
    asked = [AskedDecision(names[at % len(names)], verdict, reason) for at, verdict, reason in said]
    shown = Shown(_VERSION, _VERSION, 1, tuple(items.values()), 60_000)
    try:
        made = decided(asked, shown, PersonId("psn_sam"), _VERSION, now_us=_NOW_US)
    except (ConflictError, InvalidInputError):
        return
    assert [(one.tool, one.verdict) for one in made] == [(one.tool, one.verdict) for one in asked]
    kept = [one for one in made if one.verdict is not ItemVerdict.REMOVE]
    for one in kept:
        item = items.get(one.tool)
        assert item is None or WhyAlone.HIGH_EFFECT not in item.why_alone or len(kept) == 1
        against = item is not None and item.suggestion is not None and item.suggestion.verdict is ItemVerdict.REMOVE
        assert not against or one.reason == _OWN
        assert one.bulk is (len(kept) > 1)
    assert all(not items[one.tool].dropped for one in made if one.tool in items), "what is gone is not given back"
    assert sum(one.view_ms for one in made) <= 60_000
