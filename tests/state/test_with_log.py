"""Control state on the real log, both on disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from accredit.audit.doctor import StateDoctor
from accredit.audit.records import PartKeys, body_of, open_part, part_values
from accredit.audit.state import MAX_DOC_BYTES
from accredit.kernel.ids import RandomIds
from accredit.storage.datadir import DataDirectory
from accredit.storage.sqlite.records import SqliteRecordReader
from accredit.storage.sqlite.state import SqliteControlStore
from tests.state.installation import always, change
from tests.state.process import examined, nth, opened, shown, state_after


@pytest.mark.requirement("state:doctor:log-alone-suffices")
def test_the_largest_docs_are_rebuilt_from_the_log_when_the_database_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "data"
    large = {"text": "x" * (MAX_DOC_BYTES - 11)}

    async def fill_up() -> None:
        async with opened(path) as service:
            await service.transact(lambda _: change(*(("thing", f"large{n}", large) for n in range(3))))
            for n in range(10):
                await service.transact(always(nth(n)))

    async def look() -> None:
        async with opened(path) as service:
            assert service.unproven == frozenset()
            state = shown(service)
            assert [state.pop(("thing", f"large{n}")) for n in range(3)] == [large] * 3
            assert state == state_after(10)

    asyncio.run(fill_up())
    for file in path.glob("control.db*"):
        file.unlink()
    directory = DataDirectory.open(path, ids=RandomIds())
    store, records = SqliteControlStore(directory.control_db), SqliteRecordReader(directory.audit_db)
    keys = PartKeys(directory.sealer, records.stream)
    diagnosis = StateDoctor(
        store=store,
        records=records,
        reserve=directory.reserve(),
        open_part=lambda record, name: part_values(open_part(record, name, keys)),
        sealer=directory.sealer,
    ).repair()
    assert len(diagnosis.differences) == 3 + len(state_after(10))
    records.close()
    store.close()
    directory.close()
    assert examined(path).sound
    asyncio.run(look())


@pytest.mark.requirement("state:record:names-its-predecessor")
def test_control_records_name_their_predecessor_over_records_of_other_kinds_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "data"

    async def life(first: int) -> None:
        async with opened(path) as service:
            for n in range(first, first + 3):
                await service.transact(always(nth(n)))

    for start in (0, 3):
        asyncio.run(life(start))  # each life ends with a census record of the log's own
    records = SqliteRecordReader(path / "audit.db")
    control = list(records.control_records())
    assert [body_of(record)["follows"] for record in control] == [None, *(record.seq for record in control[:-1])]
    assert records.size() > len(control) == 6
    records.close()
