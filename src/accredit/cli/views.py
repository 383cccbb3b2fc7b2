"""Showing a person exactly what is asked of them, and asking: what a grant records the digest of (DESIGN §11)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from accredit.cli.output import plain
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError

__all__ = ["checked_view", "confirmed"]


def checked_view(hold: Mapping[str, Any]) -> str:
    """The text of a hold's view, which is the text its digest is of and hides nothing from a terminal.

    Raises:
        ConflictError: it is not.
    """
    from accredit.approvals.requests import view_digest  # noqa: PLC0415 - only where somebody is asked

    view = str(hold["view"])
    if view_digest(view) != hold["view_digest"]:
        raise ConflictError(Code.CONFLICT, "the server shows one text and names the digest of another")
    if "\n".join(plain(line, limit=None) for line in view.split("\n")) != view:
        raise ConflictError(Code.CONFLICT, "the text to approve carries characters that a terminal may hide")
    return view


def confirmed(question: str, *, otherwise: str) -> None:
    """Return only if the person at the terminal says yes.

    Raises:
        InvalidInputError: there is no terminal to ask on.
        ConflictError: they do not.
    """
    if not sys.stdin.isatty():
        raise InvalidInputError(Code.CLEARANCE_REQUIRED, "there is no terminal to ask on", hint=otherwise)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConflictError(Code.CONFLICT, "not approved: nothing was changed", hint="`hold deny` refuses it for good")
