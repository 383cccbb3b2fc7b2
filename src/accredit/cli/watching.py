"""Alerts, restrictions and incidents: what was seen, and what was done about it."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, listed, segment
from accredit.monitoring.model import AlertState

__all__ = ["app"]

app = App()
alert = App(name="alert", help="What was seen and needs a look.")
restriction = App(name="restriction", help="Agents narrowed for a time; `agent restrict` narrows one.")
incident = App(name="incident", help="Flags that something went wrong with an agent.")
for group in (alert, restriction, incident):
    app.command(group)


@alert.command(name="list")
def _alert_list(
    *,
    state: AlertState | Literal["all"] = AlertState.OPEN,
    agent: str | None = None,
    page: Page = FIRST,
    output: Out = TABLE,
) -> None:
    """List open alerts, or with --state others, newest first."""
    listed(
        "/api/v1/alerts", output,
        "severity", "kind", "agent_name", "matter", "count", "last", "state", "remediation", "id",
        page=page, state=state, agent=agent,
    )  # fmt: skip


@alert.command(name="ack")
def _alert_ack(id_: Id, *, note: str = "", output: Out = TABLE) -> int:
    """Say that you look after an alert."""
    return act(f"/api/v1/alerts/{segment(id_)}/ack", output, {"note": note})


@alert.command(name="resolve")
def _alert_resolve(id_: Id, *, note: str = "", output: Out = TABLE) -> int:
    """Say that an alert is over."""
    return act(f"/api/v1/alerts/{segment(id_)}/resolve", output, {"note": note})


@restriction.command(name="list")
def _restriction_list(*, agent: str | None = None, page: Page = FIRST, output: Out = TABLE) -> None:
    """List restrictions in force."""
    listed(
        "/api/v1/restrictions", output,
        "agent_name", "kind", "tool", "calls_per_minute", "role", "cause", "until", "id", page=page, agent=agent,
    )  # fmt: skip


@restriction.command(name="lift")
def _restriction_lift(id_: Id, *, reason: str, output: Out = TABLE) -> int:
    """End a restriction before its time."""
    return act(f"/api/v1/restrictions/{segment(id_)}/lift", output, {"reason": reason})


@incident.command(name="open")
def _incident_open(agent: str, *, reason: str, severity: int = 1, output: Out = TABLE) -> int:
    """Flag that something went wrong with an agent.

    Args:
        agent: The agent.
        reason: What, for the record.
        severity: 1 (gravest: while it is open the tier is high) to 4.
    """
    body = {"severity": severity, "reason": reason}
    return act(f"/api/v1/agents/{segment(agent)}/incidents", output, body)


@incident.command(name="list")
def _incident_list(
    *,
    state: Literal["open", "all"] = "open",
    agent: str | None = None,
    page: Page = FIRST,
    output: Out = TABLE,
) -> None:
    """List open incidents, or with --state all of them."""
    listed(
        "/api/v1/incidents",
        output,
        "severity",
        "agent_name",
        "opened",
        "closed",
        "id",
        page=page,
        state=state,
        agent=agent,
    )


@incident.command(name="close")
def _incident_close(id_: Id, *, reason: str, output: Out = TABLE) -> int:
    """Close an incident."""
    return act(f"/api/v1/incidents/{segment(id_)}/close", output, {"reason": reason})
