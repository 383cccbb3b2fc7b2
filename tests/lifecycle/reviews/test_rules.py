"""The rules of reviews apart from any room: when, who, in whose words, how carefully, and who is missing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId, PersonId, ToolId
from accredit.lifecycle.reviews.carefulness import carefulness, careless
from accredit.lifecycle.reviews.model import ROUTINE, ItemDecision, ItemVerdict, Seed
from accredit.lifecycle.reviews.own_words import check_own_words, copied
from accredit.lifecycle.reviews.recurrence import due_us
from accredit.lifecycle.reviews.silence import SilenceStep, silence
from accredit.registry.errors import ManifestError
from accredit.registry.manifest import read_manifests
from accredit.registry.model import Tier

_DAY_US = 86_400_000_000
_AGENT = AgentId("agt_1")


def _us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.requirement("reviews:schedule")
@pytest.mark.parametrize(
    ("last", "months", "day", "due"),
    [
        ("2026-11-23T10:00:00", 3, 1, "2027-02-01"),
        ("2026-11-30T23:59:59", 3, 28, "2027-02-28"),
        ("2026-01-31T10:00:00", 1, 28, "2026-02-28"),
        ("2026-12-15T10:00:00", 12, 15, "2027-12-15"),
        ("2023-11-30T10:00:00", 3, 28, "2024-02-28"),
        ("2026-03-28T00:30:00", 12, 1, "2027-03-01"),
    ],
)
def test_a_review_is_due_on_a_day_of_the_month_in_utc(last: str, months: int, day: int, due: str) -> None:
    assert due_us(_us(last), months, day) == _us(f"{due}T00:00:00")


@pytest.mark.requirement("reviews:schedule")
@given(st.integers(0, 20_000 * _DAY_US), st.integers(1, 12), st.integers(1, 28))
def test_it_is_always_later_than_the_last_and_within_a_month_of_what_is_asked(last: int, months: int, day: int) -> None:
    due = due_us(last, months, day)
    assert due > last
    assert due - last <= (months * 31 + 28) * _DAY_US


@pytest.mark.requirement("reviews:silence")
@given(
    tier=st.sampled_from([*Tier, None]), due=st.integers(0, 100), respond=st.integers(5, 50),
    grace=st.integers(0, 50), extended=st.booleans(), told=st.integers(0, 2), now=st.integers(0, 200),
)  # fmt: skip
def test_nothing_is_due_before_its_time_and_something_always_after_it(
    *, tier: Tier | None, due: int, respond: int, grace: int, extended: bool, told: int, now: int
) -> None:
    step = silence(tier, due_us=due, respond_us=respond, grace_us=grace, extended=extended, told=told, now_us=now)
    if now < due:
        assert step in {SilenceStep.NOTHING, SilenceStep.REMIND}, "nothing is taken away before its time"
        assert (step is SilenceStep.REMIND) is (now >= due - respond // 5 and told == 0)
    elif tier is Tier.LOW:
        assert step is (SilenceStep.REDUCE if extended else SilenceStep.EXTEND)
    elif tier is Tier.MEDIUM:
        assert step is SilenceStep.REDUCE
    else:
        assert (step is SilenceStep.SUSPEND) is (now >= due + grace)
        assert told == 2 or step is not SilenceStep.NOTHING


_BEFORE = "We still close forty tickets a day with it, mostly from the Lisbon desk"


@pytest.mark.requirement("reviews:words")
@pytest.mark.parametrize(
    "text",
    [
        _BEFORE,
        _BEFORE.upper(),
        _BEFORE + ".",
        "  " + _BEFORE.replace(" ", "   ") + "\n",
        _BEFORE + " still",
        "Yes: " + _BEFORE,
        " ".join(sorted(_BEFORE.split())),
        _BEFORE.replace("a", "\u0430").replace("o", "\u03bf"),
        _BEFORE.replace("e", "e\u0301"),
        _BEFORE.replace("Lisbon", "Porto"),
    ],
)
def test_a_copy_is_a_copy_however_it_is_dressed(text: str) -> None:
    assert copied(text, _BEFORE)
    with pytest.raises(InvalidInputError) as told:
        check_own_words(text, (_BEFORE,), fewest_words=5)
    assert told.value.code is Code.OWN_WORDS_REQUIRED


@pytest.mark.requirement("reviews:words")
@pytest.mark.parametrize("text", ["", "yes", "yes yes yes yes yes yes", "a\u200bb c d e f g", "x " * 1_500])
def test_what_says_nothing_hides_something_or_is_too_long_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        check_own_words(text, (), fewest_words=5)


@pytest.mark.requirement("reviews:words")
@pytest.mark.parametrize(
    "text",
    [
        "The desk moved to Porto; there it answers what comes in by mail at night",
        "\u5ba2\u6237\u652f\u6301\u56e2\u961f\u6bcf\u5929\u7528\u5b83\u67e5\u8be2\u8ba2\u5355",
        "Die Buchhaltung gleicht damit jeden Abend die Eing\u00e4nge ab",
    ],
)
def test_own_words_of_any_language_are_taken(text: str) -> None:
    assert check_own_words(f" {text} ", (_BEFORE, "Count tickets"), fewest_words=5) == text


def _said(
    tool: str, verdict: str = "keep", *, by: str = "sam", view_ms: int = 9_000, bulk: bool = False
) -> tuple[AgentId, ItemDecision]:
    return _AGENT, ItemDecision(
        ToolId(tool), ItemVerdict(verdict), PersonId(by), 1, view_ms, bulk, 1, Digest("sha256:1")
    )


@pytest.mark.requirement("reviews:careful")
def test_haste_bulk_and_a_seeded_permission_that_is_kept_are_told() -> None:
    seeds = (Seed(_AGENT, ToolId("crm/never"), 1),)
    careful = [_said("crm/a"), _said("crm/b", "remove"), _said("crm/never", "remove")]
    assert carefulness(careful, seeds).flags == ()
    assert carefulness(careful, ()).seeded == 0
    assert carefulness([], seeds).flags == (), "where nobody decided nobody stamped"
    (missed,) = carefulness([*careful[:2], _said("crm/never")], seeds).flags
    assert "never granted" in missed
    assert carefulness([*careful[:2], _said("crm/never"), _said("crm/never", "remove")], seeds).flags == ()
    (hasty,) = carefulness([_said("crm/a", view_ms=3_999)], ()).flags
    assert "faster" in hasty
    assert carefulness([_said("crm/a", view_ms=4_000)], ()).flags == ()
    half = [_said("crm/a", bulk=True), _said("crm/b")]
    assert carefulness(half, ()).flags == ()
    assert carefulness([*half, _said("crm/c", bulk=True)], ()).flags == ("most was kept in bulk",)
    line = [_said(ROUTINE, bulk=False) for _ in range(9)]
    assert carefulness([*line, *half, _said("crm/c", bulk=True)], ()).bulk_percent == 66, "the line hides nothing"


@pytest.mark.requirement("reviews:careful")
def test_one_careless_person_among_careful_ones_is_told_by_name() -> None:
    told = [*(_said(f"crm/{at}") for at in range(9)), _said("crm/x", by="hasty", view_ms=100)]
    assert carefulness(told, ()).flags == ()
    assert careless(told, ()) == {"hasty"}


@pytest.mark.requirement("reviews:schedule")
def test_the_documented_schedule_is_one_and_nothing_looser_than_what_is_built_in_is() -> None:
    text = (Path(__file__).parents[3] / "docs/reviews.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (document,) = read_manifests(example.encode())
    assert document.kind == "ReviewSchedule"
    for before, after in (
        ("high: 1", "high: 4"),
        ("medium: 3", "medium: 7"),
        ("low: 12", "low: 13"),
        ("respondDays: 14", "respondDays: 31"),
        ("graceDays: 7", "graceDays: 15"),
        ("day: 15", "day: 29"),
        ("everyMonths: 12", "everyMonths: 13"),
        ("teams: [finance]", "teams: []"),
        ("every:", "often:"),
    ):
        assert before in example
        with pytest.raises(ManifestError):
            read_manifests(example.replace(before, after).encode())
