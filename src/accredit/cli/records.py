"""The log: reading it, proving that a record stands in it, exporting and verifying it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from accredit.audit.subjects import SubjectSense
from accredit.cli.asking import DATA, FIRST, NEWEST, TABLE, Data, Older, Out, Page, act, client, listed, write_text
from accredit.cli.output import plain, show

__all__ = ["app"]

app = App()
audit = App(name="audit", help="Read, export, prove and verify the log.")
app.command(audit)


@audit.command(name="tail")
def _audit_tail(
    *, kind: str | None = None, agent: str | None = None, page: Older = NEWEST, output: Out = TABLE
) -> None:
    """Show the newest records."""
    listed(
        "/api/v1/audit/records", output,
        "seq", "time", "kind", "agent", "tool", "decision", "code", page=page, kind=kind, agent=agent,
    )  # fmt: skip


@audit.command(name="prove")
def _audit_prove(seq: int, *, to: Path | None = None, output: Out = TABLE) -> None:
    """Write a self-contained proof (.tlog-proof) that a record stands in the log.

    Args:
        seq: The record's number.
        to: File to write; standard output if none is given.
    """
    with client() as api:
        found = api.get(f"/api/v1/audit/prove/{seq}")
    if to is not None:
        write_text(to, found["proof"])
    elif output is TABLE:
        print("\n".join(plain(line, limit=None) for line in found["proof"].split("\n")), end="")
    else:
        show(found, output)


@audit.command(name="erase")
def _audit_erase(
    subject: str,
    *,
    basis: str,
    sense: Annotated[list[SubjectSense] | None, Parameter(name="--as", help="Meant as this; may be repeated.")] = None,
    output: Out = TABLE,
) -> int:
    """Ask that somebody be erased from the log; compliance decides (exit 3), and it is carried out by itself.

    Args:
        subject: The id of a user or task, or a value that stands in what was sent.
        basis: Why, sealed in the log. Name nobody here.
    """
    body = {"subject": subject, "basis": basis} | ({"senses": [str(one) for one in sense]} if sense else {})
    return act("/api/v1/erasures", output, body)


@audit.command(name="erasures")
def _audit_erasures(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List erasures that were signed off: what was destroyed, what was kept, when the last backup of it is gone."""
    listed(
        "/api/v1/erasures", output,
        "id", "state", "by", "begun", "records", "parts", "forgotten", "kept", "erased", "copies_until", "ended",
        page=page,
    )  # fmt: skip


@audit.command(name="export")
def _audit_export(directory: Path, *, data: Data = DATA, output: Out = TABLE) -> int:
    """Write the whole log for an auditor, who verifies it offline with `audit verify`.

    Args:
        directory: Where to write; must not exist.
    """
    from accredit.cli.offline import export_log  # noqa: PLC0415 - only these two need the storage

    return export_log(data, directory, output=output)


@audit.command(name="archive")
def _audit_archive(directory: Path, *, data: Data = DATA, output: Out = TABLE) -> int:
    """Archive the log as Parquet files of its exact bytes, which `audit verify` proves without a server.

    Args:
        directory: Where to; what an archive there holds already is kept.
    """
    from accredit.cli.offline import archive_log  # noqa: PLC0415 - only these need the storage

    return archive_log(data, directory, output=output)


@audit.command(name="verify")
def _audit_verify(
    source: Path = DATA,
    *,
    checkpoint: Path | None = None,
    vkey: str | None = None,
    open_parts: Annotated[bool, Parameter(name="--open")] = False,
    output: Out = TABLE,
) -> int:
    """Verify the log offline: every byte of every record, the tree, every checkpoint.

    Args:
        source: A data directory, export, archive, certificate of retirement, or proof as `audit prove` writes it.
        checkpoint: A checkpoint kept elsewhere: finds a log that was cut off or replaced.
        vkey: The log's public key, if you hold it; otherwise the one stored beside the log is used, and said so.
        open_parts: Open sealed parts with the data directory's keys and check what they commit to.
    """
    from accredit.cli.offline import verify_log  # noqa: PLC0415 - only these two need the storage

    return verify_log(source, checkpoint=checkpoint, vkey=vkey, open_parts=open_parts, output=output)
