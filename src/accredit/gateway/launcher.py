"""Becomes the program of a tool server: run as a script of its own, with nothing of ours loaded.

It reads one JSON plan from a pipe, goes where the plan says that the program may be, gives up what it must not keep,
looks whether it could still reach what is hidden from it, and executes the program. The process that looks is the one
that becomes the program, so what is found out is true of it; to `probe` is to do all of that and execute nothing. The
environment comes by the pipe: neither our own interpreter nor the list of processes sees it.

Isolated there are three processes. The first stays outside: it is told SIGTERM (passed on to the program) and SIGUSR1
(end all at once), and ends as the program did. The second is the first of a namespace of processes and adopts orphans;
with it ends everything in there, which the kernel sees to, and it ends with the first. The third becomes the program.

What is left to it is filtered where the kernel can do so: calls that reach deep into the kernel and that no tool server
needs are refused, sockets are of the four usual families, and abstract ones outside of it are out of its reach.

Root gives the program a user of its own. Anybody else gives it a namespace of users in which it has no user but the one
that accredit runs as, and no capability once it is executed (user_namespaces(7)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import stat
import struct
import sys
from typing import Any, NoReturn

EXPOSED = 77
FAILED = 78
UNISOLATED = 79

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 0x1000, 0x4000, 0x40000
_MS_REMOUNT = 32
_SYS_MOUNT_SETATTR = 442
"""On every architecture; Linux 5.12."""
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID = 1, 2
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_SECCOMP_MODE_FILTER = 2
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_SCOPES_SINCE = 6
"""The version of its interface that has scopes; Linux 6.12."""
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""As the kernel names them to a filter (AUDIT_ARCH_*)."""
_REFUSED = {
    # by name: x86_64, aarch64
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}
_CLONE, _SOCKET = (56, 220), (41, 198)
_CLONE3 = 435
_X32 = 0x40000000
"""Numbers from here on are calls of another kind on x86_64, which no filter by number knows."""
_NEW_NAMESPACES = 0x7E020000
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)

_PRIVATE = ("/tmp", "/var/tmp", "/run", "/home", "/root", "/sys", "/dev")
"""What of the system a program does not see: an empty place of its own stands there."""
_WRITABLE = {"/tmp": "mode=1777,size=256m,nr_inodes=16384", "/var/tmp": "mode=1777,size=64m,nr_inodes=4096"}
_OWN = "/tmp/work"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_BLOCKED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGUSR1)


class _Unable(Exception):  # noqa: N818 - said to whoever started us, never raised further
    """What the kernel, or a container around us, did not let us do."""


def _stop(status: int, words: str) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{words}\n".encode(errors="replace"))
    os._exit(status)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result != 0:
        raise _Unable(f"{what}: {os.strerror(ctypes.get_errno())}")


def _become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _end_with_parent() -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _keep_rights() -> None:
    """No more rights by what it executes."""
    if sys.platform == "linux" and _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        _stop(FAILED, "this kernel cannot keep a program from gaining rights")


def _limit(limits: dict[str, int]) -> None:
    for name, value in limits.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))


# -- namespaces


def _unshare(plan: dict[str, Any]) -> None:
    flags = _NEWNS | _NEWPID | _NEWIPC | _NEWUTS
    if plan["network"] != "host":
        flags |= _NEWNET
    uid, gid = os.getuid(), os.getgid()
    if plan["uid"] is None:
        flags |= _NEWUSER
    _done(_libc().unshare(flags), "namespaces")
    if plan["uid"] is None:
        # user_namespaces(7), "Defining user and group ID mappings": without a helper one may map oneself alone, and
        # one's group only after giving up setgroups(2)
        try:
            for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
        except OSError as error:
            raise _Unable(f"a namespace of users: {error.strerror}") from error


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    given = [None if one is None else one.encode() for one in (source, target, kind)]
    _done(_libc().mount(*given, ctypes.c_ulong(flags), options.encode()), f"mounting {target}")


def _set_attributes(path: str, given: int, taken: int) -> None:
    attributes = struct.pack("=QQQQ", given, taken, 0, 0)
    call = _libc().syscall
    result = call(
        _SYS_MOUNT_SETATTR, _AT_FDCWD, path.encode(), ctypes.c_uint(_AT_RECURSIVE), attributes,
        ctypes.c_size_t(len(attributes)),
    )  # fmt: skip
    _done(result, f"mount attributes of {path}")


def _aliases(hidden: list[str]) -> list[str]:
    """Every place where these directories can be found: what they lie on may be mounted more than once."""
    mounts = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, _, device, root, point, *_ = line.split(" ")
            mounts.append((device, _unescaped(root), _unescaped(point)))
    found = dict.fromkeys(os.path.realpath(path) for path in hidden)
    for path in list(found):
        device, root, point = max(
            (one for one in mounts if _below(path, one[2]) is not None),
            key=lambda one: len(one[2]),
            default=("", "", ""),
        )
        inside = _joined(root, _below(path, point) or "")
        for other, base, there in mounts:
            if other == device and (rest := _below(inside, base)) is not None:
                found[_joined(there, rest)] = None
    return list(found)


