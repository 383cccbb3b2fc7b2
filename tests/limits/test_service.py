from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.kernel.clock import Instant, ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, SeededIds
from accredit.kernel.money import Money
from accredit.limits.budgets import Budget
from accredit.limits.counters import AgentCounters
from accredit.limits.folding import reservation_fact
from accredit.limits.gcra import Rate
from accredit.limits.model import LimitRefusal, LimitUsage, Reservation, Spend
from accredit.limits.ports import Attempt
from accredit.limits.service import AttemptRates, Limits
from accredit.storage.memory.counters import MemoryCounterStore
from tests.limits.fleet import AGENT, CALLER, LIMITS, MIDDAY_US, Room, limits_with, shared, spend

ALICE = CredentialId("crd_alice")
BOB = CredentialId("crd_bob")


@pytest.mark.requirement("limits:budget:hundred")
def test_a_hundred_threads_against_a_cap_worth_ten_spend_ten() -> None:
    room = Room()
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda _: room.limits.reserve(spend(1)), range(100)))
        admitted = [one for one in taken if isinstance(one, Reservation)]
        settled = list(pool.map(lambda one: room.limits.settle(one, 1), admitted))
    assert len(admitted) == 10
    assert all(settled)
    assert room.limits.show(AGENT, LIMITS).spent == Money(10)
    assert {one.code for one in taken if isinstance(one, LimitRefusal)} == {Code.BUDGET_EXHAUSTED}


@pytest.mark.requirement("limits:budget:hundred", "limits:budget:cap")
@given(st.lists(st.integers(0, 99), max_size=300), st.lists(st.sampled_from(["settle", "release"]), min_size=1))
def test_a_hundred_calls_in_any_order_of_steps_never_spend_more_than_ten(order: list[int], ends: list[str]) -> None:
    room = Room()
    calls: dict[int, Reservation | LimitRefusal] = {}
    spent = 0
    for step, call in enumerate([*order, *range(100)]):
        if call not in calls:
            calls[call] = room.limits.reserve(spend(1))
        elif isinstance(one := calls[call], Reservation):
            if ends[step % len(ends)] == "release":
                room.limits.release(one)
            else:
                spent += room.limits.settle(one, 1)
        usage = room.limits.show(AGENT, LIMITS)
        assert usage.spent.nanos == spent
        assert usage.spent.nanos + usage.open.nanos <= 10


@pytest.mark.requirement("limits:rate:throttled")
def test_a_throttle_slows_and_never_hastens_and_stands_on_record() -> None:
    room = Room()
    limits = limits_with(calls_per_minute=4)
    slowed = spend(0, limits=limits, throttle=2)
    taken = room.limits.reserve(slowed)
    assert isinstance(taken, Reservation)
    assert reservation_fact(taken)["throttle"] == 2
    room.limits.reserve(slowed)
    refused = room.refused(slowed)
    assert (refused.code, refused.detail, refused.retry_after_s) == (Code.RATE_LIMITED, "2 calls a minute", 30)

    room = Room()
    assert sum(isinstance(room.limits.reserve(spend(0, limits=limits, throttle=9)), Reservation) for _ in range(9)) == 4
    assert room.refused(spend(0, limits=limits, throttle=0)).code is Code.RATE_LIMITED


@pytest.mark.requirement("delegation:limits:counted")
def test_what_was_handed_on_is_taken_of_everybody_or_of_nobody() -> None:
    room = Room()
    poor = shared(limits=limits_with(cost_per_day=Money(3)))
    handed = spend(1, shares=(poor,))
    taken = [room.take(handed) for _ in range(3)]
    assert {one.shares for one in taken} == {((CALLER, None),)}
    refused = room.refused(handed)
    assert refused.code is Code.BUDGET_EXHAUSTED
    assert "of `planner`, who handed the work on" in refused.detail
    assert room.limits.show(AGENT, LIMITS).open == Money(3), "what the others had was given back"
    assert isinstance(room.limits.reserve(spend(1)), Reservation), "by itself it may"
    assert room.limits.settle(taken[0], 1)
    assert not room.limits.settle(taken[0], 1)
    assert room.limits.release(taken[1])
    usage = room.limits.show(CALLER, poor.limits)
    assert (usage.spent, usage.open, usage.in_flight) == (Money(1), Money(1), 0)
    assert usage.calls_left == LIMITS.calls_per_minute, "it made none of them"
    room.take(handed)
    assert room.refused(handed).code is Code.BUDGET_EXHAUSTED


