"""Chats from which people vote."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from accredit.cli.asking import FIRST, TABLE, Id, Out, Page, act, listed, segment

__all__ = ["app"]

app = App()
chat = App(name="chat", help="Chats from which people vote, and the accounts there that are theirs.")
app.command(chat)


@chat.command(name="list")
def _chat_list(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List chats from which callbacks are taken, where they are sent, and what is approved from one."""
    listed("/api/v1/chat-channels", output, "name", "kind", "credential", "by", "url", "approves", page=page)


@chat.command(name="declare")
def _chat_declare(
    name: str, *, kind: Literal["slack", "standard-webhooks"], credential: str, output: Out = TABLE
) -> int:
    """Take callbacks of a chat; declared anew, its linked accounts are forgotten.

    Args:
        name: What it is called here, and in the address where it sends callbacks.
        kind: How it signs: as Slack, or as Standard Webhooks has it.
        credential: The stored credential whose value it signs with (`accredit credential set`).
    """
    return act("/api/v1/chat-channels", output, {"name": name, "kind": kind, "credential": credential})


@chat.command(name="remove")
def _chat_remove(name: str, *, output: Out = TABLE) -> int:
    """Take no callback of a chat any more."""
    return act(f"/api/v1/chat-channels/{segment(name)}/remove", output)


@chat.command(name="link")
def _chat_link(name: str, *, output: Out = TABLE) -> int:
    """Make a code, good once and for ten minutes: whoever gives it in that chat is you there."""
    return act(f"/api/v1/chat-channels/{segment(name)}/link", output)


@chat.command(name="links")
def _chat_links(*, page: Page = FIRST, output: Out = TABLE) -> None:
    """List the accounts that are linked to you."""
    listed("/api/v1/chat-links", output, "id", "channel", "since", page=page)


@chat.command(name="unlink")
def _chat_unlink(id_: Id, *, output: Out = TABLE) -> int:
    """End a link: your own, or as an administrator anybody's."""
    return act(f"/api/v1/chat-links/{segment(id_)}/end", output)
