"""Incidents: what went wrong with agents, what is kept because of it, and what it came to."""

from __future__ import annotations

from typing import Final, Literal

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, listed, segment
from accredit.cli.output import Parts

__all__ = ["app"]

app = App()
incident = App(name="incident", help="What went wrong with agents; a retired one that is seen opens one by itself.")
app.command(incident)

_TIMELINE: Final[Parts] = {"timeline": ("at", "what", "by", "text")}


@incident.command(name="open")
def _incident_open(
    agent: str,
    *,
    reason: str,
    severity: int = 1,
    also: list[str] | None = None,
    link: list[str] | None = None,
    output: Out = TABLE,
) -> int:
    """Put on record that something went wrong with an agent.

    Args:
        agent: The agent.
        reason: What, for the record.
        severity: 1 (gravest: while it is open the tier is high) to 4.
        also: Another agent that it is about; can be given several times.
        link: An alert or finding by its id, or record:SEQ; can be given several times.
    """
    body = {"severity": severity, "reason": reason, "agents": also or [], "linked": link or []}
    return act(f"/api/v1/agents/{segment(agent)}/incidents", output, body, parts=_TIMELINE)


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
        "/api/v1/incidents", output, "severity", "agent_name", "what", "rule", "opened", "closed", "id",
        page=page, state=state, agent=agent,
    )  # fmt: skip


@incident.command(name="get")
def _incident_get(id_: Id, *, output: Out = TABLE) -> None:
    """Show an incident: its agents, what is linked to it, what is kept because of it, and what was done."""
    listed(f"/api/v1/incidents/{segment(id_)}", output, parts=_TIMELINE)


@incident.command(name="freeze")
def _incident_freeze(id_: Id, *, output: Out = TABLE) -> int:
    """Keep everything of an incident's agents from deletion, by a legal hold on each."""
    return act(f"/api/v1/incidents/{segment(id_)}/freeze", output, parts=_TIMELINE)


@incident.command(name="close")
def _incident_close(id_: Id, *, reason: str, output: Out = TABLE) -> int:
    """Close an incident with what it came to; of severity 1 by another person than who opened it."""
    return act(f"/api/v1/incidents/{segment(id_)}/close", output, {"reason": reason}, parts=_TIMELINE)
