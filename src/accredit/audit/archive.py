"""One agent's records as an archive that stays when it is gone, each with its proof: nobody needs us to check it.

    manifest.json     what this is: agent, origin, verifier key, signed checkpoint, both files with their digests
    records.parquet   its records in their own bytes, in the form of the log's sealed archive (`sealed_archive.py`)
    proofs.jsonl      for each record, in the same order, the proof that it stands under the checkpoint

Where columnar files cannot be written (the extra `archive` is not installed) the same is one file of lines: the first
says what it is, each further one is a record with its proof, and the two together are a C2SP `.tlog-proof`. Sealed
parts come as they are sealed. Wrapped data keys stay at home: a copy of them would outlive the erasure of a part.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.model import StoredRow
from accredit.audit.ports import LogReader
from accredit.audit.proof import prove_record, verify_record_proof
from accredit.audit.records import SALT_SIZE, leaf_data, sealed_parts
from accredit.audit.sealed_archive import ArchiveFolder, Columnar, columns_of
from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import AgentId

__all__ = [
    "AGENT_ARCHIVE_FORMAT",
    "Archived",
    "seal_agent_archive",
    "verify_agent_archive",
    "verify_archive",
    "write_archive",
]

_FORMAT: Final = "accredit.agent/archive@v1"
AGENT_ARCHIVE_FORMAT: Final = "accredit.agent/archive@v2"
_MANIFEST: Final = "manifest.json"
_RECORDS: Final = "records.parquet"
_PROOFS: Final = "proofs.jsonl"
_CHUNK: Final = 1_048_576
_PAGE: Final = 2_048
_MAX_LINE: Final = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive that was written."""

    name: str
    """Of the file."""
    sha256: str
    records: int
    checkpoint: str
    """What it stands under: a log that was cut short later is found against it."""


def write_archive(
    reader: LogReader, path: Path, agent: AgentId, *, checkpoint: bytes, verifier: CheckpointVerifier
) -> Archived:
    """Write every record of an agent that a checkpoint covers; a file that was there before is replaced whole.

    Raises:
        InvalidInputError: the checkpoint is not this log's.
        UnavailableError: reading or writing failed; what was there before is as it was.
    """
    head = verifier.verify(checkpoint)
    unfinished = path.with_name(f"{path.name}.unfinished")
    digest, count = hashlib.sha256(), 0
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            first = {
                "agent": agent,
                "checkpoint": checkpoint.decode(),
                "format": _FORMAT,
                "origin": head.origin,
                "size": head.size,
                "stream": reader.stream,
                "vkey": verifier.vkey,
            }
            for line in _lines(reader, agent, head.size, checkpoint, first):
                file.write(line)
                digest.update(line)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise UnavailableError(
            Code.AUDIT_UNAVAILABLE, "the agent's archive could not be written", cause=repr(error)
        ) from error
    return Archived(path.name, digest.hexdigest(), count - 1, checkpoint.decode())


def _lines(reader: LogReader, agent: AgentId, size: int, checkpoint: bytes, first: dict[str, Any]) -> Iterator[bytes]:
    yield canonical(first) + b"\n"
    for seq, header, salted, _, sealed, _ in _rows_of(reader, agent, size):
        proof, _, _ = prove_record(reader, seq, checkpoint=checkpoint).partition(b"\n\n")
        line = {
            "body": salted[SALT_SIZE:].decode(),
            "header": header[2:].decode(),
            "parts": [[name, base64.b64encode(text).decode()] for name, text in sealed_parts(sealed)],
            "proof": proof.decode(),
            "salt": salted[:SALT_SIZE].hex(),
            "seq": seq,
        }
        yield canonical(line) + b"\n"


def _rows_of(reader: LogReader, agent: AgentId, size: int) -> Iterator[StoredRow]:
    wanted = f'"{agent}"'.encode()
    for start in range(0, size, _PAGE):
        for row in reader.rows(start, min(start + _PAGE, size)):
            # looking for the text first spares reading every header of a long log
            if wanted in row[1] and orjson.loads(row[1][2:]).get("agent") == agent:
                yield row


def seal_agent_archive(
    reader: LogReader,
    folder: ArchiveFolder,
    form: Columnar,
    agent: AgentId,
    *,
    name: str,
    checkpoint: bytes,
    verifier: CheckpointVerifier,
) -> Archived:
    """Write every record of an agent that a checkpoint covers into a folder, under that name; whole or not at all.

    Raises:
        InvalidInputError: the checkpoint is not this log's.
        UnavailableError: reading or writing failed; an archive that was complete before is still told of as such.
    """
    head = verifier.verify(checkpoint)
    with folder.create(_RECORDS) as file:
        form.write(file, _rows_of(reader, agent, head.size))
    count = 0
    with folder.create(_PROOFS) as file:
        for seq, *_ in _rows_of(reader, agent, head.size):
            proof, _, _ = prove_record(reader, seq, checkpoint=checkpoint).partition(b"\n\n")
            file.write(canonical({"proof": proof.decode(), "seq": seq}) + b"\n")
            count += 1
    manifest = {
        "agent": agent,
        "checkpoint": checkpoint.decode(),
        "files": {one: _digest(folder, one) for one in (_PROOFS, _RECORDS)},
        "format": AGENT_ARCHIVE_FORMAT,
        "origin": head.origin,
        "records": count,
        "size": head.size,
        "stream": reader.stream,
        "vkey": verifier.vkey,
    }
    text = canonical(manifest)
    with folder.create(_MANIFEST) as file:  # last: complete
        file.write(text)
    return Archived(name, hashlib.sha256(text).hexdigest(), count, checkpoint.decode())


