"""What goes on by itself: one thing that fails or takes long keeps nothing else waiting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.lifecycle import room as rooms
from tests.lifecycle.house import house


class _Round:
    """A service whose every round is counted, and then goes as it is told."""

    def __init__(self, after: Any = None) -> None:
        self.rounds = 0
        self._after = after

    async def watch(self) -> None:
        self.rounds += 1
        if self._after is not None:
            await self._after()

    keep_tiers = tidy = round = watch

    @property
    def successions(self) -> _Round:
        return self


async def _failing() -> None:
    raise UnavailableError(Code.STATE_UNPROVEN, "for as long as this test goes on")


@pytest.mark.requirement("lifecycle:background:apart")
def test_a_round_that_fails_or_takes_long_starves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "WATCH_S", 0.001)
    monkeypatch.setattr(rooms, "TIDY_EVERY", 2)

    async def story() -> None:
        async with house(tmp_path) as place:
            watch, judging, quick, records = _Round(), _Round(_failing), _Round(_failing), _Round()
            stores = _Round(asyncio.Event().wait)  # a store that answers when it likes
            changed: dict[str, Any] = {
                "operations": watch, "judging": judging, "discovery": quick, "people": quick, "risen": _Round(_failing),
                "record_operations": records, "stores": stores,
            }  # fmt: skip
            going = asyncio.create_task(replace(place.room, **changed).run())
            while stores.rounds == 0 or records.rounds == 0:
                await asyncio.sleep(0.001)
            seen = watch.rounds
            while watch.rounds < seen + 20:
                await asyncio.sleep(0.001)
            assert (stores.rounds, judging.rounds > 10) == (1, True)
            going.cancel()
            with pytest.raises(asyncio.CancelledError):
                await going

    asyncio.run(asyncio.wait_for(story(), 60))
