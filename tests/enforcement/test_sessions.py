from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.enforcement.sessions import SessionKey, SessionLedger, SessionTurn
from accredit.identity.model import Principal, VerifiedTask, VerifiedUser
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, SeededIds, ToolId
from accredit.policy.config import Counter, CounterScope

READ, WRITE = ToolId("crm/read_customer"), ToolId("crm/write_note")
KEY = SessionKey(AgentId("agt_1"), "u", "t")
OTHER = SessionKey(AgentId("agt_1"), "u", "t2")
CREDENTIAL = CredentialId("crd_1")


class Desk:
    """A ledger and its clock."""

    def __init__(self, *, capacity: int = 1_000) -> None:
        self.clock = ScriptedClock(1_795_348_800_000_000)
        self.ledger = SessionLedger(SeededIds(3), idle_s=1800, capacity=capacity)

    def begin(self, key: SessionKey = KEY, tool: ToolId = READ, credential: CredentialId = CREDENTIAL) -> SessionTurn:
        return self.ledger.begin(key, credential=credential, tool=tool, now=self.clock.now())

    def done(self, key: SessionKey = KEY, tool: ToolId = READ) -> SessionTurn:
        turn = self.begin(key, tool)
        assert self.ledger.commit(turn, self.clock.now())
        return turn


@pytest.mark.requirement("sessions:counts:in-flight")
def test_calls_at_once_each_see_a_higher_count() -> None:
    desk = Desk()
    turns = [desk.begin() for _ in range(5)]
    assert [turn.session["calls"] for turn in turns] == [1, 2, 3, 4, 5]


@pytest.mark.requirement("sessions:counts:in-flight", "sessions:counts:give-back")
@given(
    st.lists(
        st.tuples(st.sampled_from("bbbcgd"), st.integers(0, 1), st.sampled_from([READ, WRITE]), st.integers(0, 9)),
        max_size=60,
    )
)
def test_counts_are_the_calls_that_stand_and_those_in_flight(
    script: list[tuple[str, int, ToolId, int]],
) -> None:
    desk = Desk()
    keys = [KEY, OTHER]
    standing: list[tuple[SessionKey, ToolId, int]] = []
    flying: list[tuple[SessionTurn, int]] = []
    denied = {KEY: 0, OTHER: 0}
    for act, which, tool, pick in script:
        desk.clock.advance(pick)
        now = desk.clock.now().boot_us
        if act == "b":
            turn = desk.begin(keys[which], tool)
            flying.append((turn, now))
            mine = [one for one in standing if one[0] == keys[which]]
            mine += [(one.key, one.tool, at) for one, at in flying if one.key == keys[which]]
            assert turn.session["calls"] == len(mine)
            assert turn.session["calls_of_tool"] == sum(one[1] == tool for one in mine)
            assert turn.elapsed_us == now - min(one[2] for one in mine)
            assert turn.session["seconds"] == turn.elapsed_us // 1_000_000
            assert turn.instance["calls"] == len(standing) + len(flying)
            assert turn.session["denied"] == denied[keys[which]]
        elif flying:
            turn, at = flying.pop(pick % len(flying))
            if act == "c":
                desk.ledger.commit(turn, desk.clock.now())
                standing.append((turn.key, turn.tool, at))
            else:
                desk.ledger.give_back(turn, denied=act == "d")
                denied[turn.key] += act == "d"


@pytest.mark.requirement("sessions:counts:give-back")
def test_a_call_ends_once_whatever_is_said_of_it_later() -> None:
    desk = Desk()
    first, second = desk.begin(), desk.begin()
    assert desk.ledger.give_back(first, denied=True)
    assert not desk.ledger.give_back(first, denied=True)
    assert not desk.ledger.commit(first, desk.clock.now())
    assert desk.ledger.commit(second, desk.clock.now())
    assert not desk.ledger.give_back(second)
    facts = desk.begin().session
    assert (facts["calls"], facts["denied"]) == (2, 1)


@pytest.mark.requirement("sessions:window:idle")
def test_a_session_ends_after_idle_time_and_not_before() -> None:
    desk = Desk()
    first = desk.done()
    desk.clock.advance(1799)
    same = desk.done()
    desk.clock.advance(1800)
    fresh = desk.begin()
    assert same.session["id"] == first.session["id"]
    assert same.session["calls"] == 2
    assert fresh.session["id"] != first.session["id"]
    assert (fresh.session["calls"], fresh.elapsed_us) == (1, 0)


@pytest.mark.requirement("sessions:window:idle")
def test_refused_calls_do_not_keep_a_session_alive_and_calls_in_flight_do() -> None:
    desk = Desk()
    first = desk.done()
    for _ in range(3):
        desk.clock.advance(700)
        desk.ledger.give_back(desk.begin(), denied=True)
    assert desk.begin().session["id"] != first.session["id"]

    desk = Desk()
    long = desk.begin()
    desk.clock.advance(4000)
    assert desk.begin().session["id"] == long.session["id"]


