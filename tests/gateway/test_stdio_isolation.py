"""What a program of a tool server tries against the machine it runs on, started by root and by somebody else."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accredit.gateway import launcher
from accredit.gateway.programs import Programs, isolation
from accredit.registry.model import Launch
from tests.gateway.scripted import LATEST
from tests.gateway.speaking import OWN_USER, PYTHON, reads_of, rules
from tests.gateway.test_stdio_faults import alive

_SOMEBODY = 61_183
"""A user beside the range of programs."""
_ROOT_ALONE = pytest.mark.skipif(not OWN_USER, reason="only root can give a program a user of its own")
MODES = [pytest.param("root", marks=_ROOT_ALONE), "somebody"]
modes = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A place below a shared one, where any user can read."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class Started:
    """A program that tries something, started the way programs are."""

    def __init__(
        self,
        folder: Path,
        mode: str,
        code: str,
        *,
        hidden: Sequence[Path] = (),
        before: Sequence[str] = (),
        **launch: Any,
    ) -> None:
        script = folder / "launcher.py"
        shutil.copy(launcher.__file__, script)
        script.chmod(0o644)
        programs = Programs(rules(hidden=tuple(map(str, hidden)), unsafe_same_user=False))
        given = {"reads": reads_of(str(script)), **launch}
        wanted = Launch(PYTHON, ("-I", "-S", "-B", "-c", code), **given)
        plan = programs._plan(wanted, {}, 61_200 if mode == "root" else None, None)
        ours, theirs = os.pipe()
        user: dict[str, Any] = {"user": _SOMEBODY, "group": _SOMEBODY, "extra_groups": []}
        self.process = subprocess.Popen(
            [*before, PYTHON, "-I", "-S", "-B", str(script), str(ours)],
            pass_fds=(ours,), cwd="/", env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, **(user if mode == "somebody" and OWN_USER and not before else {}),
        )  # fmt: skip
        os.close(ours)
        os.write(theirs, json.dumps(plan).encode())
        os.close(theirs)

    def told(self) -> Any:
        """What it found out: one JSON line, then its end."""
        out, errors = self.process.communicate(timeout=60)
        if self.process.returncode == launcher.UNISOLATED and b"Operation not permitted" in errors:
            pytest.skip(f"this kernel, or the container around, forbids it: {errors.decode()}")
        assert self.process.returncode == 0, (self.process.returncode, errors)
        return json.loads(out)


def tried(folder: Path, mode: str, code: str, **more: Any) -> Any:
    return Started(folder, mode, code, **more).told()


_ATTEMPT = """
import ctypes, errno, json, os, signal, socket, sys, time
def attempt(do):
    try:
        return repr(do())
    except OSError as error:
        return errno.errorcode[error.errno]
"""


@modes
@pytest.mark.requirement("gateway:stdio:namespaces")
def test_the_data_directory_is_reached_by_no_way(mode: str, open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o755)  # whoever may look is not the question here
    (data / "root.key").write_text("the root key")
    (open_folder / "link").symlink_to(data)
    code = (
        _ATTEMPT
        + f"""
ways = [{str(data)!r}, {str(open_folder / "link")!r}, "/proc/1/root" + {str(data)!r}, "/proc/self/root" + {str(data)!r}]
ways += [f"/proc/{{pid}}/cwd" + {str(data)!r} for pid in os.listdir("/proc") if pid.isdigit()]
found = {{way: attempt(lambda: os.listdir(way)) for way in ways}}
keys = {{way: attempt(lambda: open(way + "/root.key").read()) for way in ways}}
libc = ctypes.CDLL(None, use_errno=True)
def uncover():
    # another namespace of users would be allowed to mount: what was put over the data stays over it
    if libc.unshare(0x10000000 | 0x20000) == 0:
        libc.umount2({str(data)!r}.encode(), 2)
    return open({str(data / "root.key")!r}).read()
