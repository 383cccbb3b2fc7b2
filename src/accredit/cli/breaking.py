"""Break-glass: for a few hours, holds of named tools of one agent do not wait for people."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, listed, segment

__all__ = ["app"]

app = App()
glass = App(
    name="break-glass", help="Let named tools of an agent not wait for holds; security reviews it within 3 days."
)
app.command(glass)

_Named = Annotated[list[str], Parameter(consume_multiple=True)]


@glass.command(name="list")
def _glass_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List what was broken, newest first, and what became of the review."""
    listed(
        "/api/v1/break-glass", output,
        "id", "agent_name", "tools", "policies", "by", "until", "in_force", "review", "request", "digest",
        page=page,
    )  # fmt: skip


@glass.command(name="open")
def _glass_open(
    agent: str,
    *,
    tool: _Named,
    policy: _Named,
    minutes: int,
    reason: str,
    second: bool = False,
    output: Out = TABLE,
) -> int:
    """Break it: calls of these tools do not wait for these holds, at once; people are told.

    Args:
        agent: The agent; not one you own, wrote or asked for.
        tool: Each tool, as `server/tool`.
        policy: Id of each policy or restriction whose hold does not wait.
        minutes: For how long, at most 480.
        reason: Why, for the record and for whoever reviews it.
        second: Ask a second person to confirm it within the hour instead; nobody is paged.
    """
    body = {"tools": tool, "policies": policy, "minutes": minutes, "reason": reason, "second": second}
    return act(f"/api/v1/agents/{segment(agent)}/break-glass", output, body)


@glass.command(name="confirm")
def _glass_confirm(id_: Id, *, digest: str, output: Out = TABLE) -> int:
    """Break what somebody else asked for, exactly as `break-glass list` shows it.

    Args:
        digest: Names what you were shown: `digest` of that row.
    """
    return act(f"/api/v1/break-glass/{segment(id_)}/confirm", output, {"digest": digest})


@glass.command(name="end")
def _glass_end(id_: Id, *, output: Out = TABLE) -> int:
    """End one now."""
    return act(f"/api/v1/break-glass/{segment(id_)}/end", output)


@glass.command(name="review")
def _glass_review(id_: Id, *, output: Out = TABLE) -> int:
    """Ask anew for the review of one that nobody looked at in time."""
    return act(f"/api/v1/break-glass/{segment(id_)}/review", output)