def _unescaped(path: str) -> str:
    for code in ("\\040", "\\011", "\\012", "\\134"):
        path = path.replace(code, chr(int(code[1:], 8)))
    return path


def _below(path: str, base: str) -> str | None:
    """The rest of a path below another; None if it is not there."""
    if base in {"/", path}:
        return path[len(base) :].lstrip("/")
    return path[len(base) + 1 :] if path.startswith(f"{base}/") else None


def _joined(base: str, rest: str) -> str:
    return f"{base.rstrip('/')}/{rest}".rstrip("/") or "/"


def _see_less(plan: dict[str, Any]) -> None:
    """The system to read only, private places in the place of shared ones, and nothing of what is hidden.

    Everything that stays is opened before anything is put over it.
    """
    hidden = _aliases(plan["hidden"])
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    kept = [*((path, False) for path in plan["reads"]), *((path, True) for path in plan["writes"])]
    if plan["directory"] is not None and plan["directory"] not in plan["writes"]:
        kept.append((plan["directory"], False))
    if plan["network"] == "host" and os.path.islink("/etc/resolv.conf"):
        kept.append((os.path.realpath("/etc/resolv.conf"), False))
    opened = []
    for path, writable in kept:
        with contextlib.suppress(FileNotFoundError):  # the program is told so when it looks
            opened.append((os.path.realpath(path), os.open(path, os.O_PATH), writable))
    devices = [(name, os.open(f"/dev/{name}", os.O_PATH)) for name in _DEVICES]
    _set_attributes("/", _ATTR_RDONLY | _ATTR_NOSUID, 0)
    for path in _PRIVATE:
        if os.path.isdir(path) and not os.path.islink(path):
            options = _WRITABLE.get(path, "mode=0755,size=1m,nr_inodes=256")
            _mount("tmpfs", path, "tmpfs", _MS_NOSUID | (0 if path == "/dev" else _MS_NODEV), options)
    for name, descriptor in devices:
        _put_back(f"/dev/{name}", descriptor)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/shm")
    for path, descriptor, writable in opened:
        _put_back(path, descriptor)
        if writable:
            _set_attributes(path, 0, _ATTR_RDONLY)
    for path in hidden:
        if os.path.isdir(path):
            _mount("tmpfs", path, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RDONLY, "mode=0,size=4k")
    os.mkdir(_OWN, 0o700)
    if plan["uid"] is not None:
        os.chown(_OWN, plan["uid"], plan["uid"])
    for path in _PRIVATE:
        if path not in _WRITABLE and os.path.ismount(path):
            _seal(path)
    _mount("tmpfs", "/dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777,size=16m,nr_inodes=1024")
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RDONLY)