@pytest.mark.requirement("delegation:limits:counted")
def test_one_throttle_is_of_what_an_agent_does_and_of_what_it_handed_on_together() -> None:
    room = Room()
    first, second = (AgentId(f"agt_{number}") for number in (7, 8))
    handed = [spend(0, agent=one, shares=(shared(throttle=3),)) for one in (first, second)]
    room.take(handed[0])
    room.take(handed[1])
    room.take(spend(0, agent=CALLER, throttle=3))
    for one in (*handed, spend(0, agent=CALLER, throttle=3)):
        assert room.refused(one).code is Code.RATE_LIMITED
    assert room.refused(handed[0]).detail == "3 calls a minute of `planner`, who handed the work on"
    room.clock.advance(20)
    newest = room.take(handed[0])
    assert room.refused(handed[1]).code is Code.RATE_LIMITED
    assert room.limits.release(newest), "of everybody"
    room.take(handed[1])


@pytest.mark.requirement("delegation:limits:counted")
def test_open_money_of_whoever_handed_on_is_not_forgotten_while_it_is_idle() -> None:
    room = Room()
    poor = shared(limits=limits_with(cost_per_day=Money(3)))
    waiting = room.take(spend(3, shares=(poor,)))
    for _ in range(4):  # each call looks at a few that may be forgotten
        room.clock.advance(600)
        room.limits.release(room.take(spend(0, agent=AgentId("agt_9"))))
    assert room.refused(spend(1, shares=(poor,))).code is Code.BUDGET_EXHAUSTED
    assert room.limits.settle(waiting, 2)
    assert room.limits.show(CALLER, poor.limits).left == Money(1)


@pytest.mark.requirement("limits:reserve:order")
def test_rate_is_refused_before_concurrency_and_concurrency_before_budget() -> None:
    room = Room()
    nothing = limits_with(calls_per_minute=0, concurrency=0, cost_per_day=Money(0))
    assert room.refused(spend(1, limits=nothing)).code is Code.RATE_LIMITED
    nothing = limits_with(concurrency=0, cost_per_day=Money(0))
    assert room.refused(spend(1, limits=nothing)).code is Code.CONCURRENCY_LIMITED
    nothing = limits_with(cost_per_day=Money(0))
    assert room.refused(spend(1, limits=nothing)).code is Code.BUDGET_EXHAUSTED
    assert room.refused(spend(None)).code is Code.PRICE_MISSING
    assert room.refused(spend(1, currency="EUR")).code is Code.CURRENCY_MISMATCH


@pytest.mark.requirement("limits:reserve:atomic")
@pytest.mark.parametrize(
    "asked",
    [
        spend(1, limits=limits_with(calls_per_minute=1)),
        spend(1, limits=limits_with(concurrency=1)),
        spend(10),
        spend(None),
        spend(1, currency="EUR"),
    ],
    ids=["rate", "concurrency", "budget", "price", "currency"],
)
def test_a_refusal_at_any_stage_leaves_every_counter_as_it_was(asked: Spend) -> None:
    room = Room()
    room.take(spend(1))
    before = room.store.counters(AGENT)
    room.refused(asked)
    assert room.store.counters(AGENT) == before


@pytest.mark.requirement("limits:reserve:once", "limits:rate:give-back")
def test_release_gives_everything_back_and_only_once() -> None:
    room = Room()
    limits = limits_with(calls_per_minute=2)
    before = room.limits.show(AGENT, limits)
    kept = room.take(spend(3, limits=limits))
    undone = room.take(spend(4, limits=limits))
    assert room.refused(spend(1, limits=limits)).code is Code.RATE_LIMITED
    assert room.limits.release(undone)
    assert not room.limits.release(undone)
    assert not room.limits.settle(undone, 4)
    usage = room.limits.show(AGENT, limits)
    assert (usage.calls_left, usage.in_flight, usage.open) == (1, 1, Money(3))
    room.limits.release(kept)
    assert room.limits.show(AGENT, limits) == before


@pytest.mark.requirement("limits:reserve:once")
def test_settling_twice_books_once_and_frees_one_place() -> None:
    room = Room()
    limits = limits_with(concurrency=2)
    first, _second = room.take(spend(2, limits=limits)), room.take(spend(2, limits=limits))
    assert room.limits.settle(first, 2)
    assert not room.limits.settle(first, 2)
    assert not room.limits.release(first)
    room.take(spend(2, limits=limits))
    assert room.refused(spend(2, limits=limits)).code is Code.CONCURRENCY_LIMITED
    assert room.limits.show(AGENT, limits).spent == Money(2)


