"""Signing in, and one's own tokens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, changing, client, listed, segment
from accredit.cli.client import ApiClient
from accredit.cli.output import plain, show
from accredit.cli.profile import Profile, save_profile
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError

__all__ = ["app"]

app = App()
token = App(name="token", help="Your own API tokens.")
app.command(token)


@app.command(name="login")
def _login(link: str, *, name: str = "cli") -> None:
    """Exchange a sign-in link, once, for an API token of your own, kept in your profile.

    Args:
        link: The link as printed, with the part after `#`.
        name: What to call the token.
    """
    try:
        parts = urlsplit(link)
    except ValueError:
        parts = urlsplit("")
    if not (parts.scheme in {"http", "https"} and parts.netloc and parts.fragment):
        raise InvalidInputError(
            Code.LINK_INVALID,
            "that is not a sign-in link",
            hint="give all of it in single quotes, with what follows `#`",
        )
    base = Profile(url=f"{parts.scheme}://{parts.netloc}")
    with ApiClient(base) as api:
        answer = api.post("/api/v1/login", {"link": parts.fragment, "name": name})
        newest = api.text("/log/checkpoint")
    path = save_profile(os.environ, Profile(base.url, answer["token"], newest))
    print(f"signed in as {plain(answer.get('email') or answer['person'])} until {plain(answer['expires'])}; "
          f"the token is kept in {path.name} (0600)")  # fmt: skip


@app.command(name="whoami")
def _whoami(*, output: Out = TABLE) -> None:
    """Show who your token says you are."""
    with client() as api:
        show(api.get("/api/v1/whoami"), output)


@token.command(name="list")
def _token_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List your API tokens and sessions."""
    listed("/api/v1/tokens", output, "name", "kind", "scopes", "issued", "expires", "revoked", "id", page=page)


@token.command(name="issue")
def _token_issue(
    name: str, *, to: Path, scope: Literal["read", "admin"] = "read", days: int = 7, output: Out = TABLE
) -> None:
    """Make a further token of your own, with no more than your scopes, as a profile file for ACCREDIT_PROFILE.

    Args:
        name: What to call it.
        to: Profile file to write (0600); the token itself is never printed.
        scope: `read` sees, `admin` changes as well.
        days: How long it lives, at most 90.
    """
    if to.exists():
        raise ConflictError(Code.CONFLICT, f"`{to}` exists", hint="choose another file")
    scopes = ["read", "admin"] if scope == "admin" else ["read"]
    with changing() as api:
        made = api.post("/api/v1/tokens", {"name": name, "scopes": scopes, "days": days})
        save_profile({"ACCREDIT_PROFILE": str(to)}, Profile(api.url, made.pop("token")))
        show(made, output)


@token.command(name="revoke")
def _token_revoke(id_: Id, *, output: Out = TABLE) -> None:
    """End one of your API tokens."""
    with changing() as api:
        show(api.delete(f"/api/v1/tokens/{segment(id_)}"), output)