def _put_back(path: str, descriptor: int) -> None:
    """What a descriptor opened, where it was."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(path, mode=0o755, exist_ok=True)
    elif not os.path.lexists(path):
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
    _mount(f"/proc/self/fd/{descriptor}", path, None, _MS_BIND | _MS_REC)
    os.close(descriptor)


def _seal(path: str) -> None:
    """Nothing more is put into a private place; what stands below it keeps its own attributes."""
    flags = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID  # with both: this mount alone
    _mount("none", path, None, flags | (0 if path == "/dev" else _MS_NODEV))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0)))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | _IFF_UP))


# -- what is left of the kernel


def _filter() -> bytes | None:
    """The program that the kernel runs at each call (seccomp(2)); None: this architecture has none here.

    `clone3` keeps its flags where a filter cannot see them, so it is not there: libraries then use `clone`.
    """
    machine = os.uname().machine
    if machine not in _ARCHITECTURES or sys.byteorder != "little" or sys.maxsize < 2**32:
        return None
    load, equal, at_least, any_bit, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    number, architecture, first_argument = 0, 4, 16  # offsets in struct seccomp_data
    allowed, ended = 0x7FFF0000, 0x80000000

    def refused(error: int) -> tuple[int, int, int, int]:
        return answer, 0, 0, 0x00050000 | error

    which = list(_ARCHITECTURES).index(machine)
    steps = [(load, 0, 0, architecture), (equal, 1, 0, _ARCHITECTURES[machine]), (answer, 0, 0, ended)]
    steps.append((load, 0, 0, number))
    if machine == "x86_64":
        steps += [(at_least, 0, 1, _X32), refused(errno.ENOSYS)]
    for numbers in _REFUSED.values():
        steps += [(equal, 0, 1, numbers[which]), refused(errno.EPERM)]
    steps += [(equal, 0, 1, _CLONE3), refused(errno.ENOSYS)]
    steps += [(equal, 0, 4, _CLONE[which]), (load, 0, 0, first_argument), (any_bit, 0, 1, _NEW_NAMESPACES)]
    steps += [refused(errno.EPERM), (answer, 0, 0, allowed)]
    steps += [(equal, 0, 2 + len(_FAMILIES), _SOCKET[which]), (load, 0, 0, first_argument)]
    steps += [(equal, len(_FAMILIES) - at, 0, int(family)) for at, family in enumerate(_FAMILIES)]
    steps += [refused(errno.EAFNOSUPPORT), (answer, 0, 0, allowed)]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _filter_calls() -> bool:
    """Have the kernel refuse what no tool server needs, of us and all that we execute; False: it cannot."""
    steps = _filter()
    if steps is None:
        return False
    held = ctypes.create_string_buffer(steps, len(steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps) // 8, ctypes.addressof(held)))
    return bool(_libc().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _scope() -> bool:
    """Reach no abstract socket and no process from before (landlock(7)); False: the kernel cannot, or does not."""
    call = _libc().syscall
    version = call(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_LANDLOCK_CREATE_RULESET_VERSION))
    if version < _LANDLOCK_SCOPES_SINCE:
        return False
    attributes = struct.pack("=QQQ", 0, 0, _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL)
    rules = call(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0))
    if rules < 0:
        return False
    try:
        return bool(call(_LANDLOCK_RESTRICT_SELF, rules, ctypes.c_uint(0)) == 0)
    finally:
        os.close(rules)


# -- the three processes


def _stay_outside(plan: dict[str, Any]) -> NoReturn:
    """The first: waits for the second, and is what may be told to end it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        _unshare(plan)
    except _Unable as error:
        _stop(UNISOLATED, f"not isolated: {error}")
    _end_with_parent()  # other credentials forget it
    if os.getppid() != plan["parent"]:
        os._exit(FAILED)
    alive, held = os.pipe()
    second = os.fork()
    if second == 0:
        os.close(held)
        _adopt(plan, alive)
    os.close(alive)
    with contextlib.suppress(OSError):  # it does so itself; whichever is first
        os.setpgid(second, second)
    _let_go()
    while True:
        number = signal.sigwait(_BLOCKED)
        ended, status = os.waitpid(second, os.WNOHANG)
        if ended:
            os._exit(_as_status(status))
        if number == signal.SIGTERM:
            os.killpg(second, signal.SIGTERM)
        elif number == signal.SIGUSR1:
            os.kill(second, signal.SIGKILL)


def _adopt(plan: dict[str, Any], alive: int) -> NoReturn:
    """The second, and the first in its namespace: starts the program and waits for whatever ends in there."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    try:
        _see_less(plan)
        if plan["network"] != "host":
            _raise_loopback()
    except (_Unable, OSError) as error:
        _stop(UNISOLATED, f"not isolated: {error}")
    third = os.fork()
    if third == 0:
        os.close(alive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
        _execute(plan)
    if plan["uid"] is not None:
        _become(plan["uid"])
    _keep_rights()
    _end_with_parent()
    _libc().prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # the program has the same user, and no business in here
    os.set_blocking(alive, False)
    with contextlib.suppress(BlockingIOError):
        if not os.read(alive, 1):  # the first ended before we could ask to be told
            os._exit(FAILED)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _let_go()
    while True:
        ended, status = os.wait()
        if ended == third:
            os._exit(_as_status(status))


def _let_go() -> None:
    """Of the three standard streams: whoever reads them is to see when the program closes them."""
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def _as_status(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _execute(plan: dict[str, Any]) -> NoReturn:
    if plan["uid"] is not None:
        _become(plan["uid"])
    os.umask(0o077)
    _keep_rights()
    for path in plan["hidden"]:
        if any(os.access(path, way) for way in (os.R_OK, os.W_OK, os.X_OK)):
            _stop(EXPOSED, "the data directory is not hidden from the program")
    more = []
    if plan["isolated"]:
        more += [words for words, do in (("sockets scoped", _scope), ("calls filtered", _filter_calls)) if do()]
    if plan["probe"]:
        os.write(1, ", ".join(more).encode())
        os._exit(0)
    try:
        os.chdir(plan["directory"] or _OWN)
        _limit(plan["limits"])
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and programs would inherit that
            signal.signal(number, signal.SIG_DFL)
        os.execve(plan["command"], [plan["command"], *plan["args"]], plan["env"])  # noqa: S606 - no shell is the point
    except OSError as error:
        _stop(FAILED, f"it cannot be started: {error.strerror}")


def main(descriptor: int) -> NoReturn:
    """Carry out the plan that the pipe holds."""
    with os.fdopen(descriptor, "rb") as pipe:
        plan = json.load(pipe)
    os.closerange(3, 65536)
    if sys.platform == "linux":
        _end_with_parent()
        if os.getppid() != plan["parent"]:  # it ended before we could ask to be told
            os._exit(FAILED)
    if plan["isolated"]:
        _stay_outside(plan)
    _execute(plan)


if __name__ == "__main__":
    main(int(sys.argv[1]))
