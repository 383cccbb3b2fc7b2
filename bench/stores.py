"""Retiring what an agent kept: 100,000 items in SQLite are planned, signed off, purged and proven to be gone.

The process is killed (its loop is ended) in the midst of deleting, and the next one completes it. Memory is the peak of
what Python allocates from the plan to the outcome, the items and the database's own pages not counted. `--quick` takes
10,000 items.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from _report import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.lifecycle.house import House, file, house, operator
from tests.stores.kinds import NAMESPACE, fill_sqlite
from tests.stores.rows import Row

from accredit.lifecycle.stored import PurgeState

_STORES = [{"kind": "memory", "adapter": "sqlite", "store": "shelf", "namespace": NAMESPACE}]


class _KilledError(BaseException):
    """The process is gone."""


async def _keeping(place: House, path: Path) -> str:
    """A purge of an active agent's items, planned."""
    await place.tools()
    manifest = {
        "apiVersion": "accredit/v1", "kind": "Store", "metadata": {"name": "shelf", "environment": "production"},
        "spec": {"adapter": "sqlite", "location": str(path), "namespaces": [NAMESPACE], "shared": False},
    }  # fmt: skip
    (applied,) = await place.operations.apply(operator("olive"), file(manifest))
    assert applied.request is not None
    await place.approve(applied.request.id)
    agent = await place.active(stores=_STORES)
    plan = await place.room.store_operations.plan(operator("dana"), agent.id, "shelf", NAMESPACE)
    return plan.id


async def _story(folder: Path, items: int) -> dict[str, float | int]:
    path = folder / "stores/memory.db"
    path.parent.mkdir()
    fill_sqlite(
        path, NAMESPACE, [Row(f"m{at:06d}", f"note {at:06d}: what a customer asked for") for at in range(items)]
    )
    seen = 0

    def at(step: str) -> None:
        nonlocal seen
        seen += step == "deleted"
        if step == "deleted" and seen == items // 400:  # half of the pages
            raise _KilledError

    tracemalloc.start()
    began = time.perf_counter()
    async with house(folder, at=at) as place:
        purge = await _keeping(place, path)
        asked = await place.room.store_operations.purge(operator("dana"), purge)
        if asked.request is not None:
            await place.approve(asked.request)
            await place.room.stores.round()
        while seen < items // 400:  # noqa: ASYNC110 - what counts is in a thread
            await asyncio.sleep(0.01)
    async with house(folder) as place:
        await place.room.stores.round()
        while (found := place.room.stores.purge_of(purge)).state is PurgeState.RUNNING:  # noqa: ASYNC110 - a row is waited for
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - began
        _, most = tracemalloc.get_traced_memory()
        outcome = found.outcome
        assert outcome is not None
        return {
            "items": outcome.deleted,
            "left": outcome.items_after or 0,
            "certified": int(outcome.certified),
            "seconds": seconds,
            "peak_mb": most / 2**20,
            "control_records": place.control.position,
        }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--quick", action="store_true")
    items = 10_000 if asked.parse_args().quick else 100_000
    print(f"{items} items: planned, signed off, half deleted, killed, completed and proven by the next process")
    with tempfile.TemporaryDirectory() as folder:
        report("stores", asyncio.run(_story(Path(folder), items)))


if __name__ == "__main__":
    main()
