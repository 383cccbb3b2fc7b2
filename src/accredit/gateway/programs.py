"""Programs that are started here: in namespaces of their own, with an environment and limits of their own.

A program gets no descriptor but its three and no variable that was not named. It sees the system to read only, private
places in the place of shared ones, no process but its own, and a network only if that was signed off; root gives it a
user of its own besides. It cannot reach the data directory, or it is not run. All of that is done in `launcher.py`, by
the process that becomes the program. When it is ended, so is all that it started: the kernel ends a namespace of
processes with its first one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from asyncio.subprocess import SubprocessStreamProtocol
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from accredit.gateway import launcher
from accredit.identity.scrubbing import without_credential
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.registry.model import Launch, ToolServer

__all__ = ["Program", "ProgramRules", "Programs", "isolation"]

_log = logging.getLogger("accredit.gateway")

_LAUNCHER: Final = Path(launcher.__file__)
_PIECE: Final = 64 * 1024
_MAX_WORDS: Final = 500
_KEPT_WORDS: Final = 10
_WORDS_PER_S: Final = 20.0
_WORDS_AT_ONCE: Final = 100
_FLOOD_PAUSE_S: Final = 0.02
_LAST_WORDS_S: Final = 0.2
_OWN_TIME_S: Final = 1.0
_REAP_S: Final = 5.0
_PROBE_S: Final = 10.0
_NOBODY: Final = 65_534


@dataclass(frozen=True, slots=True)
class ProgramRules:
    """What holds for every program."""

    allowed: bool
    """Whether any is started."""
    hidden: tuple[str, ...]
    """Directories that none may read, write or enter."""
    first_uid: int
    last_uid: int
    memory_bytes: int
    cpu_s: int
    unsafe_same_user: bool = False

    def limits(self) -> dict[str, int]:
        """Of one process, but for how many there are."""
        limits = {
            "RLIMIT_CORE": 0,
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_DATA": self.memory_bytes,
            "RLIMIT_FSIZE": 256 * 2**20,
            "RLIMIT_NOFILE": 512,
        }
        # counted by user and namespace of users: of shared ones it would count what others run
        return limits if self.unsafe_same_user else {**limits, "RLIMIT_NPROC": 256}


class _Streams(SubprocessStreamProtocol):
    """Knows when the process itself is gone: its pipes may be held open by what it started."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_PIECE, loop=loop)
        self.gone = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.gone.set()


@dataclass(frozen=True, slots=True)
class _Started:
    """A process and its three pipes."""

    transport: asyncio.SubprocessTransport
    gone: asyncio.Event
    input: asyncio.StreamWriter
    output: asyncio.StreamReader
    errors: asyncio.StreamReader