def test_a_settlement_below_zero_is_a_mistake_that_loses_nothing() -> None:
    room = Room()
    taken = room.take(spend(2))
    with pytest.raises(AssertionError):
        room.limits.settle(taken, -1)
    assert room.limits.settle(taken, 1)


@pytest.mark.requirement("limits:budget:window")
def test_a_call_over_midnight_settles_in_the_day_it_was_reserved_in() -> None:
    room = Room()
    room.clock.advance(12 * 3600 - 1)
    late = room.take(spend(10))
    room.clock.advance(2)
    early = room.take(spend(9))
    assert (late.window, early.window) == ("2026-11-22", "2026-11-23")
    room.limits.settle(late, 10)
    usage = room.limits.show(AGENT, LIMITS)
    assert (usage.window, usage.spent, usage.open) == ("2026-11-23", Money(0), Money(9))


@pytest.mark.requirement("limits:budget:window")
def test_a_window_with_something_open_is_kept_however_many_days_pass() -> None:
    room = Room()
    late = room.take(spend(10))
    for _ in range(5):
        room.clock.advance(24 * 3600)
        room.limits.settle(room.take(spend(1)), 1)
    assert room.limits.settle(late, 10)
    assert len(room.store.counters(AGENT).windows) <= 3


def test_a_clock_that_steps_back_over_midnight_finds_the_old_days_spending() -> None:
    room = Room()
    room.limits.settle(room.take(spend(10)), 10)
    room.clock.advance(24 * 3600)
    room.limits.settle(room.take(spend(1)), 1)
    room.clock.step_wall(-24 * 3600)
    assert room.refused(spend(1)).code is Code.BUDGET_EXHAUSTED


def test_an_agent_without_a_budget_has_the_installations() -> None:
    bare = limits_with(cost_per_day=None)
    clock = ScriptedClock(MIDDAY_US)
    capped = Limits(clock, SeededIds(1), MemoryCounterStore(), cost_per_day=Money(5))
    assert isinstance(capped.reserve(spend(6, limits=bare)), LimitRefusal)
    free = Limits(clock, SeededIds(1), MemoryCounterStore())
    assert isinstance(free.reserve(spend(6, limits=bare)), Reservation)


@pytest.mark.requirement("limits:attempts:keys")
def test_attempts_are_counted_per_credential_and_per_source_all_or_none() -> None:
    rates = AttemptRates(credential=Rate.per_minute(2), source=Rate.per_minute(3))
    room = Room(attempts=rates)
    assert room.limits.attempt(ALICE, "10.0.0.1") is None
    assert room.limits.attempt(ALICE, "10.0.0.1") is None
    for _ in range(5):  # a refused attempt must not use up the source's room
        refused = room.limits.attempt(ALICE, "10.0.0.1")
        assert refused is not None
        assert refused.code is Code.ATTEMPTS_LIMITED
        assert refused.retry_after_s == 30
    assert room.limits.attempt(BOB, "10.0.0.1") is None
    refused = room.limits.attempt(BOB, "10.0.0.1")
    assert refused is not None
    assert "source" in refused.detail
    assert room.limits.attempt(BOB, "10.0.0.2") is None


@pytest.mark.requirement("limits:attempts:apart")
def test_a_flood_that_proves_nobody_leaves_agents_at_its_address_alone() -> None:
    room = Room(attempts=AttemptRates(source=Rate.per_minute(2), unauthenticated=Rate.per_minute(1)))
    assert room.limits.attempt(None, "10.0.0.1") is None
    assert room.limits.attempt(None, "10.0.0.1") is not None
    assert room.limits.attempt(ALICE, "10.0.0.1") is None


@pytest.mark.requirement("limits:attempts:keys")
def test_addresses_of_one_ipv6_network_are_one_source() -> None:
    room = Room(attempts=AttemptRates(unauthenticated=Rate.per_minute(1)))
    assert room.limits.attempt(None, "2001:db8::1") is None
    assert room.limits.attempt(None, "2001:db8::ffff:1%eth0") is not None
    assert room.limits.attempt(None, "2001:db8:0:1::1") is None
    assert room.limits.attempt(None, "::ffff:10.0.0.1") is None
    assert room.limits.attempt(None, "10.0.0.1") is not None
    assert room.limits.attempt(None, "10.0.0.2") is None
    assert room.limits.attempt(None, "a unix socket") is None


class _BrokenStore(MemoryCounterStore):
    def attempt(self, attempts: Sequence[Attempt], now: Instant) -> LimitRefusal | None:
        raise UnavailableError(Code.LIMITS_UNAVAILABLE, "down")

    def reserve(
        self, spend: Spend, *, budgets: Sequence[Budget | None], reservation_id: str, now: Instant
    ) -> Reservation | LimitRefusal:
        raise UnavailableError(Code.LIMITS_UNAVAILABLE, "down")


