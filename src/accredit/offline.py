"""Looks at an installation that may be running elsewhere, or at none: reads, and repairs only what is asked for.

What a server needs beyond that is put together by `bootstrap`; a process that only judges the past again starts in a
third of the time without it.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from accredit.audit.anchor import CheckpointFile
from accredit.audit.archive import verify_agent_archive
from accredit.audit.certificates import certificate_name
from accredit.audit.checkpoint import CheckpointSigner, CheckpointVerifier, log_origin
from accredit.audit.doctor import StateDoctor
from accredit.audit.notes import NoteSigner
from accredit.audit.ports import LogReader
from accredit.audit.records import PartKeys, open_part, part_values
from accredit.audit.sealed_archive import ArchiveFolder, Columnar, SealedArchive, seal_archive
from accredit.audit.verify import Anchor, VerifyReport, verify_log
from accredit.enforcement.history import History
from accredit.kernel.clock import SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.kernel.ids import RandomIds
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.junit import test_document
from accredit.policy.ports import VetoEngine
from accredit.policy.release import read_release
from accredit.policy.testing import Fleet, run_tests
from accredit.storage.datadir import DataDirectory, read_address
from accredit.storage.sqlite.records import SqliteRecordReader
from accredit.storage.sqlite.state import SqliteControlStore

__all__ = [
    "Offline",
    "archive_in",
    "archive_of",
    "archiving",
    "can_archive",
    "certificate_signer",
    "check_log",
    "holder_of",
    "log_signer",
    "look_at",
    "open_history",
    "release_signer",
    "second_engine",
    "tried_offline",
    "verify_agent_in",
]


def log_signer(key: Ed25519PrivateKey, stream: str) -> CheckpointSigner:
    """The installation's key under the name of one log."""
    public = key.public_key().public_bytes_raw()
    return CheckpointSigner(log_origin(public.hex()[:16], stream), key.private_bytes_raw())


def second_engine() -> VetoEngine | None:
    """Rego, where the extra `rego` is installed."""
    try:
        from accredit.policy.engines.rego import RegoEngine  # noqa: PLC0415 - an extra: it may not be there
    except ImportError:
        return None
    return RegoEngine()


def release_signer(key: Ed25519PrivateKey) -> NoteSigner:
    """The installation's key under another name: what it signs of a log is never taken for a release."""
    public = key.public_key().public_bytes_raw()
    return NoteSigner(f"accredit.policy/{public.hex()[:16]}", key.private_bytes_raw())


def certificate_signer(key: Ed25519PrivateKey) -> NoteSigner:
    """The installation's key under the name of its certificates."""
    public = key.public_key().public_bytes_raw()
    return NoteSigner(certificate_name(public.hex()[:16]), key.private_bytes_raw())


def tried_offline(files: Mapping[str, str], *, mutation: bool = False) -> dict[str, Any]:
    """Run a policy directory's cases where nothing is registered: they may name only what their file declares.

    Raises:
        PolicyInvalidError: the policies do not read.
        InvalidInputError: a file of cases is not of the form.
    """
    engine = CedarEngine()
    release = read_release(files, engine, agents={})
    return test_document(run_tests(release, engine, Fleet({}, ()), mutation=mutation, veto=second_engine()))


@contextlib.contextmanager
def open_history(directory: Path) -> Iterator[History]:
    """The past of an installation, read by a process of its own.

    Raises:
        NotFoundError: there is no such installation.
        UnavailableError: its log cannot be read.
    """
    data = DataDirectory.read(directory, ids=RandomIds())
    with contextlib.ExitStack() as stack:
        stack.callback(data.close)
        reader = SqliteRecordReader(data.audit_db)
        stack.callback(reader.close)
        signer = release_signer(data.signing_key())
        keys = PartKeys(data.sealer, reader.stream)
        yield History(reader, keys, CedarEngine(), signer, SystemClock(), second_engine())


@dataclass(frozen=True, slots=True)
class Offline:
    """A data directory opened read-only, for `audit verify`, `audit export` and `doctor`."""

    audit_db: Path
    vkey: str
    part_keys: PartKeys
    doctor: StateDoctor
    newest_checkpoint: bytes | None

    def records(self) -> LogReader:
        """A reader of its own."""
        return SqliteRecordReader(self.audit_db)


