"""Becomes the program of a tool server: run as a script of its own, with nothing of ours loaded.

It reads one JSON plan from a pipe, gives up what it must not keep, looks whether it could still read what is hidden
from it, and executes the program. All that happens in the process that will be the program, so what is found out is
true of it. The environment comes by the pipe: neither our own interpreter nor the list of processes sees it.

With `reap`, it ends every process of a user instead: a program that left its process group is still that user's.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

EXPOSED = 77
FAILED = 78

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def _stop(status: int, words: str) -> NoReturn:
    os.write(2, f"{words}\n".encode(errors="replace"))
    os._exit(status)


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _restrict(parent: int) -> None:
    """No more rights by what it executes, and no longer life than ours."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        _stop(FAILED, "this kernel cannot keep a program from gaining rights")
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we could ask to be told
        os._exit(FAILED)


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


def _execute(plan: dict[str, Any]) -> NoReturn:
    if plan["uid"] is not None:
        _become(plan["uid"])
    os.umask(0o077)
    _restrict(plan["parent"])
    for path in plan["hidden"]:
        if any(os.access(path, way) for way in (os.R_OK, os.W_OK, os.X_OK)):
            _stop(EXPOSED, "the data directory is not hidden from the program")
    try:
        os.chdir(plan["directory"])
        _limit(plan["limits"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and programs would inherit that
            signal.signal(number, signal.SIG_DFL)
        os.execve(plan["command"], [plan["command"], *plan["args"]], plan["env"])  # noqa: S606 - no shell is the point
    except OSError as error:
        _stop(FAILED, f"it cannot be started: {error.strerror}")


def _reap(uid: int) -> NoReturn:
    _become(uid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # every process that this user may end, but this one
    os._exit(0)


def main(descriptor: int) -> NoReturn:
    """Carry out the plan that the pipe holds."""
    with os.fdopen(descriptor, "rb") as pipe:
        plan = json.load(pipe)
    os.closerange(3, 65536)
    if plan.get("reap"):
        _reap(plan["uid"])
    _execute(plan)


if __name__ == "__main__":
    main(int(sys.argv[1]))
