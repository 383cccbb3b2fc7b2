"""Running detectors over finished sessions: once each, in order, whoever is killed, and whatever a detector does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.ids import AgentId
from accredit.monitoring.drift.builtin import ViewsKind
from accredit.monitoring.drift.detector import BehaviourDetector
from accredit.monitoring.drift.ports import Reading
from accredit.monitoring.drift.watching import DriftMatter, detector_matter
from accredit.monitoring.model import AlertKind, AlertState, RemediationKind, Severity
from accredit.monitoring.profiles.model import Feature, SessionProfile
from tests.monitoring.drift.running import Drift, Kind, Summing, profile
from tests.monitoring.drift.sessions import life
from tests.monitoring.watch import KilledError


@pytest.mark.requirement("drift:running:alarm")
def test_a_change_opens_one_alert_that_says_what_moved_and_since_when() -> None:
    drift = Drift()
    drift.sessions(4, 4, 5, 4)
    drift.round()
    assert drift.alerts() == []
    drift.sessions(12, 12, 12, 12)
    drift.round()
    (alert,) = drift.alerts()
    assert (alert.matter, alert.severity, alert.remediation) == (
        DriftMatter.SESSIONS,
        Severity.WARNING,
        RemediationKind.NONE,
    )
    told = alert.evidence
    assert (told["view"], told["since_session"], told["since_us"]) == (
        "calls",
        "ses_5",
        drift.shelf.kept[4].began_us,
    )
    assert told["words"] == ["calls per session: median 4 -> 12"]
    assert {side: one["median"] for side, one in told["numbers"]["calls"].items()} == {"baseline": "4", "since": "12"}
    assert float(told["seen"]) >= 20
    assert told["expected"] == "below 20"
    assert told["promise"] == "none, it is a test's"
    assert told["examples_before"] == ["ses_-3", "ses_-2", "ses_-1"]
    assert told["examples_after"][0] == "ses_5"


@pytest.mark.requirement("drift:running:alarm")
def test_while_an_alert_stands_there_is_no_second_and_after_it_is_resolved_comparison_begins_anew() -> None:
    drift = Drift()
    drift.sessions(*[12] * 6)
    drift.round()
    drift.sessions(*[12] * 6)
    drift.round()
    (first,) = drift.alerts()
    assert first.count == 1, "told of once, not at every session"
    drift.watch.resolve(first, "as it should be")
    drift.sessions(4, 4)
    drift.round()
    assert drift.stats() == (0.0, 0.0), "it began anew"
    assert [one.state for one in drift.alerts()] == [AlertState.RESOLVED]
    drift.sessions(*[12] * 4)
    drift.round()
    assert [one.state for one in drift.alerts()] == [AlertState.RESOLVED, AlertState.OPEN]


def test_sessions_that_ended_before_an_alert_was_resolved_open_no_other() -> None:
    drift = Drift()
    drift.sessions(*[12] * 6)
    drift.round()
    late = [profile(drift.watch.id, 90 + one, 12, at_us=drift.watch.clock.now().wall_us) for one in range(9)]
    drift.watch.clock.advance(60)
    drift.watch.resolve(drift.alerts()[0])
    drift.finish(*late)
    drift.round()
    assert len(drift.alerts()) == 1


@pytest.mark.requirement("drift:running:alarm")
def test_an_alarm_by_sessions_that_came_late_is_told_all_the_same() -> None:
    drift = Drift()
    drift.sessions(*[12] * 6)
    drift.round()
    late_us = drift.watch.clock.now().wall_us
    drift.watch.clock.advance(60)
    drift.watch.resolve(drift.alerts()[0])
    drift.sessions(4)
    drift.finish(*(profile(drift.watch.id, 90 + one, 12, at_us=late_us) for one in range(9)))
    drift.round()
    assert [one.state for one in drift.alerts()] == [AlertState.RESOLVED, AlertState.OPEN]


@pytest.mark.requirement("drift:running:killed")
@settings(max_examples=30, deadline=None)
@given(
    calls=st.lists(st.sampled_from([2, 4, 4, 9, 15]), min_size=1, max_size=40),
    cuts=st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["kill", "close", "resolve", "save"])), max_size=6),
)
def test_killed_anywhere_is_never_killed(calls: list[int], cuts: list[tuple[int, str]]) -> None:
    """The same sessions and the same acts of people, with and without processes that die."""

    def life(*, mortal: bool) -> tuple[tuple[float, ...], list[tuple[str, int, object]]]:
        drift = Drift()
        for at, one in enumerate(calls):
            drift.sessions(one)
            drift.round()
            for _, what in (cut for cut in cuts if cut[0] == at):
                drift.watch.clock.advance(1)
                standing = [alert for alert in drift.alerts() if alert.closed_us is None]
                if what == "resolve" and standing:
                    drift.watch.resolve(standing[0])
                elif what == "save":
                    drift.watch.clock.advance(31)
                    drift.round()
                elif mortal and what in {"kill", "close"}:
                    if what == "close":
                        drift.close()
                    drift.restart()
        drift.round()
        return drift.stats(), [(one.id, one.opened_us, one.closed_us) for one in drift.alerts()]

    assert life(mortal=True) == life(mortal=False)


@pytest.mark.requirement("drift:running:killed")
@pytest.mark.parametrize("write", range(1, 5))
def test_a_process_that_dies_while_it_keeps_states_loses_nothing(write: int) -> None:
    drift = Drift()
    others = _fleet(drift, 450)
    for _ in range(2):
        drift.finish(*(profile(agent, len(drift.shelf.kept) + at, 6) for at, agent in enumerate(others)))
    drift.finish(*(profile(agent, 10_000 + at, 5) for at in range(80) for agent in others[:1]))
    drift.in_memory = 1_000
    drift.restart()
    drift.round()
    before = {agent: drift.stats(agent) for agent in others}
    drift.shelf.dies_at = write
    drift.watch.clock.advance(60)
    with pytest.raises(KilledError):
        drift.round()
    drift.restart()
    drift.round()
    assert {agent: drift.stats(agent) for agent in others} == before
    assert set(before.values()) == {(1.0, 2.0), (2.0,) * 32}


@pytest.mark.requirement("drift:running:bad-input")
def test_a_replayed_session_changes_nothing_whatever_its_number() -> None:
    drift = Drift()
    drift.sessions(6, 7)
    drift.round()
    before = drift.stats()
    drift.finish(*[drift.shelf.kept[1]] * 50, replace(drift.shelf.kept[0], first=900, last=901))
    drift.round()
    assert drift.stats() == before
    assert drift.alerts() == []


@pytest.mark.requirement("drift:running:bad-input")
def test_times_that_go_back_and_a_month_of_silence_do_no_harm() -> None:
    drift = Drift()
    drift.sessions(5, 5)
    skewed = [profile(drift.watch.id, 70 + one, 5, at_us=1_000 - one, began_us=5_000) for one in range(3)]
    drift.finish(*skewed)
    drift.round()
    drift.watch.clock.advance(31 * 86_400)
    drift.round()
    drift.sessions(4)
    drift.round()
    assert len(drift.stats()) == 6
    assert drift.alerts() == drift.alerts(AlertKind.UNWATCHED) == []


@pytest.mark.requirement("drift:running:bad-input")
def test_agents_nobody_knows_do_no_harm() -> None:
    drift = Drift()
    drift.finish(*(profile(AgentId("agt_nobody"), one, 900) for one in range(6)))
    assert drift.round() == 6
    drift.close()
    assert drift.alerts() == []
    assert drift.stats() == ()
    assert set(drift.shelf.states_kept) <= {drift.watch.id}


@pytest.mark.requirement("drift:running:bad-input")
@pytest.mark.parametrize("sessions", [1, 2, 30])
def test_baselines_of_one_session_or_without_any_variance_flood_nobody(sessions: int) -> None:
    drift = Drift(Kind(BehaviourDetector, "views"), baseline=sessions)
    for _ in range(10):
        drift.sessions(*[4] * 10)
        drift.round()
    assert drift.alerts() == drift.alerts(AlertKind.UNWATCHED) == []


@pytest.mark.requirement("drift:running:alarm")
def test_the_built_in_detector_finds_what_moved_with_its_numbers_on_both_sides() -> None:
    drift = Drift(ViewsKind())
    made = [replace(one, agent=drift.watch.id) for one in islice(life(3), 100)]
    drift.accept(drift.watch.id, made[:60])
    drift.finish(*made[60:80])
    drift.round()
    assert drift.alerts() == []
    tokens = Feature.TOKENS.value
    drift.finish(*(replace(one, features={**one.features, tokens: one.features[tokens] * 6}) for one in made[80:]))
    drift.round()
    (alert,) = drift.alerts()
    told = alert.evidence
    assert told["detector"] == "views"
    tokens_told = told["numbers"][tokens]
    assert float(tokens_told["since"]["median"]) > 3 * float(tokens_told["baseline"]["median"])
    assert any(one.startswith("tokens per session: median") for one in told["words"])
    assert told["promise"].startswith("200 sessions at least on average")
    assert "ses_76" <= told["since_session"] <= "ses_88"


class _Broken(Summing):
    """Fails in one way at the third session."""

    def __init__(self, how: str) -> None:
        super().__init__(threshold=1e9)
        self.how = how

    def fit(self, sessions: Sequence[SessionProfile]) -> None:
        if self.how == "fit":
            raise RuntimeError("<script>")
        super().fit(sessions)

    def update(self, session: SessionProfile) -> Reading:
        found = super().update(session)
        if self.seen < 3:
            return found
        match self.how:
            case "raises":
                raise ValueError("text of a plug-in")
            case "nan":
                return replace(found, stat=math.nan)
            case "inf":
                return replace(found, stat=math.inf)
            case "score":
                return replace(found, score=math.nan)
            case "nothing":
                return None  # type: ignore[return-value]
            case "since":
                return replace(found, since=-1)
        return found

    def state(self) -> bytes:
        return bytes(20_001) if self.how == "large" else super().state()


@pytest.mark.requirement("drift:running:plug-in")
@pytest.mark.parametrize("how", ["fit", "raises", "nan", "inf", "score", "nothing", "since", "large"])
def test_a_detector_that_fails_is_stopped_for_its_agent_and_told_and_others_go_on(how: str) -> None:
    drift = Drift(Kind(lambda: _Broken(how), "broken"), Kind())
    drift.sessions(4, 5, 4, 4)
    drift.round()
    drift.watch.clock.advance(60)
    drift.round()
    (alert,) = drift.alerts(AlertKind.UNWATCHED)
    assert alert.matter == detector_matter("broken")
    assert "script" not in str(alert.evidence)
    assert "text of" not in str(alert.evidence)
    assert len(drift.stats(kind=1)) == 4
    drift.sessions(*[12] * 6)
    drift.restart()
    drift.round()
    assert len(drift.alerts(AlertKind.UNWATCHED)) == len(drift.alerts()) == 1
    assert drift.running.standings(drift.watch.id)[0].stopped


def test_a_detector_that_was_stopped_is_asked_again_once_its_alert_is_resolved() -> None:
    drift = Drift(Kind(lambda: _Broken("raises"), "broken"))
    drift.sessions(4, 4, 4)
    drift.round()
    (alert,) = drift.alerts(AlertKind.UNWATCHED)
    drift.watch.resolve(alert)
    drift.sessions(4, 4)
    drift.round()
    assert len(drift.stats()) == 2
    drift.sessions(4)
    drift.round()
    assert len(drift.alerts(AlertKind.UNWATCHED)) == 2, "told anew"


@pytest.mark.requirement("drift:running:plug-in")
def test_a_detector_that_fails_for_everybody_is_told_of_once_for_all() -> None:
    drift = Drift(Kind(lambda: _Broken("fit"), "broken"))
    others = _fleet(drift, 100)
    drift.finish(*(profile(agent, at) for at, agent in enumerate(others)))
    drift.round()
    told = drift.alerts(AlertKind.UNWATCHED)
    assert len(told) == 26
    assert [one.agent for one in told].count(None) == 1


@pytest.mark.requirement("drift:running:unproven")
def test_a_baseline_whose_sessions_are_others_is_told_of_and_never_used() -> None:
    drift = Drift()
    digest = drift.watch.baseline.behaviour.accepted
    assert digest is not None
    drift.fitted.put(digest.digest, b"other sessions")
    drift.sessions(4, 900)
    drift.round()
    assert drift.stats() == ()
    (alert,) = drift.alerts(AlertKind.UNWATCHED)
    assert alert.matter == DriftMatter.UNPROVEN
    drift.sessions(900)
    drift.restart()
    drift.round()
    assert len(drift.alerts(AlertKind.UNWATCHED)) == 1


@pytest.mark.requirement("drift:running:unproven")
def test_a_baseline_that_was_lost_is_made_again_from_the_profiles() -> None:
    drift = Drift()
    drift.sessions(*[4] * 20)
    accepted = drift.accept(drift.watch.id, drift.shelf.kept, after=20)
    drift.fitted.keep_only(())
    drift.sessions(5)
    drift.round()
    assert len(drift.stats()) == 1
    assert drift.fitted.get(accepted.digest) is not None


@pytest.mark.requirement("drift:running:unproven")
def test_a_state_that_somebody_changed_is_told_of() -> None:
    drift = Drift()
    drift.sessions(9, 9)
    drift.round()
    drift.close()
    drift.shelf.states_kept[drift.watch.id] = drift.shelf.states_kept[drift.watch.id][:-1] + b"x"
    drift.restart()
    drift.sessions(4)
    drift.round()
    assert [one.matter for one in drift.alerts(AlertKind.UNWATCHED)] == [DriftMatter.STATE]


def test_sessions_that_were_there_when_a_baseline_was_accepted_are_not_compared_with_it() -> None:
    drift = Drift()
    drift.sessions(12, 12)
    drift.accept(drift.watch.id, [profile(drift.watch.id, -one) for one in range(30, 0, -1)], after=2)
    drift.sessions(4)
    drift.round()
    assert drift.stats() == (0.0,)


@pytest.mark.requirement("drift:running:killed")
def test_profiles_that_were_made_again_are_looked_at_again_to_the_same_end() -> None:
    drift = Drift()
    drift.sessions(5, 6, *[12] * 6)
    drift.round()
    drift.watch.clock.advance(60)
    drift.round()
    before, kept = drift.stats(), list(drift.shelf.kept)
    drift.shelf.clear()
    drift.round()
    drift.finish(*kept[:3])
    drift.round()
    drift.finish(*kept[3:])
    drift.round()
    assert drift.stats() == before
    assert len(drift.alerts()) == 1


def test_a_retired_agent_is_compared_no_more_and_its_state_is_removed() -> None:
    drift = Drift()
    drift.sessions(5)
    drift.round()
    drift.close()
    assert set(drift.shelf.states_kept) == {drift.watch.id}
    drift.watch.retire()
    drift.sessions(*[50] * 5)
    drift.round()
    drift.close()
    assert drift.shelf.states_kept == {}
    assert drift.alerts() == []


def test_the_state_of_a_retired_agent_is_removed_by_the_next_process_too() -> None:
    drift = Drift()
    drift.sessions(5)
    drift.round()
    drift.close()
    drift.watch.retire()
    drift.restart()
    drift.round()
    drift.close()
    assert drift.shelf.states_kept == {}


def test_a_quarantined_agent_is_not_compared() -> None:
    drift = Drift()
    drift.sessions(5)
    drift.round()
    drift.watch.clock.advance(60)
    drift.watch.quarantine()
    drift.sessions(*[50] * 5)
    drift.round()
    assert drift.alerts() == []
    assert len(drift.stats()) == 1


@pytest.mark.requirement("drift:running:bounded")
def test_a_burst_is_read_in_rounds_and_leaves_no_more_behind_than_one_session_would() -> None:
    drift = Drift(in_memory=20)
    others = _fleet(drift, 40)
    for _ in range(30):
        drift.finish(*(profile(agent, len(drift.shelf.kept) + at) for at, agent in enumerate(others)))
    drift.round()
    drift.close()
    sizes = {len(state) for state in drift.shelf.states_kept.values()}
    for _ in range(300):
        drift.finish(*(profile(agent, len(drift.shelf.kept) + at) for at, agent in enumerate(others)))
    fed = 0
    while found := drift.round():
        fed += found
    assert fed == 300 * 40
    drift.close()
    assert max(len(state) for state in drift.shelf.states_kept.values()) < 4 * max(sizes)
    assert len(drift.shelf.states_kept) == 40
    assert drift.alerts() == []


def test_what_cannot_be_told_now_is_told_by_the_next_round() -> None:
    drift = Drift()
    drift.sessions(*[12] * 4)

    drift.watch.control.dies_at = (drift.watch.control.transactions + 1, "before")
    with pytest.raises(KilledError):
        drift.round()
    assert drift.alerts() == []
    drift.round()
    assert len(drift.alerts()) == 1


@pytest.mark.requirement("drift:running:fleet")
def test_an_alarm_of_a_big_fleet_is_told_when_it_counts_among_all_that_are_compared() -> None:
    drift = Drift(Kind(lambda: Summing(threshold=2.3), e_detector=True), in_memory=2_000)
    alone = Drift(Kind(lambda: Summing(threshold=2.3), e_detector=True))
    _fleet(drift, 999)
    for each in (drift, alone):
        each.sessions(8)
        each.round()
    assert (drift.stats(), len(drift.alerts()), len(alone.alerts())) == ((3.0,), 0, 1)
    assert drift.running.standings(drift.watch.id)[0].alarmed, "by its own level"
    drift.sessions(8)
    drift.round()
    assert (drift.stats()[-1], len(drift.alerts())) == (6.0, 1)
    several = Drift(Kind(lambda: Summing(threshold=2.3), e_detector=True), in_memory=2_000)
    others = _fleet(several, 999)
    several.finish(*(profile(agent, at, 9) for at, agent in enumerate(others[:50])))
    several.finish(*(profile(agent, 100 + at, 5) for at, agent in enumerate(others[:50])))
    several.round()
    assert 25 < len(several.alerts()) <= 50, "that so many moved at once makes each of them likelier"


def _fleet(drift: Drift, many: int) -> list[AgentId]:
    """More agents in production, each with the same baseline."""
    fleet, found = drift.watch.fleet, []
    row, baseline = fleet.doc("agent", drift.watch.id), fleet.doc("baseline", drift.watch.id)
    for number in range(many):
        agent = AgentId(f"agt_{number:026d}")
        fleet.put("agent", agent, {**row, "name": f"agent-{number}"})
        fleet.put("baseline", agent, baseline)
        found.append(agent)
    return found
