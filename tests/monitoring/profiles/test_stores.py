"""What every `ProfileStore` does, whatever keeps it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accredit.kernel.canonical import Digest
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId
from accredit.monitoring.profiles.model import CallOutcome, ProfiledCall, ProfiledValue, SessionProfile
from accredit.monitoring.profiles.ports import ProfileStore, Progress
from accredit.storage.memory.profiles import MemoryProfileStore
from accredit.storage.profiles import unpacked
from accredit.storage.sqlite.profiles import SqliteProfileStore

A, B = AgentId("agt_a"), AgentId("agt_b")
Reopened = Callable[[], ProfileStore]


@pytest.fixture(params=["memory", "sqlite"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopened]:
    """The store as whoever opens it after all before finds it."""
    opened: list[MemoryProfileStore | SqliteProfileStore] = []

    def again() -> ProfileStore:
        if request.param == "memory":
            opened[:] = opened or [MemoryProfileStore()]
            return opened[0]
        for one in opened:
            one.close()  # type: ignore[union-attr]
        opened[:] = [SqliteProfileStore(tmp_path / "profiles.db")]
        return opened[0]

    yield again
    for one in opened:
        if isinstance(one, SqliteProfileStore):
            one.close()


def session(name: str, agent: AgentId = A, ended_us: int = 10) -> SessionProfile:
    calls = (
        ProfiledCall("crm/read", CallOutcome.OK, (ProfiledValue("id", "n3"), ProfiledValue("to", "mail:0a0a0a0a"))),
        ProfiledCall("", CallOutcome.DENIED),
    )
    digest = Digest("sha256:" + "a" * 64)
    return SessionProfile(agent, name, digest, 3, 9, 1, ended_us, calls, {"calls": 2.0, "score:x": 0.25}, in_part=True)


@pytest.mark.requirement("monitoring:profiles:kept")
def test_profiles_come_back_as_they_were_in_their_order(reopened: Reopened) -> None:
    kept = [session("one"), session("two", B), session("three")]
    reopened().keep(kept[:2], Progress(7, 5, 99))
    reopened().keep(kept[2:], Progress(9, 9, 100))
    store = reopened()
    assert store.progress == Progress(9, 9, 100)
    assert [(one.number, one.profile) for one in store.after(0, 10)] == list(enumerate(kept, 1))
    assert [one.number for one in store.after(1, 1)] == [2]
    assert [one.profile.session for one in store.newest(A, 10)] == ["three", "one"]
    found = store.find(B, "two")
    assert found is not None
    assert found.profile == kept[1]
    assert store.find(A, "two") is None
    assert store.counts() == {A: 2, B: 1}


@pytest.mark.requirement("monitoring:profiles:kept")
def test_a_session_that_goes_on_after_it_was_kept_stands_beside_it(reopened: Reopened) -> None:
    for _ in range(3):
        reopened().keep([session("one")], Progress())
    assert [one.profile.session for one in reopened().after(0, 10)] == ["one", "one+1", "one+2"]


@pytest.mark.requirement("monitoring:profiles:kept")
def test_states_are_kept_with_how_far_they_go_and_agents_are_forgotten_whole(reopened: Reopened) -> None:
    reopened().keep([session("one"), session("two", B)], Progress(1, 1, 1))
    reopened().keep_states({A: b"a", B: b"b"}, watched=2)
    reopened().keep_states({A: b"aa"}, watched=3)
    assert (reopened().states([A, B]), reopened().watched) == ({A: b"aa", B: b"b"}, 3)
    reopened().forget([A])
    store = reopened()
    assert (store.states([A, B]), [one.profile.agent for one in store.after(0, 9)]) == ({B: b"b"}, [B])
    store.keep_states({B: b""}, watched=4)
    assert reopened().states([B]) == {}


@pytest.mark.requirement("monitoring:profiles:bounded")
def test_what_is_too_old_or_too_much_goes_and_numbers_are_not_given_again(reopened: Reopened) -> None:
    reopened().keep([session(str(at), ended_us=at) for at in range(10)] + [session("b", B, 1)], Progress())
    assert reopened().sweep(before_us=2, most=3) == 2 + 1 + 5
    assert [one.profile.session for one in reopened().after(0, 99)] == ["7", "8", "9"]
    reopened().forget([A])
    reopened().keep([session("new")], Progress())
    assert [one.number for one in reopened().after(0, 9)] == [12]


@pytest.mark.requirement("monitoring:profiles:kept")
def test_cleared_it_is_as_if_new(reopened: Reopened) -> None:
    reopened().keep([session("one")], Progress(5, 5, 5))
    reopened().keep_states({A: b"a"}, watched=1)
    reopened().clear()
    store = reopened()
    assert (store.progress, store.watched, list(store.after(0, 9)), store.states([A])) == (Progress(), 0, [], {})
    store.keep([session("one")], Progress())
    assert [one.number for one in reopened().after(0, 9)] == [1]


@pytest.mark.requirement("monitoring:profiles:kept")
def test_a_damaged_file_is_made_anew_for_the_log_has_it_all(tmp_path: Path) -> None:
    path = tmp_path / "profiles.db"
    path.write_bytes(b"no database" * 100)
    store = SqliteProfileStore(path)
    assert store.progress == Progress()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


@pytest.mark.requirement("monitoring:profiles:kept")
@pytest.mark.parametrize("stored", [b"", b"x", b"\x78\x9c\x03\x00\x00\x00\x00\x01"])
def test_a_row_that_was_not_written_here_is_said_to_be_so(stored: bytes) -> None:
    with pytest.raises(UnavailableError, match="profile"):
        unpacked(A, stored)
