"""What works without a server: verify, export, doctor. They open the data directory read-only."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from accredit.audit.archive import AGENT_ARCHIVE_FORMAT, verify_archive
from accredit.audit.certificates import is_certificate, read_certificate
from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.export import LogExport, bases_of
from accredit.audit.export import export_log as write_export
from accredit.audit.proof import carried_entry, verify_record_proof
from accredit.audit.sealed_archive import ARCHIVE_FORMAT
from accredit.audit.verify import Anchor, VerifyReport
from accredit.audit.verify import verify_log as verify_reader
from accredit.cli.output import Format, show
from accredit.cli.profile import load_profile
from accredit.gateway.programs import isolation
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, NotFoundError
from accredit.offline import archive_in, archive_of, check_log, look_at, verify_agent_in

__all__ = ["archive_log", "examine", "export_log", "verify_log"]


def _given(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotFoundError(Code.NOT_FOUND, f"`{path.name}` cannot be read: {error.strerror}") from error


def _kept() -> bytes | None:
    """The newest checkpoint this user's profile was shown: kept away from the log, so it finds a log cut short."""
    checkpoint = load_profile(os.environ).checkpoint
    return checkpoint.encode() if checkpoint else None


def verify_log(source: Path, *, checkpoint: Path | None, vkey: str | None, open_parts: bool, output: Format) -> int:
    """Verify a data directory, an export, an archive of the log or of an agent, a certificate or one record's proof.

    0 only if every byte is as signed.
    """
    if source.is_file():
        if is_certificate(_given(source) or b""):
            return _verify_certificate(source, vkey, output)
        if source.suffix == ".jsonl":
            return _verify_agent(source, vkey, output)
        return _verify_proof(source, vkey, output)
    if _is_archive(source, AGENT_ARCHIVE_FORMAT):
        return _verify_agent(source, vkey, output)
    given = _given(checkpoint)
    bases = {}
    if _is_archive(source, ARCHIVE_FORMAT):
        report = _verify_archive(source, given, vkey)
    elif (source / "manifest.json").exists():
        report = _verify_export(source, given, vkey)
        bases = {"bases": list(LogExport(source).bases)}
    else:
        report = check_log(source, kept=given or _matching(_kept(), source), vkey=vkey, opened=open_parts)
    show(
        {
            "verified": report.ok,
            "what": report.what,
            "first_bad_record": report.first_bad,
            "records": report.size,
            "covered_by_a_signed_checkpoint": report.signed,
            "checkpoints": report.checkpoints,
            "anchor": report.anchor,
            "caveat": report.caveat,
            **bases,
            **({"parts_opened": report.opened, "parts_erased": report.erased} if open_parts else {}),
        },
        output,
    )
    return 0 if report.ok else 1


def _verify_proof(source: Path, vkey: str | None, output: Format) -> int:
    if vkey is None:
        raise InvalidInputError(
            Code.LOG_INVALID,
            "a proof is verified with the log's public key",
            hint="give --vkey; `accredit up` prints it",
        )
    proof = source.read_bytes()
    entry = carried_entry(proof)
    seq, head = verify_record_proof(proof, entry, CheckpointVerifier(vkey))
    # the entry is u16 length, the header in clear, and the hash of the body
    header = json.loads(entry[2 : 2 + int.from_bytes(entry[:2], "big")])
    show({"verified": True, "record": seq, "log": head.origin, "of": head.size, "header": header}, output)
    return 0


def _verify_agent(source: Path, vkey: str | None, output: Format) -> int:
    """What a retired agent left: a folder, or a file of lines."""
    if vkey is None:
        raise InvalidInputError(
            Code.LOG_INVALID,
            "an archive is verified with the log's public key",
            hint="give --vkey; `accredit up` prints it",
        )
    count = verify_archive(source, CheckpointVerifier(vkey)) if source.is_file() else verify_agent_in(source, vkey)
    show({"verified": True, "records": count}, output)
    return 0


def _verify_certificate(source: Path, vkey: str | None, output: Format) -> int:
    if vkey is None:
        raise InvalidInputError(
            Code.LOG_INVALID,
            "a certificate is verified with the log's public key",
            hint="give --vkey; `accredit up` prints it",
        )
    says = read_certificate(_given(source) or b"", vkey)
    told = {name: says[name] for name in ("id", "agent", "number", "status", "supersedes", "pending", "exceptions")}
    stores = [{"store": one["store"], "claim": one["claim"]} for one in says["stores"]]
    show({"verified": True, **told, "stores": stores}, output)
    return 0


