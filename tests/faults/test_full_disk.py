"""A disk without room: no call goes through, a revocation does and stays, and with room again all goes on.

Both ways to be full: databases that may not grow, and (where mounting is permitted) a file system that is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from accredit.storage.sqlite.records import SqliteRecordStore
from tests.enforcement.place import WORKER, Place, agent, site

_OTHER = agent("other", [{"allow": ["read"]}])
_REFUSALS = {"audit_unavailable", "disk_low"}


async def _served_again(at: Place, token: str) -> None:
    """The log's writer tries again every second."""
    async with asyncio.timeout(20):
        while not (told := await at.call(token)).allowed:
            assert told.why["code"] in _REFUSALS
            await asyncio.sleep(0.1)


async def _filled(at: Place, token: str) -> None:
    """Use up what is left of the last pages."""
    async with asyncio.timeout(20):
        while (await at.call(token)).allowed:
            pass


async def _revoked_while_full(at: Place, token: str) -> None:
    """A call is refused with its reason and not sent; a revocation is in force although it may not be recordable."""
    reached = len(at.site.box.calls)
    told = await at.call(token)
    assert told.why["code"] in _REFUSALS, told.json
    assert told.why["hint"]
    assert len(at.site.box.calls) == reached
    assert at.enforcer.in_flight == 0
    status, answer = await at.operator.attempt("agents/worker/revoke", {"reason": "stolen"})
    assert status in {200, 503}, answer
    if status == 503:
        assert answer["detail"]
        assert answer["hint"]
        assert (await at.http.get("/readyz")).status_code == 503, "a change waits for the log"
    assert (await at.call(token)).status == 401
    assert len(at.site.box.calls) == reached


@pytest.mark.requirement("faults:disk:full")
def test_a_log_that_may_not_grow_refuses_calls_and_still_revokes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores: list[SqliteRecordStore] = []
    made = SqliteRecordStore.__init__

    def noted(self: SqliteRecordStore, *given: object, **named: object) -> None:
        made(self, *given, **named)  # type: ignore[arg-type]  # passed on as they came
        stores.append(self)

    monkeypatch.setattr(SqliteRecordStore, "__init__", noted)
    reopened = SqliteRecordStore.reopen
    full, turn = False, threading.RLock()  # the writer reopens its store in a thread of its own

    def limit(store: SqliteRecordStore) -> None:
        # closed between two of the writer's tries: opening it again applies the limit
        with turn, contextlib.suppress(sqlite3.ProgrammingError):
            (pages,) = store._writing.execute("PRAGMA page_count").fetchone()
            store._writing.execute(f"PRAGMA max_page_count = {pages if full else 2**30}")

    def reopen(self: SqliteRecordStore) -> None:
        with turn:
            reopened(self)
            limit(self)

    monkeypatch.setattr(SqliteRecordStore, "reopen", reopen)

    async def live() -> None:
        nonlocal full
        async with site(tmp_path / "data") as empty:
            async with empty.started() as at:
                await empty.register(at, WORKER, _OTHER)
                token, other = await at.token("worker"), await at.token("other")
                full = True
                limit(stores[-1])
                await _filled(at, token)
                await _revoked_while_full(at, token)
            async with empty.started() as at:
                limit(stores[-1])  # full again
                assert (await at.call(token)).status == 401
                await _filled(at, other)
                full = False
                limit(stores[-1])
                await _served_again(at, other)
                assert (await at.call(token)).status == 401
                async with asyncio.timeout(20):
                    while (await at.http.get("/readyz")).status_code != 200:
                        await asyncio.sleep(0.1)
            empty.verified()
            async with empty.started() as at:
                assert (await at.call(token)).status == 401
                assert len(at.records("agent.revoked")) == 1

    asyncio.run(live())


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[None]:
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a file system cannot be mounted here; the page limit was tested")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.requirement("faults:disk:full")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount; the page limit is tested by anybody")
def test_a_full_file_system_refuses_calls_and_still_revokes(tmp_path: Path) -> None:
    async def live() -> None:
        async with site(tmp_path / "disk" / "data") as empty:
            ballast = tmp_path / "disk" / "ballast"
            async with empty.started() as at:
                await empty.register(at, WORKER, _OTHER)
                token, other = await at.token("worker"), await at.token("other")
                assert (await at.call(token)).allowed
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as filling:
                    while True:
                        filling.write(bytes(4096))
                await _filled(at, token)
                await _revoked_while_full(at, token)
                ballast.unlink()
                await _served_again(at, other)
                assert (await at.call(token)).status == 401
            empty.verified()
            async with empty.started() as at:
                assert (await at.call(token)).status == 401
                assert (await at.call(other)).allowed

    with _small_disk(tmp_path / "disk"):
        asyncio.run(live())
