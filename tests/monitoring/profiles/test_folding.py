"""Profiles of sessions, out of a real log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.audit.records import header_of
from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import CallOutcome, Feature, SessionProfile
from accredit.monitoring.profiles.ports import KeptProfile
from accredit.storage.memory.profiles import MemoryProfileStore
from accredit.storage.memory.records import MemoryRecordStore
from tests.monitoring.profiles.log import BEGAN_US, IDLE_US, MINUTE_US, A, B, Call, following, logged

LATER_US = BEGAN_US + 40 * 86_400_000_000


def profiles(*calls: Call, now_us: int = LATER_US) -> list[SessionProfile]:
    store = MemoryProfileStore()
    following(logged(calls), store).read(100_000, now_us)
    return [one.profile for one in store.after(0, 1_000)]


def at(minutes: float, **changed: object) -> Call:
    return replace(Call(BEGAN_US + int(minutes * MINUTE_US)), **changed)  # type: ignore[arg-type]


@pytest.mark.requirement("monitoring:profiles:features")
def test_a_finished_session_is_its_calls_and_numbers_and_none_of_its_text() -> None:
    (one,) = profiles(
        at(0, tool="openai/gpt", model=True, arguments={"user_text": "Pay the invoice of ACME", "input_bytes": 40},
           result={"text": "I will.", "reasoning": "hm", "declined": "", "tools": [{}], "stop": "stop",
                   "usage": {"input": 30, "output": 12}}, effect="external", cost_nanos=5_000_000),
        at(1, reason="dec_0", cost_nanos=1_500_000_000, detected={"iban": 1}),
        at(2, end="timeout"),
        at(3, decision="deny", arguments={"iban": "Ann Lee", "Ann Lee": 1}),
    )  # fmt: skip
    assert (one.agent, one.session, one.began_us) == (A, "ses_1", BEGAN_US)
    assert [call.outcome for call in one.calls] == [
        CallOutcome.OK,
        CallOutcome.OK,
        CallOutcome.ERROR,
        CallOutcome.DENIED,
    ]
    assert [(value.path, value.kind.partition(":")[0]) for value in one.calls[1].values] == [
        ("iban", "acct"),
        ("speed", "e"),
    ]
    assert "Ann" not in repr(one)
    found = one.features
    assert {name: found[name] for name in ("calls", "tools", "denied", "held", "repeats", "tokens", "errors")} == {
        "calls": 4, "tools": 2, "denied": 1, "held": 0, "repeats": 1, "tokens": 42, "errors": pytest.approx(1 / 3),
    }  # fmt: skip
    assert found[Feature.COST] == pytest.approx(1.505)
    assert found[Feature.REASONED] == pytest.approx(1 / 3)
    assert (found[Feature.ANSWER_BYTES], found[Feature.REASONING_BYTES], found[Feature.TRUNCATED]) == (7, 2, 0)
    assert found[Feature.HOUR] == 9
    assert found[Feature.DATA_CLASSES] == 2
    assert {Feature.OFF_TASK, Feature.TAINTED} <= found.keys()


@pytest.mark.requirement("monitoring:profiles:features")
def test_what_was_not_measured_is_not_there_and_never_zero() -> None:
    (one,) = profiles(at(0, decision="deny"))
    assert not {"errors", "cost", "tokens", "latency", "answer-bytes", "off-task", "reasoned"} & one.features.keys()


@pytest.mark.requirement("monitoring:profiles:sessions")
def test_a_session_ends_when_it_was_idle_and_not_before_its_last_call_returned() -> None:
    long = at(1, took_us=5 * IDLE_US)
    (one,) = profiles(at(0), long, at(2))
    assert len(one.calls) == 3
    lost = at(0, session="ses_2", end=None)
    assert profiles(lost, now_us=BEGAN_US + 23 * 3_600_000_000) == []
    (left,) = profiles(lost)
    assert left.calls[0].outcome is CallOutcome.UNKNOWN


@pytest.mark.requirement("monitoring:profiles:sessions")
def test_what_was_refused_before_it_had_a_session_counts_for_the_one_that_goes_on_or_for_one_of_its_own() -> None:
    found = profiles(
        at(0), at(1, session=None, decision="deny"), at(1, session=None, decision="deny", user="psd_other"),
        at(2, session=None, decision="deny", user="psd_other"),
    )  # fmt: skip
    assert sorted((one.session, len(one.calls)) for one in found) == [("refused-dec_2", 2), ("ses_1", 2)]


@pytest.mark.requirement("monitoring:profiles:sessions")
def test_advice_that_the_agents_own_program_asked_for_is_a_call_of_it() -> None:
    (one,) = profiles(at(0, advice=True), at(1, advice=True, decision="deny"))
    assert [call.outcome for call in one.calls] == [CallOutcome.OK, CallOutcome.DENIED]


@pytest.mark.requirement("monitoring:profiles:bad-input")
def test_very_many_calls_are_counted_and_few_are_kept() -> None:
    (one,) = profiles(*[at(number / 1000, arguments={"n": number}) for number in range(1_500)])
    assert len(one.calls) == 512
    assert one.features["calls"] == 1_500


@pytest.mark.requirement("monitoring:profiles:bad-input")
def test_arguments_that_were_erased_leave_what_does_not_rest_on_them() -> None:
    log = logged([at(0), at(1)])
    log._keys[0].pop("arguments")
    store = MemoryProfileStore()
    following(log, store).read(100, LATER_US)
    (kept,) = store.after(0, 10)
    assert kept.profile.in_part
    assert "repeats" not in kept.profile.features
    assert (kept.profile.features["calls"], kept.profile.calls[0].values) == (2, ())


CALLS = st.lists(
    st.builds(
        lambda minute, agent, session, decision, end, took, user: Call(
            BEGAN_US + minute * 7 * MINUTE_US,
            agent,
            session,
            decision=decision,
            end=end,
            took_us=took * MINUTE_US,
            user=user,
        ),
        st.integers(0, 40),
        st.sampled_from([A, B, AgentId("agt_c")]),
        st.sampled_from(["ses_1", "ses_2", None]),
        st.sampled_from(["allow", "allow", "deny", "hold"]),
        st.sampled_from(["ok", "timeout", None]),
        st.sampled_from([0, 1, 50]),
        st.sampled_from([None, "psd_u"]),
    ),
    max_size=25,
)


def _kept(log: MemoryRecordStore, steps: list[int], stops: set[int]) -> list[KeptProfile]:
    """Read in steps, by a process that is killed after some of them, with looks at the clock in between."""
    store = MemoryProfileStore()
    reader = following(log, store)
    for number, many in enumerate(steps):
        seen = max((row_time(log, at) for at in range(min(log.size(), reader.position + many))), default=BEGAN_US)
        reader.read(many, seen)
        if number in stops:
            reader = following(log, store)
    while reader.behind:
        reader.read(50, BEGAN_US)
    reader.read(50, LATER_US)
    return list(store.after(0, 1_000))


def row_time(log: MemoryRecordStore, seq: int) -> int:
    (record,) = log.records(seq, seq + 1)
    return int(header_of(record)["time"])


@pytest.mark.requirement("monitoring:profiles:exact")
@settings(max_examples=80, deadline=None)
@given(CALLS, st.lists(st.integers(1, 9), max_size=12), st.sets(st.integers(0, 11)))
def test_however_it_was_read_and_wherever_it_was_killed_the_profiles_and_their_numbers_are_the_same(
    calls: list[Call], steps: list[int], stops: set[int]
) -> None:
    log = logged(calls)
    expected = _kept(log, [10_000], set())
    assert _kept(log, steps, stops) == expected
    assert sum(one.profile.features["calls"] for one in expected) == len(calls)
    store = MemoryProfileStore()
    again = following(log, store)
    again.read(3, BEGAN_US)
    again.restart()
    assert again.read(10_000, LATER_US) == len(expected)
    assert list(store.after(0, 1_000)) == expected


@pytest.mark.requirement("monitoring:profiles:exact")
def test_records_of_a_clock_that_went_back_do_no_harm() -> None:
    found = profiles(at(100), at(0), at(101, session="ses_2"), at(99, session="ses_2"))
    assert sorted(len(one.calls) for one in found) == [1, 1, 2] or sorted(len(one.calls) for one in found) == [2, 2]
    assert all(one.ended_us >= one.began_us for one in found)


@pytest.mark.requirement("monitoring:profiles:exact")
def test_a_log_that_was_put_back_from_a_copy_is_read_anew() -> None:
    store = MemoryProfileStore()
    following(logged([at(0), at(500), at(1000)]), store).read(100, LATER_US)
    assert len(store.after(0, 10)) == 1 + 2
    following(logged([at(0)]), store).read(100, LATER_US)
    assert len(store.after(0, 10)) == 1
