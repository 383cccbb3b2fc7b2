"""Agents: reading all that is known of one, and what is done to it from registration to retirement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import yaml
from cyclopts import App, Parameter

from accredit.cli.answers import answers, tier_explained
from accredit.cli.asking import (
    FIRST,
    NEWEST,
    TABLE,
    Older,
    Out,
    Page,
    Thumbprint,
    act,
    apply_files,
    client,
    listed,
    person_id,
    read_data,
    read_text,
    segment,
    shown,
)
from accredit.cli.output import Parts
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import AgentState, Environment, RestrictionKind, Role, Tier

__all__ = ["app"]

app = App()
agent = App(name="agent", help="Agents, by name, environment/name or id; a name alone is one in development.")
limits = App(name="limits", help="What agents have used of their limits.")
for group in (agent, limits):
    app.command(group)

_STEPS: Final[Parts] = {"steps": ("step", "does", "at", "result", "open")}
_REMOVALS: Final[Parts] = {"removals": ("tool", "reason", "effect", "calls", "denies")}
_SESSION: Final[Parts] = {"sequence": ("tool", "outcome", "values")}
_DOSSIER: Final[Parts] = {**_STEPS, "observed": ("name", "declared", "observed", "evidence", "records")}
_ENVELOPE: Final[Parts] = {"uses": ("record", "at", "version", "by", "changes")}
_OBSERVED: Final = ("days", "name", "declared", "observed", "evidence", "records")
_TIER: Final[Parts] = {
    "factors": ("name", "level", "weight", "points", "sources"),
    "floors": ("rule", "tier", "reason"),
    "blocks": ("rule", "reason", "remedy"),
    "windows": _OBSERVED,
    "once": ("data_class", "tools", "subjects", "checked", "records"),
}
_ACCESS: Final[Parts] = {
    "rows": ("tool", "effect", "data_class", "outcome", "code", "conditions", "policies"),
    "models": ("tool", "data_class", "outcome", "code", "conditions", "policies"),
    "ceilings": ("policy", "layer", "role", "tools", "reads"),
    "delegates": ("agent", "tool", "outcome", "code", "conditions", "policies", "reached"),
}


def _path(name: str, about: str = "") -> str:
    return f"/api/v1/agents/{segment(name)}{about}"


# -- reading


@agent.command(name="list")
def _agent_list(
    *,
    environment: Environment | None = None,
    team: str | None = None,
    state: AgentState | None = None,
    tier: Tier | None = None,
    owner: str | None = None,
    search: str | None = None,
    page: Page = FIRST,
    output: Out = TABLE,
) -> None:
    """List agents, by name.

    Args:
        environment: Only those there.
        team: Only those of this team.
        state: Only those in this state.
        tier: Only those of this tier.
        owner: Only those this person owns or stands in for: an address or id.
        search: Only those whose name has this in it.
    """
    if owner is not None:
        with client() as api:
            owner = person_id(api, owner)
    listed(
        "/api/v1/agents", output, "name", "environment", "team", "owner", "tier", "state", "id",
        page=page, environment=environment, team=team, state=state, tier=tier, owner=owner, q=search,
    )  # fmt: skip


@agent.command(name="get")
def _agent_get(name: str, *, output: Out = TABLE) -> None:
    """Show who approved an agent, what it may touch, when it was last reviewed and what its end does."""
    with client() as api:
        found = api.get(_path(name))
        shown(api, answers(found) if output is TABLE else found, output, parts=_DOSSIER)


@agent.command(name="tier")
def _agent_tier(name: str, *, output: Out = TABLE) -> None:
    """Show an agent's risk tier, why, what was observed against what is declared, and what would lower it."""
    with client() as api:
        found = api.get(_path(name, "/tier"))
        shown(api, tier_explained(found) if output is TABLE else found, output, parts=_TIER)


@agent.command(name="validation")
def _agent_validation(name: str, *, output: Out = TABLE) -> None:
    """Show what an agent could do under the policies in force, and what of it is too much."""
    listed(_path(name, "/validation"), output, parts=_ACCESS)


@agent.command(name="envelope")
def _agent_envelope(name: str, *, output: Out = TABLE) -> None:
    """Show what of an agent may change without another vote, until when, and what did."""
    listed(_path(name, "/envelope"), output, parts=_ENVELOPE)


@agent.command(name="timeline")
def _agent_timeline(name: str, *, page: Older = NEWEST, output: Out = TABLE) -> None:
    """Show what was done to an agent, and by whom, newest first."""
    listed(
        _path(name, "/timeline"), output, "record", "at", "kind", "person", "credential", "basis", "version",
        page=page,
    )  # fmt: skip