@pytest.mark.requirement("limits:store:unavailable")
def test_a_store_that_does_not_answer_refuses() -> None:
    limits = Limits(ScriptedClock(MIDDAY_US), SeededIds(1), _BrokenStore())
    for refused in (limits.attempt(ALICE, "10.0.0.1"), limits.reserve(spend(1))):
        assert isinstance(refused, LimitRefusal)
        assert refused.code is Code.LIMITS_UNAVAILABLE


@pytest.mark.requirement("limits:attempts:bounded")
def test_any_number_of_sources_is_remembered_in_bounded_memory_and_none_is_let_through_for_free() -> None:
    room = Room(attempts=AttemptRates(unauthenticated=Rate.per_minute(2)), capacity=10)
    outcomes = [room.limits.attempt(None, f"10.0.{one // 250}.{one % 250}") for one in range(500)]
    assert len(room.store) <= 11
    assert sum(one is None for one in outcomes) == 10 + 2  # ten newcomers of their own, then one shared bucket
    room.clock.advance(3600)
    for one in range(30):
        room.limits.attempt(None, f"10.1.0.{one % 2}")
    assert len(room.store) <= 4


@pytest.mark.requirement("limits:store:bounded")
def test_idle_agents_are_forgotten_and_what_they_spent_today_is_not() -> None:
    room = Room()
    for one in range(200):
        room.limits.settle(room.take(spend(0, agent=AgentId(f"agt_free_{one}"))), 0)
    room.limits.settle(room.take(spend(10)), 10)
    room.clock.advance(3600)
    busy = AgentId("agt_busy")
    for _ in range(200):
        room.limits.settle(room.take(spend(0, agent=busy)), 0)
    assert len(room.store) == 2
    assert room.refused(spend(1)).code is Code.BUDGET_EXHAUSTED
    room.clock.advance(2 * 24 * 3600)
    for _ in range(5):
        room.limits.settle(room.take(spend(0, agent=busy)), 0)
    assert len(room.store) == 1


@pytest.mark.requirement("limits:store:bounded")
def test_an_agent_with_a_call_in_flight_is_never_forgotten() -> None:
    room = Room()
    held = room.take(spend(0))
    room.clock.advance(3 * 24 * 3600)
    for one in count():
        room.limits.settle(room.take(spend(0, agent=AgentId(f"agt_{one + 2}"))), 0)
        if one == 20:
            break
    assert room.store.counters(AGENT).in_flight == 1
    assert room.limits.settle(held, 0)
    assert room.store.counters(AGENT).in_flight == 0


@pytest.mark.requirement("limits:show")
def test_show_tells_what_is_used_and_what_is_left() -> None:
    room = Room()
    limits = limits_with(calls_per_minute=60, concurrency=4)
    room.limits.settle(room.take(spend(3, limits=limits)), 2)
    room.take(spend(5, limits=limits))
    assert room.limits.show(AGENT, limits) == LimitUsage(
        agent=AGENT,
        calls_per_minute=60,
        calls_left=58,
        concurrency=4,
        in_flight=1,
        window="2026-11-22",
        cap=Money(10),
        spent=Money(2),
        open=Money(5),
        left=Money(3),
    )
    assert room.store.counters(AgentId("agt_unseen")) == AgentCounters()


@pytest.mark.requirement("obligations:in-force")
def test_a_restrictions_daily_cap_narrows_the_budget_and_never_widens_it_whoever_handed_the_work_on() -> None:
    capped = replace(spend(1), cap=Money(3))
    room = Room()
    assert sum(isinstance(room.limits.reserve(capped), Reservation) for _ in range(20)) == 3
    assert room.refused(capped).code is Code.BUDGET_EXHAUSTED
    assert isinstance(room.limits.reserve(spend(1)), Reservation), "its own cap has room"
    wide = replace(spend(1), cap=Money(1_000))
    room = Room()
    assert sum(isinstance(room.limits.reserve(wide), Reservation) for _ in range(20)) == 10
    room = Room()
    elsewhere = replace(spend(1), cap=Money(1_000, "EUR"))
    assert room.refused(elsewhere).code is Code.BUDGET_EXHAUSTED
    handed = spend(1, shares=(replace(shared(), cap=Money(2)),))
    room = Room()
    assert sum(isinstance(room.limits.reserve(handed), Reservation) for _ in range(20)) == 2