keys["uncovered"] = attempt(uncover)
print(json.dumps([found, keys]))
"""
    )
    # even where all around it may be read
    found, keys = tried(open_folder, mode, code, hidden=[data], reads=(*reads_of(PYTHON), str(open_folder)))
    assert "the root key" not in json.dumps([found, keys])
    assert set(keys.values()) <= {"EACCES", "ENOENT", "ENOTDIR", "EPERM"}
    # and where nothing is, the name is not there either
    found, _ = tried(open_folder, mode, code, hidden=[data], reads=reads_of(PYTHON))
    assert found[str(data)] == "ENOENT"


@_ROOT_ALONE
@modes
@pytest.mark.requirement("gateway:stdio:namespaces")
def test_another_place_where_the_data_directory_is_mounted_hides_it_as_well(mode: str, open_folder: Path) -> None:
    data, other = open_folder / "data", open_folder / "other place"
    (data / "deep").mkdir(parents=True)
    other.mkdir()
    (data / "deep" / "root.key").write_text("the root key")
    become = f"setpriv --reuid={_SOMEBODY} --regid={_SOMEBODY} --clear-groups" if mode == "somebody" else ""
    mounting = f'mount --bind "$0" "$1" && shift && exec {become} "$@"'
    before = ["unshare", "-m", "sh", "-c", mounting, str(data), str(other)]
    reads = (*reads_of(PYTHON), str(open_folder))
    found = {}
    for path in (other, other / "deep", data / "deep"):
        code = _ATTEMPT + f"print(json.dumps(attempt(lambda: os.listdir({str(path)!r}))))"
        found[path] = tried(open_folder, mode, code, hidden=[data / "deep"], before=before, reads=reads)
    assert list(found.values()) == ["['deep']", "EACCES", "EACCES"], "the rest of it is there"


@modes
@pytest.mark.requirement("gateway:stdio:namespaces")
def test_it_sees_no_process_but_its_own_and_has_no_power_over_the_one_that_adopts(mode: str, open_folder: Path) -> None:
    code = (
        _ATTEMPT
        + f"""
PTRACE_ATTACH = 16
def attach(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) == -1:
        raise OSError(ctypes.get_errno(), "")
pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
found = {{
    "pids": pids,
    "ours": attempt(lambda: os.kill({os.getpid()}, 0)),
    "attach": attempt(lambda: attach(1)),
    "memory": attempt(lambda: open("/proc/1/mem", "rb")),
    "environment": attempt(lambda: open("/proc/1/environ", "rb").read()),
    "killed": attempt(lambda: os.kill(1, signal.SIGKILL)),
    "asked": attempt(lambda: os.kill(1, signal.SIGTERM)),
    "raised": attempt(lambda: os.setresuid(0, 0, 0)) if os.getuid() else "0",
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line[:6] in {{"CapEff", "CapPrm"}}],
    "rights": [line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")],
    "time": attempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0)),
    "settings": attempt(lambda: open("/proc/sys/kernel/hostname", "w")),
}}
time.sleep(0.1)
print(json.dumps(found))
"""
    )
    found = tried(open_folder, mode, code)
    assert found["pids"] == [1, 2]
    assert found["ours"] == "ESRCH"
    assert {found[name] for name in ("attach", "memory", "environment")} <= {"EPERM", "EACCES"}, found
    assert found["raised"] in {"EPERM", "EINVAL"}
    assert set(found["capabilities"]) == {"0" * 16}
    assert found["rights"] == ["1"]
    assert found["time"] == "EPERM"
    assert found["settings"] in {"EACCES", "EROFS"}


@modes
@pytest.mark.requirement("gateway:stdio:namespaces")
def test_it_writes_nowhere_but_in_private_places_and_where_it_was_signed_off(mode: str, open_folder: Path) -> None:
    may, may_not = open_folder / "may", open_folder / "may-not"
    for folder in (may, may_not):
        folder.mkdir()
        folder.chmod(0o777)
    shared = Path("/var/tmp") if os.access("/var/tmp", os.W_OK) else Path("/tmp")  # noqa: S108 - it is what is tried
    code = (
        _ATTEMPT
        + f"""
def write(path):
    with open(path, "w") as file:
        return file.write("x")
libc = ctypes.CDLL(None, use_errno=True)
def remount():
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(32 | 4096), None) != 0:
        raise OSError(ctypes.get_errno(), "")
