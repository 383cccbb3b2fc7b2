"""Calls that wait for a person."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from accredit.approvals.model import HoldState
from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, changing, client, listed, segment, shown
from accredit.cli.output import Format
from accredit.cli.views import looked_at, show_viewed

__all__ = ["app"]

app = App()
hold = App(name="hold", help="Calls that wait for a person.")
app.command(hold)


@hold.command(name="list")
def _hold_list(*, state: HoldState | Literal["all"] = HoldState.OPEN, page: Page = FIRST, output: Out = TABLE) -> None:
    """List calls that wait for a person, or with --state those that did."""
    listed("/api/v1/holds", output, "id", "agent_name", "tool", "roles", "expires", "state", page=page, state=state)


@hold.command(name="get")
def _hold_get(id_: Id, *, output: Out = TABLE) -> None:
    """Show exactly what would be approved, arguments in full."""
    with client() as api:
        show_viewed(api, api.get(f"/api/v1/holds/{segment(id_)}"), output)


@hold.command(name="approve")
def _hold_approve(
    id_: Id, *, role: str | None = None, view_digest: str | None = None, reason: str = "", output: Out = TABLE
) -> int:
    """Approve exactly this call, once. Shows it and asks first.

    Args:
        role: The role you answer in; without one in every role of yours that it waits for.
        view_digest: Instead of being asked: the digest of what `hold get` showed you.
        reason: Why, for the record.
    """
    return _answer(id_, "approve", role, view_digest, reason, output)


@hold.command(name="deny")
def _hold_deny(id_: Id, *, role: str | None = None, reason: str = "", output: Out = TABLE) -> int:
    """Refuse this call.

    Args:
        role: The role you answer in.
        reason: Why, for the record.
    """
    return _answer(id_, "deny", role, None, reason, output)


def _answer(
    id_: str, answer: Literal["approve", "deny"], role: str | None, seen: str | None, reason: str, output: Format
) -> int:
    path = f"/api/v1/holds/{segment(id_)}"
    with changing() as api:
        found = api.get(path)
        asks = answer == "approve" and found["state"] == HoldState.OPEN
        digest = looked_at(
            found,
            output,
            seen=seen,
            question="approve exactly this call, once?" if asks else "",
            otherwise="give `--view-digest` of what `hold get` showed",
            instead="`hold deny` refuses it for good",
        )
        body = {"answer": answer, "reason": reason, "view_digest": digest} | ({"role": role} if role else {})
        return shown(api, api.post(f"{path}/answer", body), output)
