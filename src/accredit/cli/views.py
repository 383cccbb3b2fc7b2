"""Showing a person exactly what is asked of them, and asking: a vote or grant records its digest (DESIGN §11)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from accredit.cli.asking import TABLE, shown
from accredit.cli.client import ApiClient
from accredit.cli.output import NO_PARTS, Format, Parts, plain
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError

__all__ = ["looked_at", "show_viewed"]


def show_viewed(api: ApiClient, asked: Mapping[str, Any], output: Format, *, parts: Parts = NO_PARTS) -> None:
    """Show a hold or request; in a table first the text that an answer is about, if there is anything to answer."""
    if output is TABLE:
        if asked["view"]:
            print(_checked(asked))
        asked = {name: value for name, value in asked.items() if name != "view"}
    shown(api, asked, output, parts=parts)


def looked_at(
    asked: Mapping[str, Any], output: Format, *, seen: str | None, question: str, otherwise: str, instead: str = ""
) -> str:
    """Show somebody what they answer and ask them (no question: show only): the digest their answer names.

    Whoever gives the digest of what they have `seen` is not asked: the server compares it.

    Raises:
        InvalidInputError: there is no terminal to ask on.
        ConflictError: they do not say yes, or the text is not what its digest is of.
    """
    view = _checked(asked)
    if seen is not None:
        return seen
    print(view, file=sys.stdout if output is TABLE else sys.stderr)
    if question:
        _confirmed(question, otherwise=otherwise, instead=instead)
    return str(asked["view_digest"])


def _checked(asked: Mapping[str, Any]) -> str:
    """The text of a hold's or request's view: the text its digest is of, which hides nothing from a terminal.

    Raises:
        ConflictError: it is not.
    """
    from accredit.approvals.requests import view_digest  # noqa: PLC0415 - only where somebody is asked

    view = str(asked["view"])
    if view_digest(view) != asked["view_digest"]:
        raise ConflictError(Code.CONFLICT, "the server shows one text and names the digest of another")
    if "\n".join(plain(line, limit=None) for line in view.split("\n")) != view:
        raise ConflictError(Code.CONFLICT, "the text to approve carries characters that a terminal may hide")
    return view


def _confirmed(question: str, *, otherwise: str, instead: str = "") -> None:
    """Return only if the person at the terminal says yes; `instead` is what else they could do.

    Raises:
        InvalidInputError: there is no terminal to ask on.
        ConflictError: they do not.
    """
    if not sys.stdin.isatty():
        raise InvalidInputError(Code.CLEARANCE_REQUIRED, "there is no terminal to ask on", hint=otherwise)
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ConflictError(Code.CONFLICT, "not confirmed: nothing was changed", hint=instead)