paths = [{str(may)!r}, {str(may_not)!r}, ".", "/"]
paths += "/tmp /var/tmp /dev/shm /run /home /root /sys /dev /usr /etc /proc".split()
found = {{path: attempt(lambda: write(path + "/written")) for path in paths}}
found["remount"] = attempt(remount)
print(json.dumps(found))
"""
    )
    reads = (*reads_of(PYTHON), str(may_not))
    found = tried(open_folder, mode, code, reads=reads, writes=(str(may),))
    assert (may / "written").read_text() == "x"
    private = {"/tmp", "/var/tmp", "/dev/shm", ".", str(may)}  # noqa: S108
    assert {path for path, told in found.items() if told == "1"} == private, found
    assert not (may_not / "written").exists()
    assert not (shared / "written").exists()


@modes
@pytest.mark.requirement("gateway:stdio:namespaces", "gateway:stdio:limits")
def test_neither_its_processes_nor_its_files_grow_beyond_bounds(mode: str, open_folder: Path) -> None:
    code = (
        _ATTEMPT
        + """
made = 0
try:
    for made in range(2000):
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
except OSError:
    pass
written, files = 0, 0
try:
    for number in range(8):
        with open(f"/tmp/large{number}", "wb") as file:
            for _ in range(64):
                written += file.write(b"x" * 2**20)
except OSError:
    pass
for number in range(8):
    try:
        os.unlink(f"/tmp/large{number}")
    except OSError:
        pass
try:
    for files in range(100_000):
        open(f"/tmp/{files}", "w").close()
except OSError:
    pass
print(json.dumps([made, written, files]))
"""
    )
    made, written, files = tried(open_folder, mode, code)
    assert 0 < made <= 256
    assert 0 < written <= 256 * 2**20
    assert 0 < files <= 16_384


@contextmanager
def listening() -> Iterator[tuple[int, str]]:
    """On loopback, and under an abstract name."""
    name = f"accredit-test-{os.getpid()}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        local.bind(f"\0{name}")
        for each in (tcp, local):
            each.listen()
        yield tcp.getsockname()[1], name


_REACH = (
    _ATTEMPT
    + """
def reach(family, address):
    with socket.socket(family) as one:
        one.settimeout(2)
        one.connect(address)
        return True
own = socket.socket()
own.bind(("127.0.0.1", 0))
own.listen()
print(json.dumps([
    attempt(lambda: reach(socket.AF_INET, ("127.0.0.1", PORT))),
    attempt(lambda: reach(socket.AF_UNIX, "\\0NAME")),
    attempt(lambda: reach(socket.AF_INET, ("192.0.2.1", 9))),
    attempt(lambda: reach(socket.AF_INET, own.getsockname())),
]))
"""
)


@modes
@pytest.mark.requirement("gateway:stdio:network")
def test_without_a_network_it_reaches_no_loopback_but_its_own(mode: str, open_folder: Path) -> None:
    with listening() as (port, name):
        code = _REACH.replace("PORT", str(port)).replace("NAME", name)
        assert tried(open_folder, mode, code) == ["ECONNREFUSED", "ECONNREFUSED", "ENETUNREACH", "True"]
        reached = tried(open_folder, mode, code, network="host")
        assert reached[0] == "True"
        # a socket without a file is no network, and is not signed off with it, where the kernel can tell
        assert reached[1] == ("EPERM" if "sockets scoped" in isolation() else "True")


@modes
@pytest.mark.skipif("calls filtered" not in isolation(), reason="this kernel, or architecture, has no filter of calls")
@pytest.mark.requirement("gateway:stdio:filtered")
def test_calls_that_reach_into_the_kernel_are_refused_and_programs_work_all_the_same(
    mode: str, open_folder: Path
) -> None:
    which = 0 if os.uname().machine == "x86_64" else 1
    numbers = {name: both[which] for name, both in launcher._REFUSED.items()}
    code = (
        _ATTEMPT
        + f"""
import subprocess, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *given):
    return libc.syscall(number, *given), ctypes.get_errno()
