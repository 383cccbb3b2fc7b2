"""A program that takes one agent through activation or retirement and kills itself at every single moment of it.

    python -m tests.lifecycle.process DIRECTORY activate|retire

The moments are those between two steps of the procedure and those within each step's transaction: built, in memory,
committed, appended to the log, placed. For each of them a process on a copy of the same directory kills itself there
with SIGKILL, the next one, which only goes on with what it finds, at its own second moment, and a third is looked at.
Prints one line of JSON for each: the moment, what was found, and what is there once somebody asks for it again.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from accredit.audit.verify import verify_log
from accredit.registry.model import AgentState
from accredit.storage.sqlite.records import SqliteRecordReader
from tests.audit.building import signer
from tests.lifecycle.house import House, house, operator

DANA = operator("dana")
_BOUND_S = 60


async def _prepared(path: Path, what: str) -> None:
    async with house(path) as place:
        await place.tools()
        request = await place.submitted()
        await place.approve(request.id)
        if what == "retire":
            await place.operations.activate(DANA, place.agent().id)
            await place.operations.join_token(DANA, place.agent().id)


async def _lived(path: Path, what: str, at: Callable[[str], None]) -> None:
    async with house(path, at=at, within=at) as place:
        (found,) = place.registry.catalogue.agents()
        if what == "recover":
            return
        if what == "retire":
            await place.operations.retire(DANA, found.id, "over")
        elif found.state is not AgentState.ACTIVE:
            await place.operations.activate(DANA, found.id)


async def _killed(path: Path, what: str, nth: int) -> None:
    left = nth

    def at(moment: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            (path / "moment").write_text(moment)
            os.kill(os.getpid(), signal.SIGKILL)

    await _lived(path, what, at)


async def _found(path: Path, what: str) -> None:
    sound = verify_log(lambda: SqliteRecordReader(path / "audit.db"), verifier=signer().verifier()).ok
    async with house(path) as place:  # its start goes on with what was begun
        told = _told(place) | {"sound": sound}
    (path / "found").write_text(json.dumps(told))
    async with house(path) as place:  # and nothing is done a second time
        again = _told(place)
        assert again.items() <= told.items(), (told, again)
    await _lived(path, what, lambda _: None)
    async with house(path) as place:
        (path / "after").write_text(json.dumps(_told(place)))


def _told(place: House) -> dict[str, Any]:
    view = place.control.view
    (agent,) = place.registry.catalogue.agents()
    procedure = place.room.lifecycle.procedure(agent.id)
    (request,) = place.approvals.find(agent=agent.id)
    baseline = place.room.baselines.of(agent.id)
    return {
        "state": agent.state.value,
        "tier": agent.tier.value if agent.tier else None,
        "procedure": None if procedure is None else procedure.kind.value,
        "outcome": None if procedure is None or procedure.outcome is None else procedure.outcome.value,
        "steps": [] if procedure is None else [done.step.value for done in procedure.done],
        "unfinished": len(place.room.lifecycle.unfinished()),
        "used": request.used_us is not None,
        "enrolment": view.get("enrolment", agent.id) is not None,
        "join_tokens": sum(row.doc["expires_us"] > 0 for row in view.scan("join_token")),
        "epoch": None if (epoch := view.get("epoch", agent.id)) is None else epoch.doc["epoch"],
        "baseline": None if baseline is None else baseline.open,
        "receipt": place.room.lifecycle.receipt(agent.id) is not None,
        "certificates": len(place.room.retirements.certificates.all_of(agent.id)),
        "name": place.registry.catalogue.agent_named("production", "digest") is not None,
        "unproven": len(place.control.unproven),
    }


def _forked(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Do it in a process of its own; its wait status. A fork, since nothing runs in this process but the loop below."""
    child = os.fork()
    if child == 0:
        signal.alarm(_BOUND_S)
        code = 1
        try:
            asyncio.run(work())
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, it must not go on in the parent's place
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def _run(directory: Path, what: str) -> None:
    fresh = directory / "fresh"
    fresh.mkdir()
    if _forked(lambda: _prepared(fresh, what)) != 0:
        sys.exit("not prepared")
    nth = 0
    while True:
        nth += 1
        path = directory / str(nth)
        shutil.copytree(fresh, path)
        status = _forked(lambda path=path, nth=nth: _killed(path, what, nth))  # type: ignore[misc] # bound by now
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not killed and status != 0:
            sys.exit(f"moment {nth} ended with {status}")
        if killed:
            moment = (path / "moment").read_text()
            _forked(lambda path=path: _killed(path, "recover", 2))  # type: ignore[misc] # bound by now
        if _forked(lambda path=path: _found(path, what)) != 0:  # type: ignore[misc] # bound by now
            sys.exit(f"moment {nth} was not survived")
        told = {name: json.loads((path / name).read_text()) for name in ("found", "after")}
        print(json.dumps({"moment": moment if killed else None, **told}), flush=True)  # noqa: T201 - what the test reads
        shutil.rmtree(path)
        if not killed:
            return


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2])