def _matching(kept: bytes | None, source: Path) -> bytes | None:
    """The profile's checkpoint if it is of this log; a profile may know another installation."""
    with look_at(source) as offline:
        origin = CheckpointVerifier(offline.vkey).origin
    return kept if kept and kept.split(b"\n", 1)[0].decode(errors="replace") == origin else None


def _verify_export(source: Path, given: bytes | None, vkey: str | None) -> VerifyReport:
    if vkey is None:
        raise InvalidInputError(
            Code.LOG_INVALID, "an export is verified with the log's public key",
            hint="give --vkey; the operator of the log publishes it, and `manifest.json` only repeats it",
        )  # fmt: skip
    report = verify_reader(
        lambda: LogExport(source),
        verifier=CheckpointVerifier(vkey),
        anchors=[Anchor("file given", given)] if given else [],
        rollups=False,
    )
    export = LogExport(source)
    if report.ok and list(export.bases) != bases_of(export, export.size()):
        return replace(report, ok=False, what="the manifest states other bases of authority than the records")
    return report


def _is_archive(source: Path, form: str) -> bool:
    try:
        return f'"{form}"'.encode() in (source / "manifest.json").read_bytes()
    except OSError:
        return False


def _verify_archive(source: Path, given: bytes | None, vkey: str | None) -> VerifyReport:
    if vkey is None:
        raise InvalidInputError(
            Code.LOG_INVALID, "an archive is verified with the log's public key",
            hint="give --vkey; the operator of the log publishes it, and `manifest.json` only repeats it",
        )  # fmt: skip
    archive = archive_in(source)
    report = verify_reader(
        lambda: archive,
        verifier=CheckpointVerifier(vkey),
        anchors=[Anchor("file given", given)] if given else [],
        rollups=False,
    )
    if not report.ok:
        return report  # it says which record
    try:
        archive.require_whole()
    except InvalidInputError as error:
        return replace(report, ok=False, what=error.message)
    return report


def archive_log(data: Path, directory: Path, *, output: Format) -> int:
    """Write what is signed and not archived yet."""
    size, vkey = archive_of(data, directory)
    verify = f"accredit audit verify {directory} --vkey '{vkey}'"
    show({"records": size, "directory": str(directory), "verify": verify}, output)
    return 0


def export_log(data: Path, directory: Path, *, output: Format) -> int:
    """Write the log as checkpoint, tiles, entries and bodies."""
    with look_at(data) as offline:
        reader, verifier = offline.records(), CheckpointVerifier(offline.vkey)
        signed = reader.checkpoints()
        if not signed:
            raise NotFoundError(Code.NOT_FOUND, "the log has no checkpoint yet", hint="one comes about once a second")
        # the newest in the log itself: the copy beside it may be a moment older
        size = write_export(reader, directory, checkpoint=signed[-1][1], verifier=verifier)
        show(
            {
                "records": size,
                "directory": str(directory),
                "bases": list(LogExport(directory).bases),
                "verify": f"accredit audit verify {directory} --vkey '{offline.vkey}'",
            },
            output,
        )
    return 0


def examine(data: Path, *, repair: bool, output: Format) -> int:
    """Compare the control state with what the log proves; 0 only if they agree."""
    with look_at(data, repair=repair) as offline:
        diagnosis = offline.doctor.repair() if repair else offline.doctor.diagnose()
    show(
        {
            "sound": diagnosis.sound,
            "rows": diagnosis.rows,
            "control_records": diagnosis.control_records,
            "undrained": len(diagnosis.undrained),
            "foreign": len(diagnosis.foreign),
            "programs": isolation(),
            "differences": [
                {"kind": one.kind, "key": one.key, "finding": str(one.finding), "record": one.seq}
                for one in diagnosis.differences
            ],
        },
        output,
    )
    if repair and not diagnosis.sound:
        print("the rows were written anew from the log", file=sys.stderr)
        return 0
    return 0 if diagnosis.sound else 1
