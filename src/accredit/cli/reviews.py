"""Reviews of agents: campaigns, the card of each agent under review, and what is said to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, client, listed, segment, shown
from accredit.cli.output import Format, plain, show
from accredit.cli.policies import people_of, wait_for
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.report import text_report

__all__ = ["app"]

app = App()
review = App(name="review", help="Reviews of agents: whether each is still needed, and its access still right.")
app.command(review)

_Some = Annotated[list[str] | None, Parameter(consume_multiple=True)]
_REVIEW = ("agent_name", "tier", "state", "look", "due", "needed", "decisions", "triggers", "id")
_CAMPAIGN = ("begun", "kind", "schedule", "scope", "agents", "open_agents", "look", "closed", "id")
_WOULD_BREAK: Final = 8
_VERDICTS = ("keep", "remove", "fix-policy", "investigate")


@review.command(name="list")
def _review_list(
    *,
    state: Literal["open", "ended", "all"] = "open",
    campaign: str | None = None,
    agent: str | None = None,
    page: Page = FIRST,
    output: Out = TABLE,
) -> None:
    """List agents under review, those that are due first."""
    listed("/api/v1/reviews", output, *_REVIEW, page=page, state=state, campaign=campaign, agent=agent)


@review.command(name="get")
def _review_get(id_: Id, *, output: Out = TABLE) -> None:
    """Show the card of an agent under review: what changed, what it uses, and what waits for a decision."""
    with client() as api:
        shown(api, api.get(f"/api/v1/reviews/{segment(id_)}"), output)


@review.command(name="decide")
def _review_decide(id_: Id, *said: str, view: str, reason: str = "", output: Out = TABLE) -> int:
    """Say what becomes of permissions, as the card showed them.

    Args:
        said: Each permission and what is said of it, as `server/tool=remove`; `routine=keep` of the routine ones.
            What can be said: keep, remove, fix-policy, investigate.
        view: The `view` of the card that you looked at.
        reason: Why, in your own words; needed to keep what is to be removed.
    """
    decisions = [{**one, "reason": reason} for one in _decisions(said)]
    body = {"view": view, "decisions": decisions}
    return act(f"/api/v1/reviews/{segment(id_)}/decide", output, body)


def _decisions(said: Iterable[str]) -> list[dict[str, Any]]:
    found = []
    for one in said:
        permission, _, verdict = one.rpartition("=")
        if not permission or verdict not in _VERDICTS:
            raise InvalidInputError(
                Code.BODY_MALFORMED, f"`{one[:200]}` is no decision", hint=f"write PERMISSION={'|'.join(_VERDICTS)}"
            )
        found.append({"permission": permission, "verdict": verdict})
    return found


@review.command(name="need")
def _review_need(id_: Id, *, statement: str, not_needed: bool = False, output: Out = TABLE) -> int:
    """Say, as its owner, whether an agent is still needed.

    Args:
        statement: What for, or why no more, in your own words; what was said before is refused.
        not_needed: It is not: it is stopped at once, and people are asked to retire it.
    """
    body = {"needed": not not_needed, "statement": statement}
    return act(f"/api/v1/reviews/{segment(id_)}/need", output, body, *_REVIEW)


@review.command(name="simulate")
def _review_simulate(id_: Id, *permission: str, output: Out = TABLE) -> int:
    """Show which recorded calls of 90 days would fail without some permissions; exit 8 if any would.

    Args:
        permission: Each permission that would be taken away.
    """
    with client() as api:
        begun = api.post(f"/api/v1/reviews/{segment(id_)}/simulate", {"permissions": list(permission)})
        report = wait_for(api, begun)["report"]
        people = people_of(api, report) if output is Format.TABLE else {}
    if output is Format.TABLE:
        print(text_report(report, people), end="")
    else:
        show(report, output)
    return _WOULD_BREAK if report["breaks"] else 0


@review.command(name="start")
def _review_start(
    *,
    reason: str,
    team: _Some = None,
    tier: _Some = None,
    agent: _Some = None,
    service: _Some = None,
    respond_days: int = 14,
    grace_days: int = 7,
    output: Out = TABLE,
) -> int:
    """Start a campaign on agents in production, all of them or those that are selected.

    Args:
        reason: Why now, for the record.
        team: Names of teams.
        tier: low, medium, high.
        agent: Names of agents.
        service: Business services.
        respond_days: How long people have to answer.
        grace_days: How much longer before an agent of the high tier is suspended.
    """
    body = {
        "reason": reason,
        "teams": team or [],
        "tiers": tier or [],
        "agents": agent or [],
        "services": service or [],
        "respond_days": respond_days,
        "grace_days": grace_days,
    }
    return act("/api/v1/review-campaigns", output, body, *_CAMPAIGN)


@review.command(name="campaigns")
def _review_campaigns(
    *, state: Literal["open", "closed", "all"] = "all", page: Page = FIRST, output: Out = TABLE
) -> None:
    """List campaigns, newest first."""
    listed("/api/v1/review-campaigns", output, *_CAMPAIGN, page=page, state=state)


@review.command(name="report")
def _review_report(id_: Id, *, output: Out = TABLE) -> None:
    """Show what a campaign came to, or what it waits for."""
    with client() as api:
        found = api.get(f"/api/v1/review-campaigns/{segment(id_)}")
        if output is Format.TABLE:
            for line in str(found["text"]).splitlines():
                print(plain(line, limit=None))
        else:
            shown(api, found, output)


@review.command(name="close")
def _review_close(id_: Id, *, output: Out = TABLE) -> int:
    """Close a campaign of which everything is answered, carried out and looked up."""
    return act(f"/api/v1/review-campaigns/{segment(id_)}/close", output)


@review.command(name="accept")
def _review_accept(id_: Id, identity: str, *, reason: str, output: Out = TABLE) -> int:
    """Say why an identity that is on no list is in order all the same.

    Args:
        identity: Its id, as the campaign's report says.
        reason: Why, for the record.
    """
    body = {"identity": identity, "reason": reason}
    return act(f"/api/v1/review-campaigns/{segment(id_)}/accept", output, body)


@review.command(name="include")
def _review_include(id_: Id, agent: str, *, output: Out = TABLE) -> int:
    """Put an agent that is missing in a campaign on its list."""
    return act(f"/api/v1/review-campaigns/{segment(id_)}/include", output, {"agent": agent}, *_REVIEW)
