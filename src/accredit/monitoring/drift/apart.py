"""Detectors that others wrote, each kind in a process of its own.

Loading such code is the operator's decision (setting `detectors`): it runs as the user that accredit runs as. Where it
fails it spoils its own readings alone: a process that does not answer in time, ends or says what is no answer is ended.
It is started again for the next session, and every detector in it goes on from its last state; after a few times it is
not.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from itertools import count
from time import monotonic
from typing import IO, Any, Final

import msgspec

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.monitoring.drift.plugin import GROUP, read_message, write_message
from accredit.monitoring.drift.ports import DetectorFaultError, DriftDetector, Reading, ViewReading
from accredit.monitoring.profiles.model import SessionProfile

__all__ = ["PluginKind", "plugin_kinds"]

_START_S: Final = 30.0
_FIT_S: Final = 30.0
_ANSWER_S: Final = 5.0
_MOST_FAILURES: Final = 3
"""Times that a process may fail before no other is started."""
_GIVEN: Final = ("LANG", "LC_ALL", "PATH", "PYTHONPATH", "TZ", "VIRTUAL_ENV")
"""Of our environment; the rest may hold secrets."""


def plugin_kinds(names: Sequence[str]) -> tuple[PluginKind, ...]:
    """The plug-ins of those names.

    Raises:
        InvalidInputError: one is not installed, or several are under its name.
    """
    found = []
    for name in names:
        entries = list(entry_points(group=GROUP, name=name))
        if len(entries) != 1:
            raise InvalidInputError(
                Code.SETTING_INVALID,
                f"`detectors` names `{name[:80]}`, and {len(entries)} packages have an entry point of that name",
                hint=f"install one package with an entry point of the group `{GROUP}`",
            )
        dist = entries[0].dist
        found.append(PluginKind(name, "0" if dist is None else dist.version))
    return tuple(found)


class PluginKind:
    """A `DetectorKind` whose detectors are in another process."""

    promise = ""
    e_detector = False

    def __init__(
        self, name: str, version: str, command: Sequence[str] | None = None, *, answer_s: float = _ANSWER_S
    ) -> None:
        self.name = name
        self.version = version
        self.stopped: str | None = None
        self._command = tuple(command or (sys.executable, "-m", "accredit.monitoring.drift.plugin", name))
        self._answer_s = answer_s
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._handles = count(1)
        self._alone = threading.Lock()

    def make(self) -> DriftDetector:
        """One that is fitted to nothing yet."""
        return _Remote(self, next(self._handles))

    def ask(self, what: str, handle: int, payload: Any) -> list[Any]:
        """Have the process do something.

        Raises:
            DetectorFaultError: it raises, or the process failed and was ended.
        """
        with self._alone:
            if self.stopped is not None:
                raise DetectorFaultError(self.stopped)
            try:
                process = self._process or self._started()
                until = monotonic() + (_FIT_S if what == "fit" else self._answer_s)
                assert process.stdin is not None  # noqa: S101 - a pipe was asked for
                write_message(process.stdin, [what, handle, payload])  # type: ignore[arg-type]  # a pipe of bytes
                answer = _read(process, until)
            except (EOFError, OSError, TimeoutError, ValueError, msgspec.MsgspecError) as error:
                self._end()
                self._failures += 1
                why = "it did not answer in time" if isinstance(error, TimeoutError) else "its process ended"
                if self._failures >= _MOST_FAILURES:
                    self.stopped = f"{why}, {self._failures} times"
                raise DetectorFaultError(why) from error
        if not isinstance(answer, list) or not answer or (answer[0] is False and len(answer) != 2):
            raise DetectorFaultError("no answer")
        if answer[0] is False:
            raise DetectorFaultError(f"it raised {str(answer[1])[:80]}")
        return answer

    def close(self) -> None:
        """End the process."""
        with self._alone:
            self.stopped = self.stopped or "the server ends"
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        environment = {name: os.environ[name] for name in _GIVEN if name in os.environ}
        self._process = process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        _read(process, monotonic() + _START_S)
        return process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                _closed(stream)
            process.wait()


class _Remote:
    """A detector in the process of its kind."""

    def __init__(self, kind: PluginKind, handle: int) -> None:
        self._kind = kind
        self._handle = handle
        self._state = b""
        self._threshold = 0.0

    def fit(self, sessions: Sequence[SessionProfile]) -> None:
        self._take(self._kind.ask("fit", self._handle, tuple(sessions)))

    def restore(self, state: bytes) -> None:
        self._take(self._kind.ask("restore", self._handle, state))

    def update(self, session: SessionProfile) -> Reading:
        answer = self._kind.ask("update", self._handle, session)
        if answer[0] is None:  # its process is another one by now, or had too many
            self.restore(self._state)
            answer = self._kind.ask("update", self._handle, session)
        try:
            _, (score, stat, views, since), threshold, state = answer
            made = tuple(ViewReading(str(view), float(own), float(strange)) for view, own, strange in views)
            reading = Reading(float(score), float(stat), made, since)
            self._take([True, threshold, state])
        except (TypeError, ValueError) as error:
            raise DetectorFaultError("no reading") from error
        return reading

    @property
    def threshold(self) -> float:
        return self._threshold

    def state(self) -> bytes:
        return self._state

    def _take(self, answer: list[Any]) -> None:
        try:
            _, threshold, state = answer
        except ValueError as error:
            raise DetectorFaultError("no answer") from error
        if not isinstance(threshold, float) or not isinstance(state, bytes):
            raise DetectorFaultError("no state")
        self._threshold, self._state = threshold, state


def _read(process: subprocess.Popen[bytes], until: float) -> Any:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    return read_message(_reader(process.stdout.fileno(), until))


def _reader(descriptor: int, until: float) -> Callable[[int], bytes]:
    def read(size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            left = until - monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise TimeoutError
            more = os.read(descriptor, size - len(found))
            if not more:
                break
            found += more
        return bytes(found)

    return read


def _closed(stream: IO[bytes] | None) -> None:
    try:
        if stream is not None:
            stream.close()
    except OSError:
        pass  # what was not written is of no use any more
