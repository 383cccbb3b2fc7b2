"""Requests for sign-off: whoever votes is shown all they judge, and asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Group, Parameter
from cyclopts.validators import LimitedChoice

from accredit.approvals.model import ApprovalState, VoteVerdict
from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, changing, client, listed, read_data, segment, shown
from accredit.cli.output import Parts
from accredit.cli.views import looked_at, show_viewed
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError
from accredit.registry.model import Role

__all__ = ["app"]

app = App()
approval = App(name="approval", help="Requests for sign-off: list, read, vote, assess.")
app.command(approval)

_ANSWER = Group("Answer", validator=LimitedChoice(1, 1))
"""Exactly one of these is said."""
_PARTS: Final[Parts] = {
    "needs": ("role", "count", "assessment", "validation", "comment"),
    "votes": ("role", "person", "for_person", "verdict", "at", "comment", "credential", "carried_from"),
    "obligations": (
        "kind",
        "tool",
        "calls_per_minute",
        "cost_per_day",
        "role",
        "share_percent",
        "days",
        "as_role",
        "by",
    ),
    "standing": ("role", "may", "why", "for_person"),
    "outlook": ("role", "wanted", "could", "said"),
}


@approval.command(name="list")
def _approval_list(
    *,
    state: ApprovalState | Literal["all"] = ApprovalState.OPEN,
    agent: str | None = None,
    mine: bool = False,
    page: Page = FIRST,
    output: Out = TABLE,
) -> None:
    """List requests that wait for votes, or with --state others, newest first.

    Args:
        state: In which state.
        agent: Of this agent only.
        mine: Only those you may vote on now.
    """
    listed(
        "/api/v1/approvals", output,
        "id", "kind", "about", "agent_name", "tier", "requester", "missing", "reminded", "expires", "state",
        page=page, state=state, agent=agent, mine="true" if mine else "false",
    )  # fmt: skip


@approval.command(name="get")
def _approval_get(id_: Id, *, output: Out = TABLE) -> None:
    """Show exactly what is voted on, who voted, and in which role you may."""
    with client() as api:
        show_viewed(api, api.get(f"/api/v1/approvals/{segment(id_)}"), output, parts=_PARTS)


@approval.command(name="vote")
def _approval_vote(
    id_: Id,
    *,
    approve: Annotated[bool | None, Parameter(negative="--reject", group=_ANSWER)] = None,
    abstain: Annotated[bool, Parameter(negative="", group=_ANSWER)] = False,
    role: Role | None = None,
    comment: str = "",
    under: Annotated[Path | None, Parameter(name="--under")] = None,
    view_digest: str | None = None,
    output: Out = TABLE,
) -> int:
    """Vote in a role on exactly what it shows; it asks first.

    Args:
        approve: Yes or no; a no ends the request.
        abstain: Neither: the role waits for somebody else.
        role: The role you vote in; not needed if there is only one you may vote in.
        comment: Why, for the record.
        under: YAML or JSON with the obligations you approve under, as a list under `obligations`.
        view_digest: Instead of being asked: the digest of what `approval get` showed you.
    """
    verdict = VoteVerdict.ABSTAIN if abstain else VoteVerdict.APPROVE if approve else VoteVerdict.REJECT
    obligations = read_data(under).get("obligations", []) if under is not None else []
    path = f"/api/v1/approvals/{segment(id_)}"
    with changing() as api:
        found = api.get(path)
        if not found["view"]:
            why = found["obstacle"] or f"the request is {found['state']}"
            raise ConflictError(Code.CONFLICT, f"there is nothing to vote on: {why}")
        voting = role or _only_role(found)
        digest = looked_at(
            found,
            output,
            seen=view_digest,
            question=f"{verdict} exactly this as {voting}?",
            otherwise="give `--view-digest` of what `approval get` showed",
        )
        body = {
            "role": voting,
            "vote": verdict,
            "view_digest": digest,
            "comment": comment,
            "obligations": obligations,
        }
        return shown(api, api.post(f"{path}/vote", body), output, parts=_PARTS)


def _only_role(found: dict[str, Any]) -> str:
    """The role somebody votes in who does not say which."""
    standing = found["standing"]
    may = [str(one["role"]) for one in standing if one["may"]]
    if len(may) != 1:
        barred = "; ".join(f"{one['role']}: {one['why']}" for one in standing if not one["may"])
        raise InvalidInputError(
            Code.BODY_MALFORMED,
            f"you may vote as {' or '.join(may)}" if may else f"there is no role you may vote in: {barred}"[:1000],
            hint="give --role" if may else "",
        )
    return may[0]


@approval.command(name="assess")
def _approval_assess(id_: Id, file: Path, *, output: Out = TABLE) -> int:
    """Attach a risk assessment to a request; later votes name its digest.

    Args:
        file: YAML or JSON of the form that `accredit schema assessment` describes.
    """
    return act(f"/api/v1/approvals/{segment(id_)}/assessment", output, read_data(file))


@approval.command(name="withdraw")
def _approval_withdraw(id_: Id, *, output: Out = TABLE) -> int:
    """Take a request back."""
    return act(f"/api/v1/approvals/{segment(id_)}/withdraw", output, parts=_PARTS)
