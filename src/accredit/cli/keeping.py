"""How long records are kept: legal holds, and the schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, listed, segment

__all__ = ["app"]

app = App()
legal_hold = App(name="legal-hold", help="What must be kept because of a legal matter.")
retention = App(name="retention", help="How long each class of record is kept.")
app.command(legal_hold)
app.command(retention)

_HOLD = ("id", "state", "matter", "agent", "subject", "incident", "since", "until", "placed", "placed_by", "lifted_by")
_Reason = Annotated[str, Parameter(help="Why; it stands in the log, sealed.")]


@legal_hold.command(name="list")
def _hold_list(*, state: Literal["open", "lifted", "all"] = "open", page: Page = FIRST, output: Out = TABLE) -> None:
    """List what must be kept, or with --state what had to be."""
    listed("/api/v1/legal-holds", output, *_HOLD, page=page, state=state)


@legal_hold.command(name="place")
def _hold_place(
    matter: str,
    *,
    agent: str | None = None,
    subject: str | None = None,
    incident: str | None = None,
    since: str | None = None,
    until: str | None = None,
    output: Out = TABLE,
) -> int:
    """Keep from now on everything that all of what is given names: no erasure, schedule or purge deletes it.

    Args:
        matter: What it is about, sealed in the log. Name nobody here.
        agent: Records of this agent, as ENVIRONMENT/NAME or by its id.
        subject: Records about somebody: the id of a user or task, or a value in what was sent.
        incident: Records of the agent of an incident.
        since: Records from then on, as `2026-03-01T00:00:00Z`.
        until: Records before then.
    """
    named = {"agent": agent, "subject": subject, "incident": incident, "since": since, "until": until}
    body = {"matter": matter} | {name: value for name, value in named.items() if value is not None}
    return act("/api/v1/legal-holds", output, body, *_HOLD)


@legal_hold.command(name="lift")
def _hold_lift(id_: Id, *, reason: _Reason, output: Out = TABLE) -> int:
    """End a hold: by somebody in compliance who could not be who placed it."""
    return act(f"/api/v1/legal-holds/{segment(id_)}/lift", output, {"reason": reason}, *_HOLD)


@retention.command(name="show")
def _retention_show(*, output: Out = TABLE) -> None:
    """Show how long each class of record is kept, between which bounds, and which rule says so."""
    listed("/api/v1/retention", output, "name", "days", "minimum", "maximum", "expires", "because", "what")


@retention.command(name="plan")
def _retention_plan(*, output: Out = TABLE) -> None:
    """Count what would go now, and what legal holds keep of it. Nothing is changed."""
    listed("/api/v1/retention/plan", output, "name", "days", "before", "records", "parts", "first", "kept", "whole")
