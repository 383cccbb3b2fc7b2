"""The built-in detector, as whoever plugs it in sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.errors import InvalidInputError
from accredit.monitoring.drift.detector import BehaviourDetector
from accredit.monitoring.profiles.model import CallOutcome, Feature, ProfiledCall, ProfiledValue, SessionProfile
from tests.monitoring.drift.sessions import life

_KB = 1024


def _fitted(seed: int, sessions: int = 60) -> tuple[BehaviourDetector, list[SessionProfile]]:
    """A detector, and 120 more sessions of the same life."""
    all_ = list(islice(life(seed), sessions + 120))
    detector = BehaviourDetector()
    detector.fit(all_[:sessions])
    return detector, all_[sessions:]


def _alarm(detector: BehaviourDetector, sessions: list[SessionProfile]) -> int | None:
    """After how many it alarms."""
    for number, one in enumerate(sessions, 1):
        if detector.update(one).stat >= detector.threshold:
            return number
    return None


@pytest.mark.requirement("monitoring:drift:false-alarms")
@pytest.mark.parametrize("baseline", [0, 1, 2, 5, 20, 60])
def test_agents_that_go_on_as_they_were_raise_at_most_one_alarm_in_200_sessions(baseline: int) -> None:
    alarms = sessions = 0
    for seed in range(20):
        detector, rest = _fitted(seed, baseline)
        after = _alarm(detector, rest)
        alarms, sessions = alarms + (after is not None), sessions + (after or len(rest))
    assert alarms / sessions <= 1 / 200


def _tool_more(one: SessionProfile) -> SessionProfile:
    return replace(one, calls=(*one.calls, ProfiledCall("web/fetch", CallOutcome.OK, (ProfiledValue("url", "url:x"),))))


def _new_receiver(one: SessionProfile) -> SessionProfile:
    values = (ProfiledValue("to", "mail:elsewhere"),)
    return replace(one, calls=tuple(replace(call, values=values) for call in one.calls))


def _failing(one: SessionProfile) -> SessionProfile:
    errors = 0.6 if len(one.calls) > 1 else one.features["errors"]
    return replace(one, features={**one.features, Feature.ERRORS.value: errors})


def _dearer(one: SessionProfile) -> SessionProfile:
    return replace(one, features={**one.features, Feature.TOKENS.value: one.features["tokens"] * 1.6})


def _by_night(one: SessionProfile) -> SessionProfile:
    return replace(one, features={**one.features, Feature.HOUR.value: 2.5})


@pytest.mark.requirement("monitoring:drift:found")
@pytest.mark.parametrize(
    ("change", "view"),
    [
        (_tool_more, "new"),
        (_new_receiver, "values"),
        (_failing, "errors"),
        (_dearer, "tokens"),
        (_by_night, "hour"),
    ],
)
def test_a_change_is_found_dated_and_named_by_the_view_that_moved(
    change: Callable[[SessionProfile], SessionProfile], view: str
) -> None:
    detector, rest = _fitted(7)
    for one in rest[:30]:
        before = detector.update(one)
    assert before.stat < detector.threshold
    readings = [detector.update(change(one)) for one in rest[30:60]]
    number = next(at for at, reading in enumerate(readings) if reading.stat >= detector.threshold)
    assert readings[number].views[0].view.startswith(view)
    assert readings[number].since is not None
    assert abs((readings[number].since or 0) - number) <= 8


@pytest.mark.requirement("monitoring:drift:creeping")
def test_what_creeps_is_found_because_the_beginning_is_never_forgotten() -> None:
    # half a percent a session: no window of some sessions tells it from the one before
    sessions = list(
        islice(
            life(3, changed=lambda number: {Feature.COST.value: 1.005 ** max(number - 60, 0) + number % 7 / 10}), 460
        )
    )
    detector = BehaviourDetector()
    detector.fit(sessions[:60])
    assert _alarm(detector, sessions[60:]) is not None


@pytest.mark.requirement("monitoring:drift:bad-input")
def test_a_baseline_without_variance_raises_nothing_while_nothing_varies_and_finds_what_does() -> None:
    (one,) = islice(life(1), 1)
    detector = BehaviourDetector()
    detector.fit([one] * 40)
    assert _alarm(detector, [one] * 500) is None
    assert _alarm(detector, [_dearer(one)] * 30) is not None
    detector.fit([one] * 60)  # and what was never otherwise is so from the first session on
    assert _alarm(detector, [_dearer(one)] * 60) is not None


@pytest.mark.requirement("monitoring:drift:bad-input")
def test_numbers_that_are_not_there_or_wild_are_survived() -> None:
    detector, rest = _fitted(2)
    for one in rest[:20]:
        assert np.isfinite(detector.update(replace(one, features={})).stat)
        wild = {**one.features, Feature.TOKENS.value: 1e300, "score:unheard": -5.0}
        assert np.isfinite(detector.update(replace(one, features=wild)).stat)
        assert np.isfinite(detector.update(replace(one, calls=())).stat)


@pytest.mark.requirement("monitoring:drift:restored")
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 5), st.integers(0, 60))
def test_stopped_anywhere_it_goes_on_as_if_it_had_not(seed: int, stopped: int) -> None:
    whole, rest = _fitted(seed, 30)
    half, _ = _fitted(seed, 30)
    for one in rest[:stopped]:
        half.update(one)
        whole.update(one)
    again = BehaviourDetector()
    again.restore(half.state())
    for one in rest[stopped : stopped + 30]:
        assert again.update(one) == whole.update(one)
    assert again.state() == whole.state()


@pytest.mark.requirement("monitoring:drift:bounded")
def test_a_state_is_small_however_varied_the_baseline_and_long_the_life() -> None:
    varied = [
        replace(
            one,
            calls=tuple(
                ProfiledCall(
                    f"s/t{number % 40}", CallOutcome.OK, (ProfiledValue("q", f"mail:{number * 97 + at:08x}"),) * 4
                )
                for at in range(30)
            ),
        )
        for number, one in enumerate(islice(life(0), 60))
    ]
    detector = BehaviourDetector()
    detector.fit(varied)
    for _ in range(12):
        for one in varied:
            detector.update(one)
    assert len(detector.state()) <= 20 * _KB


@pytest.mark.requirement("monitoring:drift:restored")
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_no_state_is_refused(data: st.DataObject) -> None:
    detector, rest = _fitted(1, 10)
    detector.update(rest[0])
    state = detector.state()
    cut = data.draw(st.integers(0, len(state) - 1))
    with pytest.raises(InvalidInputError):
        BehaviourDetector().restore(state[:cut])
    with pytest.raises(InvalidInputError):
        BehaviourDetector().restore(bytes([0, 9]) + state[2:])