@agent.command(name="plan")
def _agent_plan(name: str, *, output: Out = TABLE) -> None:
    """Show what retiring an agent would do now."""
    listed(_path(name, "/plan"), output, parts=_STEPS)


@agent.command(name="credentials")
def _agent_credentials(name: str, *, output: Out = TABLE) -> None:
    """List every credential known anywhere to be an agent's: issued, brokered, lent, exported, found in files."""
    listed(_path(name, "/credentials"), output, "kind", "name", "reach", "state", "shared", "id")


@agent.command(name="certificate")
def _agent_certificate(name: str, *, file: Path | None = None, number: int | None = None, output: Out = TABLE) -> None:
    """Show what a retired agent's certificate says, or write it for whoever wants to check it.

    Args:
        name: The agent.
        number: An earlier one than the newest.
        file: Where to write it; `accredit audit verify FILE --vkey` checks it.
    """
    with client() as api:
        found = api.get(_path(name, "/certificate"), number=number)
        if file is not None:
            file.write_text(found["note"], encoding="utf-8")
        brief = {key: value for key, value in found.items() if key not in {"says", "note", "earlier"}}
        shown(api, brief if output is TABLE else found, output)


@agent.command(name="receipt")
def _agent_receipt(name: str, *, output: Out = TABLE) -> None:
    """Show what was done when an agent was retired."""
    listed(_path(name, "/receipt"), output, parts=_STEPS)


@agent.command(name="usage")
def _agent_usage(name: str, *, days: int = 30, output: Out = TABLE) -> None:
    """Show what the agent used, by tool and day."""
    listed(_path(name, "/usage"), output, "day", "tool", "allows", "denies", "holds", "errors", "cost", days=days)


@agent.command(name="unused")
def _agent_unused(name: str, *, days: int = 90, output: Out = TABLE) -> None:
    """Show what the agent may call and has not for so many days, longest idle first."""
    listed(_path(name, "/unused"), output, "tool", "last_used", "idle_days", "version_days", "denies", days=days)


@agent.command(name="reported")
def _agent_reported(name: str, *, output: Out = TABLE) -> None:
    """Show what telemetry says the agent used past the gateway: claims, apart from its usage."""
    listed(_path(name, "/reported"), output, "tool", "count", "first", "last")


@agent.command(name="suggest")
def _agent_suggest(name: str, *, file: Path | None = None, output: Out = TABLE) -> None:
    """Show what an agent could do without, by its use, or write its manifest without it.

    Args:
        name: The agent.
        file: Where to write the manifest; `accredit diff -f FILE` shows what applying it would do.
    """
    with client() as api:
        found = api.get(_path(name, "/suggestion"))
        if file is not None:
            file.write_text(yaml.safe_dump(found["manifest"], sort_keys=False), encoding="utf-8")
        brief = {key: value for key, value in found.items() if key != "manifest"}
        shown(api, brief if output is TABLE else found, output, parts=_REMOVALS)


@agent.command(name="sessions")
def _agent_sessions(name: str, *, session: str | None = None, limit: int = 50, output: Out = TABLE) -> None:
    """Show an agent's finished sessions, newest first, or all that is known of one.

    Args:
        name: The agent.
        session: Its id.
    """
    with client() as api:
        if session is not None:
            shown(api, api.get(_path(name, f"/sessions/{segment(session)}")), output, parts=_SESSION)
        else:
            found = api.get(_path(name, "/sessions"), limit=limit)
            columns = ("session", "began", "calls", "tools", "denied", "errors", "cost", "seconds")
            shown(api, found, output, *columns)


@agent.command(name="logs")
def _agent_logs(name: str, *, page: Older = NEWEST, output: Out = TABLE) -> None:
    """Show the agent's newest records."""
    listed(
        "/api/v1/audit/records", output, "seq", "time", "kind", "tool", "decision", "code", page=page, agent=name
    )  # fmt: skip


@limits.command(name="show")
def _limits_show(agent: str, *, output: Out = TABLE) -> None:
    """Show how much of its limits an agent has used."""
    listed(_path(agent, "/limits"), output)


# -- its life


@agent.command(name="register")
def _agent_register(*, file: Annotated[Path, Parameter(name=["-f", "--file"])], output: Out = TABLE) -> int:
    """Register an agent, or a new version of it, from the one Agent manifest that a file holds.

    Args:
        file: YAML or JSON; `accredit schema agent` describes it.
    """
    if read_data(file).get("kind") != "Agent":
        raise InvalidInputError(
            Code.MANIFEST_INVALID, f"`{file}` does not declare an Agent", hint="`accredit apply -f` takes every kind"
        )
    return apply_files([(file, read_text(file))], output)


@agent.command(name="submit")
def _agent_submit(name: str, *, output: Out = TABLE) -> int:
    """Submit an agent's newest version: in production for sign-off, in staging to run."""
    return act(_path(name, "/submit"), output)