def _digest(folder: ArchiveFolder, name: str) -> str:
    digest = hashlib.sha256()
    with folder.open(name) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def verify_agent_archive(folder: ArchiveFolder, form: Columnar, verifier: CheckpointVerifier) -> int:
    """Check that every record in an agent's archive is the agent's and stands in that log; returns how many there are.

    Raises:
        InvalidInputError: it is no archive, of another log, or a record or file is not as it was written.
        UnavailableError: a file cannot be read.
    """
    try:
        with folder.open(_MANIFEST) as file:
            manifest = orjson.loads(file.read(_MAX_LINE))
        if manifest["format"] != AGENT_ARCHIVE_FORMAT:
            raise InvalidInputError(Code.LOG_INVALID, "the archive is in a format this release does not know")
        checkpoint = str(manifest["checkpoint"]).encode()
        head = verifier.verify(checkpoint)
        if (manifest["origin"], manifest["size"], manifest["vkey"]) != (head.origin, head.size, verifier.vkey):
            raise InvalidInputError(Code.LOG_INVALID, "the archive says of itself what its checkpoint does not")
        if any(_digest(folder, name) != manifest["files"][name] for name in (_PROOFS, _RECORDS)):
            raise InvalidInputError(Code.LOG_INVALID, "a file of the archive is not as it was written")
        agent, expected, count, newest = str(manifest["agent"]), int(manifest["records"]), 0, -1
        with folder.open(_RECORDS) as records, folder.open(_PROOFS) as proofs:
            for row, columns in form.read(records, 0, expected):
                line = orjson.loads(proofs.readline(_MAX_LINE))
                if columns != columns_of(row[1]):
                    raise InvalidInputError(Code.LOG_INVALID, f"record {row[0]} has columns not of its header")
                newest = _row_verified(row, line, agent, checkpoint, verifier, after=newest)
                count += 1
            if count != expected or proofs.readline(_MAX_LINE):
                raise InvalidInputError(Code.LOG_INVALID, "records and proofs are not as many as the archive says")
    except (ValueError, KeyError, TypeError, AttributeError, NotFoundError) as error:
        raise InvalidInputError(Code.LOG_INVALID, "not a complete archive of an agent", cause=repr(error)) from error
    return count


def _row_verified(
    row: StoredRow, line: dict[str, Any], agent: str, checkpoint: bytes, verifier: CheckpointVerifier, *, after: int
) -> int:
    _, header, salted, _, sealed, _ = row
    text = line["proof"].encode() + b"\n\n" + checkpoint
    seq, _ = verify_record_proof(text, leaf_data(header, salted), verifier)
    stated = orjson.loads(header[2:])
    if seq != line["seq"] or seq != row[0] or seq <= after or stated["agent"] != agent:
        raise InvalidInputError(Code.LOG_INVALID, f"record {row[0]} does not stand where the archive says")
    parts = {name: hashlib.sha256(part).hexdigest() for name, part in sealed_parts(sealed)}
    if parts != _stated_parts(orjson.loads(salted[SALT_SIZE:])):
        raise InvalidInputError(Code.LOG_INVALID, f"a sealed part of record {seq} is not as it was written")
    return seq


def verify_archive(path: Path, verifier: CheckpointVerifier) -> int:
    """Check that every record in an archive is the agent's and stands in that log; returns how many there are.

    That none is missing is not for the archive to show: the receipt's digest names the file as it was written.

    Raises:
        InvalidInputError: it is no archive, of another log, or a record is not as it was written.
        UnavailableError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            first = orjson.loads(file.readline(_MAX_LINE))
            if first["format"] != _FORMAT:
                raise InvalidInputError(Code.LOG_INVALID, "the archive is in a format this release does not know")
            checkpoint = str(first["checkpoint"]).encode()
            verifier.verify(checkpoint)
            count, newest = 0, -1
            while line := file.readline(_MAX_LINE):
                newest = _verified(orjson.loads(line), str(first["agent"]), checkpoint, verifier, after=newest)
                count += 1
    except OSError as error:
        raise UnavailableError(Code.AUDIT_UNAVAILABLE, "the archive cannot be read", cause=repr(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise InvalidInputError(Code.LOG_INVALID, "not a complete archive of an agent", cause=repr(error)) from error
    return count


def _verified(line: dict[str, Any], agent: str, checkpoint: bytes, verifier: CheckpointVerifier, *, after: int) -> int:
    header = line["header"].encode()
    entry = leaf_data(len(header).to_bytes(2, "big") + header, bytes.fromhex(line["salt"]) + line["body"].encode())
    seq, _ = verify_record_proof(line["proof"].encode() + b"\n\n" + checkpoint, entry, verifier)
    parts = {name: hashlib.sha256(base64.b64decode(text, validate=True)).hexdigest() for name, text in line["parts"]}
    stated = orjson.loads(header)
    if seq != line["seq"] or seq <= after or stated["agent"] != agent:
        raise InvalidInputError(Code.LOG_INVALID, f"record {line['seq']} does not stand where the archive says")
    if parts != _stated_parts(orjson.loads(line["body"])):
        raise InvalidInputError(Code.LOG_INVALID, f"a sealed part of record {seq} is not as it was written")
    return seq


def _stated_parts(body: dict[str, Any]) -> dict[str, str]:
    return {name: str(stated["ciphertext"]) for name, stated in (body.get("parts") or {}).items()}
