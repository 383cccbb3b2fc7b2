"""Directories that provision people here (SCIM)."""

from __future__ import annotations

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Out, Page, act, listed, segment

__all__ = ["app"]

app = App()
directory = App(name="directory", help="Directories that provision people here (SCIM), and what their groups give.")
app.command(directory)


@directory.command(name="list")
def _directory_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List directories, what their groups give, and their keys."""
    listed("/api/v1/directories", output, "name", "url", "issuer", "users", "active", "unmapped", page=page)


@directory.command(name="key")
def _directory_key(name: str, *, days: int = 90, output: Out = TABLE) -> int:
    """Make a key for a directory; it is shown once.

    Args:
        name: The directory, as its manifest is called.
        days: How long it counts, at most 365.
    """
    return act(f"/api/v1/directories/{segment(name)}/keys", output, {"days": days})


@directory.command(name="revoke-key")
def _directory_key_revoke(name: str, key: str, *, reason: str, output: Out = TABLE) -> int:
    """End one key of a directory."""
    return act(f"/api/v1/directories/{segment(name)}/keys/{segment(key)}/revoke", output, {"reason": reason})
