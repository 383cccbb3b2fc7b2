"""Agents' keys, and the upstream credentials that the broker keeps for them."""

from __future__ import annotations

import sys
from getpass import getpass

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, changing, listed, segment
from accredit.cli.output import show
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["app"]

app = App()
credential = App(name="credential", help="Agents' keys and brokered upstream credentials.")
app.command(credential)


@credential.command(name="list")
def _credential_list(*, agent: str | None = None, page: Page = FIRST, output: Out = TABLE) -> None:
    """List agents' credentials."""
    listed(
        "/api/v1/credentials",
        output,
        "agent_name",
        "state",
        "thumbprint",
        "enrolled",
        "expires",
        "id",
        agent=agent,
        page=page,
    )


@credential.command(name="confirm")
def _credential_confirm(id_: Id, *, thumbprint: str, output: Out = TABLE) -> int:
    """Say as the agent's owner that a key is the instance's own: in production it does not work before.

    Args:
        thumbprint: As the instance itself shows it, not as `credential list` does.
    """
    return act(f"/api/v1/credentials/{segment(id_)}/confirm", output, {"thumbprint": thumbprint})


@credential.command(name="revoke")
def _credential_revoke(id_: Id, *, reason: str, output: Out = TABLE) -> int:
    """End one credential now."""
    return act(f"/api/v1/credentials/{segment(id_)}/revoke", output, {"reason": reason})


@credential.command(name="set")
def _credential_set(
    name: str, *, origin: str, header: str = "Authorization", prefix: str = "Bearer ", output: Out = TABLE
) -> None:
    """Give the broker an upstream credential; the value is read from standard input, never from an argument.

    Args:
        name: What tool servers call it.
        origin: The only origin it may travel to, for example https://crm.example.com.
        header: Header to set.
        prefix: Text before the value.
    """
    value = getpass(f"value of {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise InvalidInputError(
            Code.UPSTREAM_CREDENTIAL,
            "standard input holds no value",
            hint='echo "$KEY" | accredit credential set NAME …',
        )
    with changing() as api:
        body = {"origin": origin, "header": header, "value": f"{prefix}{value}"}
        show(api.put(f"/api/v1/upstream-credentials/{segment(name)}", body), output)


@credential.command(name="upstream")
def _credential_upstream(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List the broker's upstream credentials, without their values."""
    listed("/api/v1/upstream-credentials", output, "name", "origin", "header", "version", page=page)
