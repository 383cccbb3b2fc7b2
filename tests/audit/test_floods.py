"""Floods of refusals: counted to the last one, in bounded memory."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accredit.audit.floods import RefusalFlood, UnauthenticatedFlood
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from tests.audit.building import START_US

_MINUTE = 60.0


def _clock() -> ScriptedClock:
    return ScriptedClock(START_US - START_US % 60_000_000)


@pytest.mark.requirement("audit:flood:refusals")
def test_beyond_sixty_equal_refusals_a_minute_one_record_counts_the_rest() -> None:
    clock, flood = _clock(), RefusalFlood()
    admitted = [flood.admit(clock.now(), "agt_1", "crm/read", Code.RATE_LIMITED) for _ in range(100)]
    assert admitted == [True] * 60 + [False] * 40
    assert flood.admit(clock.now(), "agt_1", "crm/write", Code.RATE_LIMITED)
    assert flood.admit(clock.now(), "agt_2", "crm/read", Code.RATE_LIMITED)
    assert flood.admit(clock.now(), "agt_1", "crm/read", Code.OUTSIDE_HOURS)
    assert flood.due(clock.now()) == []
    start = clock.now().wall_us
    clock.advance(_MINUTE)
    (entry,) = flood.due(clock.now())
    assert (entry.facts.kind, entry.facts.agent, entry.facts.tool) == ("refused.repeated", "agt_1", "crm/read")
    assert entry.body == {"code": "rate_limited", "count": 40, "from": start, "until": start + 60_000_000}
    assert flood.due(clock.now()) == []
    assert flood.admit(clock.now(), "agt_1", "crm/read", Code.RATE_LIMITED)


@pytest.mark.requirement("audit:flood:refusals", "audit:flood:bounded")
@given(
    calls=st.lists(
        st.tuples(st.integers(0, 40), st.sampled_from([Code.RATE_LIMITED, Code.HELD]), st.integers(0, 30)), max_size=150
    )
)
def test_every_refusal_is_a_record_or_counted_in_one_however_many_keys(calls: list[tuple[int, Code, int]]) -> None:
    clock, flood = _clock(), RefusalFlood(per_minute=2, max_keys=5)
    recorded: Counter[str] = Counter()
    entries = []
    for agent, code, wait in calls:
        clock.advance(wait)
        entries += flood.due(clock.now())
        if flood.admit(clock.now(), f"agt_{agent}", None, code):
            recorded[code.value] += 1
        assert len(flood._seen) <= 5 + 2
        assert len(flood._rest) <= 5 + 2
    entries += flood.due(clock.now(), closing=True)
    for entry in entries:
        recorded[entry.body["code"]] += entry.body["count"]
    assert recorded == Counter(code.value for _, code, _ in calls)


@pytest.mark.requirement("audit:flood:unauthenticated")
def test_the_first_refusal_of_a_source_and_reason_is_a_record_and_the_minutes_record_counts_the_rest() -> None:
    clock, flood = _clock(), UnauthenticatedFlood()
    now = clock.now()
    admitted = [flood.admit(now, "10.0.0.1", Code.TOKEN_EXPIRED) for _ in range(5)]
    assert admitted == [True, False, False, False, False]
    assert flood.admit(now, "10.0.0.2", Code.TOKEN_EXPIRED)
    assert flood.admit(now, "10.0.0.1", Code.TOKEN_MISSING)
    assert not flood.admit(now, "10.0.0.1", Code.TOKEN_MISSING)
    assert flood.due(now) == []
    clock.advance(_MINUTE)
    (entry,) = flood.due(clock.now())
    assert entry.body["counts"] == {"token_expired": 4, "token_missing": 1}
    assert entry.body["until"] == now.wall_us + 60_000_000
    assert "10.0.0.1" not in repr(entry)  # an address is personal data: it stands in the first record's sealed part
    assert flood.admit(clock.now(), "10.0.0.1", Code.TOKEN_EXPIRED)
    assert flood.due(clock.now(), closing=True) == []


@pytest.mark.requirement("audit:flood:unauthenticated", "audit:flood:bounded")
def test_more_sources_than_fit_are_counted_by_reason() -> None:
    clock, flood = _clock(), UnauthenticatedFlood(max_keys=10)
    admitted = [flood.admit(clock.now(), f"10.0.0.{number}", Code.TOKEN_MISSING) for number in range(100)]
    assert sum(admitted) == 10
    (entry,) = flood.due(clock.now(), closing=True)
    assert entry.body["counts"] == {"token_missing": 90}


@pytest.mark.requirement("audit:flood:known-credential")
def test_a_flood_of_strangers_does_not_hide_the_use_of_a_credential_that_was_proven() -> None:
    clock, flood = _clock(), UnauthenticatedFlood(max_keys=3)
    now = clock.now()
    for number in range(10):
        flood.admit(now, f"10.0.0.{number}", Code.CREDENTIAL_REVOKED)
    assert flood.admit(now, "10.0.0.1", Code.CREDENTIAL_REVOKED, credential="crd_1")
    assert not flood.admit(now, "10.0.0.77", Code.CREDENTIAL_REVOKED, credential="crd_1")
    assert flood.admit(now, "10.0.0.1", Code.CREDENTIAL_REVOKED, credential="crd_2")
    clock.advance(_MINUTE)
    (entry,) = flood.due(clock.now())
    assert entry.body["counts"] == {"credential_revoked": 8}
    assert flood.admit(clock.now(), "10.0.0.1", Code.CREDENTIAL_REVOKED, credential="crd_1")