def can_archive() -> bool:
    """Whether the extra `archive` is installed; it is not loaded by asking."""
    return importlib.util.find_spec("pyarrow") is not None


def verify_agent_in(directory: Path, vkey: str) -> int:
    """Verify a retired agent's archive in a folder; how many records it holds.

    Raises:
        InvalidInputError: it is none that is complete and as it was written, or the extra `archive` is not installed.
    """
    folder, form = archiving(directory)
    return verify_agent_archive(folder, form, CheckpointVerifier(vkey))


def archive_in(directory: Path) -> SealedArchive:
    """The archive in a directory.

    Raises:
        InvalidInputError: there is none that is complete, or the extra `archive` is not installed.
    """
    folder, form = archiving(directory)
    return SealedArchive(folder, form)


def archive_of(data: Path, directory: Path) -> tuple[int, str]:
    """Archive the log of a data directory as far as its newest checkpoint; how many records, and the verifier key.

    Raises:
        NotFoundError: there is no log, or nothing of it is signed yet.
        InvalidInputError: the folder holds another log's archive, or the extra `archive` is not installed.
    """
    folder, form = archiving(directory)
    with look_at(data) as offline:
        reader, verifier = offline.records(), CheckpointVerifier(offline.vkey)
        signed = reader.checkpoints()
        if not signed:
            raise NotFoundError(Code.NOT_FOUND, "the log has no checkpoint yet", hint="one comes about once a second")
        return seal_archive(reader, folder, form, checkpoint=signed[-1][1], verifier=verifier), offline.vkey


def archiving(directory: Path) -> tuple[ArchiveFolder, Columnar]:
    """A folder of an archive, and the form of its files.

    Raises:
        InvalidInputError: the extra `archive` is not installed.
    """
    try:
        from accredit.storage.parquet import LocalFolder, ParquetForm  # noqa: PLC0415 - an extra: it may not be there
    except ImportError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, "archives need the extra `archive`, which is not installed",
            hint="install `accredit[archive]`; `accredit audit export` needs nothing",
        ) from error  # fmt: skip
    return LocalFolder(directory), ParquetForm()


def holder_of(directory: Path) -> str | None:
    """Where the server that holds a data directory answers; None if nobody holds it, empty if it has not said yet."""
    return read_address(directory)


def check_log(
    source: Path, *, kept: bytes | None = None, vkey: str | None = None, opened: bool = False
) -> VerifyReport:
    """Verify the log of a data directory offline, against a checkpoint kept elsewhere if one is given.

    Raises:
        NotFoundError: there is no log.
        InvalidInputError: `vkey` is not a verifier key.
    """
    with look_at(source) as offline:
        anchors = [Anchor("kept elsewhere", kept)] if kept else []
        if offline.newest_checkpoint:
            anchors.append(Anchor("file beside the log", offline.newest_checkpoint))
        return verify_log(
            offline.records,
            verifier=CheckpointVerifier(vkey or offline.vkey),
            anchors=anchors,
            keys=offline.part_keys if opened else None,
        )


@contextlib.contextmanager
def look_at(directory: Path, *, repair: bool = False) -> Iterator[Offline]:
    """Open a data directory for looking, or with `repair` alone for changing.

    Raises:
        NotFoundError: there is none.
        ConflictError: `repair`, and a server holds it.
    """
    ids = RandomIds()
    data = DataDirectory.open(directory, ids=ids) if repair else DataDirectory.read(directory, ids=ids)
    with contextlib.ExitStack() as stack:
        stack.callback(data.close)
        reader = SqliteRecordReader(data.audit_db)
        stack.callback(reader.close)
        store = SqliteControlStore(data.control_db, read_only=not repair)
        stack.callback(store.close)
        keys = PartKeys(data.sealer, reader.stream)
        doctor = StateDoctor(
            store=store,
            records=reader,
            reserve=data.reserve(),
            open_part=lambda record, name: part_values(open_part(record, name, keys)),
            sealer=data.sealer,
        )
        yield Offline(
            data.audit_db,
            log_signer(data.signing_key(), reader.stream).vkey,
            PartKeys(data.sealer, reader.stream),
            doctor,
            CheckpointFile(directory / "checkpoint").newest(),
        )
