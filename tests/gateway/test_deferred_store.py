"""What every `DeferredCallStore` does, whatever keeps it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from accredit.gateway.ports import DeferredCallStore, DeferredStanding, KeptCall
from accredit.kernel.errors import ConflictError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.storage.memory.deferred import MemoryDeferredCallStore
from accredit.storage.sqlite.deferred import SqliteDeferredCallStore

WAITS, BEGUN, ENDED = DeferredStanding.WAITS, DeferredStanding.BEGUN, DeferredStanding.ENDED
Reopened = Callable[[], DeferredCallStore]


@pytest.fixture(params=["memory", "sqlite"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopened]:
    """The store as whoever opens it after all before finds it."""
    opened: list[DeferredCallStore] = []

    def again() -> DeferredCallStore:
        if request.param == "memory":
            opened[:] = opened or [MemoryDeferredCallStore()]
            return opened[0]
        for one in opened:
            one.close()
        opened[:] = [SqliteDeferredCallStore(tmp_path / "deferred.db")]
        return opened[0]

    yield again
    for one in opened:
        one.close()


def kept(
    name: str = "tsk_1", standing: DeferredStanding = WAITS, *, until: int = 100, content: bytes = b"x"
) -> KeptCall:
    return KeptCall(name, AgentId("agt_1"), standing, until, ("agent:agt_1", "credential:crd_1"), content)


@pytest.mark.requirement("gateway:tasks:store")
def test_what_was_added_is_there_byte_for_byte_also_for_whoever_opens_it_next(reopened: Reopened) -> None:
    store, call = reopened(), kept(content=bytes(range(256)))
    assert store.get("tsk_1") is None
    assert list(store.sizes()) == []
    store.add(call)
    assert (store.get("tsk_1"), store.get("TSK_1"), store.get("")) == (call, None, None)
    store = reopened()
    assert store.get("tsk_1") == call
    (size,) = store.sizes()
    assert (size.id, size.agent, size.standing, size.expires_us) == ("tsk_1", "agt_1", WAITS, 100)
    assert (size.bound, size.size) == (call.bound, 256)


@pytest.mark.requirement("gateway:tasks:store")
def test_a_call_goes_on_only_from_where_it_stands_and_never_comes_back(reopened: Reopened) -> None:
    store = reopened()
    assert not store.advance(kept(standing=BEGUN), after=WAITS), "what is not there cannot go on"
    store.add(kept())
    assert store.advance(kept(standing=BEGUN, content=b"b"), after=WAITS)
    assert not store.advance(kept(standing=BEGUN, content=b"c"), after=WAITS)
    store = reopened()
    assert store.get("tsk_1") == kept(standing=BEGUN, content=b"b")
    assert store.advance(kept(standing=ENDED, content=b"e"), after=BEGUN)
    store.forget(["tsk_1", "tsk_2"])
    assert not store.advance(kept(standing=ENDED), after=ENDED), "what was let go of is not brought back"
    assert reopened().get("tsk_1") is None


@pytest.mark.requirement("gateway:tasks:store")
def test_sizes_come_in_the_order_in_which_calls_came_to_stand_where_they_stand(reopened: Reopened) -> None:
    store = reopened()
    for number in range(3):
        store.add(kept(f"tsk_{number}"))
    assert store.advance(kept("tsk_0", ENDED), after=WAITS)
    assert [size.id for size in store.sizes()] == ["tsk_1", "tsk_2", "tsk_0"]
    assert [size.id for size in reopened().sizes()] == ["tsk_1", "tsk_2", "tsk_0"]


@pytest.mark.requirement("gateway:tasks:store")
def test_a_state_is_spent_once_until_its_time_is_over(reopened: Reopened) -> None:
    store = reopened()
    assert store.spend("sha256:a", until_us=100)
    assert not store.spend("sha256:a", until_us=500)
    assert store.spend("sha256:A", until_us=100)
    store = reopened()
    assert not store.spend("sha256:a", until_us=100)
    assert store.sweep(99) == 0
    assert not store.spend("sha256:a", until_us=100)
    assert store.sweep(100) == 2
    assert store.spend("sha256:a", until_us=100)


@pytest.mark.requirement("gateway:tasks:store")
def test_a_sweep_takes_what_is_over_and_nothing_else(reopened: Reopened) -> None:
    store = reopened()
    store.add(kept("tsk_1", until=100))
    store.add(kept("tsk_2", until=101))
    assert store.sweep(100) == 1
    assert [size.id for size in reopened().sizes()] == ["tsk_2"]


@pytest.mark.requirement("gateway:tasks:once")
def test_of_many_processes_that_would_begin_a_call_or_spend_a_state_one_does(tmp_path: Path) -> None:
    path = tmp_path / "deferred.db"
    stores = [SqliteDeferredCallStore(path) for _ in range(4)]
    stores[0].add(kept())
    won: list[str] = []

    def run(store: SqliteDeferredCallStore) -> None:
        if store.advance(kept(standing=BEGUN), after=WAITS):
            won.append("begun")
        if store.spend("sha256:a", until_us=100):
            won.append("spent")

    threads = [Thread(target=run, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for store in stores:
        store.close()
    assert sorted(won) == ["begun", "spent"]


@pytest.mark.requirement("gateway:tasks:store")
def test_rows_of_another_form_are_none_and_files_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deferred.db"
    store = SqliteDeferredCallStore(path)
    for name in ("tsk_1", "tsk_2", "tsk_3"):
        store.add(kept(name))
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE calls SET standing = 'somehow' WHERE id = 'tsk_1'")
        database.execute("UPDATE calls SET sealed = 'text' WHERE id = 'tsk_2'")
        database.execute("UPDATE calls SET bound = '{' WHERE id = 'tsk_3'")
        database.commit()
    store = SqliteDeferredCallStore(path)
    assert [store.get(name) for name in ("tsk_1", "tsk_2", "tsk_3")] == [None, None, None]
    assert [size.id for size in store.sizes()] == ["tsk_2"]
    store.close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 9")
    with pytest.raises(ConflictError, match="a format this release does not know"):
        SqliteDeferredCallStore(path)
    path.write_bytes(b"no database" * 500)
    with pytest.raises(UnavailableError) as raised:
        SqliteDeferredCallStore(path)
    assert "moved away" in raised.value.hint


@pytest.mark.requirement("gateway:tasks:store")
def test_a_store_that_is_gone_says_so_and_its_file_is_the_owners_alone(tmp_path: Path) -> None:
    store = SqliteDeferredCallStore(tmp_path / "deferred.db")
    store.add(kept())
    assert {path.stat().st_mode & 0o077 for path in tmp_path.iterdir()} == {0}
    store.close()
    for call in (
        store.sizes,
        lambda: store.get("tsk_1"),
        lambda: store.add(replace(kept(), id="tsk_2")),
        lambda: store.spend("a", until_us=1),
        lambda: store.sweep(1),
    ):
        with pytest.raises(UnavailableError):
            call()
