"""kill -9 at every step of a change, and at any moment: nothing acknowledged is lost, nothing is there by half."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - seeded here: rounds must repeat
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accredit.audit.control import STEPS
from tests.state.process import CHANGES, examined, opened, shown, state_after

_ROOT = Path(__file__).parents[2]
_KILLED = -signal.SIGKILL


def _program(path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.state.process", str(path), *arguments],
        cwd=_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def _run(path: Path, *arguments: str) -> tuple[int, int, int]:
    """(exit code, changes begun, changes acknowledged), counted from the first of all."""
    with _program(path, *arguments) as program:
        output, _ = program.communicate(timeout=60)
        return program.returncode, _last(output, "try"), _last(output, "ack")


def _last(output: str, word: str) -> int:
    return max((int(line.split()[1]) + 1 for line in output.splitlines() if line.startswith(word)), default=0)


def _check(path: Path, *, begun: int, acknowledged: int) -> int:
    """The state is that after some whole number of changes, none acknowledged missing, and is what the log says."""
    assert examined(path).sound

    async def look() -> int:
        async with opened(path) as service:
            assert service.unproven == frozenset()
            assert (service.waiting, service.foreign) == (0, ())
            row = service.view.get("progress", "next")
            done = int(row.doc["n"]) if row else 0
            assert shown(service) == state_after(done)
            assert acknowledged <= done <= begun
            return done

    done = asyncio.run(asyncio.wait_for(look(), 60))
    diagnosis = examined(path)
    assert diagnosis.sound
    assert diagnosis.undrained == ()
    return done


@pytest.mark.requirement("state:kill:every-step")
@pytest.mark.parametrize("step", [step for step in STEPS if step != "reserved"])
def test_killed_at_a_step_and_again_while_recovering(tmp_path: Path, step: str) -> None:
    path = tmp_path / "data"
    code, begun, acknowledged = _run(path, step, "6" if step != "narrowed" else "2")
    assert (code, begun - acknowledged) == (_KILLED, 1)
    assert examined(path).sound
    if step in {"committed", "appended"}:  # what waits is recorded at the next start: kill that at its next step
        follows = {"committed": "appended", "appended": "placed"}[step]
        code, again, _ = _run(path, follows, "1")
        assert (code, again) == (_KILLED, 0)
    done = _check(path, begun=begun, acknowledged=acknowledged)
    # from the commit on, an interrupted change is completed; before it, nothing happened
    assert done == (begun if step not in {"built", "narrowed"} else acknowledged)
    code, begun, acknowledged = _run(path)
    assert (code, begun, acknowledged) == (0, CHANGES, CHANGES)
    assert _check(path, begun=CHANGES, acknowledged=CHANGES) == CHANGES


def test_killed_once_a_revocation_is_in_the_reserve(tmp_path: Path) -> None:
    path = tmp_path / "data"
    code, begun, acknowledged = _run(path, "reserved", "1")
    assert (code, begun, acknowledged) == (_KILLED, 10, 10)
    assert len(examined(path).undrained) == 1

    async def look() -> None:
        async with opened(path) as service:
            assert (service.waiting, service.unproven) == (0, frozenset())
            state = shown(service)
            assert state.pop(("thing", "revoked"))
            assert state == state_after(10)

    asyncio.run(asyncio.wait_for(look(), 60))
    diagnosis = examined(path)
    assert diagnosis.sound
    assert diagnosis.undrained == ()


@pytest.mark.requirement("state:kill:any-moment")
def test_killed_at_any_moment_over_and_over(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    rounds = int(request.config.getoption("--rounds", default=3))
    draw = random.Random(20261123)
    path = tmp_path / "data"
    begun = acknowledged = 0
    for number in range(rounds):
        if acknowledged == CHANGES:
            path, begun, acknowledged = tmp_path / f"data{number}", 0, 0
        with _program(path) as program:
            assert program.stdout is not None
            lines = [program.stdout.readline() for _ in range(draw.randint(1, 14))]
            program.kill()
            rest = program.stdout.read()  # not `communicate`, which does not see what readline has buffered
            program.wait(timeout=60)
        output = "".join(lines) + rest
        begun, acknowledged = max(begun, _last(output, "try")), max(acknowledged, _last(output, "ack"))
        done = _check(path, begun=begun, acknowledged=acknowledged)
        begun = acknowledged = done
