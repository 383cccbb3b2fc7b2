"""Agents' keys, and the upstream credentials that the broker keeps for them."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from getpass import getpass
from typing import Any

from cyclopts import App, Parameter

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, Thumbprint, act, changing, listed, segment
from accredit.cli.output import show
from accredit.identity.upstreams import ClientAuthentication, ExchangeSubject, UpstreamKind
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
def _credential_confirm(id_: Id, *, thumbprint: Thumbprint, output: Out = TABLE) -> int:
    """Say as the agent's owner that a key is the instance's own: in production it does not work before.

    Args:
        thumbprint: As the instance itself shows it, not as `credential list` does.
    """
    return act(f"/api/v1/credentials/{segment(id_)}/confirm", output, {"thumbprint": thumbprint})


@credential.command(name="revoke")
def _credential_revoke(id_: Id, *, reason: str, output: Out = TABLE) -> int:
    """End one credential now."""
    return act(f"/api/v1/credentials/{segment(id_)}/revoke", output, {"reason": reason})


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class _AuthorizationServer:
    """Where and as whom the broker asks for tokens."""

    token_endpoint: str = ""
    """Of the authorization server; with it, the kinds `oauth-client`, `token-exchange` and `oauth-user`."""
    client_id: str = ""
    """As registered there."""
    authentication: ClientAuthentication = ClientAuthentication.CLIENT_SECRET_BASIC
    """How the client proves itself; with `private_key_jwt` a key is made, whose public half is shown."""
    scope: str = ""
    """Space-separated; no token that reaches further is used."""
    resource: str = ""
    """RFC 8707."""
    audience: str = ""
    """Of an exchange."""
    subject: ExchangeSubject | None = None
    """Of an exchange: the user (default), or the agent."""
    issuer: str = ""
    """Of accounts of persons: exactly the `iss` of the authorization server's answers."""
    authorization_endpoint: str = ""
    """Of accounts of persons: where they consent."""
    revocation_endpoint: str = ""
    """RFC 7009, where there is one."""
    users: str = ""
    """The issuer whose word about the user counts, as registered here."""
    definitions: str = ""
    """The credential that the server is asked for its tools with, if that takes one."""


_NO_SERVER = _AuthorizationServer()
_WITH_SECRET = {ClientAuthentication.CLIENT_SECRET_BASIC, ClientAuthentication.CLIENT_SECRET_POST}


@credential.command(name="set")
def _credential_set(
    name: str,
    *,
    origin: str,
    kind: UpstreamKind = UpstreamKind.HEADER,
    header: str = "Authorization",
    prefix: str = "Bearer ",
    username: str = "",
    new_key: bool = False,
    oauth: _AuthorizationServer = _NO_SERVER,
    output: Out = TABLE,
) -> None:
    """Give the broker an upstream credential; the value is read from standard input, never from an argument.

    Args:
        name: What tool servers call it.
        origin: The only origin it may travel to, for example https://crm.example.com.
        kind: What it is; of `basic` the value is the password, of a client its secret.
        header: Header to set, of kind `header`.
        prefix: Text before the value, of kind `header`.
        username: Of kind `basic`.
        new_key: Make a new key for a client that proves itself by one; else it keeps its own.
    """
    server = {key: value for key, value in asdict(oauth).items() if value}
    plain = kind in {UpstreamKind.HEADER, UpstreamKind.BASIC}
    value = ""
    if plain or oauth.authentication in _WITH_SECRET:
        value = getpass(f"value of {name}: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
        if not value:
            raise InvalidInputError(
                Code.UPSTREAM_CREDENTIAL,
                "standard input holds no value",
                hint='echo "$KEY" | accredit credential set NAME …',
            )
    body: dict[str, Any] = {"origin": origin, "kind": kind, "username": username, "new_key": new_key}
    if kind is UpstreamKind.HEADER:
        body |= {"header": header, "value": f"{prefix}{value}"}
    else:
        body |= {"value": value, "oauth": None if plain else {"token_endpoint": "", "client_id": "", **server}}
    with changing() as api:
        show(api.put(f"/api/v1/upstream-credentials/{segment(name)}", body), output)


@credential.command(name="unset")
def _credential_unset(name: str, *, output: Out = TABLE) -> None:
    """Take an upstream credential from the broker, with every account connected for it."""
    with changing() as api:
        show(api.delete(f"/api/v1/upstream-credentials/{segment(name)}"), output)


@credential.command(name="accounts")
def _credential_accounts(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List the credentials you can connect an account for, and where; agents then act as you there."""
    listed("/api/v1/accounts", output, "credential", "issuer", "scope", "connected", "link", page=page)


@credential.command(name="disconnect")
def _credential_disconnect(name: str, *, output: Out = TABLE) -> int:
    """Disconnect your account from a credential; its tokens are forgotten, and revoked where that can be asked for."""
    return act(f"/api/v1/accounts/{segment(name)}/disconnect", output)


@credential.command(name="upstream")
def _credential_upstream(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List the broker's upstream credentials, without their values."""
    listed("/api/v1/upstream-credentials", output, "name", "kind", "origin", "header", "version", page=page)
