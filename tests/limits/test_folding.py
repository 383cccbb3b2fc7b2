from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.canonical import canonical, require_canonical
from accredit.kernel.codes import Code
from accredit.kernel.money import Money
from accredit.limits.folding import ReservedFact, SettledFact, reservation_fact, settled_fact
from accredit.limits.model import Reservation
from tests.limits.fleet import AGENT, CALLER, LIMITS, Room, limits_with, shared, spend

STEPS = st.lists(st.tuples(st.sampled_from("rrrsux"), st.integers(0, 30), st.integers(0, 9)), max_size=40)


def decision_body(reservation: Reservation) -> bytes:
    body = {"reservation": reservation_fact(reservation)}
    require_canonical(body)
    return canonical(body)


def outcome_body(reservation: Reservation, cost: int) -> bytes:
    return canonical({"settled": settled_fact(reservation, cost)})


def facts(log: list[tuple[bytes, int]]) -> list[ReservedFact | SettledFact]:
    read = [
        ReservedFact.read(orjson.loads(body), agent=AGENT, time_us=time) or SettledFact.read(orjson.loads(body))
        for body, time in log
    ]
    return [one for one in read if one is not None]


@pytest.mark.requirement("limits:fold:stricter", "limits:fold:open", "limits:budget:cap")
@given(STEPS, st.integers(0, 40), st.integers(0, 100_000))
def test_a_restart_at_any_point_is_never_laxer_than_what_was_acknowledged(
    script: list[tuple[str, int, int]], outcomes_lost: int, reboot_s: int
) -> None:
    limits = limits_with(calls_per_minute=7, concurrency=6, cost_per_day=Money(40))
    before = Room()
    log: list[tuple[bytes, int]] = []
    acknowledged: dict[str, Reservation] = {}
    standing: list[int] = []
    used = 0
    for act, seconds, cost in script:
        before.clock.advance(seconds)
        if act == "r":
            now = before.clock.now()
            throttle = 3 if cost % 3 == 0 else None
            # some of it was handed on, by somebody who may be slowed
            shares = (shared(limits=limits, throttle=2 if cost % 5 == 0 else None),) if cost % 2 else ()
            taken = before.limits.reserve(spend(cost, limits=limits, throttle=throttle, shares=shares), now=now)
            if isinstance(taken, Reservation):  # durable, then acknowledged
                log.append((decision_body(taken), now.wall_us))
                acknowledged[taken.id] = taken
                standing.append(now.wall_us)
        elif act == "u":  # refused after the reservation: no record
            taken = before.limits.reserve(spend(cost, limits=limits))
            if isinstance(taken, Reservation):
                before.limits.release(taken)
        elif acknowledged and act in "sx":
            taken = acknowledged.pop(sorted(acknowledged)[cost % len(acknowledged)])
            actual = min(cost, taken.cost_nanos) if act == "s" else 0
            before.limits.settle(taken, actual)
            used += actual
            log.append((outcome_body(taken, actual), before.clock.now().wall_us))
    # what is durable is a prefix: outcomes are not awaited and may be missing after a kill, decisions may not
    awaited = max((at + 1 for at, (body, _) in enumerate(log) if b"reservation" in body), default=0)
    durable = log[: max(len(log) - outcomes_lost, awaited)]

    after = Room(seed=2)
    after.clock.advance(reboot_s)  # the machine booted another time: boot clocks of the two runs do not compare
    after.clock.step_wall((before.clock.now().wall_us - after.clock.now().wall_us) / 1_000_000)
    after.limits.restore(facts(durable), limits_of=lambda _: limits)
    for agent in (CALLER, AGENT):
        live, folded = before.limits.show(agent, limits), after.limits.show(agent, limits)
        assert folded.calls_left <= live.calls_left
        assert folded.in_flight >= live.in_flight
        assert folded.spent.nanos + folded.open.nanos >= live.spent.nanos + live.open.nanos
        assert folded.spent.nanos + folded.open.nanos <= 40
        if len(durable) == len(log):
            assert (folded.spent, folded.open, folded.in_flight) == (live.spent, live.open, live.in_flight)
    if len(durable) == len(log):
        assert folded.spent.nanos == used
    recent = [at for at in standing if at > after.clock.now().wall_us - 60_000_000]
    assert folded.calls_left <= max(14 - len(recent), 0)


@pytest.mark.requirement("limits:fold:open")
def test_an_open_decision_counts_in_full_until_it_is_closed() -> None:
    before = Room()
    taken = before.take(spend(7))
    log = [(decision_body(taken), before.clock.now().wall_us)]
    after = Room(seed=2)
    limits = limits_with(concurrency=2)
    after.limits.restore(facts(log), limits_of=lambda _: limits)
    assert after.refused(spend(4, limits=limits)).code is Code.BUDGET_EXHAUSTED
    after.take(spend(3, limits=limits))
    assert after.refused(spend(0, limits=limits)).code is Code.CONCURRENCY_LIMITED
    open_calls = after.limits.open_reservations()
    assert taken in open_calls
    assert after.limits.settle(taken, 7)
    assert after.limits.show(AGENT, limits).spent == Money(7)


def test_a_settlement_of_something_older_than_the_records_is_passed_over() -> None:
    room = Room()
    room.limits.restore([SettledFact("rsv_of_yesterday", 5)], limits_of=lambda _: LIMITS)
    assert room.limits.show(AGENT, LIMITS).spent == Money(0)


def test_a_record_from_the_future_counts_as_now() -> None:
    before = Room()
    limits = limits_with(calls_per_minute=1)
    taken = before.take(spend(0, limits=limits))
    after = Room(seed=2)
    after.limits.restore(
        facts([(decision_body(taken), before.clock.now().wall_us + 3_600_000_000)]), limits_of=lambda _: limits
    )
    assert after.refused(spend(0, limits=limits)).retry_after_s == 60
    after.clock.advance(60)
    after.take(spend(0, limits=limits_with(calls_per_minute=1)))


def test_an_agent_that_is_gone_is_folded_with_the_strictest_rate() -> None:
    before = Room()
    taken = before.take(spend(1))
    after = Room(seed=2)
    after.limits.restore(facts([(decision_body(taken), before.clock.now().wall_us)]), limits_of=lambda _: None)
    assert after.limits.show(AGENT, limits_with(calls_per_minute=1)).calls_left == 0


def test_records_that_reserve_or_settle_nothing_are_no_facts() -> None:
    assert ReservedFact.read({}, agent=AGENT, time_us=1) is None
    assert SettledFact.read({}) is None
