"""Certificates of retirement: what they say, signed, and how somebody checks one who has nothing else of ours.

A certificate is a signed note (`notes.py`) whose text is one line of canonical JSON. The installation's key signs it
under a name of its own, so what is signed of a log is never taken for a certificate. It carries the newest checkpoint
of the log at that moment, which covers every record that it speaks of.

What it says is checked against itself as well: a certificate that claims to be complete and names something open, or
claims absence of a store that it does not show to be empty, is refused whoever signed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import orjson

from accredit.audit.checkpoint import CheckpointVerifier
from accredit.audit.notes import NoteSigner, NoteVerifier
from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["CertificateStatus", "StoreClaim", "certificate_name", "is_certificate", "read_certificate", "signed"]

_FORMAT: Final = "accredit.retirement/certificate@v1"
_NAME: Final = "accredit.certificate/"
_MOST: Final = 1_048_576


class CertificateStatus(StrEnum):
    """How far a retirement came."""

    COMPLETE = "complete"
    WITH_EXCEPTIONS = "complete with exceptions"
    """Nothing more will be done here; what could not be reached or shown is named."""
    PENDING = "pending"
    """Something still waits: a store, a legal hold, a key service. Another certificate takes its place."""


class StoreClaim(StrEnum):
    """What is claimed of a store."""

    ABSENT = "absent"
    """It shows none of the agent's items, and no bytes of them were found."""
    HELD = "held"
    STILL_THERE = "still there"
    """It shows items, or bytes of them, that it was told to delete."""
    NOT_SHOWN = "not shown"
    """It shows none, and nobody could look for bytes; or people decided to keep some."""
    KEY_PENDING = "key pending"
    NOT_REACHED = "not reached"
    CANNOT_CERTIFY = "cannot certify"
    """Nobody could ever tell the agent's items from others'."""


def certificate_name(installation: str) -> str:
    """The name that an installation signs certificates under."""
    return f"{_NAME}{installation}"


def signed(document: Mapping[str, Any], signer: NoteSigner) -> bytes:
    """The certificate that says so."""
    return signer.sign(canonical({**document, "format": _FORMAT}).decode() + "\n")


def is_certificate(text: bytes) -> bool:
    """Whether a file looks like one; it says nothing of whether it holds."""
    return b"\n\xe2\x80\x94 " + _NAME.encode() in text[:_MOST]


def read_certificate(note: bytes, vkey: str) -> Mapping[str, Any]:
    """What a certificate says, once its signature, its checkpoint and its own sense were checked.

    `vkey` is the verifier key of the installation's log.

    Raises:
        InvalidInputError: it is none, was changed, is another installation's, or contradicts itself.
    """
    log = CheckpointVerifier(vkey)
    key = NoteVerifier(vkey)
    name = certificate_name(key.public.hex()[:16])
    text = key.under(name).verify(note, most=_MOST)
    try:
        document: dict[str, Any] = orjson.loads(text)
        if document["format"] != _FORMAT or canonical(document).decode() + "\n" != text:
            raise _refused("it is in another form")
        head = log.verify(str(document["log"]["checkpoint"]).encode())
        if not 0 <= document["log"]["position"] < head.size:
            raise _refused("its checkpoint does not cover the records it speaks of")
        _require_sense(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _refused("it does not read") from error
    return document


def _require_sense(document: Mapping[str, Any]) -> None:
    status = CertificateStatus(document["status"])
    if status is not _status_of(document):
        raise _refused(f"it says `{status}` and names what contradicts that")
    for store in document["stores"]:
        shown = store["certified"] and store["api_absent"] is True and store["residual"] == "none"
        if StoreClaim(store["claim"]) is StoreClaim.ABSENT and not shown:
            raise _refused(f"it claims absence of {store['store']} and does not show it")
    if status is CertificateStatus.COMPLETE and any(
        StoreClaim(store["claim"]) is not StoreClaim.ABSENT for store in document["stores"]
    ):
        raise _refused("it says that it is complete, and a store is not shown to be empty")


def _status_of(document: Mapping[str, Any]) -> CertificateStatus:
    if document["pending"]:
        return CertificateStatus.PENDING
    return CertificateStatus.WITH_EXCEPTIONS if document["exceptions"] else CertificateStatus.COMPLETE


def _refused(why: str) -> InvalidInputError:
    return InvalidInputError(Code.LOG_INVALID, f"not a certificate that holds: {why}")
