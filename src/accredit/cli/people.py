"""People, teams, and what people may do: roles, groups and delegations."""

from __future__ import annotations

import sys

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, changing, listed, person_id, segment, shown
from accredit.cli.output import Format, plain, show
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.registry.model import Role

__all__ = ["app"]

app = App()
team = App(name="team", help="Teams.")
person = App(name="person", help="People: list, invite, sign-in links, leave.")
role = App(name="role", help="Who holds which role.")
group = App(name="group", help="Named sets of people.")
delegation = App(name="delegation", help="Who votes in another's place.")
for each in (team, person, role, group, delegation):
    app.command(each)


@team.command(name="list")
def _team_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List teams."""
    listed("/api/v1/teams", output, "name", "zones", "id", page=page)


@person.command(name="list")
def _person_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List people."""
    listed("/api/v1/persons", output, "email", "bot", "left", "manager", "id", page=page)


@person.command(name="invite")
def _person_invite(email: str, *, output: Out = TABLE) -> None:
    """Invite the second administrator: print their sign-in link, once."""
    with changing() as api:
        _show_link(api.post("/api/v1/invitations", {"email": email}), output)


@person.command(name="uninvite")
def _person_uninvite(*, output: Out = TABLE) -> None:
    """Void the invitation that is open."""
    with changing() as api:
        show(api.delete("/api/v1/invitations"), output)


@person.command(name="link")
def _person_link(person: str, *, output: Out = TABLE) -> None:
    """Make a person's sign-in link and print it, once; an earlier one that nobody used is void.

    Args:
        person: Their address or id.
    """
    with changing() as api:
        _show_link(api.post(f"/api/v1/persons/{segment(person_id(api, person))}/sign-in-link"), output)


def _show_link(made: dict[str, str], output: Format) -> None:
    if output is TABLE:
        print(f"accredit login '{plain(made['link'], limit=None)}'")
    else:
        show(made, output)
    print("the link works once, within the hour, for whoever has it; it is not shown again", file=sys.stderr)


@person.command(name="leave")
def _person_leave(person: str, *, reason: str, output: Out = TABLE) -> None:
    """Say that somebody left: their roles, tokens and sessions end now.

    Args:
        person: Their address or id.
        reason: Why, for the record.
    """
    with changing() as api:
        show(api.post(f"/api/v1/persons/{segment(person_id(api, person))}/leave", {"reason": reason}), output)


@person.command(name="sign-out")
def _person_sign_out(person: str, *, reason: str, output: Out = TABLE) -> None:
    """End somebody's tokens, sessions and links now; they sign in anew by a new link. One's own takes no right.

    Args:
        person: Their address or id.
        reason: Why, for the record.
    """
    with changing() as api:
        show(api.post(f"/api/v1/persons/{segment(person_id(api, person))}/sign-out", {"reason": reason}), output)


@role.command(name="list")
def _role_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List who holds which role, in which team, and who gave it."""
    listed("/api/v1/roles", output, "role", "person", "group", "team", "since", "by", "id", page=page)


@role.command(name="grant")
def _role_grant(
    role: Role, *, person: str | None = None, group: str | None = None, team: str | None = None, output: Out = TABLE
) -> int:
    """Ask that a person or a group be given a role; another administrator approves it (exit 3 until then).

    Args:
        role: The role.
        person: Who gets it: an address or id.
        group: Or the group that does.
        team: The team it is for; without one it is for every team.
    """
    if (person is None) == (group is None):
        raise InvalidInputError(
            Code.BODY_MALFORMED, "a role goes to a person or to a group", hint="give --person or --group"
        )
    with changing() as api:
        holder = None if person is None else person_id(api, person)
        asked = api.post("/api/v1/roles", {"role": role, "person": holder, "group": group, "team": team})
        return shown(api, asked, output)


@role.command(name="revoke")
def _role_revoke(id_: Id, *, reason: str, output: Out = TABLE) -> int:
    """Take a role back now, by the id that `role list` shows; anybody may lay down their own."""
    return act(f"/api/v1/roles/{segment(id_)}/revoke", output, {"reason": reason})


@group.command(name="list")
def _group_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List groups and their members."""
    listed("/api/v1/groups", output, "name", "members", "groups", page=page)


@delegation.command(name="list")
def _delegation_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List delegations that are not over."""
    listed("/api/v1/delegations", output, "holder", "to", "role", "since", "until", "id", page=page)


@delegation.command(name="add")
def _delegation_add(to: str, *, role: Role, days: int, output: Out = TABLE) -> int:
    """Let somebody vote in your place in one of your roles, for a time.

    Args:
        to: Their address or id.
        role: The role, which you hold.
        days: For how long, at most 90.
    """
    with changing() as api:
        body = {"to": person_id(api, to), "role": role, "days": days}
        return shown(api, api.post("/api/v1/delegations", body), output)


@delegation.command(name="end")
def _delegation_end(id_: Id, *, output: Out = TABLE) -> int:
    """End a delegation before its time."""
    return act(f"/api/v1/delegations/{segment(id_)}/end", output)
