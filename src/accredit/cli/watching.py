"""Alerts and restrictions: what was seen, and what was done about it."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import App, Parameter

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, listed, segment
from accredit.monitoring.model import AlertDisposition, AlertState

__all__ = ["app"]

app = App()
alert = App(name="alert", help="What was seen and needs a look.")
restriction = App(name="restriction", help="Agents narrowed for a time; `agent restrict` narrows one.")
monitor = App(name="monitor", help="What monitoring makes of the log.")
for group in (alert, restriction, monitor):
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
def _alert_resolve(
    id_: Id, *, as_: Annotated[AlertDisposition, Parameter(name="--as")], note: str = "", output: Out = TABLE
) -> int:
    """Say that an alert is over, and what it was: each answer is counted for or against what raised it."""
    return act(f"/api/v1/alerts/{segment(id_)}/resolve", output, {"disposition": as_.value, "note": note})


@monitor.command(name="show")
def _monitor_show(*, output: Out = TABLE) -> None:
    """Show how far monitoring has read."""
    listed("/api/v1/monitoring", output)


@monitor.command(name="accuracy")
def _monitor_accuracy(*, agent: str | None = None, by_agent: bool = False, output: Out = TABLE) -> None:
    """Show how often each kind of alert was right, by what people said of its alerts."""
    each = ["agent_name"] if by_agent or agent else []
    listed(
        "/api/v1/monitoring/accuracy", output, *each,
        "kind", "alerts", "false_positive", "unknown", "false_share", "false_low", "false_high", "false_per_1000",
        agent=agent, by_agent="true" if by_agent else None,
    )  # fmt: skip


@monitor.command(name="rebuild")
def _monitor_rebuild(*, output: Out = TABLE) -> int:
    """Make all session profiles again from the log, and what detectors made of them."""
    return act("/api/v1/monitoring/rebuild", output, {})


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