refused = {{name: call(number, 0, 0, 0, 0, 0) for name, number in {numbers!r}.items()}}
mounted = libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno()
traced = libc.ptrace(0, 0, 0, 0), ctypes.get_errno()
user = call({launcher._CLONE[which]}, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
newer = call({launcher._CLONE3}, 0, 0)
families = {{name: attempt(lambda: socket.socket(getattr(socket, name), socket.SOCK_DGRAM).close())
            for name in ("AF_UNIX", "AF_INET", "AF_INET6", "AF_VSOCK", "AF_PACKET")}}
done = []
thread = threading.Thread(target=lambda: done.append("thread"))
thread.start()
thread.join()
done.append(subprocess.run([sys.executable, "-I", "-S", "-c", "print('child')"], capture_output=True).stdout.decode())
print(json.dumps([refused, mounted, traced, user, newer, families, done]))
"""
    )
    refused, mounted, traced, user, newer, families, done = tried(open_folder, mode, code, reads=reads_of(PYTHON))
    assert refused == {name: [-1, errno.EPERM] for name in numbers}
    assert mounted == traced == [-1, errno.EPERM]
    assert user == [-1, errno.EPERM], "a namespace by a clone"
    assert newer == [-1, errno.ENOSYS], "libraries use the older one then"
    none = "EAFNOSUPPORT"
    assert families == {"AF_UNIX": "None", "AF_INET": "None", "AF_INET6": "None", "AF_VSOCK": none, "AF_PACKET": none}
    assert done == ["thread", "child\n"]


@pytest.mark.requirement("gateway:stdio:filtered")
def test_an_architecture_without_a_filter_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def machine(name: str) -> bytes | None:
        monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=name))
        return launcher._filter()

    assert machine("riscv64") is None
    filters = {name: machine(name) for name in launcher._ARCHITECTURES}
    assert all(each is not None and len(each) % 8 == 0 for each in filters.values())
    assert len(set(filters.values())) == 2


@modes
@pytest.mark.requirement("gateway:stdio:namespaces")
def test_memory_that_others_share_by_a_key_is_not_there(mode: str, open_folder: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    key = 0x61_63_63_72
    made = libc.shmget(key, 4096, 0o1666)  # IPC_CREAT, for everybody
    assert made >= 0
    try:
        code = (
            _ATTEMPT
            + f"""
libc = ctypes.CDLL(None, use_errno=True)
print(json.dumps(libc.shmget({key}, 4096, 0)))
"""
        )
        assert tried(open_folder, mode, code) == -1
    finally:
        libc.shmctl(made, 0, None)  # IPC_RMID


_DAEMON = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(600)
"""


def _descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended since
            continue
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in {pid, *found}} - found:
        found |= more
    return found


def _ask(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGUSR1)


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()


@modes
@pytest.mark.parametrize("ended", [_ask, _kill])
@pytest.mark.requirement("gateway:stdio:ended")
def test_nothing_that_it_started_survives_its_end(
    mode: str, ended: Callable[[subprocess.Popen[bytes]], None], open_folder: Path
) -> None:
    started = Started(open_folder, mode, _DAEMON)
    assert started.process.stdout is not None
    if started.process.stdout.readline() != b"ready\n":
        started.told()  # skips where the kernel forbids it
    pids = _descendants(started.process.pid)
    assert len(pids) == 3
    started.process.send_signal(signal.SIGTERM)
    assert all(alive(pid) for pid in pids - {started.process.pid}), "it takes no hint"
    ended(started.process)
    started.process.communicate(timeout=20)

    async def gone() -> None:
        async with asyncio.timeout(10):
            while any(alive(pid) for pid in pids):
                await asyncio.sleep(0.01)

    if ended is _ask:
        assert not any(alive(pid) for pid in pids), "it ends after all of them"
    asyncio.run(gone())


@_ROOT_ALONE
@pytest.mark.requirement("gateway:stdio:unisolated")
def test_where_it_cannot_be_kept_apart_it_is_not_run_and_the_reason_is_told(script: str) -> None:
    story = f"""
import asyncio, sys
sys.path[:0] = {sys.path!r}
from tests.gateway import test_stdio_faults as faults
from accredit.gateway.programs import isolation
from accredit.kernel.errors import UnavailableError
async def play():
    async with faults.stdio() as protocol:
        try:
            await faults.ask(protocol, faults.program({script!r}, {LATEST!r}), text="a")
        except UnavailableError as error:
            print(error.code, "|", error.message, "|", error.hint, "|", isolation())
asyncio.run(play())
"""
    # somebody who is root in a namespace of users without any other user, as in a container
    ran = subprocess.run(
        ["unshare", "-U", "-r", sys.executable, "-c", story], capture_output=True, check=False, timeout=60, text=True
    )
    code, message, hint, probed = ran.stdout.strip().split(" | ")
    assert code == "stdio_unisolated", ran
    assert "cannot be kept apart here" in message
    assert probed == f"not isolated: {message.partition(': ')[2]}", "why"
    assert isolation().startswith("namespaces and a user of its own, ")
    assert "docs/tool-servers.md" in hint
