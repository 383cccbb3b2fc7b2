"""History judged by several processes comes out as by one, and nobody waits for a worker that is gone."""

from __future__ import annotations

import asyncio
import functools
import os
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from accredit.enforcement import sharding
from accredit.enforcement.history import History
from accredit.enforcement.sharding import ShardedHistory
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.offline import open_history
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.release import Release, read_release
from tests.enforcement.place import WORKER, place

DENY = {"team/support/all.cedar": 'forbid (principal in Team::"support", action, resource);'}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation that has stopped, with a few calls on record."""
    directory = tmp_path_factory.mktemp("sharded") / "data"

    async def live() -> None:
        async with place(directory, WORKER) as at:
            worker = await at.principal("worker")
            for number in range(12):
                answer = await at.admit(worker, "read", {"customer_id": f"c-{number}"})
                at.settle(answer)  # type: ignore[arg-type]  # all are admitted
            await at.settled()

    asyncio.run(live())
    return directory


@pytest.fixture(autouse=True)
def _nothing_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "_SHORT", 0)


def candidate() -> Release:
    """A release that denies everything to the team."""
    return read_release(DENY, CedarEngine(), agents={"worker": "agt_any"})


@pytest.mark.requirement("policy:replay:processes")
def test_several_processes_find_what_one_finds(data: Path) -> None:
    with open_history(data) as history:
        one = ShardedHistory(history, functools.partial(open_history, data), workers=1)
        several = ShardedHistory(history, functools.partial(open_history, data), workers=2)
        size, told = history.size(), list[int]()
        whole, parts = one.replay(candidate(), 0, size), several.replay(candidate(), 0, size, progress=told.append)
        assert whole.judged == parts.judged == sum(parts.changes.values()) == 12
        parts.distinct = whole.distinct
        assert parts == whole
        assert told == sorted(told)
        assert told[-1] <= size
        proof = several.reproduce(0, size)
        assert (proof.same, proof.judged) == (12, 12)


@pytest.mark.requirement("policy:replay:processes")
def test_whoever_follows_the_progress_can_give_up(data: Path) -> None:
    class GivenUpError(Exception):
        pass

    def no_more(_: int) -> None:
        raise GivenUpError

    with open_history(data) as history:
        for workers in (1, 2):
            past = ShardedHistory(history, functools.partial(open_history, data), workers=workers)
            with pytest.raises(GivenUpError):
                past.replay(candidate(), 0, history.size(), progress=no_more)


def _dies() -> AbstractContextManager[History]:
    os._exit(7)


def _locked() -> AbstractContextManager[History]:
    raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the log is on holiday")


def _broken() -> AbstractContextManager[History]:
    raise ZeroDivisionError


@pytest.mark.requirement("policy:replay:processes")
def test_a_part_that_was_not_judged_is_an_error_and_never_a_smaller_tally(data: Path) -> None:
    with open_history(data) as history:
        for opener, why in ((_dies, "is gone"), (_locked, "on holiday"), (_broken, "is gone")):
            past = ShardedHistory(history, opener, workers=2)
            with pytest.raises(UnavailableError, match=why):
                past.replay(candidate(), 0, history.size())