class Program:
    """One that was started. Its output is read by whoever started it."""

    def __init__(
        self,
        name: str,
        started: _Started,
        *,
        credential: Mapping[str, str],
        uid: int | None,
        scratch: Path | None,
        closed: Callable[[Program], None],
    ) -> None:
        self.name = name
        self.uid = uid
        self.pid = started.transport.get_pid()
        self._transport = started.transport
        self._gone = started.gone
        self.input = started.input
        self.output = started.output
        self._errors = started.errors
        self._credential = credential
        self._scratch = scratch
        """Its directory, where it is not isolated: there that is gone with its namespace."""
        self._closed = closed
        self._words: deque[bytes] = deque(maxlen=_KEPT_WORDS)
        self._listening = asyncio.get_running_loop().create_task(self._listen())
        self._ending: asyncio.Task[None] | None = None

    @property
    def status(self) -> int | None:
        """How it ended, if it did."""
        return self._transport.get_returncode()

    @property
    def last_words(self) -> str:
        """The newest of what it wrote to its error output, for the log."""
        return " | ".join(map(self._escaped, self._words))

    async def over(self) -> None:
        """Wait until it has ended by itself."""
        await self._gone.wait()

    async def fell_silent(self) -> None:
        """Wait until all that it said is read, once it has ended; not for long, for a child may go on talking."""
        await asyncio.wait({self._listening}, timeout=_LAST_WORDS_S)

    def failure(self) -> UnavailableError:
        """Why it does not answer, once it has ended."""
        if self.status == launcher.EXPOSED:
            return UnavailableError(Code.STDIO_EXPOSED, Code.STDIO_EXPOSED.meaning, hint=Code.STDIO_EXPOSED.remedy)
        if self.status == launcher.UNISOLATED:
            said = map(self._escaped, self._words)
            return _unisolated(next((words for words in said if words.startswith("not isolated: ")), ""))
        return UnavailableError(
            Code.UPSTREAM_UNREACHABLE,
            "the tool server's program ended",
            hint="look for its words in the log of accredit",
            cause=f"status {self.status}",
        )

    async def _listen(self) -> None:
        """Its error output goes to the log: bounded lines, at a bounded rate, as text that can imitate nothing.

        What is too much is counted and left out, and whoever writes so much waits until more is read.
        """
        loop = asyncio.get_running_loop()
        tokens, then, rest, left_out = float(_WORDS_AT_ONCE), loop.time(), b"", 0
        while piece := await self._errors.read(_PIECE):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _PIECE:
                lines, rest = [*lines, rest], b""
            now = loop.time()
            tokens, then = min(_WORDS_AT_ONCE, tokens + (now - then) * _WORDS_PER_S), now
            self._words.extend(lines[-_KEPT_WORDS:])
            told = lines[: int(tokens)]
            if told and left_out:
                self._tell_left_out(left_out)
                left_out = 0
            for line in told:
                _log.info("tool server %s says: %s", self.name, self._escaped(line))
            tokens -= len(told)
            left_out += len(lines) - len(told)
            if left_out:
                await self._gone_within(_FLOOD_PAUSE_S)
        if left_out:
            self._tell_left_out(left_out)

    def _tell_left_out(self, count: int) -> None:
        _log.info("tool server %s said %d lines more, which are left out", self.name, count)

    def _escaped(self, line: bytes) -> str:
        # before it is cut: half a secret would not be found
        text = without_credential(self._credential, line)[:_MAX_WORDS].decode("latin-1")
        return text.strip().encode("unicode_escape").decode("ascii")

    async def end(self, *, at_once: bool = False) -> None:
        """End it and all that it started. It is given a moment to end by itself, unless `at_once`."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(at_once=at_once))
        elif at_once:
            self._end_now()
        await asyncio.shield(self._ending)

    async def _end(self, *, at_once: bool) -> None:
        # 2025-11-25, Lifecycle, "Shutdown", stdio: close its input, then SIGTERM, then SIGKILL
        try:
            self.input.close()
            if not at_once:
                for each in (None, signal.SIGTERM):
                    if each is not None:
                        self._signal(each)
                    if await self._gone_within(_OWN_TIME_S):
                        break
            self._end_now()
            if not await self._gone_within(_REAP_S):
                self._signal(signal.SIGKILL)
                await self._gone_within(_REAP_S)
        finally:
            # read to the end: a pipe that nobody reads keeps its descriptor
            ends = {self._listening, asyncio.ensure_future(_read_out(self.output))}
            _, left = await asyncio.wait(ends, timeout=_OWN_TIME_S)
            for task in left:
                task.cancel()
            self._transport.close()
            if self._scratch is not None:
                await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
            self._closed(self)

    def _end_now(self) -> None:
        # isolated, the process that we know ends those within and waits for them: all are gone once it is
        self._signal(signal.SIGKILL if self._scratch is not None else signal.SIGUSR1)

    def _signal(self, number: signal.Signals) -> None:
        # the group may outlive the process that it is named after, and its number is not given anew before it is empty
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _gone_within(self, patience_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._gone.wait()
        return self._gone.is_set()


class Programs:
    """Starts programs, each in namespaces of its own, and by root as a user that no other process has."""

    def __init__(self, rules: ProgramRules) -> None:
        self._rules = rules
        self._running: set[Program] = set()
        self._taken: set[int] = set()
        """Users of programs that run, or are about to."""

    async def start(self, server: ToolServer, credential: Mapping[str, str]) -> Program:
        """Start a program; that it ends at once is found by whoever reads its output.

        Raises:
            UnavailableError: programs are not allowed here, or it cannot be started.
        """
        name, launch = server.name, server.launch
        if not self._rules.allowed or launch is None:
            raise UnavailableError(Code.STDIO_DISABLED, Code.STDIO_DISABLED.meaning, hint=Code.STDIO_DISABLED.remedy)
        isolated = not self._rules.unsafe_same_user
        if isolated and sys.platform != "linux":
            raise _unisolated("not isolated: only Linux has namespaces")
        with contextlib.ExitStack() as undone:
            uid = self._free_uid(name) if isolated and os.geteuid() == 0 else None
            if uid is not None:
                undone.callback(self._taken.discard, uid)
            try:
                scratch = None if isolated else Path(tempfile.mkdtemp(prefix="accredit-stdio-"))
                if scratch is not None:
                    undone.callback(shutil.rmtree, scratch, ignore_errors=True)
                started = await _launched(self._plan(launch, credential, uid, scratch))
            except (OSError, KeyError) as error:
                raise UnavailableError(
                    Code.UPSTREAM_UNREACHABLE, "the tool server's program cannot be started", cause=repr(error)[:200]
                ) from error
            undone.pop_all()
        program = Program(name, started, credential=credential, uid=uid, scratch=scratch, closed=self._over)
        self._running.add(program)
        return program

    async def aclose(self) -> None:
        """Wait until every program has ended; those still running are ended now."""
        await asyncio.gather(*(program.end(at_once=True) for program in list(self._running)))

    def _over(self, program: Program) -> None:
        self._running.discard(program)
        if program.uid is not None:
            self._taken.discard(program.uid)

    def _plan(
        self, launch: Launch, credential: Mapping[str, str], uid: int | None, scratch: Path | None
    ) -> Mapping[str, Any]:
        env = dict(launch.env)
        if launch.credential_variable is not None:
            env[launch.credential_variable] = credential[launch.credential_variable]
        return {
            "args": list(launch.args),
            "command": launch.command,
            "directory": launch.directory or (str(scratch) if scratch is not None else None),
            "env": env,
            "hidden": list(self._rules.hidden) if scratch is None else [],
            "isolated": scratch is None,
            "limits": self._rules.limits(),
            "network": launch.network,
            "parent": os.getpid(),
            "probe": False,
            "reads": list(launch.reads),
            "uid": uid,
            "writes": list(launch.writes),
        }

    def _free_uid(self, name: str) -> int:
        """A user of the range that nothing runs as; the same one for the same server, as far as that can be."""
        taken = self._taken | _uids_running()
        first, size = self._rules.first_uid, self._rules.last_uid - self._rules.first_uid + 1
        own = "\0".join((name, *self._rules.hidden))
        begin = int.from_bytes(sha256(own.encode()).digest()[:4])
        for step in range(size):
            uid = first + (begin + step) % size
            if uid not in taken:
                self._taken.add(uid)
                return uid
        raise UnavailableError(Code.UPSTREAM_UNREACHABLE, "every user of `stdio_uids` runs something already")


def _unisolated(words: str) -> UnavailableError:
    code = Code.STDIO_UNISOLATED
    why = words.removeprefix("not isolated: ")[:200]
    return UnavailableError(code, f"{code.meaning}: {why}" if why else code.meaning, hint=code.remedy)


def isolation() -> str:
    """How programs would be kept apart if whoever asks ran accredit, tried out; or why they would not be. It blocks."""
    if sys.platform != "linux":
        return "not isolated: only Linux has namespaces"
    uid = _NOBODY if os.geteuid() == 0 else None
    plan: dict[str, Any] = {"directory": None, "hidden": [], "isolated": True, "limits": {}, "network": "none",
                            "parent": os.getpid(), "probe": True, "reads": [], "uid": uid, "writes": []}  # fmt: skip
    given, ours = os.pipe()
    with os.fdopen(ours, "wb") as pipe:  # small enough for a pipe that nobody reads yet
        pipe.write(json.dumps(plan).encode())
    try:
        ran = subprocess.run(  # noqa: S603 - our own interpreter and script
            _command(given), env={}, cwd="/", pass_fds=(given,), capture_output=True, timeout=_PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"not isolated: {type(error).__name__}"
    finally:
        os.close(given)
    if ran.returncode != 0:
        return ran.stderr.decode(errors="replace").strip()[:200] or f"not isolated: status {ran.returncode}"
    besides = ran.stdout.decode(errors="replace").strip()[:200]
    return ", ".join(["namespaces and a user of its own" if uid is not None else "namespaces", besides or "no filter"])


def _command(descriptor: int) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-B", str(_LAUNCHER), str(descriptor))


async def _read_out(stream: asyncio.StreamReader) -> None:
    while await stream.read(_PIECE):
        pass


def _uids_running() -> set[int]:
    found = set()
    with contextlib.suppress(OSError), os.scandir("/proc") as listing:
        for entry in listing:
            if entry.name.isdigit():
                with contextlib.suppress(OSError):  # it has ended since
                    found.add(entry.stat().st_uid)
    return found


async def _launched(plan: Mapping[str, Any]) -> _Started:
    loop = asyncio.get_running_loop()
    given, ours = os.pipe()
    try:
        transport, streams = await loop.subprocess_exec(
            lambda: _Streams(loop),
            *_command(given),
            env={},
            cwd="/",
            pass_fds=(given,),
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(given)
    try:
        await asyncio.to_thread(_written, ours, json.dumps(plan).encode())
    except BaseException:
        transport.close()  # which kills it
        raise
    if streams.stdin is None or streams.stdout is None or streams.stderr is None:
        transport.close()
        raise OSError("started without its pipes")
    return _Started(transport, streams.gone, streams.stdin, streams.stdout, streams.stderr)


def _written(descriptor: int, text: bytes) -> None:
    """Larger than a pipe holds, maybe, so not in the loop's thread."""
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as pipe:
        pipe.write(text)
