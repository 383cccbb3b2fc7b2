"""The data directory: who holds it, and the files in it that are neither database (DESIGN §2, §11).

    server.lock         held with flock by the one server; names its address, so that a command becomes its client
    root.key            32 random bytes, 0600: the installation's key. Whoever has it and the databases has everything
    signing.key         the log's Ed25519 key, sealed under the root key
    narrowing.reserve   room for revocations on a full disk
    control.db          control state
    audit.db            the log
    deferred.db         calls that their clients ask about until they are done
    profiles.db         finished sessions in numbers, made of the log, and what detectors made of them
    baselines.db        the sessions that people accepted as what agents do, by their digest
    archive/            what is kept of retired agents: one file each, with proofs

Modes and owners are read with stat, never asked of access(2), which answers for another user under sudo.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accredit.audit.ports import Reserved
from accredit.audit.reserve import RESERVE_BYTES, SLOT_BYTES, frame, placed, read_slots, slots_for
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import IdSource
from accredit.kernel.sealing import AesGcmSealer, Sealer

__all__ = ["DataDirectory", "DataDirectoryHeldError", "ReserveFile", "read_address", "read_secret_file"]

_LOCK: Final = "server.lock"
_ROOT_KEY: Final = "root.key"
_SIGNING_KEY: Final = "signing.key"
_RESERVE: Final = "narrowing.reserve"
_CONTROL: Final = "control.db"
_AUDIT: Final = "audit.db"
_DEFERRED: Final = "deferred.db"
_PROFILES: Final = "profiles.db"
_BASELINES: Final = "baselines.db"
_ADDRESS_BYTES = 200


class DataDirectoryHeldError(ConflictError):
    """Another process holds the directory; `address` is where it answers, empty if it has not said yet."""

    def __init__(self, path: Path, address: str) -> None:
        where = f"by the server at `{address}`" if address else "by a server that is starting"
        super().__init__(
            Code.DATA_DIRECTORY_HELD, f"`{path}` is held {where}", hint="ask that server, or stop it first"
        )
        self.address = address


class DataDirectory:
    """An opened data directory. `open` holds it alone; `read` looks on beside whoever holds it."""

    def __init__(self, path: Path, root_key: bytes, ids: IdSource, lock: int | None) -> None:
        self.path = path
        self._ids = ids
        self._lock = lock
        self._sealer = AesGcmSealer(root_key, ids)

    @classmethod
    def open(cls, path: Path, *, ids: IdSource, address: str = "") -> Self:
        """Hold the directory alone until `close`, made ready if it is new.

        Raises:
            DataDirectoryHeldError: another process holds it.
            InvalidInputError: directory or key file could be read by others, belong to others, or the key is missing
                from a directory with data (`setting_invalid`).
            UnavailableError: it cannot be written.
        """
        with _wrapped(path):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_private(path, path.stat(), "data directory")
            lock = _locked(path)
        try:
            with _wrapped(path):
                directory = cls(path, _root_key(path, ids), ids, lock)
                directory.announce(address)
                _write_new(path / _RESERVE, bytes(RESERVE_BYTES))
        except BaseException:
            os.close(lock)
            raise
        return directory

    @classmethod
    def read(cls, path: Path, *, ids: IdSource) -> Self:
        """Look into the directory without holding it.

        Raises:
            NotFoundError: there is no such directory, or nothing in it.
            InvalidInputError: directory or key file could be read by others or belong to others.
        """
        if not (path / _ROOT_KEY).is_file():
            raise NotFoundError(Code.NOT_FOUND, f"`{path}` is not a data directory")
        with _wrapped(path):
            _require_private(path, path.stat(), "data directory")
            return cls(path, _read_private(path / _ROOT_KEY, 32), ids, None)

    @property
    def control_db(self) -> Path:
        return self.path / _CONTROL

    @property
    def audit_db(self) -> Path:
        return self.path / _AUDIT

    @property
    def deferred_db(self) -> Path:
        return self.path / _DEFERRED

    @property
    def profiles_db(self) -> Path:
        return self.path / _PROFILES

    @property
    def baselines_db(self) -> Path:
        return self.path / _BASELINES

    @property
    def sealer(self) -> Sealer:
        """Seals under the root key. Derive one for each purpose."""
        return self._sealer

    @property
    def held(self) -> bool:
        return self._lock is not None

    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs this installation's log; made when first asked for by whoever holds the directory.

        Raises:
            InvalidInputError: the file is not sealed under this root key, or not private.
            NotFoundError: there is none yet and this process may not make one.
        """
        path = self.path / _SIGNING_KEY
        sealer = self._sealer.derive("log-signing-key")
        with _wrapped(self.path):
            if not path.exists():
                if not self.held:
                    raise NotFoundError(Code.NOT_FOUND, "the log has no signing key yet")
                if self.audit_db.exists() and self.audit_db.stat().st_size:
                    raise _unsafe(f"`{path}` is missing, and the log beside it was signed with it", "restore it")
                raw = self._ids.secret(32)
                _write_new(path, sealer.seal(raw, belongs_to=_SIGNING_KEY.encode()))
            raw = sealer.open(_read_private(path, 12 + 32 + 16), belongs_to=_SIGNING_KEY.encode())
        return Ed25519PrivateKey.from_private_bytes(raw)

    def reserve(self) -> ReserveFile:
        """The room for narrowing changes."""
        return ReserveFile(self.path / _RESERVE)

    def announce(self, address: str) -> None:
        """Name the address at which the holder answers, known once it listens.

        Raises:
            UnavailableError: it cannot be written.
        """
        if self._lock is None:
            return
        text = address.encode("ascii", errors="replace")[:_ADDRESS_BYTES]
        with _wrapped(self.path):
            # in place and of one length: who reads meanwhile sees the old or the new address
            os.pwrite(self._lock, text.ljust(_ADDRESS_BYTES), 0)

    def close(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def read_address(path: Path) -> str | None:
    """Where the server that holds the directory answers; None if nobody holds it, empty if it has not said yet."""
    try:
        lock = os.open(path / _LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _address(lock)
    else:
        return None  # what stands in the file is of a server that is gone
    finally:
        os.close(lock)


def _address(lock: int) -> str:
    return os.pread(lock, _ADDRESS_BYTES, 0).decode("ascii", errors="replace").strip()


def _locked(path: Path) -> int:
    lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        address = _address(lock)
        os.close(lock)
        raise DataDirectoryHeldError(path, address) from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _root_key(path: Path, ids: IdSource) -> bytes:
    key = path / _ROOT_KEY
    if not os.path.lexists(key):
        if any((path / name).exists() for name in (_CONTROL, _AUDIT, _SIGNING_KEY)):
            # a new key here would make all that is sealed unreadable for good, and look like a fresh start
            raise _unsafe(f"`{key}` is missing beside data sealed with it", "restore the key file from its backup")
        _write_new(key, ids.secret(32))
    return _read_private(key, 32)


def _unsafe(message: str, hint: str) -> InvalidInputError:
    return InvalidInputError(Code.SETTING_INVALID, message, hint=hint)


def _require_private(path: Path, status: os.stat_result, what: str) -> None:
    if status.st_uid != os.geteuid():
        raise _unsafe(f"the {what} `{path}` belongs to user {status.st_uid}", f"run as its owner, user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise _unsafe(f"the {what} `{path}` is open to others (mode {mode})", f"chmod go= {path}")


def read_secret_file(path: Path, *, at_least: int, at_most: int) -> str:
    """The one line of a file that only its owner can read.

    Raises:
        InvalidInputError: there is no such file, others can read it, or it has another length.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _unsafe(f"`{path}` cannot be read: {error.strerror}", "name a file that holds the secret") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(f"`{path}` is not a regular file", "name a file that holds the secret")
        _require_private(path, status, "secret file")
        content = os.read(descriptor, at_most + 2)
    finally:
        os.close(descriptor)
    text = content.decode("ascii", "replace").strip()
    if not at_least <= len(text) <= at_most or not text.isascii() or not text.isprintable():
        raise _unsafe(f"`{path}` is not one line of {at_least} to {at_most} printable characters", "write it anew")
    return text


def _read_private(path: Path, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _unsafe(f"`{path}` is not a regular file", "restore it from its backup")
        _require_private(path, status, "key file")
        content = os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)
    if len(content) != size:
        raise _unsafe(f"`{path}` does not hold {size} bytes", "restore it from its backup")
    return content


def _write_new(path: Path, content: bytes) -> None:
    """Put a private file in place all at once unless there is one: a crash leaves the whole file or none."""
    if os.path.lexists(path):
        return
    fresh = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _write_all(descriptor, content, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write_all(descriptor: int, content: bytes, at: int) -> None:
    left = memoryview(content)
    while left:
        written = os.pwrite(descriptor, left, at)
        left, at = left[written:], at + written


@contextmanager
def _wrapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise UnavailableError(
            Code.DISK_LOW if full else Code.AUDIT_UNAVAILABLE,
            f"the data directory `{path}` cannot be used: {os.strerror(error.errno or 0).lower()}",
            cause=repr(error)[:400],
        ) from error


class ReserveFile:
    """A `NarrowingReserve` in a file whose blocks were taken when it was made: it is only ever written in place."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> Sequence[Reserved]:
        with _wrapped(self._path.parent):
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                return read_slots(os.pread(descriptor, RESERVE_BYTES, 0))
            finally:
                os.close(descriptor)

    def put(self, payload: bytes) -> int:
        entries = self.entries()
        slot = placed(entries, slots_for(payload))
        if slot is None:
            raise UnavailableError(Code.DISK_LOW, "the reserve for narrowing changes has no room for this one")
        order = max((entry.order for entry in entries), default=0) + 1
        self._write(slot, frame(order, payload))
        return slot

    def clear(self, slot: int) -> None:
        for entry in self.entries():
            if entry.slot == slot:
                self._write(slot, bytes(slots_for(entry.payload) * SLOT_BYTES))

    def _write(self, slot: int, content: bytes) -> None:
        with _wrapped(self._path.parent):
            # never O_CREAT: a file made now would need the room that is missing
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_size < (slot * SLOT_BYTES) + len(content):
                    raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the reserve for narrowing changes was cut short")
                _write_all(descriptor, content, slot * SLOT_BYTES)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