@agent.command(name="activate")
def _agent_activate(name: str, *, output: Out = TABLE) -> int:
    """Put the approved version into force."""
    return act(_path(name, "/activate"), output, parts=_STEPS)


@agent.command(name="enrol")
def _agent_enrol(
    name: str, *, thumbprint: Thumbprint | None = None, source: str | None = None, output: Out = TABLE
) -> int:
    """Issue a single-use join token with which one instance enrols its own key.

    Args:
        name: The agent.
        thumbprint: Accept only the key with this RFC 7638 thumbprint.
        source: Accept it only from this network, for example 10.0.0.0/8.
    """
    return act(_path(name, "/join-tokens"), output, {"thumbprint": thumbprint, "source": source})


@agent.command(name="key")
def _agent_key(name: str, *, days: int = 30, path: str = "", output: Out = TABLE) -> int:
    """Make a key for an instance whose client takes nothing else; it is shown once. `agent enrol` where one can.

    Args:
        name: The agent.
        days: When it ends, 90 at most.
        path: Where alone it is good, and below, for example /mcp/crm.
    """
    return act(_path(name, "/keys"), output, {"days": days, "path": path})


@agent.command(name="ownerless")
def _agent_ownerless(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List agents whose owner left: who is asked to take each over, and what comes next if nobody does."""
    listed(
        "/api/v1/successions", output,
        "agent_name", "owner", "since", "asked_as", "asked", "accepted_by", "step", "next", "next_at", "agent",
        page=page,
    )  # fmt: skip


@agent.command(name="adopt")
def _agent_adopt(name: str, *, reason: str, output: Out = TABLE) -> int:
    """Take over an agent whose owner left: a version with you as the owner, to be submitted and activated.

    Args:
        name: The agent.
        reason: Why, for the record.
    """
    return act(_path(name, "/adopt"), output, {"reason": reason})


@agent.command(name="suspend")
def _agent_suspend(name: str, *, reason: str, output: Out = TABLE) -> int:
    """Stop an agent at once; `agent resume` lets it run again."""
    return act(_path(name, "/suspend"), output, {"reason": reason})


@agent.command(name="resume")
def _agent_resume(name: str, *, reason: str, output: Out = TABLE) -> int:
    """Let a suspended agent run again."""
    return act(_path(name, "/resume"), output, {"reason": reason})


@agent.command(name="quarantine")
def _agent_quarantine(name: str, *, reason: str, output: Out = TABLE) -> int:
    """Stop an agent at once until security lifts it."""
    return act(_path(name, "/quarantine"), output, {"reason": reason})


@agent.command(name="lift")
def _agent_lift(name: str, *, reason: str, output: Out = TABLE) -> int:
    """End a quarantine."""
    return act(_path(name, "/lift"), output, {"reason": reason})


@agent.command(name="restrict")
def _agent_restrict(
    name: str,
    kind: RestrictionKind,
    *,
    minutes: int,
    cause: str,
    tool: str | None = None,
    calls_per_minute: int | None = None,
    role: Role | None = None,
    output: Out = TABLE,
) -> int:
    """Narrow an agent for a time.

    Args:
        name: The agent.
        kind: How.
        minutes: For how long, at most 90 days.
        cause: Why, for the record.
        tool: Only this tool, as `server/tool`.
        calls_per_minute: Of a throttle.
        role: Of a hold: who lets a call through.
    """
    body = {"kind": kind, "minutes": minutes, "cause": cause, "tool": tool, "calls_per_minute": calls_per_minute,
            "role": role}  # fmt: skip
    return act(_path(name, "/restrictions"), output, body)


@agent.command(name="revoke")
def _agent_revoke(name: str, *, reason: str, output: Out = TABLE) -> int:
    """End every credential of an agent now; its calls in flight are cancelled."""
    return act(_path(name, "/revoke"), output, {"reason": reason})


@agent.command(name="retire")
def _agent_retire(
    name: str, *, reason: str | None = None, plan: bool = False, digest: str | None = None, output: Out = TABLE
) -> int:
    """End an agent for good, as its plan shows, and show what was done; or ask the second person that it takes.

    Args:
        name: The agent.
        reason: Why, for the record.
        plan: Only show what would be done, with the digest that is confirmed.
        digest: Of the plan that you looked at: nothing is done if it is another by now.
    """
    if plan:
        _agent_plan(name, output=output)
        return 0
    if reason is None:
        raise InvalidInputError(Code.BODY_MALFORMED, "say why with --reason", hint="--plan shows what would be done")
    body = {"reason": reason, **({"plan": digest} if digest else {})}
    return act(_path(name, "/retire"), output, body, parts=_STEPS)
