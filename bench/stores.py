"""Retiring an agent that kept 100,000 items in SQLite: revoked, archived, its purge signed off, proven, certified.

The process is killed (its loop is ended) in the midst of deleting, and the next one completes it. Memory is the peak of
what Python allocates from the plan to the certificate, the items and the database's own pages not counted. `--quick` takes
10,000 items.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from _report import report

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.audit.building import signer
from tests.lifecycle.house import House, file, house, operator
from tests.stores.kinds import NAMESPACE, fill_sqlite
from tests.stores.rows import Row

from accredit.approvals.model import ApprovalState
from accredit.audit.certificates import read_certificate
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId

_STORES = [{"kind": "memory", "adapter": "sqlite", "store": "shelf", "namespace": NAMESPACE}]


class _KilledError(BaseException):
    """The process is gone."""


async def _keeping(place: House, path: Path) -> AgentId:
    """An active agent that keeps things."""
    await place.tools()
    manifest = {
        "apiVersion": "accredit/v1", "kind": "Store", "metadata": {"name": "shelf", "environment": "production"},
        "spec": {"adapter": "sqlite", "location": str(path), "namespaces": [NAMESPACE], "shared": False},
    }  # fmt: skip
    (applied,) = await place.operations.apply(operator("olive"), file(manifest))
    assert applied.request is not None
    await place.approve(applied.request.id)
    return (await place.active(stores=_STORES)).id


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
        agent = await _keeping(place, path)
        with contextlib.suppress(UnavailableError):  # its purge waits for compliance
            await place.operations.retire(operator("dana"), agent, "over")
        for asked in place.approvals.find(state=ApprovalState.OPEN):
            await place.approve(asked.id)
        await place.room.stores.round()
        while seen < items // 400:  # noqa: ASYNC110 - what counts is in a thread
            await asyncio.sleep(0.01)
    async with house(folder) as place:
        while place.room.lifecycle.receipt(agent) is None:
            await place.operations.tidy()
            await asyncio.sleep(0.01)
        certificate = await place.room.retirements.certificates.settle(agent)
        seconds = time.perf_counter() - began
        _, most = tracemalloc.get_traced_memory()
        assert certificate is not None
        (store,) = read_certificate(certificate.note.encode(), signer().vkey)["stores"]
        return {
            "items": store["deleted"],
            "left": store["items_after"],
            "certified": int(store["claim"] == "absent"),
            "seconds": seconds,
            "peak_mb": most / 2**20,
            "certificate_kb": len(certificate.note) / 1024,
            "control_records": place.control.position,
        }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--quick", action="store_true")
    items = 10_000 if asked.parse_args().quick else 100_000
    print(
        f"{items} items: retired, signed off, half deleted, killed, completed, proven and certified by the next process"
    )
    with tempfile.TemporaryDirectory() as folder:
        report("stores", asyncio.run(_story(Path(folder), items)))


if __name__ == "__main__":
    main()
