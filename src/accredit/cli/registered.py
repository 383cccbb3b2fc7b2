"""What is registered: manifests as files, tool servers, issuers, enforcement points, agreements, and their forms."""

from __future__ import annotations

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Out, Page, act, listed, segment
from accredit.cli.output import Format

__all__ = ["app"]

app = App()
server = App(name="server", help="Tool servers and their pinned definitions.")
issuer = App(name="issuer", help="Registered issuers of users and tasks.")
provider = App(name="context-provider", help="Who is asked for facts about users and tasks.")
agreement = App(name="agreement", help="What suppliers may process.")
point = App(name="enforcement-point", help="Applications and gateways that ask for decisions (AuthZEN).")
for group in (server, issuer, provider, point, agreement):
    app.command(group)


@app.command(name="schema")
def _schema(name: str, *, output: Out = Format.JSON) -> None:
    """Show the JSON Schema of a kind of manifest, or of the risk assessment.

    Args:
        name: For example `agent` or `assessment`.
    """
    listed(f"/api/v1/schemas/{segment(name.lower())}", output)


@server.command(name="list")
def _server_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List tool servers."""
    listed("/api/v1/servers", output, "name", "environment", "protocol", "url", "credential", "tools", page=page)


@server.command(name="get")
def _server_get(name: str, *, output: Out = TABLE) -> None:
    """Show a server's tools and whether they are as pinned."""
    listed(f"/api/v1/servers/{segment(name)}", output, "name", "effect", "data", "price", "pinned", "status")


@server.command(name="repin")
def _server_repin(name: str, *, tool: str | None = None, output: Out = TABLE) -> int:
    """Accept a server's present tool definitions as the pinned ones; outside of development two persons do.

    The record holds the old and the new digest.
    """
    return act(f"/api/v1/servers/{segment(name)}/repin", output, {"tool": tool})


@issuer.command(name="list")
def _issuer_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List issuers."""
    listed("/api/v1/issuers", output, "id", "use", "issuer", "claims", "revoked", page=page)


@issuer.command(name="revoke")
def _issuer_revoke(name: str, *, reason: str, output: Out = TABLE) -> int:
    """Stop trusting an issuer now: every token it vouched for dies."""
    return act(f"/api/v1/issuers/{segment(name)}/revoke", output, {"reason": reason})


@provider.command(name="list")
def _provider_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List context providers, and which facts of theirs count."""
    listed("/api/v1/context-providers", output, "name", "of", "issuer", "url", "facts", "ttl_s", "off", page=page)


@point.command(name="list")
def _point_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List enforcement points, what they may ask about and their keys."""
    listed("/api/v1/enforcement-points", output, "name", "types", "servers", "calls_per_minute", "revoked", page=page)


@point.command(name="key")
def _point_key(name: str, *, days: int = 90, output: Out = TABLE) -> int:
    """Make a key for an enforcement point; it is shown once."""
    return act(f"/api/v1/enforcement-points/{segment(name)}/keys", output, {"days": days})


@point.command(name="revoke-key")
def _point_revoke_key(name: str, key: str, *, reason: str, output: Out = TABLE) -> int:
    """End one key of an enforcement point."""
    path = f"/api/v1/enforcement-points/{segment(name)}/keys/{segment(key)}/revoke"
    return act(path, output, {"reason": reason})


@point.command(name="revoke")
def _point_revoke(name: str, *, reason: str, output: Out = TABLE) -> int:
    """End an enforcement point and all its keys, for good."""
    return act(f"/api/v1/enforcement-points/{segment(name)}/revoke", output, {"reason": reason})


@agreement.command(name="list")
def _agreement_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List agreements with suppliers."""
    listed("/api/v1/agreements", output, "name", "provider", "covers", "document", "expires", page=page)
