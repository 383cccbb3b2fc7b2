"""kill -9 between any two steps, of a process with every room in it: nothing is half-alive, and the next goes on."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accredit.audit.verify import verify_log
from accredit.lifecycle.model import ProcedureEnd, Step
from accredit.registry.model import AgentState
from accredit.storage.sqlite.records import SqliteRecordReader
from tests.audit.building import signer
from tests.lifecycle.house import house

_ROOT = Path(__file__).parents[2]


def _process(path: Path, *arguments: str) -> int:
    program = [sys.executable, "-m", "tests.lifecycle.process", str(path), *arguments]
    return subprocess.run(program, cwd=_ROOT, timeout=60, check=False, capture_output=True).returncode


def _sound(path: Path) -> bool:
    return verify_log(lambda: SqliteRecordReader(path / "audit.db"), verifier=signer().verifier()).ok


@pytest.mark.requirement("lifecycle:kill:between-steps")
@pytest.mark.parametrize("what", ["activate", "retire"])
def test_killed_twice_anywhere_a_procedure_is_completed_by_the_next_process(tmp_path: Path, what: str) -> None:
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert _process(fresh, what, "1") == -signal.SIGKILL  # everything but the first moment is still to come
    for nth in (1, 2, 4):
        path = tmp_path / str(nth)
        shutil.copytree(fresh, path)
        assert _process(path, what, str(nth)) == -signal.SIGKILL
        assert _sound(path)

        async def look(path: Path = path) -> None:
            async with house(path) as place:  # its start goes on with what was begun
                assert place.room.lifecycle.unfinished() == ()
                (agent,) = place.registry.catalogue.agents()
                procedure = place.room.lifecycle.procedure(agent.id)
                assert procedure is not None
                assert procedure.outcome is ProcedureEnd.COMPLETED
                assert {done.step for done in procedure.done} == set(Step)
                assert len(procedure.done) == len(Step), "a step was done twice"
                if what == "activate":
                    assert agent.state is AgentState.ACTIVE
                    (request,) = place.approvals.find(agent=agent.id)
                    assert request.used_us is not None
                else:
                    assert agent.state is AgentState.RETIRED
                    assert place.room.lifecycle.receipt(agent.id) is not None

        asyncio.run(asyncio.wait_for(look(), 60))
        assert _sound(path)
