"""A process killed with SIGKILL at every moment of an activation or a retirement, and killed again while it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from accredit.lifecycle.steps import ACTIVATION, RETIREMENT

_ROOT = Path(__file__).parents[2]
_WITHIN = {"built", "committed", "appended", "placed", "enforced"}
_NOT_BEGUN = {"state": "approved", "tier": None, "procedure": None, "used": False, "enrolment": False, "baseline": None}
_IN_FORCE = {"state": "active", "tier": "low", "procedure": "activate", "outcome": "completed", "used": True,
             "enrolment": True, "baseline": True, "receipt": False, "name": True}  # fmt: skip
_GONE = {"state": "retired", "procedure": "retire", "outcome": "completed", "enrolment": False,
         "join_tokens": 0, "epoch": 1, "baseline": False, "receipt": True, "name": False,
         "certificates": 1}  # fmt: skip
_EXPECTED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "activate": (_NOT_BEGUN, _IN_FORCE),
    "retire": (_IN_FORCE, _GONE),
}
"""What is there if it was not begun, and once it is completed."""


def _is(told: dict[str, Any], expected: dict[str, Any]) -> bool:
    return expected.items() <= told.items()


@pytest.mark.timeout(300)
@pytest.mark.requirement("lifecycle:kill:between-steps", "lifecycle:kill:within-steps")
@pytest.mark.parametrize("what", _EXPECTED)
def test_killed_twice_at_any_moment_a_procedure_is_completed_or_was_never_begun(tmp_path: Path, what: str) -> None:
    program = [sys.executable, "-m", "tests.lifecycle.process", str(tmp_path), what]
    run = subprocess.run(program, cwd=_ROOT, timeout=280, check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2_000:]
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    moments = [line["moment"] for line in lines]
    groups = ACTIVATION if what == "activate" else RETIREMENT
    assert moments.pop() is None, "it was killed at every moment there is"
    assert len(set(moments) - _WITHIN) >= len(groups), "between any two steps"
    assert moments.count("committed") >= len(groups), "and within each"
    before, after = _EXPECTED[what]
    begun = False
    for line, moment in zip(lines, (*moments, None), strict=True):
        found = line["found"]
        # what is not committed yet was never begun; from then on it is carried to its end by whoever comes next
        begun = begun or moment not in {"built", "narrowed"}
        assert _is(found, after if begun else before), (moment, found)
        assert found["sound"]
        assert (found["unfinished"], found["unproven"]) == (0, 0)
        if begun:
            every = sorted(step.value for group in groups for step in group)
            assert sorted(found["steps"]) == every, "a step was done twice or not at all"
        assert _is(line["after"], after), "asked for again it is completed all the same"
