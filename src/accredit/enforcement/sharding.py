"""The past judged by several processes: each reads a part of the log for itself, and the tallies add up.

Decisions hold the interpreter, so a second thread gains nothing and would take time from live calls; a process of its
own does not. A short history is judged in this process, in the calling thread.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

from accredit.enforcement.history import History
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.policy.release import Release, read_release
from accredit.policy.replay import Replayed, Reproduced, reproduce
from accredit.policy.replay import replay as judged_again
from accredit.registry.versions import version_from

__all__ = ["Opener", "ShardedHistory"]

Opener = Callable[[], AbstractContextManager[History]]
"""Opens the history in another process: picklable."""
_SHORT: Final = 20_000
_Tally = TypeVar("_Tally", Replayed, Reproduced)


@dataclass(frozen=True, slots=True)
class _Task:
    """What a worker does with its part of the log."""

    start: int
    stop: int
    files: Mapping[str, str] | None
    """The candidate's texts; None: prove the past instead."""
    names: Mapping[str, str]
    agents: frozenset[str] | None
    versions: Mapping[str, Mapping[str, Any]]
    """Stored documents of versions that agents are judged by instead of their own."""

    def run(self, history: History, release: Release | None, tick: Callable[[int], None]) -> Replayed | Reproduced:
        calls = history.calls(self.start, self.stop)
        if release is None:
            return reproduce(calls, tick)
        versions = {agent: version_from(doc) for agent, doc in self.versions.items()}
        return judged_again(calls, release, agents=self.agents, versions=versions, tick=tick)


class ShardedHistory:
    """Replays and reproduces with as many processes as there are cores."""

    def __init__(self, history: History, opener: Opener, *, workers: int | None = None) -> None:
        self._history = history
        self._opener = opener
        self._workers = workers or max(1, len(os.sched_getaffinity(0)))

    def size(self) -> int:
        """How many records the log has."""
        return self._history.size()

    def first_since(self, since_us: int) -> int:
        """The record from which on nothing is older."""
        return self._history.first_since(since_us)

    def replay(
        self,
        candidate: Release,
        start: int,
        stop: int,
        *,
        agents: frozenset[str] | None = None,
        versions: Mapping[str, Mapping[str, Any]] | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Replayed:
        """Judge the calls recorded from `start` to before `stop` by a candidate. Blocking.

        `versions` has documents of versions, by agent id, that are judged by instead of those that were.

        Raises:
            UnavailableError: the log cannot be read, or a worker died.
        """
        task = _Task(start, stop, dict(candidate.files), dict(candidate.agents), agents, versions or {})
        return self._spread(task, candidate, Replayed(), progress)

    def reproduce(self, start: int, stop: int, *, progress: Callable[[int], None] = lambda _: None) -> Reproduced:
        """Judge them again by what was in force then. Blocking. Raises as `replay`."""
        return self._spread(_Task(start, stop, None, {}, None, {}), None, Reproduced(), progress)

    def _spread(self, task: _Task, release: Release | None, total: _Tally, progress: Callable[[int], None]) -> _Tally:
        if task.stop - task.start <= _SHORT or self._workers == 1:
            made: Any = task.run(self._history, release, lambda seq: progress(seq - task.start))
            total.add(made)
            return total
        size = -(-(task.stop - task.start) // self._workers)
        parts = [replace(task, start=at, stop=min(task.stop, at + size)) for at in range(task.start, task.stop, size)]
        context, reached, processes, open_ends = get_context("spawn"), {}, [], {}
        try:
            for part in parts:
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(self._opener, part, theirs), daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                open_ends[ours] = part
            while open_ends:
                for end in wait(list(open_ends)):
                    assert isinstance(end, Connection)  # noqa: S101 - what was given to `wait`
                    said = _heard(end)
                    if isinstance(said, int):
                        reached[end] = said - open_ends[end].start
                        progress(sum(reached.values()))
                        continue
                    part = open_ends.pop(end)
                    if isinstance(said, str):
                        raise UnavailableError(Code.AUDIT_UNAVAILABLE, f"a part of history was not judged: {said}")
                    reached[end] = part.stop - part.start
                    total.add(said)
            return total
        finally:
            for process in processes:
                process.terminate()
                process.join()


def _heard(end: Connection) -> Any:
    try:
        return end.recv()
    except EOFError:
        return "the process that did it is gone"


def _work(opener: Opener, task: _Task, out: Connection) -> None:
    """The main function of a worker."""
    # what grows here is remembered answers, not garbage: looking through them again and again takes a third of the time
    gc.disable()
    try:
        with opener() as history:
            release = None if task.files is None else read_release(task.files, history.engine, agents=task.names)
            out.send(task.run(history, release, out.send))
    except AccreditError as error:
        out.send(error.message)