def test_the_wall_clock_does_not_end_a_session() -> None:
    desk = Desk()
    first = desk.done()
    desk.clock.step_wall(86_400)
    assert desk.begin().session["id"] == first.session["id"]


@pytest.mark.requirement("sessions:run-time")
def test_run_time_is_measured_from_the_first_call_that_stands() -> None:
    desk = Desk()
    refused = desk.begin()
    desk.clock.advance(100)
    stands = desk.begin()
    desk.ledger.give_back(refused, denied=True)
    desk.ledger.commit(stands, desk.clock.now())
    desk.clock.advance(60)
    turn = desk.begin()
    assert turn.elapsed_us == 60_000_000
    assert turn.session["seconds"] == 60


def principal(user: str | None, task: str | None) -> Principal:
    return Principal(
        agent=AgentId("agt_1"),
        credential=CREDENTIAL,
        epoch=1,
        expires_us=1,
        token_digest="",
        user=None if user is None else VerifiedUser("https://idp", user, frozenset(), {}),
        task=None if task is None else VerifiedTask("https://desk", task, {}),
    )


@pytest.mark.requirement("sessions:key")
def test_a_session_is_keyed_by_agent_user_and_task() -> None:
    keys = {SessionKey.of(principal(user, task)) for user in (None, "a", "b") for task in (None, "a", "b")}
    assert len(keys) == 9
    assert SessionKey.of(principal("a", "b")) == SessionKey.of(principal("a", "b"))


@pytest.mark.requirement("sessions:instance")
def test_an_instance_is_counted_across_users_and_tasks() -> None:
    desk = Desk()
    desk.done(KEY)
    assert desk.begin(OTHER).instance["calls"] == 2
    assert desk.begin(KEY, credential=CredentialId("crd_2")).instance["calls"] == 1


@pytest.mark.requirement("sessions:bounded")
def test_an_agent_that_fills_its_room_is_refused_and_only_its_ended_sessions_are_forgotten() -> None:
    desk = Desk(capacity=20)
    keys = [SessionKey(AgentId("agt_1"), "u", f"t{number}") for number in range(40)]
    for key in keys[:10]:
        desk.done(key)
    with pytest.raises(UnavailableError) as refused:
        desk.begin(keys[10])
    assert refused.value.code is Code.LIMITS_UNAVAILABLE
    assert desk.begin(keys[0]).session["calls"] == 2  # the live ones go on
    # and what it has, it has not taken from others
    for number in range(5):
        key = SessionKey(AgentId("agt_2"), "u", f"t{number}")
        desk.ledger.give_back(desk.begin(key, credential=CredentialId("crd_2")))
    desk.clock.advance(1800)
    for key in keys[11:]:
        desk.ledger.give_back(desk.begin(key))
    assert len(desk.ledger) <= 4


_REFUND = ToolId("shop/refund")
_COUNTERS = (
    Counter("hour", frozenset({_REFUND}), window_us=3_600_000_000),
    Counter("sum", frozenset({_REFUND}), sum="amount", window_us=3_600_000_000),
    Counter("all", frozenset({_REFUND}), sum="amount"),
    Counter("task", frozenset({_REFUND, READ}), window_us=60_000_000, per=CounterScope.TASK),
)


@pytest.mark.requirement("sessions:counters:cap")
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["b", "c", "g"]), st.integers(0, 1), st.sampled_from([_REFUND, READ]), st.integers(0, 1200)
        ),
        max_size=40,
    )
)
def test_counters_are_what_a_list_of_all_calls_says(script: list[tuple[str, int, ToolId, int]]) -> None:
    desk = Desk()
    keys = [KEY, OTHER]
    calls: list[tuple[int, SessionTurn, int]] = []
    flying: list[tuple[int, SessionTurn, int]] = []
    for act, which, tool, pick in script:
        desk.clock.advance(pick)
        now_us = desk.clock.now().boot_us
        if act == "b":
            amount = pick % 7
            turn = desk.ledger.begin(
                keys[which], credential=CREDENTIAL, tool=tool, now=desk.clock.now(), counters=_COUNTERS,
                arguments={"amount": amount},
            )  # fmt: skip
            calls.append((now_us, turn, amount))
            flying.append(calls[-1])
            mine = [one for one in calls if one[1].key == keys[which]]
            hour = [one for one in mine if one[1].tool == _REFUND and now_us - one[0] < 3_600_000_000]
            assert turn.session["hour"] == len(hour)
            assert turn.session["sum"] == sum(one[2] for one in hour)
            same = [one for one in mine if one[1].session["id"] == turn.session["id"]]
            assert turn.session["all"] == sum(one[2] for one in same if one[1].tool == _REFUND)
            assert turn.session["task"] == sum(now_us - one[0] < 60_000_000 for one in mine)
        elif flying:
            ended = flying.pop(pick % len(flying))
            if act == "c":
                desk.ledger.commit(ended[1], desk.clock.now())
            else:
                desk.ledger.give_back(ended[1])
                calls.remove(ended)
